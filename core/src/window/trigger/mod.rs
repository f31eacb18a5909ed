//! When a window gives a result: one kind of trigger a file.

mod continuous;
mod count;
mod delta;
mod end_of_stream;
mod never;
mod purging;
mod time;

pub use continuous::ContinuousTrigger;
pub use count::CountTrigger;
pub use delta::DeltaTrigger;
pub use end_of_stream::EndOfStreamTrigger;
pub use never::NeverTrigger;
pub use purging::PurgingTrigger;
pub use time::TimeTrigger;

use super::time_window::Window;
use super::timers::WindowTimers;
use crate::process::TimeDomain;
use crate::state::KeyRef;
use crate::stream::Data;

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// It gives a result and keeps its records.
    Fire,
    /// It forgets its records without a result.
    Purge,
    /// It gives a result and forgets its records.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether there is a result.
    pub fn fires(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether the records are forgotten.
    pub fn purges(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// Says when a window of a key gives a result: it sees the window's records and sets timers.
///
/// A window without records gives no result, whatever the trigger says. What a trigger remembers of each window it keeps in its
/// `State`.
///
/// ```
/// use fluvial_core::*;
///
/// /// Gives a result with each record that is larger than all before it.
/// #[derive(Clone)]
/// struct Record;
/// impl<W: Window> Trigger<u64, W> for Record {
///     type State = u64;
///     fn on_record(&self, n: &u64, _time: i64, max: &mut u64, _context: &mut TriggerContext<'_, W>) -> TriggerResult {
///         if *n > *max {
///             *max = *n;
///             return TriggerResult::Fire;
///         }
///         TriggerResult::Continue
///     }
///     fn merge_state(&self, max: &mut u64, other: u64) {
///         *max = other.max(*max);
///     }
/// }
///
/// # let env = Env::new(Config { threads: 1, ..Config::default() });
/// let numbers = env.from_collection([3u64, 1, 4, 1, 5]).window_all(Global).trigger(Record);
/// assert_eq!(numbers.reduce(|a, b| a + b).count()?, 3);
/// # Ok::<(), Error>(())
/// ```
pub trait Trigger<T, W: Window>: Clone + Send + Sync + 'static {
    /// What it remembers of a window; the default of a new one.
    type State: Data + Default;

    /// A record comes to the window.
    fn on_record(&self, record: &T, time: i64, state: &mut Self::State, context: &mut TriggerContext<'_, W>) -> TriggerResult;

    /// The watermark has reached a timer of the window: one that the trigger has set, or the window's own at its last instant
    /// and the allowed lateness.
    fn on_event_time(&self, time: i64, state: &mut Self::State, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        let _ = (time, state, context);
        TriggerResult::Continue
    }

    /// The clock has passed a timer of the window.
    fn on_processing_time(&self, time: i64, state: &mut Self::State, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        let _ = (time, state, context);
        TriggerResult::Continue
    }

    /// The window of `other` becomes a part of that of `state`, which is the earlier one. Both were [cleared](Trigger::clear).
    fn merge_state(&self, state: &mut Self::State, other: Self::State);

    /// The context's window has come from merging others, or from extending one: set its timers.
    fn on_merge(&self, state: &mut Self::State, context: &mut TriggerContext<'_, W>) {
        let _ = (state, context);
    }

    /// The window ends, or becomes a part of another: delete the timers that were set for it.
    fn clear(&self, state: &Self::State, context: &mut TriggerContext<'_, W>) {
        let _ = (state, context);
    }

    /// Whether the state says no more than that of a new window: a window that never ends is forgotten then, if it has no
    /// records either.
    fn is_new(&self, state: &Self::State) -> bool {
        let _ = state;
        false
    }
}

/// What a trigger may know and do: timers are those of one window of one key.
pub struct TriggerContext<'a, W> {
    key: KeyRef<'a>,
    window: &'a W,
    timers: &'a mut WindowTimers<W>,
}

impl<'a, W: Window> TriggerContext<'a, W> {
    pub(super) fn new(key: KeyRef<'a>, window: &'a W, timers: &'a mut WindowTimers<W>) -> Self {
        Self { key, window, timers }
    }

    /// The window.
    pub fn window(&self) -> &'a W {
        self.window
    }

    /// The operator's watermark; `i64::MIN` at first.
    pub fn watermark(&self) -> i64 {
        self.timers.watermark
    }

    /// The clock's time, milliseconds UTC.
    pub fn processing_time(&self) -> i64 {
        self.timers.now
    }

    /// Whether the input has ended: a trigger that fires again and again should come to an end too.
    pub fn ended(&self) -> bool {
        self.timers.ended
    }

    /// Which time the windows' bounds are.
    pub fn domain(&self) -> TimeDomain {
        self.timers.domain
    }

    /// Has [`Trigger::on_event_time`] called when the watermark reaches `time`. Setting it twice is setting it once.
    pub fn set_event_timer(&mut self, time: i64) {
        self.timers.set(TimeDomain::EventTime, time, self.key, self.window);
    }

    /// Takes back an event-time timer.
    pub fn delete_event_timer(&mut self, time: i64) {
        self.timers.delete(TimeDomain::EventTime, time, self.key, self.window);
    }

    /// Has [`Trigger::on_processing_time`] called when the clock has passed `time`; at the end of a bounded input in any case.
    pub fn set_processing_timer(&mut self, time: i64) {
        self.timers.set(TimeDomain::ProcessingTime, time, self.key, self.window);
    }

    /// Takes back a processing-time timer.
    pub fn delete_processing_timer(&mut self, time: i64) {
        self.timers.delete(TimeDomain::ProcessingTime, time, self.key, self.window);
    }

    /// Sets a timer of either time.
    fn set_timer(&mut self, domain: TimeDomain, time: i64) {
        self.timers.set(domain, time, self.key, self.window);
    }

    /// Takes back a timer of either time.
    fn delete_timer(&mut self, domain: TimeDomain, time: i64) {
        self.timers.delete(domain, time, self.key, self.window);
    }
}
