//! The words of `--probe` and `--span`.
//!
//! ```text
//! KIND:PLACE[,ARGUMENT[:TYPE]]…[,stack][,kstack][,key=ARGUMENT[:TYPE]][,at=ret][,name=NAME]
//! ```

use anyhow::{Context as _, Result, bail, ensure};
use lookback_schemas::wire::ARGUMENTS;

use crate::probes::operand::Type;

/// A probe, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where it is.
    pub place: Place,
    /// The values that are wanted, in order.
    pub arguments: Vec<Argument>,
    /// What tells spans apart.
    pub key: Option<Argument>,
    /// Whether the program's stack is wanted.
    pub stack: bool,
    /// Whether the kernel's stack is wanted.
    pub kernel_stack: bool,
    /// Whether a return is probed at the instructions by which the function returns.
    pub at_ret: bool,
    /// What the user calls it.
    pub name: Option<String>,
}

/// Where a probe is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A probe that a program was built with.
    Usdt {
        /// The program or library.
        path: String,
        /// Who provides it.
        provider: String,
        /// Its name.
        name: String,
    },
    /// A place in a function of a program.
    Uprobe {
        /// The program or library.
        path: String,
        /// The function, or its address in hex.
        function: String,
        /// How many bytes behind the function's start.
        offset: u64,
    },
    /// The return of a function of a program.
    Uretprobe {
        /// The program or library.
        path: String,
        /// The function, or its address in hex.
        function: String,
    },
    /// A function of the kernel.
    Kernel {
        /// By which kind of hook, and whether at its start or its return.
        by: KernelHook,
        /// The function.
        function: String,
    },
    /// A tracepoint of the kernel.
    Tracepoint {
        /// Its category.
        category: String,
        /// Its name.
        name: String,
    },
}

/// How a function of the kernel is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelHook {
    /// At its start, by a breakpoint.
    Kprobe,
    /// At its return, by a breakpoint.
    Kretprobe,
    /// At its start, by a trampoline.
    Fentry,
    /// At its return, by a trampoline.
    Fexit,
}

impl KernelHook {
    /// Every kind.
    pub const ALL: [KernelHook; 4] =
        [KernelHook::Kprobe, KernelHook::Kretprobe, KernelHook::Fentry, KernelHook::Fexit];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            KernelHook::Kprobe => "kprobe",
            KernelHook::Kretprobe => "kretprobe",
            KernelHook::Fentry => "fentry",
            KernelHook::Fexit => "fexit",
        }
    }
}

/// A value that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// `arg0`, `retval`, or a field.
    pub name: String,
    /// How it is to be seen; as what it is by itself if `None`.
    pub kind: Option<Type>,
}

/// The kinds of places, for messages.
const KINDS: &str = "usdt:PATH:PROVIDER:NAME, uprobe:PATH:FUNCTION[+OFFSET], uretprobe:PATH:FUNCTION, \
                     kprobe:FUNCTION, kretprobe:FUNCTION, fentry:FUNCTION, fexit:FUNCTION, \
                     tracepoint:CATEGORY:NAME";

impl Spec {
    /// Reads a probe.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(text: &str) -> Result<Spec> {
        let mut words = text.split(',');
        let place = Place::read(words.next().unwrap_or_default())?;
        let mut spec = Spec {
            place,
            arguments: Vec::new(),
            key: None,
            stack: false,
            kernel_stack: false,
            at_ret: false,
            name: None,
        };
        for word in words {
            match (word, word.split_once('=')) {
                ("stack", _) => spec.stack = true,
                ("kstack", _) => spec.kernel_stack = true,
                (_, Some(("name", name))) if !name.is_empty() => spec.name = Some(name.to_owned()),
                (_, Some(("key", key))) => spec.key = Some(Argument::read(key)?),
                ("at=ret", _) => {
                    let returns = matches!(spec.place, Place::Uretprobe { .. });
                    ensure!(returns, "at=ret is for a uretprobe");
                    spec.at_ret = true;
                }
                (_, Some((option, _))) => {
                    bail!("there is no option `{option}=`; there are name=, key= and at=ret")
                }
                (word, None) => spec.arguments.push(Argument::read(word)?),
            }
        }
        let count = spec.arguments.len();
        ensure!(count <= ARGUMENTS, "{count} arguments are too many: {ARGUMENTS} are kept");
        Ok(spec)
    }

    /// What it is called if there is no other of that name.
    pub fn short_name(&self) -> String {
        match (&self.name, &self.place) {
            (Some(name), _) => name.clone(),
            (None, Place::Uprobe { function, offset: 1.., .. }) => {
                let Place::Uprobe { offset, .. } = &self.place else { return function.clone() };
                format!("{function}+{offset:#x}")
            }
            (
                None,
                Place::Usdt { name, .. }
                | Place::Tracepoint { name, .. }
                | Place::Uprobe { function: name, .. }
                | Place::Uretprobe { function: name, .. }
                | Place::Kernel { function: name, .. },
            ) => name.clone(),
        }
    }
}

