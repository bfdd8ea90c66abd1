//! Memory that was allocated and not freed: by programs, and by the kernel for itself.
//!
//! bcc's memleak keeps the outstanding blocks in a map while it traces, and prints that map. Here
//! every allocation and free is in the recording, and the map is [replayed](crate::replay): so it
//! can be seen at any instant, and what is asked of it can be decided afterwards. What grows
//! between two instants of steady work, or is older than the work that it was for, is a leak.
//!
//! Heaps are made of mapped memory, slabs of pages: if their bytes were added up they would count
//! twice. So each kind of memory has its own section and its own total.
//!
//! Filters choose allocations: by the process that made them, and by their size. A free belongs to
//! its block whoever frees: another thread, or in the kernel an interrupt.

mod kernel;
mod notes;
mod over_time;
mod peak;
mod print;
mod section;
mod temporary;
mod user;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use lookback_schemas::TableId;

use self::kernel::Memory;
pub(crate) use self::notes::is_recorded;
use self::print::{histograms, print};
use self::section::Reports;
use self::user::User;
use crate::cli::{Source, SourceArgs};
use crate::distribution::{Scale, Unit, Values};
use crate::heap::shard::Within;
use crate::render::{Output, escaped};
use crate::replay::Instants;
use crate::scope::{Scope, ScopeArgs};
use crate::tally::ThreadsArgs;
use crate::window;

/// Shown below the help.
pub const EXAMPLE: &str = "Examples:\n  analyze memleak web1.lookback --older 30s --top 5\n  \
                           analyze memleak web1.lookback --between 60s 120s --kind heap\n  \
                           analyze memleak web1.lookback --peak\n  \
                           analyze memleak web1.lookback --by-cache --every 10s --format csv";

/// Options of `analyze memleak`.
#[derive(Args, Debug)]
pub struct MemleakArgs {
    /// The recording, and the part of it.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Which processes.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How many threads replay.
    #[command(flatten)]
    pub threads: ThreadsArgs,
    /// What is outstanding at this instant: the forms of --since [default: the end]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["between", "peak", "timeline"])]
    pub at: Option<String>,
    /// A report after each of these steps, such as `10s`, and at the end
    #[arg(long, value_name = "STEP", value_parser = window::length,
          conflicts_with_all = ["at", "between", "lifetimes", "sizes", "peak", "temporary"])]
    pub every: Option<i64>,
    /// Only so many reports
    #[arg(long, value_name = "N", requires = "every", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// How much more is outstanding at the second instant than at the first
    #[arg(long, num_args = 2, value_names = ["TIME", "TIME"], group = "question")]
    pub between: Option<Vec<String>>,
    /// How long the blocks lived that were freed, as histograms
    #[arg(long, group = "question")]
    pub lifetimes: bool,
    /// What sizes were asked for, as histograms
    #[arg(long, group = "question")]
    pub sizes: bool,
    /// When most bytes of the heap were live, and what they were
    #[arg(long, group = "question")]
    pub peak: bool,
    /// Allocations of the heap that were freed at once
    #[arg(long, group = "question")]
    pub temporary: bool,
    /// What --temporary calls at once: before its process has made so many more allocations, or after
    /// such a time, as `1ms`
    #[arg(long, value_name = "N|TIME", requires = "temporary", value_parser = within, default_value = "1")]
    pub within: Within,
    /// The heap and mapped memory over time, in 60 steps, or those of --every
    #[arg(long, group = "question")]
    pub timeline: bool,
    /// Only blocks that have lived so long at that instant, such as `500ms`
    #[arg(long, value_name = "AGE", value_parser = window::length, conflicts_with_all = ["peak", "temporary", "timeline"])]
    pub older: Option<i64>,
    /// Only allocations of at least so many bytes
    #[arg(long, value_name = "BYTES")]
    pub min_size: Option<u64>,
    /// Only allocations of at most so many bytes
    #[arg(long, value_name = "BYTES")]
    pub max_size: Option<u64>,
    /// Only this kind of memory; can be given again
    #[arg(long, value_enum)]
    pub kind: Vec<Kind>,
    /// Only the totals, without stacks
    #[arg(long, conflicts_with_all = ["by_cache", "lifetimes", "sizes"])]
    pub combined_only: bool,
    /// Slab memory by the name of its cache, where the kernel told it
    #[arg(long, conflicts_with = "question")]
    pub by_cache: bool,
    /// Each process that allocated by itself
    #[arg(long, conflicts_with_all = ["lifetimes", "sizes"])]
    pub by_process: bool,
    /// Each thread that allocated by itself
    #[arg(long, conflicts_with_all = ["lifetimes", "sizes", "by_cache"])]
    pub by_thread: bool,
    /// Count what a forked child has from its parent in both
    #[arg(long)]
    pub inherited: bool,
    /// So many stacks of each kind of memory
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// What is most
    #[arg(long, value_enum, default_value_t = Sort::Size)]
    pub sort: Sort,
}

