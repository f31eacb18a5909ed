//! What a window keeps of its records: one accumulator, or all of them.

use super::evictor::{Evictor, EvictorContext};
use super::records::WindowRecords;
use crate::stream::Data;
use crate::{Aggregator, Result};
use std::sync::Arc;

/// How a window keeps its records, and what its function sees of them.
pub(super) trait WindowContents<T, W>: Clone + Send + Sync + 'static {
    /// What is kept.
    type State: Data;
    /// What the function sees.
    type Value: Data;

    fn create(&self) -> Self::State;
    fn add(&self, state: &mut Self::State, record: T, time: i64);
    /// Adds what another window has kept that came after this one.
    fn merge(&self, state: &mut Self::State, other: Self::State);

    /// Gives `f` what the function sees, if the window has any records; `last`: they are not needed afterwards.
    fn fire(
        &self,
        state: &mut Option<Self::State>,
        last: bool,
        context: EvictorContext<'_, W>,
        f: impl FnOnce(Fired<'_, Self::Value>) -> Result<()>,
    ) -> Result<()>;
}

/// What a window's function sees.
pub(super) enum Fired<'a, V> {
    /// The result of an aggregation.
    One(V),
    /// The records.
    All(&'a [V]),
}

/// An aggregation and how its output becomes what the function sees; `None` where there is nothing to see.
pub(super) struct Summing<A, O, R> {
    pub(super) aggregator: A,
    pub(super) unpack: fn(O) -> Option<R>,
}

impl<A: Clone, O, R> Clone for Summing<A, O, R> {
    fn clone(&self) -> Self {
        Self { aggregator: self.aggregator.clone(), unpack: self.unpack }
    }
}

/// An accumulator to which records are added as they come.
pub(super) struct Summed<A, O, R>(pub(super) Summing<A, O, R>);

impl<A: Clone, O, R> Clone for Summed<A, O, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, W, A: Aggregator<T>, R: Data> WindowContents<T, W> for Summed<A, A::Output, R> {
    type State = A::Accumulator;
    type Value = R;

    fn create(&self) -> A::Accumulator {
        self.0.aggregator.create()
    }

    #[inline]
    fn add(&self, state: &mut A::Accumulator, record: T, _time: i64) {
        self.0.aggregator.add(state, record);
    }

    fn merge(&self, state: &mut A::Accumulator, other: A::Accumulator) {
        self.0.aggregator.merge(state, other);
    }

    fn fire(
        &self,
        state: &mut Option<A::Accumulator>,
        last: bool,
        _context: EvictorContext<'_, W>,
        f: impl FnOnce(Fired<'_, R>) -> Result<()>,
    ) -> Result<()> {
        let accumulator = if last { state.take() } else { state.clone() };
        let value = accumulator.and_then(|accumulator| (self.0.unpack)(self.0.aggregator.finish(accumulator)));
        value.map_or(Ok(()), |value| f(Fired::One(value)))
    }
}

/// An evictor, if there is one.
pub(super) type AnyEvictor<T, W> = Option<Arc<dyn Evictor<T, W>>>;

/// All records.
pub(super) struct Listed<T, W> {
    pub(super) evictor: AnyEvictor<T, W>,
}

impl<T, W> Clone for Listed<T, W> {
    fn clone(&self) -> Self {
        Self { evictor: self.evictor.clone() }
    }
}

impl<T: Data, W: 'static> Listed<T, W> {
    /// Shows `f` the records that the evictor leaves before; forgets those that it removes, and the list if it is empty then.
    fn show(
        &self,
        state: &mut Option<WindowRecords<T>>,
        context: EvictorContext<'_, W>,
        f: impl FnOnce(&WindowRecords<T>) -> Result<()>,
    ) -> Result<()>
    where
        W: Clone,
    {
        let Some(records) = state else { return Ok(()) };
        let Some(evictor) = &self.evictor else { return f(records) };
        evictor.evict_before(records, context);
        f(records)?;
        evictor.evict_after(records, context);
        if records.is_empty() {
            *state = None;
        }
        Ok(())
    }
}

