//! Names of frames, on this machine and on another: a program whose names and lines are known, stripped,
//! and its debug information in all the places where it can be.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lookback_schemas::cell::View as _;
use lookback_schemas::manifest::Symbols;
use lookback_schemas::recording::Recording;
use lookback_schemas::tables::{Frame, Symbol};
use tempfile::TempDir;

use super::{alone, missing};
use crate::recording::{Record, Recorded, known, rows_where, table, text};
use crate::running::{Ended, Running, run, wait_for};
use crate::workload;

/// A program in a directory of its own, with what was stripped from it beside the directory.
pub struct Stripped {
    directory: TempDir,
}

impl Stripped {
    pub fn of(program: &Path) -> Stripped {
        let directory = tempfile::tempdir().unwrap();
        let stripped = Stripped { directory };
        fs::create_dir(stripped.debug_dir()).unwrap();
        fs::create_dir(stripped.program().parent().unwrap()).unwrap();
        fs::copy(program, stripped.program()).unwrap();
        let debug = stripped.debug_dir().join("app.debug");
        let objcopy = |arguments: &[&Path]| {
            let ended = run(Command::new("objcopy").args(arguments));
            assert!(ended.status.success(), "{arguments:?}: {}", ended.stderr);
        };
        objcopy(&["--only-keep-debug".as_ref(), program, &debug]);
        objcopy(&["--strip-all".as_ref(), &stripped.program()]);
        stripped
    }

    pub fn program(&self) -> PathBuf {
        self.directory.path().join("bin/app")
    }

    pub fn debug_dir(&self) -> PathBuf {
        self.directory.path().join("debug")
    }

    /// Takes it away.
    fn remove(&self) {
        fs::remove_dir_all(self.program().parent().unwrap()).unwrap();
    }

    /// A recording in which it spends its time in `hot` and `warm`.
    pub fn record(&self, options: &[&str]) -> Recorded {
        let program = self.program();
        let arguments = [program.as_os_str(), "shares".as_ref(), "300".as_ref()];
        let record = Record::trace("process,profile").options(["--frequency", "499"]);
        record.options(options).options(["--"]).options(arguments).run()
    }
}

/// Runs a command of `analyze` on a recording.
pub fn analyze(
    command: &str,
    recording: &Path,
    options: &[&str],
    environment: &[(&str, &str)],
) -> Ended {
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_analyze"));
    analyze.arg(command).arg(recording).args(options);
    for variable in ["DEBUGINFOD_URLS", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        analyze.env_remove(variable);
    }
    let ended = run(analyze.envs(environment.iter().copied()));
    assert!(ended.status.success(), "{command}: {}", ended.stderr);
    ended
}

/// The source line that `function` has at its frames, if it has a name there.
fn lines_of(recording: &Path, function: &str) -> Vec<Option<String>> {
    let symbols = table::<Symbol>(&Recording::open(recording).unwrap());
    let rows = rows_where(&symbols, |row| symbols.name.value(row) == function);
    let place = |row: usize| {
        let file = known(&symbols.file, row)?.rsplit('/').next().unwrap().to_owned();
        Some(format!("{file}:{}", known(&symbols.line, row)?))
    };
    rows.into_iter().map(place).collect()
}

/// Fails unless `hot` has its name and a line in its source.
fn assert_named(recording: &Path, said: &str) {
    let lines = lines_of(recording, "hot");
    assert!(!lines.is_empty(), "no names: {said}");
    for line in lines {
        assert!(line.as_ref().is_some_and(|line| line.starts_with("burner.c:")), "{line:?}");
    }
    let check = analyze("check", recording, &[], &[]);
    assert!(check.stdout.contains("whole"), "{}", check.stdout);
}

fn assert_unnamed(recording: &Path) {
    assert!(lines_of(recording, "hot").is_empty(), "it is stripped");
}

