//! Operations on all records of a stream: aggregates without a key, distinct records, the first ones, numbers.

use super::aggregate::{Aggregated, Count};
use super::numbers::{Number, Sum};
use super::{Aggregator, Data, DataStream, KeySelector, KeyedStream};
use crate::blocking::{FirstOfWorker, PlaceCount, TypedRows, counting, cut_typed, least, numbering};
use crate::codec::RecordCodec;
use crate::graph::{Body, Distribution, OperatorFactory, Timing};
use crate::stream::group::unit_key;
use crate::{Batch, Operator, Result};
use fluvial_memory::NormalizedKey;
use std::sync::Arc;

/// The whole record, as its codec writes it, is the key.
struct WholeRecord<T>(Arc<RecordCodec<T>>);

impl<T> Clone for WholeRecord<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Data> KeySelector<T> for WholeRecord<T> {
    type Key = Vec<u8>;
    const WIDTH: Option<usize> = None;
    fn encode(&self, record: &T, out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        // A record that does not encode fails where it is serialized, a step later; here it is a key like others.
        let _ = self.0.encode(record, &mut bytes);
        bytes.encode(out);
    }
}

impl<T: Data> DataStream<T> {
    /// Each record once. Records are the same if they serialize to the same bytes, so a record with a hash map in it, whose
    /// order is anything, is better told apart by a key: [`KeyedStream::distinct`].
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let mut once = env.from_collection([3u64, 1, 3, 3]).distinct().collect()?;
    /// once.sort();
    /// assert_eq!(once, [1, 3]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn distinct(&self) -> DataStream<T> {
        KeyedStream { stream: self.clone(), selector: WholeRecord(Arc::new(RecordCodec::new())) }.distinct()
    }

    /// All records reduced to one by a function that takes two and gives one, in no particular order; none if there are none.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// assert_eq!(env.sequence(1..=5).reduce(|a, b| a * b).collect()?, [120]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.key_by(|_| ()).reduce(f)
    }

    /// One accumulator's result over all records; there is one also if there are no records.
    ///
    /// ```
    /// # use fluvial_core::{Aggregator, Env};
    /// #[derive(Clone)]
    /// struct Longest;
    /// impl Aggregator<String> for Longest {
    ///     type Accumulator = u64;
    ///     type Output = u64;
    ///     fn create(&self) -> u64 {
    ///         0
    ///     }
    ///     fn add(&self, longest: &mut u64, word: String) {
    ///         *longest = (*longest).max(word.len() as u64);
    ///     }
    ///     fn merge(&self, longest: &mut u64, other: u64) {
    ///         *longest = (*longest).max(other);
    ///     }
    ///     fn finish(&self, longest: u64) -> u64 {
    ///         longest
    ///     }
    /// }
    /// # let env = Env::default();
    /// let words = env.from_collection(["a", "bcd", "ef"].map(String::from));
    /// assert_eq!(words.aggregate(Longest).collect()?, [3]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn aggregate<A: Aggregator<T>>(&self, aggregator: A) -> DataStream<A::Output> {
        let empty = aggregator.clone();
        let if_empty = move || Some(((), empty.finish(empty.create())));
        self.key_by(|_| ()).accumulate_or("aggregate", Aggregated::new(aggregator), if_empty).map(|(_, result)| result)
    }

    /// The sum of a number of each record; zero if there are none. A sum that does not fit its type fails the job.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// assert_eq!(env.sequence(1..=4).sum(|n| *n).collect()?, [10]);
    /// assert!(env.from_collection([200u8, 100]).sum(|n| *n).collect().is_err());
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn sum<V: Number>(&self, value: impl Fn(&T) -> V + Clone + Send + Sync + 'static) -> DataStream<V> {
        self.key_by(|_| ()).accumulate_or("sum", Sum::new(value), || Some(((), V::ZERO))).map(|(_, sum)| sum)
    }

    /// How many records there are, as a stream of one number; [`DataStream::count`] runs the job and returns it.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// assert_eq!(env.sequence(0..7).filter(|n| n % 2 == 0).counted().collect()?, [4]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn counted(&self) -> DataStream<u64> {
        self.key_by(|_| ()).accumulate_or("count", Count, || Some(((), 0))).map(|(_, count)| count)
    }

    /// The record with the smallest of `by`; none if there are none.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let words = env.from_collection(["bee", "ox"].map(String::from));
    /// assert_eq!(words.min_by(|w| w.len()).collect()?, ["ox"]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn min_by<M: PartialOrd>(&self, by: impl Fn(&T) -> M + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.key_by(|_| ()).min_by(by)
    }

    /// The record with the largest of `by`; none if there are none.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let words = env.from_collection(["bee", "ox"].map(String::from));
    /// assert_eq!(words.max_by(|w| w.len()).collect()?, ["bee"]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn max_by<M: PartialOrd>(&self, by: impl Fn(&T) -> M + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.key_by(|_| ()).max_by(by)
    }

    /// The smallest record; none if there are none.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// assert_eq!(env.from_collection([3u64, 1, 2]).min().collect()?, [1]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn min(&self) -> DataStream<T>
    where
        T: PartialOrd,
    {
        self.reduce(|a, b| if b < a { b } else { a })
    }

    /// The largest record; none if there are none.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// assert_eq!(env.from_collection([3u64, 1, 2]).max().collect()?, [3]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn max(&self) -> DataStream<T>
    where
        T: PartialOrd,
    {
        self.reduce(|a, b| if b > a { b } else { a })
    }

    /// At most `count` records: of an ordered stream the first ones, in order, of others any.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let first = env.from_collection([5u64, 2, 9, 1]).sort_by(|n| *n).limit(2).collect()?;
    /// assert_eq!(first, [1, 2]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn limit(&self, count: u64) -> DataStream<T> {
        let make: OperatorFactory = Arc::new(move |_| {
            let operator: Box<dyn Operator> = Box::new(FirstOfWorker::new(count, cut_typed::<T>));
            Ok(operator)
        });
        let of_worker = self.operator::<T>("first", format!("{count} of each worker"), make);
        of_worker.numbered("limit", count.to_string(), move |batch, first| {
            let left = count.saturating_sub(first).min(batch.len() as u64);
            cut_typed::<T>(batch, left as usize)
        })
    }

    /// Numbers the records from 0, without gaps: in an ordered stream in its order. The records are read twice, so they wait in
    /// memory and on disk until all are there.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let ranked = env.from_collection([30u64, 10, 20]).sort_by(|n| *n).zip_with_index().collect()?;
    /// assert_eq!(ranked, [(0, 10), (1, 20), (2, 30)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn zip_with_index(&self) -> DataStream<(u64, T)> {
        self.numbered("zip_with_index", String::new(), |mut batch, first| {
            let (position, times) = (batch.position, batch.event_times.take());
            let records = batch.typed_records::<T>()?;
            let mut batch = Batch::typed((first..).zip(records).collect::<Vec<(u64, T)>>());
            (batch.position, batch.event_times) = (position, times);
            Ok(batch)
        })
    }

    fn numbered<U: Data>(
        &self,
        kind: &'static str,
        detail: String,
        number: impl Fn(Batch, u64) -> Result<Batch> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let stream = self.settled();
        let counts = stream.operator::<PlaceCount>("count", String::new(), counting());
        let make = numbering(|| TypedRows::<T, _>::new(unit_key()), number);
        let mut node = stream.after(kind, detail, Body::Operator(make)).reserves(least::GROUPING).timing(Timing::AtTheEnd);
        node.inputs.push(counts.input_by(Distribution::Broadcast));
        DataStream::new(&self.env, self.env.add(node))
    }

    /// This stream after its distribution: two operations behind it on the same worker receive the same records.
    pub(crate) fn settled(&self) -> DataStream<T> {
        match self.distribution {
            Distribution::Forward => self.clone(),
            _ => self.inspect(|_| ()),
        }
    }
}
