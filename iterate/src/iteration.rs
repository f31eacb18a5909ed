use fluvial_core::{Aggregate, Aggregator, Data, DataStream, LoopBuilder, LoopState, Number, Superstep, Table};
use std::sync::{Arc, Mutex};

type Criterion = Box<dyn Fn(&Superstep<'_>) -> bool + Send + Sync>;

/// What a step may know of its loop, and say about its end. Given to the function that builds the step; handles made by it
/// are for the functions of the step's operations to capture.
pub struct Iteration {
    pub(crate) builder: LoopBuilder,
    criteria: Mutex<Vec<Criterion>>,
}

/// The number of the superstep that runs, for functions of the step to capture.
#[derive(Clone, Copy, Debug)]
pub struct SuperstepNumber(u64);

impl SuperstepNumber {
    /// The number, counted from 0 at the entry of the loop.
    pub fn get(self) -> u64 {
        LoopState::of(self.0).superstep()
    }
}

impl Iteration {
    pub(crate) fn new(builder: LoopBuilder) -> Self {
        Self { builder, criteria: Mutex::default() }
    }

    /// A handle that tells the number of the superstep.
    ///
    /// ```
    /// # use fluvial_core::Env;
    /// # use fluvial_iterate::Iterate;
    /// # let env = Env::default();
    /// let sums = env.from_collection([0u64]).iterate(4, |partial, it| {
    ///     let superstep = it.superstep();
    ///     partial.map(move |sum| sum + superstep.get())
    /// });
    /// assert_eq!(sums.collect()?, [0 + 1 + 2 + 3]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn superstep(&self) -> SuperstepNumber {
        self.builder.asks_for("the number of the superstep");
        SuperstepNumber(self.builder.id())
    }

    /// An aggregator of the user's own: what is added to it in a superstep, on all workers, is one value in the next.
    pub fn aggregate<X: 'static, A: Aggregator<X>>(&self, name: &str, aggregator: A) -> Aggregate<X, A> {
        self.builder.aggregate(name, aggregator)
    }

    /// An aggregator that adds up.
    ///
    /// ```
    /// # use fluvial_core::Env;
    /// # use fluvial_iterate::Iterate;
    /// # let env = Env::default();
    /// let halved = env.from_collection([80.0f64, 20.0]).iterate(50, |partial, it| {
    ///     let total = it.sum::<f64>("total");
    ///     it.converge(&total, |last| *last < 10.0);
    ///     partial.map(move |x| {
    ///         total.add(x / 2.0);
    ///         x / 2.0
    ///     })
    /// });
    /// assert_eq!(halved.collect()?.into_iter().sum::<f64>(), 6.25);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn sum<V: Number>(&self, name: &str) -> Aggregate<V, Sum> {
        self.aggregate(name, Sum)
    }

    /// An aggregator that counts: add 1, or more at a time.
    pub fn count(&self, name: &str) -> Aggregate<u64, Sum> {
        self.aggregate(name, Sum)
    }

    /// An aggregator whose value is the smallest of what was added.
    pub fn min<V: Data + PartialOrd>(&self, name: &str) -> Aggregate<V, Min> {
        self.aggregate(name, Min)
    }

    /// An aggregator whose value is the largest of what was added.
    pub fn max<V: Data + PartialOrd>(&self, name: &str) -> Aggregate<V, Max> {
        self.aggregate(name, Max)
    }

    /// The loop ends with the first superstep in which this stream of the step is empty, on all workers.
    pub fn terminate_when_empty<U: Data>(&self, stream: &DataStream<U>) {
        let index = self.builder.criterion(stream);
        self.stop_when(move |superstep| superstep.criteria[index] == 0);
    }

    /// As [`Iteration::terminate_when_empty`], of a table.
    pub fn terminate_when_empty_table(&self, table: &Table) {
        let index = self.builder.criterion_table(table);
        self.stop_when(move |superstep| superstep.criteria[index] == 0);
    }

    /// The loop ends with the first superstep after which the aggregator's value is such that `converged` says so.
    pub fn converge<X: 'static, A: Aggregator<X>>(
        &self,
        aggregate: &Aggregate<X, A>,
        converged: impl Fn(&A::Output) -> bool + Send + Sync + 'static,
    ) {
        let index = aggregate.index();
        self.stop_when(move |superstep| superstep.value::<A::Output>(index).is_some_and(&converged));
    }

    pub(crate) fn stop_when(&self, stop: impl Fn(&Superstep<'_>) -> bool + Send + Sync + 'static) {
        self.criteria.lock().unwrap_or_else(|e| e.into_inner()).push(Box::new(stop));
    }

    /// The loop, and whether a superstep was its last.
    pub(crate) fn close(self) -> (LoopBuilder, impl Fn(&Superstep<'_>) -> bool + Send + Sync + 'static) {
        let criteria = Arc::new(self.criteria.into_inner().unwrap_or_else(|e| e.into_inner()));
        (self.builder, move |superstep: &Superstep<'_>| criteria.iter().any(|stops| stops(superstep)))
    }
}

/// Adds up; see [`Iteration::sum`]. Integers that do not fit stay at the largest or smallest there is.
#[derive(Clone, Copy, Debug)]
pub struct Sum;

impl<V: Number> Aggregator<V> for Sum {
    type Accumulator = Option<V>;
    type Output = V;
    fn create(&self) -> Option<V> {
        Some(V::ZERO)
    }
    fn add(&self, sum: &mut Option<V>, value: V) {
        *sum = sum.and_then(|sum| sum.checked_add(value));
    }
    fn merge(&self, sum: &mut Option<V>, other: Option<V>) {
        *sum = sum.zip(other).and_then(|(a, b)| a.checked_add(b));
    }
    fn finish(&self, sum: Option<V>) -> V {
        sum.unwrap_or(V::ZERO)
    }
}

/// The smallest; see [`Iteration::min`].
#[derive(Clone, Copy, Debug)]
pub struct Min;

/// The largest; see [`Iteration::max`].
#[derive(Clone, Copy, Debug)]
pub struct Max;

macro_rules! extreme {
    ($($name:ident: $better:tt;)*) => {$(
        impl<V: Data + PartialOrd> Aggregator<V> for $name {
            type Accumulator = Option<V>;
            type Output = Option<V>;
            fn create(&self) -> Option<V> {
                None
            }
            fn add(&self, best: &mut Option<V>, value: V) {
                if best.as_ref().is_none_or(|best| value $better *best) {
                    *best = Some(value);
                }
            }
            fn merge(&self, best: &mut Option<V>, other: Option<V>) {
                if let Some(other) = other {
                    self.add(best, other);
                }
            }
            fn finish(&self, best: Option<V>) -> Option<V> {
                best
            }
        }
    )*};
}

extreme! {
    Min: <;
    Max: >;
}
