//! Tests of the two programs as users run them.
//!
//! The tests in [`live`] record programs of `tests/workloads/` that know exactly what they did, and
//! compare the recording with that. They run wherever BPF programs can be loaded, and say why where
//! that is not so; with `LOOKBACK_REQUIRE_LIVE=1` it is a failure. [`kernels`] runs them under other
//! kernels in virtual machines. [`golden`] compares what `analyze` says about the recordings in
//! `fixtures/` with what is written beside them, [`fleet`] takes them for several hosts, [`hostile`] spoils them,
//! and [`docs`] runs what the book shows.

#[cfg(all(feature = "record", feature = "analyze"))]
mod analyzing;
#[cfg(feature = "record")]
mod command_line;
#[cfg(all(feature = "record", feature = "analyze"))]
mod docs;
#[cfg(feature = "record")]
mod kernels;
#[cfg(feature = "record")]
mod live;
#[cfg(feature = "record")]
mod recording;
#[cfg(feature = "record")]
mod running;
#[cfg(feature = "record")]
mod workload;

#[cfg(feature = "analyze")]
mod fleet;
#[cfg(feature = "analyze")]
mod golden;
#[cfg(all(feature = "record", feature = "analyze"))]
mod hostile;
mod reference;
