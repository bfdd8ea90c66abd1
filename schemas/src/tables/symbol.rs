//! Names of frames, resolved where the binaries are: on the recorded machine, at the end, or by `analyze
//! symbolize`.

table! {
    /// A function at a frame. A frame with inlined calls has several rows.
    pub struct Symbol = "symbol" {
        /// The frame.
        frame: i64 as Id,
        /// 0 for the function that the frame lies in, 1 for the call inlined into it, and so on
        /// inwards.
        depth: i32 as Count,
        /// The function's name, demangled.
        name: String as Function,
        /// Distance of the address from the function's start; null for inlined calls.
        offset: Option<i64> as Bytes,
        /// The source file, where debug information names it.
        file: Option<String> as Path,
        /// The line in that file.
        line: Option<i32> as Count,
        /// The kernel module that the function is in, `bpf` for BPF programs and trampolines; null for the
        /// kernel proper, and for user code, whose module is the frame's.
        module: Option<String> as Name,
    }
}
