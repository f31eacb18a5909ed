use super::super::time_window::Window;
use super::{Trigger, TriggerContext, TriggerResult};

/// Fires once, when the stream ends. For windows that are still there then: the global one.
///
/// ```
/// use fluvial_core::{EndOfStreamTrigger, Global};
/// # let env = fluvial_core::Env::default();
/// let sums = env.sequence(1..=4).key_by(|n| n % 2).window(Global).trigger(EndOfStreamTrigger).reduce(|a, b| a + b);
/// let mut sums: Vec<_> = sums.collect()?.into_iter().map(|w| (w.key, w.value)).collect();
/// sums.sort();
/// assert_eq!(sums, [(0, 6), (1, 4)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EndOfStreamTrigger;

/// The state says whether the timer was set.
impl<T, W: Window> Trigger<T, W> for EndOfStreamTrigger {
    type State = bool;

    fn on_record(&self, _record: &T, _time: i64, set: &mut bool, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        if !std::mem::replace(set, true) {
            context.set_event_timer(i64::MAX);
        }
        TriggerResult::Continue
    }

    fn on_event_time(&self, time: i64, _set: &mut bool, _context: &mut TriggerContext<'_, W>) -> TriggerResult {
        if time == i64::MAX { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn merge_state(&self, _set: &mut bool, _other: bool) {}

    fn on_merge(&self, set: &mut bool, context: &mut TriggerContext<'_, W>) {
        *set = true;
        context.set_event_timer(i64::MAX);
    }

    fn clear(&self, _set: &bool, context: &mut TriggerContext<'_, W>) {
        context.delete_event_timer(i64::MAX);
    }
}
