use crate::process::{OutputTag, Outputs};
use crate::state::KeyRef;
use crate::stream::Data;
use fluvial_memory::NormalizedKey;
use std::marker::PhantomData;

/// What the function of an interval join may know of a pair, and where its results go.
pub struct IntervalContext<'a, K, U> {
    pub(super) at: PairTimes<'a>,
    pub(super) outputs: &'a mut Outputs<U>,
    pub(super) record: PhantomData<fn() -> K>,
}

/// A pair without its records.
pub(super) struct PairTimes<'a> {
    pub(super) key: KeyRef<'a>,
    pub(super) left: i64,
    pub(super) right: i64,
    pub(super) watermark: i64,
}

impl<K: NormalizedKey, U: Data> IntervalContext<'_, K, U> {
    /// The key that both records have.
    pub fn key(&self) -> K {
        self.at.key.decode()
    }

    /// Event time of the left record, milliseconds UTC.
    pub fn left_time(&self) -> i64 {
        self.at.left
    }

    /// Event time of the right record, milliseconds UTC.
    pub fn right_time(&self) -> i64 {
        self.at.right
    }

    /// The later of the two, which the results have.
    pub fn time(&self) -> i64 {
        self.at.left.max(self.at.right)
    }

    /// The operator's watermark: earlier than the pair's time. `i64::MIN` at first.
    pub fn watermark(&self) -> i64 {
        self.at.watermark
    }

    /// Emits a record, with the pair's time.
    #[inline]
    pub fn emit(&mut self, record: U) {
        self.outputs.push(record, self.time());
    }

    /// Emits a record on a side output, with the pair's time.
    pub fn side<V: Data>(&mut self, tag: &OutputTag<V>, record: V) {
        self.outputs.push_side(tag, record, self.time());
    }
}
