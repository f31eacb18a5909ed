use super::state::LoopState;
use crate::codec::RecordCodec;
use crate::{Aggregator, Error, Result};
use std::any::Any;
use std::marker::PhantomData;

/// An aggregator of a loop: what the operations of a superstep add to it on all workers is one value, which all workers see in the
/// superstep after it. A handle for functions to capture.
pub struct Aggregate<X, A> {
    loop_id: u64,
    index: usize,
    aggregator: A,
    added: PhantomData<fn(X)>,
}

impl<X, A: Clone> Clone for Aggregate<X, A> {
    fn clone(&self) -> Self {
        Self { loop_id: self.loop_id, index: self.index, aggregator: self.aggregator.clone(), added: PhantomData }
    }
}

impl<X: 'static, A: Aggregator<X>> Aggregate<X, A> {
    pub(super) fn new(loop_id: u64, index: usize, aggregator: A) -> Self {
        Self { loop_id, index, aggregator, added: PhantomData }
    }

    /// Its place among the aggregators of the loop.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Adds to the value of the running superstep. Only what operations add that lead to the step's result is sure to count in
    /// the superstep in which they do.
    #[inline]
    pub fn add(&self, value: X) {
        let state = LoopState::of(self.loop_id);
        state.update(self.index, || self.aggregator.create(), |part: &mut A::Accumulator| self.aggregator.add(part, value));
    }

    /// The value of the last superstep, the same on all workers; `None` in the first.
    pub fn last(&self) -> Option<A::Output> {
        LoopState::of(self.loop_id).last(self.index)
    }
}

/// An aggregator whose types are known to itself only.
pub(crate) trait ErasedAggregate: Send + Sync {
    /// A worker's part of a superstep as bytes.
    ///
    /// # Errors
    /// An accumulator that its type's serde implementation cannot serialize.
    fn encode(&self, part: Option<Box<dyn Any>>) -> Result<Vec<u8>>;

    /// The value of the parts of all workers, in their order.
    ///
    /// # Errors
    /// Bytes that are no part.
    fn merge(&self, parts: &[&[u8]]) -> Result<Box<dyn Any>>;

    /// A value as bytes, and back.
    ///
    /// # Errors
    /// A value that its type's serde implementation cannot serialize.
    fn store(&self, value: &dyn Any) -> Result<Vec<u8>>;

    /// The value that [`ErasedAggregate::store`] made bytes of.
    ///
    /// # Errors
    /// Bytes that are no value.
    fn load(&self, bytes: &[u8]) -> Result<Box<dyn Any>>;

    /// The value as a number, if it is one, for people to see it converge.
    fn number(&self, value: &dyn Any) -> Option<f64>;
}

pub(super) struct Erased<X, A: Aggregator<X>> {
    aggregator: A,
    parts: RecordCodec<A::Accumulator>,
    values: RecordCodec<A::Output>,
}

impl<X, A: Aggregator<X>> Erased<X, A> {
    pub(super) fn new(aggregator: A) -> Self {
        Self { aggregator, parts: RecordCodec::new(), values: RecordCodec::new() }
    }
}

fn wrong() -> Error {
    Error::Plan("an aggregator of a loop holds a value of another type".into())
}

impl<X: 'static, A: Aggregator<X>> ErasedAggregate for Erased<X, A> {
    fn encode(&self, part: Option<Box<dyn Any>>) -> Result<Vec<u8>> {
        let Some(part) = part else { return Ok(Vec::new()) };
        let part = part.downcast::<A::Accumulator>().map_err(|_| wrong())?;
        // So that a part of no bytes is not taken for none.
        let mut bytes = vec![1];
        self.parts.encode(&part, &mut bytes)?;
        Ok(bytes)
    }

    fn merge(&self, parts: &[&[u8]]) -> Result<Box<dyn Any>> {
        let mut whole = self.aggregator.create();
        for part in parts.iter().filter_map(|part| part.split_first()) {
            self.aggregator.merge(&mut whole, self.parts.decode(part.1)?);
        }
        Ok(Box::new(self.aggregator.finish(whole)))
    }

    fn store(&self, value: &dyn Any) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.values.encode(value.downcast_ref().ok_or_else(wrong)?, &mut bytes)?;
        Ok(bytes)
    }

    fn load(&self, bytes: &[u8]) -> Result<Box<dyn Any>> {
        Ok(Box::new(self.values.decode(bytes)?))
    }

    fn number(&self, value: &dyn Any) -> Option<f64> {
        let value = value.downcast_ref::<A::Output>()? as &dyn Any;
        let whole = |n: Option<&u64>| n.map(|n| *n as f64);
        let signed = |n: Option<&i64>| n.map(|n| *n as f64);
        value.downcast_ref::<f64>().copied().or_else(|| whole(value.downcast_ref())).or_else(|| signed(value.downcast_ref()))
    }
}
