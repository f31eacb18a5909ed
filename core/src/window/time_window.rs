use serde::{Deserialize, Serialize};

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
        self.max_timestamp().saturating_add(lateness)
    }

    /// Whether the two share an instant or touch.
    pub(crate) fn touches(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// The smallest window that covers both.
    pub(crate) fn cover(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
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
