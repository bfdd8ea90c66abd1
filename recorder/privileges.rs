//! Whether this process may do what recording needs, and if not, what it lacks; and giving up what it does not
//! need any more.
//!
//! Attaching takes much, and then most of it is of no use but to whoever takes over the recorder. Each thread
//! has capabilities of its own, and new threads have those of the one that starts them, so each of them gives
//! up what it does not need ([`keep`]). The command that the recorder starts was forked before: it has all
//! that its user gave it.

#![expect(unsafe_code, reason = "`prctl` is a system call that no crate here wraps")]

use anyhow::{Context as _, bail};
use caps::{CapSet, Capability, CapsHashSet};

/// What a thread needs that reads the kernel's counters, which are in BPF maps.
pub const COUNTING: &[Capability] = &[Capability::CAP_BPF];

/// What a thread needs that looks at the code of others' processes: also the links to what they have mapped, and
/// files in folders that are not for everybody.
pub const CODE: &[Capability] = &[
    Capability::CAP_BPF,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_CHECKPOINT_RESTORE,
    Capability::CAP_DAC_READ_SEARCH,
];

/// What a thread needs that writes the recording: to come to its directory, through folders of others.
pub const WRITING: &[Capability] = &[Capability::CAP_DAC_READ_SEARCH];

/// What the main thread does from the time on when all is attached.
#[derive(Clone, Copy, Debug)]
pub struct Duties {
    /// It names frames in the end, also the kernel's.
    pub names: bool,
    /// It attaches to code that is mapped later.
    pub attaches: bool,
    /// It lists the processes again, whenever a chunk begins.
    pub lists: bool,
    /// It passes signals on to the command, which may be another user's by then.
    pub signals: bool,
}

impl Duties {
    /// What it takes.
    pub fn capabilities(self) -> Vec<Capability> {
        let mut needed = COUNTING.to_vec();
        if self.names || self.attaches || self.lists {
            needed.extend(CODE);
        }
        if self.names {
            needed.push(Capability::CAP_SYSLOG);
        }
        if self.attaches {
            // Since 6.16, and in older kernels that are maintained, it takes this to put a probe into a program by
            // a perf event (ba677dbe77af); CAP_PERFMON is enough for all else.
            needed.extend([Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN]);
        }
        if self.signals {
            needed.push(Capability::CAP_KILL);
        }
        needed
    }
}

/// Gives up, for the calling thread and those that it starts from now on, all capabilities but these, and the
/// way to get others by running programs. Where CAP_SYS_ADMIN stands in for one of them that the thread does
/// not have, that is kept instead.
///
/// # Errors
/// If the kernel refuses. It never does.
pub fn keep(needed: &[Capability]) -> anyhow::Result<()> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let stood_in_for =
        [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_CHECKPOINT_RESTORE];
    let kept: CapsHashSet = needed
        .iter()
        .map(|needed| match stood_in_for.contains(needed) && !permitted.contains(needed) {
            true => Capability::CAP_SYS_ADMIN,
            false => *needed,
        })
        .filter(|kept| permitted.contains(kept))
        .collect();
    // What was to be handed on to programs still is: names are found by a process of its own.
    for set in [CapSet::Ambient, CapSet::Inheritable] {
        for given_up in caps::read(None, set)?.difference(&kept) {
            caps::drop(None, set, *given_up)?;
        }
    }
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for given_up in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *given_up)?;
        }
    }
    let effective = caps::read(None, CapSet::Effective)?.intersection(&kept).copied().collect();
    caps::set(None, CapSet::Effective, &effective)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    // SAFETY: no memory is involved.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot set no_new_privs");
    }
    Ok(())
}

/// A capability that recording needs: its bit (`include/uapi/linux/capability.h`), its name, and
/// what for.
const NEEDED: [(u32, &str, &str); 2] =
    [(39, "CAP_BPF", "to load BPF programs"), (38, "CAP_PERFMON", "to attach them to tracepoints")];

/// Stands in for both of them.
const SYS_ADMIN: u32 = 21;

/// Makes sure that this process has the capabilities that every recording needs.
///
/// # Errors
/// Names those that are missing.
pub fn check() -> anyhow::Result<()> {
    let status = procfs::process::Process::myself()?.status()?;
    let has = |bit: u32| status.capeff & (1 << bit) != 0;
    if has(SYS_ADMIN) {
        return Ok(());
    }
    let missing: Vec<String> = NEEDED
        .iter()
        .filter(|(bit, _, _)| !has(*bit))
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect();
    if !missing.is_empty() {
        bail!("missing capabilities: {}; run it as root, with sudo", missing.join(", "));
    }
    Ok(())
}

/// What restricts BPF beyond capabilities, as a hint for errors: the kernel's lockdown mode.
pub fn lockdown() -> Option<String> {
    let modes = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let current = modes.split('[').nth(1)?.split(']').next()?;
    (current != "none").then(|| format!("kernel lockdown is in mode `{current}`"))
}

/// Makes sure that the kernel asks BPF programs for security decisions. Where it does not, attaching
/// them succeeds, and they are never called.
///
/// # Errors
/// If BPF is not among the active security modules.
pub fn check_lsm() -> anyhow::Result<()> {
    const ACTIVE: &str = "/sys/kernel/security/lsm";
    // Without securityfs nobody can tell; attaching shows.
    let Ok(modules) = std::fs::read_to_string(ACTIVE) else { return Ok(()) };
    if !modules.trim().split(',').any(|module| module == "bpf") {
        bail!(
            "BPF is not among the active security modules ({}): boot with lsm={},bpf",
            modules.trim(),
            modules.trim()
        );
    }
    Ok(())
}
