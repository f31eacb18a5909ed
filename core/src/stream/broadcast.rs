//! Operations that see a second, small stream whole: broadcast variables and the cross product.

use super::group::{UnitKey, unit_key};
use super::{Data, DataStream, Emitter};
use crate::blocking::{CrossOperator, Shelf, TypedRows, least};
use crate::chain::{BoxCollector, Context, TypedPort};
use crate::graph::{Body, Distribution, OperatorFactory, Piecewise, TaskContext, Timing};
use crate::{Batch, Operator, Output, Progress, Result};
use fluvial_operators::JoinedBatch;
use std::borrow::Cow;
use std::sync::Arc;

/// The place of the small stream among the inputs.
const SMALL: usize = 1;

/// A stream beside a small one that every worker has whole: see [`DataStream::with_broadcast`].
#[must_use = "nothing happens before a function is given"]
pub struct WithBroadcast<T, B> {
    stream: DataStream<T>,
    small: DataStream<B>,
}

impl<T: Data> DataStream<T> {
    /// The functions given next see all records of `small` beside each record, as a slice in no particular order. It is kept in
    /// ordinary memory on every worker, so it must be small. Records that come before it is complete wait, on disk if they are
    /// many.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let prices = env.from_collection([3u64, 8, 12]);
    /// let limits = env.from_collection([10u64, 5]);
    /// let below = prices.with_broadcast(&limits).map(|p, limits| limits.iter().filter(|l| p < **l).count() as u64);
    /// let mut below = below.collect()?;
    /// below.sort();
    /// assert_eq!(below, [0, 1, 2]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn with_broadcast<B: Data>(&self, small: &DataStream<B>) -> WithBroadcast<T, B> {
        WithBroadcast { stream: self.clone(), small: small.clone() }
    }

    /// Every record beside every record of `right`, which each worker keeps whole, on disk if it is large.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let products = env.sequence(1..=3).cross(&env.sequence(1..=2), |a, b| a * b);
    /// assert_eq!(products.collect()?.iter().sum::<u64>(), 18);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn cross<R: Data, O: Data>(
        &self,
        right: &DataStream<R>,
        f: impl Fn(T, R) -> O + Clone + Send + Sync + 'static,
    ) -> DataStream<O> {
        let make: OperatorFactory = Arc::new(move |context| {
            let f = f.clone();
            let make = move |joined: &JoinedBatch, left: &TypedRows<T, UnitKey<T>>, right: &TypedRows<R, UnitKey<R>>| {
                let pair = |i| Ok(f(left.value(joined.left.payload(i))?, right.value(joined.right.payload(i))?));
                Ok(Batch::typed((0..joined.len()).map(pair).collect::<Result<Vec<O>>>()?))
            };
            let (left, right) = (TypedRows::new(unit_key()), TypedRows::new(unit_key()));
            let operator: Box<dyn Operator> = Box::new(CrossOperator::open(left, right, make, context)?);
            Ok(operator)
        });
        let crossed = self.beside(right, "cross", least::CROSS, Timing::AtTheEnd, make);
        // Pairs are pairs, whichever side comes in parts.
        crossed.env.graph().nodes[crossed.node].piecewise = Piecewise::OneInput(&[true, true]);
        crossed
    }

    /// An operator on this stream and a second one that every worker receives whole.
    fn beside<B: Data, U: Data>(
        &self,
        small: &DataStream<B>,
        kind: &'static str,
        memory: usize,
        timing: Timing,
        make: OperatorFactory,
    ) -> DataStream<U> {
        let mut node = self.after(kind, String::new(), Body::Operator(make)).reserves(memory).timing(timing);
        // Each record is looked at with all of the small side.
        node.piecewise = Piecewise::OneInput(&[true, false]);
        node.inputs.push(small.input_by(Distribution::Broadcast));
        node.build_input = Some(SMALL);
        node.bounded &= small.known().0;
        node.estimate = None;
        DataStream::new(&self.env, self.env.add(node))
    }
}

impl<T: Data, B: Data> WithBroadcast<T, B> {
    /// One record out for each record in; see [`DataStream::with_broadcast`].
    pub fn map<U: Data>(self, f: impl FnMut(T, &[B]) -> U + Clone + Send + Sync + 'static) -> DataStream<U> {
        let mut f = f;
        self.run("map", move |record, small, out| out.push(f(record.into_owned(), small)))
    }

