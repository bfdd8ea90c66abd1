//! A recorder that is stopped for a while, and goes on.

use std::time::Duration;

use lookback_schemas::TableId;
use lookback_schemas::wire::Reason;

use super::{
    Held, Random, assert_clean, assert_gapless, half_written, numbers, rows_and_lost, times,
};
use crate::live::alone;
use crate::recording::Record;
use crate::workload::fact;

/// Rounds a second; each has two calls that are recorded, and a signal.
const RATE: &str = "2000";

#[test]
fn what_happens_while_a_recorder_is_stopped_is_counted() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let mut random = Random::new();
    for _ in 0..times(2, 20) {
        // Room for a tenth of a second.
        let mut recorder = Record::trace("signal")
            .options(["--buffer", "64KiB"])
            .workload("mix", ["4", RATE])
            .start();
        recorder.attached();
        let held = Held::by(recorder.running.pid());
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(random.between(100..500)));
            recorder.running.signal(libc::SIGSTOP);
            std::thread::sleep(Duration::from_millis(random.between(200..800)));
            recorder.running.signal(libc::SIGCONT);
        }
        let output = recorder.output();
        recorder.running.await_line("did");
        let recorded = recorder.finish();
        assert_clean(&output);
        assert_eq!(half_written(&output), Vec::<String>::new());
        held.await_end();
        recorded.assert_lost_only(Reason::RingFull);

        let calls = 2 * fact(recorded.stdout(), "did").int("rounds") as u64;
        let (rows, lost) = rows_and_lost(&recorded, TableId::Kill);
        println!("{calls} calls: {rows} recorded, {lost} lost");
        assert_eq!(rows + lost, calls);
        assert!(rows > 0 && lost > 0, "it was not stopped long enough to show anything");
    }
}

#[test]
fn a_short_stop_loses_nothing() {
    let Some(_turn) = alone(&["signal"]) else { return };
    let mut recorder = Record::trace("signal").workload("mix", ["2", "500"]).start();
    recorder.attached();
    for _ in 0..3 {
        recorder.running.signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(200));
        recorder.running.signal(libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(100));
    }
    recorder.running.await_line("did");
    let recorded = recorder.finish();
    recorded.assert_nothing_lost();
    let numbers = numbers(&recorded.recording);
    assert_gapless(10_000_000, &numbers);
    assert_eq!(numbers.len() as i64, fact(recorded.stdout(), "did").int("rounds"));
}
