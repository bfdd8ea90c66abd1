//! The places that stacks are made of: code in a file, or in the kernel. They keep their meaning
//! when the process is gone and its address space with it.

table! {
    /// A code address, in terms that outlive the process.
    pub struct Frame = "frame" {
        /// Its number in this recording.
        id: i64 as Id,
        /// The address as first seen.
        address: i64 as Address,
        /// Whether that is a return address, so that the code in question ends just before it: so in
        /// all frames but the innermost.
        return_address: bool as Flag,
        /// Whether it is kernel code.
        kernel: bool as Flag,
        /// The file that was mapped there, as the process saw it, or a name such as `[vdso]`; null
        /// for the kernel, and where the process was gone before it could be asked.
        module: Option<String> as Path,
        /// The file's GNU build id in hex; null where it has none or was not readable.
        build_id: Option<String> as Name,
        /// The place in the file; null where no file is known.
        file_offset: Option<i64> as Address,
    }
}