/// The kinds of memory, in the order of their sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// What programs asked their allocators for.
    Heap,
    /// What programs have mapped.
    Vm,
    /// Objects of the kernel's slab allocator: kmalloc and `kmem_cache_alloc`.
    Slab,
    /// The kernel's pages.
    Pages,
    /// Memory of the kernel that each CPU has its own copy of.
    Percpu,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Heap, Kind::Vm, Kind::Slab, Kind::Pages, Kind::Percpu];

    /// The kind of kernel memory with this number in the column `kind`.
    fn from_code(code: i32) -> Option<Kind> {
        match code {
            0 => Some(Kind::Slab),
            1 => Some(Kind::Pages),
            2 => Some(Kind::Percpu),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Heap => "heap",
            Kind::Vm => "vm",
            Kind::Slab => "slab",
            Kind::Pages => "pages",
            Kind::Percpu => "percpu",
        }
    }

    /// The table that tells of it.
    fn table(self) -> TableId {
        match self {
            Kind::Heap => TableId::Alloc,
            Kind::Vm => TableId::Vm,
            Kind::Slab | Kind::Pages | Kind::Percpu => TableId::Kalloc,
        }
    }
}

/// What outstanding memory is ranked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// By bytes.
    #[default]
    Size,
    /// By allocations.
    Count,
}

/// Reads the value of --within.
///
/// # Errors
/// If it is neither a number nor a length of time.
pub fn within(text: &str) -> Result<Within, String> {
    match text.parse() {
        Ok(allocations) => Ok(Within::Allocations(allocations)),
        Err(_) => window::length(text).map(Within::Time),
    }
}

impl MemleakArgs {
    /// The kinds that were asked for.
    fn kinds(&self) -> Vec<Kind> {
        let user_only = self.by_thread || self.sizes;
        let asked = |kind: &Kind| {
            if self.by_cache {
                return *kind == Kind::Slab;
            }
            let chosen = self.kind.is_empty() || self.kind.contains(kind);
            chosen && !(user_only && kind.table() == TableId::Kalloc)
        };
        Kind::ALL.into_iter().filter(asked).collect()
    }

    fn with_stacks(&self) -> bool {
        !self.combined_only && !self.by_cache && !self.lifetimes && !self.sizes && !self.timeline
    }

    fn admits_size(&self, bytes: u64) -> bool {
        self.min_size.is_none_or(|min| bytes >= min) && self.max_size.is_none_or(|max| bytes <= max)
    }

    fn admits_age(&self, age: i64) -> bool {
        self.older.is_none_or(|older| age >= older)
    }

    /// Whether what processes had when they ended counts as outstanding: at the end it does, as in
    /// every report on a program that ran. At an instant it is gone.
    fn counts_ended(&self) -> bool {
        self.at.is_none()
            && self.every.is_none()
            && self.between.is_none()
            && !self.peak
            && !self.timeline
    }
}

/// An instant is not in the part of the recording that the report is about.
#[derive(Debug)]
struct Outside {
    option: String,
    text: String,
}

impl fmt::Display for Outside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outside { option, text } = self;
        write!(
            formatter,
            "{option} {text} lies outside the recording, or outside --since and --until"
        )
    }
}

