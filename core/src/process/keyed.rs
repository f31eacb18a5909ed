use super::outputs::Outputs;
use super::side::OutputTag;
use super::task::{KeyedHandler, KeyedRuntime, KeyedTask, TimeDomain, Timer};
use crate::codec::KeyType;
use crate::exchange::TypedByHash;
use crate::graph::{Body, Distribution, OperatorFactory};
use crate::state::KeyedState;
use crate::stream::{Data, DataStream, KeySelector, KeyedStream, short_type_name};
use crate::{Batch, Output, Result};
use fluvial_memory::NormalizedKey;
use std::marker::PhantomData;
use std::sync::Arc;

/// A function over the records of a keyed stream, with state and timers of each key.
///
/// ```
/// use fluvial_core::*;
///
/// /// Says which keys have been silent for a second of event time.
/// struct Silence {
///     last: ValueState<i64>,
/// }
/// impl KeyedProcessFunction<String, (String, i64)> for Silence {
///     type Output = String;
///     fn process(&mut self, record: (String, i64), context: &mut KeyedContext<'_, String, String>) -> Result<()> {
///         self.last.set(record.1);
///         context.set_event_timer(record.1 + 1000);
///         Ok(())
///     }
///     fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, String, String>) -> Result<()> {
///         if self.last.get() == Some(timer.time - 1000) {
///             context.emit(context.key());
///         }
///         Ok(())
///     }
/// }
///
/// let env = Env::default();
/// let readings = [("a", 0), ("b", 100), ("a", 900), ("b", 1000)].map(|(k, t)| (k.to_string(), t));
/// let silent = env
///     .from_collection(readings)
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|r: &(String, i64)| r.1))
///     .key_by_ref(|r| r.0.as_str())
///     .process(|state| Ok(Silence { last: state.value("last")? }));
/// assert_eq!(silent.count()?, 2);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait KeyedProcessFunction<K, T>: 'static {
    /// What it emits.
    type Output: Data;

    /// Takes a record.
    ///
    /// # Errors
    /// The first error fails the job and names the operator.
    fn process(&mut self, record: T, context: &mut KeyedContext<'_, K, Self::Output>) -> Result<()>;

    /// A timer of a key fires; state and context are those of the key.
    ///
    /// # Errors
    /// As for `process`.
    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, K, Self::Output>) -> Result<()> {
        let _ = (timer, context);
        Ok(())
    }
}

/// What a keyed function may know and do while it has a record or a timer in hand.
pub struct KeyedContext<'a, K, U> {
    runtime: &'a mut KeyedRuntime,
    outputs: &'a mut Outputs<U>,
    /// Event time of the record or timer in hand; `i64::MIN` where there is none.
    time: i64,
    key: PhantomData<fn() -> K>,
}

impl<'a, K: NormalizedKey, U: Data> KeyedContext<'a, K, U> {
    pub(crate) fn new(runtime: &'a mut KeyedRuntime, outputs: &'a mut Outputs<U>, time: i64) -> Self {
        Self { runtime, outputs, time, key: PhantomData }
    }

    /// For a timer that fires. What one of processing time gives has no event time.
    pub(crate) fn of_timer(runtime: &'a mut KeyedRuntime, outputs: &'a mut Outputs<U>, timer: Timer) -> Self {
        let time = if timer.domain == TimeDomain::EventTime { timer.time } else { i64::MIN };
        Self::new(runtime, outputs, time)
    }

    /// The key.
    ///
    /// # Panics
    /// Never: the key was encoded by its own type.
    pub fn key(&self) -> K {
        self.runtime.state.current().with(|key| key.decode())
    }

    /// Event time of the record in hand, or of the event-time timer that fires; milliseconds UTC.
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

    /// Emits a record, with the event time of the record or timer in hand ([`KeyedContext::time`]).
    #[inline]
    pub fn emit(&mut self, record: U) {
        self.outputs.push(record, self.time);
    }

    /// Emits a record with an event time of its own.
    #[inline]
    pub fn emit_at(&mut self, record: U, time: i64) {
        self.outputs.push(record, time);
    }

    /// Emits a record on a side output.
    pub fn side<V: Data>(&mut self, tag: &OutputTag<V>, record: V) {
        self.outputs.push_side(tag, record, self.time);
    }

    /// Has `on_timer` called for this key when the watermark reaches `time`; if it has already, at its next advance. Setting
    /// it twice is setting it once.
    ///
    /// At the end of a bounded input the watermark is `i64::MAX`. A function whose timers set others in turn ends that then.
    pub fn set_event_timer(&mut self, time: i64) {
        let KeyedRuntime { state, event_timers, .. } = self.runtime;
        state.current().with(|key| event_timers.set(time, key, ()));
    }

