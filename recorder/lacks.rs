//! What a kernel cannot tell, though the tracer works.
//!
//! Such columns are null in every row. The manifest says so, and why, lest somebody takes them for unlucky
//! values; `record --list` tells it before.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use lookback_schemas::manifest::Unknown;
use lookback_schemas::symbols::kallsyms;
use procfs::sys::kernel::Version;

use crate::targets;
use crate::types::Types;

/// A column that not every kernel can fill.
struct Lack {
    tracer: &'static str,
    /// `table.column`, and of which rows if not of all.
    column: &'static str,
    needs: Needs,
    /// What is missing, and what helps.
    because: &'static str,
}

/// What a kernel must have to fill one.
enum Needs {
    /// Of each group one variable, with its address, in `/proc/kallsyms`.
    Variables(&'static [&'static [&'static str]]),
    /// A member of a structure.
    Member(&'static str, &'static str),
    /// The cgroup hierarchy of version 2.
    Cgroups,
    /// This version.
    Version(u8, u8),
}

const LACKS: &[Lack] = &[
    Lack {
        tracer: "process",
        column: "cgroup.path",
        needs: Needs::Cgroups,
        because: "the cgroup hierarchy of version 2 is not mounted, so that it is not known either which \
                  container a process is in (mount -t cgroup2 none /sys/fs/cgroup/unified; of containers \
                  too where the system boots with systemd.unified_cgroup_hierarchy=1)",
    },
    Lack {
        tracer: "offcpu",
        column: "offcpu.woken_by_interrupt",
        // See bpf/context.h. Elsewhere than on x86 the count is a field of the task.
        needs: Needs::Variables(if cfg!(target_arch = "x86_64") {
            &[&["__per_cpu_offset"], &["__preempt_count", "pcpu_hot"]]
        } else {
            &[&["__per_cpu_offset"]]
        }),
        because: "the kernel does not show in /proc/kallsyms where it counts interrupts \
                  (CONFIG_KALLSYMS_ALL, and the sysctl kernel.kptr_restrict below 2)",
    },
    // bpf/registers.h: bpf_task_pt_regs. On x86 the registers are found without it.
    #[cfg(not(target_arch = "x86_64"))]
    Lack {
        tracer: "offcpu",
        column: "offcpu.syscall",
        needs: Needs::Version(5, 15),
        because: "the kernel gives programs the registers of a thread from Linux 5.15 on",
    },
    Lack {
        tracer: "custom",
        column: "probe.text0 to probe.text5 of texts that are not in memory",
        needs: Needs::Version(6, 0),
        because: "programs at uprobes can wait for memory from Linux 6.0 on",
    },
    Lack {
        tracer: "kalloc",
        column: "kalloc.bytes of percpu memory",
        needs: Needs::Member("trace_event_raw_percpu_alloc_percpu", "bytes_alloc"),
        because: "the tracepoint has it from Linux 6.0 on",
    },
    Lack {
        tracer: "kalloc",
        column: "kalloc.cache",
        // The event is one of its own since it names the cache.
        needs: Needs::Member("trace_event_raw_kmem_cache_alloc", "ptr"),
        because: "the tracepoint kmem_cache_alloc has it from Linux 6.1 on",
    },
];

/// The columns of a tracer that this kernel cannot fill.
///
/// # Errors
/// If the kernel does not tell its types or its version.
pub fn of(tracer: &str, types: &Types) -> Result<Vec<Unknown>> {
    let mut unknown = Vec::new();
    for lack in LACKS.iter().filter(|lack| lack.tracer == tracer) {
        let there = match lack.needs {
            Needs::Variables(groups) => {
                let shown = shown_symbols();
                groups.iter().all(|group| group.iter().any(|name| shown.contains(*name)))
            }
            Needs::Member(structure, member) => types.has_member(structure, member)?,
            Needs::Cgroups => targets::cgroup_root().is_some(),
            Needs::Version(major, minor) => {
                Version::current().context("the kernel's version")? >= Version::new(major, minor, 0)
            }
        };
        if !there {
            let (column, because) = (lack.column.to_owned(), lack.because.to_owned());
            unknown.push(Unknown { column, because });
        }
    }
    Ok(unknown)
}

/// The symbols of the kernel whose addresses it shows: none where it was built without the list.
fn shown_symbols() -> HashSet<String> {
    let text = std::fs::read_to_string(kallsyms::PATH).unwrap_or_default();
    let symbols = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?;
        let name = words.nth(1)?;
        address.bytes().any(|digit| digit != b'0').then(|| name.to_owned())
    });
    symbols.collect()
}
