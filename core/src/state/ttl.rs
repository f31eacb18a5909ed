use std::time::Duration;

/// How long a value of state lives, counted in processing time.
///
/// A value whose time is over is never seen again, and its memory comes back bit by bit while the operator works (some
/// entries are looked at with every record), and when the state is stored.
///
/// ```
/// use fluvial_core::Ttl;
/// use std::time::Duration;
/// let ttl = Ttl::of(Duration::from_secs(3600)).renewed_by_reads();
/// # let _ = ttl;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ttl {
    pub(crate) millis: i64,
    pub(crate) reads_renew: bool,
    pub(crate) until_cleaned: bool,
}

impl Ttl {
    /// A value lives this long after it was last written.
    pub fn of(time: Duration) -> Self {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self { millis, reads_renew: false, until_cleaned: false }
    }

    /// Reading a value renews it too.
    #[must_use]
    pub fn renewed_by_reads(self) -> Self {
        Self { reads_renew: true, ..self }
    }

    /// A value whose time is over may still be seen until it is cleaned up.
    #[must_use]
    pub fn visible_until_cleaned(self) -> Self {
        Self { until_cleaned: true, ..self }
    }

    /// Whether a value that was stamped then is over.
    pub(crate) fn over(&self, stamp: i64, now: i64) -> bool {
        now.saturating_sub(stamp) >= self.millis
    }
}
