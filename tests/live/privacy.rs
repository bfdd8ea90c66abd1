//! Whom a recording tells what: its rights and its owner, and redaction.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::AsArray as _;
use lookback_schemas::cell::View as _;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::{Exec, Frame, Open, Symbol, Tcpconnect, Unlink};
use lookback_schemas::{Error, TableId, What};
use serde_json::Value;
use tempfile::TempDir;

use super::symbols::analyze;
use super::{missing, shared};
use crate::recording::{
    RECORD, Record, Recorder, known, row_where, rows_in_time, rows_where, table, texts,
};
use crate::running::{Running, run, wait_for};
use crate::workload;

/// A user who is nobody.
const CALLER: u32 = 65534;

/// All files and folders at and below a path.
fn all_below(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            all.extend(all_below(&entry.unwrap().path()));
        }
    }
    all
}

/// Fails unless all of it is for its owner alone; gives how many files there are.
fn assert_private(path: &Path) -> usize {
    let all = all_below(path);
    for path in &all {
        let data = path.symlink_metadata().unwrap();
        let wanted = if data.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(data.mode() & 0o7777, wanted, "{}", path.display());
    }
    all.iter().filter(|path| path.is_file()).count()
}

#[test]
fn a_recording_is_for_its_owner_alone_whatever_the_umask() {
    let Some(_turn) = shared(&["process", "profile"]) else { return };
    for umask in ["000", "022", "277"] {
        let record = Record::trace("process,profile").umask(umask);
        let record = record.options(["--frequency", "999", "--keep-binaries", "--", "sh", "-c"]);
        let script = format!("umask; {} shares 200", workload::path("burner").display());
        let recorded = record.options([script]).run();
        let own = format!("0{umask}\n");
        assert!(recorded.stdout().starts_with(&own), "the command's: {}", recorded.stdout());
        let recording = recorded.recording.directory();
        assert!(recording.join("binaries").is_dir());
        assert!(assert_private(recording) > 10);

        // And what is written later.
        fs::remove_dir_all(recording.join("symbol")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (copy, bundle) = (directory.path().join("copy"), directory.path().join("all.tar.zst"));
        let later = |options: &[&std::ffi::OsStr]| {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
            let ended = run(shell.arg(env!("CARGO_BIN_EXE_analyze")).args(options));
            assert!(ended.status.success(), "{options:?}: {}", ended.stderr);
        };
        later(&["symbolize".as_ref(), recording.as_ref()]);
        later(&["redact".as_ref(), recording.as_ref(), "-o".as_ref(), copy.as_ref()]);
        later(&["bundle".as_ref(), recording.as_ref(), "-o".as_ref(), bundle.as_ref()]);
        assert!(recording.join("symbol").is_dir());
        assert_private(recording);
        assert!(assert_private(&copy) > 10);
        assert_private(&bundle);
        let archive = zstd::decode_all(fs::File::open(&bundle).unwrap()).unwrap();
        let unpacked = directory.path().join("unpacked");
        fs::create_dir(&unpacked).unwrap();
        fs::write(directory.path().join("all.tar"), archive).unwrap();
        let ended = run(Command::new("tar").args(["-xf", "../all.tar"]).current_dir(&unpacked));
        assert!(ended.status.success(), "{}", ended.stderr);
        let inner = unpacked.join(recording.file_name().unwrap());
        assert_eq!(inner.metadata().unwrap().mode() & 0o777, 0o700, "nobody gets into it");
    }
}

#[test]
fn what_is_left_of_a_killed_recorder_and_its_repair_are_for_the_owner_alone() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let ticker = ticker();
    let record = Record::trace("signal").umask("000").pid(ticker.pid());
    let mut recorder = record.start();
    recorder.attached();
    let signals = recorder.output().join("kill/000001.parquet");
    wait_for("calls on disk", || signals.exists().then_some(()));
    assert!(assert_private(&recorder.output()) > 3, "also while it records");
    recorder.running.signal(libc::SIGKILL);
    let output = recorder.output();
    wait_for("its end", || recorder.running.has_ended().then_some(()));
    // As if it had been a while ago.
    let old = ["-d", "1 hour ago"];
    let sidecars = all_below(&output).into_iter().filter(|path| path.is_file());
    assert!(run(Command::new("touch").args(old).args(sidecars)).status.success());
    let ended = analyze("repair", &output, &[], &[]);
    assert!(ended.stderr.contains("repaired"), "{}", ended.stderr);
    assert_private(&output);
}