#[test]
fn names_come_from_directories_of_debug_information() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let stripped = Stripped::of(&workload::path("burner"));
    let recorded = stripped.record(&[]);
    let recording = recorded.recording.directory();
    assert_unnamed(recording);
    let here = analyze("symbolize", recording, &[], &[]);
    assert_unnamed(recording);
    assert!(here.stderr.contains("before; 0 are better"), "{}", here.stderr);
    // A directory that is of other files, and then the right one, which has a link to itself.
    std::os::unix::fs::symlink(stripped.debug_dir(), stripped.debug_dir().join("again")).unwrap();
    let (wrong, right) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf"), stripped.debug_dir());
    let directories = [wrong, right].map(|directory| directory.to_str().unwrap().to_owned());
    let options = ["--debug-dir", &directories[0], "--debug-dir", &directories[1]];
    let ended = analyze("symbolize", recording, &options, &[]);
    assert_named(recording, &ended.stderr);
}

#[test]
fn the_layout_of_build_ids_is_known_without_a_debug_link() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let stripped = Stripped::of(&workload::path("burner"));
    let recorded = stripped.record(&[]);
    let frames = recorded.table::<Frame>();
    let program = stripped.program();
    let own = rows_where(&frames, |row| known(&frames.module, row) == program.to_str());
    let build_id = text(&frames.build_id, own[0]);
    let (first, rest) = build_id.split_at(2);
    let folder = stripped.debug_dir().join(".build-id").join(first);
    fs::create_dir_all(&folder).unwrap();
    let plain = stripped.debug_dir().join("app.debug");
    fs::rename(plain, folder.join(format!("{rest}.debug"))).unwrap();
    let debug_dir = stripped.debug_dir();
    let options = ["--debug-dir", debug_dir.to_str().unwrap()];
    let ended = analyze("symbolize", recorded.recording.directory(), &options, &[]);
    assert_named(recorded.recording.directory(), &ended.stderr);
}

#[test]
fn a_bundle_has_all_that_another_machine_needs() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let stripped = Stripped::of(&workload::path("burner"));
    let recorded = stripped.record(&[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let bundle = elsewhere.path().join("bundle.tar.zst");
    let (debug_dir, path) = (stripped.debug_dir(), bundle.to_str().unwrap());
    let options = ["-o", path, "--debug-dir", debug_dir.to_str().unwrap()];
    analyze("bundle", recorded.recording.directory(), &options, &[]);
    stripped.remove();
    drop((stripped, recorded));
    // Not every tar knows of zstd.
    let archive = zstd::decode_all(fs::File::open(&bundle).unwrap()).unwrap();
    fs::write(elsewhere.path().join("bundle.tar"), archive).unwrap();
    let mut tar = Command::new("tar");
    let unpacked = run(tar.current_dir(elsewhere.path()).args(["-xf", "bundle.tar"]));
    assert!(unpacked.status.success(), "{}", unpacked.stderr);
    let recording = elsewhere.path().join("recording");
    assert_unnamed(&recording);
    let ended = analyze("symbolize", &recording, &[], &[]);
    assert_named(&recording, &ended.stderr);
}

#[test]
fn binaries_are_kept_where_they_are_wanted() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let stripped = Stripped::of(&workload::path("burner"));
    let recorded = stripped.record(&["--keep-binaries"]);
    let recording = recorded.recording.directory();
    stripped.remove();
    // Only what was stripped is wanting: where it belongs says the kept binary.
    let debug_dir = stripped.debug_dir();
    let ended = analyze("symbolize", recording, &["--debug-dir", debug_dir.to_str().unwrap()], &[]);
    assert_named(recording, &ended.stderr);
}

#[test]
fn a_killed_recording_gets_its_names_later() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let record = Record::trace("process,profile").options(["--frequency", "499"]);
    let mut recorder = record.workload("burner", ["shares", "30000"]).start();
    let frames = recorder.output().join("frame");
    wait_for("frames", || frames.join("000001.parquet").exists().then_some(()));
    recorder.attached();
    std::thread::sleep(std::time::Duration::from_secs(1));
    recorder.running.signal(libc::SIGKILL);
    wait_for("the recorder's end", || recorder.running.has_ended().then_some(()));
    let recording = recorder.output();
    let manifest = Recording::open(&recording).unwrap();
    assert_eq!(manifest.manifest().symbols, Symbols::Pending);
    // Whoever was there a moment ago may be there still.
    let mut early = Command::new(env!("CARGO_BIN_EXE_analyze"));
    let early = run(early.arg("symbolize").arg(&recording));
    assert!(early.stderr.contains("still running"), "{}", early.stderr);
    std::thread::sleep(std::time::Duration::from_secs(11));
    let ended = analyze("symbolize", &recording, &[], &[]);
    assert_named(&recording, &ended.stderr);
    let opened = Recording::open(&recording).unwrap();
    assert_eq!(opened.manifest().symbols, Symbols::Resolved);
    assert!(opened.manifest().ended.is_none(), "what else it says stays");
    let symbols = table::<Symbol>(&opened);
    let folded = analyze("flamegraph", &recording, &["--folded"], &[]);
    assert!(symbols.rows() > 0 && folded.stdout.contains("main;work;hot"), "{}", folded.stdout);
}

