//! Sorting: every worker sorts what it receives into runs; then all workers of the process merge them together, range by
//! range of the order, so that the ranges are cut where the data is and no worker waits for another's half.

use super::{OUTPUT_ROWS, RowFormat, least, sort_reservation};
use crate::graph::{NodeMetrics, TaskContext};
use crate::{Batch, Operator, Output, Position, Progress, Result, Waker};
use fluvial_memory::{Reservation, RowBatch};
use fluvial_operators::{ExternalSort, KeyRange, MergeReader, SortOptions, SortedRuns, SortedSet, TopK};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes of rows of a range: about what becomes a row group.
const RANGE_BYTES: u64 = 16 << 20;
/// Bytes of rows that are given at a time.
const OUTPUT_BYTES: usize = 1 << 20;

/// What is sorted and what is wanted of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SortPlan {
    /// Only so many of the first rows.
    pub(crate) limit: Option<u64>,
    /// Each worker's records on their own, not all together.
    pub(crate) per_worker: bool,
}

/// Sorts the records of a stream by the keys that `F` gives them.
pub(crate) struct SortOperator<F> {
    format: F,
    plan: SortPlan,
    reservation: Reservation,
    stage: Stage,
    shared: Arc<Shared>,
    rows: RowBatch,
    waker: Waker,
    metrics: Arc<NodeMetrics>,
}

enum Stage {
    Sorting(Sorter),
    Merging(Option<Box<Merging>>),
}

enum Sorter {
    All(Box<ExternalSort>),
    Top(Box<TopK>),
}

/// A range being merged.
struct Merging {
    reader: MergeReader,
    range: u64,
    sequence: u64,
    /// Rows still wanted.
    left: u64,
}

/// What the workers of a process share.
struct Shared(Mutex<State>);

struct State {
    /// Workers still sorting.
    sorting: usize,
    runs: Vec<SortedRuns>,
    set: Option<SortedSet>,
    ranges: Vec<KeyRange>,
    next: usize,
    waiting: Vec<Waker>,
}

