//! How a row crosses from a BPF program to user space.
//!
//! A record in the ring buffer is a C struct that starts with a [`Header`]. [`wire!`] defines such a
//! struct once, for both sides: the Rust struct is `repr(C)`, and [`c_header`] writes the C one that
//! the programs in `bpf/` are compiled with. `zerocopy::IntoBytes` refuses a struct with padding, so
//! the two cannot differ, and no uninitialised kernel byte can leave.
//!
//! Columns of changing length follow the struct within the same record. The struct holds a
//! [`Loc`] for each: offset and length in one word, the kernel's own `__data_loc` of trace events
//! (`include/trace/stages/stage1_struct_define.h`).

use std::fmt::Write as _;
use std::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::tables::{alloc, gc, probe, readline, vm};
use crate::{TableId, Type};

/// A value that a column can hold.
pub trait Cell {
    /// How it is stored.
    const TYPE: Type;
    /// Whether it can be unknown.
    const NULLABLE: bool;
}

/// A type that a C struct can hold.
pub trait Wire {
    /// The C declaration of a member of this type.
    fn declare(name: &str) -> String;
}

/// A struct that is shared with the BPF programs.
pub trait Record: FromBytes + KnownLayout + Immutable {
    /// The struct's C definition.
    fn c_struct() -> String;
}

