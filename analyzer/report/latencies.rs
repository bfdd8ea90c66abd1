//! Durations by step of time: what the heat maps, the histograms and the percentiles over time are drawn from.
//!
//! The values of each step are kept as the reports keep them, so percentiles are exact; the page gets the rows
//! of their histograms. Of a part of the time it knows those rows, and says percentiles as the rows they are in.

use arrow::array::Array as _;
use lookback_schemas::TableId;

use super::Page;
use super::document::{Absent, Distribution};
use crate::distribution::{PERCENTILES, Scale, Summary, Values};
use crate::gc::pauses;
use crate::processes::known;
use crate::render::{duration, thousands};
use crate::scope::Scope;
use crate::tally::{Groups, Projection, Selection, projection};

projection! {
    /// Waits for a CPU.
    struct Waits of Runq {
        ts: i64,
        wait: i64,
    }
}
projection! {
    /// Time off the CPUs.
    struct Away of Offcpu {
        ts: i64,
        duration: Option<i64>,
    }
}
projection! {
    /// System calls.
    struct Calls of Syscall {
        ts: i64,
        duration: Option<i64>,
    }
}
projection! {
    /// Handlers of hardware interrupts.
    struct Hard of Hardirq {
        ts: i64,
        duration: i64,
    }
}
projection! {
    /// Soft interrupts.
    struct Soft of Softirq {
        ts: i64,
        duration: i64,
    }
}
projection! {
    /// TCP connects.
    struct Connects of Tcpconnect {
        ts: i64,
        latency: i64,
    }
}
projection! {
    /// Round trips.
    struct Trips of Tcprtt {
        ts: i64,
        srtt: i64,
        weight: i32,
    }
}

/// A distribution as it is shown, and what others need of it.
pub(super) struct Read {
    pub shown: Distribution,
    /// Figures of the whole time.
    pub summary: Summary,
    /// How many there are in each step, and their 99th percentile.
    pub steps: Vec<(u64, Option<i64>)>,
}

type Steps = Groups<usize, Values>;

