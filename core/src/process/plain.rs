use super::outputs::Outputs;
use super::side::OutputTag;
use crate::graph::{Body, OperatorFactory, TaskContext};
use crate::state::{OperatorState, section};
use crate::stream::{Data, DataStream};
use crate::time::Clock;
use crate::{Batch, Operator, Output, Progress, Restored, Result, Snapshot};
use std::marker::PhantomData;
use std::sync::Arc;

/// A function over the records of a stream without keys: it sees times, emits any number of records, has side outputs and
/// [state of its instance](OperatorState). Timers and state of keys come with
/// [`KeyedProcessFunction`](crate::KeyedProcessFunction).
///
/// ```
/// use fluvial_core::*;
///
/// /// Parses numbers; what is none goes aside.
/// struct Parse {
///     wrong: OutputTag<String>,
/// }
/// impl ProcessFunction<String> for Parse {
///     type Output = i64;
///     fn process(&mut self, record: String, context: &mut ProcessContext<'_, i64>) -> Result<()> {
///         match record.parse() {
///             Ok(number) => context.emit(number),
///             Err(_) => context.side(&self.wrong, record),
///         }
///         Ok(())
///     }
/// }
///
/// let env = Env::default();
/// let wrong = OutputTag::<String>::new("wrong");
/// let tag = wrong.clone();
/// let texts = env.from_collection(["12", "x", "-7"].map(String::from));
/// let numbers = texts.process(move |_state| Ok(Parse { wrong: tag.clone() }));
/// assert_eq!(numbers.side_output(&wrong).collect()?, ["x"]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait ProcessFunction<T>: 'static {
    /// What it emits.
    type Output: Data;

    /// Takes a record.
    ///
    /// # Errors
    /// The first error fails the job and names the operator.
    fn process(&mut self, record: T, context: &mut ProcessContext<'_, Self::Output>) -> Result<()>;

    /// All records have come: emits what was held back.
    ///
    /// # Errors
    /// As for `process`.
    fn finish(&mut self, context: &mut ProcessContext<'_, Self::Output>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// What a function without keys may know and do while it has a record in hand.
pub struct ProcessContext<'a, U> {
    runtime: &'a PlainRuntime,
    outputs: &'a mut Outputs<U>,
    /// Event time of the record in hand; `i64::MIN` where there is none.
    time: i64,
}

impl<'a, U: Data> ProcessContext<'a, U> {
    pub(super) fn new(runtime: &'a PlainRuntime, outputs: &'a mut Outputs<U>, time: i64) -> Self {
        Self { runtime, outputs, time }
    }

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

    /// Emits a record, with the event time of the record in hand.
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
}

/// What an operator without keys has beside the user's function.
pub(crate) struct PlainRuntime {
    state: OperatorState,
    watermark: i64,
    clock: Clock,
}

/// What a kind of operator without keys does with its input.
pub(crate) trait PlainHandler {
    /// Records of the main output.
    type Output: Data;

    /// Takes a batch of an input.
    fn batch(
        &mut self,
        input: usize,
        batch: Batch,
        runtime: &PlainRuntime,
        outputs: &mut Outputs<Self::Output>,
        out: &mut dyn Output,
    ) -> Result<()>;

    /// All inputs have ended.
    fn finish(&mut self, runtime: &PlainRuntime, outputs: &mut Outputs<Self::Output>) -> Result<()> {
        let _ = (runtime, outputs);
        Ok(())
    }
}

/// Gives a function each record of a batch with its context, and sends what has become large enough.
#[inline]
pub(super) fn each<T: Data, U: Data>(
    mut batch: Batch,
    runtime: &PlainRuntime,
    outputs: &mut Outputs<U>,
    out: &mut dyn Output,
    mut f: impl FnMut(T, &mut ProcessContext<'_, U>) -> Result<()>,
) -> Result<()> {
    let times = batch.event_times.take();
    for (i, record) in batch.typed_records::<T>()?.into_iter().enumerate() {
        let time = times.as_ref().map_or(i64::MIN, |times| times[i]);
        f(record, &mut ProcessContext::new(runtime, outputs, time))?;
        outputs.send_full(out)?;
    }
    Ok(())
}

/// Runs a [`PlainHandler`].
pub(crate) struct PlainTask<H: PlainHandler> {
    handler: H,
    runtime: PlainRuntime,
    outputs: Outputs<H::Output>,
}

impl<H: PlainHandler> PlainTask<H> {
    /// For an operator of this context; `make` gets the state to take handles from.
    pub(crate) fn new(context: &TaskContext, make: impl FnOnce(&mut OperatorState) -> Result<H>) -> Result<Self> {
        let mut state = OperatorState::new(context);
        let handler = make(&mut state)?;
        let runtime = PlainRuntime { state, watermark: i64::MIN, clock: context.clock().clone() };
        Ok(Self { handler, runtime, outputs: Outputs::new(context) })
    }

    /// A factory of such operators.
    pub(crate) fn factory(make: impl Fn(&mut OperatorState) -> Result<H> + Send + Sync + 'static) -> OperatorFactory
    where
        H: 'static,
    {
        Arc::new(move |context| Ok(Box::new(Self::new(context, &make)?)))
    }
}

impl<H: PlainHandler> Operator for PlainTask<H> {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.handler.batch(input, batch, &self.runtime, &mut self.outputs, out)?;
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }

    fn on_watermark(&mut self, watermark: i64, _out: &mut dyn Output) -> Result<Progress> {
        self.runtime.watermark = watermark;
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.handler.finish(&self.runtime, &mut self.outputs)?;
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        self.runtime.state.snapshot(&mut snapshot);
        Ok(snapshot)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        state.sections.iter().filter(|s| s.key_group.is_some()).try_for_each(section::unclaimed)?;
        self.runtime.state.restore(&state.sections)
    }
}

impl<T: Data> DataStream<T> {
    /// Gives the records to a function with times, side outputs and state of its instance. `make` is called once a worker, with
    /// the state from which the function takes its handles.
    pub fn process<F: ProcessFunction<T>>(
        &self,
        make: impl Fn(&mut OperatorState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        self.process_as("process", make)
    }

    /// The same, under the name of another operation.
    pub(super) fn process_as<F: ProcessFunction<T>>(
        &self,
        kind: &'static str,
        make: impl Fn(&mut OperatorState) -> Result<F> + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let factory = PlainTask::factory(move |state| Ok(Plain { function: make(state)?, record: PhantomData::<fn(T)> }));
        let mut node = self.after(kind, String::new(), Body::Operator(factory));
        node.estimate = None;
        DataStream::new(&self.env, self.env.add(node))
    }
}

/// Runs a [`ProcessFunction`].
struct Plain<T, F> {
    function: F,
    record: PhantomData<fn(T)>,
}

impl<T: Data, F: ProcessFunction<T>> PlainHandler for Plain<T, F> {
    type Output = F::Output;

    fn batch(
        &mut self,
        _input: usize,
        batch: Batch,
        runtime: &PlainRuntime,
        outputs: &mut Outputs<F::Output>,
        out: &mut dyn Output,
    ) -> Result<()> {
        each(batch, runtime, outputs, out, |record, context| self.function.process(record, context))
    }

    fn finish(&mut self, runtime: &PlainRuntime, outputs: &mut Outputs<F::Output>) -> Result<()> {
        self.function.finish(&mut ProcessContext::new(runtime, outputs, i64::MIN))
    }
}
