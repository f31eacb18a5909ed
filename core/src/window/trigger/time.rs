use super::super::time_window::Window;
use super::{Trigger, TriggerContext, TriggerResult};
use crate::process::TimeDomain;

/// Fires once at the end of a window, and again with each late record that is still allowed: the default of windows with an
/// end.
#[derive(Clone, Copy, Debug)]
pub struct TimeTrigger {
    domain: TimeDomain,
}

impl TimeTrigger {
    /// When the watermark reaches the window's last instant.
    pub fn event_time() -> Self {
        Self::of(TimeDomain::EventTime)
    }

    /// When the clock has passed the window's last instant.
    pub fn processing_time() -> Self {
        Self::of(TimeDomain::ProcessingTime)
    }

    pub(in crate::window) fn of(domain: TimeDomain) -> Self {
        Self { domain }
    }

    fn on_time(self, domain: TimeDomain, time: i64, end: i64) -> TriggerResult {
        if domain == self.domain && time == end { TriggerResult::Fire } else { TriggerResult::Continue }
    }
}

/// The state says whether the timer was set.
impl<T, W: Window> Trigger<T, W> for TimeTrigger {
    type State = bool;

    #[inline]
    fn on_record(&self, _record: &T, _time: i64, set: &mut bool, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        let end = context.window().max_timestamp();
        if self.domain == TimeDomain::EventTime && end <= context.watermark() {
            return TriggerResult::Fire;
        }
        if !*set {
            *set = true;
            context.set_timer(self.domain, end);
        }
        TriggerResult::Continue
    }

    fn on_event_time(&self, time: i64, _set: &mut bool, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        self.on_time(TimeDomain::EventTime, time, context.window().max_timestamp())
    }

    fn on_processing_time(&self, time: i64, set: &mut bool, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        let result = self.on_time(TimeDomain::ProcessingTime, time, context.window().max_timestamp());
        *set &= !result.fires();
        result
    }

    fn merge_state(&self, _set: &mut bool, _other: bool) {}

    fn on_merge(&self, set: &mut bool, context: &mut TriggerContext<'_, W>) {
        // Once the watermark is past the end, each record fires by itself; a timer would fire once more.
        let end = context.window().max_timestamp();
        *set = self.domain == TimeDomain::ProcessingTime || end > context.watermark();
        if *set {
            context.set_timer(self.domain, end);
        }
    }

    fn clear(&self, _set: &bool, context: &mut TriggerContext<'_, W>) {
        context.delete_timer(self.domain, context.window().max_timestamp());
    }
}
