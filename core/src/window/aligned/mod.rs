//! Windows whose bounds are the same for all keys: tumbling and sliding event-time windows that aggregate incrementally and
//! fire once, when the watermark reaches their end (and again for what is late but allowed).
//!
//! Windows are cut into slices at every start and end of a window (two a slide at most; Krishnamurthy, Wu, Franklin, "On-the-
//! fly sharing for streamed aggregation", SIGMOD 2006, call them paired windows). A record is added to the one slice that
//! holds its time, however many windows that belongs to. Where windows do not overlap a slice is a window, and [`tumbling`]
//! keeps one table a window; where they do, [`sliding`] keeps the slices of a key together and turns them into results with
//! a constant number of merges a window.
//!
//! Trade-off: there are no timers a key; the operator goes through its keys when the watermark passes the end of a window.
//! That is in proportion to what it emits then.

mod sliding;
#[cfg(test)]
mod tests;
mod tumbling;

use super::TimeWindow;
use crate::graph::TaskContext;
use crate::process::{OutputTag, Outputs};
use crate::state::KeyRef;
use crate::stream::{Data, KeySelector};
use crate::{Aggregator, Batch, Error, Operator, Result};

/// Which windows there are, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Length of a window.
    pub(crate) size: i64,
    /// From the start of one window to that of the next.
    pub(crate) slide: i64,
    /// The start of some window.
    pub(crate) offset: i64,
    /// How much later than its end a window still takes records.
    pub(crate) lateness: i64,
}

impl Windows {
    /// How far a time is behind the last start of a window.
    #[inline]
    fn behind_start(&self, time: i64) -> i64 {
        match time.checked_sub(self.offset) {
            Some(time) => time.rem_euclid(self.slide),
            None => (i128::from(time) - i128::from(self.offset)).rem_euclid(i128::from(self.slide)) as i64,
        }
    }

    /// The start of the last window that starts at `time` or before.
    fn last_start(&self, time: i64) -> i64 {
        time.saturating_sub(self.behind_start(time))
    }

    fn window(&self, start: i64) -> TimeWindow {
        TimeWindow { start, end: start.saturating_add(self.size) }
    }

    /// The slice that holds a time; of no window if it lies between two.
    #[inline]
    fn slice(&self, time: i64) -> TimeWindow {
        let start = self.last_start(time);
        // Ends of windows lie this far behind a start.
        let cut = start.saturating_add(self.size % self.slide);
        if time < cut { TimeWindow { start, end: cut } } else { TimeWindow { start: cut, end: start.saturating_add(self.slide) } }
    }

    /// The end of the first window that a slice belongs to.
    fn first_end(&self, slice: TimeWindow) -> i64 {
        // The first end at the slice's end or behind it; ends lie where starts do, moved by the size.
        let past = (self.behind_start(slice.end) - self.size % self.slide).rem_euclid(self.slide);
        if past == 0 { slice.end } else { slice.end.saturating_add(self.slide - past) }
    }

    /// The window that a slice belongs to last.
    fn last_window(&self, slice: TimeWindow) -> TimeWindow {
        self.window(self.last_start(slice.start))
    }

    /// From this watermark on a record of the slice is too late for all its windows.
    fn late_from(&self, slice: TimeWindow) -> i64 {
        self.last_window(slice).cleanup(self.lateness)
    }

    fn is_late(&self, slice: TimeWindow, watermark: i64) -> bool {
        self.late_from(slice) <= watermark
    }
}

/// The event times of a batch.
///
/// # Errors
/// It has none.
pub(super) fn event_times(batch: &mut Batch) -> Result<Vec<i64>> {
    match batch.event_times.take() {
        Some(times) if !times.contains(&i64::MIN) => Ok(times),
        _ => Err(Error::Plan(
            "event-time windows need records with event times: call assign_timestamps_and_watermarks before them".into(),
        )),
    }
}

/// Turns a window's result into records.
pub(crate) trait EmitWindow<R, U>: Fn(KeyRef<'_>, TimeWindow, R, &mut Outputs<U>) + 'static {}
impl<R, U, F: Fn(KeyRef<'_>, TimeWindow, R, &mut Outputs<U>) + 'static> EmitWindow<R, U> for F {}

/// The operator of these windows. Late records go to the side output of `late`; `merges`: the aggregator does, as it must where
/// windows overlap.
pub(crate) fn operator<T, S, A, U>(
    windows: Windows,
    (selector, aggregator): (S, A),
    emit: impl EmitWindow<A::Output, U>,
    late: Option<OutputTag<T>>,
    merges: bool,
    context: &TaskContext,
) -> Box<dyn Operator>
where
    T: Data,
    S: KeySelector<T>,
    A: Aggregator<T>,
    U: Data,
{
    if windows.slide >= windows.size {
        Box::new(tumbling::TumblingWindows::new(windows, selector, aggregator, emit, late, merges, context))
    } else {
        Box::new(sliding::SlidingWindows::new(windows, selector, aggregator, emit, late, context))
    }
}
