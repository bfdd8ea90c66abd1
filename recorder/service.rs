//! The recorder as a service: what it tells the service manager (`sd_notify(3)`).
//!
//! With `Type=notify` a service is up when its tracers are attached, and not when its process exists. And with
//! `WatchdogSec` it must say again and again that it works, or it is killed and started anew. The main thread
//! says so, but only when the threads that do the work have come round since the last time: one that hangs,
//! in a disk that does not answer for example, is as bad as a process that hangs.

use std::time::{Duration, Instant};

use bytesize::ByteSize;
use sd_notify::NotifyState;

use crate::writer::{Progress, Turns};

/// The variables by which the service manager tells a process where to report.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// How often the status is told.
const STATUS: Duration = Duration::from_secs(5);

/// What the service manager is told.
#[derive(Debug)]
pub struct Service {
    watchdog: Option<Watchdog>,
    /// When the status was told.
    told: Option<Instant>,
}

impl Service {
    /// Tells that all is attached; does nothing, then and later, if nobody has asked.
    pub fn ready() -> Service {
        tell(&[NotifyState::Ready]);
        let now = Instant::now();
        Service {
            watchdog: sd_notify::watchdog_enabled().map(|patience| Watchdog::new(patience, now)),
            told: None,
        }
    }

    /// Tells how it stands, from time to time, and that the threads work, if they do.
    pub fn update(&mut self, progress: &Progress) {
        let now = Instant::now();
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(progress.turns, now)) {
            tell(&[NotifyState::Watchdog]);
        }
        if self.told.is_none_or(|told| now - told >= STATUS) {
            self.told = Some(now);
            let seen: u64 = progress.totals.values().filter_map(|total| total.seen).sum();
            let (lost, bytes) = (progress.lost(), ByteSize(progress.bytes));
            tell(&[NotifyState::Status(&format!("{seen} events, {lost} lost, {bytes}"))]);
        }
    }

    /// Tells that the recording ends; what follows takes its time.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("writing the rest, naming frames")]);
    }
}

/// Whoever wants signs of life.
#[derive(Debug)]
struct Watchdog {
    /// The least time between two signs.
    every: Duration,
    /// When the last one was given,
    last: Instant,
    /// and what the threads had done by then.
    turns: Turns,
}

impl Watchdog {
    /// Gets four signs in the time that it waits.
    fn new(patience: Duration, now: Instant) -> Watchdog {
        Watchdog { every: patience / 4, last: now, turns: Turns::default() }
    }

    /// Whether there is to be a sign, now that the threads have done this.
    fn is_due(&mut self, turns: Turns, now: Instant) -> bool {
        let all = turns.drain > self.turns.drain && turns.encoder > self.turns.encoder;
        let due = all && now - self.last >= self.every;
        if due {
            (self.last, self.turns) = (now, turns);
        }
        due
    }
}

/// Tells the service manager, if there is one. One that does not listen is none.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_hangs_is_no_life() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let turns = |drain, encoder| Turns { drain, encoder };
        let mut watchdog = Watchdog::new(Duration::from_secs(8), began);
        assert!(!watchdog.is_due(turns(20, 1), at(1)), "too early");
        assert!(watchdog.is_due(turns(40, 2), at(2)));
        assert!(!watchdog.is_due(turns(60, 2), at(4)), "the encoder hangs");
        assert!(!watchdog.is_due(turns(900, 2), at(60)), "still");
        assert!(watchdog.is_due(turns(901, 3), at(61)), "it works again");
        assert!(!watchdog.is_due(turns(901, 9), at(70)), "the drain thread hangs");
    }
}