/// A kind of duration.
struct Kind {
    table: TableId,
    id: &'static str,
    title: &'static str,
    what: &'static str,
    command: &'static str,
    read: fn(&Page<'_>) -> anyhow::Result<Steps>,
}

const KINDS: [Kind; 8] = [
    Kind {
        table: TableId::Runq,
        id: "runq",
        title: "Waits for a CPU",
        what: "how long threads that could run waited until they did",
        command: "runqlat REC",
        read: |page| {
            sum(page, |rows: &Waits, row| Row::of(rows.ts.value(row), rows.wait.value(row)))
        },
    },
    Kind {
        table: TableId::Offcpu,
        id: "offcpu",
        title: "Time off the CPUs",
        what: "how long threads slept or waited, by when they left their CPU",
        command: "histogram REC offcpu duration --unit us",
        read: |page| {
            sum(page, |rows: &Away, row| Row {
                value: known!(rows.duration, row),
                ..Row::of(rows.ts.value(row), 0)
            })
        },
    },
    Kind {
        table: TableId::Syscall,
        id: "syscalls",
        title: "System calls",
        what: "how long calls took, those that wait on purpose among them",
        command: "syscalls REC --latency",
        read: |page| {
            sum(page, |rows: &Calls, row| Row {
                value: known!(rows.duration, row),
                ..Row::of(rows.ts.value(row), 0)
            })
        },
    },
    Kind {
        table: TableId::Gc,
        id: "gc",
        title: "Garbage collection",
        what: "how long programs stood still for a collection",
        command: "gc REC --hist",
        read: of_pauses,
    },
    Kind {
        table: TableId::Tcpconnect,
        id: "connects",
        title: "TCP connects",
        what: "from the first packet to the answer, refusals among them",
        command: "tcp connects REC --hist",
        read: |page| {
            sum(page, |rows: &Connects, row| Row::of(rows.ts.value(row), rows.latency.value(row)))
        },
    },
    Kind {
        table: TableId::Tcprtt,
        id: "rtt",
        title: "TCP round trips",
        what: "the kernel's smoothed estimate, at each packet that was looked at",
        command: "tcp rtt REC",
        read: |page| {
            sum(page, |rows: &Trips, row| {
                let times = u64::try_from(rows.weight.value(row)).unwrap_or(0);
                Row { times, ..Row::of(rows.ts.value(row), rows.srtt.value(row)) }
            })
        },
    },
    Kind {
        table: TableId::Hardirq,
        id: "hardirq",
        title: "Hardware interrupts",
        what: "how long handlers took",
        command: "irqs REC --hard --dist",
        read: |page| {
            sum(page, |rows: &Hard, row| Row::of(rows.ts.value(row), rows.duration.value(row)))
        },
    },
    Kind {
        table: TableId::Softirq,
        id: "softirq",
        title: "Soft interrupts",
        what: "how long vectors took",
        command: "irqs REC --soft --dist",
        read: |page| {
            sum(page, |rows: &Soft, row| Row::of(rows.ts.value(row), rows.duration.value(row)))
        },
    },
];

/// What a row tells.
struct Row {
    ts: i64,
    /// `None` where it had not ended.
    value: Option<i64>,
    /// How many it stands for.
    times: u64,
}

impl Row {
    fn of(ts: i64, value: i64) -> Row {
        Row { ts, value: Some(value), times: 1 }
    }
}

/// The distributions of what was recorded.
pub(super) fn all(page: &Page<'_>, absent: &mut Vec<Absent>) -> Vec<Read> {
    let mut all = Vec::new();
    for kind in &KINDS {
        if !page.has(&[kind.table], kind.title, absent) {
            continue;
        }
        all.push(match (kind.read)(page).and_then(|steps| describe(page, kind, steps)) {
            Ok(read) => read,
            Err(error) => {
                let note = super::document::text(&format!("cannot be read: {error:#}"));
                let summary = Values::default().summary();
                let shown = Distribution { notes: vec![note], ..head(page, kind) };
                Read { shown, summary, steps: Vec::new() }
            }
        });
    }
    all
}

fn head(page: &Page<'_>, kind: &Kind) -> Distribution {
    Distribution {
        id: kind.id,
        table: kind.table.name(),
        title: kind.title,
        what: kind.what,
        command: format!("analyze {}", kind.command),
        warnings: page.warnings(&[kind.table]),
        ..Distribution::default()
    }
}

fn sum<P: Projection>(
    page: &Page<'_>,
    of: impl Fn(&P, usize) -> Row + Sync,
) -> anyhow::Result<Steps> {
    let (source, scope, threads) = (&page.source, &Scope::default(), page.args.threads);
    let selection = Selection { source, scope, threads, without: &[] };
    Ok(selection.sum(|steps: &mut Steps, rows: &P, row| {
        let Row { ts, value, times } = of(rows, row);
        let values = steps.of(page.steps.of(ts));
        match value {
            Some(value) => values.add_times(value, times),
            None => values.add_null(),
        }
    })?)
}

/// The pauses that began in the page's time; those within others count with those.
fn of_pauses(page: &Page<'_>) -> anyhow::Result<Steps> {
    let range = &page.source.window.range;
    let pauses = pauses::read(&page.source.recording, range, &Scope::default())?;
    let mut steps = Steps::default();
    for pause in pauses.all.iter().filter(|pause| !pause.is_nested()) {
        let values = steps.of(page.steps.of(pause.ts));
        match pause.duration {
            Some(duration) => values.add(duration),
            None => values.add_null(),
        }
    }
    Ok(steps)
}

fn describe(page: &Page<'_>, kind: &Kind, sums: Steps) -> anyhow::Result<Read> {
    let scale = Scale::of_time(false);
    let mut heat = vec![Vec::new(); page.steps.count()];
    let mut steps = vec![(0, None); page.steps.count()];
    let mut whole = Values::default();
    for (step, mut values) in sums.sorted() {
        for (row, bucket) in scale.buckets(&values)?.into_iter().enumerate() {
            if bucket.count > 0 {
                heat[step].extend([row as u64, bucket.count]);
            }
        }
        let summary = values.summary();
        steps[step] = (summary.count + summary.nulls, summary.p99());
        whole.merge(values);
    }
    let summary = whole.summary();
    let mut notes = Vec::new();
    if summary.nulls > 0 {
        notes.push(format!("{} had not ended and are left out", thousands(summary.nulls)));
    }
    if summary.negative > 0 {
        notes.push(format!("{} are negative: they have no row", thousands(summary.negative)));
    }
    let mut said = vec![("count", thousands(summary.count))];
    if let Some(mean) = summary.mean {
        said.push(("mean", duration(mean.round() as i64)));
    }
    for ((name, _), value) in std::iter::zip(PERCENTILES, summary.percentiles) {
        said.extend(value.map(|value| (name, duration(value))));
    }
    said.extend(summary.max.map(|max| ("max", duration(max))));
    let shown = Distribution { summary: said, heat, notes, ..head(page, kind) };
    Ok(Read { shown, summary, steps })
}
