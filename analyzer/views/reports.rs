//! The views that make our reports.
//!
//! Each is defined once, in a file of its own, in SQL that all engines share but for the words that
//! [`Engine`](super::engine::Engine) spells. A view may use those before it.
//!
//! They follow the rules of our reports, and where nothing was lost they give the same numbers. What SQL
//! cannot say is left out, and said in the view's description.

/// A view that makes a report.
pub struct Report {
    /// Its name.
    pub name: &'static str,
    /// What a row is, and what the view leaves out.
    pub doc: &'static str,
    /// Its columns after `host` and `recording`, with what each holds.
    pub columns: &'static [(&'static str, &'static str)],
    /// The query.
    pub definition: &'static str,
}

macro_rules! reports {
    ($($name:literal, $doc:literal: [$($column:literal $said:literal,)*])*) => {
        /// All of them, in an order in which they can be made.
        pub const ALL: &[Report] = &[$(Report {
            name: $name,
            doc: $doc,
            columns: &[$(($column, $said)),*],
            definition: include_str!(concat!("reports/", $name, ".sql")),
        }),*];
    };
}

reports! {
    "runqlat", "How long threads waited for a CPU: rows of a histogram by powers of two, as `analyze runqlat` draws \
                them. Rows without waits are left out.": [
        "low" "us: The shortest wait in the row.",
        "high" "us: The longest.",
        "count" "Waits.",
    ]
    "runqlat_by_process", "How long the threads of each process waited for a CPU, as `analyze runqlat --by process \
                           --summary` says; without names.": [
        "pid" "The process.",
        "count" "Waits.",
        "total" "ns: All of them together.",
        "mean" "ns: The mean.",
        "p50" "ns: The shortest wait that at least half of the waits do not exceed.",
        "p90" "ns: Likewise nine tenths.",
        "p99" "ns: Likewise 99 of 100.",
        "p99.9" "ns: Likewise 999 of 1,000.",
        "max" "ns: The longest.",
    ]
    "syscalls", "System calls with how often and how long, as `analyze syscalls` counts them.": [
        "number" "The call, by its number on the host's architecture.",
        "compat" "Whether 32-bit programs made it: then the number is of that architecture.",
        "count" "How many.",
        "errors" "How many returned an error.",
        "time" "ns: What they took together, as far as they returned.",
        "mean" "ns: The mean.",
        "p50" "ns: What at least half of them do not exceed.",
        "p99" "ns: What 99 of 100 do not exceed.",
        "max" "ns: The longest.",
    ]
    "opens_failed", "Files that could not be opened, as `analyze opens --failed` lists them.": [
        "ts" "ns since the epoch: When.",
        "pid" "The process.",
        "comm" "The thread's name.",
        "errno" "The error, positive: 2 is ENOENT.",
        "path" "The path as given.",
        "dir" "The directory that a relative path begins at.",
        "duration" "ns: How long it took.",
    ]
    "signals", "Who sent which signal to whom, how often: the rows of `analyze signals`, counted.": [
        "comm" "The sending thread's name; null for the kernel's timers.",
        "sig" "The signal's number.",
        "target_comm" "The name of the thread that gets it.",
        "result" "What became of it: see the table signal.",
        "count" "How many.",
    ]
    "exits", "How processes ended, by name: those of `analyze processes --exits`, counted.": [
        "comm" "The name.",
        "code" "Exit code; null where a signal ended it.",
        "signal" "The signal that ended it; null where it exited by itself.",
        "count" "How many processes.",
        "duration" "ns: How long they lived, together.",
        "user" "ns: CPU time in user mode, together.",
        "system" "ns: CPU time in kernel mode, together.",
        "max_rss" "bytes: The largest resident set of any of them.",
    ]
    "processes", "Processes from their beginning to their end, as `analyze processes` puts them together. Left out: \
                  what a process runs that never called exec (it runs what its parent ran), and the paths of cgroups. \
                  Where events are lost, one process may be two.": [
        "pid" "The process.",
        "ppid" "Its parent: the first that was recorded.",
        "uid" "Its real user id as last recorded.",
        "start" "ns since the epoch: When it began; null where only its exec was recorded.",
        "end" "ns since the epoch: When it ended; null where that was not recorded.",
        "duration" "ns: How long it lived.",
        "user" "ns: CPU time in user mode.",
        "system" "ns: CPU time in kernel mode.",
        "max_rss" "bytes: Largest resident set.",
        "code" "Exit code.",
        "signal" "The signal that ended it.",
        "core" "Whether a core was dumped.",
        "comm" "Its name at the end.",
        "exe" "The file that it ran last.",
        "argv" "Its arguments.",
        "cwd" "Its working directory at the exec.",
        "cgroup" "Its cgroup as last recorded; see the table cgroup.",
    ]
    "tcp_lives", "TCP connections that ended, as `analyze tcp lives` lists them.": [
        "start" "ns since the epoch: When its first change of state was.",
        "end" "ns since the epoch: When it was closed.",
        "duration" "ns: The time between.",
        "pid" "The owner; null where it is not known.",
        "comm" "The owner's name.",
        "laddr" "Local address.",
        "lport" "Local port.",
        "raddr" "Remote address.",
        "rport" "Remote port.",
        "sent" "bytes: Sent and acknowledged.",
        "received" "bytes: Received.",
        "retransmits" "Segments that were sent again.",
        "whole" "Whether its beginning was seen.",
        "socket" "Which socket: unique while it lives.",
    ]
    "losses", "What is missing, by table and reason: every other figure is a bound where there is a row. Segments \
               that no view can read count here as well.": [
        "table" "The table that misses it.",
        "reason" "Why: see the table loss; or `segment unfinished`.",
        "count" "How many events, or rows.",
        "start" "ns since the epoch: The first moment at which they may have happened.",
        "end" "ns since the epoch: The last.",
    ]
    "stack_names", "Call stacks in one line each, the outermost function first, as folded stacks have them: _[k] is \
                    the kernel, _[i] inlined, _[j] compiled by the process itself. Left out: control characters are \
                    not escaped.": [
        "stack" "The stack's number.",
        "name" "Its functions, with ; between them.",
    ]
    "flamegraph", "What ran on the CPUs, as folded lines: `analyze flamegraph --folded`. Left out: nothing stands \
                   where a user stack could not be read.": [
        "stack" "The thread's name and its functions, outermost first.",
        "weight" "ns of the sampling clock, or cycles.",
        "samples" "How many samples.",
    ]
    "outstanding", "Blocks of memory that were allocated and not freed at the end of the recording, or of their \
                    process. Left out: pages of the kernel and mapped memory, which are freed in other pieces than \
                    they were taken; the blocks that a forked child has from its parent count with the parent \
                    alone; and what a vfork child allocates before its exec.": [
        "kind" "heap, slab or percpu. Slabs are made of other memory: never add kinds up.",
        "ts" "ns since the epoch: When it was allocated.",
        "pid" "The process that allocated it.",
        "tid" "The thread.",
        "address" "Where.",
        "bytes" "bytes: What was asked for; of the kernel's, what was taken.",
        "stands_for" "bytes: What it stands for where only some allocations were recorded.",
        "stack" "Who allocated it; null where stacks were not recorded. See stack_names.",
    ]
    "memleak", "Outstanding memory by stack, as `analyze memleak` counts it at the end; see outstanding.": [
        "kind" "heap, slab or percpu.",
        "bytes" "bytes: Outstanding.",
        "count" "Blocks.",
        "stack" "The stack's number.",
        "name" "Its functions, outermost first.",
    ]
}
