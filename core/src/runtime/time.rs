//! The one timestamp of all dataflows.

use serde::{Deserialize, Serialize};
use timely::order::PartialOrder;
use timely::progress::timestamp::Refines;
use timely::progress::{PathSummary, Timestamp};

/// Epoch (barriers), superstep (bulk and delta loops) and watermark (event time), ordered as a product: a frontier may
/// hold one element per source while sources straddle a barrier. A lexicographic order would fire windows too early then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub(super) struct Time {
    pub epoch: u64,
    pub superstep: u64,
    pub watermark: i64,
}

impl Time {
    pub(super) fn new(epoch: u64, superstep: u64, watermark: i64) -> Self {
        Self { epoch, superstep, watermark }
    }
}

impl PartialOrder for Time {
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self.epoch <= other.epoch && self.superstep <= other.superstep && self.watermark <= other.watermark
    }
}

/// Path summary: how many supersteps a path advances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Supersteps(pub u64);

impl PartialOrder for Supersteps {
    fn less_equal(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
}

impl PathSummary<Time> for Supersteps {
    fn results_in(&self, time: &Time) -> Option<Time> {
        Some(Time { superstep: time.superstep.checked_add(self.0)?, ..*time })
    }
    fn followed_by(&self, other: &Self) -> Option<Self> {
        Some(Self(self.0.checked_add(other.0)?))
    }
}

impl Timestamp for Time {
    type Summary = Supersteps;
    fn minimum() -> Self {
        Self::new(0, 0, i64::MIN)
    }
}

impl Refines<()> for Time {
    fn to_inner(_: ()) -> Self {
        Self::minimum()
    }
    fn to_outer(self) {}
    fn summarize(_: Supersteps) {}
}
