//! Where threads were while they were not on a CPU, for a flame graph; with the samples of what ran, where
//! all their time went.
//!
//! A wait weighs its length in nanoseconds. Its stack is the program's, then the kernel's, and innermost why
//! it went on: it slept, or it could run and waited for a CPU. A wait that ended with a wakeup has both
//! parts. With `--waker` who woke it comes behind the first.
//!
//! Of a wait that reaches over the edge of the window, the part within counts. One that had not ended when
//! the recording did counts until then.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use ahash::HashSet;
use anyhow::bail;
use lookback_schemas::recording::ALL_TIME;
use lookback_schemas::tables::offcpu::State;
use lookback_schemas::{Error, TableId};

use super::folding::{Key, Sum, Sums, kernel_threads};
use super::{WeightArgs, cpu};
use crate::bins::Bins;
use crate::cli::Source;
use crate::losses::unrecorded;
use crate::offcpu::wait::{Rows, Wait};
use crate::render::{duration, thousands};
use crate::scope::Scope;
use crate::tally::Projection as _;

/// Innermost, where a thread could run and had no CPU.
const WAITS_FOR_CPU: &str = "[waits for a CPU]";
/// Innermost in a graph of wall time, where it had one.
const ON_CPU: &str = "[on a CPU]";

/// Waits summed up.
#[derive(Default)]
struct Waits {
    sums: Sums,
    /// How many had not ended.
    open: u64,
}

/// How waits are added up.
struct Reader<'a> {
    /// The part of time that counts.
    window: Range<i64>,
    /// When waits end that have no end.
    end: i64,
    /// Whether wakers are told apart.
    wakers: bool,
    /// Those that need no user stack, where stacks are known to be missing.
    kernel_threads: Option<&'a HashSet<i32>>,
    /// Into which steps time is cut, if it is.
    steps: Option<&'a Bins>,
}

impl Reader<'_> {
    fn add(&self, waits: &mut Waits, wait: &Wait<'_>) {
        let (start, length) = (wait.start, wait.duration);
        let end = length.map_or(self.end.max(start), |length| start.saturating_add(length.max(0)));
        let woken = end.saturating_sub(wait.runnable.unwrap_or(0).max(0)).max(start);
        let (slept, ran) = (self.within(start..woken), self.within(woken..end));
        waits.open += u64::from(length.is_none() && slept.end > slept.start);
        let waker = if self.wakers { wait.waker() } else { None };
        self.add_part(&mut waits.sums, wait, &Part { when: slept, why: reason(wait), waker });
        let part = Part { when: ran, why: WAITS_FOR_CPU, waker: None };
        self.add_part(&mut waits.sums, wait, &part);
    }

    /// What of a stretch of time lies in the window; its end is not before its start.
    fn within(&self, stretch: Range<i64>) -> Range<i64> {
        let (start, end) = (stretch.start.max(self.window.start), stretch.end.min(self.window.end));
        start..end.max(start)
    }

    fn add_part(&self, sums: &mut Sums, wait: &Wait<'_>, part: &Part<'_>) {
        if part.when.is_empty() {
            return;
        }
        let user = wait.user_stack;
        let expected = |threads: &HashSet<i32>| !threads.contains(&wait.pid);
        let waker = part.waker.as_ref().map(|waker| sums.place(&format!("woken by {waker}")));
        let key = Key {
            comm: sums.place(wait.comm.unwrap_or("[unknown]")),
            user,
            kernel: wait.kernel_stack,
            unreadable: user.is_none() && self.kernel_threads.is_some_and(expected),
            behind: [Some(sums.place(part.why)), waker],
            step: 0,
        };
        let mut add = |step: usize, weight: i64| {
            let key = Key { step: step as u32, ..key };
            sums.sums.entry(key).or_default().add(Sum { weight, samples: 1 });
        };
        let Some(steps) = self.steps else {
            return add(0, part.when.end.saturating_sub(part.when.start));
        };
        for step in steps.of(part.when.start)..=steps.of(part.when.end.saturating_sub(1)) {
            let (start, end) = steps.range(step);
            let (start, end) = (start.max(part.when.start), end.min(part.when.end));
            add(step, end.saturating_sub(start).max(0));
        }
    }
}

/// A part of a wait.
struct Part<'a> {
    /// When it was, within the window.
    when: Range<i64>,
    why: &'static str,
    waker: Option<Cow<'a, str>>,
}

