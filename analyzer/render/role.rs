//! What columns are to a comparison of two recordings: what tells rows apart, and how numbers add up.
//!
//! The names of columns are one vocabulary: `count` is how many in every report, `p99` a percentile. So what a
//! column is follows from its name, here. Where a name means something else, the report says so
//! ([`Column::level`](super::Column::level)).

/// What a column's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the row is of. So is every column that is not named below.
    Key,
    /// What names something in one recording only, such as a pid.
    Identity,
    /// Neither: moments, and how far estimates may be off.
    Aside,
    /// How many there are of what the row is about.
    Count,
    /// What adds up over time: of time, bytes, or events beside those of [`Role::Count`].
    Sum,
    /// So many per second.
    Rate,
    /// What there is at an instant; it adds up over rows, not over time.
    Level,
    /// A part of a whole, in percent.
    Share,
    /// A mean of values, or one value.
    Mean,
    /// A percentile of values.
    Percentile,
    /// The largest of values.
    Max,
}

impl Role {
    /// What the columns of this name are.
    #[must_use]
    pub fn of(name: &str) -> Role {
        match name {
            "pid" | "tid" | "ppid" | "prev_pid" | "prev_tid" | "target_pid" | "target_tid"
            | "caller_tid" | "end_tid" | "waker_pid" | "waker_tid" | "cgroup" | "pid_ns"
            | "socket" | "container" | "kernel_stack" | "user_stack" | "address" => Role::Identity,
            "ts" | "from" | "first" | "last" | "start" | "end" | "pause_ts" | "error" => {
                Role::Aside
            }
            "count" | "hits" | "pauses" => Role::Count,
            "failed" | "errors" | "denied" | "nulls" | "negative" | "open" | "unfinished"
            | "full" | "waits" | "samples" | "spans" | "slow_spans" | "other_spans"
            | "minor_faults" | "major_faults" | "retransmits" | "of_count" | "time" | "total"
            | "runnable" | "paused" | "waited" | "observed" | "user" | "system" | "slow_time"
            | "other_time" | "sent" | "received" | "bytes" | "of_bytes" => Role::Sum,
            "rate" | "allocations" | "frees" => Role::Rate,
            "processes" | "mapped" => Role::Level,
            "share"
            | "slow_spans_percent"
            | "slow_time_percent"
            | "other_spans_percent"
            | "other_time_percent" => Role::Share,
            "mean" | "duration" | "latency" | "wait" | "in_old" | "cost" | "before" | "after"
            | "used_before" | "used_after" | "committed_before" | "committed_after"
            | "collected" => Role::Mean,
            "p50" | "p90" | "p99" | "p99.9" | "slow_from" => Role::Percentile,
            "max" | "longest" | "longest_wait" | "longest_span" | "max_rss" => Role::Max,
            _ => Role::Key,
        }
    }

    /// Whether it is more the longer the recording is.
    #[must_use]
    pub fn grows(self) -> bool {
        match self {
            Role::Count | Role::Sum => true,
            Role::Key
            | Role::Identity
            | Role::Aside
            | Role::Rate
            | Role::Level
            | Role::Share
            | Role::Mean
            | Role::Percentile
            | Role::Max => false,
        }
    }
}
