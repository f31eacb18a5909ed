use super::{OUTPUT_ROWS, least};
use crate::graph::TaskContext;
use crate::{Batch, Error, Operator, Output, Progress, Records, Result};
use fluvial_memory::{KeyWidth, RowBatch};
use fluvial_operators::aggregate::{Aggregation, HashAggregate, HashAggregateOptions};

/// Final aggregation: partial states in, one result a key out.
pub(crate) struct AggregateOperator<A, F> {
    aggregate: HashAggregate<A>,
    finish: F,
    out: RowBatch,
    /// What is given if there is no group at all.
    if_empty: Option<Batch>,
    /// Whether it can begin again: what is given if there is no group at all is given once.
    again: bool,
    ended: bool,
}

impl<A: Aggregation, F: FnMut(&RowBatch) -> Result<Batch>> AggregateOperator<A, F> {
    /// `finish` makes the results of rows `[key][state]`.
    pub(crate) fn open(key: KeyWidth, aggregation: A, finish: F, context: &TaskContext) -> Result<Self> {
        let reservation = context.reserve(least::AGGREGATE)?;
        let options = HashAggregateOptions::default();
        let waker = Some(context.waker.clone());
        let aggregate = HashAggregate::new(reservation, context.spill.clone(), key, aggregation, options, waker)?;
        let out = RowBatch::new(aggregate.shape());
        Ok(Self { aggregate, finish, out, if_empty: None, again: true, ended: false })
    }

    /// Gives this batch if there is no group at all.
    pub(crate) fn or_if_empty(mut self, batch: Option<Batch>) -> Self {
        self.again = batch.is_none();
        self.if_empty = batch;
        self
    }
}

impl<A: Aggregation + 'static, F: FnMut(&RowBatch) -> Result<Batch> + 'static> Operator for AggregateOperator<A, F> {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        match batch.records {
            Records::Rows(rows) => Ok(self.aggregate.push(&rows)?),
            other => Err(Error::Plan(format!("expected serialized rows, got {other:?}"))),
        }
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        Ok(self.aggregate.resume()?)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if !self.ended {
            self.ended = true;
            self.aggregate.end()?;
        }
        loop {
            let progress = self.aggregate.pull(&mut self.out, OUTPUT_ROWS)?;
            if !self.out.is_empty() {
                self.if_empty = None;
                out.send(0, (self.finish)(&self.out)?)?;
            }
            if progress == Progress::Done
                && let Some(batch) = self.if_empty.take()
            {
                out.send(0, batch)?;
            }
            if progress != Progress::More || out.congested(0) {
                return Ok(progress);
            }
        }
    }

    fn begin_again(&mut self, constant: &[bool]) -> Result<bool> {
        let again = self.again && !constant.contains(&true) && self.aggregate.begin_again();
        self.ended &= !again;
        Ok(again)
    }
}
