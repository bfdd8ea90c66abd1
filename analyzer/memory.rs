//! How much memory `analyze` may take.
//!
//! A recording can ask for more memory than it has bytes: pages that unpack to a thousand times their length,
//! or a dictionary's longest text once for each row. Such a file need not be damaged, so no test of it
//! helps, and the kernel's answer to a process that takes too much is to kill one, perhaps another. So
//! the allocator counts, and ends the program with a message when there would be more than the limit.
//!
//! Each thread counts for itself, and tells the others when it has come to [`TELL`] bytes: one counter that all
//! write to would have them wait for each other. What it has not told when it ends nobody knows, so the count is
//! exact to that much for each thread that there was.

#![expect(unsafe_code, reason = "an allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;
use std::sync::atomic::{AtomicIsize, Ordering};

use bytesize::ByteSize;

/// What a thread may have taken, or given back, that the others do not know of: bytes.
const TELL: isize = 64 << 10;

/// The system's allocator, which counts.
#[derive(Debug)]
pub struct Counted {
    /// Bytes that all threads have told of.
    taken: AtomicIsize,
    limit: AtomicIsize,
}

thread_local! {
    static UNTOLD: Cell<isize> = const { Cell::new(0) };
}

impl Counted {
    /// Without a limit.
    #[must_use]
    pub const fn new() -> Counted {
        Counted { taken: AtomicIsize::new(0), limit: AtomicIsize::new(isize::MAX) }
    }

    /// From now on at most so many bytes, or the program ends with status 2.
    pub fn limit(&self, bytes: u64) {
        self.limit.store(isize::try_from(bytes).unwrap_or(isize::MAX), Ordering::Relaxed);
    }

    /// Counts what is about to be taken, or given back, in bytes.
    fn count(&self, change: isize) {
        let untold = UNTOLD.get().saturating_add(change);
        if untold.unsigned_abs() < TELL.unsigned_abs() {
            UNTOLD.set(untold);
            return;
        }
        UNTOLD.set(0);
        let taken = self.taken.fetch_add(untold, Ordering::Relaxed).saturating_add(untold);
        let limit = self.limit.load(Ordering::Relaxed);
        if change > 0 && taken > limit {
            refuse(limit);
        }
    }
}

impl Default for Counted {
    fn default() -> Counted {
        Counted::new()
    }
}

/// Ends the program; takes no memory for that.
fn refuse(limit: isize) -> ! {
    let mut stderr = std::io::stderr();
    // There is nobody to tell if that fails.
    let _ = writeln!(
        stderr,
        "analyze: this takes more than {} of memory; if the recording is to be trusted, allow more with \
         --max-memory",
        ByteSize(limit.unsigned_abs() as u64)
    );
    std::process::exit(2);
}

/// A layout's size as a change. No layout is larger than that.
fn change(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: all is done by the system's allocator, with the very arguments; counting takes no memory.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(change(layout.size()));
        // SAFETY: the caller keeps to what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(change(layout.size()));
        // SAFETY: the caller keeps to what `alloc_zeroed` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(change(size).saturating_sub(change(layout.size())));
        // SAFETY: the block came from the system's allocator, and the caller keeps to the rest.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.count(-change(layout.size()));
        // SAFETY: the block came from the system's allocator, and the caller keeps to the rest.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(memory: &Counted) -> isize {
        memory.taken.load(Ordering::Relaxed)
    }

    #[test]
    fn what_is_given_back_is_no_longer_counted() {
        let memory = Counted::new();
        memory.limit(1 << 30);
        let layout = Layout::array::<u8>(1 << 20).expect("it is no large one");
        let larger = Layout::array::<u8>(3 << 20).expect("it is no large one");
        // SAFETY: the layouts are not empty, and each block is given back with its own.
        unsafe {
            let block = memory.alloc(layout);
            assert_eq!(told(&memory), 1 << 20);
            let block = memory.realloc(block, layout, larger.size());
            assert_eq!(told(&memory), 3 << 20);
            memory.dealloc(block, larger);
            assert_eq!(told(&memory), 0);
            let block = memory.alloc_zeroed(layout);
            assert_eq!((told(&memory), *block), (1 << 20, 0));
            memory.dealloc(block, layout);
        }
        assert_eq!(told(&memory), 0);
    }

    #[test]
    fn little_is_told_when_it_has_become_much() {
        let memory = Counted::new();
        let pieces = TELL / 1024;
        (1..pieces).for_each(|_| memory.count(1024));
        assert_eq!(told(&memory), 0);
        memory.count(1024);
        assert_eq!(told(&memory), TELL);
    }
}
