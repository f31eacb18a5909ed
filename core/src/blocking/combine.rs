use super::{OUTPUT_ROWS, least};
use crate::chain::{Collector, Context};
use crate::graph::TaskContext;
use crate::stream::{Accumulate, Data, KeySelector};
use crate::{Batch, Position, Progress, Result};
use fluvial_memory::hash::{hash_bytes, hash_word};
use fluvial_memory::{KeyWidth, RowBatch};
use fluvial_operators::aggregate::{Combine, CombineOptions};

/// Bytes of partial states that are gathered before they are offered to the combiner.
const GATHER_BYTES: usize = 64 << 10;
/// Records that are looked up together: the slots of all of them are on their way to the cache by then.
const BLOCK: usize = 64;
/// Records between the fetch of a row and its use.
const AHEAD: usize = 8;

/// The end of a chain in front of a keyed aggregation: merges the records of equal keys before they cross workers.
pub(crate) struct CombineSink<T, S, A> {
    selector: S,
    accumulate: A,
    combine: Combine<A>,
    waiting: Waiting<T>,
    /// Partial states of single records, where states have no fixed width.
    gathered: RowBatch,
    fixed: bool,
    ended: bool,
}

/// Records on their way into the combiner, with their keys. Most of the time of a combiner with more groups than fit in the
/// cache is the latency of two loads a record, its slot and its row; a word count over 200,000 words spent three quarters
/// of its time there. Waiting for each other, the loads of many records overlap.
struct Waiting<T> {
    records: Vec<T>,
    keys: Vec<u8>,
    /// Where each key ends in `keys`.
    ends: Vec<usize>,
    hashes: Vec<u64>,
    /// Instead of the three above, the keys of records that are to be staged.
    words: Vec<[u8; 8]>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { records: Vec::new(), keys: Vec::new(), ends: Vec::new(), hashes: Vec::new(), words: Vec::new() }
    }
}

impl<T> Waiting<T> {
    fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
        self.ends.clear();
        self.hashes.clear();
        self.words.clear();
    }
}

impl<T: Data, S: KeySelector<T>, A: Accumulate<T>> CombineSink<T, S, A> {
    pub(crate) fn open(selector: S, accumulate: A, context: &TaskContext) -> Result<Self> {
        let reservation = context.reserve(least::COMBINE)?;
        let width = S::WIDTH.map_or(KeyWidth::Variable, KeyWidth::Fixed);
        let mut options = CombineOptions::default();
        options.stages = true;
        let combine = Combine::new(reservation, width, accumulate.clone(), options);
        let gathered = RowBatch::new(combine.shape());
        let fixed = accumulate.width().is_some();
        Ok(Self { selector, accumulate, combine, waiting: Waiting::default(), gathered, fixed, ended: false })
    }

    /// Sends what the combiner gives up; all of it before more records can be pushed.
    fn drain(&mut self, context: &mut Context<'_>) {
        let mut more = Progress::More;
        while more == Progress::More && !context.failed() {
            more = self.pull(context);
        }
    }

    fn pull(&mut self, context: &mut Context<'_>) -> Progress {
        let mut out = RowBatch::new(self.combine.shape());
        let more = self.combine.pull(&mut out, OUTPUT_ROWS);
        if !out.is_empty()
            && let Err(error) = context.out.send(0, Batch::rows(out))
        {
            context.fail(error);
        }
        more
    }

