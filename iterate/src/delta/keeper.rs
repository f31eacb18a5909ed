use super::partitioned::Partitioned;
use super::solution_set::{PARTITIONS, Shared, SolutionCursor, SolutionSet, missing, partition_of, shared};
use fluvial_core::{Batch, BatchStore, Data, Operator, Output, Progress, Restored, Result, STORE_SEGMENTS, Snapshot, TaskContext};
use fluvial_memory::{NormalizedKey, hash};

/// Inputs: the initial solution, and the delta; others are only watched.
const INITIAL: usize = 0;
/// The result leaves here.
const RESULT: usize = 1;
/// Names of the sections of a snapshot; the worker follows.
const SOLUTION: &str = "solution ";
const CHANGES: &str = "changes ";

/// Keeps the solution set of its worker: takes the initial solution, applies the delta at the end of each superstep, and
/// gives the solution in the end.
pub(super) struct Keeper<S, K, F> {
    key: F,
    set: Shared<S, K, F>,
    /// Records that change the set when the superstep has ended; before the first, those whose partition is on disk.
    changes: Partitioned<S>,
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
    pub(super) const SEGMENTS: usize = SolutionSet::<S, K, F>::SEGMENTS + Partitioned::<S>::SEGMENTS + STORE_SEGMENTS;

    pub(super) fn open(loop_id: u64, key: F, context: &TaskContext) -> Result<Self> {
        let set = shared(loop_id);
        *set.borrow_mut() = Some(SolutionSet::open(key.clone(), context)?);
        Ok(Self {
            key,
            set,
            changes: Partitioned::open(context)?,
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
            let outcome = self.set.borrow_mut().as_mut().ok_or_else(missing)?.put(record)?;
            if let Some(record) = outcome {
                let partition = partition_of(self.hash(&record));
                self.changes.push(partition, record)?;
            }
        }
        Ok(())
    }

    /// Applies what has been gathered, the partitions in memory first.
    fn apply(&mut self) -> Result<()> {
        let Self { set, changes, .. } = self;
        let mut set = set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        let (resident, cold): (Vec<_>, Vec<_>) =
            (0..PARTITIONS).filter(|p| !changes.is_empty(*p)).partition(|p| set.is_resident(*p));
        for partition in resident.into_iter().chain(cold) {
            changes.drain(partition, |records| {
                for record in records {
                    let mut record = Some(record);
                    while let Some(again) = record {
                        set.make_resident(partition)?;
                        record = set.put(again)?;
                    }
                }
                Ok(())
            })?;
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
        if input == INITIAL {
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
            self.apply()?;
        }
        Ok(Progress::Done)
    }

    fn end_superstep(&mut self, _superstep: u64, _out: &mut dyn Output) -> Result<Progress> {
        self.apply()?;
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        // Where no superstep has run, nobody has.
        self.apply()?;
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
            self.apply()?;
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
    }
}
