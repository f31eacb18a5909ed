use super::super::millis;
use super::super::time_window::TimeWindow;
use super::super::trigger::TimeTrigger;
use super::sliding::start_before;
use super::{Aligned, WindowAssigner};
use crate::process::TimeDomain;
use std::time::Duration;

/// Windows of one length, one after another: every record belongs to one.
///
/// ```
/// use fluvial_core::{Tumbling, TimeWindow, WindowAssigner};
/// use std::time::Duration;
/// // Days that begin at midnight in a zone that is 8 hours ahead.
/// let hour = Duration::from_secs(3600);
/// let days = Tumbling::of(24 * hour).offset_back(8 * hour);
/// let mut windows = Vec::new();
/// days.assign(&"record", 0, 0, &mut windows);
/// assert_eq!(windows, [TimeWindow { start: -8 * 3_600_000, end: 16 * 3_600_000 }]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tumbling {
    size: i64,
    offset: i64,
    domain: TimeDomain,
}

impl Tumbling {
    /// Event-time windows of this length, at least a millisecond; one begins at the epoch.
    pub fn of(size: Duration) -> Self {
        Self { size: millis(size).max(1), offset: 0, domain: TimeDomain::EventTime }
    }

    /// Windows begin this much later.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset: (self.offset.saturating_add(millis(offset) % self.size)) % self.size, ..self }
    }

    /// Windows begin this much earlier.
    #[must_use]
    pub fn offset_back(self, offset: Duration) -> Self {
        Self { offset: (self.offset.saturating_sub(millis(offset) % self.size)) % self.size, ..self }
    }

    /// Windows of processing time.
    #[must_use]
    pub fn processing_time(self) -> Self {
        Self { domain: TimeDomain::ProcessingTime, ..self }
    }
}

impl<T> WindowAssigner<T> for Tumbling {
    type Window = TimeWindow;
    type Trigger = TimeTrigger;

    #[inline]
    fn assign(&self, _record: &T, time: i64, now: i64, windows: &mut Vec<TimeWindow>) {
        let time = if self.domain == TimeDomain::EventTime { time } else { now };
        let start = start_before(time, self.size, self.offset);
        windows.push(TimeWindow { start, end: start.saturating_add(self.size) });
    }

    fn default_trigger(&self) -> TimeTrigger {
        TimeTrigger::of(self.domain)
    }

    fn domain(&self) -> TimeDomain {
        self.domain
    }

    fn aligned(&self) -> Option<Aligned<TimeWindow>> {
        let aligned = Aligned { size: self.size, slide: self.size, offset: self.offset, window: |window| window };
        (self.domain == TimeDomain::EventTime).then_some(aligned)
    }
}
