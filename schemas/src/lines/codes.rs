//! Names of the numbers that the kernel speaks in: signals, errors, states, families.
//!
//! The numbers of signals and errors are those of x86, arm64 and most other machines; Alpha, MIPS,
//! PA-RISC and SPARC number them differently, and `record` does not run there.

use std::borrow::Cow;

use crate::TableId;
use crate::tables::{alloc, gc, offcpu, vm};

/// Signals 1 to 31 without their `SIG` (`include/uapi/asm-generic/signal.h`).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The first and the last real-time signal that programs can use. The kernel's begin at 32; the C
/// library keeps two.
const REAL_TIME: (i32, i32) = (34, 64);

/// A signal's name without `SIG`, such as `TERM` or `RTMIN+1`; the number where it has none.
#[must_use]
pub fn signal(number: i32) -> Cow<'static, str> {
    let (first, last) = REAL_TIME;
    let standard = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    match standard.and_then(|index| SIGNALS.get(index)) {
        Some(name) => Cow::Borrowed(name),
        None if number == first => Cow::Borrowed("RTMIN"),
        None if number > first && number <= last => Cow::Owned(format!("RTMIN+{}", number - first)),
        None => Cow::Owned(number.to_string()),
    }
}

/// The signal of this number or name: `15`, `TERM`, `sigterm`, `RTMIN+1`, `RTMAX`.
#[must_use]
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=REAL_TIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    match name {
        "IOT" => return Some(6),
        "CLD" => return Some(17),
        "POLL" => return Some(29),
        "RTMAX" => return Some(REAL_TIME.1),
        _ => {}
    }
    (1..=REAL_TIME.1).find(|number| name == signal(*number) && name.parse::<i32>().is_err())
}

/// What became of a signal (`TRACE_SIGNAL_…` in `include/trace/events/signal.h`).
#[must_use]
pub fn signal_result(number: i32) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0 => "delivered",
        1 => "ignored",
        2 => "already pending",
        3 => "queue overflow",
        4 => "information lost",
        other => return Cow::Owned(other.to_string()),
    })
}

/// The call of a row of table `kill`.
#[must_use]
pub fn kill_call(number: i32) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0 => "kill",
        1 => "tkill",
        2 => "tgkill",
        other => return Cow::Owned(other.to_string()),
    })
}

/// What a call returned: `0`, a number, or `-ESRCH` for a negative errno.
#[must_use]
pub fn call_result(value: i32) -> Cow<'static, str> {
    let name = value.checked_neg().and_then(errno);
    name.map_or_else(|| Cow::Owned(value.to_string()), |name| Cow::Owned(format!("-{name}")))
}