/// Defines a struct for both sides of the ring buffer.
macro_rules! wire {
    ($(#[doc = $doc:literal])* pub struct $Row:ident = $name:literal {
        $($(#[doc = $cdoc:literal])* $col:ident: $ty:ty,)*
    }) => {
        $(#[doc = $doc])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable,
        )]
        pub struct $Row {
            $($(#[doc = $cdoc])* pub $col: $ty,)*
        }

        impl $crate::wire::Record for $Row {
            fn c_struct() -> String {
                let mut c = format!("struct {}_event {{\n", $name);
                $(c += &format!("\t{};\n", <$ty as $crate::wire::Wire>::declare(stringify!($col)));)*
                c + "};\n"
            }
        }
    };
}

/// What every record starts with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Header {
    /// The record's table: a [`TableId`] as a number.
    pub table: u32,
    /// The CPU that made the record.
    pub cpu: u32,
}

impl Wire for Header {
    fn declare(name: &str) -> String {
        format!("struct header {name}")
    }
}

macro_rules! integers {
    ($($rust:ty = $c:literal, $ty:ident;)*) => {$(
        impl Wire for $rust {
            fn declare(name: &str) -> String {
                format!("{} {name}", $c)
            }
        }

        impl Cell for $rust {
            const TYPE: Type = Type::$ty;
            const NULLABLE: bool = false;
        }

        impl Cell for Option<$rust> {
            const TYPE: Type = Type::$ty;
            const NULLABLE: bool = true;
        }

        impl Wire for Maybe<$rust> {
            fn declare(name: &str) -> String {
                format!("{} {name}", $c)
            }
        }

        impl Cell for Maybe<$rust> {
            const TYPE: Type = Type::$ty;
            const NULLABLE: bool = true;
        }

        impl Maybe<$rust> {
            /// The value, if it is known.
            #[must_use]
            pub fn get(self) -> Option<$rust> {
                (self.0 != <$rust>::MIN).then_some(self.0)
            }
        }
    )*};
}

integers! {
    i16 = "__s16", I16;
    i32 = "__s32", I32;
    i64 = "__s64", I64;
}

/// An integer that may be unknown: its smallest value (`UNKNOWN_32` or `UNKNOWN_64` in C) stands for
/// that and is stored as null.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Maybe<T>(pub T);

/// A moment on the monotonic clock (`bpf_ktime_get_ns`), in nanoseconds. Stored as Unix time: the
/// builder adds the recording's fixed offset, so that differences stay exact.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Monotonic(pub i64);

impl Wire for Monotonic {
    fn declare(name: &str) -> String {
        i64::declare(name)
    }
}

impl Cell for Monotonic {
    const TYPE: Type = Type::I64;
    const NULLABLE: bool = false;
}

/// A stack as the BPF programs name it: by the hash of its frames, or `UNKNOWN_64`. Stored is its
/// number in the recording, see [`StackNumbers`](crate::cell::StackNumbers); null if unknown.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct StackHash(pub i64);

impl Wire for StackHash {
    fn declare(name: &str) -> String {
        i64::declare(name)
    }
}

impl Cell for StackHash {
    const TYPE: Type = Type::I64;
    const NULLABLE: bool = true;
}

/// Yes or no; anything but zero is yes.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Flag(pub u32);

impl Wire for Flag {
    fn declare(name: &str) -> String {
        format!("__u32 {name}")
    }
}

impl Cell for Flag {
    const TYPE: Type = Type::Bool;
    const NULLABLE: bool = false;
}

/// Text of fixed room, NUL-terminated where it is shorter, as the kernel's `comm`. An empty text is
/// unknown, and stored as null.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Chars<const N: usize>(pub [u8; N]);

/// A task's name: `TASK_COMM_LEN` is 16 in every kernel.
pub type Comm = Chars<16>;

impl<const N: usize> Wire for Chars<N> {
    fn declare(name: &str) -> String {
        format!("char {name}[{N}]")
    }
}

impl<const N: usize> Cell for Chars<N> {
    const TYPE: Type = Type::Text;
    const NULLABLE: bool = true;
}

/// An IP address in 16 bytes; IPv4 is mapped into IPv6 (RFC 4291, section 2.5.5.2). Stored as text:
/// `10.0.0.1`, `2001:db8::1`. All zeros is the unspecified address, which is stored as `::`; the
/// mapped `0.0.0.0` as that. A first byte of 255 with zeros behind it stands for unknown.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Ip(pub [u8; 16]);

impl Ip {
    /// What stands for an unknown address: no address of the multicast range ff00::/8 is its
    /// network's own name.
    pub const UNKNOWN: Ip = Ip([255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

impl Wire for Ip {
    fn declare(name: &str) -> String {
        format!("__u8 {name}[16]")
    }
}

impl Cell for Ip {
    const TYPE: Type = Type::Text;
    const NULLABLE: bool = true;
}

/// Where a column of changing length lies in its record: the length in the upper half, the offset
/// from the record's start in the lower. Zero, or anything outside the record, is unknown.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Loc<T> {
    word: u32,
    what: PhantomData<T>,
}

impl<T> Loc<T> {
    /// A column of `length` bytes at `offset`.
    #[must_use]
    pub fn new(offset: u16, length: u16) -> Loc<T> {
        Loc { word: u32::from(length) << 16 | u32::from(offset), what: PhantomData }
    }

    /// The column's bytes in `record`, if they are known.
    #[must_use]
    pub fn bytes(self, record: &[u8]) -> Option<&[u8]> {
        if self.word == 0 {
            return None;
        }
        let (start, len) = ((self.word & 0xffff) as usize, (self.word >> 16) as usize);
        record.get(start..start + len)
    }
}

impl<T> Wire for Loc<T> {
    fn declare(name: &str) -> String {
        format!("__u32 {name}")
    }
}

/// Behind a [`Loc`]: one text, up to its NUL.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Str;

/// Behind a [`Loc`]: texts that each end with a NUL, as `/proc/PID/cmdline` gives them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Strs;

/// Behind a [`Loc`]: a path's components, the last one first, each with its NUL: the order in which
/// a walk up the dentries finds them.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Components;

/// Behind a [`Loc`]: 64-bit words, such as the addresses of a stack.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Words;

impl Cell for Loc<Str> {
    const TYPE: Type = Type::Text;
    const NULLABLE: bool = true;
}

impl Cell for Loc<Strs> {
    const TYPE: Type = Type::Texts;
    const NULLABLE: bool = true;
}

impl Cell for Loc<Words> {
    const TYPE: Type = Type::I64s;
    const NULLABLE: bool = true;
}

impl Cell for Loc<Components> {
    const TYPE: Type = Type::Text;
    const NULLABLE: bool = true;
}

macro_rules! owned_cells {
    ($($ty:ty = $stored:ident, $nullable:literal;)*) => {$(
        impl Cell for $ty {
            const TYPE: Type = Type::$stored;
            const NULLABLE: bool = $nullable;
        }
    )*};
}

owned_cells! {
    bool = Bool, false;
    Option<bool> = Bool, true;
    String = Text, false;
    Option<String> = Text, true;
    Option<Vec<String>> = Texts, true;
    Vec<i64> = I64s, false;
}

/// Why an event, or a part of one, is missing. Also the index of its counter in the kernel; 0 there
/// counts the events that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The ring buffer had no room: user space did not keep up.
    RingFull = 1,
    /// A BPF map had no room for a call's state or a followed process.
    MapFull = 2,
    /// The stack could not be read; the event is there with a null stack.
    StackUnreadable = 3,
    /// The kernel did not run the program, since it ran on that CPU already
    /// (`bpf_prog_info.recursion_misses`). Filters could not be asked: some of these events may be
    /// of processes that are not recorded.
    ProgramBusy = 4,
    /// The record was read from the ring, but could not be written to disk.
    WriteFailed = 5,
    /// An end was seen without its beginning, or a beginning without its end: the other half was
    /// before the recording, or after it, or is itself counted as lost. Nothing is made of it.
    Unpaired = 6,
    /// A call's return was not watched: it might have thrown an exception, which cannot pass a return
    /// probe. So of `operator new` for a gigabyte or more.
    ReturnUnwatched = 7,
    /// The tracer was stopped for a while: events came faster than they could be written. They are only
    /// counted then.
    Stopped = 8,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 8] = [
        Reason::RingFull,
        Reason::MapFull,
        Reason::StackUnreadable,
        Reason::ProgramBusy,
        Reason::WriteFailed,
        Reason::Unpaired,
        Reason::ReturnUnwatched,
        Reason::Stopped,
    ];

    /// The reason as it stands in the recording.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::RingFull => "ring full",
            Reason::MapFull => "map full",
            Reason::StackUnreadable => "stack unreadable",
            Reason::ProgramBusy => "program busy",
            Reason::WriteFailed => "write failed",
            Reason::Unpaired => "unpaired",
            Reason::ReturnUnwatched => "return unwatched",
            Reason::Stopped => "stopped",
        }
    }

    /// The reason that [`Reason::name`] gave `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Whether the whole event is missing, and not only a part of it.
    #[must_use]
    pub fn loses_the_event(self) -> bool {
        match self {
            Reason::RingFull
            | Reason::MapFull
            | Reason::ProgramBusy
            | Reason::WriteFailed
            | Reason::ReturnUnwatched
            | Reason::Stopped => true,
            Reason::StackUnreadable | Reason::Unpaired => false,
        }
    }
}

