use super::partitioned::Partitioned;
use super::round::Round;
use super::solution_set::{Found, GROUPS, Shared, missing, partition_of, partitions_of, shared};
use fluvial_core::{Batch, Data, Operator, Output, Progress, Result, TaskContext};
use fluvial_memory::NormalizedKey;
use fluvial_memory::hash::hash_bytes;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;

/// Records of a batch of results.
const BATCH: usize = 1024;

/// Groups the records of a superstep by key and gives each group with the solution set's record of the key. The groups are made
/// when the superstep has ended, partition by partition of the solution set: one partition's records are in memory at a time. In a loop without
/// supersteps a group is of what has come so far.
pub(super) struct CoGroup<S, K, F, W, G, J, O> {
    key: G,
    set: Shared<S, K, F>,
    round: Round,
    f: J,
    waiting: Partitioned<W>,
    results: Vec<O>,
    bytes: Vec<u8>,
    /// The next partition to be grouped.
    at: usize,
    types: PhantomData<fn() -> S>,
}

impl<S, K, F, W, G, J, O> CoGroup<S, K, F, W, G, J, O>
where
    S: Data,
    K: NormalizedKey + 'static,
    F: Fn(&S) -> K + 'static,
    W: Data,
    G: Fn(&W) -> K,
    J: FnMut(&K, Vec<W>, Option<&S>, &mut Vec<O>),
    O: Data,
{
    pub(super) fn open(loop_id: u64, (_, key): (F, G), f: J, asynchronous: bool, context: &TaskContext) -> Result<Self> {
        Ok(Self {
            key,
            set: shared(loop_id),
            round: Round::new(asynchronous, false, context),
            f,
            waiting: Partitioned::open(context)?,
            results: Vec::new(),
            bytes: Vec::new(),
            at: GROUPS,
            types: PhantomData,
        })
    }

    /// Groups what waits for these partitions.
    fn group_some(&mut self, group: usize, partitions: Range<usize>, out: &mut dyn Output) -> Result<()> {
        let Self { key, set, f, waiting, results, bytes, .. } = self;
        let mut set = set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        if partitions.len() == 1 {
            set.make_resident(partitions.start)?;
        }
        let mut groups: BTreeMap<Vec<u8>, Vec<W>> = BTreeMap::new();
        waiting.visit(group, |records| {
            for record in records {
                bytes.clear();
                key(&record).encode(bytes);
                if !partitions.contains(&partition_of(hash_bytes(bytes))) {
                    continue;
                }
                match groups.get_mut(bytes.as_slice()) {
                    Some(group) => group.push(record),
                    None => drop(groups.insert(bytes.clone(), vec![record])),
                }
            }
            Ok(())
        })?;
        for (key, records) in groups {
            let typed = K::decode(&mut key.as_slice())?;
            if let Found::Here(found) = set.get(&key, hash_bytes(&key)) {
                f(&typed, records, found, results);
            }
            if results.len() >= BATCH {
                out.send(0, Batch::typed(std::mem::take(results)))?;
            }
        }
        Ok(())
    }

    fn group(&mut self, out: &mut dyn Output) -> Result<Progress> {
        while self.at < GROUPS {
            let group = self.at;
            self.at += 1;
            let resident = self.set.borrow().as_ref().ok_or_else(missing)?.is_resident(group);
            if self.waiting.is_empty(group) || !self.round.takes(group, resident) {
                continue;
            }
            // All partitions of the group at once, or one after the other.
            let turns = if resident { vec![partitions_of(group)] } else { partitions_of(group).map(|p| p..p + 1).collect() };
            for partitions in turns {
                self.group_some(group, partitions, out)?;
            }
            self.waiting.clear(group);
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
        if !self.results.is_empty() {
            out.send(0, Batch::typed(std::mem::take(&mut self.results)))?;
        }
        self.round.is_over(&self.waiting);
        Ok(Progress::Done)
    }
}

impl<S, K, F, W, G, J, O> Operator for CoGroup<S, K, F, W, G, J, O>
where
    S: Data,
    K: NormalizedKey + 'static,
    F: Fn(&S) -> K + 'static,
    W: Data,
    G: Fn(&W) -> K,
    J: FnMut(&K, Vec<W>, Option<&S>, &mut Vec<O>),
    O: Data,
{
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        self.round.comes(&self.set)?;
        for record in batch.typed_records::<W>()? {
            self.bytes.clear();
            (self.key)(&record).encode(&mut self.bytes);
            self.waiting.push(partition_of(hash_bytes(&self.bytes)), record)?;
        }
        self.waiting.resume()
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        match self.waiting.resume()? {
            Progress::Done => self.group(out),
            other => Ok(other),
        }
    }

    fn end_superstep(&mut self, _superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        if !self.round.ends(&self.set, &self.waiting)? {
            return Ok(Progress::Done);
        }
        self.at = 0;
        self.group(out)
    }

    fn has_background_work(&self) -> bool {
        self.round.is_asynchronous() && self.waiting.len() > 0
    }
}
