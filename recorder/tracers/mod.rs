//! The tracers, one file each, and the choice among them.

mod alloc;
mod custom;
mod gc;
mod hardirq;
mod kalloc;
mod lsmconnect;
mod offcpu;
mod open;
mod process;
mod profile;
mod readline;
mod runq;
mod signal;
mod softirq;
mod syscall;
mod tcpconnect;
mod tcprtt;
mod tcpstate;
mod unlink;
mod vm;

use anyhow::{Context as _, Result, bail};
use lookback_schemas::TableId;
use lookback_schemas::suggest::did_you_mean;

use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

/// Every tracer.
pub const ALL: &[&Tracer] = &[
    &process::TRACER,
    &signal::TRACER,
    &profile::TRACER,
    &syscall::TRACER,
    &open::TRACER,
    &unlink::TRACER,
    &runq::TRACER,
    &offcpu::TRACER,
    &hardirq::TRACER,
    &softirq::TRACER,
    &tcpconnect::TRACER,
    &tcpstate::TRACER,
    &tcprtt::TRACER,
    &lsmconnect::TRACER,
    &kalloc::TRACER,
    &alloc::TRACER,
    &vm::TRACER,
    &gc::TRACER,
    &readline::TRACER,
    &custom::TRACER,
];

/// Those that are attached where the user chooses none: what is cheap enough to leave on.
const DEFAULT: [&str; 3] = ["process", "signal", "profile"];

/// What these record means something only together with the forks, execs and exits of processes, or is of
/// little use without.
const NEED_PROCESS: [&str; 6] = ["offcpu", "alloc", "vm", "gc", "readline", "custom"];

/// Embeds the BPF object that build.rs made of `bpf/NAME.bpf.c`. It is an ELF file, whose structures
/// libelf wants aligned.
macro_rules! object {
    ($name:literal) => {{
        const BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o"));
        #[repr(align(8))]
        struct Aligned([u8; BYTES.len()]);
        static OBJECT: Aligned =
            Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o")));
        &OBJECT.0
    }};
}
use object;

/// Not for users: keeps the map of targets true. Attached where there are targets.
pub const FOLLOW: Tracer = Tracer {
    name: "follow",
    about: "children of recorded processes",
    tables: &[],
    object: object!("follow"),
    feeds: &[Feed {
        gives: "children of recorded processes",
        optional: false,
        hooks: &[Hook {
            kind: Kind::RawTracepoint,
            name: "raw tracepoints sched_process_fork, sched_process_exec, sched_process_free",
            programs: &[
                ("follow_fork", TableId::Fork),
                ("follow_exec", TableId::Fork),
                ("follow_free", TableId::Fork),
            ],
            attach: Attach::BySection,
        }],
    }],
};

/// A tracer that was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The tracer.
    pub tracer: &'static Tracer,
    /// Whether the user named it: then it is an error if it cannot attach.
    pub by_name: bool,
}

fn find(name: &str) -> Result<&'static Tracer> {
    let names = || ALL.iter().map(|tracer| tracer.name).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|tracer| tracer.name == name);
    found.copied().with_context(|| {
        let hint = did_you_mean(name, ALL.iter().map(|tracer| tracer.name));
        format!("unknown tracer `{name}`; there are: {}, all{hint}", names())
    })
}

/// The tracers that `--list` shows: those of these names, or all, without those with a `-`.
///
/// # Errors
/// If one is unknown.
pub fn named(names: &[String]) -> Result<Vec<&'static Tracer>> {
    let (without, with): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| name.starts_with('-'));
    let all = with.is_empty() || with.iter().any(|name| *name == "all");
    let mut tracers = if all {
        ALL.to_vec()
    } else {
        with.into_iter().map(|name| find(name)).collect::<Result<_>>()?
    };
    for name in without {
        let tracer = find(name.trim_start_matches('-'))?;
        tracers.retain(|its| its.name != tracer.name);
    }
    Ok(tracers)
}

