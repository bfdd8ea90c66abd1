//! What is recorded goes away, becomes something else, or is recorded twice.

use std::time::Duration;

use lookback_schemas::TableId;
use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Alloc, Exec, Exit, Fork, Probe, Sample, Syscall, alloc::Function};

use super::unharmed::{Server, probed};
use super::{
    Held, Random, assert_clean, assert_gapless, half_written, numbers, rows_and_lost, times,
};
use crate::live::filters::{Group, hierarchy};
use crate::live::{alone, shared, skip};
use crate::recording::{Record, Recorded, rows_where};
use crate::running::{Running, is_alive, wait_for};
use crate::workload::{self, fact, facts};

const TRACERS: &[&str] = &["process", "signal", "alloc", "custom", "syscall", "profile"];

/// What `mix` calls in each round, with its number.
fn rounds_probed() -> [String; 2] {
    let probe = format!("uprobe:{}:do_round,arg0:i64", workload::path("mix").display());
    ["--probe".to_owned(), probe]
}

/// The rounds of which the probe has a row, in order.
fn rounds(recorded: &Recorded) -> Vec<i32> {
    let rows = recorded.table::<Probe>();
    let mut rounds: Vec<i32> = rows.arg0.iter().flatten().map(|round| round as i32).collect();
    rounds.sort_unstable();
    rounds
}

#[test]
fn a_target_that_is_killed_ends_the_recording_well() {
    let Some(_turn) = shared(TRACERS) else { return };
    let mut random = Random::new();
    for _ in 0..times(2, 30) {
        let server = Server::start(3, &["busy"]);
        let pid = server.pid();
        let record = Record::trace("process,signal,alloc,custom").options(probed());
        let mut recorder = record.pid(pid).start();
        let held = if random.between(0..3) > 0 {
            recorder.attached();
            Held::by(recorder.running.pid())
        } else {
            // It may be attaching.
            Held::default()
        };
        std::thread::sleep(Duration::from_millis(random.between(0..700)));
        server.kill();
        let output = recorder.output();
        match recorder.finish_if_recorded() {
            Ok(recorded) => {
                assert!(recorded.ended.status.success(), "{:?}", recorded.ended);
                assert_eq!(recorded.recording.manifest().ended.as_ref().unwrap().why, "processes");
                assert_clean(&output);
                assert_eq!(half_written(&output), Vec::<String>::new());
                if held.count() > 0 {
                    let exits = recorded.table::<Exit>();
                    let signals: Vec<_> = exits.signal.iter().flatten().collect();
                    assert_eq!(signals, [libc::SIGKILL]);
                    assert!(rows_and_lost(&recorded, TableId::Probe).0 > 0);
                }
            }
            // Before it was found, or attached to.
            Err(ended) => {
                assert!(held.count() == 0 && ended.status.code() == Some(2), "{ended:?}");
                assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
            }
        }
        held.await_end();
    }
}

#[test]
fn a_target_that_executes_a_program_goes_on_being_recorded() {
    let Some(_turn) = shared(TRACERS) else { return };
    let recorder = Record::trace("process,signal,alloc,custom")
        .options(rounds_probed())
        .workload("mix", ["0.7", "200", "again"])
        .start();
    wait_for("its end", || {
        (facts(&recorder.running.output_so_far(), "did").len() == 2).then_some(())
    });
    let held = Held::by(recorder.running.pid());
    let recorded = recorder.finish();
    assert_clean(recorded.recording.directory());
    held.await_end();
    recorded.assert_nothing_of_ours_lost();
    let both = facts(recorded.stdout(), "did");
    let done: Vec<i32> = both.iter().map(|did| did.int32("rounds")).collect();
    let mut expected: Vec<i32> = (0..done[0]).chain(0..done[1]).collect();
    expected.sort_unstable();
    assert_eq!(rounds(&recorded), expected);
    let called: Vec<i32> = numbers(&recorded.recording).iter().map(|n| n - 10_000_000).collect();
    assert_eq!(called, expected);
    let pid = both[0].int32("pid");
    let execs = recorded.table::<Exec>();
    assert_eq!(rows_where(&execs, |row| execs.pid.value(row) == pid).len(), 2);
    let tens: i64 = both.iter().map(|did| did.int("tens")).sum();
    assert_eq!(recorded.table::<Fork>().rows() as i64, tens);
    let allocs = recorded.table::<Alloc>();
    let mallocs = rows_where(&allocs, |row| {
        allocs.function.value(row) == Function::Malloc as i32 && allocs.pid.value(row) == pid
    });
    assert!(mallocs.len() >= expected.len(), "{} of {}", mallocs.len(), expected.len());
}

