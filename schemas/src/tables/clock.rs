//! What the machine's clocks showed at the same moment, again and again, so that steps and drift of
//! the wall clock are visible and recordings of several hosts can be aligned.

table! {
    /// One reading of the clocks.
    pub struct Clock = "clock" {
        /// The moment in the recording's own time: the monotonic clock plus the fixed offset.
        ts: i64 as Time,
        /// `CLOCK_MONOTONIC`, which stops while the machine sleeps.
        monotonic: i64 as Duration,
        /// `CLOCK_BOOTTIME`, which does not.
        boottime: i64 as Duration,
        /// `CLOCK_REALTIME`: the wall clock, which can be set.
        realtime: i64 as Time,
    }
}
