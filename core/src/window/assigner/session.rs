use super::super::millis;
use super::super::time_window::TimeWindow;
use super::super::trigger::TimeTrigger;
use super::WindowAssigner;
use crate::process::TimeDomain;
use std::time::Duration;

/// Windows that last as long as a key's records follow each other: one ends when there has been none for a gap. A record that
/// comes exactly a gap after the one before it begins another session: the one before may have fired by then.
///
/// ```
/// use fluvial_core::{Env, Session, WatermarkStrategy};
/// use std::time::Duration;
/// # let env = Env::default();
/// let clicks = [("ann", 0), ("bob", 2), ("ann", 20), ("ann", 100)].map(|(k, t)| (k.to_string(), t));
/// let visits = env
///     .from_collection(clicks)
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|c: &(String, i64)| c.1))
///     .key_by_ref(|c| c.0.as_str())
///     .window(Session::with_gap(Duration::from_millis(30)))
///     .fold(0, |clicks, _| *clicks += 1);
/// let mut visits: Vec<_> = visits.collect()?.into_iter().map(|v| (v.key, v.window.start, v.window.end, v.value)).collect();
/// visits.sort();
/// assert_eq!(visits, [("ann".to_string(), 0, 50, 2), ("ann".to_string(), 100, 130, 1), ("bob".to_string(), 2, 32, 1)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Session<G> {
    gap: G,
    domain: TimeDomain,
}

/// How long a session lasts after a record.
pub trait Gap<T>: Clone + Send + Sync + 'static {
    /// The gap after this record, milliseconds.
    fn millis(&self, record: &T) -> i64;
}

/// The same gap after every record.
#[derive(Clone, Copy, Debug)]
pub struct FixedGap(i64);

/// A gap that depends on the record.
#[derive(Clone, Copy, Debug)]
pub struct ElementGap<F>(F);

impl<T> Gap<T> for FixedGap {
    #[inline]
    fn millis(&self, _record: &T) -> i64 {
        self.0
    }
}

impl<T, F: Fn(&T) -> Duration + Clone + Send + Sync + 'static> Gap<T> for ElementGap<F> {
    #[inline]
    fn millis(&self, record: &T) -> i64 {
        millis((self.0)(record)).max(1)
    }
}

impl Session<FixedGap> {
    /// Event-time sessions with this gap, at least a millisecond.
    pub fn with_gap(gap: Duration) -> Self {
        Self { gap: FixedGap(millis(gap).max(1)), domain: TimeDomain::EventTime }
    }

    /// Event-time sessions whose gap a function finds for each record; at least a millisecond.
    pub fn by<T, F: Fn(&T) -> Duration + Clone + Send + Sync + 'static>(gap: F) -> Session<ElementGap<F>> {
        Session { gap: ElementGap(gap), domain: TimeDomain::EventTime }
    }
}

impl<G> Session<G> {
    /// Sessions in processing time.
    #[must_use]
    pub fn processing_time(self) -> Self {
        Self { domain: TimeDomain::ProcessingTime, ..self }
    }
}

impl<T, G: Gap<T>> WindowAssigner<T> for Session<G> {
    type Window = TimeWindow;
    type Trigger = TimeTrigger;

    #[inline]
    fn assign(&self, record: &T, time: i64, now: i64, windows: &mut Vec<TimeWindow>) {
        let start = if self.domain == TimeDomain::EventTime { time } else { now };
        windows.push(TimeWindow { start, end: start.saturating_add(self.gap.millis(record)) });
    }

    fn default_trigger(&self) -> TimeTrigger {
        TimeTrigger::of(self.domain)
    }

    fn merges(&self) -> bool {
        true
    }

    fn domain(&self) -> TimeDomain {
        self.domain
    }

    fn is_session(&self) -> bool {
        true
    }
}
