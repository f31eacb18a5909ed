use super::key::Keys;
use super::memory_run::MemoryRun;
use super::merge::MergeReader;
use super::runs::{SortStats, SortedRun, SortedRuns};
use fluvial_memory::{Reservation, RowShape, SpillManager, Waker};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How many times the blocks at its edges a range is at least, and into how many ranges the whole is cut all the same.
const EDGES: u64 = 4;
const FEWEST: u64 = 16;

/// What several sorts of one process made, as one sorted whole. Cheap to clone, to be shared by the workers that merge it.
#[derive(Clone, Debug)]
pub struct SortedSet {
    pub(super) shared: Arc<SetShared>,
}

#[derive(Debug)]
pub(super) struct SetShared {
    pub(super) keys: Keys,
    /// For intermediate merges; none if there is nothing to merge.
    pub(super) spill: Option<SpillManager>,
    pub(super) schema: String,
    pub(super) sources: Vec<Source>,
    stats: Mutex<SortStats>,
    merging: Mutex<Merging>,
    ended: Condvar,
}

/// Sorted rows, somewhere.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Spilled(SortedRun),
    Memory(Arc<MemoryRun>),
}

impl Source {
    /// Blocks to be read for a range of prefixes, if it is on disk.
    pub(super) fn blocks(&self, range: KeyRange) -> Option<(&SortedRun, Range<usize>)> {
        match self {
            Self::Spilled(run) => Some((run, run.blocks(range.from, range.to))),
            Self::Memory(_) => None,
        }
    }
}

/// A range of the order: all rows whose key's first 16 bytes, as a big-endian number, are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub(super) from: u128,
    /// Not included; none for the last range.
    pub(super) to: Option<u128>,
    bytes: u64,
}

impl KeyRange {
    /// All there is.
    pub const ALL: Self = Self { from: 0, to: None, bytes: u64::MAX };

    /// About how many bytes of rows are in it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// How many readers hold buffers, and who waits for some.
#[derive(Default)]
struct Merging {
    holding: usize,
    /// Readers that gave their buffers back so far.
    ended: u64,
    waiting: Vec<Waker>,
}

impl std::fmt::Debug for Merging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merging").field("holding", &self.holding).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl SortedSet {
    /// Combines sorted runs of rows of one shape. Rows with equal keys keep this order.
    pub fn new(runs: Vec<SortedRuns>) -> Self {
        let mut stats = SortStats::default();
        let (mut keys, mut spill, mut schema, mut sources) = (Keys::new(RowShape::VARIABLE), None, String::new(), Vec::new());
        for sorted in runs {
            debug_assert!(sources.is_empty() || sorted.keys.shape() == keys.shape(), "one shape");
            stats += sorted.stats;
            (keys, spill, schema) = (sorted.keys, Some(sorted.spill), sorted.schema);
            sources.extend(sorted.spilled.into_iter().map(Source::Spilled));
            sources.extend(sorted.memory.map(Source::Memory));
        }
        let (stats, merging) = (Mutex::new(stats), Mutex::default());
        Self { shared: Arc::new(SetShared { keys, spill, schema, sources, stats, merging, ended: Condvar::new() }) }
    }

    /// Rows in all.
    pub fn rows(&self) -> u64 {
        self.stats().rows
    }

    /// What the sorts and the merges so far did.
    pub fn stats(&self) -> SortStats {
        *self.shared.stats.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Cuts the order into disjoint ranges of about `target_bytes` of rows each, in order, covering all. Keys whose first 16
    /// bytes are equal stay together, however many.
    ///
    /// A range reads about one block more of each run than is in it. Ranges are therefore made larger than asked for where
    /// that would add more than a quarter to what is read, though not larger than a sixteenth of the whole.
    pub fn ranges(&self, target_bytes: u64) -> Vec<KeyRange> {
        let (mut edges, mut whole) = (0, 0);
        for source in &self.shared.sources {
            if let Source::Spilled(run) = source {
                edges += run.run.bytes() / run.run.blocks().len().max(1) as u64;
                whole += run.run.bytes();
            }
        }
        let target_bytes = target_bytes.max((EDGES * edges).min(whole / FEWEST));
        let mut points: Vec<(u128, u64)> = Vec::new();
        for source in &self.shared.sources {
            match source {
                Source::Spilled(run) => points.extend(run.weights()),
                Source::Memory(run) => points.extend(run.weights()),
            }
        }
        points.sort_unstable();
        let mut ranges = vec![KeyRange { from: 0, to: None, bytes: 0 }];
        for (prefix, weight) in points {
            let last = ranges.len() - 1;
            if ranges[last].bytes + weight / 2 >= target_bytes && prefix > ranges[last].from {
                ranges[last].to = Some(prefix);
                ranges.push(KeyRange { from: prefix, to: None, bytes: weight });
            } else {
                ranges[last].bytes += weight;
            }
        }
        ranges
    }

    /// Merges a range. Buffers come from `reservation`: at least two of the longest block and one segment, better twice as
    /// many as there are runs.
    pub fn merge(&self, range: KeyRange, reservation: &Reservation, waker: Option<Waker>) -> MergeReader {
        MergeReader::new(self.clone(), range, reservation, waker)
    }
}

impl SetShared {
    pub(super) fn count(&self, add: SortStats) {
        *self.stats.lock().unwrap_or_else(|e| e.into_inner()) += add;
    }

    fn merging(&self) -> MutexGuard<'_, Merging> {
        self.merging.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Readers that gave their buffers back so far.
    pub(super) fn ended(&self) -> u64 {
        self.merging().ended
    }

    /// After an attempt to get buffers failed that began when [`SetShared::ended`] was `before`: whether it is worth
    /// another. With a waker, `Some(false)` means that it will be called; without, the call waits. `None`: nobody holds
    /// buffers, so there never will be more.
    pub(super) fn wait(&self, before: u64, waker: Option<&Waker>) -> Option<bool> {
        let mut merging = self.merging();
        loop {
            if merging.ended != before {
                return Some(true);
            }
            if merging.holding == 0 {
                return None;
            }
            match waker {
                Some(waker) => {
                    merging.waiting.push(waker.clone());
                    return Some(false);
                }
                None => merging = self.ended.wait(merging).unwrap_or_else(|e| e.into_inner()),
            }
        }
    }
}

/// Says that a reader holds buffers; others wait for its end before they give up for lack of memory.
#[derive(Debug)]
pub(super) struct Holding(Arc<SetShared>);

impl Holding {
    pub(super) fn new(set: &SortedSet) -> Self {
        set.shared.merging().holding += 1;
        Self(set.shared.clone())
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut merging = self.0.merging();
        merging.holding -= 1;
        merging.ended += 1;
        let waiting = std::mem::take(&mut merging.waiting);
        drop(merging);
        self.0.ended.notify_all();
        waiting.iter().for_each(|wake| wake());
    }
}
