//! A server must not notice that it is recorded, however often somebody attaches.

use std::process::Command;
use std::time::Duration;

use super::{Held, Random, assert_clean, assert_unharmed, changed_code, half_written, times};
use crate::live::sites::reported;
use crate::live::{alone, shared};
use crate::recording::Record;
use crate::running::{Running, in_vm, wait_for};
use crate::workload::{self, Fact, fact, facts};

/// A server that answers; see `tests/workloads/serve.c`.
pub struct Server {
    running: Running,
    about: Fact,
    progresses: usize,
}

impl Server {
    pub fn start(threads: usize, arguments: &[&str]) -> Server {
        let mut command = Command::new(workload::path("serve"));
        let mut running = Running::start(command.arg(threads.to_string()).args(arguments));
        let about = fact(&running.await_line("serve "), "serve");
        Server { running, about, progresses: 0 }
    }

    pub fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// How many blocks it has leaked, and how many answers were wrong.
    pub fn progress(&mut self) -> Fact {
        self.running.send_line();
        self.progresses += 1;
        wait_for("a progress", || {
            let all = facts(&self.running.output_so_far(), "progress");
            (all.len() == self.progresses).then(|| all.into_iter().next_back().unwrap())
        })
    }

    /// Waits until it has answered `more` times.
    pub fn answers(&mut self, more: i64) -> Fact {
        let before = self.progress().int("answered");
        wait_for("answers", || {
            let progress = self.progress();
            assert_eq!(progress.int("failed"), 0);
            (progress.int("answered") >= before + more).then_some(progress)
        })
    }

    /// How long clients wait for an answer, in nanoseconds: the mean of so many.
    fn latency(&mut self, answers: i64) -> i64 {
        let before = self.progress();
        let after = self.answers(answers);
        let of = |what: &str| after.int(what) - before.int(what);
        of("waited") / of("answered")
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.running.signal(libc::SIGKILL);
        self.running.await_end();
    }

    pub fn end(self) -> Fact {
        let ended = self.running.end();
        assert!(ended.status.success(), "{ended:?}");
        let served = fact(&ended.stdout, "served");
        assert_eq!(served.int("failed"), 0);
        served
    }
}

/// Options for probes of each kind in a busy server.
pub fn probed() -> Vec<String> {
    let program = workload::path("serve");
    let program = program.display();
    let mut probes = vec![
        format!("uprobe:{program}:serve_answer,arg0:i64"),
        format!("uretprobe:{program}:serve_answer,retval:i64,name=returned"),
    ];
    if workload::has_header("sys/sdt.h") {
        probes.push(format!("usdt:{program}:serve:answered,arg0:i64"));
    }
    probes.into_iter().flat_map(|probe| ["--probe".to_owned(), probe]).collect()
}

/// Records the server while it answers `answers` times; checks what it leaked meanwhile.
fn attach_to(server: &mut Server, answers: i64) {
    let pid = server.pid();
    let before = server.progress().int("leaked");
    let mut recorder = Record::trace("alloc").pid(pid).start();
    recorder.attached();
    let first = server.progress().int("leaked");
    assert!(changed_code(pid) > 0, "the probes are there");
    let last = server.answers(answers).int("leaked");
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    let after = server.progress().int("leaked");
    recorded.assert_nothing_lost();
    assert_eq!(changed_code(pid), 0, "the code is as it was");

    let (sites, others) = reported(&recorded, "heap", &[]);
    let threads = server.about.int("threads");
    let size = server.about.int("bytes");
    let site = (server.about.word("name").to_owned(), server.about.int32("line"));
    let (bytes, count) = sites[&site];
    let least = last - first - threads;
    let most = after - before + threads;
    assert!(least >= answers - 2 * threads && (least..=most).contains(&count), "{count}: {least}");
    assert_eq!(bytes, count * size);
    assert_eq!(others, (0, 0));
    for ((name, line), (_, count)) in &sites {
        // A block for each thread, which the next request frees.
        let is_scratch = name == server.about.word("scratch") && *count <= threads;
        assert!(is_scratch || (name, line) == (&site.0, &site.1), "{name}:{line}: {count}");
    }
}

#[test]
fn a_server_goes_on_answering_while_it_is_recorded() {
    let Some(_turn) = shared(&["alloc"]) else { return };
    // Emulated processors have enough to do with a few.
    let threads: &[usize] = if in_vm() { &[4] } else { &[1, 4, 16] };
    for threads in threads.iter().copied() {
        let mut server = Server::start(threads, &[]);
        attach_to(&mut server, if in_vm() { 50 } else { 500 });
        server.answers(threads as i64);
        let served = server.end();
        assert_eq!(served.int("answered"), served.int("leaked"));
    }
}

/// How much slower answers may be after the last recorder than before the first. Others use these processors
/// too.
const SLOWER: i64 = 3;

#[test]
fn attaching_again_and_again_leaves_no_trace() {
    let Some(_turn) = alone(&["alloc", "custom"]) else { return };
    let mut random = Random::new();
    let mut server = Server::start(4, &["busy"]);
    let pid = server.pid();
    let measured = if in_vm() { 200 } else { 20_000 };
    let at_first = server.latency(measured);
    let (attaches, mut while_probed) = (if in_vm() { 2 } else { times(10, 1000) }, 0);
    for _ in 0..attaches {
        let mut recorder = Record::trace("alloc,custom").options(probed()).pid(pid).start();
        recorder.attached();
        assert!(changed_code(pid) > 0, "the probes are there");
        let held = Held::by(recorder.running.pid());
        assert!(held.count() > 0);
        std::thread::sleep(Duration::from_millis(random.between(0..50)));
        while_probed = server.latency(100);
        recorder.running.signal(libc::SIGINT);
        let output = recorder.output();
        // What could not be kept up with is lost, and counted: finishing compares.
        let recorded = recorder.finish();
        assert_clean(&output);
        assert_eq!(half_written(&output), Vec::<String>::new());
        assert!(recorded.recording.manifest().totals["probe"].seen > Some(0));
        held.await_end();
        assert_unharmed(pid);
        server.answers(10);
    }
    let at_last = server.latency(measured);
    let served = server.end();
    println!(
        "{attaches} attaches, {} answers; an answer took {at_first} ns, {while_probed} ns with probes, \
         {at_last} ns afterwards",
        served.int("answered")
    );
    assert!(at_last <= SLOWER * at_first, "{at_first} ns before, {at_last} ns afterwards");
}
