//! The machine stops: what the disk did not have by then is gone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lookback_schemas::TableId;
use lookback_schemas::recording::Recording;
use lookback_schemas::segment;

use super::{Random, assert_clean, is_full, numbers};
use crate::live::{alone, skip};
use crate::recording::RECORD;
use crate::running::Running;
use crate::workload;

/// Records onto an ext4 of its own, and takes copies of its disk, each at a time of its own: what such a disk has
/// then is what it would have if the machine had stopped. They must be of one moment, so no write may be under
/// way or come meanwhile. Then each copy is mounted, by which its journal is replayed, and what is on it is
/// copied. All goes away with the namespace.
///
/// `$1` is a directory, `$2` the recorder, `$3` the load, `$4` its time, the others the delays between copies.
const SCRIPT: &str = r#"
exec 3<&0 # A job in the background would have an empty input, at whose end the load ends.
cd "$1" && record=$2 load=$3 seconds=$4 && shift 4
mkdir disk && truncate -s 64M image && mkfs.ext4 -q -F image && mount -o loop image disk || exit 90
loop=$(findmnt -n -o SOURCE disk) && stat=/sys/block/${loop#/dev/}/stat || exit 90
"$record" --quiet --trace signal --segment-time 1s --output disk/recording -- "$load" "$seconds" 500 <&3 &
recorder=$!
until [ -d disk/recording/clock ]; do sleep 0.01; done
count=0
for delay; do
  sleep "$delay"
  count=$((count + 1))
  while :; do
    # Segments without a sidecar: their path and size.
    find disk/recording -name '*.parquet' -exec sh -c '
      for file; do [ -e "$file.footer" ] || stat -c "%n %s" "$file"; done' sh {} + > "promised.$count"
    before=$(cat "$stat")
    cp --sparse=always image "image.$count"
    after=$(cat "$stat")
    # The fields: 5 are writes done, 9 those under way.
    set -- $before $after
    [ "$5" = "${22}" ] && [ "$9" = 0 ] && [ "${26}" = 0 ] && break
  done
done
wait $recorder || exit 91
for number in $(seq $count); do
  mkdir "mount.$number"
  mount -o loop "image.$number" "mount.$number" || exit 92
  cp -r "mount.$number" "copy.$number"
  umount "mount.$number"
  rm "image.$number"
done
"#;

/// What the disk promised: finished segments without a sidecar, by their path in the recording and their size.
fn promised(directory: &Path, number: usize) -> Vec<(PathBuf, u64)> {
    let text = std::fs::read_to_string(directory.join(format!("promised.{number}"))).unwrap();
    text.lines()
        .map(|line| {
            let (path, size) = line.split_once(' ').unwrap();
            let path = Path::new(path).strip_prefix("disk/recording").unwrap();
            (path.to_owned(), size.parse().unwrap())
        })
        .collect()
}

/// Looks at one copy; gives how many segments were safe, how many were cut off, and how many rows there are.
fn check_copy(directory: &Path, number: usize) -> (usize, usize, usize) {
    let recording = directory.join(format!("copy.{number}/recording"));
    assert_clean(&recording);
    let promised = promised(directory, number);
    for (path, size) in &promised {
        let segment = segment::open(&recording.join(path)).unwrap();
        assert!(segment.finished(), "copy {number}: {}", path.display());
        let length = std::fs::metadata(recording.join(path)).unwrap().len();
        assert_eq!(length, *size, "copy {number}: {}", path.display());
    }
    let recording = Recording::open(&recording).unwrap();
    let segments = TableId::ALL.iter().flat_map(|table| recording.segments(*table).unwrap());
    let cut_off = segments.filter(segment::Segment::cut_off).count();
    (promised.len(), cut_off, numbers(&recording).len())
}

#[test]
fn what_the_disk_has_when_the_machine_stops_is_a_recording() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let mut random = Random::new();
    let (runs, copies) = if is_full() { (5, 20) } else { (1, 5) };
    for _ in 0..runs {
        let directory = tempfile::tempdir().unwrap();
        let delays: Vec<u64> = (0..copies).map(|_| random.between(0..1200)).collect();
        let seconds = Duration::from_millis(delays.iter().sum()).as_secs() + 1;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/bash", "-c", SCRIPT, "sh"]);
        command.arg(directory.path()).arg(RECORD).arg(workload::path("mix"));
        command.arg(seconds.to_string());
        command.args(delays.iter().map(|delay| format!("{:.3}", *delay as f64 / 1000.0)));
        let mut running = Running::start(&mut command);
        running.await_end();
        let ended = running.end();
        if ended.status.code() == Some(90) || ended.stderr.contains("unshare failed") {
            return skip(&format!("no file system on a loop device: {}", ended.stderr));
        }
        assert!(ended.status.success(), "{ended:?}");
        let (mut safe, mut cut_off) = (0, 0);
        for number in 1..=copies {
            let (segments, cut, rows) = check_copy(directory.path(), number);
            println!("copy {number}: {segments} segments safe, {cut} cut off, {rows} rows");
            safe += segments;
            cut_off += cut;
        }
        assert!(safe > 0 && cut_off > 0, "{safe} safe, {cut_off} cut off: this shows nothing");
    }
}