/// How many counters each table has in the kernel: the events seen, then one per [`Reason`], rounded
/// up to a power of two.
pub const COUNTERS: usize = 16;

/// What a sampled allocation stands for is told by a table of [`WEIGHTS`] values, for sizes that are
/// multiples of the sampling rate divided by this. See `bpf/alloc.bpf.c`.
pub const WEIGHT_STEPS: usize = 256;

/// Sizes from 16 times the sampling rate on stand for themselves; below, there is a weight per step.
pub const WEIGHTS: usize = 16 * WEIGHT_STEPS + 1;

/// How many numbers of system calls [`Bits`] has room for. The largest in use is below 480.
pub const SYSCALLS: usize = 1024;

/// A set of numbers below [`SYSCALLS`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Bits(pub [u64; SYSCALLS / 64]);

impl Bits {
    /// The set of these numbers; those that there is no room for are left out.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = usize>) -> Bits {
        let mut bits = Bits([0; SYSCALLS / 64]);
        for number in numbers {
            if let Some(word) = bits.0.get_mut(number / 64) {
                *word |= 1 << (number % 64);
            }
        }
        bits
    }
}

impl Wire for Bits {
    fn declare(name: &str) -> String {
        format!("__u64 {name}[{}]", SYSCALLS / 64)
    }
}

