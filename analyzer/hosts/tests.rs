use std::collections::BTreeMap;
use std::path::Path;

use crate::made::{
    Away, Collection, Heap, Hit, Kernel, Made, Mapping, Stretch, analyze, analyze_all, spaced,
};

/// A recording of a host.
fn made(host: &str) -> Made {
    let made = Made::new();
    made.host(host, &format!("boot of {host}"));
    made
}

fn report(of: &[&Made], args: &[&str]) -> String {
    let paths: Vec<&Path> = of.iter().map(|made| made.path()).collect();
    analyze_all(&paths, args).expect("nothing is wrong")
}

fn lines(of: &[&Made], args: &[&str]) -> Vec<String> {
    spaced(&report(of, args))
}

fn csv(of: &[&Made], args: &[&str]) -> Vec<String> {
    report(of, &[args, &["--format", "csv"]].concat()).lines().map(str::to_owned).collect()
}

fn error(of: &[&Made], args: &[&str]) -> String {
    let paths: Vec<&Path> = of.iter().map(|made| made.path()).collect();
    format!("{:#}", analyze_all(&paths, args).expect_err("something is wrong"))
}

/// Two hosts on which pid 10 does different things at the same time.
fn pair() -> (Made, Made) {
    let (one, other) = (made("web1"), made("web2"));
    one.rows(&[
        one.opened(1.0, 10, Some("/etc/passwd"), None, Ok(3)),
        one.opened(3.0, 10, Some("/etc/hosts"), None, Ok(3)),
    ]);
    one.end(5.0);
    other.rows(&[
        other.opened(2.0, 10, Some("/etc/passwd"), None, Ok(4)),
        other.opened(4.0, 11, Some("/etc/passwd"), None, Err(2)),
    ]);
    other.end(6.0);
    (one, other)
}

#[test]
fn lists_are_merged_in_the_order_of_time() {
    let (one, other) = pair();
    assert_eq!(
        lines(&[&one, &other], &["opens"]),
        [
            "# web1: 2026-11-22T10:15:00Z + 5.0 s, nothing lost; its wall clock was read only when it began",
            "# times of different hosts are as exact as their wall clocks: how far those were off was not recorded",
            "# web2: 2026-11-22T10:15:00Z + 6.0 s, nothing lost; its wall clock was read only when it began",
            "HOST TIME PID COMM FD ERR PATH",
            "web1 10:15:01.000 10 opener 3 0 /etc/passwd",
            "web2 10:15:02.000 10 opener 4 0 /etc/passwd",
            "web1 10:15:03.000 10 opener 3 0 /etc/hosts",
            "web2 10:15:04.000 11 opener -1 ENOENT /etc/passwd",
        ]
    );
    let few = csv(&[&other, &one], &["cat", "open", "--columns", "pid,path", "--limit", "3"]);
    assert_eq!(
        few,
        ["host,pid,path", "web1,10,/etc/passwd", "web2,10,/etc/passwd", "web1,10,/etc/hosts"]
    );
}

#[test]
fn many_rows_are_merged() {
    let all: Vec<Made> = (0..3).map(|host| made(&format!("web{host}"))).collect();
    for (place, made) in all.iter().enumerate() {
        for group in 0..4 {
            // 200 forks in a row group, of which those of other groups are older.
            let forks = |row: i32| {
                let number = row * 4 + (group + 1) % 4;
                made.fork(
                    f64::from(number * 3) / 1e3 + place as f64 / 1e3,
                    number * 3 + place as i32,
                    1,
                )
            };
            made.rows(&(0..200).map(forks).collect::<Vec<_>>());
        }
        made.end(9.0);
    }
    let rows = csv(&[&all[0], &all[1], &all[2]], &["cat", "fork", "--columns", "pid"]);
    let expected = (0..2400).map(|pid| format!("web{},{pid}", pid % 3));
    assert_eq!(rows[1..], expected.collect::<Vec<_>>());
}

