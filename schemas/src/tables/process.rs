//! The processes that were there before the recording began, from `/proc`. Those that came later are
//! in `fork` and `exec`, and ends are in `exit`.

table! {
    /// A process that existed when the recording began, as `/proc` told it.
    pub struct Process = "process" {
        /// When it was looked at.
        ts: i64 as Time,
        /// The process.
        pid: i32 as Id,
        /// Its parent.
        ppid: i32 as Id,
        /// Its real user id.
        uid: Option<i32> as Id,
        /// When it began, to the clock tick (10 ms).
        start: Option<i64> as Time,
        /// Its cgroup (v2); see `cgroup`.
        cgroup: Option<i64> as Id,
        /// The name of its main thread.
        comm: Option<String> as Name,
        /// The file it runs; null where it may not be read, and for kernel threads.
        exe: Option<String> as Path,
        /// Its arguments; null for kernel threads.
        argv: Option<Vec<String>> as Argv,
    }
}
