//! One value of state a key, changed by every record: rolling aggregations and record-at-a-time steps with state.

use super::outputs::Outputs;
use crate::codec::RecordCodec;
use crate::graph::TaskContext;
use crate::state::{BLOCK, KeyBlock, KeyRef, StateGauge, StateTable, section};
use crate::stream::{Data, DataStream, KeySelector, KeyedStream};
use crate::{Aggregator, Batch, Number, Operator, Output, Progress, Restored, Result, Snapshot};
use std::marker::PhantomData;

/// The name under which the state is stored.
const STATE: &str = "value";

/// Batches between two measurements of the state.
const MEASURED: u32 = 64;

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// Reduces the records of each key in the order in which they come and emits every intermediate result.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let sums = env.sequence(1..=4).key_by(|_| 0u8).rolling_reduce(|a, b| a + b).collect()?;
    /// assert_eq!(sums.last(), Some(&10));
    /// assert_eq!(sums.len(), 4);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn rolling_reduce(&self, f: impl Fn(T, T) -> T + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.stateful("rolling_reduce", move |_key, state: &mut Option<T>, record, time, outputs| {
            let value = match state.take() {
                Some(before) => f(before, record),
                None => record,
            };
            outputs.push(state.insert(value).clone(), time);
        })
    }

    /// Folds the records of each key in the order in which they come and emits the key and every intermediate value.
    pub fn rolling_fold<A: Data>(
        &self,
        initial: A,
        f: impl Fn(&mut A, T) + Clone + Send + Sync + 'static,
    ) -> DataStream<(S::Key, A)> {
        self.stateful("rolling_fold", move |key, state: &mut Option<A>, record, time, outputs| {
            let value = state.get_or_insert_with(|| initial.clone());
            f(value, record);
            outputs.push((key.decode::<S::Key>(), value.clone()), time);
        })
    }

    /// Adds the records of each key to an accumulator and emits the key and every intermediate result.
    pub fn rolling_aggregate<A: Aggregator<T>>(&self, aggregator: A) -> DataStream<(S::Key, A::Output)> {
        self.stateful("rolling_aggregate", move |key, state: &mut Option<A::Accumulator>, record, time, outputs| {
            let accumulator = state.get_or_insert_with(|| aggregator.create());
            aggregator.add(accumulator, record);
            outputs.push((key.decode::<S::Key>(), aggregator.finish(accumulator.clone())), time);
        })
    }

    /// Emits with each record how many its key has had so far.
    pub fn rolling_count(&self) -> DataStream<(S::Key, u64)> {
        self.rolling_fold(0, |count, _| *count += 1)
    }

    /// Emits with each record the key and the sum of a number of its records so far.
    ///
    /// An integer sum that does not fit fails the job.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let sums = env.sequence(1..=4).key_by(|n| n % 2).rolling_sum(|n| *n);
    /// let sums = sums.collect()?;
    /// // The last of each key; which one came first depends on the workers.
    /// assert!(sums.len() == 4 && sums.contains(&(0, 6)) && sums.contains(&(1, 4)));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn rolling_sum<N: Number>(&self, value: impl Fn(&T) -> N + Clone + Send + Sync + 'static) -> DataStream<(S::Key, N)> {
        self.stateful("rolling_sum", move |key, state: &mut Option<N>, record, time, outputs| {
            let before = state.unwrap_or(N::ZERO);
            match before.checked_add(value(&record)) {
                Some(sum) => outputs.push((key.decode::<S::Key>(), *state.insert(sum)), time),
                None => {
                    let type_name = std::any::type_name::<N>().to_owned();
                    outputs.fail(fluvial_memory::Error::Overflow { what: "a rolling sum".to_owned(), type_name }.into());
                }
            }
        })
    }

    /// Emits with each record the one of its key that has the smallest of `by` so far; the first among equals.
    pub fn rolling_min_by<M: PartialOrd>(&self, by: impl Fn(&T) -> M + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.rolling_reduce(move |a, b| if by(&b) < by(&a) { b } else { a })
    }

    /// Emits with each record the one of its key that has the largest of `by` so far; the first among equals.
    pub fn rolling_max_by<M: PartialOrd>(&self, by: impl Fn(&T) -> M + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.rolling_reduce(move |a, b| if by(&b) > by(&a) { b } else { a })
    }

    /// One record out for each record in, with one value of state a key.
    ///
    /// ```
    /// # use fluvial_core::{Config, Env};
    /// # let env = Env::new(Config { threads: 1, ..Config::default() });
    /// // Each number beside the one before it.
    /// let pairs = env.from_collection([1u64, 5, 9]).key_by(|_| ()).map_with_state(|number, last: &mut Option<u64>| {
    ///     (last.replace(number), number)
    /// });
    /// assert!(pairs.collect()?.contains(&(Some(5), 9)));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn map_with_state<V: Data, U: Data>(
        &self,
        f: impl Fn(T, &mut Option<V>) -> U + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.stateful("map_with_state", move |_key, state, record, time, outputs| outputs.push(f(record, state), time))
    }

    /// The records for which `keep` is true, with one value of state a key.
    pub fn filter_with_state<V: Data>(
        &self,
        keep: impl Fn(&T, &mut Option<V>) -> bool + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.stateful("filter_with_state", move |_key, state, record, time, outputs| {
            if keep(&record, state) {
                outputs.push(record, time);
            }
        })
    }

    /// Any number of records out for each record in, with one value of state a key.
    pub fn flat_map_with_state<V: Data, U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(T, &mut Option<V>) -> I + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.stateful("flat_map_with_state", move |_key, state, record, time, outputs| {
            f(record, state).into_iter().for_each(|result| outputs.push(result, time));
        })
    }

    fn stateful<V: Data, U: Data>(
        &self,
        kind: &'static str,
        step: impl Fn(KeyRef<'_>, &mut Option<V>, T, i64, &mut Outputs<U>) + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let selector = self.selector.clone();
        self.keyed_operator(kind, move |context| Ok(Stateful::new(selector.clone(), step.clone(), context)))
    }
}