#[test]
fn pids_of_two_hosts_are_two_processes() {
    let (one, other) = pair();
    assert_eq!(
        csv(&[&one, &other], &["opens", "--by", "process"]),
        [
            "host,pid,comm,count,failed,time",
            "web1,10,opener,2,0,3000",
            "web2,10,opener,1,0,1500",
            "web2,11,opener,1,1,1500",
        ]
    );
    assert_eq!(
        csv(&[&one, &other], &["opens", "--by", "path"]),
        ["count,failed,time,path", "3,1,4500,/etc/passwd", "1,0,1500,/etc/hosts"]
    );
    assert_eq!(
        csv(&[&one, &other], &["opens", "--by", "host,path"]),
        [
            "host,count,failed,time,path",
            "web1,1,0,1500,/etc/hosts",
            "web1,1,0,1500,/etc/passwd",
            "web2,2,1,3000,/etc/passwd",
        ]
    );
}

#[test]
fn a_section_stands_under_the_heading_of_its_host() {
    let (one, other) = pair();
    let lines = lines(&[&one, &other], &["opens", "--by", "process"]);
    let place = |line: &str| lines.iter().position(|other| other.starts_with(line));
    let order = ["# web1: 2026", "10 opener 2 0 3.0µs", "# web2: 2026", "11 opener 1 1 1.5µs"];
    let places: Vec<_> = order.iter().map(|line| place(line).expect(line)).collect();
    assert!(places.is_sorted(), "{lines:?}");
}

#[test]
fn recordings_of_one_boot_add_up_by_process() {
    let (first, second) = (made("web1"), made("web1"));
    first.rows(&[first.opened(1.0, 10, Some("/a"), None, Ok(3))]);
    first.end(2.0);
    second.rows(&[second.opened(3.0, 10, Some("/b"), None, Ok(3))]);
    second.end(4.0);
    let by_process = |of: &[&Made]| csv(of, &["opens", "--by", "process"]);
    assert_eq!(by_process(&[&first, &second])[1..], ["web1,10,opener,2,0,3000"]);
    let again = made("web1");
    again.host("web1", "another boot");
    again.rows(&[again.opened(3.0, 10, Some("/b"), None, Ok(3))]);
    again.end(4.0);
    assert_eq!(by_process(&[&first, &again])[1..], ["web1,10,opener,1,0,1500"; 2]);
}

#[test]
fn hosts_are_chosen() {
    let (one, other) = pair();
    let of = |args: &[&str]| csv(&[&one, &other], &[&["opens"], args].concat()).len() - 1;
    assert_eq!(of(&["--host", "web2"]), 2);
    assert_eq!(of(&["--host", "web1", "--host", "web2"]), 4);
    let error = error(&[&one, &other], &["opens", "--host", "db"]);
    assert!(error.contains("--host db: ") && error.contains("web1, web2"), "{error}");
}

#[test]
fn a_single_recording_is_told_as_ever_unless_by_host() {
    let (one, _) = pair();
    let alone = |args: &[&str]| analyze(&one, args).expect("it is whole");
    assert!(alone(&["opens"]).starts_with("# 2026-11-22T10:15:00Z + 5.0 s, nothing lost\nTIME "));
    assert_eq!(csv(&[&one], &["opens", "--by", "path,host"]).len(), 3);
    assert_eq!(csv(&[&one], &["opens", "--by", "host,path"])[0], "host,count,failed,time,path");
    assert!(error(&[&one], &["opens", "--by", "path,process"]).contains("takes one of these"));
    assert!(
        error(&[&one], &["opens", "--by", "pid"]).contains("possible values: process, path, host")
    );
}

#[test]
fn a_lossy_host_is_told_among_whole_ones() {
    let (one, other) = pair();
    other.rows(&[other.loss("open", "ring full", 1234, 3.1, 4.2)]);
    other.end(6.0);
    let lines = lines(&[&one, &other], &["opens", "--by", "path"]);
    let found = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(found("# web1: 2026-11-22T10:15:00Z + 5.0 s, nothing lost"), "{lines:?}");
    assert!(found("# web2: 2026-11-22T10:15:00Z + 6.0 s, 1,234 events lost"), "{lines:?}");
    assert!(found("# web2: LOSSY: 1,234 of open's events lost (ring full)"), "{lines:?}");
}

