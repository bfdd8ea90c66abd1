//! What is missing from the recording, and why. Empty in a good recording.

table! {
    /// Events, or parts of events, that are missing.
    pub struct Loss = "loss" {
        /// Start of the time in which they happened.
        ts: i64 as Time,
        /// End of that time.
        end: i64 as Time,
        /// The table that misses them.
        table: String as Text,
        /// The CPU, where it is known.
        cpu: Option<i32> as Id,
        /// How many.
        count: i64 as Count,
        /// Why: `ring full`, `map full`, `program busy`, `write failed`; or `stack unreadable`,
        /// where the event is there and only its stack is missing.
        reason: String as Text,
    }
}
