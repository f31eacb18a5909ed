use super::super::time_window::Window;
use super::{Trigger, TriggerContext, TriggerResult};

/// Fires with every so many records of a window.
#[derive(Clone, Copy, Debug)]
pub struct CountTrigger {
    count: u64,
}

impl CountTrigger {
    /// With every `count` records, at least one.
    pub fn of(count: u64) -> Self {
        Self { count: count.max(1) }
    }
}

/// The state is the number of records since it last fired.
impl<T, W: Window> Trigger<T, W> for CountTrigger {
    type State = u64;

    #[inline]
    fn on_record(&self, _record: &T, _time: i64, count: &mut u64, _context: &mut TriggerContext<'_, W>) -> TriggerResult {
        *count += 1;
        if *count < self.count {
            return TriggerResult::Continue;
        }
        *count = 0;
        TriggerResult::Fire
    }

    fn merge_state(&self, count: &mut u64, other: u64) {
        *count += other;
    }

    fn is_new(&self, count: &u64) -> bool {
        *count == 0
    }
}