wire! {
    /// What the BPF programs are told when they are loaded: filters and sizes. Read-only for them.
    pub struct Settings = "settings" {
        /// Size of each ring buffer in bytes.
        ring_bytes: i64,
        /// Only tasks in this cgroup (v2) or below it: its id, or 0 for all.
        cgroup: i64,
        /// Depth of that cgroup below the root.
        cgroup_level: i32,
        /// Only tasks of this real uid, or -1 for all.
        uid: i32,
        /// Only tasks with this name, or empty for all.
        comm: Comm,
        /// Non-zero: only the processes in the map `targets`.
        by_target: i32,
        /// Non-zero: children of targets become targets.
        follow: i32,
        /// The recorder's own process, which is never recorded.
        own_pid: i32,
        /// Size of a page in bytes.
        page_size: i32,
        /// Exits of processes that lived shorter than this are left out, in nanoseconds.
        min_duration: i64,
        /// Non-zero: exits of single threads are recorded too.
        thread_exits: i32,
        /// How stacks are walked: [`Ways`](crate::unwind::Ways) as a number.
        ways: i32,
        /// Non-zero: keep the arguments of system calls.
        syscall_args: i32,
        /// Non-zero: only the system calls of which the bit is set.
        some_syscalls: i32,
        /// Which system calls, 64 numbers to a word.
        syscalls: Bits,
        /// Waits, calls and interrupts that took less are left out, in nanoseconds.
        min_latency: i64,
        /// Allocations of less are left out, in bytes.
        min_size: i64,
        /// Allocations of more are left out, in bytes; 0 for none.
        max_size: i64,
        /// Which memory of the kernel's own: bit 0 slab, 1 pages, 2 percpu.
        kalloc_kinds: i64,
        /// Only sockets of this local port, or 0 for all.
        lport: i32,
        /// Only sockets of this remote port, or 0 for all.
        rport: i32,
        /// Only sockets of this family, or 0 for all.
        family: i32,
        /// Of how many segments one round trip is recorded; at least 1.
        rtt_sample: i32,
        /// Only threads of this id, or 0 for all.
        tid: i32,
        /// How many addresses are in the map `denied`.
        denied: i32,
        /// Of user allocations one for about so many bytes is recorded, or 0 for all.
        alloc_sample: i64,
        /// Non-zero: user allocations are recorded with their stacks.
        alloc_stacks: i32,
        /// Non-zero: allocations of children are recorded too.
        alloc_follow: i32,
        /// The process that the recorder has started, or 0.
        command: i64,
    }
}

impl Settings {
    /// Whether only some allocations are recorded, and so only the frees of those.
    #[must_use]
    pub fn leaves_out_allocations(&self) -> bool {
        self.alloc_sample != 0 || self.min_size != 0 || self.max_size != 0
    }
}

/// The most arguments that a probe of the user's has.
pub const ARGUMENTS: usize = 6;

/// Where a program finds a value when it comes by a probe, and what it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Operand {
    /// Added to a register, or the value itself, or the place in the context: see [`Place`].
    pub displacement: i64,
    /// Where it is: a [`Place`] as a number.
    pub place: i32,
    /// The register: its place in the kernel's `struct pt_regs`.
    pub register: i32,
    /// A register that is added too, or negative.
    pub index: i32,
    /// What `index` is multiplied with.
    pub scale: i32,
    /// How many bytes of it count: 1, 2, 4 or 8.
    pub bytes: i32,
    /// Non-zero: it has a sign.
    pub signed: i32,
    /// Non-zero: it is the address of a text: 1 in the program's memory, 2 in the kernel's. Or 3: it is a
    /// text, in the context.
    pub text: i32,
    /// Keeps the struct without a gap.
    pub unused: i32,
}

/// Where a program finds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: there is none.
    None = 0,
    /// In a register.
    Register = 1,
    /// It is a constant.
    Constant = 2,
    /// In the program's memory, at a register and a displacement.
    Memory = 3,
    /// In the context, as a tracepoint's fields and a trampoline's arguments are.
    Field = 4,
    /// In the context, behind a word that tells its place and length (`__data_loc`).
    Located = 5,
}

