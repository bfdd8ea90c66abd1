//! What system calls are called, by the architecture of the machine that was recorded.

use std::borrow::Cow;

/// A system call by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Call {
    /// Whether the number is of the 32-bit architecture.
    pub(super) compat: bool,
    /// Its number there.
    pub(super) number: i32,
}

/// The names of system calls on the machine that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Names {
    X86_64,
    Aarch64,
    /// An architecture whose names are not known here.
    None,
}

impl Names {
    /// Those of the architecture that `uname -m` calls `arch`.
    pub(super) fn of(arch: &str) -> Names {
        match arch {
            "x86_64" => Names::X86_64,
            "aarch64" => Names::Aarch64,
            _ => Names::None,
        }
    }

    /// The call's name, or its number.
    pub(super) fn name(self, call: Call) -> Cow<'static, str> {
        if call.compat {
            return Cow::Owned(format!("compat:{}", call.number));
        }
        let number = usize::try_from(call.number).ok();
        let name = number.and_then(|number| match self {
            Names::X86_64 => syscalls::x86_64::Sysno::new(number).map(|call| call.name()),
            Names::Aarch64 => syscalls::aarch64::Sysno::new(number).map(|call| call.name()),
            Names::None => None,
        });
        name.map_or_else(|| Cow::Owned(call.number.to_string()), Cow::Borrowed)
    }

    /// All names there are.
    pub(super) fn all(self) -> Vec<String> {
        match self {
            Names::X86_64 => syscalls::x86_64::Sysno::iter().map(|call| call.to_string()).collect(),
            Names::Aarch64 => {
                syscalls::aarch64::Sysno::iter().map(|call| call.to_string()).collect()
            }
            Names::None => Vec::new(),
        }
    }

    /// The call that is named, in any of the forms in which one is printed.
    pub(super) fn call(self, text: &str) -> Option<Call> {
        let (compat, rest) = match text.strip_prefix("compat:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if let Ok(number) = rest.parse::<i32>() {
            return Some(Call { compat, number });
        }
        let number = match self {
            Names::X86_64 => text.parse::<syscalls::x86_64::Sysno>().ok().map(|call| call.id()),
            Names::Aarch64 => text.parse::<syscalls::aarch64::Sysno>().ok().map(|call| call.id()),
            Names::None => None,
        };
        number.map(|number| Call { compat: false, number })
    }
}

/// The name of a call of 64-bit programs on a machine that `uname -m` calls `arch`, or its number.
pub(crate) fn name_of(arch: &str, number: i32) -> Cow<'static, str> {
    Names::of(arch).name(Call { compat: false, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_recorded_machine() {
        let call = Call { compat: false, number: 2 };
        assert_eq!(Names::of("x86_64").name(call), "open");
        assert_eq!(Names::of("aarch64").name(call), "io_submit");
        assert_eq!(Names::of("riscv64").name(call), "2");
        assert_eq!(Names::of("aarch64").call("openat").map(|call| call.number), Some(56));
        assert_eq!(Names::of("aarch64").call("open"), None);
        assert_eq!(Names::of("riscv64").call("2"), Some(call));
        let negative = Call { compat: false, number: -1 };
        assert_eq!(Names::of("x86_64").name(negative), "-1");
    }
}
