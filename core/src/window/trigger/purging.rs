use super::super::time_window::Window;
use super::{Trigger, TriggerContext, TriggerResult};

/// Fires when another trigger does, and has the window forget its records then.
#[derive(Clone, Copy, Debug)]
pub struct PurgingTrigger<G> {
    inner: G,
}

impl<G> PurgingTrigger<G> {
    /// Around this trigger.
    pub fn of(inner: G) -> Self {
        Self { inner }
    }
}

fn purging(result: TriggerResult) -> TriggerResult {
    if result.fires() { TriggerResult::FireAndPurge } else { result }
}

impl<T, W: Window, G: Trigger<T, W>> Trigger<T, W> for PurgingTrigger<G> {
    type State = G::State;

    #[inline]
    fn on_record(&self, record: &T, time: i64, state: &mut G::State, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        purging(self.inner.on_record(record, time, state, context))
    }

    fn on_event_time(&self, time: i64, state: &mut G::State, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        purging(self.inner.on_event_time(time, state, context))
    }

    fn on_processing_time(&self, time: i64, state: &mut G::State, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        purging(self.inner.on_processing_time(time, state, context))
    }

    fn merge_state(&self, state: &mut G::State, other: G::State) {
        self.inner.merge_state(state, other);
    }

    fn on_merge(&self, state: &mut G::State, context: &mut TriggerContext<'_, W>) {
        self.inner.on_merge(state, context);
    }

    fn clear(&self, state: &G::State, context: &mut TriggerContext<'_, W>) {
        self.inner.clear(state, context);
    }

    fn is_new(&self, state: &G::State) -> bool {
        self.inner.is_new(state)
    }
}