/// Gives a function each record with the value of its key.
struct Stateful<T, S, V, U, F> {
    selector: S,
    step: F,
    table: StateTable<Option<V>>,
    codec: RecordCodec<Option<V>>,
    keys: KeyBlock,
    outputs: Outputs<U>,
    gauge: StateGauge,
    batches: u32,
    record: PhantomData<fn(T)>,
}

impl<T, S, V: Data, U: Data, F> Stateful<T, S, V, U, F> {
    fn new(selector: S, step: F, context: &TaskContext) -> Self {
        let codec = RecordCodec::new().keyed(context.keys());
        Self {
            selector,
            step,
            table: StateTable::open(&context.state_scope(), STATE, &codec),
            codec,
            keys: KeyBlock::default(),
            outputs: Outputs::new(context),
            gauge: StateGauge::new(&context.metrics),
            batches: 0,
            record: PhantomData,
        }
    }
}

impl<T, S, V, U, F> Operator for Stateful<T, S, V, U, F>
where
    T: Data,
    S: KeySelector<T>,
    V: Data,
    U: Data,
    F: Fn(KeyRef<'_>, &mut Option<V>, T, i64, &mut Outputs<U>) + 'static,
{
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let times = batch.event_times.take();
        let records = batch.typed_records::<T>()?;
        let mut number = 0;
        let mut records = records.into_iter();
        while records.len() > 0 {
            let block = records.as_slice();
            let block = &block[..block.len().min(BLOCK)];
            let count = block.len();
            self.keys.encode(block.iter(), |record, out| self.selector.encode(record, out));
            self.keys.prefetch(&mut self.table)?;
            for (i, record) in records.by_ref().take(count).enumerate() {
                let key = self.keys.get(i);
                let state = self.table.get_or_insert_with(key, || None);
                let time = times.as_ref().map_or(i64::MIN, |times| times[number]);
                (self.step)(key, state, record, time, &mut self.outputs);
                if state.is_none() {
                    self.table.remove(key);
                }
                number += 1;
            }
            self.table.check()?;
            self.outputs.send_full(out)?;
        }
        self.outputs.flush(out)?;
        self.batches = self.batches.wrapping_add(1);
        if self.batches % MEASURED == 1 {
            self.gauge.set(self.table.len(), self.table.byte_len());
        }
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        Ok(Snapshot { sections: Vec::new(), deferred: vec![self.table.snapshot(STATE, &self.codec, |_| true)?] })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        state.sections.iter().try_for_each(|s| match s.name.as_str() {
            STATE => self.table.restore(s, &self.codec),
            _ => section::unclaimed(s),
        })?;
        self.table.restored()
    }
}