    /// Merges the waiting records into the states of their keys.
    fn push_waiting(&mut self, context: &mut Context<'_>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        if !waiting.words.is_empty() {
            for (word, record) in waiting.words.drain(..).zip(waiting.records.drain(..)) {
                self.stage(word, record, context);
            }
            self.waiting = waiting;
            return;
        }
        waiting.hashes.iter().take(AHEAD).for_each(|&hash| self.combine.prefetch_row(hash));
        let mut start = 0;
        for (i, record) in waiting.records.drain(..).enumerate() {
            if let Some(&ahead) = waiting.hashes.get(i + AHEAD) {
                self.combine.prefetch_row(ahead);
            }
            let end = waiting.ends[i];
            self.merge(&waiting.keys[start..end], waiting.hashes[i], record, context);
            start = end;
        }
        waiting.clear();
        self.waiting = waiting;
    }

    /// Merges a record into the state of its key.
    #[inline]
    fn merge(&mut self, key: &[u8], hash: u64, record: T, context: &mut Context<'_>) {
        let Self { combine, accumulate, .. } = self;
        let mut outcome = Ok(());
        let more = combine.add(key, hash, |state| outcome = accumulate.add(record, state));
        if let Err(error) = outcome {
            context.fail(error);
        }
        if more != Progress::Done {
            self.drain(context);
        }
    }

    /// As [`CombineSink::merge`], where the combiner stages records.
    #[inline]
    fn stage(&mut self, key: [u8; 8], record: T, context: &mut Context<'_>) {
        match self.combine.stage(&key) {
            Some(state) => {
                if let Err(error) = self.accumulate.add(record, state) {
                    context.fail(error);
                }
            }
            None => self.stage_slowly(key, record, context),
        }
    }

    #[inline(never)]
    fn stage_slowly(&mut self, key: [u8; 8], record: T, context: &mut Context<'_>) {
        match self.combine.make_room(&key) {
            Ok(Progress::Done) => {}
            Ok(_) => self.drain(context),
            Err(error) => return context.fail(error.into()),
        }
        let Some(state) = self.combine.stage(&key) else {
            return self.merge(&key, hash_word(key), record, context);
        };
        if let Err(error) = self.accumulate.add(record, state) {
            context.fail(error);
        }
    }

    fn push_gathered(&mut self, context: &mut Context<'_>) {
        match self.combine.push(&self.gathered) {
            Ok(Progress::Done) => {}
            Ok(_) => self.drain(context),
            Err(error) => context.fail(error.into()),
        }
        self.gathered.clear();
    }
}

impl<T: Data, S: KeySelector<T>, A: Accumulate<T>> Collector<T> for CombineSink<T, S, A> {
    #[inline]
    fn push(&mut self, record: T, context: &mut Context<'_>) {
        let Waiting { records, keys, ends, hashes, words } = &mut self.waiting;
        let start = keys.len();
        self.selector.encode(&record, keys);
        if self.fixed
            && records.len() == words.len()
            && self.combine.is_staging()
            && let Some(word) = keys.first_chunk::<8>().copied()
        {
            keys.clear();
            if !self.combine.prefetch_staged(&word) {
                return self.stage(word, record, context);
            }
            words.push(word);
            records.push(record);
            if words.len() == BLOCK {
                self.push_waiting(context);
            }
            return;
        }
        let hash = hash_bytes(&keys[start..]);
        if self.fixed {
            self.combine.prefetch_slot(hash);
            records.push(record);
            ends.push(keys.len());
            hashes.push(hash);
            if records.len() == BLOCK {
                self.push_waiting(context);
            }
        } else {
            let accumulate = &self.accumulate;
            if let Err(error) = self.gathered.push_keyed(keys, hash, |out| accumulate.lift(record, out)) {
                context.fail(error.into());
            }
            keys.clear();
            if self.gathered.byte_len() >= GATHER_BYTES {
                self.push_gathered(context);
            }
        }
    }

    fn end_batch(&mut self, _position: Option<Position>, context: &mut Context<'_>) {
        self.push_waiting(context);
    }

    fn end_superstep(&mut self, context: &mut Context<'_>) -> Progress {
        let progress = self.finish(context);
        if progress == Progress::Done {
            self.ended = false;
        }
        progress
    }

    fn finish(&mut self, context: &mut Context<'_>) -> Progress {
        if !self.ended {
            self.push_waiting(context);
            if !self.gathered.is_empty() {
                self.push_gathered(context);
            }
            if let Err(error) = self.combine.settle() {
                context.fail(error.into());
            }
            self.combine.end();
            self.ended = true;
        }
        loop {
            let more = self.pull(context);
            if more == Progress::Done || context.failed() {
                return Progress::Done;
            }
            if context.out.congested(0) {
                return Progress::More;
            }
        }
    }
}
