use super::external::{ExternalSort, SortOptions};
use super::runs::SortedRuns;
use fluvial_memory::{Progress, Reservation, Result, RowBatch, SpillManager, Waker};

/// Keeps the first `k` rows by key; of rows with equal keys the earlier ones.
///
/// It is a sort that drops rows as soon as `k` others are known to precede them: memory holds about `2 k` rows, a run on
/// disk at most `k`, and once `k` rows are known most others are dropped by one comparison. A `k` that does not fit in
/// memory spills like any sort.
///
/// Combine the results of several workers in a [`SortedSet`](super::SortedSet) and read its first `k` rows.
///
/// ```
/// use fluvial_memory::{MemoryManager, RowBatch, RowShape, SpillConfig, SpillManager};
/// use fluvial_operators::{KeyRange, SortOptions, SortedSet, TopK};
/// let reservation = MemoryManager::new(4 << 20)?.reserve("top", 16)?;
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let shape = RowShape::fixed(4, 0);
/// let mut top = TopK::new(&reservation, &spill, SortOptions::new(shape), 3, None)?;
/// let mut rows = RowBatch::new(shape);
/// (0..100_000u32).rev().for_each(|key| rows.push(&key.to_be_bytes(), b""));
/// top.push(&rows)?;
/// let set = SortedSet::new(vec![top.into_runs()?]);
/// let mut out = RowBatch::new(shape);
/// set.merge(KeyRange::ALL, &reservation, None).pull(&mut out, 3, usize::MAX)?;
/// assert_eq!(out.parts().0, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Debug)]
pub struct TopK {
    sort: ExternalSort,
}

impl TopK {
    /// Keeps the first `k` rows; memory as [`ExternalSort::new`].
    ///
    /// # Errors
    /// As [`ExternalSort::new`].
    pub fn new(
        reservation: &Reservation,
        spill: &SpillManager,
        options: SortOptions,
        k: u64,
        waker: Option<Waker>,
    ) -> Result<Self> {
        Ok(Self { sort: ExternalSort::limited(reservation, spill, options, Some(k), waker)? })
    }

    /// As [`ExternalSort::push`].
    ///
    /// # Errors
    /// Of writing runs.
    pub fn push(&mut self, rows: &RowBatch) -> Result<Progress> {
        self.sort.push(rows)
    }

    /// As [`ExternalSort::resume`].
    ///
    /// # Errors
    /// Of writing runs.
    pub fn resume(&mut self) -> Result<Progress> {
        self.sort.resume()
    }

    /// As [`ExternalSort::finish`].
    ///
    /// # Errors
    /// Of writing runs.
    pub fn finish(&mut self) -> Result<Progress> {
        self.sort.finish()
    }

    /// The result, as [`ExternalSort::into_runs`] gives it: at least the first `k` rows, and possibly some more.
    ///
    /// # Errors
    /// Of writing runs.
    pub fn into_runs(self) -> Result<SortedRuns> {
        self.sort.into_runs()
    }
}
