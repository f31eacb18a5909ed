use super::super::time_window::Window;
use super::{Trigger, TriggerContext, TriggerResult};

/// Never fires: the default of the global window.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverTrigger;

impl<T, W: Window> Trigger<T, W> for NeverTrigger {
    type State = ();

    fn on_record(&self, _record: &T, _time: i64, _state: &mut (), _context: &mut TriggerContext<'_, W>) -> TriggerResult {
        TriggerResult::Continue
    }

    fn merge_state(&self, _state: &mut (), _other: ()) {}
}