/// A process to record.
fn ticker() -> Running {
    let mut running = Running::start(&mut Command::new(workload::path("ticker")));
    running.await_line("ticker");
    running
}

// --- Under sudo ---

/// A folder of the caller's.
fn home() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(directory.path(), Some(CALLER), Some(CALLER)).unwrap();
    directory
}

/// The recorder as sudo starts it.
fn sudo(tracers: &str, directory: TempDir, output: &str) -> Record {
    let record = Record::trace_into(tracers, directory, output);
    record.env("SUDO_UID", CALLER.to_string()).env("SUDO_GID", CALLER.to_string())
}

#[test]
fn under_sudo_a_recording_is_the_callers() {
    let Some(_turn) = shared(&["process", "profile"]) else { return };
    let record = sudo("process,profile", home(), "recording");
    let record = record.options(["--quiet", "--frequency", "999", "--keep-binaries"]);
    let recorded = record.workload("burner", ["shares", "200"]).run();
    let recording = recorded.recording.directory();
    assert!(recording.join("binaries").is_dir());
    assert!(assert_private(recording) > 10);
    for path in all_below(recording) {
        let data = path.symlink_metadata().unwrap();
        assert_eq!((data.uid(), data.gid()), (CALLER, CALLER), "{}", path.display());
    }
    let symbols = recorded.table::<Symbol>();
    let hot = rows_where(&symbols, |row| symbols.name.value(row) == "hot");
    assert!(!hot.is_empty(), "binaries are found by root, and written by the caller");
}

#[test]
fn the_caller_of_sudo_cannot_have_root_write_where_they_may_not() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let roots = tempfile::tempdir().unwrap();
    let home = home();
    symlink(roots.path(), home.path().join("trap")).unwrap();
    let record = sudo("signal", home, "trap/recording").options(["--", "true"]);
    let mut recorder = record.start();
    wait_for("its end", || recorder.running.has_ended().then_some(()));
    let ended = recorder.running.end();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("user 65534, who called sudo"), "{}", ended.stderr);
    assert!(ended.stderr.contains("choose another directory"), "{}", ended.stderr);
    assert_eq!(fs::read_dir(roots.path()).unwrap().count(), 0);
}

#[test]
fn a_link_that_takes_the_recordings_place_leads_nowhere() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let roots = tempfile::tempdir().unwrap();
    // What the recorder would write over, and create.
    let [manifest, table] = ["manifest.json", "kill"].map(|name| roots.path().join(name));
    fs::write(&manifest, "root's").unwrap();
    fs::create_dir(&table).unwrap();
    let home = home();
    let place = home.path().join("recording");
    let ticker = ticker();
    let record = sudo("signal", home, "recording").options(["--quiet"]).pid(ticker.pid());
    let mut recorder = record.start();
    recorder.attached();
    fs::rename(&place, place.with_file_name("away")).unwrap();
    symlink(roots.path(), &place).unwrap();
    // It writes the manifest every few seconds, and sidecars every second.
    wait_for("its end", || recorder.running.has_ended().then_some(()));
    let ended = recorder.running.end();
    assert_ne!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("ermission denied"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&manifest).unwrap(), "root's");
    assert_eq!(fs::read_dir(&table).unwrap().count(), 0);
    assert_eq!(fs::read_dir(roots.path()).unwrap().count(), 2, "nothing came beside them");
}