#[test]
fn two_recorders_of_one_target_are_both_complete() {
    let Some(_turn) = alone(TRACERS) else { return };
    // They attach meanwhile: what each has from its first event on is all there is.
    let mut mix =
        Running::start(std::process::Command::new(workload::path("mix")).args(["60", "100"]));
    mix.await_line("mix");
    let start = || {
        Record::trace("alloc,profile,syscall,signal,custom")
            .options(rounds_probed())
            .pid(mix.pid())
            .start()
    };
    let mut recorders = [start(), start()];
    recorders.iter_mut().for_each(|recorder| recorder.attached());
    let held: Vec<Held> = recorders.iter().map(|one| Held::by(one.running.pid())).collect();
    std::thread::sleep(Duration::from_secs(1));
    mix.close_input();
    mix.await_end();
    let did = fact(&mix.end().stdout, "did");
    for recorder in recorders {
        let recorded = recorder.finish();
        assert_clean(recorded.recording.directory());
        recorded.assert_nothing_of_ours_lost();
        let (called, probed) = (numbers(&recorded.recording), rounds(&recorded));
        for (numbers, last) in
            [(&called, 9_999_999 + did.int32("rounds")), (&probed, did.int32("rounds") - 1)]
        {
            assert_gapless(numbers[0], numbers);
            assert_eq!(numbers.last(), Some(&last));
        }
        let calls = recorded.table::<Syscall>();
        let tkills = rows_where(&calls, |row| {
            calls.number.value(row) == libc::SYS_tkill as i32
                && calls.pid.value(row) == did.int32("pid")
        });
        // Attaching takes a while, and a call may lie between two of the tracers.
        assert!(tkills.len().abs_diff(called.len()) <= called.len() / 2, "{}", tkills.len());
        assert!(recorded.table::<Alloc>().rows() > 0);
        println!(
            "{} calls, {} rounds, {} tkills, {} samples",
            called.len(),
            probed.len(),
            tkills.len(),
            recorded.table::<Sample>().rows()
        );
    }
    held.iter().for_each(Held::await_end);
}

#[test]
fn a_cgroup_that_is_removed_leaves_what_was_recorded() {
    let Some(_turn) = shared(TRACERS) else { return };
    let Some(root) = hierarchy() else { return skip("no cgroup hierarchy of version 2") };
    let group = match Group::create(root.join(format!("lookback-removed-{}", std::process::id()))) {
        Ok(group) => group,
        Err(error) => return skip(&format!("no cgroup can be made: {error}")),
    };
    let mut ticker = Running::start(&mut std::process::Command::new(workload::path("ticker")));
    ticker.await_line("ticker");
    group.adopt(ticker.pid()).unwrap();
    let mut recorder =
        Record::trace("process,signal").options(["--cgroup".as_ref(), group.0.as_os_str()]).start();
    recorder.looked_around();
    std::thread::sleep(Duration::from_millis(500));
    let pid = ticker.pid();
    assert!(ticker.end().status.success());
    assert!(!is_alive(pid));
    let path = group.0.clone();
    drop(group);
    assert!(!path.exists(), "it is removed");
    // What comes later under its name is another one.
    let again = Group::create(path).unwrap();
    let mut other = Running::start(&mut std::process::Command::new(workload::path("ticker")));
    other.await_line("ticker");
    again.adopt(other.pid()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(other.end().status.success());
    recorder.running.signal(libc::SIGINT);
    let recorded = recorder.finish();
    assert_clean(recorded.recording.directory());
    recorded.assert_nothing_of_ours_lost();
    let numbers = numbers(&recorded.recording);
    assert!(!numbers.is_empty());
    assert_gapless(numbers[0], &numbers);
    let exits = recorded.table::<Exit>();
    assert_eq!(exits.pid.values().to_vec(), [pid]);
}