impl Place {
    /// Every place, with its name in C.
    const ALL: [(Place, &'static str); 6] = [
        (Place::None, "NONE"),
        (Place::Register, "REGISTER"),
        (Place::Constant, "CONSTANT"),
        (Place::Memory, "MEMORY"),
        (Place::Field, "FIELD"),
        (Place::Located, "LOCATED"),
    ];
}

/// What a probe's arguments are; the last is the key of a span.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Operands(pub [Operand; ARGUMENTS + 1]);

impl Wire for Operands {
    fn declare(name: &str) -> String {
        format!("struct operand {name}[{}]", ARGUMENTS + 1)
    }
}

wire! {
    /// What a program that belongs to one place of one file, or of the kernel, is told of it. Read-only.
    pub struct Site = "site" {
        /// The probe's name.
        name: Chars<64>,
        /// Where the arguments are.
        operands: Operands,
        /// The number of the span that it begins or ends.
        span: i32,
        /// 1: it begins the span; 2: it ends it; 0: it belongs to none.
        span_end: i32,
        /// Non-zero: the span is told from others by the last operand.
        span_by_key: i32,
        /// Non-zero: it makes rows.
        rows: i32,
        /// How many operands are texts.
        texts: i32,
        /// Non-zero: take stacks of the program.
        stack: i32,
        /// Non-zero: take stacks of the kernel.
        kernel_stack: i32,
        /// Non-zero: a function has just returned.
        returned: i32,
        /// Non-zero: the stack pointer is where a call left it.
        at_entry: i32,
        /// Non-zero: the context has the registers of the program, and not of the kernel.
        user: i32,
        /// Of a runtime's probe, which runtime.
        runtime: i32,
        /// And which part of a collection.
        part: i32,
    }
}

impl Default for Site {
    fn default() -> Site {
        zerocopy::FromZeros::new_zeroed()
    }
}

wire! {
    /// A stack that the kernel side saw for the first time, raw. User space turns it into rows of
    /// `stack` and `frame`.
    pub struct RawStack = "stack" {
        /// Which table the record belongs to.
        header: Header,
        /// When it was first seen.
        ts: Monotonic,
        /// The hash of its frames, and for a user stack of its address space too.
        id: StackHash,
        /// Whose user stack it is; unknown for a kernel stack.
        pid: Maybe<i32>,
        /// Addresses, the innermost first.
        frames: Loc<Words>,
        /// The thread in which it was first seen.
        tid: i32,
        /// What it is like: a [`Shape`](crate::unwind::Shape) for each bit.
        shape: i32,
        /// Of frames 0 to 63, which a signal has interrupted: a bit for each.
        interrupted: i64,
        /// The same of frames 64 to 127.
        interrupted_further: i64,
    }
}

/// The C header that the programs in `bpf/` include as `events.gen.h`.
#[must_use]
pub fn c_header() -> String {
    let mut c = String::from(
        "/* Written by build.rs from the table definitions of schemas/. */\n#pragma once\n\n\
         #define UNKNOWN_32 ((__s32)0x80000000)\n#define UNKNOWN_64 ((__s64)0x8000000000000000ULL)\n\n\
         struct header {\n\t__u32 table;\n\t__u32 cpu;\n};\n\n",
    );
    let _ = writeln!(c, "#define COUNTERS {COUNTERS}\n#define SEEN 0");
    for reason in Reason::ALL {
        let name = reason.name().replace(' ', "_").to_uppercase();
        let _ = writeln!(c, "#define {name} {}", reason as u32);
    }
    let _ = writeln!(c, "\n#define SYSCALLS {SYSCALLS}");
    let _ = writeln!(c, "\n#define WEIGHT_STEPS {WEIGHT_STEPS}\n#define WEIGHTS {WEIGHTS}");
    c.push('\n');
    for function in alloc::Function::ALL {
        let _ =
            writeln!(c, "#define FUNCTION_{} {}", function.name().to_uppercase(), function as u32);
    }
    for call in vm::Call::ALL {
        let _ = writeln!(c, "#define CALL_{} {}", call.name().to_uppercase(), call as u32);
    }
    for part in gc::Part::ALL {
        let _ = writeln!(c, "#define PART_{} {}", part.name().to_uppercase(), part as u32);
    }
    for runtime in gc::Runtime::ALL {
        let _ = writeln!(c, "#define RUNTIME_{} {}", runtime.name().to_uppercase(), runtime as u32);
    }
    let _ = writeln!(c, "#define LINE_BYTES {}", readline::LINE_BYTES);
    let _ = writeln!(c, "#define TEXT_BYTES {}\n#define ARGUMENTS {ARGUMENTS}", probe::TEXT_BYTES);
    for (place, name) in Place::ALL {
        let _ = writeln!(c, "#define PLACE_{name} {}", place as u32);
    }
    let _ = writeln!(c, "\n#define TABLES {}", TableId::ALL.len());
    for id in TableId::ALL {
        let _ = writeln!(c, "#define TABLE_{} {}", id.name().to_uppercase(), *id as u32);
    }
    c.push('\n');
    c += "struct operand {\n\t__s64 displacement;\n\t__s32 place;\n\t__s32 register_at;\n\t__s32 index_at;\n\
          \t__s32 scale;\n\t__s32 bytes;\n\t__s32 is_signed;\n\t__s32 text;\n\t__s32 unused;\n};\n\n";
    c += &crate::unwind::c_header();
    c += &Site::c_struct();
    c += &Settings::c_struct();
    c += &RawStack::c_struct();
    for id in TableId::ALL {
        if let Some(definition) = id.c_struct() {
            c.push('\n');
            c += &definition;
        }
    }
    c
}
