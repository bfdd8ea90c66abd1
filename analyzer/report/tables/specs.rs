//! Which tables there are.

use lookback_schemas::TableId;

use super::{Ask, Page, ask};
use crate::render::{Captured, Keep};
use crate::{
    commands, gc, info, irqs, memleak, offcpu, opens, processes, runqlat, signals, spans, syscalls,
    tcp, unlinks,
};

/// When what a row tells of was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Times {
    /// It is of the whole time.
    None,
    /// From `ts` on, and for so long as this column says.
    At(Option<&'static str>),
    /// From `start` to `end`.
    Between,
}

/// A table of the page.
pub(super) struct Spec {
    pub id: &'static str,
    pub title: &'static str,
    pub what: &'static str,
    /// The tables of the recording that it is made from; without any, it is always there.
    pub tables: &'static [TableId],
    pub command: &'static str,
    pub words: &'static [&'static str],
    pub keep: Keep,
    pub times: Times,
    /// Columns that are left out though tables have them.
    pub hide: &'static [&'static str],
    /// Columns that are there though only data has them.
    pub also: &'static [&'static str],
    /// Whether rows are below others.
    pub tree: bool,
    /// Whether its sums are also kept by step: of system calls.
    pub by_step: bool,
    /// The distribution whose longest these are.
    pub slowest_of: Option<&'static str>,
    /// Whether it is left out where it has no rows.
    pub omit_if_empty: bool,
    pub ask: fn(&Page<'_>, &Ask<'_>) -> anyhow::Result<Captured>,
}

const FIRST: Keep = Keep { rows: 2_000, largest: None };
const TOP: Keep = Keep { rows: 300, largest: None };

/// The longest by this column.
const fn longest(column: &'static str) -> Keep {
    Keep { rows: 200, largest: Some(column) }
}

