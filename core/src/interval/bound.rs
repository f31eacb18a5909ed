use crate::{Error, Result};
use std::fmt;
use std::time::Duration;

/// An end of the interval in which the partners of a record lie: how much earlier or later than the record they may be, in
/// whole milliseconds. Closed, unless [`TimeBound::exclusive`] opens it.
///
/// ```
/// use fluvial_core::TimeBound;
/// use std::time::Duration;
/// let second = Duration::from_secs(1);
/// assert_eq!(TimeBound::before(second).to_string(), "-1000 ms");
/// assert_eq!(TimeBound::after(second).exclusive().to_string(), "+1000 ms (exclusive)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBound {
    /// From the record to the bound, milliseconds.
    offset: i64,
    open: bool,
}

impl TimeBound {
    /// This much earlier than the record.
    pub fn before(duration: Duration) -> Self {
        Self { offset: -millis(duration), open: false }
    }

    /// This much later than the record.
    pub fn after(duration: Duration) -> Self {
        Self { offset: millis(duration), open: false }
    }

    /// The time of the record itself.
    pub fn same_time() -> Self {
        Self { offset: 0, open: false }
    }

    /// The bound itself is not part of the interval, which is open at this end.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self { open: true, ..self }
    }
}

impl fmt::Display for TimeBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+} ms{}", self.offset, if self.open { " (exclusive)" } else { "" })
    }
}

/// Whole milliseconds, as far as time goes.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// From a left record to its right partners, both ends closed, in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Interval {
    first: i64,
    last: i64,
}

impl Interval {
    /// Between two bounds.
    ///
    /// # Errors
    /// There is no instant between them.
    pub(super) fn new(lower: TimeBound, upper: TimeBound) -> Result<Self> {
        let first = lower.offset.saturating_add(i64::from(lower.open));
        let last = upper.offset.saturating_sub(i64::from(upper.open));
        if first > last {
            return Err(Error::Plan(format!("interval join: no time lies between {lower} and {upper}")));
        }
        Ok(Self { first, last })
    }

    /// The first and the last time of right records that a left one of this time meets.
    #[inline]
    pub(super) fn of_left(self, time: i64) -> (i64, i64) {
        (time.saturating_add(self.first), time.saturating_add(self.last))
    }

    /// The first and the last time of left records that a right one of this time meets.
    #[inline]
    pub(super) fn of_right(self, time: i64) -> (i64, i64) {
        (time.saturating_sub(self.last), time.saturating_sub(self.first))
    }
}
