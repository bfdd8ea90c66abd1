//! What allocators' functions are called, what they do, and where their probes go.

use lookback_schemas::manifest;
use lookback_schemas::tables::alloc::Function;

use crate::probes::files::CodeFile;
use crate::probes::placement::{self, Place};

/// The names of allocators' functions in C, each with what it does. What is not here an allocator may
/// have as well, but programs that use it are rare.
const NAMES: [(&str, Function); 22] = [
    ("malloc", Function::Malloc),
    ("calloc", Function::Calloc),
    ("realloc", Function::Realloc),
    ("reallocarray", Function::Reallocarray),
    ("posix_memalign", Function::PosixMemalign),
    ("aligned_alloc", Function::AlignedAlloc),
    ("memalign", Function::Memalign),
    ("valloc", Function::Valloc),
    ("pvalloc", Function::Pvalloc),
    ("strdup", Function::Strdup),
    ("strndup", Function::Strdup),
    ("__strdup", Function::Strdup),
    ("__strndup", Function::Strdup),
    ("free", Function::Free),
    ("cfree", Function::Free),
    ("free_sized", Function::Free),
    ("free_aligned_sized", Function::Free),
    // jemalloc's own, which Rust programs call; the flags that they take besides do not matter here.
    ("mallocx", Function::Malloc),
    ("rallocx", Function::Realloc),
    ("dallocx", Function::Free),
    ("sdallocx", Function::Free),
    // mimalloc's.
    ("zalloc", Function::Malloc),
];

/// `operator new` and `operator new[]` in all their forms begin so (Itanium C++ ABI, section 5.1.3), and
/// `operator delete` and `operator delete[]`.
const OPERATORS: [(&str, Function); 4] = [
    ("_Znw", Function::New),
    ("_Zna", Function::New),
    ("_Zdl", Function::Delete),
    ("_Zda", Function::Delete),
];

/// What the function of this name does, if it is an allocator's.
pub fn named(name: &str) -> Option<Function> {
    let operator = || OPERATORS.iter().find(|(start, _)| name.starts_with(start));
    let found = NAMES.iter().find(|(known, _)| *known == name).or_else(operator);
    found.map(|(_, function)| *function)
}

/// What a function is to the tracer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// One whose calls are recorded.
    Function(Function),
    /// An operator `new` that calls `malloc`. Its entry tells who called.
    Wrapper,
}

impl Role {
    /// How many of the function's arguments the programs read.
    pub fn arguments(self) -> usize {
        match self {
            Role::Wrapper | Role::Function(Function::Strdup) => 0,
            Role::Function(
                Function::Malloc
                | Function::Valloc
                | Function::Pvalloc
                | Function::New
                | Function::Free
                | Function::Delete,
            ) => 1,
            Role::Function(
                Function::Calloc | Function::Realloc | Function::AlignedAlloc | Function::Memalign,
            ) => 2,
            Role::Function(Function::Reallocarray | Function::PosixMemalign) => 3,
        }
    }

    /// Whether its return is of interest.
    pub fn returns(self) -> bool {
        match self {
            Role::Function(function) => !function.frees(),
            Role::Wrapper => false,
        }
    }

    /// The program for its entry, where that has one of its own.
    pub fn program(self) -> String {
        match self {
            Role::Function(function) => format!("enter_{}", function.name()),
            Role::Wrapper => "wrapper".to_owned(),
        }
    }

    /// The program for its entry, and its return where that is of interest.
    pub fn session(self) -> &'static str {
        match self {
            Role::Function(function) if function.frees() => "session_free",
            Role::Function(_) => "session",
            Role::Wrapper => "session_wrapper",
        }
    }

    /// What that program is told of the function.
    pub fn cookie(self) -> u64 {
        match self {
            Role::Function(function) => function as u64,
            Role::Wrapper => 0,
        }
    }

    /// Whether programs call it all the time.
    pub fn is_frequent(self) -> bool {
        match self {
            Role::Wrapper => false,
            Role::Function(function) => matches!(
                function,
                Function::Malloc
                    | Function::Calloc
                    | Function::Realloc
                    | Function::Free
                    | Function::New
                    | Function::Delete
            ),
        }
    }
}

/// A function of an allocator, and where its probe goes.
#[derive(Clone, Debug)]
pub struct Site {
    /// What it is to the tracer.
    pub role: Role,
    /// Its name in the file.
    pub name: String,
    /// Where it begins in the file.
    pub offset: u64,
    /// Where the probe goes.
    pub place: Place,
}

/// The kind of a probe that was not attached, in the manifest.
pub const LEFT_OUT: &str = "left out";

impl Site {
    /// What the manifest says of it.
    pub fn report(&self, file: &CodeFile, kind: &str) -> manifest::Probe {
        manifest::Probe {
            file: file.shown.clone(),
            function: self.name.clone(),
            offset: self.probe_offset() as u64,
            into_function: self.place.into,
            kind: kind.to_owned(),
            ..manifest::Probe::default()
        }
    }

    pub fn probe_offset(&self) -> usize {
        (self.offset + self.place.into) as usize
    }
}

/// Where the probe of a function goes.
pub fn place(code: &[u8], role: Role) -> Place {
    placement::of_function(code, role.arguments())
}