impl std::error::Error for Outside {}

/// Reads an instant in the part of the recording that the report is about.
pub(crate) fn instant(option: &str, text: &str, source: &Source) -> anyhow::Result<i64> {
    let window = &source.window;
    let at = window.moment(text).with_context(|| format!("{option} {text}"))?;
    if at < window.start() || at > window.end() {
        bail!(Outside { option: option.to_owned(), text: text.to_owned() });
    }
    Ok(at)
}

/// More reports than this nobody can read.
const MOST_REPORTS: i64 = 10_000;

/// When the report looks. Growth looks twice.
fn instants(args: &MemleakArgs, source: &Source) -> anyhow::Result<Instants> {
    let (start, end) = (source.window.start(), source.window.end());
    if let Some(between) = &args.between {
        let at = |index: usize| instant("--between", &between[index], source);
        let (first, last) = (at(0)?, at(1)?);
        if first >= last {
            bail!("--between: the second instant must be later than the first");
        }
        return Ok(Instants { next: Some(first), step: Some(last - first), last, left: 2 });
    }
    if let Some(step) = args.every {
        let span = end.saturating_sub(start);
        if step <= 0 || span / step > MOST_REPORTS {
            bail!("--every: that makes too many reports; take a larger step");
        }
        return Ok(Instants {
            next: Some(start.saturating_add(step).min(end)),
            step: Some(step),
            last: end,
            left: args.count.unwrap_or(u64::MAX),
        });
    }
    let at = args.at.as_ref().map(|at| instant("--at", at, source)).transpose()?;
    Ok(Instants::once(at.unwrap_or(end)))
}

/// Prints the report.
///
/// # Errors
/// If an instant is not in the recording, a table is damaged, or the output cannot be written.
pub fn run(args: &MemleakArgs, source: &Source) -> anyhow::Result<()> {
    let scope = source.scope(&args.scope)?;
    if args.by_cache && !args.kind.is_empty() && !args.kind.contains(&Kind::Slab) {
        bail!("--by-cache is about slab memory; other kinds have no caches");
    }
    let (kinds, missing) = notes::recorded(&source.recording, args.kinds(), !args.kind.is_empty())?;
    let user = User::new(args, source, &scope)?;
    if args.peak {
        return peak::run(&user, &kinds, &missing);
    }
    if args.temporary {
        return temporary::run(&user, &kinds, &missing);
    }
    if args.timeline {
        return over_time::run(&user, &kinds, &missing);
    }
    outstanding(&user, &scope, &kinds, &missing)
}

/// What is outstanding, has grown, or how it was distributed: of every kind.
fn outstanding(
    user: &User<'_>,
    scope: &Scope,
    kinds: &[Kind],
    missing: &[String],
) -> anyhow::Result<()> {
    let (args, source) = (user.args, user.source);
    // What one of several recordings has, others may not have.
    if let Err(error) = instants(args, source)
        && error.is::<Outside>()
        && !source.is_alone()
    {
        let mut output = begin(source, kinds)?;
        output.notes(&[escaped(&error.to_string()).into_owned()])?;
        return output.finish();
    }
    let mut notes = missing.to_vec();
    let mut reports = Reports::new(args);
    let mut values: BTreeMap<Kind, Values> = BTreeMap::new();
    for kind in [Kind::Heap, Kind::Vm].iter().filter(|kind| kinds.contains(kind)) {
        let of_kind = user.outstanding(*kind, instants(args, source)?)?;
        notes.extend(of_kind.notes);
        reports.join(of_kind.reports);
        values.insert(*kind, of_kind.values);
    }
    let of_kernel = |kind: &Kind| kind.table() == TableId::Kalloc;
    let kernel: Vec<Kind> = kinds.iter().copied().filter(of_kernel).collect();
    let mut memory = Memory::new(args, scope, kernel.clone());
    if !kernel.is_empty() {
        scope.check(TableId::Kalloc)?;
        memory.replay(source, instants(args, source)?)?;
        notes.extend(notes::of_kernel(&memory, source));
        for kind in kernel {
            values.insert(kind, memory.lifetimes.remove(&kind).unwrap_or_default());
        }
    }
    reports.join(std::mem::replace(&mut memory.reports, Reports::new(args)));
    let mut output = begin(source, kinds)?;
    output.notes(&notes)?;
    if args.lifetimes {
        histograms(&mut output, values, "lifetime", Scale::of_time(false))?;
    } else if args.sizes {
        let scale = Scale { label: Unit::Bytes.label(), unit: 1, linear: None };
        histograms(&mut output, values, "bytes", scale)?;
    } else {
        print(user, &mut output, &memory.caches, &reports.all)?;
    }
    output.finish()
}

