//! Stacks, against programs that know who calls whom.
//!
//! The judge is the unwinder of the compiler's own library, which the programs ask at the end of their chain
//! of functions (`tests/workloads/callers.h`); and the names of the functions, which the chains are known
//! by. What the judge says the recording must have to the last frame, in the file and at the place; and what
//! the recording calls complete must never be anything else.

mod builds;
mod changes;
mod distribution;
mod limits;
mod machine;
mod tracers;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use lookback_schemas::cell::View as _;
use lookback_schemas::tables::{Frame, Sample, Stack, Symbol};

use crate::recording::{Record, Recorded, known, numbers, rows_where};
use crate::running::in_vm;
use crate::workload::{Fact, facts};

/// Samples per second: an emulated processor does not keep up with more.
fn frequency() -> i64 {
    if in_vm() { 199 } else { 997 }
}

/// How long a chain burns CPU time, in milliseconds: some hundred samples.
fn burst() -> String {
    if in_vm() { "500" } else { "200" }.to_owned()
}

/// Samples of a command and its children.
fn profile() -> Record {
    Record::trace("process,profile").options(["--frequency", &frequency().to_string()])
}

/// A frame as it was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Call {
    /// The function, the outermost where some are inlined; empty if it has no name.
    name: String,
    /// The last part of the module's path; empty if that is unknown.
    module: String,
    build_id: Option<String>,
    /// The place in the file; -1 in no file.
    offset: i64,
}

/// A stack as it was recorded.
#[derive(Clone, Debug)]
struct Walk {
    calls: Vec<Call>,
    walked: Option<String>,
    complete: bool,
    truncated: bool,
}

impl Walk {
    /// The functions with names that lie in a module, the innermost first.
    fn names_in(&self, module: &str) -> Vec<&str> {
        let own = self.calls.iter().filter(|call| call.module == module);
        own.map(|call| call.name.as_str()).collect()
    }

    fn offsets(&self) -> Vec<i64> {
        self.calls.iter().map(|call| call.offset).collect()
    }

    fn ends_with(&self, callers: &[i64]) -> bool {
        self.offsets().ends_with(callers)
    }
}

/// The name without what C++ tells of parameters, and the C library of versions. What Go has in parentheses is
/// the type of a method.
fn bare(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or_default();
    match name.find('(') {
        Some(at) if !name[..at].ends_with('.') => &name[..at],
        Some(_) | None => name,
    }
}

/// All stacks of user code in a recording, by their number.
struct Walks(HashMap<i64, Walk>);

impl Walks {
    fn read(recorded: &Recorded) -> Walks {
        let symbols = recorded.table::<Symbol>();
        let names: HashMap<i64, &str> = rows_where(&symbols, |row| symbols.depth.value(row) == 0)
            .into_iter()
            .map(|row| (symbols.frame.value(row), symbols.name.value(row)))
            .collect();
        let frames = recorded.table::<Frame>();
        let call = |row| {
            let id = frames.id.value(row);
            let name = names.get(&id).copied().unwrap_or_default();
            let module = known(&frames.module, row).unwrap_or_default();
            let call = Call {
                name: bare(name).to_owned(),
                module: module.rsplit('/').next().unwrap_or_default().to_owned(),
                build_id: known(&frames.build_id, row).map(str::to_owned),
                offset: known(&frames.file_offset, row).unwrap_or(-1),
            };
            (id, call)
        };
        let calls: HashMap<i64, Call> = (0..frames.rows()).map(call).collect();
        let stacks = recorded.table::<Stack>();
        let walk = |row| {
            let of_stack = numbers(&stacks.frames.value(row));
            let walk = Walk {
                calls: of_stack.iter().map(|frame| calls[frame].clone()).collect(),
                walked: known(&stacks.walked, row).map(str::to_owned),
                complete: known(&stacks.complete, row).expect("it is of user code"),
                truncated: stacks.truncated.value(row),
            };
            (stacks.id.value(row), walk)
        };
        let of_user = rows_where(&stacks, |row| known(&stacks.pid, row).is_some());
        Walks(of_user.into_iter().map(walk).collect())
    }

    /// The stacks of the samples that were taken of a thread in a span of time on the monotonic clock.
    fn sampled(&self, recorded: &Recorded, tid: i32, span: &RangeInclusive<i64>) -> Vec<&Walk> {
        let samples = recorded.table::<Sample>();
        let wanted = rows_where(&samples, |row| {
            samples.tid.value(row) == tid
                && span.contains(&recorded.monotonic(samples.ts.value(row)))
        });
        let walks = wanted.into_iter().filter_map(|row| known(&samples.user_stack, row));
        walks.filter_map(|id| self.0.get(&id)).collect()
    }
}

/// Where a thread burned CPU time, and who had called it there, as far as the judge says.
#[derive(Debug)]
struct Spun {
    pid: i32,
    tid: i32,
    span: RangeInclusive<i64>,
    callers: Vec<i64>,
}

/// What the programs said of it, in the order of time.
fn spun(output: &str) -> Vec<Spun> {
    let same = |one: &Fact, other: &Fact| one.int("tid") == other.int("tid");
    let mut judged = facts(output, "callers");
    let all = facts(output, "spun").into_iter().map(|spun| {
        let own = judged.iter().position(|callers| same(callers, &spun));
        Spun {
            pid: spun.int32("pid"),
            tid: spun.int32("tid"),
            span: spun.int("began")..=spun.int("ended"),
            callers: own.map_or_else(Vec::new, |own| judged.remove(own).ints("offsets")),
        }
    });
    all.collect()
}

/// How many of `walks` are as they should be.
fn share(walks: &[&Walk], good: impl Fn(&Walk) -> bool) -> f64 {
    walks.iter().filter(|walk| good(walk)).count() as f64 / walks.len() as f64
}

/// Fails unless there are enough samples of a chain; gives their stacks.
fn samples_of<'w>(recorded: &Recorded, walks: &'w Walks, spun: &Spun) -> Vec<&'w Walk> {
    let sampled = walks.sampled(recorded, spun.tid, &spun.span);
    let expected = burst().parse::<i64>().unwrap() * frequency() / 1000;
    let least = if in_vm() { expected / 5 } else { expected / 2 };
    assert!(sampled.len() as i64 >= least, "{} samples of {expected}", sampled.len());
    sampled
}

/// Fails unless 95 % of the samples of a chain have it as the judge does, walked in this way, and none that
/// is called complete has it otherwise. Gives their stacks.
fn assert_whole<'w>(
    recorded: &Recorded,
    walks: &'w Walks,
    spun: &Spun,
    walked: &str,
) -> Vec<&'w Walk> {
    let sampled = samples_of(recorded, walks, spun);
    let said = recorded.recording.manifest().unwinding.clone();
    assert!(spun.callers.len() > 3, "the judge knows {:?}", spun.callers);
    let strays = sampled.iter().find(|walk| walk.complete && !walk.ends_with(&spun.callers));
    assert!(strays.is_none(), "{strays:#?} is not complete: {:?}", spun.callers);
    let whole = share(&sampled, |walk| walk.complete && walk.walked.as_deref() == Some(walked));
    let other =
        sampled.iter().find(|walk| !walk.complete || walk.walked.as_deref() != Some(walked));
    assert!(whole >= 0.95, "only {whole} of {}: {other:#?}; {said:#?}", sampled.len());
    sampled
}