impl Place {
    /// Reads a place.
    fn read(text: &str) -> Result<Place> {
        let wrong = || format!("`{text}` is no place of a probe; there are {KINDS}");
        let (kind, rest) = text.split_once(':').with_context(wrong)?;
        let two = |text: &str| {
            let (first, last) = text.rsplit_once(':')?;
            (!first.is_empty() && !last.is_empty()).then(|| (first.to_owned(), last.to_owned()))
        };
        let kernel = KernelHook::ALL.into_iter().find(|hook| hook.name() == kind);
        Ok(match (kind, kernel) {
            (_, Some(by)) if !rest.is_empty() && !rest.contains(':') => {
                Place::Kernel { by, function: rest.to_owned() }
            }
            ("usdt", _) => {
                let (before, name) = two(rest).with_context(wrong)?;
                let (path, provider) = two(&before).with_context(wrong)?;
                Place::Usdt { path, provider, name }
            }
            ("uprobe", _) => {
                let (path, place) = two(rest).with_context(wrong)?;
                let (function, offset) = place.split_once('+').unwrap_or((&place, "0"));
                let offset = number(offset).with_context(|| format!("`+{offset}` is no offset"))?;
                Place::Uprobe { path, function: function.to_owned(), offset }
            }
            ("uretprobe", _) => {
                let (path, function) = two(rest).with_context(wrong)?;
                ensure!(!function.contains('+'), "a return has no offset");
                Place::Uretprobe { path, function }
            }
            ("tracepoint", _) => {
                let (category, name) = two(rest).with_context(wrong)?;
                Place::Tracepoint { category, name }
            }
            _ => bail!(wrong()),
        })
    }
}

impl Argument {
    fn read(text: &str) -> Result<Argument> {
        let (name, kind) = match text.split_once(':') {
            Some((name, kind)) => (name, Some(Type::named(kind)?)),
            None => (text, None),
        };
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        ensure!(!name.is_empty() && name.bytes().all(is_word), "`{text}` is no argument");
        Ok(Argument { name: name.to_owned(), kind })
    }

    /// Its number, if it is `argN`.
    pub fn number(&self) -> Option<usize> {
        self.name.strip_prefix("arg")?.parse().ok()
    }
}

/// A span, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// What begins it.
    pub begin: Spec,
    /// What ends it.
    pub end: Spec,
}

impl Span {
    /// Reads `NAME=PROBE..PROBE`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(text: &str) -> Result<Span> {
        const FORM: &str = "a span has the form NAME=PROBE..PROBE";
        let (name, probes) = text.split_once('=').context(FORM)?;
        ensure!(!name.is_empty() && name.len() < 64, "a span's name has 1 to 63 bytes");
        // A path may have dots too: the second probe begins with its kind.
        let kinds = ["usdt:", "uprobe:", "uretprobe:", "tracepoint:"].map(str::to_owned);
        let kernel = KernelHook::ALL.map(|hook| format!("{}:", hook.name()));
        let starts = |rest: &str| kinds.iter().chain(&kernel).any(|kind| rest.starts_with(kind));
        let (begin, end) = probes
            .match_indices("..")
            .map(|(at, dots)| (&probes[..at], &probes[at + dots.len()..]))
            .find(|(_, rest)| starts(rest))
            .context(FORM)?;
        let (begin, end) = (Spec::read(begin)?, Spec::read(end)?);
        let keys = [&begin.key, &end.key].map(Option::is_some);
        ensure!(keys[0] == keys[1], "both ends of a span have a key, or none");
        Ok(Span { name: name.to_owned(), begin, end })
    }
}

/// A number in decimal or, after `0x`, in hex.
///
/// # Errors
/// If it is none.
pub fn number(text: &str) -> Result<u64> {
    Ok(match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16)?,
        None => text.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Spec::read(text).unwrap_err())
    }

    #[test]
    fn probes_are_read() {
        let spec =
            Spec::read("usdt:/usr/bin/a:b:shop:order,arg0:u64,arg1:str,stack,name=o").unwrap();
        let (path, provider) = ("/usr/bin/a:b".to_owned(), "shop".to_owned());
        assert_eq!(spec.place, Place::Usdt { path, provider, name: "order".to_owned() });
        assert_eq!(spec.arguments[1].kind, Some(Type::Text));
        assert_eq!((spec.stack, spec.kernel_stack, spec.short_name().as_str()), (true, false, "o"));
        let spec = Spec::read("uprobe:./a:f+0x10,arg0").unwrap();
        assert_eq!((spec.short_name().as_str(), spec.arguments[0].kind), ("f+0x10", None));
        let spec = Spec::read("kretprobe:vfs_read,retval:i64,kstack").unwrap();
        assert_eq!((spec.short_name().as_str(), spec.kernel_stack), ("vfs_read", true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(error("nothing").contains("no place of a probe"));
        assert!(error("usdt:/a:b").contains("no place of a probe"));
        assert!(error("kprobe:").contains("no place of a probe"));
        assert!(error("uprobe:/a:f+x").contains("no offset"));
        assert!(error("uretprobe:/a:f+1").contains("no offset"));
        assert!(error("uprobe:/a:f,at=ret").contains("is for a uretprobe"));
        assert!(Spec::read("uretprobe:/a:f,at=ret").unwrap().at_ret);
        assert!(error("uprobe:/a:f,arg0:u128").contains("no type `u128`"));
        assert!(error("uprobe:/a:f,arg 0").contains("no argument"));
        assert!(error("uprobe:/a:f,color=red").contains("no option `color=`"));
        let seven = "uprobe:/a:f,arg0,arg1,arg2,arg3,arg4,arg5,arg0";
        assert!(error(seven).contains("7 arguments are too many"));
    }

    #[test]
    fn spans_are_read() {
        let span = Span::read("s=uprobe:../a..b:f..uretprobe:../a..b:f").unwrap();
        assert_eq!(span.name, "s");
        let path = "../a..b".to_owned();
        assert_eq!(span.end.place, Place::Uretprobe { path, function: "f".to_owned() });
        for bad in ["s", "=kprobe:a..kprobe:b", "s=kprobe:a", "s=kprobe:a,key=arg0..kprobe:b"] {
            assert!(Span::read(bad).is_err(), "{bad}");
        }
    }
}