/// Opens the output of a report about these kinds.
fn begin(source: &Source, kinds: &[Kind]) -> anyhow::Result<Output> {
    let mut tables: Vec<TableId> = kinds.iter().map(|kind| kind.table()).collect();
    tables.dedup();
    if tables.is_empty() {
        // No table would be every table.
        tables.push(TableId::Alloc);
    }
    source.begin(&tables)
}

#[cfg(test)]
mod user_tests;

#[cfg(test)]
mod tests {
    use crate::made::{Kernel, Made, Row, analyze, lines};

    const SLAB: i32 = 0;
    const PAGES: i32 = 1;
    const PERCPU: i32 = 2;

    /// Slab blocks of two stacks: at 0xa one that is freed and another after it, at 0xb one that
    /// stays, at 0xc one whose free was missed. Pages: eight, of which two are given back.
    fn kernel() -> Made {
        let made = Made::new();
        let slab = |seconds, address, bytes, stack, pid| {
            made.kalloc(&Kernel { seconds, kind: SLAB, address, bytes, stack, pid })
        };
        made.rows(&[
            made.stack(1, &[11, 10], false),
            made.stack(2, &[12, 10], true),
            made.frame(10, true, None, None),
            made.frame(11, true, None, None),
            made.frame(12, true, Some("/lib/modules/xfs.ko"), None),
            made.symbol(10, 0, "do_syscall"),
            made.symbol(11, 1, "inlined"),
            made.symbol(11, 0, "alloc_a"),
            made.symbol(12, 0, "alloc_b"),
            slab(1.0, 0xa, 100, 1, 10),
            slab(1.5, 0xb, 300, 2, 11),
            slab(2.0, 0xc, 50, 1, 10),
            made.kfree(2.5, SLAB, 0xdead, None),
            made.kfree(5.0, SLAB, 0xa, None),
        ]);
        // Of another CPU: in a later row group although it is older.
        made.rows(&[
            slab(3.0, 0xc, 70, 1, 12),
            made.kalloc(&Kernel {
                seconds: 2.0,
                kind: PAGES,
                address: 0x8000,
                bytes: 0x8000,
                stack: 1,
                pid: 10,
            }),
            made.kfree(4.0, PAGES, 0xa000, Some(0x2000)),
            slab(6.0, 0xa, 20, 2, 10),
        ]);
        made.end(10.0);
        made
    }

    fn totals(made: &Made, args: &[&str]) -> Vec<String> {
        let args = [&["memleak", "--combined-only", "--format", "csv"], args].concat();
        let text = analyze(made, &args).expect("it is whole");
        // Without the instant.
        let tail = |line: &str| line.split_once(',').map(|(_, tail)| tail.to_owned());
        text.lines().skip(1).filter_map(tail).collect()
    }

