//! What helps where a tracer cannot attach.
//!
//! The kernel says little more than `EPERM` or `ENOENT`. The reason is to be found in how it was built, if it shows
//! its configuration, how it was booted, and what this process may do.

use std::collections::HashSet;
use std::io::Read as _;
use std::sync::LazyLock;

use crate::hooks::Kind;
use crate::privileges;

/// What a kernel must be built with, for any tracer.
const BASE: &[&str] = &["CONFIG_BPF_SYSCALL", "CONFIG_BPF_JIT", "CONFIG_BPF_EVENTS"];

/// What a kernel must be built with for a kind of hook (`kernel/trace/Kconfig`, `kernel/bpf/Kconfig`).
fn needs(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Fentry => &[
            "CONFIG_DEBUG_INFO_BTF",
            "CONFIG_FUNCTION_TRACER",
            "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
        ],
        Kind::Kprobe => &["CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"],
        Kind::TypedTracepoint => &["CONFIG_DEBUG_INFO_BTF", "CONFIG_TRACEPOINTS"],
        Kind::RawTracepoint => &["CONFIG_TRACEPOINTS"],
        Kind::Tracepoint => &["CONFIG_TRACEPOINTS", "CONFIG_FTRACE_SYSCALLS"],
        Kind::PerfEvent => &["CONFIG_PERF_EVENTS"],
        Kind::Lsm => &["CONFIG_BPF_LSM", "CONFIG_DEBUG_INFO_BTF"],
        Kind::UprobeSession | Kind::Uprobe => &["CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS"],
    }
}

/// The options that are set in the kernel's configuration; `None` where it does not show it.
static CONFIGURATION: LazyLock<Option<HashSet<String>>> = LazyLock::new(|| {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut text = String::new();
    let packed = std::fs::File::open("/proc/config.gz").ok();
    if packed
        .and_then(|file| flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok())
        .is_none()
    {
        let places = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
        text = places.iter().find_map(|place| std::fs::read_to_string(place).ok())?;
    }
    Some(options(&text))
});

/// The options that a configuration sets to `y` or `m`.
fn options(text: &str) -> HashSet<String> {
    let set = |line: &str| {
        let (name, value) = line.split_once('=')?;
        matches!(value, "y" | "m").then(|| name.to_owned())
    };
    text.lines().filter_map(set).collect()
}

/// The options that a kernel of this configuration lacks for a kind of hook.
fn missing(kind: Kind, configuration: &HashSet<String>) -> Vec<&'static str> {
    let wanted = BASE.iter().chain(needs(kind)).copied();
    wanted.filter(|option| !configuration.contains(*option)).collect()
}

/// What helps against the failure of a hook of this kind, as far as that is known.
pub fn of(kind: Kind, error: &anyhow::Error) -> Option<String> {
    let text = format!("{error:#}");
    if text.contains("tracefs is not mounted") {
        return Some("mount it: mount -t tracefs tracefs /sys/kernel/tracing".to_owned());
    }
    if let Some(configuration) = &*CONFIGURATION {
        let missing = missing(kind, configuration);
        if !missing.is_empty() {
            return Some(format!("it takes a kernel built with {}", missing.join(", ")));
        }
    }
    if text.contains("not permitted") || text.contains("ermission denied") {
        return Some(privileges::lockdown().unwrap_or_else(|| {
            "it needs CAP_BPF and CAP_PERFMON, or root; a container or a hardened kernel may refuse \
             even then"
                .to_owned()
        }));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_configuration_are_those_that_are_set() {
        let text = "#\n# Automatically generated file\n#\nCONFIG_KPROBES=y\n# CONFIG_FPROBE is not set\n\
                    CONFIG_TUN=m\nCONFIG_HZ=250\nCONFIG_LSM=\"y\"\n";
        let expected = ["CONFIG_KPROBES", "CONFIG_TUN"].map(str::to_owned);
        assert_eq!(options(text), HashSet::from(expected));
    }

    #[test]
    fn options_that_a_hook_lacks_are_named() {
        let configuration: HashSet<String> =
            BASE.iter().chain(needs(Kind::Fentry)).map(|option| (*option).to_owned()).collect();
        assert_eq!(missing(Kind::Fentry, &configuration), [""; 0]);
        let lacks = missing(Kind::Kprobe, &configuration);
        assert_eq!(lacks, ["CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"]);
        assert_eq!(missing(Kind::Uprobe, &HashSet::new())[..BASE.len()], *BASE);
    }

    #[test]
    fn what_is_not_mounted_is_to_be_mounted() {
        let error = anyhow::anyhow!("tracefs is not mounted");
        let cure = of(Kind::Tracepoint, &error).unwrap();
        assert!(cure.contains("mount -t tracefs"), "{cure}");
    }
}