const fn spec(
    (id, title, what): (&'static str, &'static str, &'static str),
    tables: &'static [TableId],
    (command, words): (&'static str, &'static [&'static str]),
    ask: fn(&Page<'_>, &Ask<'_>) -> anyhow::Result<Captured>,
) -> Spec {
    Spec {
        id,
        title,
        what,
        tables,
        command,
        words,
        keep: FIRST,
        times: Times::At(None),
        hide: &[],
        also: &[],
        tree: false,
        by_step: false,
        slowest_of: None,
        omit_if_empty: false,
        ask,
    }
}

use TableId::{
    Exec, Exit, Fork, Gc, Hardirq, Kalloc, Offcpu, Open, Process, Readline, Runq, Signal, Softirq,
    Span, Syscall, Tcpconnect, Tcpstate, Unlink,
};

/// All of them, in the order of the page.
pub(super) const SPECS: [Spec; 22] = [
    Spec {
        times: Times::None,
        ..spec(
            (
                "tables",
                "Tables of the recording",
                "what was written, seen and lost, of the whole recording",
            ),
            &[],
            ("info", &[]),
            ask::<info::InfoArgs>,
        )
    },
    Spec {
        times: Times::Between,
        hide: &["USER", "SYSTEM", "CONTAINER"],
        tree: true,
        ..spec(
            ("processes", "Processes", "who started whom, and how it ended"),
            &[Process, Fork, Exec, Exit],
            ("processes", &["--tree"]),
            ask::<processes::ProcessesArgs>,
        )
    },
    spec(
        ("exits", "Exits", "processes and threads that ended, in the order of time"),
        &[Exit],
        ("processes", &["--exits"]),
        ask::<processes::ProcessesArgs>,
    ),
    spec(
        ("signals", "Signals", "who sent which to whom, and what became of it"),
        &[Signal],
        ("signals", &["--name"]),
        ask::<signals::SignalsArgs>,
    ),
    Spec {
        keep: longest("wait"),
        times: Times::At(Some("wait")),
        slowest_of: Some("runq"),
        ..spec(
            ("waits", "Longest waits for a CPU", "who waited, and who had the CPU right before"),
            &[Runq],
            ("runqlat", &["--list"]),
            ask::<runqlat::RunqlatArgs>,
        )
    },
    Spec {
        keep: TOP,
        times: Times::None,
        ..spec(
            ("blame", "Who waited for whom", "waits for a CPU by pairs, the most time first"),
            &[Runq],
            ("runqlat", &["--blame"]),
            ask::<runqlat::RunqlatArgs>,
        )
    },
    Spec {
        keep: TOP,
        times: Times::None,
        ..spec(
            (
                "offcpu-by",
                "What threads waited for",
                "by function, and who woke them, the most time first",
            ),
            &[Offcpu],
            ("offcpu", &["--by", "process,state,function,waker"]),
            ask::<offcpu::OffcpuArgs>,
        )
    },
    Spec {
        keep: TOP,
        times: Times::None,
        by_step: true,
        ..spec(
            ("calls", "System calls by name", "how many, how long, how many failed"),
            &[Syscall],
            ("syscalls", &["--sort", "time"]),
            ask::<syscalls::SyscallsArgs>,
        )
    },
    Spec {
        keep: TOP,
        times: Times::None,
        ..spec(
            ("errors", "Errors of system calls", "which failed with what"),
            &[Syscall],
            ("syscalls", &["--errors"]),
            ask::<syscalls::SyscallsArgs>,
        )
    },
    Spec {
        keep: longest("duration"),
        times: Times::At(Some("duration")),
        also: &["duration"],
        slowest_of: Some("syscalls"),
        ..spec(
            ("slow-calls", "Longest system calls", "those that wait on purpose among them"),
            &[Syscall],
            ("syscalls", &["--list"]),
            ask::<syscalls::SyscallsArgs>,
        )
    },
    spec(
        ("failed-opens", "Opens that failed", "files that were looked for in vain"),
        &[Open],
        ("opens", &["--failed", "--full"]),
        ask::<opens::OpensArgs>,
    ),
    Spec {
        keep: TOP,
        times: Times::None,
        ..spec(
            ("failed-paths", "Paths that could not be opened", "how often, the most first"),
            &[Open],
            ("opens", &["--failed", "--full", "--by", "path"]),
            ask::<opens::OpensArgs>,
        )
    },
    spec(
        ("unlinks", "Files removed and renamed", "in the order of time"),
        &[Unlink],
        ("unlinks", &[]),
        ask::<unlinks::UnlinksArgs>,
    ),
    Spec {
        times: Times::At(Some("latency")),
        omit_if_empty: true,
        ..spec(
            ("failed-connects", "TCP connects that failed", "refused, unanswered or given up"),
            &[Tcpconnect],
            ("tcp connects", &["--failed", "--time"]),
            ask::<tcp::connects::ConnectsArgs>,
        )
    },
    Spec {
        keep: longest("latency"),
        times: Times::At(Some("latency")),
        ..spec(
            ("connects-slow", "Slowest TCP connects", "from the first packet to the answer"),
            &[Tcpconnect],
            ("tcp connects", &["--time"]),
            ask::<tcp::connects::ConnectsArgs>,
        )
    },
    Spec {
        times: Times::At(Some("duration")),
        ..spec(
            ("lives", "TCP sockets", "from their first state to the last, and what they carried"),
            &[Tcpstate],
            ("tcp lives", &["--time", "--open"]),
            ask::<tcp::lives::LivesArgs>,
        )
    },
    Spec {
        keep: longest("duration"),
        times: Times::At(Some("duration")),
        ..spec(
            ("pauses", "Longest collections of garbage", "how long programs stood still"),
            &[Gc],
            ("gc", &[]),
            ask::<gc::GcArgs>,
        )
    },
    Spec {
        times: Times::None,
        also: &["kind", "mean", "max"],
        ..spec(
            ("irqs", "Interrupts", "how much time handlers took"),
            &[Hardirq, Softirq],
            ("irqs", &[]),
            ask::<irqs::IrqsArgs>,
        )
    },
    Spec {
        times: Times::None,
        ..spec(
            (
                "kernel-memory",
                "Kernel memory that was not freed",
                "who took it, the most of each kind first",
            ),
            &[Kalloc],
            ("memleak", &["--kind", "slab", "--kind", "pages", "--kind", "percpu", "--top", "40"]),
            ask::<memleak::MemleakArgs>,
        )
    },
    Spec {
        times: Times::None,
        ..spec(
            ("spans", "Spans", "between two probes: how long they took"),
            &[Span],
            ("spans", &[]),
            ask::<spans::SpansArgs>,
        )
    },
    Spec {
        keep: longest("duration"),
        times: Times::At(Some("duration")),
        ..spec(
            ("slow-spans", "Longest spans", "each with its thread"),
            &[Span],
            ("spans", &["--list"]),
            ask::<spans::SpansArgs>,
        )
    },
    spec(
        ("commands", "Lines given to shells", "what people typed"),
        &[Readline],
        ("commands", &[]),
        ask::<commands::CommandsArgs>,
    ),
];