#[test]
fn a_server_is_asked_only_where_one_is_named() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    if !workload::is_installed("debuginfod") {
        missing("there is no debuginfod");
        return;
    }
    let stripped = Stripped::of(&workload::path("burner"));
    let recorded = stripped.record(&[]);
    let recording = recorded.recording.directory();
    // Also the program itself must come from the server.
    let served = stripped.directory.path().join("served");
    fs::create_dir(&served).unwrap();
    fs::rename(stripped.program(), served.join("app")).unwrap();
    fs::rename(stripped.debug_dir().join("app.debug"), served.join("app.debug")).unwrap();
    // The port is free for others until the server takes it.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("debuginfod");
    server.args(["-d", ":memory:", "-p", &port.to_string(), "-F", "-c1", "-v"]).arg(&served);
    server.env("DEBUGINFOD_CACHE_PATH", stripped.directory.path().join("server"));
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = Running::start_as_is(&mut server);
    let frames = recorded.table::<Frame>();
    let program = stripped.program();
    let own = rows_where(&frames, |row| known(&frames.module, row) == program.to_str());
    let build_id = text(&frames.build_id, own[0]).to_owned();
    let url = format!("http://127.0.0.1:{port}");
    wait_for("the server to have looked at its files", || {
        assert!(!server.has_ended(), "debuginfod ended");
        let answers = |kind: &str| get(port, &format!("/buildid/{build_id}/{kind}"));
        (answers("debuginfo") && answers("executable")).then_some(())
    });
    let cache = stripped.directory.path().join("cache");
    let cache = [("DEBUGINFOD_CACHE_PATH", cache.to_str().unwrap())];
    let urls = [cache[0], ("DEBUGINFOD_URLS", url.as_str())];
    let quiet = analyze("symbolize", recording, &[], &urls);
    assert!(!quiet.stderr.contains("127.0.0.1"), "nobody was named: {}", quiet.stderr);
    assert_unnamed(recording);
    let ended = analyze("symbolize", recording, &["--debuginfod", "env"], &urls);
    assert!(ended.stderr.contains(&format!("is asked of {url}")), "{}", ended.stderr);
    assert_named(recording, &ended.stderr);
    let kept = Path::new(cache[0].1).join(&build_id);
    assert!(kept.join("debuginfo").exists() && kept.join("executable").exists());
    server.signal(libc::SIGTERM);
    server.end();
}

/// The names of all frames of a command that is recorded.
fn names_in(command: &[&std::ffi::OsStr]) -> Vec<String> {
    let record = Record::trace("process,profile").options(["--frequency", "1999", "--"]);
    let symbols = record.options(command).run().table::<Symbol>();
    (0..symbols.rows()).map(|row| symbols.name.value(row).to_owned()).collect()
}

