use super::connected::two_inputs;
use super::outputs::Outputs;
use super::plain::{PlainHandler, PlainRuntime, PlainTask, ProcessContext, each};
use crate::graph::Distribution;
use crate::state::{BroadcastState, BroadcastWriter, OperatorState};
use crate::stream::{Data, DataStream};
use crate::{Batch, Output, Result};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A function over the records of a stream and those of a second one, of which every worker gets all: rules, limits,
/// settings that change while the job runs. It keeps them in [`BroadcastState`], which it reads with every record and
/// writes with broadcast records alone.
///
/// ```
/// use fluvial_core::*;
///
/// /// Passes on what no broadcast record has banned so far.
/// struct Allowed {
///     banned: BroadcastState<u64, ()>,
/// }
/// impl BroadcastProcessFunction<u64, u64> for Allowed {
///     type Output = u64;
///     fn process(&mut self, number: u64, context: &mut ProcessContext<'_, u64>) -> Result<()> {
///         if !self.banned.contains(&number) {
///             context.emit(number);
///         }
///         Ok(())
///     }
///     fn process_broadcast(&mut self, banned: u64, context: &mut BroadcastContext<'_, u64>) -> Result<()> {
///         context.write(&self.banned).insert(banned, ());
///         Ok(())
///     }
/// }
///
/// let env = Env::default();
/// let numbers = env.sequence(0..10).connect_broadcast(&env.from_collection([3u64, 77]));
/// let allowed = numbers.process(|state| Ok(Allowed { banned: state.broadcast("banned")? }));
/// assert!((9..=10).contains(&allowed.count()?)); // The 3 may have come before it was banned.
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait BroadcastProcessFunction<T, B>: 'static {
    /// What it emits.
    type Output: Data;

    /// Takes a record of the main stream.
    ///
    /// # Errors
    /// The first error fails the job and names the operator.
    fn process(&mut self, record: T, context: &mut ProcessContext<'_, Self::Output>) -> Result<()>;

    /// Takes a broadcast record. Every instance takes it, so what is emitted here is emitted by each.
    ///
    /// # Errors
    /// As for `process`.
    fn process_broadcast(&mut self, record: B, context: &mut BroadcastContext<'_, Self::Output>) -> Result<()>;
}

/// What a function may do with a broadcast record in hand: what it may with any, and write to broadcast state.
pub struct BroadcastContext<'a, U> {
    context: ProcessContext<'a, U>,
}

impl<U: Data> BroadcastContext<'_, U> {
    /// Access to broadcast state that writes.
    pub fn write<'s, K: Data + Ord, V: Data>(&self, state: &'s BroadcastState<K, V>) -> BroadcastWriter<'s, K, V> {
        state.writer()
    }
}

impl<'a, U> Deref for BroadcastContext<'a, U> {
    type Target = ProcessContext<'a, U>;
    fn deref(&self) -> &ProcessContext<'a, U> {
        &self.context
    }
}

impl<U> DerefMut for BroadcastContext<'_, U> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.context
    }
}

/// A stream and a broadcast one that one operation takes: see [`DataStream::connect_broadcast`].
#[must_use = "nothing happens before a function is given"]
pub struct ConnectedBroadcast<T, B> {
    stream: DataStream<T>,
    broadcast: DataStream<B>,
}

impl<T: Data> DataStream<T> {
    /// This stream and another one of which every worker gets all records as they come, for functions whose behaviour the
    /// other stream changes while the job runs. Nothing waits: for a small stream that must be there as a whole before the
    /// first record see [`DataStream::with_broadcast`].
    pub fn connect_broadcast<B: Data>(&self, broadcast: &DataStream<B>) -> ConnectedBroadcast<T, B> {
        ConnectedBroadcast { stream: self.clone(), broadcast: broadcast.clone() }
    }
}

impl<T: Data, B: Data> ConnectedBroadcast<T, B> {
    /// Gives the records of both streams to a function. `make` is called once a worker, with the state from which the function
    /// takes its handles.
    pub fn process<F: BroadcastProcessFunction<T, B>>(
        &self,
        make: impl Fn(&mut OperatorState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let factory = PlainTask::factory(move |state| Ok(WithRules { function: make(state)?, records: PhantomData::<fn(T, B)> }));
        let distributions = (self.stream.distribution.clone(), Distribution::Broadcast);
        two_inputs("broadcast_process", &self.stream, &self.broadcast, distributions, factory)
    }
}

/// Runs a [`BroadcastProcessFunction`].
struct WithRules<T, B, F> {
    function: F,
    records: PhantomData<fn(T, B)>,
}

impl<T: Data, B: Data, F: BroadcastProcessFunction<T, B>> PlainHandler for WithRules<T, B, F> {
    type Output = F::Output;

    fn batch(
        &mut self,
        input: usize,
        mut batch: Batch,
        runtime: &PlainRuntime,
        outputs: &mut Outputs<F::Output>,
        out: &mut dyn Output,
    ) -> Result<()> {
        if input == 0 {
            return each(batch, runtime, outputs, out, |record: T, context| self.function.process(record, context));
        }
        let times = batch.event_times.take();
        for (i, record) in batch.typed_records::<B>()?.into_iter().enumerate() {
            let time = times.as_ref().map_or(i64::MIN, |times| times[i]);
            let context = ProcessContext::new(runtime, outputs, time);
            self.function.process_broadcast(record, &mut BroadcastContext { context })?;
            outputs.send_full(out)?;
        }
        Ok(())
    }
}
