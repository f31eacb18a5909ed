//! Event time and processing time.
//!
//! A record's event time travels beside it ([`Context::time`](crate::chain::Context), `Batch::event_times`), milliseconds
//! UTC; `i64::MIN` where it has none. Event time as a whole is known by watermarks: watermark `w` promises that only records
//! later than `w` follow. A [`WatermarkStrategy`] makes both; an assigner that continues a chain that begins at a source
//! becomes a part of the source, with one generator a split ([`SplitTimes`]), any other is an operator that replaces its
//! inputs' watermark by its own. Processing time is what the job's [`Clock`] says, and nobody else's.
//!
//! Invariant: the watermark of an instance never goes back, whichever splits fall idle, resume or end.
//!
//! Trade-off: a watermark is published when a batch has been sent, not record by record, so that the path of a record costs
//! a comparison; splits are known to the source's own chain only, since their numbers do not cross workers.

mod assign;
mod clock;
mod splits;
#[cfg(test)]
mod tests;
mod watermark;

pub(crate) use assign::{AssignedSource, AssigningOperator};
pub use clock::Clock;
pub(crate) use splits::SplitTimes;
pub use watermark::{WatermarkGenerator, WatermarkStrategy};

use std::time::Duration;

/// Whole milliseconds; what is too long is as long as can be.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