#[test]
fn names_are_those_of_the_source_whatever_the_language() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    // A Rust program that is at hand.
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo.lookback");
    let analyze = env!("CARGO_BIN_EXE_analyze");
    let names = names_in(&[analyze.as_ref(), "check".as_ref(), fixture.as_os_str()]);
    let rust = |name: &String| name.contains("analyzer::") || name.contains("parquet::");
    assert!(names.iter().any(rust), "{names:?}");
    assert!(
        !names.iter().any(|name| name.starts_with("_ZN") || name.starts_with("_R")),
        "{names:?}"
    );

    if !workload::is_installed("c++") {
        missing("there is no C++ compiler");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("cart.cc"), directory.path().join("cart"));
    let text = "namespace shop { template<class T> struct Cart { __attribute__((noinline)) T total(T n) \
                { volatile T s = 0; for (T i = 0; i < n; i++) s = s + i; return s; } }; }\n\
                static inline __attribute__((always_inline)) long inner(long n) { volatile long s = 0; \
                for (long i = 0; i < n; i++) s = s + i; return s; }\n\
                int main() { shop::Cart<long> c; return int(c.total(200000000) + inner(200000000)); }\n";
    fs::write(&source, text).unwrap();
    let built = run(Command::new("c++").args(["-O1", "-g", "-o"]).args([&program, &source]));
    assert!(built.status.success(), "{}", built.stderr);
    let names = names_in(&[program.as_os_str()]);
    for name in ["shop::Cart<long>::total(long)", "inner", "main"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    // The symbol table alone knows what was compiled, but not what was inlined.
    let stripped = run(Command::new("strip").arg("--strip-debug").arg(&program));
    assert!(stripped.status.success(), "{}", stripped.stderr);
    let names = names_in(&[program.as_os_str()]);
    assert!(names.iter().any(|name| name == "shop::Cart<long>::total(long)"), "{names:?}");
    assert!(!names.iter().any(|name| name == "inner"), "{names:?}");
}

#[test]
fn the_vdso_has_names() {
    let Some(_turn) = alone(&["process", "profile"]) else { return };
    let directory = tempfile::tempdir().unwrap();
    let (source, program) = (directory.path().join("clock.c"), directory.path().join("clock"));
    let text = "#include <time.h>\nint main(void) { struct timespec now; for (int i = 0; i < 20000000; i++) \
                clock_gettime(CLOCK_MONOTONIC, &now); return 0; }\n";
    fs::write(&source, text).unwrap();
    let built = run(Command::new("cc").args(["-O1", "-o"]).args([&program, &source]));
    assert!(built.status.success(), "{}", built.stderr);
    let record = Record::trace("process,profile").options(["--frequency", "1999", "--"]);
    let recorded = record.options([&program]).run();
    let (frames, symbols) = (recorded.table::<Frame>(), recorded.table::<Symbol>());
    let vdso = rows_where(&frames, |row| known(&frames.module, row) == Some("[vdso]"));
    if vdso.is_empty() {
        missing("the clock of this machine is not read in the vdso");
        return;
    }
    for row in vdso {
        assert!(
            known(&frames.build_id, row).is_some() && known(&frames.file_offset, row).is_some()
        );
        let id = frames.id.value(row);
        let names = rows_where(&symbols, |row| symbols.frame.value(row) == id);
        // Only what it offers has names: not all that is inside.
        for row in names {
            assert!(
                symbols.name.value(row).contains("clock_gettime"),
                "{}",
                symbols.name.value(row)
            );
        }
    }
    let named = (0..symbols.rows()).any(|row| symbols.name.value(row).contains("clock_gettime"));
    assert!(named);
}

#[test]
fn the_recorders_own_programs_have_names() {
    let Some(_turn) = alone(&["process", "profile", "syscall"]) else { return };
    let record = Record::trace("process,profile,syscall").options(["--frequency", "1999", "--"]);
    // A million calls, each of which runs the recorder's programs.
    let copy = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=500000", "status=none"];
    let recorded = record.options(copy).start().finish_anyhow();
    let symbols = recorded.table::<Symbol>();
    let of_bpf = rows_where(&symbols, |row| known(&symbols.module, row) == Some("bpf"));
    let names: Vec<&str> = of_bpf.iter().map(|row| symbols.name.value(*row)).collect();
    // The kernel calls them bpf_prog_TAG_NAME.
    assert!(names.iter().any(|name| name.starts_with("bpf_prog_")), "{names:?}");
    let kernel = rows_where(&symbols, |row| symbols.name.value(row) == "do_syscall_64");
    assert!(kernel.iter().all(|row| known(&symbols.module, *row).is_none()));
}

/// Whether a server on the loopback has something.
fn get(port: u16, path: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).is_ok() && answer.ends_with(b"200")
}