impl<T: Data, W: Clone + 'static> WindowContents<T, W> for Listed<T, W> {
    type State = WindowRecords<T>;
    type Value = T;

    fn create(&self) -> WindowRecords<T> {
        WindowRecords::default()
    }

    #[inline]
    fn add(&self, state: &mut WindowRecords<T>, record: T, time: i64) {
        state.push(record, time);
    }

    fn merge(&self, state: &mut WindowRecords<T>, other: WindowRecords<T>) {
        state.append(other);
    }

    fn fire(
        &self,
        state: &mut Option<WindowRecords<T>>,
        _last: bool,
        context: EvictorContext<'_, W>,
        f: impl FnOnce(Fired<'_, T>) -> Result<()>,
    ) -> Result<()> {
        self.show(state, context, |records| f(Fired::All(records.records())))
    }
}

/// All records, which are added to an accumulator when the window fires: where an evictor, or a fold in windows that merge,
/// needs them until then.
pub(super) struct Gathered<T, W, A, O, R> {
    pub(super) list: Listed<T, W>,
    pub(super) summing: Summing<A, O, R>,
}

impl<T, W, A: Clone, O, R> Clone for Gathered<T, W, A, O, R> {
    fn clone(&self) -> Self {
        Self { list: self.list.clone(), summing: self.summing.clone() }
    }
}

impl<T: Data, W: Clone + 'static, A: Aggregator<T>, R: Data> WindowContents<T, W> for Gathered<T, W, A, A::Output, R> {
    type State = WindowRecords<T>;
    type Value = R;

    fn create(&self) -> WindowRecords<T> {
        WindowRecords::default()
    }

    #[inline]
    fn add(&self, state: &mut WindowRecords<T>, record: T, time: i64) {
        state.push(record, time);
    }

    fn merge(&self, state: &mut WindowRecords<T>, other: WindowRecords<T>) {
        state.append(other);
    }

    fn fire(
        &self,
        state: &mut Option<WindowRecords<T>>,
        _last: bool,
        context: EvictorContext<'_, W>,
        f: impl FnOnce(Fired<'_, R>) -> Result<()>,
    ) -> Result<()> {
        self.list.show(state, context, |records| {
            let Summing { aggregator, unpack } = &self.summing;
            let mut accumulator = aggregator.create();
            records.records().iter().for_each(|record| aggregator.add(&mut accumulator, record.clone()));
            unpack(aggregator.finish(accumulator)).map_or(Ok(()), |value| f(Fired::One(value)))
        })
    }
}

/// A reduction as an aggregator: no result without records.
#[derive(Clone)]
pub(super) struct Reduce<F>(pub(super) F);

impl<T: Data, F: Fn(T, T) -> T + Clone + Send + Sync + 'static> Aggregator<T> for Reduce<F> {
    type Accumulator = Option<T>;
    type Output = Option<T>;

    fn create(&self) -> Option<T> {
        None
    }

    #[inline]
    fn add(&self, accumulator: &mut Option<T>, record: T) {
        *accumulator = Some(match accumulator.take() {
            Some(before) => (self.0)(before, record),
            None => record,
        });
    }

    fn merge(&self, accumulator: &mut Option<T>, other: Option<T>) {
        if let Some(other) = other {
            self.add(accumulator, other);
        }
    }

    fn finish(&self, accumulator: Option<T>) -> Option<T> {
        accumulator
    }
}

/// A fold as an aggregator, for windows that are not put together from parts.
#[derive(Clone)]
pub(super) struct Fold<A, F> {
    pub(super) initial: A,
    pub(super) f: F,
}

impl<T, A: Data, F: Fn(&mut A, T) + Clone + Send + Sync + 'static> Aggregator<T> for Fold<A, F> {
    type Accumulator = A;
    type Output = A;

    fn create(&self) -> A {
        self.initial.clone()
    }

    #[inline]
    fn add(&self, accumulator: &mut A, record: T) {
        (self.f)(accumulator, record);
    }

    fn merge(&self, _accumulator: &mut A, _other: A) {
        unreachable!("a fold is never given to an operator that merges")
    }

    fn finish(&self, accumulator: A) -> A {
        accumulator
    }
}
