//! Errors of user code that do not end the job: the record goes to a side output, with what was wrong with it.

use super::keyed::{KeyedContext, KeyedProcessFunction};
use super::plain::{ProcessContext, ProcessFunction};
use super::side::OutputTag;
use super::task::Timer;
use crate::Result;
use crate::state::{KeyedState, OperatorState};
use crate::stream::{Data, DataStream, KeySelector, KeyedStream};
use fluvial_memory::NormalizedKey;
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::marker::PhantomData;

/// A record that a user's function could not handle, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadLetter<T> {
    /// The record.
    pub record: T,
    /// What the function's error said.
    pub error: String,
    /// The record's event time, milliseconds UTC.
    pub time: Option<i64>,
}

/// Where the records go that a function cannot handle.
///
/// Functions that can fail come in two forms: `try_map(f)` and its kin fail the job with the first error, `try_map_or(&dead,
/// f)` and its kin send the record and the error to a side output and go on. The latter borrow the record, so that it is
/// still there when they fail.
///
/// ```
/// use fluvial_core::{DeadLetter, Env, OutputTag};
/// let env = Env::default();
/// let dead = OutputTag::<DeadLetter<String>>::new("dead letters");
/// let texts = env.from_collection(["1", "two", "3"].map(String::from));
/// let numbers = texts.try_map_or(&dead, |text| text.parse::<u64>());
/// let letters = numbers.side_output(&dead).collect()?;
/// assert_eq!((letters[0].record.as_str(), letters[0].error.as_str()), ("two", "invalid digit found in string"));
/// assert_eq!(numbers.collect()?.iter().sum::<u64>(), 4);
/// assert!(texts.try_map(|text| text.parse::<u64>()).collect().is_err());
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub type DeadLetters<T> = OutputTag<DeadLetter<T>>;

impl<T: Data> DataStream<T> {
    /// One record out for each record in; what `f` fails for goes to a side output, with the error: see [`DeadLetters`].
    pub fn try_map_or<U: Data, E: Display>(
        &self,
        dead: &DeadLetters<T>,
        f: impl FnMut(&T) -> std::result::Result<U, E> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let mut f = f;
        self.step_or("try_map", dead, move |record: T, context: &mut ProcessContext<'_, U>| match f(&record) {
            Ok(result) => {
                context.emit(result);
                None
            }
            Err(error) => Some((record, error.to_string())),
        })
    }

    /// Any number of records out for each record in, as an iterator; what `f` fails for goes to a side output, with the error:
    /// see [`DeadLetters`].
    pub fn try_flat_map_or<U: Data, I: IntoIterator<Item = U>, E: Display>(
        &self,
        dead: &DeadLetters<T>,
        f: impl FnMut(&T) -> std::result::Result<I, E> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let mut f = f;
        self.step_or("try_flat_map", dead, move |record: T, context: &mut ProcessContext<'_, U>| match f(&record) {
            Ok(results) => {
                results.into_iter().for_each(|result| context.emit(result));
                None
            }
            Err(error) => Some((record, error.to_string())),
        })
    }

    /// The records for which `keep` is true; what it fails for goes to a side output, with the error: see [`DeadLetters`].
    pub fn try_filter_or<E: Display>(
        &self,
        dead: &DeadLetters<T>,
        keep: impl FnMut(&T) -> std::result::Result<bool, E> + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        let mut keep = keep;
        self.step_or("try_filter", dead, move |record: T, context: &mut ProcessContext<'_, T>| match keep(&record) {
            Ok(true) => {
                context.emit(record);
                None
            }
            Ok(false) => None,
            Err(error) => Some((record, error.to_string())),
        })
    }

    /// As [`DataStream::process`]; a record for which the function fails goes to a side output, with the error: see
    /// [`DeadLetters`]. What the function has emitted and stored before it failed stays. Records are cloned before they are
    /// processed.
    pub fn process_or<F: ProcessFunction<T>>(
        &self,
        dead: &DeadLetters<T>,
        make: impl Fn(&mut OperatorState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let dead = dead.clone();
        self.process_as("process", move |state| Ok(OrDead { function: make(state)?, dead: dead.clone() }))
    }

    fn step_or<U: Data, F>(&self, kind: &'static str, dead: &DeadLetters<T>, step: F) -> DataStream<U>
    where
        F: FnMut(T, &mut ProcessContext<'_, U>) -> Option<(T, String)> + Clone + Send + Sync + 'static,
    {
        let dead = dead.clone();
        self.process_as(kind, move |_| Ok(StepOr { step: step.clone(), dead: dead.clone(), output: PhantomData::<fn() -> U> }))
    }
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// As [`KeyedStream::process`]; a record for which the function fails goes to a side output, with the error: see
    /// [`DeadLetters`]. What the function has emitted and stored before it failed stays. Records are cloned before they are
    /// processed. A timer that fails fails the job: it has no record.
    pub fn process_or<F: KeyedProcessFunction<S::Key, T>>(
        &self,
        dead: &DeadLetters<T>,
        make: impl Fn(&mut KeyedState) -> Result<F> + Clone + Send + Sync + 'static,
    ) -> DataStream<F::Output> {
        let dead = dead.clone();
        self.process(move |state| Ok(OrDead { function: make(state)?, dead: dead.clone() }))
    }
}

/// A step that gives back the record that it cannot handle.
struct StepOr<T, F, U> {
    step: F,
    dead: DeadLetters<T>,
    output: PhantomData<fn() -> U>,
}

impl<T: Data, U: Data, F> ProcessFunction<T> for StepOr<T, F, U>
where
    F: FnMut(T, &mut ProcessContext<'_, U>) -> Option<(T, String)> + 'static,
{
    type Output = U;
    #[inline]
    fn process(&mut self, record: T, context: &mut ProcessContext<'_, U>) -> Result<()> {
        if let Some((record, error)) = (self.step)(record, context) {
            let time = context.time();
            context.side(&self.dead, DeadLetter { record, error, time });
        }
        Ok(())
    }
}

/// A function whose failures are side outputs.
struct OrDead<T, F> {
    function: F,
    dead: DeadLetters<T>,
}

impl<T: Data, F: ProcessFunction<T>> ProcessFunction<T> for OrDead<T, F> {
    type Output = F::Output;

    fn process(&mut self, record: T, context: &mut ProcessContext<'_, F::Output>) -> Result<()> {
        let copy = record.clone();
        if let Err(error) = self.function.process(record, context) {
            let letter = DeadLetter { record: copy, error: error.to_string(), time: context.time() };
            context.side(&self.dead, letter);
        }
        Ok(())
    }

    fn finish(&mut self, context: &mut ProcessContext<'_, F::Output>) -> Result<()> {
        self.function.finish(context)
    }
}

impl<K: NormalizedKey, T: Data, F: KeyedProcessFunction<K, T>> KeyedProcessFunction<K, T> for OrDead<T, F> {
    type Output = F::Output;

    fn process(&mut self, record: T, context: &mut KeyedContext<'_, K, F::Output>) -> Result<()> {
        let copy = record.clone();
        if let Err(error) = self.function.process(record, context) {
            let letter = DeadLetter { record: copy, error: error.to_string(), time: context.time() };
            context.side(&self.dead, letter);
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, K, F::Output>) -> Result<()> {
        self.function.on_timer(timer, context)
    }
}
