//! Windows: finite pieces of streams that need not end.
//!
//! An [`assigner`](WindowAssigner) says which windows a record belongs to, a [`trigger`](Trigger) when a window gives a result,
//! an [`evictor`](Evictor) which records it leaves out, a function what the result is. [`builder`] puts them together and
//! chooses the operator:
//!
//! | operator | for |
//! |---|---|
//! | [`aligned`] | event-time windows with the same bounds for all keys that sum up as records come |
//! | [`session`] | event-time sessions that do |
//! | [`general`] | everything else: own triggers, evictors, all records of a window, processing time |
//!
//! The model is that of Akidau et al., "The Dataflow Model" (VLDB 2015), with the semantics of Flink's window operator.
//!
//! Invariant: all arithmetic on times saturates; a window's results have the event time of its last instant, and come out in
//! the order of the times at which they are due, then of keys (of aligned windows: of the records that began them).

pub(crate) mod aligned;
mod assigner;
mod builder;
mod contents;
mod count;
mod evictor;
mod function;
mod general;
mod join;
mod records;
mod session;
mod time_window;
mod timers;
mod trigger;

#[cfg(test)]
mod tests;

pub use assigner::{Aligned, ElementGap, FixedGap, Gap, Global, Session, Sliding, Tumbling, WindowAssigner};
pub use builder::WindowedStream;
pub use evictor::{CountEvictor, DeltaEvictor, Evictor, EvictorContext, TimeEvictor};
pub use function::{ProcessWindowFunction, WindowContext, WindowStates, WindowValueState};
pub use join::{CoGroupContext, JoinSide, WindowJoin};
pub use records::WindowRecords;
pub use time_window::{GlobalWindow, TimeWindow, Window, Windowed};
pub use trigger::{
    ContinuousTrigger, CountTrigger, DeltaTrigger, EndOfStreamTrigger, NeverTrigger, PurgingTrigger, TimeTrigger, Trigger,
    TriggerContext, TriggerResult,
};

use crate::graph::NodeMetrics;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Whole milliseconds, as far as time goes.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Counts a late record, which is dropped if nobody heard of it.
fn count_late(metrics: &NodeMetrics, heard: bool) {
    metrics.late_records.fetch_add(1, Relaxed);
    metrics.dropped_records.fetch_add(u64::from(!heard), Relaxed);
}