/// The tracers that `--trace` asks for. With `probes` the user has probes of their own: their tracer comes
/// along, and without `wanted` it does alone.
///
/// # Errors
/// If one is unknown, or none is left.
pub fn choose(wanted: &[String], probes: bool) -> Result<Vec<Choice>> {
    let mut chosen: Vec<Choice> = Vec::new();
    let all = wanted.iter().any(|name| name == "all");
    let only_without = wanted.iter().all(|name| name.starts_with('-'));
    if all || only_without && !(probes && wanted.is_empty()) {
        let wanted = |name: &str| all && name != custom::TRACER.name || DEFAULT.contains(&name);
        let unnamed = ALL.iter().filter(|tracer| wanted(tracer.name));
        chosen.extend(unnamed.map(|tracer| Choice { tracer, by_name: false }));
    }
    for name in wanted.iter().filter(|name| !name.starts_with('-') && *name != "all") {
        let tracer = find(name)?;
        chosen.retain(|choice| choice.tracer.name != tracer.name);
        chosen.push(Choice { tracer, by_name: true });
    }
    for name in wanted.iter().filter_map(|name| name.strip_prefix('-')) {
        let tracer = find(name)?;
        chosen.retain(|choice| choice.tracer.name != tracer.name);
    }
    let with_custom = chosen.iter().any(|choice| choice.tracer.name == custom::TRACER.name);
    if with_custom && !probes {
        bail!("tracer `custom` needs --probe or --span");
    }
    if probes && !with_custom {
        chosen.push(Choice { tracer: &custom::TRACER, by_name: true });
    }
    if chosen.is_empty() {
        bail!("--trace leaves no tracer");
    }
    let with_process = chosen.iter().any(|choice| choice.tracer.name == process::TRACER.name);
    if !with_process && chosen.iter().any(|choice| NEED_PROCESS.contains(&choice.tracer.name)) {
        chosen.insert(0, Choice { tracer: &process::TRACER, by_name: true });
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &[&str]) -> Vec<&'static str> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        choose(&wanted, false).unwrap().iter().map(|choice| choice.tracer.name).collect()
    }

    #[test]
    fn tracers_are_chosen_by_name_all_and_minus() {
        assert_eq!(names(&[]), ["process", "signal", "profile"]);
        assert_eq!(names(&["signal"]), ["signal"]);
        assert_eq!(names(&["runq", "signal"]), ["runq", "signal"]);
        assert_eq!(names(&["all", "-profile"]).len(), ALL.len() - 2);
        assert_eq!(names(&["alloc"]), ["process", "alloc"]);
        assert_eq!(names(&["-signal"]), ["process", "profile"]);
        for wrong in [&["nosuch"][..], &["process", "-process"], &["custom"]] {
            let wrong: Vec<String> = wrong.iter().map(|name| (*name).to_owned()).collect();
            assert!(choose(&wrong, false).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn tracers_are_listed_by_name_all_and_minus() {
        let names = |wanted: &[&str]| -> Vec<&str> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            named(&wanted).unwrap().iter().map(|tracer| tracer.name).collect()
        };
        assert_eq!(names(&[]).len(), ALL.len());
        assert_eq!(names(&["runq", "signal"]), ["runq", "signal"]);
        assert_eq!(names(&["-signal"]).len(), ALL.len() - 1);
        assert_eq!(names(&["all", "-signal", "-custom"]).len(), ALL.len() - 2);
        assert!(named(&["nosuch".to_owned()]).is_err());
    }

    #[test]
    fn probes_bring_their_tracer() {
        let names = |wanted: &[&str]| -> Vec<&str> {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            choose(&wanted, true).unwrap().iter().map(|choice| choice.tracer.name).collect()
        };
        assert_eq!(names(&[]), ["process", "custom"]);
        assert_eq!(names(&["process", "runq"]), ["process", "runq", "custom"]);
        assert_eq!(names(&["all"]).len(), ALL.len());
    }
}
