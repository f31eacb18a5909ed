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

    /// Sets the timer that follows an instant.
    fn set_after<W: Window>(&self, time: i64, next: &mut Option<i64>, context: &mut TriggerContext<'_, W>) {
        let mut at = time.saturating_sub(time.rem_euclid(self.interval)).saturating_add(self.interval);
        // The last instant of a window is one of those at which it fires. After the end of the input only that is left.
        if context.domain() == self.domain || context.window().max_timestamp() == i64::MAX {
            let end = context.window().max_timestamp();
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
        if time < context.window().max_timestamp() || context.domain() != self.domain {
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
            // A record that is out of order must not set a timer that is past.
            TimeDomain::EventTime if next.is_none() => self.set_after(time.max(context.watermark()), next, context),
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