#[test]
fn a_clock_that_was_set_is_put_right() {
    let (right, wrong) = (made("right"), made("wrong"));
    right.rows(&[right.fork(100.5, 1, 1)]);
    right.end(200.0);
    // Set 100 s forward after 3 s, and read late once.
    wrong.rows(&[
        wrong.clocks(0.0, (0.0, 0.0)),
        wrong.clocks(1.0, (0.0, 0.0)),
        wrong.clocks(2.0, (0.0, 0.05)),
        wrong.clocks(3.0, (0.0, 100.0)),
        wrong.clocks(4.0, (0.0, 100.0)),
        wrong.fork(0.25, 2, 1),
        wrong.fork(3.5, 3, 1),
    ]);
    wrong.end(5.0);
    assert_eq!(
        csv(&[&right, &wrong], &["cat", "fork", "--columns", "ts,pid"])[1..],
        [
            "wrong,1795342600250000000,2",
            "right,1795342600500000000,1",
            "wrong,1795342603500000000,3",
        ]
    );
    let since = ["cat", "fork", "--columns", "pid", "--since", "100.3s"];
    assert_eq!(csv(&[&right, &wrong], &since)[1..], ["right,1", "wrong,3"]);
    let said = lines(&[&right, &wrong], &["cat", "fork"]);
    let set = "# wrong: its wall clock was set by +100.0 s, 3.0 s after the start: ";
    assert!(said.iter().any(|line| line.starts_with(set)), "{said:?}");
    assert!(said.iter().any(|line| line == "# wrong: 2026-11-22T10:16:40Z + 5.0 s, nothing lost; times within 0ns of its wall clock"));
    // The first recording of the boot, which ended before, knows it from the second.
    let before = made("wrong");
    before.rows(&[before.clocks(0.0, (0.0, 0.0)), before.fork(0.5, 4, 1)]);
    before.end(1.0);
    let rows = csv(&[&right, &before, &wrong], &["cat", "fork", "--columns", "pid"]);
    assert_eq!(rows[1..], ["wrong,2", "right,1", "wrong,4", "wrong,3"]);
}

#[test]
fn what_came_after_a_sleep_is_later() {
    let (awake, slept) = (made("awake"), made("slept"));
    awake.rows(&[awake.fork(30.0, 1, 1)]);
    awake.end(60.0);
    slept.rows(&[
        slept.clocks(1.0, (0.0, 0.0)),
        slept.clocks(2.0, (50.0, 0.0)),
        slept.clocks(3.0, (50.0, 0.0)),
        slept.fork(0.5, 2, 1),
        slept.fork(2.5, 3, 1),
    ]);
    slept.end(3.0);
    let rows = csv(&[&awake, &slept], &["cat", "fork", "--columns", "pid"]);
    assert_eq!(rows[1..], ["slept,2", "awake,1", "slept,3"]);
    let said = lines(&[&awake, &slept], &["cat", "fork"]);
    assert!(
        said.iter().any(|line| line.contains("# slept: it slept for 50.0 s until 2.0 s after"))
    );
}

