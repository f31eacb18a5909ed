use crate::stream::Data;
use serde::{Deserialize, Serialize};

/// A finite piece of a stream: what records are grouped by beside their key.
///
/// Windows of a key are kept in their order. Those of an assigner that merges say when two of them become one.
///
/// ```
/// use fluvial_core::{TimeWindow, Window};
/// let (a, b) = (TimeWindow { start: 0, end: 10 }, TimeWindow { start: 9, end: 15 });
/// assert!(a.overlaps(&b));
/// assert_eq!(a.cover(&b), TimeWindow { start: 0, end: 15 });
/// assert_eq!(a.max_timestamp(), 9);
/// ```
pub trait Window: Data + Ord {
    /// Its last instant, milliseconds UTC: it is complete when the watermark or the clock has passed it, and what it gives
    /// has this event time. `i64::MAX` for a window that never is.
    fn max_timestamp(&self) -> i64;

    /// Whether the two become one where windows merge.
    fn overlaps(&self, other: &Self) -> bool {
        self == other
    }

    /// The smallest window that covers both.
    #[must_use]
    fn cover(&self, other: &Self) -> Self {
        self.max(other).clone()
    }
}

/// The instant at which a window's state goes: its last one and the allowed lateness, as far as time goes.
pub(crate) fn cleanup_time<W: Window>(window: &W, lateness: i64) -> i64 {
    window.max_timestamp().saturating_add(lateness)
}

/// A span of time: from `start` up to, and without, `end`, in milliseconds UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimeWindow {
    /// Its first instant.
    pub start: i64,
    /// The first instant after it.
    pub end: i64,
}

impl TimeWindow {
    /// Its last instant: the window is complete when the watermark reaches it, and what it gives has this event time.
    pub fn max_timestamp(&self) -> i64 {
        self.end.saturating_sub(1)
    }

    /// The instant at which its state goes: its last one and the allowed lateness, as far as time goes.
    pub(crate) fn cleanup(&self, lateness: i64) -> i64 {
        cleanup_time(self, lateness)
    }
}

impl Window for TimeWindow {
    #[inline]
    fn max_timestamp(&self) -> i64 {
        TimeWindow::max_timestamp(self)
    }

    /// Whether they share an instant. Windows that only meet stay apart: the first may have fired when the second begins, and
    /// whether it has must not change what comes out.
    #[inline]
    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    #[inline]
    fn cover(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// The one window of all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GlobalWindow;

impl Window for GlobalWindow {
    fn max_timestamp(&self) -> i64 {
        i64::MAX
    }
}

/// What a window of a key gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<K, W, R> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: W,
    /// The result.
    pub value: R,
}
