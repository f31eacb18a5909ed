use super::outputs::Outputs;
use super::plain::{PlainHandler, PlainRuntime, PlainTask, ProcessContext, each};
use crate::graph::{Body, Distribution, OperatorFactory};
use crate::state::OperatorState;
use crate::stream::{Data, DataStream};
use crate::{Batch, Output, Result};
use std::marker::PhantomData;

/// A function over the records of two streams of different types, in the order in which they come, without keys. What one
/// stream's records leave in it, the other's find, as far as they come to the same worker.
///
/// ```
/// use fluvial_core::*;
///
/// /// Scales numbers by the factor that came last.
/// struct Scale(u64);
/// impl CoProcessFunction<u64, u64> for Scale {
///     type Output = u64;
///     fn process_first(&mut self, number: u64, context: &mut ProcessContext<'_, u64>) -> Result<()> {
///         context.emit(number * self.0);
///         Ok(())
///     }
///     fn process_second(&mut self, factor: u64, _context: &mut ProcessContext<'_, u64>) -> Result<()> {
///         self.0 = factor;
///         Ok(())
///     }
/// }
///
/// let env = Env::default();
/// let scaled = env.sequence(0..10).connect(&env.from_collection([1u64])).process(|_state| Ok(Scale(1)));
/// assert_eq!(scaled.collect()?.iter().sum::<u64>(), 45);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait CoProcessFunction<A, B>: 'static {
    /// What it emits.
    type Output: Data;

    /// Takes a record of the first stream.
    ///
    /// # Errors
    /// The first error fails the job and names the operator.
    fn process_first(&mut self, record: A, context: &mut ProcessContext<'_, Self::Output>) -> Result<()>;

    /// Takes a record of the second stream.
    ///
    /// # Errors
    /// As for the first.
    fn process_second(&mut self, record: B, context: &mut ProcessContext<'_, Self::Output>) -> Result<()>;

    /// All records of both have come: emits what was held back.
    ///
    /// # Errors
    /// As for `process_first`.
    fn finish(&mut self, context: &mut ProcessContext<'_, Self::Output>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// Two streams of different types that one operation takes: see [`DataStream::connect`].
#[must_use = "nothing happens before a function is given"]
pub struct Connected<A, B> {
    first: DataStream<A>,
    second: DataStream<B>,
}

impl<A: Data> DataStream<A> {
    /// This stream and another one, of another type, for an operation that takes both.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let (numbers, words) = (env.sequence(0..3), env.from_collection(["a".to_string(), "b".to_string()]));
    /// let texts = numbers.connect(&words).map(|n| n.to_string(), |w| w);
    /// let mut texts = texts.collect()?;
    /// texts.sort();
    /// assert_eq!(texts, ["0", "1", "2", "a", "b"]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn connect<B: Data>(&self, other: &DataStream<B>) -> Connected<A, B> {
        Connected { first: self.clone(), second: other.clone() }
    }
}

impl<A: Data, B: Data> Connected<A, B> {
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

    /// Gives the records of both streams to a function. `make` is called once a worker, with the state from which the function
    /// takes its handles.
    pub fn process<F: CoProcessFunction<A, B>>(
        &self,
        make: impl Fn(&mut OperatorState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        self.operator("co_process", PlainTask::factory(move |state| Ok(CoPlain::new(make(state)?))))
    }

    fn operator<U: Data>(&self, kind: &'static str, make: OperatorFactory) -> DataStream<U> {
        let distributions = (self.first.distribution.clone(), self.second.distribution.clone());
        two_inputs(kind, &self.first, &self.second, distributions, make)
    }
}

/// Adds an operator over two streams, each distributed as said.
pub(super) fn two_inputs<A: Data, B: Data, U: Data>(
    kind: &'static str,
    first: &DataStream<A>,
    second: &DataStream<B>,
    distributions: (Distribution, Distribution),
    make: OperatorFactory,
) -> DataStream<U> {
    let mut node = first.after(kind, String::new(), Body::Operator(make));
    node.inputs[0].distribution = distributions.0;
    node.inputs.push(second.input_by(distributions.1));
    node.bounded &= second.known().0;
    node.estimate = None;
    DataStream::new(&first.env, first.env.add(node))
}

pub(super) fn co_map<A: Data, B: Data, U: Data>(
    first: impl FnMut(A) -> U + Clone + Send + Sync + 'static,
    second: impl FnMut(B) -> U + Clone + Send + Sync + 'static,
) -> OperatorFactory {
    PlainTask::factory(move |_| {
        let (mut first, mut second) = (first.clone(), second.clone());
        let first = move |record: A, context: &mut ProcessContext<'_, U>| context.emit(first(record));
        let second = move |record: B, context: &mut ProcessContext<'_, U>| context.emit(second(record));
        Ok(CoPlain::new(Closures { first, second, output: PhantomData::<fn() -> U> }))
    })
}

pub(super) fn co_flat_map<A: Data, B: Data, U: Data, I: IntoIterator<Item = U>, J: IntoIterator<Item = U>>(
    first: impl FnMut(A) -> I + Clone + Send + Sync + 'static,
    second: impl FnMut(B) -> J + Clone + Send + Sync + 'static,
) -> OperatorFactory {
    PlainTask::factory(move |_| {
        let (mut first, mut second) = (first.clone(), second.clone());
        let first = move |record: A, context: &mut ProcessContext<'_, U>| first(record).into_iter().for_each(|r| context.emit(r));
        let second =
            move |record: B, context: &mut ProcessContext<'_, U>| second(record).into_iter().for_each(|r| context.emit(r));
        Ok(CoPlain::new(Closures { first, second, output: PhantomData::<fn() -> U> }))
    })
}

/// Two closures as a function.
struct Closures<F, G, U> {
    first: F,
    second: G,
    output: PhantomData<fn() -> U>,
}

impl<A: 'static, B: 'static, U: Data, F, G> CoProcessFunction<A, B> for Closures<F, G, U>
where
    F: FnMut(A, &mut ProcessContext<'_, U>) + 'static,
    G: FnMut(B, &mut ProcessContext<'_, U>) + 'static,
{
    type Output = U;
    #[inline]
    fn process_first(&mut self, record: A, context: &mut ProcessContext<'_, U>) -> Result<()> {
        (self.first)(record, context);
        Ok(())
    }
    #[inline]
    fn process_second(&mut self, record: B, context: &mut ProcessContext<'_, U>) -> Result<()> {
        (self.second)(record, context);
        Ok(())
    }
}

/// Runs a [`CoProcessFunction`].
struct CoPlain<A, B, F> {
    function: F,
    records: PhantomData<fn(A, B)>,
}

impl<A, B, F> CoPlain<A, B, F> {
    fn new(function: F) -> Self {
        Self { function, records: PhantomData }
    }
}

impl<A: Data, B: Data, F: CoProcessFunction<A, B>> PlainHandler for CoPlain<A, B, F> {
    type Output = F::Output;

    fn batch(
        &mut self,
        input: usize,
        batch: Batch,
        runtime: &PlainRuntime,
        outputs: &mut Outputs<F::Output>,
        out: &mut dyn Output,
    ) -> Result<()> {
        let function = &mut self.function;
        match input {
            0 => each(batch, runtime, outputs, out, |record: A, context| function.process_first(record, context)),
            _ => each(batch, runtime, outputs, out, |record: B, context| function.process_second(record, context)),
        }
    }

    fn finish(&mut self, runtime: &PlainRuntime, outputs: &mut Outputs<F::Output>) -> Result<()> {
        self.function.finish(&mut ProcessContext::new(runtime, outputs, i64::MIN))
    }
}