    /// Takes back an event-time timer of this key.
    pub fn delete_event_timer(&mut self, time: i64) {
        let KeyedRuntime { state, event_timers, .. } = self.runtime;
        state.current().with(|key| event_timers.delete(time, key, ()));
    }

    /// Has `on_timer` called for this key when the clock reaches `time`; at the end of a bounded input in any case.
    ///
    /// Processing time ends with the input: a timer that is set while the last ones fire, at the end of a bounded input, never
    /// does.
    pub fn set_processing_timer(&mut self, time: i64) {
        self.runtime.set_processing_timer(time);
    }

    /// Takes back a processing-time timer of this key.
    pub fn delete_processing_timer(&mut self, time: i64) {
        let KeyedRuntime { state, processing_timers, .. } = self.runtime;
        state.current().with(|key| processing_timers.delete(time, key, ()));
    }

    /// Removes all state of this key.
    pub fn clear_state(&mut self) {
        self.runtime.state.clear();
    }
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// Gives the records of each key, in the order in which they come, to a function with state and timers. `make` is called
    /// once a worker, with the state from which the function takes its handles.
    pub fn process<F: KeyedProcessFunction<S::Key, T>>(
        &self,
        make: impl Fn(&mut KeyedState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let selector = self.selector.clone();
        self.keyed_operator("process", move |context| {
            let (selector, make) = (selector.clone(), make.clone());
            KeyedTask::new(context, |state| Ok(OneInput { selector, function: make(state)?, record: PhantomData::<fn(T)> }))
        })
    }

    /// As [`KeyedStream::process`] with a closure in place of a type: for functions without timers.
    pub fn process_with<U: Data, F>(
        &self,
        make: impl Fn(&mut KeyedState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<U>
    where
        F: FnMut(T, &mut KeyedContext<'_, S::Key, U>) -> Result<()> + 'static,
    {
        self.process(move |state| Ok(Closure { f: make(state)?, output: PhantomData::<fn() -> U> }))
    }

    /// Adds an operator that gets the records of its keys.
    pub(crate) fn keyed_operator<U: Data, O: crate::Operator + 'static>(
        &self,
        kind: &'static str,
        make: impl Fn(&crate::graph::TaskContext) -> Result<O> + Send + Sync + 'static,
    ) -> DataStream<U> {
        let make = of_keys::<S::Key>(Arc::new(move |context| Ok(Box::new(make(context)?))));
        let mut node = self.stream.after(kind, String::new(), Body::Operator(make));
        node.inputs[0].distribution = self.by_key_group();
        node.estimate = None;
        DataStream::new(&self.stream.env, self.stream.env.add(node))
    }

    /// Each worker gets the records of the key groups that it owns.
    pub(crate) fn by_key_group(&self) -> Distribution {
        let selector = self.selector.clone();
        Distribution::Hash {
            key: short_type_name::<S::Key>(),
            partitioner: Arc::new(move || Box::new(TypedByHash::<T, S>::new(selector.clone()))),
        }
    }
}

/// The factory of an operator whose state is of keys `K`: what it stores says so.
pub(crate) fn of_keys<K: NormalizedKey>(make: OperatorFactory) -> OperatorFactory {
    Arc::new(move |context| make(&context.clone().with_keys(KeyType::of::<K>())))
}

/// A closure as a function.
struct Closure<F, U> {
    f: F,
    output: PhantomData<fn() -> U>,
}

impl<K, T, U: Data, F> KeyedProcessFunction<K, T> for Closure<F, U>
where
    K: 'static,
    T: 'static,
    F: FnMut(T, &mut KeyedContext<'_, K, U>) -> Result<()> + 'static,
{
    type Output = U;
    #[inline]
    fn process(&mut self, record: T, context: &mut KeyedContext<'_, K, U>) -> Result<()> {
        (self.f)(record, context)
    }
}

/// Runs a [`KeyedProcessFunction`].
struct OneInput<T, S, F> {
    selector: S,
    function: F,
    record: PhantomData<fn(T)>,
}

impl<T: Data, S: KeySelector<T>, F: KeyedProcessFunction<S::Key, T>> KeyedHandler for OneInput<T, S, F> {
    type Output = F::Output;

    fn batch(
        &mut self,
        _input: usize,
        batch: Batch,
        runtime: &mut KeyedRuntime,
        outputs: &mut Outputs<F::Output>,
        out: &mut dyn Output,
    ) -> Result<()> {
        let Self { selector, function, .. } = self;
        runtime.each(batch, selector, |runtime, record: T, time| {
            function.process(record, &mut KeyedContext::new(runtime, outputs, time))?;
            outputs.send_full(out)
        })
    }

    fn timer(&mut self, timer: Timer, runtime: &mut KeyedRuntime, outputs: &mut Outputs<F::Output>) -> Result<()> {
        self.function.on_timer(timer, &mut KeyedContext::of_timer(runtime, outputs, timer))
    }
}