#[test]
fn folders_tell_hosts() {
    let fleet = tempfile::tempdir().expect("tests may write temporary files");
    let (one, other) = pair();
    // Both call themselves the same; and one folder is a recording.
    other.host("web1", "boot of web2");
    other.end(6.0);
    for (made, place) in [(&one, "host=a"), (&other, "host=b/first"), (&one, "host=b/second")] {
        copy(made.path(), &fleet.path().join(place));
    }
    std::fs::write(fleet.path().join("host=b/README"), "")
        .expect("tests may write temporary files");
    let of = |place: &str, args: &[&str]| {
        let path = fleet.path().join(place);
        let args = [&["opens"], args, &["--format", "csv"]].concat();
        analyze_all(&[&path], &args).expect("nothing is wrong").lines().map(str::to_owned).collect()
    };
    let hosts = |lines: Vec<String>| -> Vec<String> {
        lines.iter().skip(1).map(|line| line[..1].to_owned()).collect()
    };
    assert_eq!(hosts(of("", &[])), ["a", "b", "b", "a", "b", "b"]);
    assert_eq!(hosts(of("", &["--host", "b"])), ["b"; 4]);
    assert_eq!(hosts(of("host=b", &[])), ["b"; 4]);
    assert_eq!(hosts(of("host=b/first", &[])), ["b"; 2]);
    assert_eq!(hosts(of("host=a", &[])), ["a"; 2]);
    std::os::unix::fs::symlink(one.path(), fleet.path().join("host=b/third"))
        .expect("tests may write temporary files");
    assert_eq!(hosts(of("host=b", &[])), ["b"; 6]);
    std::fs::create_dir(fleet.path().join("host=c")).expect("tests may write temporary files");
    let error = analyze_all(&[fleet.path()], &["opens"]).expect_err("host c has none");
    assert!(format!("{error:#}").contains("host=c: there is no recording in it"), "{error:#}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("tests may write temporary files");
    for entry in std::fs::read_dir(from).expect("the recording is there") {
        let path = entry.expect("the recording is there").path();
        let to = to.join(path.file_name().expect("it has a name"));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(std::fs::copy(&path, &to).expect("tests may write temporary files")),
        }
    }
}

#[test]
fn a_flame_graph_has_hosts_at_its_root() {
    let (one, other) = (made("web1"), made("web2"));
    for (made, id) in [(&one, 1), (&other, 7)] {
        // The same function by another number.
        made.rows(&[
            made.stack(id, &[id], false),
            made.frame(id, false, Some("/bin/app"), Some(0x10)),
            made.symbol(id, 0, "main"),
            made.sample(1.0, 10, "app", Some(id), None),
        ]);
        made.end(2.0);
    }
    other.rows(&[other.sample(1.5, 10, "app", Some(7), None)]);
    other.end(2.0);
    let folded =
        |args: &[&str]| lines(&[&one, &other], &[&["flamegraph", "--folded"], args].concat());
    assert_eq!(folded(&[]), ["app;main 30"]);
    assert_eq!(folded(&["--by", "host"]), ["web1;app;main 10", "web2;app;main 20"]);
    assert_eq!(folded(&["--by", "host", "--reverse"]), ["main;app;web1 10", "main;app;web2 20"]);
    let svg = report(&[&one, &other], &["flamegraph"]);
    assert!(svg.contains("CPU time on web1, web2") && svg.contains("web2: 2026-"), "{svg}");
}

