//! Where a probe's arguments are: in registers and in memory, by the calling convention, or as the note of
//! a USDT probe says it in the assembler's words.

use anyhow::{Context as _, Result, bail, ensure};
use lookback_schemas::wire::{Operand, Place};

/// Registers with their places in the kernel's `struct pt_regs` (arch/…/include/asm/ptrace.h).
#[cfg(target_arch = "x86_64")]
mod machine {
    /// The 64-bit names; narrower ones are parts of these.
    pub const REGISTERS: [(&str, i32); 17] = [
        ("r15", 0),
        ("r14", 8),
        ("r13", 16),
        ("r12", 24),
        ("rbp", 32),
        ("rbx", 40),
        ("r11", 48),
        ("r10", 56),
        ("r9", 64),
        ("r8", 72),
        ("rax", 80),
        ("rcx", 88),
        ("rdx", 96),
        ("rsi", 104),
        ("rdi", 112),
        ("rip", 128),
        ("rsp", 152),
    ];
    /// Of a call's arguments (System V ABI for x86-64, section 3.2.3).
    pub const ARGUMENTS: [&str; 6] = ["rdi", "rsi", "rdx", "rcx", "r8", "r9"];
    /// Of what a call returned.
    pub const RETURNED: &str = "rax";

    /// The 64-bit name of a register by any of its names; `None` for a part that is not its lower end.
    pub fn whole(name: &str) -> Option<String> {
        if let Some(number) =
            name.strip_prefix('r').filter(|rest| rest.starts_with(char::is_numeric))
        {
            return Some(format!("r{}", number.trim_end_matches(['b', 'w', 'd'])));
        }
        match name {
            "al" | "bl" | "cl" | "dl" => Some(format!("r{}x", &name[..1])),
            "sil" | "dil" | "bpl" | "spl" => Some(format!("r{}", &name[..2])),
            _ if name.len() == 2 && !name.ends_with('h') => Some(format!("r{name}")),
            _ => name
                .strip_prefix('e')
                .map_or(Some(name.to_owned()), |rest| Some(format!("r{rest}"))),
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    pub const REGISTERS: [(&str, i32); 32] = {
        const NAMES: [&str; 32] = [
            "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
            "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25",
            "x26", "x27", "x28", "x29", "x30", "sp",
        ];
        let mut registers = [("", 0); 32];
        let mut number = 0;
        while number < 32 {
            registers[number] = (NAMES[number], 8 * number as i32);
            number += 1;
        }
        registers
    };
    /// Of a call's arguments (AAPCS64, section 6.4).
    pub const ARGUMENTS: [&str; 6] = ["x0", "x1", "x2", "x3", "x4", "x5"];
    /// Of what a call returned.
    pub const RETURNED: &str = "x0";

    /// The 64-bit name of a register by any of its names.
    pub fn whole(name: &str) -> Option<String> {
        Some(name.strip_prefix('w').map_or(name.to_owned(), |number| format!("x{number}")))
    }
}

/// A register's place in `struct pt_regs`.
fn register(name: &str) -> Result<i32> {
    let whole = machine::whole(name);
    let known = machine::REGISTERS.iter().find(|(known, _)| whole.as_deref() == Some(known));
    known.map(|(_, at)| *at).with_context(|| format!("register `{name}` is not known"))
}

const NOWHERE: Operand = Operand {
    displacement: 0,
    place: Place::None as i32,
    register: -1,
    index: -1,
    scale: 1,
    bytes: 8,
    signed: 0,
    text: 0,
    unused: 0,
};

/// The argument of this number, from 0, when a function has just been called.
///
/// # Errors
/// If it is not in a register.
pub fn argument(number: usize) -> Result<Operand> {
    let name = machine::ARGUMENTS.get(number).with_context(|| {
        format!("arg{number}: only arg0 to arg{} are in registers", machine::ARGUMENTS.len() - 1)
    })?;
    Ok(Operand { place: Place::Register as i32, register: register(name)?, ..NOWHERE })
}

/// What a function that has just returned gave.
///
/// # Errors
/// None: there is always such a register.
pub fn returned() -> Result<Operand> {
    let register = register(machine::RETURNED)?;
    Ok(Operand { place: Place::Register as i32, register, signed: 1, ..NOWHERE })
}

/// `bytes` bytes of the context, from `displacement` on.
pub fn field(displacement: i64, bytes: i32, signed: bool) -> Operand {
    Operand {
        place: Place::Field as i32,
        displacement,
        bytes,
        signed: i32::from(signed),
        ..NOWHERE
    }
}

/// The text whose place in the context is told at `displacement`.
pub fn located(displacement: i64) -> Operand {
    Operand { place: Place::Located as i32, displacement, text: 3, ..NOWHERE }
}

/// What a note says of an argument: `SIZE@WHERE`, of which the size is negative for a signed number.
///
/// # Errors
/// If the place is none that can be read: floating-point registers, and memory by a symbol's name.
pub fn of_note(text: &str) -> Result<Operand> {
    let (size, place) = text.split_once('@').unwrap_or(("8", text));
    let unreadable = || format!("its place `{text}` cannot be read");
    let size: i32 = size.parse().with_context(unreadable)?;
    let (bytes, signed) = (size.abs(), i32::from(size < 0));
    ensure!([1, 2, 4, 8].contains(&bytes), "{}", unreadable());
    let found = if cfg!(target_arch = "aarch64") { aarch64(place) } else { x86_64(place) };
    Ok(Operand { bytes, signed, ..found.with_context(unreadable)? })
}

/// `%reg`, `$number`, `number(%base,%index,scale)`.
fn x86_64(place: &str) -> Result<Operand> {
    let named = |text: &str| register(text.trim().strip_prefix('%').unwrap_or(text));
    if let Some(number) = place.strip_prefix('$') {
        return Ok(Operand {
            place: Place::Constant as i32,
            displacement: integer(number)?,
            ..NOWHERE
        });
    }
    let Some((displacement, inside)) = place.split_once('(') else {
        ensure!(place.starts_with('%'), "it is named by a symbol");
        return Ok(Operand { place: Place::Register as i32, register: named(place)?, ..NOWHERE });
    };
    let mut parts = inside.trim_end_matches(')').split(',').map(str::trim);
    let base = parts.next().filter(|base| !base.is_empty()).map(named).transpose()?;
    let index = parts.next().map(named).transpose()?;
    let scale = parts.next().map_or(Ok(1), str::parse)?;
    let displacement = if displacement.is_empty() { 0 } else { integer(displacement)? };
    ensure!(place.find("%rip").is_none(), "it is relative to the instruction");
    let (register, index) = (base.unwrap_or(-1), index.unwrap_or(-1));
    Ok(Operand { place: Place::Memory as i32, displacement, register, index, scale, ..NOWHERE })
}

/// `x0`, `5`, `[sp, 16]`, `[x1, x2]`.
fn aarch64(place: &str) -> Result<Operand> {
    if let Some(inside) = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let mut parts = inside.split(',').map(str::trim);
        let base = register(parts.next().unwrap_or_default())?;
        let memory = Operand { place: Place::Memory as i32, register: base, ..NOWHERE };
        return match parts.next() {
            None => Ok(memory),
            Some(part) => match integer(part.trim_start_matches('#')) {
                Ok(displacement) => Ok(Operand { displacement, ..memory }),
                Err(_) => Ok(Operand { index: register(part)?, ..memory }),
            },
        };
    }
    if let Ok(displacement) = integer(place) {
        return Ok(Operand { place: Place::Constant as i32, displacement, ..NOWHERE });
    }
    Ok(Operand { place: Place::Register as i32, register: register(place)?, ..NOWHERE })
}

/// A number in decimal or, after `0x`, in hex; of 64 bits, with or without a sign.
fn integer(text: &str) -> Result<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.with_context(|| format!("`{text}` is no number"))?.cast_signed();
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// What the user wants to see in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number of so many bytes.
    Number {
        /// 1, 2, 4 or 8.
        bytes: i32,
        /// Whether it has a sign.
        signed: bool,
    },
    /// An address.
    Pointer,
    /// The text at an address of the program, or in a tracepoint's fields.
    Text,
    /// The text at an address of the kernel.
    KernelText,
}