/// Errors 1 to 133 (`include/uapi/asm-generic/errno-base.h` and `errno.h`); 41 and 58 are unused.
const ERRORS: [&str; 133] = [
    "EPERM",
    "ENOENT",
    "ESRCH",
    "EINTR",
    "EIO",
    "ENXIO",
    "E2BIG",
    "ENOEXEC",
    "EBADF",
    "ECHILD",
    "EAGAIN",
    "ENOMEM",
    "EACCES",
    "EFAULT",
    "ENOTBLK",
    "EBUSY",
    "EEXIST",
    "EXDEV",
    "ENODEV",
    "ENOTDIR",
    "EISDIR",
    "EINVAL",
    "ENFILE",
    "EMFILE",
    "ENOTTY",
    "ETXTBSY",
    "EFBIG",
    "ENOSPC",
    "ESPIPE",
    "EROFS",
    "EMLINK",
    "EPIPE",
    "EDOM",
    "ERANGE",
    "EDEADLK",
    "ENAMETOOLONG",
    "ENOLCK",
    "ENOSYS",
    "ENOTEMPTY",
    "ELOOP",
    "",
    "ENOMSG",
    "EIDRM",
    "ECHRNG",
    "EL2NSYNC",
    "EL3HLT",
    "EL3RST",
    "ELNRNG",
    "EUNATCH",
    "ENOCSI",
    "EL2HLT",
    "EBADE",
    "EBADR",
    "EXFULL",
    "ENOANO",
    "EBADRQC",
    "EBADSLT",
    "",
    "EBFONT",
    "ENOSTR",
    "ENODATA",
    "ETIME",
    "ENOSR",
    "ENONET",
    "ENOPKG",
    "EREMOTE",
    "ENOLINK",
    "EADV",
    "ESRMNT",
    "ECOMM",
    "EPROTO",
    "EMULTIHOP",
    "EDOTDOT",
    "EBADMSG",
    "EOVERFLOW",
    "ENOTUNIQ",
    "EBADFD",
    "EREMCHG",
    "ELIBACC",
    "ELIBBAD",
    "ELIBSCN",
    "ELIBMAX",
    "ELIBEXEC",
    "EILSEQ",
    "ERESTART",
    "ESTRPIPE",
    "EUSERS",
    "ENOTSOCK",
    "EDESTADDRREQ",
    "EMSGSIZE",
    "EPROTOTYPE",
    "ENOPROTOOPT",
    "EPROTONOSUPPORT",
    "ESOCKTNOSUPPORT",
    "EOPNOTSUPP",
    "EPFNOSUPPORT",
    "EAFNOSUPPORT",
    "EADDRINUSE",
    "EADDRNOTAVAIL",
    "ENETDOWN",
    "ENETUNREACH",
    "ENETRESET",
    "ECONNABORTED",
    "ECONNRESET",
    "ENOBUFS",
    "EISCONN",
    "ENOTCONN",
    "ESHUTDOWN",
    "ETOOMANYREFS",
    "ETIMEDOUT",
    "ECONNREFUSED",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "EALREADY",
    "EINPROGRESS",
    "ESTALE",
    "EUCLEAN",
    "ENOTNAM",
    "ENAVAIL",
    "EISNAM",
    "EREMOTEIO",
    "EDQUOT",
    "ENOMEDIUM",
    "EMEDIUMTYPE",
    "ECANCELED",
    "ENOKEY",
    "EKEYEXPIRED",
    "EKEYREVOKED",
    "EKEYREJECTED",
    "EOWNERDEAD",
    "ENOTRECOVERABLE",
    "ERFKILL",
    "EHWPOISON",
];

/// The name of an error, such as `ESRCH` for 3. Also those with which the kernel restarts calls
/// (`include/linux/errno.h`), which programs do not see but tracers do.
#[must_use]
pub fn errno(number: i32) -> Option<&'static str> {
    match number {
        512 => return Some("ERESTARTSYS"),
        513 => return Some("ERESTARTNOINTR"),
        514 => return Some("ERESTARTNOHAND"),
        516 => return Some("ERESTART_RESTARTBLOCK"),
        _ => {}
    }
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    ERRORS.get(index).copied().filter(|name| !name.is_empty())
}

/// What the error means, such as `No such process` for 3.
#[must_use]
pub fn errno_text(number: i32) -> Option<&'static str> {
    syscalls::Errno::new(number).description()
}

/// The errno of what a system call returned, if it failed. Results below -4095 are addresses and
/// the like: no error has such a number (`MAX_ERRNO` in `include/linux/err.h`).
#[must_use]
pub fn failure(result: i64) -> Option<i32> {
    match result {
        // The range fits.
        -4095..0 => Some(-result as i32),
        i64::MIN..-4095 | 0.. => None,
    }
}

/// The error of a call that returns a negative errno, such as `ENOENT`; `0` if it succeeded.
#[must_use]
pub fn error_of(result: i32) -> String {
    match result {
        0.. => "0".to_owned(),
        ..0 => {
            let name = result.checked_neg().and_then(errno);
            name.map_or_else(|| result.unsigned_abs().to_string(), str::to_owned)
        }
    }
}

