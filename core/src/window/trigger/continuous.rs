use super::super::millis;
use super::super::time_window::Window;
use super::{Trigger, TriggerContext, TriggerResult};
use crate::process::TimeDomain;
use std::time::Duration;

/// Fires at regular instants (multiples of an interval since the epoch) from the first record on, and at the end of the
/// window: results before a window is complete.
///
/// ```
/// use fluvial_core::{ContinuousTrigger, Tumbling};
/// use std::time::Duration;
/// # let env = fluvial_core::Env::default();
/// # let clicks = env.sequence(0..10).key_by(|n| n % 2);
/// // Counts of the day, every minute.
/// let day = Tumbling::of(Duration::from_secs(24 * 3600)).processing_time();
/// let counts = clicks.window(day).trigger(ContinuousTrigger::processing_time(Duration::from_secs(60))).fold(0, |n, _| *n += 1);
/// # let _ = counts;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContinuousTrigger {
    interval: i64,
    domain: TimeDomain,
}

impl ContinuousTrigger {
    /// Every so much event time, at least a millisecond.
    pub fn event_time(interval: Duration) -> Self {
        Self { interval: millis(interval).max(1), domain: TimeDomain::EventTime }
    }

    /// Every so much processing time, at least a millisecond.
    pub fn processing_time(interval: Duration) -> Self {
        Self { interval: millis(interval).max(1), domain: TimeDomain::ProcessingTime }
    }

    /// The last instant at which it fires: the window's, where both count the same time, or neither ever ends.
    fn last<W: Window>(&self, context: &TriggerContext<'_, W>) -> Option<i64> {
        let end = context.window().max_timestamp();
        (context.domain() == self.domain || end == i64::MAX).then_some(end)
    }

    /// Sets the timer that follows an instant.
    fn set_after<W: Window>(&self, time: i64, next: &mut Option<i64>, context: &mut TriggerContext<'_, W>) {
        let mut at = time.saturating_sub(time.rem_euclid(self.interval)).saturating_add(self.interval);
        // After the end of the input only the last instant is left.
        if let Some(end) = self.last(context) {
            at = if context.ended() { end } else { at.min(end) };
        }
        *next = Some(at);
        context.set_timer(self.domain, at);
    }

    fn on_time<W: Window>(&self, time: i64, next: &mut Option<i64>, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        if *next != Some(time) {
            return TriggerResult::Continue;
        }
        *next = None;
        if self.last(context).is_none_or(|end| time < end) {
            self.set_after(time, next, context);
        }
        TriggerResult::Fire
    }
}

/// The state is the timer that is set.
impl<T, W: Window> Trigger<T, W> for ContinuousTrigger {
    type State = Option<i64>;

    fn on_record(&self, _record: &T, time: i64, next: &mut Option<i64>, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        match self.domain {
            TimeDomain::EventTime if context.window().max_timestamp() <= context.watermark() => return TriggerResult::Fire,
            TimeDomain::EventTime if next.is_none() => {
                // A record that is out of order must not set a timer that is past, nor one without event time at all.
                let from = time.max(context.watermark());
                if from > i64::MIN {
                    self.set_after(from, next, context);
                }
            }
            TimeDomain::ProcessingTime if next.is_none() => self.set_after(context.processing_time(), next, context),
            _ => {}
        }
        TriggerResult::Continue
    }

    fn on_event_time(&self, time: i64, next: &mut Option<i64>, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        match self.domain {
            TimeDomain::EventTime => self.on_time(time, next, context),
            TimeDomain::ProcessingTime => TriggerResult::Continue,
        }
    }

    fn on_processing_time(&self, time: i64, next: &mut Option<i64>, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        match self.domain {
            TimeDomain::EventTime => TriggerResult::Continue,
            TimeDomain::ProcessingTime => self.on_time(time, next, context),
        }
    }

    fn merge_state(&self, next: &mut Option<i64>, other: Option<i64>) {
        *next = (*next).into_iter().chain(other).min();
    }

    fn on_merge(&self, next: &mut Option<i64>, context: &mut TriggerContext<'_, W>) {
        if let Some(at) = *next {
            context.set_timer(self.domain, at);
        }
    }

    fn clear(&self, next: &Option<i64>, context: &mut TriggerContext<'_, W>) {
        if let Some(at) = *next {
            context.delete_timer(self.domain, at);
        }
    }
}