/// The types by their names.
const TYPES: [(&str, Type); 11] = [
    ("i8", Type::Number { bytes: 1, signed: true }),
    ("i16", Type::Number { bytes: 2, signed: true }),
    ("i32", Type::Number { bytes: 4, signed: true }),
    ("i64", Type::Number { bytes: 8, signed: true }),
    ("u8", Type::Number { bytes: 1, signed: false }),
    ("u16", Type::Number { bytes: 2, signed: false }),
    ("u32", Type::Number { bytes: 4, signed: false }),
    ("u64", Type::Number { bytes: 8, signed: false }),
    ("ptr", Type::Pointer),
    ("str", Type::Text),
    ("kstr", Type::KernelText),
];

impl Type {
    /// The type of this name.
    ///
    /// # Errors
    /// Lists the types.
    pub fn named(name: &str) -> Result<Type> {
        if let Some((_, found)) = TYPES.iter().find(|(known, _)| *known == name) {
            return Ok(*found);
        }
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        bail!("there is no type `{name}`; the types are {}", names.join(", "))
    }

    /// The type of the number that an operand is by itself.
    pub fn of(operand: &Operand) -> Type {
        match operand.text {
            0 => Type::Number { bytes: operand.bytes, signed: operand.signed != 0 },
            _ => Type::Text,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let known = TYPES.iter().find(|(_, known)| *known == self);
        known.expect("operands have as many bytes as a type").0
    }

    /// Whether it is kept as a text.
    pub fn is_text(self) -> bool {
        match self {
            Type::Text | Type::KernelText => true,
            Type::Number { .. } | Type::Pointer => false,
        }
    }

    /// The operand, seen so.
    ///
    /// # Errors
    /// If it cannot be that.
    pub fn see(self, operand: Operand) -> Result<Operand> {
        let in_context = operand.text == 3;
        match self {
            Type::Number { .. } | Type::Pointer if in_context => {
                bail!("it is a text: its type is `str`, not `{}`", self.name())
            }
            // A wider one is filled up by the sign that the value has of itself.
            Type::Number { bytes, .. } if bytes > operand.bytes => Ok(operand),
            Type::Number { bytes, signed } => {
                Ok(Operand { bytes, signed: i32::from(signed), ..operand })
            }
            Type::Text | Type::KernelText if in_context => Ok(operand),
            Type::Pointer | Type::Text | Type::KernelText if operand.bytes != 8 => {
                bail!("it has {} bytes, and an address has 8", operand.bytes)
            }
            Type::Pointer => Ok(Operand { signed: 0, ..operand }),
            Type::Text => Ok(Operand { text: 1, ..operand }),
            Type::KernelText => Ok(Operand { text: 2, ..operand }),
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn memory(displacement: i64, register: i32, index: i32, scale: i32) -> Operand {
        let place = Place::Memory as i32;
        Operand { place, displacement, register, index, scale, ..NOWHERE }
    }

    fn same(found: &Operand, wanted: &Operand) {
        use zerocopy::IntoBytes as _;
        assert_eq!(found.as_bytes(), wanted.as_bytes(), "{found:?} {wanted:?}");
    }

    #[test]
    fn notes_say_where_arguments_are() {
        let register = |register| Operand { place: Place::Register as i32, register, ..NOWHERE };
        same(&of_note("8@%r14").unwrap(), &register(8));
        same(&of_note("1@%dil").unwrap(), &Operand { bytes: 1, ..register(112) });
        same(&of_note("-4@%eax").unwrap(), &Operand { bytes: 4, signed: 1, ..register(80) });
        same(&of_note("2@%r9w").unwrap(), &Operand { bytes: 2, ..register(64) });
        same(&of_note("4@%r10d").unwrap(), &Operand { bytes: 4, ..register(56) });
        same(&of_note("8@-16(%rbp)").unwrap(), &memory(-16, 32, -1, 1));
        same(&of_note("8@(%rax,%rbx,4)").unwrap(), &memory(0, 80, 40, 4));
        same(&of_note("8@0x10(,%rcx,8)").unwrap(), &memory(16, -1, 88, 8));
        let constant = Operand { place: Place::Constant as i32, displacement: -3, ..NOWHERE };
        same(&of_note("-4@$-3").unwrap(), &Operand { bytes: 4, signed: 1, ..constant });
        for bad in
            ["8f@%xmm0", "8@counter(%rip)", "8@%ah", "3@%rax", "8@", "@", "8@%zz", "8@8(%rip)"]
        {
            let error = format!("{:#}", of_note(bad).unwrap_err());
            assert!(error.contains("cannot be read"), "{bad}: {error}");
        }
    }

    #[test]
    fn aarch64_has_its_own_words() {
        // The registers are this machine's, so only those forms that name none.
        assert_eq!(aarch64("5").unwrap().displacement, 5);
        assert!(aarch64("[").is_err() && aarch64("").is_err());
    }

    #[test]
    fn values_are_seen_as_the_user_wants() {
        let int = of_note("-4@%eax").unwrap();
        let see = |name: &str| Type::named(name).unwrap().see(int);
        let narrow = see("u8").unwrap();
        assert_eq!((narrow.bytes, narrow.signed), (1, 0));
        let same_width = see("u32").unwrap();
        assert_eq!((same_width.bytes, same_width.signed), (4, 0));
        let wide = see("u64").unwrap();
        assert_eq!((wide.bytes, wide.signed), (4, 1));
        assert!(see("str").is_err() && see("ptr").is_err());
        assert_eq!(Type::Text.see(argument(5).unwrap()).unwrap().text, 1);
        assert!(argument(6).is_err() && Type::named("u128").is_err());
        assert!(Type::named("u32").unwrap().see(located(8)).is_err());
        assert_eq!(Type::of(&located(8)), Type::Text);
        assert_eq!(Type::of(&returned().unwrap()).name(), "i64");
    }
}
