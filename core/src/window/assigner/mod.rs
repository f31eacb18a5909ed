//! Which windows a record belongs to: one kind of assigner a file.

mod global;
mod session;
mod sliding;
mod tumbling;

pub use global::Global;
pub use session::{ElementGap, FixedGap, Gap, Session};
pub use sliding::Sliding;
pub use tumbling::Tumbling;

use super::time_window::{TimeWindow, Window};
use super::trigger::Trigger;
use crate::process::TimeDomain;

/// Says which windows a record belongs to.
///
/// ```
/// use fluvial_core::{TimeDomain, TimeTrigger, TimeWindow, WindowAssigner};
///
/// /// Windows that begin with every record and are ten times as long as it says.
/// #[derive(Clone)]
/// struct Ahead;
/// impl WindowAssigner<u32> for Ahead {
///     type Window = TimeWindow;
///     type Trigger = TimeTrigger;
///     fn assign(&self, record: &u32, time: i64, _now: i64, windows: &mut Vec<TimeWindow>) {
///         windows.push(TimeWindow { start: time, end: time.saturating_add(10 * i64::from(*record)) });
///     }
///     fn default_trigger(&self) -> TimeTrigger {
///         TimeTrigger::event_time()
///     }
/// }
///
/// let mut windows = Vec::new();
/// Ahead.assign(&3, 100, 0, &mut windows);
/// assert_eq!(windows, [TimeWindow { start: 100, end: 130 }]);
/// assert_eq!(WindowAssigner::<u32>::domain(&Ahead), TimeDomain::EventTime);
/// ```
pub trait WindowAssigner<T>: Clone + Send + Sync + 'static {
    /// The windows.
    type Window: Window;

    /// When a window fires, unless the program says otherwise.
    type Trigger: Trigger<T, Self::Window>;

    /// Appends the windows of a record, in their order. `time` is its event time (`i64::MIN` if it has none, which does not
    /// happen to windows of event time), `now` the clock's; milliseconds UTC. A record without windows is left out.
    fn assign(&self, record: &T, time: i64, now: i64, windows: &mut Vec<Self::Window>);

    /// The default trigger.
    fn default_trigger(&self) -> Self::Trigger;

    /// Whether windows of a key that [overlap](Window::overlaps) become one.
    fn merges(&self) -> bool {
        false
    }

    /// Which time the bounds of its windows are: event time decides what is late; when that time has passed a window's end
    /// (and the allowed lateness), the window's state goes.
    fn domain(&self) -> TimeDomain {
        TimeDomain::EventTime
    }

    /// The windows' bounds, if they are the same for all keys and records: such windows have an operator of their own.
    #[doc(hidden)]
    fn aligned(&self) -> Option<Aligned<Self::Window>> {
        None
    }

    /// Whether each record has one window, from its own time on, that merges with those it overlaps: such windows have an
    /// operator of their own.
    #[doc(hidden)]
    fn is_session(&self) -> bool {
        false
    }
}

/// Windows with the same bounds for all keys, in milliseconds.
#[doc(hidden)]
pub struct Aligned<W> {
    pub(crate) size: i64,
    pub(crate) slide: i64,
    pub(crate) offset: i64,
    pub(crate) window: fn(TimeWindow) -> W,
}
