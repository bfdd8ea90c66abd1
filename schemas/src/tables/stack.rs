//! Call stacks, each stored once. The kernel side hashes a stack and sends it only when it was not
//! seen before; the recorder numbers the hashes, and events carry the number.

table! {
    /// A call stack. It may stand here more than once, always with the same frames.
    pub struct Stack = "stack" {
        /// When it was first seen.
        ts: i64 as Time,
        /// Its number. Equal frames of different processes are different stacks.
        id: i64 as Id,
        /// The process whose stack it was first; null for a kernel stack.
        pid: Option<i32> as Id,
        /// The frames, the innermost first: ids in `frame`.
        frames: Vec<i64> as Id,
        /// Whether there may be more frames than the 127 that are walked.
        truncated: bool as Flag,
        /// What led from frame to frame: `tables` made from the binaries' call frame information, `frame
        /// pointers`, or `both`; null for a kernel stack, and where there is only one frame.
        walked: Option<String> as Name,
        /// Whether the last frame is where the thread, or goroutine, began; null for a kernel stack.
        complete: Option<bool> as Flag,
    }
}
