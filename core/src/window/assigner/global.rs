use super::super::time_window::GlobalWindow;
use super::super::trigger::NeverTrigger;
use super::WindowAssigner;
use crate::process::TimeDomain;

/// One window for all times. It never ends by itself: say with a trigger when it gives results. Time does not matter to it, so
/// that it is the same in event time and processing time.
///
/// ```
/// use fluvial_core::{CountTrigger, Global, PurgingTrigger};
/// # let env = fluvial_core::Env::default();
/// let pairs = env.sequence(0..10).key_by(|_| 0u8).window(Global).trigger(PurgingTrigger::of(CountTrigger::of(2)));
/// assert_eq!(pairs.reduce(|a, b| a + b).count()?, 5);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Global;

impl Global {
    /// The same.
    #[must_use]
    pub fn processing_time(self) -> Self {
        self
    }
}

impl<T> WindowAssigner<T> for Global {
    type Window = GlobalWindow;
    type Trigger = NeverTrigger;

    #[inline]
    fn assign(&self, _record: &T, _time: i64, _now: i64, windows: &mut Vec<GlobalWindow>) {
        windows.push(GlobalWindow);
    }

    fn default_trigger(&self) -> NeverTrigger {
        NeverTrigger
    }

    /// Nothing is late for it.
    fn domain(&self) -> TimeDomain {
        TimeDomain::ProcessingTime
    }
}