impl Shared {
    fn new(workers: usize) -> Self {
        let (runs, ranges, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self(Mutex::new(State { sorting: workers, runs, set: None, ranges, next: 0, waiting }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Sorter {
    fn push(&mut self, rows: &RowBatch) -> fluvial_memory::Result<Progress> {
        match self {
            Self::All(sort) => sort.push(rows),
            Self::Top(top) => top.push(rows),
        }
    }
    fn resume(&mut self) -> fluvial_memory::Result<Progress> {
        match self {
            Self::All(sort) => sort.resume(),
            Self::Top(top) => top.resume(),
        }
    }
    fn finish(&mut self) -> fluvial_memory::Result<Progress> {
        match self {
            Self::All(sort) => sort.finish(),
            Self::Top(top) => top.finish(),
        }
    }
    fn into_runs(self) -> fluvial_memory::Result<SortedRuns> {
        match self {
            Self::All(sort) => sort.into_runs(),
            Self::Top(top) => top.into_runs(),
        }
    }
}

impl<F: RowFormat> SortOperator<F> {
    pub(crate) fn open(format: F, plan: SortPlan, context: &TaskContext) -> Result<Self> {
        let reservation = sort_reservation(context, least::SORT)?;
        let options = SortOptions { shape: format.shape(), schema: format.schema() };
        let waker = Some(context.waker.clone());
        let sorter = match plan.limit {
            Some(k) => Sorter::Top(Box::new(TopK::new(&reservation, &context.spill, options, k, waker)?)),
            None => Sorter::All(Box::new(ExternalSort::new(&reservation, &context.spill, options, waker)?)),
        };
        let shared = match plan.per_worker {
            true => Arc::new(Shared::new(1)),
            false => context.shared(|| Shared::new(context.local_workers)),
        };
        Ok(Self {
            rows: RowBatch::new(format.shape()),
            format,
            plan,
            reservation,
            stage: Stage::Sorting(sorter),
            shared,
            waker: context.waker.clone(),
            metrics: context.metrics.clone(),
        })
    }

    /// Hands in what this worker sorted. The last one cuts the order into ranges and wakes the others.
    fn hand_in(&mut self) -> Result<()> {
        let Stage::Sorting(sorter) = std::mem::replace(&mut self.stage, Stage::Merging(None)) else { return Ok(()) };
        let runs = sorter.into_runs()?;
        let mut state = self.shared.lock();
        state.runs.push(runs);
        state.sorting -= 1;
        if state.sorting == 0 {
            let set = SortedSet::new(std::mem::take(&mut state.runs));
            state.ranges = match self.plan.limit {
                Some(_) => vec![KeyRange::ALL],
                None => set.ranges(RANGE_BYTES),
            };
            if set.rows() == 0 {
                state.ranges.clear();
            }
            state.set = Some(set);
            state.waiting.drain(..).for_each(|wake| wake());
        }
        Ok(())
    }

    /// The next range that nobody has taken; `Waiting` while others sort, `Done` when there is none.
    fn next_range(&mut self) -> std::result::Result<Merging, Progress> {
        let mut state = self.shared.lock();
        let Some(set) = state.set.clone() else {
            state.waiting.push(self.waker.clone());
            return Err(Progress::Waiting);
        };
        let Some(range) = state.ranges.get(state.next).copied() else {
            if state.next == state.ranges.len() {
                // Once, for all workers.
                state.next += 1;
                let stats = set.stats();
                self.metrics.merge_passes.fetch_add(stats.merges, Relaxed);
            }
            return Err(Progress::Done);
        };
        let number = state.next as u64;
        state.next += 1;
        drop(state);
        let reader = set.merge(range, &self.reservation, Some(self.waker.clone()));
        Ok(Merging { reader, range: number, sequence: 0, left: self.plan.limit.unwrap_or(u64::MAX) })
    }

    /// Gives some rows of the range in hand.
    fn merge(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let Stage::Merging(current) = &mut self.stage else { return Ok(Progress::Done) };
        let Some(merging) = current else { return Ok(Progress::More) };
        self.rows.clear();
        let rows = merging.left.min(OUTPUT_ROWS as u64) as usize;
        let progress = merging.reader.pull(&mut self.rows, rows, OUTPUT_BYTES)?;
        merging.left -= self.rows.len() as u64;
        let last = progress == Progress::Done || merging.left == 0;
        if !self.rows.is_empty() || last {
            let mut batch = self.format.decode(&self.rows)?;
            if !self.plan.per_worker {
                batch.position = Some(Position { range: merging.range, sequence: merging.sequence, last });
            }
            merging.sequence += 1;
            out.send(0, batch)?;
        }
        if last {
            *current = None;
            return Ok(Progress::More);
        }
        Ok(progress)
    }
}

impl<F: RowFormat> Operator for SortOperator<F> {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        self.rows.clear();
        self.format.encode(batch, &mut self.rows)?;
        match &mut self.stage {
            Stage::Sorting(sorter) => Ok(sorter.push(&self.rows)?),
            Stage::Merging(_) => unreachable!("records come before the end of the input"),
        }
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        match &mut self.stage {
            Stage::Sorting(sorter) => Ok(sorter.resume()?),
            Stage::Merging(_) => Ok(Progress::Done),
        }
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if let Stage::Sorting(sorter) = &mut self.stage {
            match sorter.finish()? {
                Progress::Done => self.hand_in()?,
                other => return Ok(other),
            }
        }
        loop {
            if matches!(self.stage, Stage::Merging(None)) {
                match self.next_range() {
                    Ok(merging) => self.stage = Stage::Merging(Some(Box::new(merging))),
                    Err(progress) => return Ok(progress),
                }
            }
            let progress = self.merge(out)?;
            if progress == Progress::Waiting || out.congested(0) {
                return Ok(progress);
            }
        }
    }
}
