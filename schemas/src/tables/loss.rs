//! What is missing from the recording, and why. Empty in a good recording.

table! {
    /// Events, or parts of events, that are missing.
    pub struct Loss = "loss" {
        /// Start of the time in which they happened.
        ts: i64 as Time,
        /// End of that time.
        end: i64 as Time,
        /// The table that misses them.
        table: String as Name,
        /// The CPU, where it is known.
        cpu: Option<i32> as Id,
        /// How many.
        count: i64 as Count,
        /// Why: `ring full`, `map full`, `program busy`, `write failed`. Or no event is missing: with
        /// `stack unreadable` only its stack is; `unpaired` are ends without a beginning and the
        /// other way round, of which the other half was before the recording or is counted itself.
        reason: String as Name,
    }
}