#[test]
fn where_only_root_can_write_the_recording_is_roots() {
    let Some(_turn) = shared(&["signal"]) else { return };
    let Ok(directory) = tempfile::tempdir_in("/var/lib") else {
        return missing("nothing can be written to /var/lib");
    };
    let recorded =
        sudo("signal", directory, "recording").options(["--", "true"]).start().finish_anyhow();
    assert!(recorded.ended.status.success());
    assert!(
        recorded.ended.stderr.contains("only root can write there"),
        "{}",
        recorded.ended.stderr
    );
    let recording = recorded.recording.directory();
    assert_eq!(recording.metadata().unwrap().uid(), 0);
    assert!(assert_private(recording) > 3);
}

// --- Redaction ---

/// Words that nothing else has.
const SECRETS: [&str; 3] = ["qzargument", "qzpathname", "198.51.100.77"];

/// Does things with them: arguments, paths of a program, of its working directory, and of files, an address.
const SCRIPT: &str = "
    mkdir \"$0/qzpathname-folder\" && cd \"$0/qzpathname-folder\" && cp \"$1\" burner
    echo x > qzpathname-one; echo x > qzpathname-two
    cat qzpathname-one \"$0/qzpathname-folder/qzpathname-one\" qzpathname-two > /dev/null
    /bin/true qzargument-same; /bin/true qzargument-same; /bin/true qzargument-other
    mv qzpathname-one qzpathname-three; rm \"$0/qzpathname-folder/qzpathname-three\"
    \"$0/qzpathname-folder/burner\" shares 300
    ip link set lo up; ip address add 198.51.100.77/32 dev lo
    python3 -c 'import socket
for port in 1, 2: socket.socket().connect_ex((\"198.51.100.77\", port))'";

const TRACERS: &str = "process,open,unlink,profile,tcpconnect,tcpstate";

/// Records the script, in a network of its own.
fn record_secrets(options: &[&str]) -> (Recorder, TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let record = Record::trace(TRACERS).options(["--frequency", "999"]).options(options);
    let record = record.options(["--", "unshare", "--net", "sh", "-ec", SCRIPT]);
    let record = record.options([scratch.path(), &workload::path("burner")]);
    (record.start(), scratch)
}

/// The texts of a recording, by column.
fn all_texts(recording: &Recording) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in TableId::ALL {
        let read = recording.scan_table(*id, ALL_TIME).for_each::<Error>(|_, batch| {
            for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
                let name = format!("{}.{}", id.name(), field.name());
                let texts = match (array.as_string_opt::<i32>(), array.as_list_opt::<i32>()) {
                    (Some(texts), _) => texts,
                    (None, Some(list)) if list.values().as_string_opt::<i32>().is_some() => {
                        list.values().as_string()
                    }
                    (None, _) => continue,
                };
                all.entry(name).or_default().extend(texts.iter().flatten().map(str::to_owned));
            }
            Ok(())
        });
        read.unwrap();
    }
    all
}

/// Where in a recording these words are: columns of tables, and files as they are.
pub fn found(recording: &Path, secrets: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for (column, texts) in all_texts(&Recording::open(recording).unwrap()) {
        for text in texts {
            if secrets.iter().any(|secret| text.contains(secret)) {
                places.push(format!("{column}: {text}"));
            }
        }
    }
    for path in all_below(recording).iter().filter(|path| path.is_file()) {
        let bytes = fs::read(path).unwrap();
        for secret in secrets {
            if bytes.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                places.push(format!("{}: {secret}", path.display()));
            }
        }
    }
    places
}

/// How often each value of a report's column occurs, without the values.
fn counts(rows: &[Value], column: &str) -> Vec<usize> {
    let mut by_value: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        *by_value.entry(row[column].to_string()).or_default() += 1;
    }
    let mut counts: Vec<usize> = by_value.into_values().collect();
    counts.sort_unstable();
    counts
}

fn report(recording: &Path, command: &[&str]) -> Vec<Value> {
    let (name, options) = command.split_first().unwrap();
    let options: Vec<&str> = options.iter().copied().chain(["--format", "json"]).collect();
    serde_json::from_str(&analyze(name, recording, &options, &[]).stdout).unwrap()
}