    /// As [`WithBroadcast::map`], with a function that only looks at the record. In the step of an iteration, records from outside
    /// the loop are then not copied superstep by superstep; it matters where they are large, as vectors are.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let documents = env.from_collection([vec![1u64, 4], vec![2, 2, 3]]);
    /// let rare = env.from_collection([2u64, 4]);
    /// let found = documents.with_broadcast(&rare).map_ref(|words, rare| words.iter().filter(|w| rare.contains(w)).count() as u64);
    /// assert_eq!(found.collect()?.iter().sum::<u64>(), 3);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn map_ref<U: Data>(self, f: impl FnMut(&T, &[B]) -> U + Clone + Send + Sync + 'static) -> DataStream<U> {
        let mut f = f;
        self.run("map", move |record, small, out| out.push(f(&record, small)))
    }

    /// The records for which `keep` is true.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let banned = env.from_collection([2u64, 3]);
    /// assert_eq!(env.sequence(0..5).with_broadcast(&banned).filter(|n, banned| !banned.contains(n)).count()?, 3);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn filter(self, keep: impl FnMut(&T, &[B]) -> bool + Clone + Send + Sync + 'static) -> DataStream<T> {
        let mut keep = keep;
        self.run("filter", move |record, small, out| {
            if keep(&record, small) {
                out.push(record.into_owned());
            }
        })
    }

    /// Any number of records out for each record in, as an iterator.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let factors = env.from_collection([10u64, 100]);
    /// let scaled = env.sequence(1..=3).with_broadcast(&factors).flat_map(|n, factors| factors.iter().map(|f| n * f).collect::<Vec<_>>());
    /// assert_eq!(scaled.collect()?.iter().sum::<u64>(), 660);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(
        self,
        f: impl FnMut(T, &[B]) -> I + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let mut f = f;
        self.run("flat_map", move |record, small, out| f(record.into_owned(), small).into_iter().for_each(|r| out.push(r)))
    }

    /// As [`WithBroadcast::flat_map`], with a function that only looks at the record: see [`WithBroadcast::map_ref`].
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let factors = env.from_collection([10u64, 100]);
    /// let pairs = env.from_collection([[1u64, 2], [3, 4]]);
    /// let scaled = pairs.with_broadcast(&factors).flat_map_ref(|pair, factors| [pair[0] * factors[0], pair[1] * factors[1]]);
    /// assert_eq!(scaled.count()?, 4);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn flat_map_ref<U: Data, I: IntoIterator<Item = U>>(
        self,
        f: impl FnMut(&T, &[B]) -> I + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let mut f = f;
        self.run("flat_map", move |record, small, out| f(&record, small).into_iter().for_each(|r| out.push(r)))
    }

    fn run<U: Data>(
        self,
        kind: &'static str,
        f: impl FnMut(Cow<'_, T>, &[B], &mut Emitter<'_, '_, U>) + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let make: OperatorFactory = Arc::new(move |context| {
            let operator: Box<dyn Operator> = Box::new(Beside::<T, B, U, _>::open(f.clone(), context)?);
            Ok(operator)
        });
        self.stream.beside(&self.small, kind, least::GROUPING, Timing::AsTheyCome, make)
    }
}

struct Beside<T: Data, B, U, F> {
    /// Records that came too early; none once they have had their turn.
    early: Option<Shelf<TypedRows<T, UnitKey<T>>>>,
    complete: bool,
    /// The last watermark, and what it was when the first of the early records came.
    watermark: i64,
    held: Option<i64>,
    small: Vec<B>,
    f: F,
    port: BoxCollector<U>,
}

impl<T: Data, B: Data, U: Data, F: FnMut(Cow<'_, T>, &[B], &mut Emitter<'_, '_, U>)> Beside<T, B, U, F> {
    fn open(f: F, context: &TaskContext) -> Result<Self> {
        let early = Some(Shelf::open(TypedRows::new(unit_key()), context)?);
        let port = Box::new(TypedPort::new(0));
        Ok(Self { early, complete: false, watermark: i64::MIN, held: None, small: Vec::new(), f, port })
    }

    fn take(&mut self, mut batch: Batch, out: &mut dyn Output) -> Result<()> {
        let mut context = Context::new(out);
        let (position, times) = (batch.position, batch.event_times.take());
        context.position = position;
        for (i, record) in batch.typed_records::<T>()?.into_iter().enumerate() {
            context.time = times.as_ref().map_or(i64::MIN, |t| t[i]);
            (self.f)(Cow::Owned(record), &self.small, &mut Emitter::new(&mut self.port, &mut context));
        }
        self.port.end_batch(position, &mut context);
        context.check()
    }

    /// As [`Beside::take`], of a batch that stays where it is.
    fn look_at(&mut self, batch: &Batch, out: &mut dyn Output) -> Result<()> {
        let mut context = Context::new(out);
        context.position = batch.position;
        for (i, record) in batch.typed_slice::<T>()?.iter().enumerate() {
            context.time = batch.event_times.as_ref().map_or(i64::MIN, |t| t[i]);
            (self.f)(Cow::Borrowed(record), &self.small, &mut Emitter::new(&mut self.port, &mut context));
        }
        self.port.end_batch(batch.position, &mut context);
        context.check()
    }

    /// Gives the early records their turn.
    fn catch_up(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let Some(early) = &mut self.early else { return Ok(Progress::Done) };
        let progress = early.close()?;
        if progress != Progress::Done {
            return Ok(progress);
        }
        while let Some(batch) = self.early.as_mut().map_or(Ok(None), Shelf::take)? {
            self.take(batch, out)?;
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
        (self.early, self.held) = (None, None);
        Ok(Progress::Done)
    }
}

impl<T: Data, B: Data, U: Data, F: FnMut(Cow<'_, T>, &[B], &mut Emitter<'_, '_, U>)> Operator for Beside<T, B, U, F> {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        if input == SMALL {
            self.small.extend(batch.typed_records::<B>()?);
            return Ok(Progress::Done);
        }
        match &mut self.early {
            Some(early) => {
                self.held.get_or_insert(self.watermark);
                early.push(batch)
            }
            None => self.take(batch, out).map(|()| Progress::Done),
        }
    }

    fn replay(&mut self, input: usize, batch: &Batch, out: &mut dyn Output) -> Result<Progress> {
        if input == SMALL || self.early.is_some() {
            return self.process(input, batch.duplicate(), out);
        }
        self.look_at(batch, out).map(|()| Progress::Done)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        match &mut self.early {
            Some(early) if !self.complete => early.resume(),
            _ => self.catch_up(out),
        }
    }

    fn on_watermark(&mut self, watermark: i64, _out: &mut dyn Output) -> Result<Progress> {
        self.watermark = watermark;
        Ok(Progress::Done)
    }

    fn held_watermark(&self) -> i64 {
        self.held.unwrap_or(i64::MAX)
    }

    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        if input != SMALL {
            return Ok(Progress::Done);
        }
        self.complete = true;
        self.catch_up(out)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.catch_up(out)
    }
}
