use super::options::Order;
use super::partitioned::Partitioned;
use super::round::Round;
use super::solution_set::{GROUPS, Shared, SolutionCursor, SolutionSet, missing, partition_of, partitions_of, shared};
use fluvial_core::{
    Batch, BatchStore, Data, LoopState, Operator, Output, Progress, Restored, Result, STORE_SEGMENTS, Snapshot, TaskContext,
};
use fluvial_memory::{NormalizedKey, hash};

/// Inputs: the initial solution, and the delta; others are only watched.
const INITIAL: usize = 0;
/// The result leaves here.
const RESULT: usize = 1;
/// Names of the sections of a snapshot; the worker follows.
const SOLUTION: &str = "solution ";
const CHANGES: &str = "changes ";

/// Keeps the solution set of its worker: takes the initial solution, applies the delta at the end of each superstep, or at once where there
/// are none, and gives the solution in the end.
pub(super) struct Keeper<S, K, F> {
    loop_id: u64,
    key: F,
    round: Round,
    set: Shared<S, K, F>,
    /// Records that change the set when the superstep has ended; before the first, those whose partition is on disk.
    changes: Partitioned<S>,
    /// Of those that are being applied: the ones whose partitions are on disk.
    later: Partitioned<S>,
    scratch: BatchStore,
    cursor: SolutionCursor,
    worker: usize,
    workers: usize,
    bytes: Vec<u8>,
}

impl<S, K, F> Keeper<S, K, F>
where
    S: Data,
    K: NormalizedKey + 'static,
    F: Fn(&S) -> K + Clone + 'static,
{
    /// Segments that it reserves.
    pub(super) const SEGMENTS: usize = SolutionSet::<S, K, F>::SEGMENTS + 2 * Partitioned::<S>::SEGMENTS + STORE_SEGMENTS;

    pub(super) fn open(loop_id: u64, how: (F, Order<S>, bool), context: &TaskContext) -> Result<Self> {
        let (key, order, asynchronous) = how;
        let set = shared(loop_id);
        *set.borrow_mut() = Some(SolutionSet::open(key.clone(), order, context)?);
        Ok(Self {
            loop_id,
            key,
            round: Round::new(asynchronous, true, context),
            set,
            changes: Partitioned::open(context)?,
            later: Partitioned::open(context)?,
            scratch: BatchStore::typed::<S>(context)?,
            cursor: SolutionCursor::default(),
            worker: context.worker,
            workers: context.workers,
            bytes: Vec::new(),
        })
    }

    fn hash(&mut self, record: &S) -> u64 {
        self.bytes.clear();
        (self.key)(record).encode(&mut self.bytes);
        hash::hash_bytes(&self.bytes)
    }

    /// Puts records into the set; those that it has no room for wait until the superstep ends.
    fn put(&mut self, records: Vec<S>) -> Result<()> {
        for record in records {
            let outcome = self.set.borrow_mut().as_mut().ok_or_else(missing)?.put(record, false)?;
            if let Some(record) = outcome {
                let partition = partition_of(self.hash(&record));
                self.changes.push(partition, record)?;
            }
        }
        Ok(())
    }

    /// Applies what has been gathered, for all partitions, or for those whose turn it is in a round: first what is for partitions in memory, then
    /// partition by partition.
    fn apply(&mut self, all: bool) -> Result<()> {
        let Self { key, set, changes, later, bytes, round, .. } = self;
        let mut set = set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        let mut partition = |record: &S| {
            bytes.clear();
            key(record).encode(bytes);
            partition_of(hash::hash_bytes(bytes))
        };
        for group in (0..GROUPS).filter(|group| !changes.is_empty(*group)).collect::<Vec<_>>() {
            if !all && !round.takes(group, set.is_resident(group)) {
                continue;
            }
            set.relieve()?;
            changes.drain(group, |records| {
                for record in records {
                    if let Some(record) = set.put(record, false)? {
                        later.push(partition(&record), record)?;
                    }
                }
                Ok(())
            })?;
            if later.is_empty(group) {
                continue;
            }
            for at in partitions_of(group) {
                set.make_resident(at)?;
                later.visit(group, |records| {
                    records
                        .into_iter()
                        .filter(|record| partition(record) == at)
                        .try_for_each(|record| set.put(record, true).map(drop))
                })?;
            }
            later.clear(group);
        }
        Ok(())
    }
}

impl<S, K, F> Operator for Keeper<S, K, F>
where
    S: Data,
    K: NormalizedKey + 'static,
    F: Fn(&S) -> K + Clone + 'static,
{
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        let records = batch.typed_records::<S>()?;
        self.round.comes(&self.set)?;
        if input == INITIAL || self.round.is_asynchronous() {
            self.put(records)?;
        } else {
            for record in records {
                let partition = partition_of(self.hash(&record));
                self.changes.push(partition, record)?;
            }
        }
        self.changes.resume()
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.changes.resume()
    }

    fn end_input(&mut self, input: usize, _out: &mut dyn Output) -> Result<Progress> {
        if input == INITIAL {
            self.apply(true)?;
            self.set.borrow_mut().as_mut().ok_or_else(missing)?.complete();
        }
        Ok(Progress::Done)
    }

    fn end_superstep(&mut self, _superstep: u64, _out: &mut dyn Output) -> Result<Progress> {
        if self.round.ends(&self.set, &self.changes)? {
            self.apply(false)?;
            self.round.is_over(&self.changes);
        }
        Ok(Progress::Done)
    }

    fn has_background_work(&self) -> bool {
        self.round.is_asynchronous() && self.changes.len() > 0
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        // Where no superstep has run, nobody has.
        self.apply(true)?;
        let mut set = self.set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        while let Some(records) = set.take_batch(&mut self.cursor)? {
            out.send(RESULT, Batch::typed(records))?;
            if out.congested(RESULT) {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let mut set = self.set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        let mut sections = set.snapshot(&format!("{SOLUTION}{}", self.worker), &mut self.scratch)?;
        sections.extend(self.changes.snapshot(&format!("{CHANGES}{}", self.worker))?);
        Ok(Snapshot { sections, ..Snapshot::default() })
    }

    /// Every instance sees the sections of all former ones, and takes the records of its keys.
    fn restore(&mut self, state: Restored) -> Result<()> {
        for name in [SOLUTION, CHANGES] {
            for section in state.sections.iter().filter(|section| section.name.starts_with(name)) {
                for batch in self.scratch.batches_of(section)? {
                    let mut records = batch.typed_records::<S>()?;
                    records.retain(|record| hash::target(self.hash(record), self.workers) == self.worker);
                    self.put(records)?;
                }
            }
            self.apply(true)?;
        }
        Ok(())
    }
}

impl<S, K, F> Drop for Keeper<S, K, F> {
    /// The memory goes with the job, though the loop's state may be looked at once more.
    fn drop(&mut self) {
        if let Ok(mut set) = self.set.try_borrow_mut() {
            *set = None;
        }
        if self.round.is_asynchronous() {
            LoopState::forget(self.loop_id);
        }
    }
}