/// A recording with a little of everything, `scale` times as much of what is counted.
fn of_everything(host: &str, scale: i32) -> Made {
    let made = made(host);
    for round in 0..scale {
        let at = f64::from(round) / 10.0;
        let slab = Kernel {
            seconds: 1.0 + at,
            kind: 0,
            address: 0xa + i64::from(round) * 64,
            bytes: 64,
            stack: 1,
            pid: 10,
        };
        made.rows(&[
            made.fork(0.4 + at, 10 + round, 1),
            made.exec(0.5 + at, 10 + round, 1, &["/bin/app"]),
            made.signal(1.0 + at, Some(10), 11, 15, 0),
            made.kill(1.1 + at, 10, 11, 15, 0),
            made.syscall(1.2 + at, 10, 1, Some(-2)),
            made.opened(1.3 + at, 10, Some("/etc/passwd"), None, Ok(3)),
            made.unlink(1.4 + at, 10, 0, "/tmp/a", None, 0),
            made.runq(1.5 + at, 10, 10, 1000, 11, 0),
            made.offcpu(Away::slept(1.6 + at, 10, "app", 5)),
            made.hardirq(1.7 + at, "eth0", 0, 10, 1500),
            made.softirq(1.7 + at, 3, 0, 10, 2000),
            made.tcpconnect(1.8 + at, 10, 443, Some(0)),
            made.tcpstate(1.8 + at, 2 + i64::from(round), (10, 3), Some(10)),
            made.tcpstate(1.9 + at, 2 + i64::from(round), (3, 1), Some(10)),
            made.tcpstate(2.0 + at, 2 + i64::from(round), (1, 7), Some(10)),
            made.tcprtt(2.1 + at, Some(10), "10.0.0.2", 100_000, 1),
            made.lsmconnect(2.2 + at, 10, Some("10.0.0.9"), 0),
            made.kalloc(&slab),
            made.alloc(Heap::malloc(2.3 + at, 10, 0x1000 + i64::from(round) * 64, 32, 1)),
            made.alloc(Heap::malloc(2.31 + at, 10, 0x9000, 8, 1)),
            made.alloc(Heap::free(2.32 + at, 10, 0x9000)),
            made.vm(Mapping::mmap(2.3 + at, 10, 0x10_0000 + i64::from(round) * 0x1000, 0x1000, 1)),
            made.sample(2.4 + at, 10, "app", Some(1), None),
            made.readline(2.5 + at, 10, Some("ls"), false),
            made.hit(Hit {
                seconds: 2.6 + at,
                name: "x",
                pid: 10,
                numbers: [Some(5), None, None, None, None, None],
                ..Hit::default()
            }),
            made.span(Stretch::new(2.7 + at, 10, "request", 3)),
            made.gc(Collection::hotspot(2.8 + at, 10, 4)),
            made.gc(Collection::hotspot(2.8 + at, 10, 4).pool("Copy", "Eden Space", (2048, 1024))),
            made.exit(4.0 + at, 10 + round, 1, 0.4 + at, Ok(0)),
        ]);
    }
    made.end(9.0);
    made
}

/// The rows of a report in CSV, as values by column.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.deserialize().map(|row| row.expect("it is CSV"));
    rows.collect()
}

/// What of sums adds up.
const AMOUNTS: [&str; 4] = ["count", "hits", "weight", "allocations"];

#[test]
fn every_report_on_two_recordings_says_what_those_on_each_say() {
    let (one, other) = (of_everything("web1", 2), of_everything("web2", 3));
    for args in crate::cli::tests::REPORTS {
        let of = |made: &Made| table(&analyze(made, args).expect("it is whole"));
        let (first, second) = (of(&one), of(&other));
        let both = report(&[&one, &other], args);
        let all = table(&both);
        let header = both.lines().next().unwrap_or_default();
        if header.starts_with("host,") {
            let mut kept: Vec<BTreeMap<String, String>> = all.clone();
            let hosts: Vec<Option<String>> =
                kept.iter_mut().map(|row| row.remove("host")).collect();
            let of_host = |host: &str| -> Vec<BTreeMap<String, String>> {
                let rows = std::iter::zip(&hosts, &kept);
                rows.filter(|(of, _)| of.as_deref() == Some(host))
                    .map(|(_, row)| row.clone())
                    .collect()
            };
            assert_eq!(of_host("web1"), first, "{args:?}: {both}");
            assert_eq!(of_host("web2"), second, "{args:?}: {both}");
            assert_eq!(all.len(), first.len() + second.len(), "{args:?}");
        } else {
            let column =
                AMOUNTS.iter().find(|name| header.split(',').any(|column| column == **name));
            let column = column.unwrap_or_else(|| panic!("{args:?}: nothing adds up in {header}"));
            let sum = |rows: &[BTreeMap<String, String>]| -> i64 {
                rows.iter().map(|row| row[*column].parse::<i64>().expect("a number")).sum()
            };
            assert!(
                sum(&first) > 0 && sum(&second) > sum(&first),
                "{args:?}: {first:?}, {second:?}"
            );
            assert_eq!(sum(&all), sum(&first) + sum(&second), "{args:?}: {both}");
        }
    }
}

#[test]
fn every_report_says_something_of_the_recording_with_everything() {
    // Or the test above would compare nothing with nothing.
    let made = of_everything("web1", 2);
    let is_empty = |args: &&&[&str]| table(&analyze(&made, args).expect("it is whole")).is_empty();
    let empty: Vec<&&[&str]> = crate::cli::tests::REPORTS.iter().filter(is_empty).collect();
    assert_eq!(empty, [&["spans", "--unfinished", "--format", "csv"]]);
}

