use super::connected::two_inputs;
use super::keyed::{KeyedContext, of_keys};
use super::outputs::Outputs;
use super::side::OutputTag;
use super::task::{KeyedHandler, KeyedRuntime, KeyedTask, Timer};
use crate::graph::{Distribution, OperatorFactory};
use crate::state::{BroadcastState, BroadcastWriter, KeyedState, OperatorState};
use crate::stream::{Data, DataStream, KeySelector, KeyedStream};
use crate::{Batch, Output, Result};
use fluvial_memory::NormalizedKey;
use std::marker::PhantomData;
use std::sync::Arc;

/// A function over the records of a keyed stream, with state and timers of each key, and over those of a second stream, of
/// which every worker gets all: rules that change while the job runs.
///
/// ```
/// use fluvial_core::*;
///
/// /// Says which customers have spent more than the limit, which may change; they are told once a limit.
/// struct Limit {
///     limit: BroadcastState<(), u64>,
///     spent: ValueState<u64>,
/// }
/// impl KeyedBroadcastProcessFunction<u32, (u32, u64), u64> for Limit {
///     type Output = (u32, u64);
///     fn process(&mut self, (_, amount): (u32, u64), context: &mut KeyedContext<'_, u32, (u32, u64)>) -> Result<()> {
///         let before = self.spent.get().unwrap_or(0);
///         self.spent.set(before + amount);
///         if let Some(limit) = self.limit.get(&())
///             && (before..before + amount).contains(&limit)
///         {
///             context.emit((context.key(), limit));
///         }
///         Ok(())
///     }
///     fn process_broadcast(&mut self, limit: u64, context: &mut KeyedBroadcastContext<'_, u32, (u32, u64)>) -> Result<()> {
///         context.write(&self.limit).insert((), limit);
///         context.for_each_key(|key| {
///             if self.spent.get().is_some_and(|spent| spent > limit) {
///                 key.emit((key.key(), limit));
///             }
///             Ok(())
///         })
///     }
/// }
///
/// let env = Env::default();
/// let purchases = env.from_collection([(1u32, 30), (2, 5), (1, 90)]).key_by(|p| p.0);
/// let over = purchases.connect_broadcast(&env.from_collection([100u64])).process(|keyed, state| {
///     Ok(Limit { limit: state.broadcast("limit")?, spent: keyed.value("spent")? })
/// });
/// assert_eq!(over.collect()?, [(1, 100)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait KeyedBroadcastProcessFunction<K, T, B>: 'static {
    /// What it emits.
    type Output: Data;

    /// Takes a record of the keyed stream.
    ///
    /// # Errors
    /// The first error fails the job and names the operator.
    fn process(&mut self, record: T, context: &mut KeyedContext<'_, K, Self::Output>) -> Result<()>;

    /// Takes a broadcast record. Every instance takes it, each with its own keys; there is no current key.
    ///
    /// # Errors
    /// As for `process`.
    fn process_broadcast(&mut self, record: B, context: &mut KeyedBroadcastContext<'_, K, Self::Output>) -> Result<()>;

    /// A timer of a key fires; state and context are those of the key.
    ///
    /// # Errors
    /// As for `process`.
    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, K, Self::Output>) -> Result<()> {
        let _ = (timer, context);
        Ok(())
    }
}

/// What a keyed function may know and do while it has a broadcast record in hand.
pub struct KeyedBroadcastContext<'a, K, U> {
    runtime: &'a mut KeyedRuntime,
    outputs: &'a mut Outputs<U>,
    out: &'a mut dyn Output,
    /// Event time of the record in hand; `i64::MIN` where there is none.
    time: i64,
    key: PhantomData<fn() -> K>,
}