/// Why a wait went on until somebody ended it.
fn reason(wait: &Wait<'_>) -> &'static str {
    if wait.io {
        return "[waits for I/O]";
    }
    match wait.state() {
        Some(State::Runnable) => WAITS_FOR_CPU,
        Some(State::Interruptible) => "[sleeps]",
        Some(State::Uninterruptible) => "[sleeps uninterruptibly]",
        Some(State::Stopped) => "[stopped]",
        Some(State::Traced) => "[traced]",
        Some(State::Parked) => "[parked]",
        Some(State::Idle) => "[idle]",
        None => "[off the CPU]",
    }
}

/// Waits summed up by stack.
pub(super) fn sums(args: &WeightArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    let how = ("time off the CPUs", "--trace offcpu");
    if let Some(why) = unrecorded(&source.recording, TableId::Offcpu, how)? {
        eprintln!("analyze: note: {why}");
    }
    Ok(said(waits(args, source, scope, None)?))
}

/// The same with those of samples.
pub(super) fn wall(args: &WeightArgs, source: &Source, scope: &Scope) -> anyhow::Result<Sums> {
    needs(source, TableId::Sample, ("time on the CPUs", "--trace offcpu,profile"))?;
    needs(source, TableId::Offcpu, ("time off the CPUs", "--trace offcpu,profile"))?;
    if cpu::period(&source.recording) != "ns" {
        bail!(
            "--weight wall: this recording's samples count cycles of the processors, which are no time \
             and cannot be added to it; --weight offcpu and --weight cpu draw the two parts"
        );
    }
    let mut all = cpu::sums(args, source, scope, None)?.behind(ON_CPU);
    all.merge(said(waits(args, source, scope, None)?));
    Ok(all)
}

/// Makes sure that a table was recorded: a graph without a part of the time would look whole.
fn needs(source: &Source, table: TableId, how: (&str, &str)) -> anyhow::Result<()> {
    match unrecorded(&source.recording, table, how)? {
        Some(why) => bail!("{}: {why}", source.recording.directory().display()),
        None => Ok(()),
    }
}

/// The sums; what there is to know about them is said on the standard error.
fn said((sums, notes): (Sums, Vec<String>)) -> Sums {
    notes.iter().for_each(|note| eprintln!("analyze: note: {note}"));
    sums
}

/// The waits summed up by stack, and by step of time if there are `steps`; and what a reader must know.
pub(super) fn waits(
    args: &WeightArgs,
    source: &Source,
    scope: &Scope,
    steps: Option<&Bins>,
) -> anyhow::Result<(Sums, Vec<String>)> {
    let recording = &source.recording;
    let kernel_threads = kernel_threads(source, TableId::Offcpu)?;
    let window = source.window.range.clone();
    // One that began before the window may reach into it.
    let scan = recording.scan_table(TableId::Offcpu, ALL_TIME.start..window.end);
    let reader = Reader {
        window,
        end: source.window.span.end,
        wakers: args.waker,
        kernel_threads: kernel_threads.as_ref(),
        steps,
    };
    let mut columns = Rows::COLUMNS.to_vec();
    columns.retain(|column| *column != "syscall");
    columns.extend(scope.columns(TableId::Offcpu));
    let waits = scan.columns(&columns).fold::<Waits, Error>(
        args.threads.count(),
        |waits: &mut Waits, path: &Path, batch| {
            let batch = scope.filter(TableId::Offcpu, path, batch)?;
            let rows = Rows::view(&batch).map_err(Error::damaged(path))?;
            (0..rows.rows()).for_each(|row| reader.add(waits, &rows.wait(row)));
            Ok(())
        },
        |waits, more| {
            waits.sums.merge(more.sums);
            waits.open += more.open;
        },
    )?;
    let mut notes = Vec::new();
    if waits.open > 0 {
        let open = thousands(waits.open);
        notes.push(format!("{open} waits had not ended with the recording, and count until then"));
    }
    let shortest = recording.manifest().filters.min_latency;
    if shortest > 0 {
        notes.push(format!("waits under {} were not recorded", duration(shortest)));
    }
    Ok((waits.sums, notes))
}

#[cfg(test)]
mod tests {
    use lookback_schemas::manifest::{Filters, Hook, Tracer};

    use crate::made::{Away, Made, analyze};

    const MS: i64 = 1_000_000;

    /// A sleep, a preemption, a wait for a disk, and a wait that did not end; and two samples of 10 ns.
    fn waits() -> Made {
        let made = Made::new();
        made.rows(&[
            made.frame(10, false, Some("/bin/app"), Some(0x10)),
            made.frame(20, true, None, None),
            made.symbol(10, 0, "main"),
            made.symbol(20, 0, "futex_wait"),
            made.stack(1, &[10], false),
            made.stack(2, &[20], false),
            made.offcpu(Away::slept(1.0, 10, "app", 10).at(Some(1), Some(2))),
            made.offcpu(Away::preempted(2.0, 10, "app", 4).at(Some(1), None)),
            made.offcpu(Away {
                io: true,
                state: Some(2),
                by_interrupt: Some(1),
                waker: None,
                ..Away::slept(2.5, 30, "kworker", 3).at(None, Some(2))
            }),
            made.offcpu(Away::slept(4.5, 11, "hangs", 0).at(Some(1), Some(2)).open()),
            made.sample(3.0, 10, "app", Some(1), None),
            made.sample(3.1, 10, "app", Some(1), Some(2)),
        ]);
        made.end(5.0);
        made
    }

    fn folded(made: &Made, args: &[&str]) -> Vec<String> {
        let args = [&["flamegraph", "--folded", "--weight"], args].concat();
        analyze(made, &args).expect("it is whole").lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_wait_has_its_stacks_and_its_reason() {
        assert_eq!(
            folded(&waits(), &["offcpu"]),
            [
                format!("app;main;[waits for a CPU] {}", 4 * MS),
                format!("app;main;futex_wait_[k];[sleeps] {}", 9 * MS),
                format!("app;main;futex_wait_[k];[waits for a CPU] {MS}"),
                format!("hangs;main;futex_wait_[k];[sleeps] {}", 500 * MS),
                format!("kworker;futex_wait_[k];[waits for I/O] {}", 2 * MS),
                format!("kworker;futex_wait_[k];[waits for a CPU] {MS}"),
            ]
        );
        assert_eq!(
            folded(&waits(), &["offcpu", "--user", "--pid", "10"]),
            [
                format!("app;main;[sleeps] {}", 9 * MS),
                format!("app;main;[waits for a CPU] {}", 5 * MS),
            ]
        );
        assert_eq!(
            folded(&waits(), &["offcpu", "--kernel", "--reverse", "--comm", "app"]),
            [
                format!("[sleeps];futex_wait_[k];app {}", 9 * MS),
                format!("[waits for a CPU];futex_wait_[k];app {MS}"),
            ]
        );
    }

    #[test]
    fn the_waker_stands_behind_the_stack() {
        assert_eq!(
            folded(&waits(), &["offcpu", "--waker"]),
            [
                format!("app;main;[waits for a CPU] {}", 4 * MS),
                format!("app;main;futex_wait_[k];[sleeps];woken by waker {}", 9 * MS),
                format!("app;main;futex_wait_[k];[waits for a CPU] {MS}"),
                format!("hangs;main;futex_wait_[k];[sleeps] {}", 500 * MS),
                format!("kworker;futex_wait_[k];[waits for I/O];woken by [interrupt] {}", 2 * MS),
                format!("kworker;futex_wait_[k];[waits for a CPU] {MS}"),
            ]
        );
        assert!(analyze(&waits(), &["flamegraph", "--waker"]).is_err(), "of CPU time");
    }

    #[test]
    fn what_lies_in_the_window_counts() {
        // The sleep goes from 1.000 to 1.009 s, and its wait for a CPU until 1.010 s.
        assert_eq!(
            folded(&waits(), &["offcpu", "--since", "1.007s", "--until", "1.0095s"]),
            [
                format!("app;main;futex_wait_[k];[sleeps] {}", 2 * MS),
                format!("app;main;futex_wait_[k];[waits for a CPU] {}", MS / 2),
            ]
        );
        assert_eq!(
            folded(&waits(), &["offcpu", "--since", "4.9s"]),
            [format!("hangs;main;futex_wait_[k];[sleeps] {}", 100 * MS)]
        );
        assert_eq!(folded(&waits(), &["offcpu", "--until", "1s"]), Vec::<String>::new());
    }

    #[test]
    fn wall_time_is_both() {
        assert_eq!(
            folded(&waits(), &["wall", "--pid", "10"]),
            [
                "app;main;[on a CPU] 10".to_owned(),
                format!("app;main;[waits for a CPU] {}", 4 * MS),
                "app;main;futex_wait_[k];[on a CPU] 10".to_owned(),
                format!("app;main;futex_wait_[k];[sleeps] {}", 9 * MS),
                format!("app;main;futex_wait_[k];[waits for a CPU] {MS}"),
            ]
        );
        let svg = analyze(&waits(), &["flamegraph", "--weight", "wall"]).expect("it is whole");
        assert!(svg.contains("Wall time on web1") && svg.contains("[sleeps]"));
    }

    #[test]
    fn a_graph_without_a_part_of_the_time_is_refused() {
        let error = |made: &Made, weight| {
            let error = analyze(made, &["flamegraph", "--weight", weight]);
            format!("{:#}", error.expect_err("a part is missing"))
        };
        let made = Made::new();
        made.rows(&[made.sample(3.0, 10, "app", None, None)]);
        assert!(error(&made, "wall").contains("does not tell of time off the CPUs"));
        assert!(error(&made, "offcpu").contains("there is no wait"));
        let made = Made::new();
        made.rows(&[made.offcpu(Away::slept(1.0, 10, "app", 10))]);
        assert!(error(&made, "wall").contains("does not tell of time on the CPUs"));
    }

    #[test]
    fn cycles_are_no_time() {
        let made = waits();
        let hook = Hook { purpose: "samples".to_owned(), hook: "perf event cycles".to_owned() };
        let tracer = Tracer { name: "profile".to_owned(), hooks: vec![hook], ..Tracer::default() };
        made.tracer(tracer);
        let error = analyze(&made, &["flamegraph", "--weight", "wall"]).expect_err("they differ");
        assert!(error.to_string().contains("count cycles"), "{error}");
        assert!(analyze(&made, &["flamegraph", "--weight", "offcpu"]).is_ok());
    }

    #[test]
    fn threads_do_not_matter() {
        let made = waits();
        made.filter(Filters { min_latency: 1000, ..Filters::default() });
        let of = |threads| folded(&made, &["wall", "--waker", "--threads", threads]);
        assert_eq!(of("1"), of("8"));
    }
}