/// Fails unless equal values are equal in what is left of the secrets, and others are not.
fn check_joins(recording: &Path) {
    let opened = Recording::open(recording).unwrap();
    let execs = table::<Exec>(&opened);
    let trues = rows_in_time(&execs.ts, |row| known(&execs.comm, row) == Some("true"));
    let argv: Vec<Vec<String>> = trues.iter().map(|row| texts(&execs.argv.value(*row))).collect();
    let [same, again, other] = argv.as_slice() else { panic!("{argv:?}") };
    assert_eq!(same, again);
    assert_eq!(same[0], other[0], "each argument by itself");
    assert_ne!(same[1], other[1]);

    let opens = table::<Open>(&opened);
    let cats = rows_in_time(&opens.ts, |row| {
        known(&opens.comm, row) == Some("cat") && opens.result.value(row) >= 0
    });
    let last = &cats[cats.len() - 3..];
    let [one, absolute, two] = [last[0], last[1], last[2]].map(|row| {
        (known(&opens.dir, row).map(str::to_owned), known(&opens.path, row).unwrap().to_owned())
    });
    assert_eq!(format!("{}/{}", one.0.as_ref().unwrap(), one.1), absolute.1, "paths still join");
    assert_eq!((one.0, absolute.0), (two.0, None));
    assert_ne!(one.1, two.1);
    let unlinks = table::<Unlink>(&opened);
    let moved = row_where(&unlinks, "mv", |row| known(&unlinks.comm, row) == Some("mv"));
    assert_eq!(known(&unlinks.path, moved), Some(one.1.as_str()), "also across tables");

    // Frames of one file are of one file, and have their names.
    let (frames, symbols) = (table::<Frame>(&opened), table::<Symbol>(&opened));
    let burner = row_where(&execs, "the burner", |row| known(&execs.comm, row) == Some("burner"));
    let file = known(&execs.filename, burner).unwrap();
    let ids: Vec<i64> = rows_where(&frames, |row| known(&frames.module, row) == Some(file))
        .iter()
        .map(|row| frames.id.value(*row))
        .collect();
    let hot = rows_where(&symbols, |row| symbols.name.value(row) == "hot");
    assert!(hot.iter().any(|row| ids.contains(&symbols.frame.value(*row))), "hot is in {file}");

    let connects = table::<Tcpconnect>(&opened);
    assert_eq!(connects.rows(), 2);
    let connects_in_time = rows_in_time(&connects.ts, |_| true);
    let [first, second] = [0, 1].map(|at| connects_in_time[at]);
    assert_eq!(known(&connects.raddr, first), known(&connects.raddr, second));
    assert_eq!([first, second].map(|row| connects.rport.value(row)), [1, 2], "ports stay");
}

fn possible() -> bool {
    let all = ["unshare", "ip", "python3"].iter().all(|program| workload::is_installed(program));
    if !all {
        missing("unshare, ip or python3 is not installed");
    }
    all
}

#[test]
fn nothing_of_what_is_redacted_at_recording_is_in_any_file() {
    let Some(_turn) = shared(&TRACERS.split(',').collect::<Vec<_>>()) else { return };
    if !possible() {
        return;
    }
    let (recorder, _scratch) = record_secrets(&["--redact", "argv,paths,addresses,lines"]);
    let recorded = recorder.finish();
    recorded.assert_nothing_of_ours_lost();
    let recording = recorded.recording.directory();
    assert_eq!(found(recording, &SECRETS), [""; 0]);
    let passes = &recorded.recording.manifest().redacted;
    assert_eq!(passes.len(), 1);
    assert_eq!(
        (passes[0].what.as_slice(), &passes[0].key),
        (&What::ALL.map(|what| what.name().to_owned())[..], &None)
    );
    check_joins(recording);
    let said = analyze("info", recording, &[], &[]).stdout;
    assert!(said.contains("argv, paths, addresses, lines with a random key"), "{said}");
    let check = analyze("check", recording, &[], &[]).stdout;
    assert!(check.contains("whole"), "{check}");
    let addresses = all_texts(&recorded.recording).remove("tcpconnect.raddr").unwrap();
    assert!(addresses.iter().all(|address| address.starts_with("ip4~")), "{addresses:?}");
}