impl<K: NormalizedKey, U: Data> KeyedBroadcastContext<'_, K, U> {
    /// Event time of the record in hand, milliseconds UTC.
    pub fn time(&self) -> Option<i64> {
        (self.time != i64::MIN).then_some(self.time)
    }

    /// The operator's watermark: only records later than it follow. `i64::MIN` at first.
    pub fn watermark(&self) -> i64 {
        self.runtime.watermark
    }

    /// The clock's time, milliseconds UTC.
    pub fn processing_time(&self) -> i64 {
        self.runtime.clock.now()
    }

    /// Emits a record, with the event time of the record in hand. Every instance does.
    pub fn emit(&mut self, record: U) {
        self.outputs.push(record, self.time);
    }

    /// Emits a record with an event time of its own. Every instance does.
    pub fn emit_at(&mut self, record: U, time: i64) {
        self.outputs.push(record, time);
    }

    /// Emits a record on a side output. Every instance does.
    pub fn side<V: Data>(&mut self, tag: &OutputTag<V>, record: V) {
        self.outputs.push_side(tag, record, self.time);
    }

    /// Access to broadcast state that writes.
    pub fn write<'s, BK: Data + Ord, V: Data>(&self, state: &'s BroadcastState<BK, V>) -> BroadcastWriter<'s, BK, V> {
        state.writer()
    }

    /// Calls a function for each key of this instance that has any state, in the order of the keys. While it runs, handles look
    /// at that key's state, and the context is the key's: it can set timers, and what it emits has the event time of the
    /// broadcast record.
    ///
    /// The keys are copied first, so `f` may change any state.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn for_each_key(&mut self, mut f: impl FnMut(&mut KeyedContext<'_, K, U>) -> Result<()>) -> Result<()> {
        for key in self.runtime.state.keys()? {
            self.runtime.state.current().set(key.as_slice());
            f(&mut KeyedContext::new(self.runtime, self.outputs, self.time))?;
            self.outputs.send_full(self.out)?;
        }
        self.runtime.state.current().set(&[]);
        Ok(())
    }
}

/// A keyed stream and a broadcast one that one operation takes: see [`KeyedStream::connect_broadcast`].
#[must_use = "nothing happens before a function is given"]
pub struct ConnectedKeyedBroadcast<T, S, B> {
    keyed: KeyedStream<T, S>,
    broadcast: DataStream<B>,
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// This stream and another one of which every worker gets all records as they come.
    pub fn connect_broadcast<B: Data>(&self, broadcast: &DataStream<B>) -> ConnectedKeyedBroadcast<T, S, B> {
        ConnectedKeyedBroadcast { keyed: self.clone(), broadcast: broadcast.clone() }
    }
}

impl<T: Data, S: KeySelector<T>, B: Data> ConnectedKeyedBroadcast<T, S, B> {
    /// Gives the records of both streams to a function. `make` is called once a worker, with the state from which the function
    /// takes its handles: that of keys, and that of the instance, broadcast state among it.
    pub fn process<F: KeyedBroadcastProcessFunction<S::Key, T, B>>(
        &self,
        make: impl Fn(&mut KeyedState, &mut OperatorState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let selector = self.keyed.selector.clone();
        let factory: OperatorFactory = Arc::new(move |context| {
            let selector = selector.clone();
            let task = KeyedTask::with_operator_state(context, |keyed, state| {
                Ok(KeyedWithRules { selector, function: make(keyed, state)?, records: PhantomData::<fn(T, B)> })
            });
            Ok(Box::new(task?))
        });
        let factory = of_keys::<S::Key>(factory);
        let distributions = (self.keyed.by_key_group(), Distribution::Broadcast);
        two_inputs("broadcast_process", &self.keyed.stream, &self.broadcast, distributions, factory)
    }
}

/// Runs a [`KeyedBroadcastProcessFunction`].
struct KeyedWithRules<T, S, B, F> {
    selector: S,
    function: F,
    records: PhantomData<fn(T, B)>,
}

impl<T, S, B, F> KeyedHandler for KeyedWithRules<T, S, B, F>
where
    T: Data,
    S: KeySelector<T>,
    B: Data,
    F: KeyedBroadcastProcessFunction<S::Key, T, B>,
{
    type Output = F::Output;

    fn batch(
        &mut self,
        input: usize,
        mut batch: Batch,
        runtime: &mut KeyedRuntime,
        outputs: &mut Outputs<F::Output>,
        out: &mut dyn Output,
    ) -> Result<()> {
        let Self { selector, function, .. } = self;
        if input == 0 {
            return runtime.each(batch, selector, |runtime, record: T, time| {
                function.process(record, &mut KeyedContext::new(runtime, outputs, time))?;
                outputs.send_full(out)
            });
        }
        let times = batch.event_times.take();
        for (i, record) in batch.typed_records::<B>()?.into_iter().enumerate() {
            let time = times.as_ref().map_or(i64::MIN, |times| times[i]);
            // No key is current, so that a handle finds nothing here by accident.
            runtime.state.current().set(&[]);
            let mut context = KeyedBroadcastContext { runtime, outputs, out, time, key: PhantomData };
            function.process_broadcast(record, &mut context)?;
            outputs.send_full(out)?;
        }
        Ok(())
    }

    fn timer(&mut self, timer: Timer, runtime: &mut KeyedRuntime, outputs: &mut Outputs<F::Output>) -> Result<()> {
        self.function.on_timer(timer, &mut KeyedContext::of_timer(runtime, outputs, timer))
    }
}