/// The name at this place of the list, or the number itself.
fn named(names: &[&'static str], number: i32) -> Cow<'static, str> {
    let name = usize::try_from(number).ok().and_then(|place| names.get(place));
    name.filter(|name| !name.is_empty())
        .map_or_else(|| Cow::Owned(number.to_string()), |name| Cow::Borrowed(*name))
}

/// The call of a row of table `unlink`.
#[must_use]
pub fn unlink_call(number: i32) -> Cow<'static, str> {
    named(&["unlink", "rmdir", "rename"], number)
}

/// Why a thread waited for a CPU; see the table `runq`.
#[must_use]
pub fn wait_cause(number: i32) -> Cow<'static, str> {
    named(&["woken", "preempted", "new"], number)
}

/// How a thread left its CPU; see the table `offcpu`.
#[must_use]
pub fn task_state(bits: i32) -> Cow<'static, str> {
    let state = offcpu::State::from_bits(bits);
    state.map_or_else(|| Cow::Owned(bits.to_string()), |state| state.name().into())
}

/// A function of an allocator; see the table `alloc`.
#[must_use]
pub fn alloc_function(number: i32) -> Cow<'static, str> {
    let function = alloc::Function::from_code(number);
    function.map_or_else(|| Cow::Owned(number.to_string()), |function| function.name().into())
}

/// A call that changes what is mapped; see the table `vm`.
#[must_use]
pub fn vm_call(number: i32) -> Cow<'static, str> {
    let call = vm::Call::from_code(number);
    call.map_or_else(|| Cow::Owned(number.to_string()), |call| call.name().into())
}

/// What of a collection of garbage a row is about; see the table `gc`.
#[must_use]
pub fn gc_part(number: i32) -> Cow<'static, str> {
    let part = gc::Part::from_code(number);
    part.map_or_else(|| Cow::Owned(number.to_string()), |part| part.name().into())
}

/// A runtime that collects garbage; see the table `gc`.
#[must_use]
pub fn gc_runtime(number: i32) -> Cow<'static, str> {
    let runtime = gc::Runtime::from_code(number);
    runtime.map_or_else(|| Cow::Owned(number.to_string()), |runtime| runtime.name().into())
}

/// Whether all of the heap was collected; see the table `gc`.
#[must_use]
pub fn gc_full(number: i32) -> Cow<'static, str> {
    named(&["no", "yes"], number)
}

/// The name of a code.
pub type Name = fn(i32) -> Cow<'static, str>;

/// What names the codes in a column of the tables of waits, memory and garbage, where a person reads them.
#[must_use]
pub fn names_of(table: TableId, column: &str) -> Option<Name> {
    match (table, column) {
        (TableId::Alloc, "function") => Some(alloc_function),
        (TableId::Offcpu, "state") => Some(task_state),
        (TableId::Vm, "call") => Some(vm_call),
        (TableId::Gc, "part") => Some(gc_part),
        (TableId::Gc, "runtime") => Some(gc_runtime),
        (TableId::Gc, "full") => Some(gc_full),
        (_, _) => None,
    }
}

/// A soft interrupt (`include/linux/interrupt.h`), as `/proc/softirqs` calls it, in small letters.
#[must_use]
pub fn softirq(vector: i32) -> Cow<'static, str> {
    const VECTORS: [&str; 10] = [
        "hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer",
        "rcu",
    ];
    named(&VECTORS, vector)
}

/// A state of a TCP socket (`include/net/tcp_states.h`).
#[must_use]
pub fn tcp_state(number: i32) -> Cow<'static, str> {
    const STATES: [&str; 13] = [
        "",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
    ];
    named(&STATES, number)
}

/// A family of addresses (`include/linux/socket.h`), as far as connections are made in it.
#[must_use]
pub fn address_family(number: i32) -> Cow<'static, str> {
    Cow::Borrowed(match number {
        0 => "unspecified",
        1 => "unix",
        2 => "ipv4",
        10 => "ipv6",
        16 => "netlink",
        17 => "packet",
        31 => "bluetooth",
        38 => "alg",
        40 => "vsock",
        44 => "xdp",
        other => return Cow::Owned(other.to_string()),
    })
}