#[test]
fn nothing_of_what_is_redacted_later_is_in_the_copy_and_reports_count_the_same() {
    let Some(_turn) = shared(&TRACERS.split(',').collect::<Vec<_>>()) else { return };
    if !possible() {
        return;
    }
    let (recorder, _scratch) = record_secrets(&[]);
    let recorded = recorder.finish();
    let plain = recorded.recording.directory();
    for secret in SECRETS {
        assert!(found(plain, &[secret]).len() > 3, "{secret} was not recorded");
    }
    check_joins(plain);

    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("copy");
    analyze("redact", plain, &["--output", copy.to_str().unwrap()], &[]);
    assert_eq!(found(&copy, &SECRETS), [""; 0]);
    check_joins(&copy);
    let check = analyze("check", &copy, &[], &[]).stdout;
    assert!(check.contains("whole"), "{check}");
    for (command, column) in [
        (&["opens", "--by", "path"][..], "path"),
        (&["cat", "exec"], "argv"),
        (&["cat", "unlink"], "dir"),
        (&["cat", "symbol"], "file"),
        (&["cat", "tcpstate"], "raddr"),
    ] {
        let [before, after] = [plain, &copy].map(|recording| report(recording, command));
        assert!(!before.is_empty() && before[0].get(column).is_some(), "{command:?}");
        assert_eq!(counts(&before, column), counts(&after, column), "{command:?}");
        assert_eq!(before.len(), after.len());
    }

    // Only what is asked for, and in two passes.
    let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
    let key = directory.path().join("key");
    fs::write(&key, [b'k'; 32]).unwrap();
    let key = ["--redact-key", key.to_str().unwrap()];
    let pass = |from: &Path, to: &Path, what| {
        let options = ["--output", to.to_str().unwrap(), "--what", what, key[0], key[1]];
        analyze("redact", from, &options, &[]);
    };
    pass(plain, &first, "argv");
    assert_eq!(found(&first, &["qzargument"]), [""; 0]);
    let paths = found(&first, &["qzpathname"]);
    assert!(paths.iter().any(|place| place.starts_with("open.path")), "{paths:?}");
    pass(&first, &second, "paths,argv");
    assert_eq!(found(&second, &["qzargument", "qzpathname"]), [""; 0]);
    let addresses = found(&second, &["198.51.100.77"]);
    assert!(addresses.iter().any(|place| place.starts_with("tcpconnect.raddr")), "{addresses:?}");
    let opened = Recording::open(&second).unwrap();
    let passes = &opened.manifest().redacted;
    assert_eq!([&passes[0].what, &passes[1].what], [&["argv"], &["paths"]]);
    assert!(passes[0].key.is_some() && passes[0].key == passes[1].key);
    check_joins(&second);
}

#[test]
fn recordings_with_the_same_key_join() {
    let Some(_turn) = shared(&["process"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, [b'k'; 32]).unwrap();
    let record = |options: &[&str]| {
        let record = Record::trace("process").options(["--redact", "argv"]).options(options);
        let recorded = record.options(["--", "true", "qzargument"]).run();
        let execs = recorded.table::<Exec>();
        assert_eq!(execs.rows(), 1);
        texts(&execs.argv.value(0))
    };
    let key = ["--redact-key", key.to_str().unwrap()];
    let [one, two, other] = [record(&key), record(&key), record(&[])];
    assert_eq!(one, two);
    assert_ne!(one, other);
}

#[test]
fn what_would_keep_what_is_redacted_is_refused() {
    let refuse = |options: &[&str], why: &str| {
        let ended = run(Command::new(RECORD).args(options));
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    };
    refuse(&["--redact", "paths", "--keep-binaries", "--", "true"], "--keep-binaries");
    refuse(&["--redact", "names", "--", "true"], "argv, paths, addresses, lines");
    refuse(&["--redact-key", "/dev/null", "--", "true"], "--redact-key needs --redact");
    refuse(&["--redact", "argv", "--redact-key", "/dev/null", "--", "true"], "32 bytes");
}
