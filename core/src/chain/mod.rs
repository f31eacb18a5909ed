//! Fusion: record-at-a-time steps become one operator.
//!
//! Each step is a [`Collector`] that owns the next one; a record runs through the whole chain before the next record
//! starts, so what a step makes is consumed while it is in cache and nothing is queued between steps. A chain starts at
//! a source or at the input of an operator ([`ChainOperator`]) and ends in a collector without a successor: an output
//! port, a combiner, a file. A table's chain is the same with a record batch in place of a record.
//!
//! Invariant: after `end_batch` nothing that was pushed is still in the chain, apart from the state of combiners, which
//! `finish` empties.

mod head;
mod links;
mod port;

pub(crate) use head::{ChainOperator, Columns, Typed};
pub(crate) use links::{Link, LinkFn, TryLink};
pub(crate) use port::{BATCH_RECORDS, TablePort, TypedPort};

use crate::{Error, Output, Position, Progress, Result};
use std::any::Any;

/// What a chain may reach while a record runs through it.
pub struct Context<'a> {
    /// Where finished batches go.
    pub(crate) out: &'a mut dyn Output,
    /// Event time of the record in hand, milliseconds UTC; `i64::MIN` where the stream has none.
    pub(crate) time: i64,
    /// Which split of the source the record in hand is of; sources with several say so before they push.
    pub(crate) split: u32,
    /// Where the batch in hand stands in an ordered stream.
    pub(crate) position: Option<Position>,
    /// The first error; what is pushed after it is dropped.
    error: Option<Error>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(out: &'a mut dyn Output) -> Self {
        Self { out, time: i64::MIN, split: 0, position: None, error: None }
    }

    /// Fails the job with the first error that is set.
    pub(crate) fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    pub(crate) fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// What became of the records pushed so far.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }
}

/// A step of a chain that takes records of type `T`.
pub(crate) trait Collector<T> {
    /// Takes a record. Errors go to [`Context::fail`], so that the path of a record carries no result.
    fn push(&mut self, record: T, context: &mut Context<'_>);

    /// The batch that the records came in has ended; `position` is its place in an ordered stream.
    fn end_batch(&mut self, position: Option<Position>, context: &mut Context<'_>);

    /// No more records come. Called again after `More`.
    fn finish(&mut self, context: &mut Context<'_>) -> Progress;

    /// Inside a loop: no more records of this superstep come, and what was gathered of it is to leave. Called again after `More`.
    fn end_superstep(&mut self, context: &mut Context<'_>) -> Progress {
        let _ = context;
        Progress::Done
    }
}

impl<T, C: Collector<T> + ?Sized> Collector<T> for Box<C> {
    #[inline]
    fn push(&mut self, record: T, context: &mut Context<'_>) {
        (**self).push(record, context);
    }
    fn end_batch(&mut self, position: Option<Position>, context: &mut Context<'_>) {
        (**self).end_batch(position, context);
    }
    fn finish(&mut self, context: &mut Context<'_>) -> Progress {
        (**self).finish(context)
    }
    fn end_superstep(&mut self, context: &mut Context<'_>) -> Progress {
        (**self).end_superstep(context)
    }
}

/// A collector of records of `T`.
pub(crate) type BoxCollector<T> = Box<dyn Collector<T>>;

/// A `BoxCollector<T>` whose `T` both neighbours know.
pub(crate) struct AnyCollector(Box<dyn Any>);

impl AnyCollector {
    pub(crate) fn new<T: 'static>(collector: impl Collector<T> + 'static) -> Self {
        let boxed: BoxCollector<T> = Box::new(collector);
        Self(Box::new(boxed))
    }

    /// # Errors
    /// [`Error::Plan`] if the neighbours disagree: a bug in how the graph was built.
    pub(crate) fn into<T: 'static>(self) -> Result<BoxCollector<T>> {
        self.0.downcast::<BoxCollector<T>>().map(|b| *b).map_err(|_| {
            Error::Plan(format!(
                "a step that takes `{}` was chained to one that gives something else",
                std::any::type_name::<T>()
            ))
        })
    }
}