#[test]
fn a_cgroup_that_one_host_lacks_is_said() {
    let (one, other) = pair();
    other.rows(&[
        other.cgroup(0.0, 5, "/web"),
        other.exec_in(1.0, 11, 1, &["/bin/web"], Some(5), None),
    ]);
    other.end(6.0);
    let of_cgroup = ["opens", "--by", "path", "--cgroup", "/web"];
    let said = lines(&[&one, &other], &of_cgroup);
    assert!(said.iter().any(|line| line.starts_with("# web1: --cgroup /web: ")), "{said:?}");
    // Also if what lacks it comes last, and has the sums of all to print.
    for of in [[&one, &other], [&other, &one]] {
        assert_eq!(csv(&of, &of_cgroup)[1..], ["1,1,1500,/etc/passwd"]);
    }
    assert!(error(&[&one], &of_cgroup).contains("knows no such cgroup"));
}

#[test]
fn a_recording_that_is_named_twice_is_refused() {
    let (one, other) = pair();
    assert!(error(&[&one, &other, &one], &["opens"]).contains("is named twice"));
}

#[test]
fn an_instant_may_lie_in_one_recording_only() {
    let (one, other) = (made("web1"), made("web2"));
    one.rows(&[one.alloc(Heap::malloc(1.0, 10, 0x1000, 32, 1))]);
    one.end(2.0);
    other.rows(&[other.alloc(Heap::malloc(1.0, 10, 0x1000, 64, 1))]);
    other.end(9.0);
    let at = ["memleak", "--at", "5s", "--combined-only"];
    let rows = csv(&[&one, &other], &at);
    assert!(rows.len() == 2 && rows[1].starts_with("web2,"), "{rows:?}");
    let said = lines(&[&one, &other], &at);
    assert!(said.iter().any(|line| line.starts_with("# web1: --at 5s lies outside")), "{said:?}");
    assert!(error(&[&one], &at).contains("lies outside"));
}

#[test]
fn what_to_read_follows_the_recordings() {
    let (one, other) = pair();
    let header = |args: &[&str]| csv(&[&one, &other], args)[0].clone();
    assert_eq!(header(&["cat", "--columns", "pid", "open"]), "host,pid");
    assert_eq!(
        header(&["histogram", "open", "duration", "--by", "comm,host"]),
        "host,comm,low,high,count"
    );
    assert_eq!(
        header(&["histogram", "open", "--by", "pid", "duration"]),
        "host,pid,low,high,count"
    );
    assert!(error(&[&one], &["cat"]).contains("which RECORDING, TABLE?"));
    assert!(error(&[&one], &["cat", "opne"]).contains("opne: there is no such table"));
}

#[test]
fn a_damaged_recording_among_whole_ones_is_an_error_that_names_it() {
    let (one, other) = pair();
    let segment = other.path().join("open/000001.parquet");
    std::fs::write(&segment, "PAR1").expect("tests may write temporary files");
    for args in [&["opens"][..], &["opens", "--by", "path"], &["cat", "open"]] {
        let error = error(&[&one, &other], args);
        assert!(error.contains("open/000001.parquet"), "{args:?}: {error}");
    }
    assert_eq!(
        csv(&[&one, &other], &["check"])[1..]
            .iter()
            .filter(|row| row.starts_with("web2,damage,"))
            .count(),
        1
    );
}

#[test]
fn names_of_hosts_are_only_text() {
    let hostile = made("web\x1b[31m\n");
    hostile.rows(&[hostile.opened(1.0, 10, Some("/a"), None, Ok(3))]);
    hostile.end(2.0);
    let (one, _) = pair();
    for args in [&["opens"][..], &["opens", "--by", "process"], &["opens", "--by", "host,path"]] {
        let text = report(&[&one, &hostile], args);
        assert!(!text.contains('\x1b') && text.contains("\\x1b[31m\\n"), "{text:?}");
    }
}