    #[test]
    fn stacks_are_printed_as_memleak_does() {
        let text = analyze(&kernel(), &["memleak"]).expect("it is whole");
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "# 2026-11-22T10:15:00Z + 10.0 s, nothing lost",
                "# 1 frees of unknown blocks, allocated before the recording or by what was not \
                 recorded",
                "# 1 missed frees: memory was allocated again that was not seen to be freed",
                "",
                "[2026-11-22T10:15:10.000Z] Top 10 stacks with outstanding allocations:",
                "slab: 390 bytes (390B) in 3 allocations",
                "320 bytes in 2 allocations from stack",
                "\t000000000000100c alloc_b+0x4 [xfs.ko]",
                "\t000000000000100a do_syscall+0x4",
                "\t[truncated]",
                "70 bytes in 1 allocations from stack",
                "\t000000000000100b inlined+0x4",
                "\t000000000000100b alloc_a+0x4",
                "\t000000000000100a do_syscall+0x4",
                "pages: 24,576 bytes (24.0KiB) in 1 allocations",
                "24576 bytes in 1 allocations from stack",
                "\t000000000000100b inlined+0x4",
                "\t000000000000100b alloc_a+0x4",
                "\t000000000000100a do_syscall+0x4",
                "percpu: 0 bytes (0B) in 0 allocations",
            ]
        );
    }

    #[test]
    fn any_instant_can_be_seen() {
        let made = kernel();
        let at = |at| totals(&made, &["--at", at]);
        assert_eq!(at("0s"), ["slab,0,0", "pages,0,0", "percpu,0,0"]);
        assert_eq!(
            at("1s"),
            ["slab,100,1", "pages,0,0", "percpu,0,0"],
            "the instant belongs to it"
        );
        assert_eq!(at("2.2s"), ["slab,450,3", "pages,32768,1", "percpu,0,0"]);
        assert_eq!(at("3s"), ["slab,470,3", "pages,32768,1", "percpu,0,0"], "a free was missed");
        assert_eq!(at("4s"), ["slab,470,3", "pages,24576,1", "percpu,0,0"], "split");
        assert_eq!(at("5.5s"), ["slab,370,2", "pages,24576,1", "percpu,0,0"]);
        assert_eq!(at("10:15:10"), ["slab,390,3", "pages,24576,1", "percpu,0,0"], "reused");
        assert_eq!(totals(&made, &[]), at("10s"));
        let error = analyze(&made, &["memleak", "--at", "11s"]).expect_err("it is after the end");
        assert!(error.to_string().contains("--at 11s lies outside"), "{error}");
    }

    #[test]
    fn steps_end_with_the_recording() {
        let args = ["memleak", "--every", "4s", "--combined-only", "--kind", "slab"];
        let text = analyze(&kernel(), &[&args[..], &["--format", "csv"]].concat());
        assert_eq!(
            text.expect("it is whole"),
            "ts,kind,bytes,count\n\
             1795342504000000000,slab,470,3\n\
             1795342508000000000,slab,390,3\n\
             1795342510000000000,slab,390,3\n"
        );
        let error = analyze(&kernel(), &["memleak", "--every", "1us"]).expect_err("too many");
        assert!(error.to_string().contains("larger step"), "{error}");
    }

    #[test]
    fn blocks_are_chosen_by_age_size_and_process() {
        let made = kernel();
        let slab = |args: &[&str]| totals(&made, &[args, &["--kind", "slab"]].concat());
        assert_eq!(slab(&["--older", "4s"]), ["slab,390,3"], "just so old");
        assert_eq!(slab(&["--older", "4.001s"]), ["slab,370,2"]);
        assert_eq!(slab(&["--older", "8.5s"]), ["slab,300,1"]);
        assert_eq!(slab(&["--older", "3s", "--at", "4s"]), ["slab,100,1"]);
        assert_eq!(slab(&["--min-size", "50", "--max-size", "70"]), ["slab,70,1"]);
        assert_eq!(slab(&["--pid", "10"]), ["slab,20,1"]);
        assert_eq!(slab(&["--pid", "12"]), ["slab,70,1"], "on top of another's");
        assert_eq!(slab(&["--pid", "10", "--at", "2.2s"]), ["slab,150,2"]);
        assert_eq!(slab(&["--comm", "nobody"]), ["slab,0,0"]);
        assert_eq!(slab(&["--since", "1.2s"]), ["slab,390,3"]);
        assert_eq!(
            totals(&made, &["--by-process", "--kind", "slab", "--sort", "count"]),
            ["slab,11,300,1", "slab,12,70,1", "slab,10,20,1",]
        );
    }

    #[test]
    fn growth_is_by_stack() {
        let args = ["memleak", "--between", "4s", "8s", "--kind", "slab"];
        let growth = |more: &[&str]| lines(&kernel(), &[&args[..], more].concat());
        assert_eq!(
            growth(&["--format", "csv"]),
            [
                "from,ts,kind,bytes,count,rate,stack",
                "1795342504000000000,1795342508000000000,slab,20,1,5,\
                 \"[\"\"alloc_b+0x4 [xfs.ko]\"\",\"\"do_syscall+0x4\"\",\"\"[truncated]\"\"]\"",
                "1795342504000000000,1795342508000000000,slab,-100,-1,-25,\
                 \"[\"\"inlined+0x4\"\",\"\"alloc_a+0x4\"\",\"\"do_syscall+0x4\"\"]\"",
            ]
        );
        assert_eq!(
            growth(&["--top", "1"])[4..7],
            [
                "[2026-11-22T10:15:08.000Z] Top 1 stacks with outstanding allocations, growth since \
                 2026-11-22T10:15:04.000Z:",
                "slab: -80 bytes (-80B) in 0 allocations (-20 bytes/s)",
                "20 bytes in 1 allocations (5 bytes/s) from stack",
            ]
        );
        let error = analyze(&kernel(), &["memleak", "--between", "8s", "4s"]);
        assert!(error.expect_err("it is empty").to_string().contains("later than the first"));
    }

    #[test]
    fn caches_have_names_where_the_kernel_tells() {
        let made = Made::new();
        let block =
            |address, bytes| Kernel { seconds: 1.0, kind: SLAB, address, bytes, stack: 1, pid: 10 };
        made.rows(&[
            made.kalloc_in(&block(1, 100), "dentry"),
            made.kalloc_in(&block(2, 100), "dentry"),
            made.kalloc_in(&block(3, 150), ""),
            made.kalloc(&Kernel { kind: PERCPU, ..block(1, 8) }),
        ]);
        made.end(2.0);
        assert_eq!(
            lines(&made, &["memleak", "--by-cache"])[3..],
            [
                "slab: 350 bytes (350B) in 3 allocations",
                "KIND CACHE BYTES COUNT",
                "slab dentry 200 2",
                "slab - 150 1",
            ]
        );
        assert!(analyze(&made, &["memleak", "--by-cache", "--kind", "pages"]).is_err());
        assert_eq!(
            lines(&made, &["memleak", "--kind", "percpu"])[3..],
            [
                "percpu: 8 bytes (8B) in 1 allocations",
                "8 bytes in 1 allocations from stack",
                "[lost stack]",
            ]
        );
    }

    #[test]
    fn lifetimes_are_those_of_freed_blocks() {
        let args = ["memleak", "--lifetimes", "--kind", "slab", "--format", "csv"];
        let csv = |more: &[&str]| lines(&kernel(), &[&args[..], more].concat());
        assert_eq!(csv(&[]).last().map(String::as_str), Some("slab,2097152,4194303,1"));
        assert_eq!(csv(&["--older", "5s"]), ["kind,low,high,count"]);
        assert_eq!(csv(&["--at", "4.9s"]), ["kind,low,high,count"]);
        let text = analyze(&kernel(), &["memleak", "--lifetimes", "--kind", "pages"]);
        assert!(text.expect("whole").contains("count 1, mean 2000000, p50 2000000"));
    }

    #[test]
    fn what_was_lost_makes_figures_bounds() {
        let made = kernel();
        made.rows(&[made.loss("kalloc", "ring full", 5, 1.0, 2.0)]);
        let said = |made: &Made| lines(made, &["memleak"]).iter().any(|l| l.contains("are bounds"));
        assert!(said(&made) && !said(&kernel()));
    }

    #[test]
    fn kinds_of_newer_recorders_are_left_out() {
        let made = Made::new();
        let strange: Row =
            made.kalloc(&Kernel { seconds: 1.0, kind: 9, address: 1, bytes: -5, stack: 0, pid: 1 });
        made.rows(&[strange]);
        let text = lines(&made, &["memleak"]).join("\n");
        assert!(text.contains("# 1 events are of kinds that this version does not know"), "{text}");
    }
}
