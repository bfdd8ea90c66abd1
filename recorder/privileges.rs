//! Whether this process may do what recording needs, and if not, what it lacks.

use anyhow::bail;

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
