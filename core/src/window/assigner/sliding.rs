use super::super::millis;
use super::super::time_window::TimeWindow;
use super::super::trigger::TimeTrigger;
use super::{Aligned, WindowAssigner};
use crate::process::TimeDomain;
use std::time::Duration;

/// Windows of one length that begin at regular distances: a record belongs to several where they overlap, to none where there
/// are gaps between them.
///
/// ```
/// use fluvial_core::{Sliding, TimeWindow, WindowAssigner};
/// use std::time::Duration;
/// let mut windows = Vec::new();
/// Sliding::of(Duration::from_millis(10), Duration::from_millis(5)).assign(&"record", 12, 0, &mut windows);
/// assert_eq!(windows, [TimeWindow { start: 5, end: 15 }, TimeWindow { start: 10, end: 20 }]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sliding {
    size: i64,
    slide: i64,
    offset: i64,
    domain: TimeDomain,
}

impl Sliding {
    /// Event-time windows of this length that begin every `slide`, both at least a millisecond; one begins at the epoch.
    pub fn of(size: Duration, slide: Duration) -> Self {
        Self { size: millis(size).max(1), slide: millis(slide).max(1), offset: 0, domain: TimeDomain::EventTime }
    }

    /// Windows begin this much later.
    #[must_use]
    pub fn offset(self, offset: Duration) -> Self {
        Self { offset: (self.offset.saturating_add(millis(offset) % self.slide)) % self.slide, ..self }
    }

    /// Windows begin this much earlier.
    #[must_use]
    pub fn offset_back(self, offset: Duration) -> Self {
        Self { offset: (self.offset.saturating_sub(millis(offset) % self.slide)) % self.slide, ..self }
    }

    /// Windows of processing time.
    #[must_use]
    pub fn processing_time(self) -> Self {
        Self { domain: TimeDomain::ProcessingTime, ..self }
    }
}

/// The last of the instants `offset + n * slide` that is at `time` or before it; `offset` is less than `slide` away from zero.
#[inline]
pub(super) fn start_before(time: i64, slide: i64, offset: i64) -> i64 {
    let mut past = time.rem_euclid(slide) - offset.rem_euclid(slide);
    if past < 0 {
        past += slide;
    }
    time.saturating_sub(past)
}

impl<T> WindowAssigner<T> for Sliding {
    type Window = TimeWindow;
    type Trigger = TimeTrigger;

    fn assign(&self, _record: &T, time: i64, now: i64, windows: &mut Vec<TimeWindow>) {
        let time = if self.domain == TimeDomain::EventTime { time } else { now };
        let last = start_before(time, self.slide, self.offset);
        // Starts are those at `last` and before it that are less than `size` before the time.
        let behind = time.saturating_sub(last);
        if behind >= self.size {
            return;
        }
        for back in (0..=(self.size - 1 - behind) / self.slide).rev() {
            let start = last.saturating_sub(back * self.slide);
            let window = TimeWindow { start, end: start.saturating_add(self.size) };
            // At the beginning of time several would be the same.
            if windows.last() != Some(&window) {
                windows.push(window);
            }
        }
    }

    fn default_trigger(&self) -> TimeTrigger {
        TimeTrigger::of(self.domain)
    }

    fn domain(&self) -> TimeDomain {
        self.domain
    }

    fn aligned(&self) -> Option<Aligned<TimeWindow>> {
        let aligned = Aligned { size: self.size, slide: self.slide, offset: self.offset, window: |window| window };
        (self.domain == TimeDomain::EventTime).then_some(aligned)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tumbling;
    use super::*;
    use proptest::prelude::*;

    fn ms(millis: i64) -> Duration {
        Duration::from_millis(millis.unsigned_abs())
    }

    proptest! {
        #[test]
        fn windows_are_those_that_hold_the_time(
            size in 1i64..40, slide in 1i64..40, offset in -90i64..90, time in -300i64..300,
        ) {
            let mut sliding = Sliding::of(ms(size), ms(slide));
            let mut tumbling = Tumbling::of(ms(size));
            (sliding, tumbling) = if offset < 0 {
                (sliding.offset_back(ms(offset)), tumbling.offset_back(ms(offset)))
            } else {
                (sliding.offset(ms(offset)), tumbling.offset(ms(offset)))
            };
            let all = |slide: i64| {
                let starts = (-500..500).map(move |n| offset + n * slide);
                let windows = starts.map(|start| TimeWindow { start, end: start + size });
                windows.filter(|w| w.start <= time && time < w.end).collect::<Vec<_>>()
            };
            let mut windows = Vec::new();
            sliding.assign(&(), time, 0, &mut windows);
            prop_assert_eq!(&windows, &all(slide));
            windows.clear();
            tumbling.assign(&(), time, 0, &mut windows);
            prop_assert_eq!(&windows, &all(size));
            windows.clear();
            tumbling.processing_time().assign(&(), 7777, time, &mut windows);
            prop_assert_eq!(&windows, &all(size));
        }
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        for time in [i64::MIN + 1, i64::MIN + 7, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            let mut windows = Vec::new();
            Sliding::of(ms(100), ms(30)).offset(ms(11)).assign(&(), time, 0, &mut windows);
            Tumbling::of(Duration::MAX).offset_back(ms(5)).assign(&(), time, 0, &mut windows);
            assert!(windows.iter().all(|w| w.start <= time && time <= w.end), "{time}: {windows:?}");
        }
    }
}
