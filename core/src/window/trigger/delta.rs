use super::super::time_window::Window;
use super::{Trigger, TriggerContext, TriggerResult};
use crate::stream::Data;

/// Fires with a record that is further than a threshold away from the record with which it fired last (from the window's
/// first, at first).
///
/// ```
/// use fluvial_core::{DeltaTrigger, Global};
/// # use fluvial_core::{Config, Env};
/// # let env = Env::new(Config { threads: 1, ..Config::default() });
/// // The readings so far, whenever the temperature has risen by more than 5 degrees.
/// let rising = DeltaTrigger::of(5.0, |last: &f64, reading: &f64| reading - last);
/// let readings = env.from_collection([20.0, 22.0, 26.0, 27.0, 32.0]).window_all(Global).trigger(rising);
/// assert_eq!(readings.reduce(f64::max).count()?, 2);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DeltaTrigger<F> {
    threshold: f64,
    distance: F,
}

impl<F> DeltaTrigger<F> {
    /// With records more than `threshold` away, where `distance` is given the earlier record and the new one.
    pub fn of<T>(threshold: f64, distance: F) -> Self
    where
        F: Fn(&T, &T) -> f64 + Clone + Send + Sync + 'static,
    {
        Self { threshold, distance }
    }
}

/// The state is the record with which it fired last.
impl<T: Data, W: Window, F: Fn(&T, &T) -> f64 + Clone + Send + Sync + 'static> Trigger<T, W> for DeltaTrigger<F> {
    type State = Option<T>;

    fn on_record(&self, record: &T, _time: i64, last: &mut Option<T>, _: &mut TriggerContext<'_, W>) -> TriggerResult {
        match last {
            Some(before) if (self.distance)(before, record) > self.threshold => {
                *before = record.clone();
                TriggerResult::Fire
            }
            Some(_) => TriggerResult::Continue,
            None => {
                *last = Some(record.clone());
                TriggerResult::Continue
            }
        }
    }

    /// That of the earlier window stays.
    fn merge_state(&self, last: &mut Option<T>, other: Option<T>) {
        if last.is_none() {
            *last = other;
        }
    }
}