/// A type of sockets (`include/linux/net.h`).
#[must_use]
pub fn socket_kind(number: i32) -> Cow<'static, str> {
    named(&["", "stream", "dgram", "raw", "rdm", "seqpacket", "dccp"], number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_both_ways() {
        assert_eq!(signal(15), "TERM");
        assert_eq!(signal(34), "RTMIN");
        assert_eq!(signal(64), "RTMIN+30");
        for unknown in [0, -1, 32, 65, i32::MIN, i32::MAX] {
            assert_eq!(signal(unknown), unknown.to_string());
        }
        for (text, number) in [
            ("15", 15),
            ("TERM", 15),
            ("sigterm", 15),
            ("SIGRTMIN+1", 35),
            ("rtmax", 64),
            ("CLD", 17),
            ("0", 0),
        ] {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in ["", "SIG", "NOPE", "65", "-1", "SIG32"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }

    #[test]
    fn errors_have_the_systems_names() {
        // As errno.h numbers them: a slip in the list would shift all that follows.
        for (number, name) in [
            (libc::EPERM, "EPERM"),
            (libc::ESRCH, "ESRCH"),
            (libc::EINVAL, "EINVAL"),
            (libc::ELOOP, "ELOOP"),
            (libc::ENOMSG, "ENOMSG"),
            (libc::EBFONT, "EBFONT"),
            (libc::ENOTSOCK, "ENOTSOCK"),
            (libc::ECONNREFUSED, "ECONNREFUSED"),
            (libc::ESTALE, "ESTALE"),
            (libc::EHWPOISON, "EHWPOISON"),
        ] {
            assert_eq!(errno(number), Some(name));
        }
        assert_eq!(errno(41), None);
        assert_eq!(call_result(-3), "-ESRCH");
        assert_eq!(call_result(0), "0");
        assert_eq!(call_result(i32::MIN), i32::MIN.to_string());
    }

    #[test]
    fn errors_have_descriptions_by_the_same_numbers() {
        for number in 1..=133 {
            let theirs = syscalls::Errno::new(number).name();
            if let (Some(ours), Some(theirs)) = (errno(number), theirs) {
                assert_eq!(ours, theirs, "{number}");
            }
        }
        assert_eq!(errno_text(2), Some("No such file or directory"));
        assert_eq!(errno_text(-1), None);
    }

    #[test]
    fn only_small_negative_results_are_errors() {
        assert_eq!(failure(-2), Some(2));
        assert_eq!(failure(-4095), Some(4095));
        for fine in [0, 1, i64::MAX, -4096, i64::MIN] {
            assert_eq!(failure(fine), None, "{fine}");
        }
    }

    #[test]
    fn numbers_without_a_name_stay_numbers() {
        assert_eq!(softirq(9), "rcu");
        assert_eq!(tcp_state(12), "NEW_SYN_RECV");
        assert_eq!(unlink_call(2), "rename");
        assert_eq!(socket_kind(1), "stream");
        assert_eq!(address_family(10), "ipv6");
        for unknown in [-1, 13, i32::MIN, i32::MAX] {
            assert_eq!(tcp_state(unknown), unknown.to_string());
            assert_eq!(softirq(unknown), unknown.to_string());
        }
        assert_eq!(tcp_state(0), "0");
        assert_eq!((alloc_function(2), vm_call(3)), ("realloc".into(), "brk".into()));
        assert_eq!((alloc_function(-1), vm_call(4)), ("-1".into(), "4".into()));
        assert_eq!((gc_part(3), gc_runtime(1)), ("sweep".into(), "python".into()));
        assert_eq!((gc_part(4), gc_runtime(-1), gc_full(2)), ("4".into(), "-1".into(), "2".into()));
    }
}
