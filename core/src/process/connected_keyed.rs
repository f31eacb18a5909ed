use super::connected::{co_flat_map, co_map, two_inputs};
use super::keyed::{KeyedContext, of_keys};
use super::outputs::Outputs;
use super::task::{KeyedHandler, KeyedRuntime, KeyedTask, Timer};
use crate::graph::OperatorFactory;
use crate::state::KeyedState;
use crate::stream::{Data, DataStream, KeySelector, KeyedStream};
use crate::{Batch, Output, Result};
use std::marker::PhantomData;
use std::sync::Arc;

/// A function over the records of two keyed streams with the same kind of key: the records of one key, of either stream,
/// meet at the state and the timers of the key.
///
/// ```
/// use fluvial_core::*;
///
/// /// Names the orders of customers; orders that come before their customer's name wait for it.
/// struct Names {
///     name: ValueState<String>,
///     waiting: ListState<u64>,
/// }
/// impl KeyedCoProcessFunction<u32, (u32, u64), (u32, String)> for Names {
///     type Output = (u64, String);
///     fn process_first(&mut self, (_, order): (u32, u64), context: &mut KeyedContext<'_, u32, Self::Output>) -> Result<()> {
///         match self.name.get() {
///             Some(name) => context.emit((order, name)),
///             None => self.waiting.add(order),
///         }
///         Ok(())
///     }
///     fn process_second(&mut self, (_, name): (u32, String), context: &mut KeyedContext<'_, u32, Self::Output>) -> Result<()> {
///         self.waiting.take().into_iter().for_each(|order| context.emit((order, name.clone())));
///         self.name.set(name);
///         Ok(())
///     }
/// }
///
/// let env = Env::default();
/// let orders = env.from_collection([(1u32, 100u64), (2, 101), (1, 102)]);
/// let customers = env.from_collection([(1u32, "Ann".to_string()), (3, "Cy".to_string())]);
/// let named = orders.key_by(|o| o.0).connect(&customers.key_by(|c| c.0)).process(|state| {
///     Ok(Names { name: state.value("name")?, waiting: state.list("waiting")? })
/// });
/// let mut named = named.collect()?;
/// named.sort();
/// assert_eq!(named, [(100, "Ann".to_string()), (102, "Ann".to_string())]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait KeyedCoProcessFunction<K, A, B>: 'static {
    /// What it emits.
    type Output: Data;

    /// Takes a record of the first stream.
    ///
    /// # Errors
    /// The first error fails the job and names the operator.
    fn process_first(&mut self, record: A, context: &mut KeyedContext<'_, K, Self::Output>) -> Result<()>;

    /// Takes a record of the second stream.
    ///
    /// # Errors
    /// As for the first.
    fn process_second(&mut self, record: B, context: &mut KeyedContext<'_, K, Self::Output>) -> Result<()>;

    /// A timer of a key fires; state and context are those of the key.
    ///
    /// # Errors
    /// As for `process_first`.
    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, K, Self::Output>) -> Result<()> {
        let _ = (timer, context);
        Ok(())
    }
}

/// Two keyed streams that one operation takes: see [`KeyedStream::connect`].
#[must_use = "nothing happens before a function is given"]
pub struct ConnectedKeyed<A, S, B, R> {
    first: KeyedStream<A, S>,
    second: KeyedStream<B, R>,
}

impl<A: Data, S: KeySelector<A>> KeyedStream<A, S> {
    /// This stream and another one with the same kind of key, for an operation that takes both: records of the same key come
    /// to the same worker.
    pub fn connect<B: Data, R: KeySelector<B, Key = S::Key>>(&self, other: &KeyedStream<B, R>) -> ConnectedKeyed<A, S, B, R> {
        ConnectedKeyed { first: self.clone(), second: other.clone() }
    }
}

impl<A: Data, S: KeySelector<A>, B: Data, R: KeySelector<B, Key = S::Key>> ConnectedKeyed<A, S, B, R> {
    /// Gives the records of each key, in the order in which they come, to a function with state and timers. `make` is called
    /// once a worker, with the state from which the function takes its handles.
    pub fn process<F: KeyedCoProcessFunction<S::Key, A, B>>(
        &self,
        make: impl Fn(&mut KeyedState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let selectors = (self.first.selector.clone(), self.second.selector.clone());
        let factory: OperatorFactory = Arc::new(move |context| {
            let (first, second) = selectors.clone();
            let task = KeyedTask::new(context, |state| {
                Ok(TwoInputs { first, second, function: make(state)?, records: PhantomData::<fn(A, B)> })
            });
            Ok(Box::new(task?))
        });
        self.operator("co_process", factory)
    }

    /// One record out for each record in, by a function for each stream.
    pub fn map<U: Data>(
        &self,
        first: impl FnMut(A) -> U + Clone + Send + Sync + 'static,
        second: impl FnMut(B) -> U + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.operator("co_map", co_map(first, second))
    }

    /// Any number of records out for each record in, as an iterator, by a function for each stream.
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>, J: IntoIterator<Item = U>>(
        &self,
        first: impl FnMut(A) -> I + Clone + Send + Sync + 'static,
        second: impl FnMut(B) -> J + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.operator("co_flat_map", co_flat_map(first, second))
    }

    /// Adds an operator that gets the records of its keys, of both streams.
    pub(crate) fn operator<U: Data>(&self, kind: &'static str, make: OperatorFactory) -> DataStream<U> {
        let distributions = (self.first.by_key_group(), self.second.by_key_group());
        two_inputs(kind, &self.first.stream, &self.second.stream, distributions, of_keys::<S::Key>(make))
    }
}

/// Runs a [`KeyedCoProcessFunction`].
struct TwoInputs<A, S, B, R, F> {
    first: S,
    second: R,
    function: F,
    records: PhantomData<fn(A, B)>,
}

impl<A, S, B, R, F> KeyedHandler for TwoInputs<A, S, B, R, F>
where
    A: Data,
    S: KeySelector<A>,
    B: Data,
    R: KeySelector<B, Key = S::Key>,
    F: KeyedCoProcessFunction<S::Key, A, B>,
{
    type Output = F::Output;

    fn batch(
        &mut self,
        input: usize,
        batch: Batch,
        runtime: &mut KeyedRuntime,
        outputs: &mut Outputs<F::Output>,
        out: &mut dyn Output,
    ) -> Result<()> {
        let Self { first, second, function, .. } = self;
        match input {
            0 => runtime.each(batch, first, |runtime, record: A, time| {
                function.process_first(record, &mut KeyedContext::new(runtime, outputs, time))?;
                outputs.send_full(out)
            }),
            _ => runtime.each(batch, second, |runtime, record: B, time| {
                function.process_second(record, &mut KeyedContext::new(runtime, outputs, time))?;
                outputs.send_full(out)
            }),
        }
    }

    fn timer(&mut self, timer: Timer, runtime: &mut KeyedRuntime, outputs: &mut Outputs<F::Output>) -> Result<()> {
        self.function.on_timer(timer, &mut KeyedContext::of_timer(runtime, outputs, timer))
    }
}
