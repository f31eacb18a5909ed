use super::partitioned::Partitioned;
use super::round::Round;
use super::solution_set::{Found, GROUPS, Shared, missing, partition_of, partitions_of, shared};
use fluvial_core::{Batch, Data, Operator, Output, Progress, Result, TaskContext};
use fluvial_memory::NormalizedKey;
use fluvial_memory::hash::hash_bytes;
use std::marker::PhantomData;

/// Records of a batch of results.
const BATCH: usize = 1024;
/// Records between the fetch of a slot of the index and its use.
const AHEAD: usize = 16;

/// Joins records with those of their keys in the solution set. What meets a partition that is on disk waits for the end of the
/// superstep, when such partitions are brought back one after the other; in a loop without supersteps, for the end of the round, as does
/// what comes before the initial solution is there.
pub(super) struct Probe<S, K, F, W, G, J, O> {
    key: G,
    set: Shared<S, K, F>,
    round: Round,
    f: J,
    late: Option<Partitioned<W>>,
    results: Vec<O>,
    /// Normalized keys of a batch with their ends, and their hashes.
    keys: Vec<u8>,
    ends: Vec<usize>,
    hashes: Vec<u64>,
    at: usize,
    types: PhantomData<fn() -> S>,
}

impl<S, K, F, W, G, J, O, I> Probe<S, K, F, W, G, J, O>
where
    S: Data,
    K: NormalizedKey + 'static,
    F: Fn(&S) -> K + 'static,
    W: Data,
    G: Fn(&W) -> K,
    J: FnMut(W, Option<&S>) -> I,
    I: IntoIterator<Item = O>,
    O: Data,
{
    pub(super) fn open(loop_id: u64, (_, key): (F, G), f: J, asynchronous: bool, context: &TaskContext) -> Result<Self> {
        Ok(Self {
            key,
            set: shared(loop_id),
            round: Round::new(asynchronous, false, context),
            f,
            late: Some(Partitioned::open(context)?),
            results: Vec::new(),
            keys: Vec::new(),
            ends: Vec::new(),
            hashes: Vec::new(),
            at: GROUPS,
            types: PhantomData,
        })
    }

    /// Joins records; those whose partition is on disk wait, and all that come too early.
    fn join(&mut self, records: Vec<W>, early: bool, out: &mut dyn Output) -> Result<()> {
        let Self { key, set, f, late, results, keys, ends, hashes, .. } = self;
        let mut set = set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        keys.clear();
        ends.clear();
        hashes.clear();
        for record in &records {
            let start = keys.len();
            key(record).encode(keys);
            ends.push(keys.len());
            hashes.push(hash_bytes(&keys[start..]));
        }
        let mut start = 0;
        for (i, record) in records.into_iter().enumerate() {
            if let Some(&ahead) = hashes.get(i + AHEAD) {
                set.prefetch(ahead);
            }
            let (key, hash) = (&keys[start..ends[i]], hashes[i]);
            start = ends[i];
            match if early { Found::OnDisk } else { set.get(key, hash) } {
                Found::Here(found) => results.extend(f(record, found)),
                Found::OnDisk => late.as_mut().ok_or_else(missing)?.push(partition_of(hash), record)?,
            }
            if results.len() >= BATCH {
                out.send(0, Batch::typed(std::mem::take(results)))?;
            }
        }
        Ok(())
    }

    fn partition(&mut self, record: &W) -> usize {
        self.keys.clear();
        (self.key)(record).encode(&mut self.keys);
        partition_of(hash_bytes(&self.keys))
    }

    fn flush(&mut self, out: &mut dyn Output) -> Result<()> {
        if self.results.is_empty() { Ok(()) } else { out.send(0, Batch::typed(std::mem::take(&mut self.results))) }
    }

    /// Joins what waits for partitions on disk, from the group at hand on.
    fn join_late(&mut self, out: &mut dyn Output) -> Result<Progress> {
        while self.at < GROUPS {
            let group = self.at;
            self.at += 1;
            let resident = self.set.borrow().as_ref().ok_or_else(missing)?.is_resident(group);
            if self.late.as_ref().is_none_or(|late| late.is_empty(group)) || !self.round.takes(group, resident) {
                continue;
            }
            // A partition that has been brought back stays while it is looked at, so nothing of it is late again.
            let mut late = self.late.take().ok_or_else(missing)?;
            for partition in partitions_of(group) {
                self.set.borrow_mut().as_mut().ok_or_else(missing)?.make_resident(partition)?;
                late.visit(group, |mut records| {
                    records.retain(|record| self.partition(record) == partition);
                    self.join(records, false, out)
                })?;
            }
            late.clear(group);
            self.late = Some(late);
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
        self.flush(out)?;
        self.late.iter().for_each(|late| self.round.is_over(late));
        Ok(Progress::Done)
    }
}

impl<S, K, F, W, G, J, O, I> Operator for Probe<S, K, F, W, G, J, O>
where
    S: Data,
    K: NormalizedKey + 'static,
    F: Fn(&S) -> K + 'static,
    W: Data,
    G: Fn(&W) -> K,
    J: FnMut(W, Option<&S>) -> I,
    I: IntoIterator<Item = O>,
    O: Data,
{
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let early = self.round.comes(&self.set)?;
        self.join(batch.typed_records::<W>()?, early, out)?;
        self.late.as_mut().map_or(Ok(Progress::Done), Partitioned::resume)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        match self.late.as_mut().map_or(Ok(Progress::Done), Partitioned::resume)? {
            Progress::Done => self.join_late(out),
            other => Ok(other),
        }
    }

    fn end_superstep(&mut self, _superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        let late = self.late.as_ref().ok_or_else(missing)?;
        if !self.round.ends(&self.set, late)? {
            return Ok(Progress::Done);
        }
        self.at = 0;
        self.join_late(out)
    }

    fn has_background_work(&self) -> bool {
        self.round.is_asynchronous() && self.late.as_ref().is_some_and(|late| late.len() > 0)
    }
}
