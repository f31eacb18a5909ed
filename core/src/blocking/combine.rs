use super::{OUTPUT_ROWS, least};
use crate::chain::{Collector, Context};
use crate::graph::TaskContext;
use crate::stream::{Accumulate, Data, KeySelector};
use crate::{Batch, Position, Progress, Result};
use fluvial_memory::{KeyWidth, RowBatch, hash::hash_bytes};
use fluvial_operators::aggregate::{Combine, CombineOptions};
use std::marker::PhantomData;

/// Bytes of partial states that are gathered before they are offered to the combiner.
const GATHER_BYTES: usize = 64 << 10;

/// The end of a chain in front of a keyed aggregation: merges the records of equal keys before they cross workers.
pub(crate) struct CombineSink<T, S, A> {
    selector: S,
    accumulate: A,
    combine: Combine<A>,
    key: Vec<u8>,
    /// Partial states of single records, where states have no fixed width.
    gathered: RowBatch,
    fixed: bool,
    ended: bool,
    record: PhantomData<fn(T)>,
}

impl<T: Data, S: KeySelector<T>, A: Accumulate<T>> CombineSink<T, S, A> {
    pub(crate) fn open(selector: S, accumulate: A, context: &TaskContext) -> Result<Self> {
        let reservation = context.reserve(least::COMBINE)?;
        let width = S::WIDTH.map_or(KeyWidth::Variable, KeyWidth::Fixed);
        let combine = Combine::new(reservation, width, accumulate.clone(), CombineOptions::default());
        let gathered = RowBatch::new(combine.shape());
        let fixed = accumulate.width().is_some();
        Ok(Self { selector, accumulate, combine, key: Vec::new(), gathered, fixed, ended: false, record: PhantomData })
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
        self.key.clear();
        self.selector.encode(&record, &mut self.key);
        let hash = hash_bytes(&self.key);
        if self.fixed {
            let accumulate = &self.accumulate;
            let mut outcome = Ok(());
            let more = self.combine.add(&self.key, hash, |state| outcome = accumulate.add(record, state));
            if let Err(error) = outcome {
                context.fail(error);
            }
            if more != Progress::Done {
                self.drain(context);
            }
        } else {
            let accumulate = &self.accumulate;
            if let Err(error) = self.gathered.push_keyed(&self.key, hash, |out| accumulate.lift(record, out)) {
                context.fail(error.into());
            }
            if self.gathered.byte_len() >= GATHER_BYTES {
                self.push_gathered(context);
            }
        }
    }

    fn end_batch(&mut self, _position: Option<Position>, _context: &mut Context<'_>) {}

    fn finish(&mut self, context: &mut Context<'_>) -> Progress {
        if !self.ended {
            if !self.gathered.is_empty() {
                self.push_gathered(context);
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
