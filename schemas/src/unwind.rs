//! The tables by which BPF programs walk the stacks of code that keeps no frame pointers.
//!
//! A compiler that uses the frame pointer as one register more still writes down, for each instruction,
//! how far the caller's frame is: *call frame information*, the section `.eh_frame` (DWARF 5, section 6.4,
//! with the changes of the Linux Standard Base). It is a little program for each function. User space runs
//! these programs, and hands the kernel side what comes out: sorted [`Row`]s of 8 bytes, in [`Page`]s that
//! lie in arenas, each a BPF map. A [`Range`] says which pages tell about a part of a process's
//! address space, and a [`Space`] which ranges are a process's.
//!
//! The definitions are here because both sides of the ring buffer need them, as those of
//! [`wire`](crate::wire) do. Nothing of them reaches the disk.

use std::fmt::Write as _;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many rows a page has.
pub const ROWS: usize = 512;
/// How many pages an arena has: it takes 4 MiB.
pub const ARENA_PAGES: usize = 1024;
/// How many arenas there can be.
pub const ARENAS: usize = 64;

/// Where the *canonical frame address* is: what the stack pointer was before the call. The return address
/// lies just below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cfa {
    /// Nothing is known of this code.
    #[default]
    None = 0,
    /// There is no caller: a thread begins here.
    End = 1,
    /// At a distance from the stack pointer.
    Sp = 2,
    /// At a distance from the frame pointer.
    Fp = 3,
    /// What lies there at a distance from the stack pointer.
    AtSp = 4,
    /// What lies there at a distance from the frame pointer: so where a function aligns its frame.
    AtFp = 5,
    /// 8 bytes from the stack pointer, or 16 from the instruction on that has pushed a number: an entry of
    /// the procedure linkage table. The place of that instruction in the entry stands for the distance.
    Plt = 6,
    /// The kernel has called a signal handler, and left all registers on the stack.
    Signal = 7,
}

impl Cfa {
    const ALL: [(Cfa, &'static str); 8] = [
        (Cfa::None, "NONE"),
        (Cfa::End, "END"),
        (Cfa::Sp, "SP"),
        (Cfa::Fp, "FP"),
        (Cfa::AtSp, "AT_SP"),
        (Cfa::AtFp, "AT_FP"),
        (Cfa::Plt, "PLT"),
        (Cfa::Signal, "SIGNAL"),
    ];
}

/// Where the caller's frame pointer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fp {
    /// It is in its register still.
    #[default]
    Same = 0,
    /// In memory, at a distance from the canonical frame address.
    AtCfa = 1,
    /// In memory, at a distance from where the frame pointer points.
    AtFp = 2,
    /// Nowhere that a row could tell.
    Lost = 3,
}

impl Fp {
    const ALL: [(Fp, &'static str); 4] =
        [(Fp::Same, "SAME"), (Fp::AtCfa, "AT_CFA"), (Fp::AtFp, "AT_FP"), (Fp::Lost, "LOST")];
}

/// How to leave a frame, from an address on.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Row {
    /// The address, as a distance from that of the range.
    pub address: u32,
    /// How far the canonical frame address is, in words of 8 bytes.
    pub cfa: i16,
    /// How far the caller's frame pointer is, in words of 8 bytes.
    pub fp: i8,
    /// From where: a [`Cfa`], and above it in the next 4 bits an [`Fp`].
    pub rule: u8,
}

/// Rows in the order of their addresses. Behind the last one are rows of the highest address.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Page(pub [Row; ROWS]);

impl Page {
    /// A page of these rows; no more than [`ROWS`].
    #[must_use]
    pub fn of(rows: &[Row]) -> Box<Page> {
        let unused = Row { address: u32::MAX, ..Row::default() };
        let mut page = Box::new(Page([unused; ROWS]));
        for (place, row) in page.0.iter_mut().zip(rows) {
            *place = *row;
        }
        page
    }
}

/// A part of an address space that has code.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Range {
    /// The first address.
    pub start: u64,
    /// The first address behind it.
    pub end: u64,
    /// What is taken from an address to have that of the rows.
    pub base: u64,
    /// The first page: the arena's number times [`ARENA_PAGES`], and the page's number there.
    pub page: u32,
    /// How many pages; none where nothing is known of the code.
    pub pages: u32,
}

/// What a process has mapped.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Space {
    /// Where the code of its program ends, as the kernel knows it too (`mm_struct.end_code`). A process that
    /// has replaced its image has another program, or the same one at other addresses.
    pub code_end: u64,
    /// Told from all other spaces, and from what this was before, by this number.
    pub version: u64,
    /// The first of its ranges.
    pub first: u32,
    /// How many it has, in the order of their addresses.
    pub count: u32,
}

/// Which ways a stack may be walked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ways {
    /// By tables, and by frame pointers where there is no row.
    #[default]
    Both = 0,
    /// By frame pointers.
    FramePointers = 1,
    /// By tables.
    Tables = 2,
}

impl Ways {
    /// What the user calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ways::Both => "auto",
            Ways::FramePointers => "fp",
            Ways::Tables => "dwarf",
        }
    }
}

/// The shape of a stack, as bits of [`RawStack::shape`](crate::wire::RawStack).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The first frame too is a return address, since the function that it called has just returned.
    FirstReturned = 1,
    /// A step was made by tables.
    ByTables = 2,
    /// A step was made by frame pointers.
    ByFramePointers = 4,
    /// The last frame is where the thread began.
    Complete = 8,
    /// There were more frames than there is room for.
    Truncated = 16,
}

impl Shape {
    const ALL: [(Shape, &'static str); 5] = [
        (Shape::FirstReturned, "FIRST_RETURNED"),
        (Shape::ByTables, "BY_TABLES"),
        (Shape::ByFramePointers, "BY_FRAME_POINTERS"),
        (Shape::Complete, "COMPLETE"),
        (Shape::Truncated, "TRUNCATED"),
    ];

    /// Whether `shape` has this bit.
    #[must_use]
    pub fn is_in(self, shape: i64) -> bool {
        shape & self as i64 != 0
    }
}

/// The part of the C header that tells all this to the programs.
#[must_use]
pub fn c_header() -> String {
    let mut c = String::new();
    let _ = writeln!(c, "#define ROWS {ROWS}\n#define ARENA_PAGES {ARENA_PAGES}");
    for (rule, name) in Cfa::ALL {
        let _ = writeln!(c, "#define CFA_{name} {}", rule as u32);
    }
    for (rule, name) in Fp::ALL {
        let _ = writeln!(c, "#define FP_{name} {}", rule as u32);
    }
    let _ = writeln!(c, "#define WAYS_FRAME_POINTERS {}", Ways::FramePointers as u32);
    let _ = writeln!(c, "#define WAYS_TABLES {}", Ways::Tables as u32);
    for (bit, name) in Shape::ALL {
        let _ = writeln!(c, "#define SHAPE_{name} {}", bit as u32);
    }
    c += "\nstruct unwind_row {\n\t__u32 address;\n\t__s16 cfa;\n\t__s8 fp;\n\t__u8 rule;\n};\n\n\
          struct unwind_page {\n\tstruct unwind_row rows[ROWS];\n};\n\n\
          struct unwind_range {\n\t__u64 start;\n\t__u64 end;\n\t__u64 base;\n\t__u32 page;\n\t__u32 pages;\n};\n\n\
          struct unwind_space {\n\t__u64 code_end;\n\t__u64 version;\n\t__u32 first;\n\t__u32 count;\n};\n\n";
    c
}
