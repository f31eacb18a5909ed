//! Grouping typed streams by key: partial states are merged on each worker, cross workers as serialized rows, and are
//! merged again where their key belongs.

use super::numbers::{Number, Sum};
use super::{Data, DataStream, KeySelector, KeyedStream};
use crate::blocking::{AggregateOperator, CombineSink, least};
use crate::chain::AnyCollector;
use crate::codec::RecordCodec;
use crate::exchange::RowsByHash;
use crate::graph::{Body, Distribution, Timing};
use crate::{Batch, Error, Result};
use fluvial_memory::{KeyWidth, NormalizedKey, RowBatch, RowShape, hash};
use fluvial_operators::aggregate::Aggregation;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

/// An aggregation of typed records on serialized states.
pub(crate) trait Accumulate<T>: Aggregation + Clone + Send + Sync + 'static {
    /// What a key's final state becomes.
    type Output: Data;

    /// Appends the state of one record.
    fn lift(&self, record: T, out: &mut Vec<u8>) -> fluvial_memory::Result<()>;

    /// Adds a record to a state of fixed width.
    fn add(&self, record: T, state: &mut [u8]) -> Result<()>;

    /// The result that a final state stands for.
    fn finish(&self, state: &[u8]) -> Result<Self::Output>;
}

/// A user's aggregation: an accumulator that records are added to and that merges with others of its kind.
///
/// ```
/// use fluvial_core::{Aggregator, Env};
///
/// /// The mean of the values of a key.
/// #[derive(Clone)]
/// struct Mean;
/// impl Aggregator<(String, f64)> for Mean {
///     type Accumulator = (f64, u64);
///     type Output = f64;
///     fn create(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///     fn add(&self, accumulator: &mut (f64, u64), record: (String, f64)) {
///         accumulator.0 += record.1;
///         accumulator.1 += 1;
///     }
///     fn merge(&self, accumulator: &mut (f64, u64), other: (f64, u64)) {
///         accumulator.0 += other.0;
///         accumulator.1 += other.1;
///     }
///     fn finish(&self, accumulator: (f64, u64)) -> f64 {
///         accumulator.0 / accumulator.1 as f64
///     }
/// }
///
/// let env = Env::default();
/// let readings = [("a", 1.0), ("b", 5.0), ("a", 3.0)].map(|(k, v)| (k.to_string(), v));
/// let mut means = env.from_collection(readings).key_by_ref(|r| r.0.as_str()).aggregate(Mean).collect()?;
/// means.sort_by(|a, b| a.0.cmp(&b.0));
/// assert_eq!(means, [("a".to_string(), 2.0), ("b".to_string(), 5.0)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait Aggregator<T>: Clone + Send + Sync + 'static {
    /// What is kept of a key's records.
    type Accumulator: Data;
    /// What is given in the end.
    type Output: Data;
    /// The accumulator of no records.
    fn create(&self) -> Self::Accumulator;
    /// Adds a record.
    fn add(&self, accumulator: &mut Self::Accumulator, record: T);
    /// Adds what another worker has accumulated for the same key.
    fn merge(&self, accumulator: &mut Self::Accumulator, other: Self::Accumulator);
    /// The result.
    fn finish(&self, accumulator: Self::Accumulator) -> Self::Output;
}

impl<T: Data, S: KeySelector<T>> KeyedStream<T, S> {
    /// How many records each key has.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let words = env.from_collection(["to", "be", "or", "not", "to", "be"].map(String::from));
    /// let mut counts = words.key_by_ref(|w| w.as_str()).count().collect()?;
    /// counts.sort();
    /// assert_eq!(counts[0], ("be".to_string(), 2));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn count(&self) -> DataStream<(S::Key, u64)> {
        self.accumulate("count", Count)
    }

    /// One accumulator's result a key.
    pub fn aggregate<A: Aggregator<T>>(&self, aggregator: A) -> DataStream<(S::Key, A::Output)> {
        self.accumulate("aggregate", Aggregated::new(aggregator))
    }

    /// The records of each key reduced to one by a function that takes two and gives one. It must not matter in which order
    /// they are taken.
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.accumulate("reduce", Reduced { f, codec: Arc::new(RecordCodec::new()) }).piecewise().map(|(_, record)| record)
    }

    /// One record a key: the one with the smallest of `by`.
    pub fn min_by<M: PartialOrd>(&self, by: impl Fn(&T) -> M + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.reduce(move |a, b| if by(&b) < by(&a) { b } else { a })
    }

    /// One record a key: the one with the largest of `by`.
    pub fn max_by<M: PartialOrd>(&self, by: impl Fn(&T) -> M + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.reduce(move |a, b| if by(&b) > by(&a) { b } else { a })
    }

    /// The sum of a number of each record, by key. A sum that does not fit its type fails the job.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let sales = env.from_collection([("pen", 3u32), ("ink", 5), ("pen", 4)].map(|(k, v)| (k.to_string(), v)));
    /// let mut sums = sales.key_by_ref(|s| s.0.as_str()).sum(|s| s.1).collect()?;
    /// sums.sort();
    /// assert_eq!(sums, [("ink".to_string(), 5), ("pen".to_string(), 7)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn sum<V: Number>(&self, value: impl Fn(&T) -> V + Clone + Send + Sync + 'static) -> DataStream<(S::Key, V)> {
        self.accumulate("sum", Sum::new(value))
    }

    /// One record of each key; which one, if they differ, is not said.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let words = env.from_collection(["ant", "asp", "bee"].map(String::from));
    /// assert_eq!(words.key_by(|w| w.chars().next()).distinct().count()?, 2);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn distinct(&self) -> DataStream<T> {
        let kept = Reduced { f: |first: T, _: T| first, codec: Arc::new(RecordCodec::new()) };
        self.accumulate("distinct", kept).piecewise().map(|(_, record)| record)
    }

    /// Accumulates the records of each key as far as they meet on one worker before they leave it; a key may come out several
    /// times. For an aggregation that is finished elsewhere.
    ///
    /// ```
    /// # use fluvial_core::{Aggregator, Env};
    /// # #[derive(Clone)]
    /// # struct Total;
    /// # impl Aggregator<u64> for Total {
    /// #     type Accumulator = u64;
    /// #     type Output = u64;
    /// #     fn create(&self) -> u64 { 0 }
    /// #     fn add(&self, total: &mut u64, n: u64) { *total += n }
    /// #     fn merge(&self, total: &mut u64, other: u64) { *total += other }
    /// #     fn finish(&self, total: u64) -> u64 { total }
    /// # }
    /// # let env = Env::default();
    /// let partial = env.sequence(0..1000).key_by(|n| n % 2).combine(Total);
    /// let totals = partial.key_by(|p| p.0).sum(|p| p.1).collect()?;
    /// assert_eq!(totals.iter().map(|t| t.1).sum::<u64>(), 499_500);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn combine<A: Aggregator<T>>(&self, aggregator: A) -> DataStream<(S::Key, A::Accumulator)> {
        let rows = self.combined(Aggregated::new(aggregator));
        let partial = rows.operator(
            "combined",
            String::new(),
            Arc::new(|_| {
                let accumulators = RecordCodec::<A::Accumulator>::new();
                Ok(Box::new(super::numbers::Decode(move |rows: &RowBatch| -> Result<Batch> {
                    let result = |i| Ok((S::Key::decode(&mut rows.key(i))?, accumulators.decode(rows.payload(i))?));
                    Ok(Batch::typed((0..rows.len()).map(result).collect::<Result<Vec<(S::Key, A::Accumulator)>>>()?))
                })))
            }),
        );
        partial.env.graph().nodes[partial.node].timing = Timing::AtTheEnd;
        partial
    }

    /// Partial states of the records, as rows.
    fn combined<A: Accumulate<T>>(&self, accumulate: A) -> DataStream<T> {
        let selector = self.selector.clone();
        let combine = self.stream.sink(Arc::new(move |context| {
            Ok(AnyCollector::new::<T>(CombineSink::open(selector.clone(), accumulate.clone(), context)?))
        }));
        let env = &self.stream.env;
        DataStream::new(env, env.add(self.stream.after("combine", String::new(), combine).reserves(least::COMBINE)))
    }

    fn accumulate<A: Accumulate<T>>(&self, kind: &'static str, accumulate: A) -> DataStream<(S::Key, A::Output)> {
        self.accumulate_or(kind, accumulate, || None)
    }

    /// With what is given if there is no record at all.
    pub(super) fn accumulate_or<A: Accumulate<T>>(
        &self,
        kind: &'static str,
        accumulate: A,
        if_empty: impl Fn() -> Option<(S::Key, A::Output)> + Send + Sync + 'static,
    ) -> DataStream<(S::Key, A::Output)> {
        let width = S::WIDTH.map_or(KeyWidth::Variable, KeyWidth::Fixed);
        let shape = RowShape { key: width, row: accumulate.width().zip(S::WIDTH).map(|(state, key)| state + key) };
        let partial = self.combined(accumulate.clone());
        let env = &self.stream.env;
        let make = move |context: &crate::graph::TaskContext| -> Result<Box<dyn crate::Operator>> {
            let accumulate = accumulate.clone();
            let finishing = accumulate.clone();
            let finish = move |rows: &RowBatch| finished::<T, S, A>(&finishing, rows);
            let operator = AggregateOperator::open(width, accumulate, finish, context)?;
            // The worker that owns the empty key says what there is if there is nothing.
            let owner = hash::target(hash::hash_bytes(&[]), context.workers);
            let empty = if owner == context.worker { if_empty() } else { None };
            Ok(Box::new(operator.or_if_empty(empty.map(|e| Batch::typed(vec![e])))))
        };
        let mut node = partial
            .after(kind, String::new(), Body::Operator(Arc::new(make)))
            .reserves(least::AGGREGATE)
            .timing(Timing::AtTheEnd);
        let key = short_type_name::<S::Key>();
        node.inputs[0].distribution = Distribution::Hash { key, partitioner: Arc::new(move || Box::new(RowsByHash::new(shape))) };
        node.estimate = None;
        DataStream::new(env, env.add(node))
    }
}

fn finished<T: Data, S: KeySelector<T>, A: Accumulate<T>>(accumulate: &A, rows: &RowBatch) -> Result<Batch> {
    let result = |i| Ok((S::Key::decode(&mut rows.key(i))?, accumulate.finish(rows.payload(i))?));
    Ok(Batch::typed((0..rows.len()).map(result).collect::<Result<Vec<_>>>()?))
}

/// `alloc::string::String` as `String`.
pub(crate) fn short_type_name<T>() -> String {
    let name = std::any::type_name::<T>();
    name.split_inclusive(|c: char| !c.is_alphanumeric() && c != ':' && c != '_')
        .map(|p| p.rsplit("::").next().unwrap_or(p))
        .collect()
}

/// Counts records in a `u64`.
#[derive(Clone)]
pub(super) struct Count;

impl Aggregation for Count {
    fn width(&self) -> Option<usize> {
        Some(8)
    }
    #[inline]
    fn merge(&self, state: &mut [u8], other: &[u8]) -> fluvial_memory::Result<()> {
        add_u64(state, read_u64(other));
        Ok(())
    }
}

impl<T> Accumulate<T> for Count {
    type Output = u64;
    fn lift(&self, _record: T, out: &mut Vec<u8>) -> fluvial_memory::Result<()> {
        out.extend_from_slice(&1u64.to_le_bytes());
        Ok(())
    }
    #[inline]
    fn add(&self, _record: T, state: &mut [u8]) -> Result<()> {
        add_u64(state, 1);
        Ok(())
    }
    fn finish(&self, state: &[u8]) -> Result<u64> {
        Ok(read_u64(state))
    }
}

#[inline]
fn read_u64(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(word)
}

#[inline]
fn add_u64(state: &mut [u8], n: u64) {
    let sum = read_u64(state) + n;
    state[..8].copy_from_slice(&sum.to_le_bytes());
}

/// A user's aggregator; the state is the encoded accumulator.
pub(super) struct Aggregated<T, A: Aggregator<T>> {
    aggregator: A,
    codec: Arc<RecordCodec<A::Accumulator>>,
    record: PhantomData<fn(T)>,
}

impl<T, A: Aggregator<T>> Aggregated<T, A> {
    pub(super) fn new(aggregator: A) -> Self {
        Self { aggregator, codec: Arc::new(RecordCodec::new()), record: PhantomData }
    }

    fn merged(&self, state: &[u8], other: &[u8]) -> fluvial_memory::Result<A::Accumulator> {
        let mut accumulator = self.codec.decode(state)?;
        self.aggregator.merge(&mut accumulator, self.codec.decode(other)?);
        Ok(accumulator)
    }

    /// Writes an accumulator of fixed width over a state. Every record does, so what it is encoded into is kept.
    fn put(&self, accumulator: &A::Accumulator, state: &mut [u8]) -> fluvial_memory::Result<()> {
        thread_local!(static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        ENCODED.with_borrow_mut(|bytes| {
            bytes.clear();
            self.codec.encode(accumulator, bytes)?;
            state.copy_from_slice(bytes);
            Ok(())
        })
    }
}

impl<T, A: Aggregator<T>> Clone for Aggregated<T, A> {
    fn clone(&self) -> Self {
        Self { aggregator: self.aggregator.clone(), codec: self.codec.clone(), record: PhantomData }
    }
}

impl<T: 'static, A: Aggregator<T>> Aggregation for Aggregated<T, A> {
    fn width(&self) -> Option<usize> {
        self.codec.width()
    }
    fn init(&self, state: &mut [u8]) {
        // A fixed-width accumulator of the user's own making encodes, or its codec would have no width.
        let _ = self.put(&self.aggregator.create(), state);
    }
    fn merge(&self, state: &mut [u8], other: &[u8]) -> fluvial_memory::Result<()> {
        self.put(&self.merged(state, other)?, state)
    }
    fn merge_into(&self, state: &mut [u8], other: &[u8], out: &mut Vec<u8>) -> fluvial_memory::Result<bool> {
        self.codec.encode(&self.merged(state, other)?, out)?;
        Ok(true)
    }
}

impl<T: 'static, A: Aggregator<T>> Accumulate<T> for Aggregated<T, A> {
    type Output = A::Output;

    fn lift(&self, record: T, out: &mut Vec<u8>) -> fluvial_memory::Result<()> {
        let mut accumulator = self.aggregator.create();
        self.aggregator.add(&mut accumulator, record);
        self.codec.encode(&accumulator, out)
    }

    fn add(&self, record: T, state: &mut [u8]) -> Result<()> {
        let mut accumulator = self.codec.decode(state)?;
        self.aggregator.add(&mut accumulator, record);
        Ok(self.put(&accumulator, state)?)
    }

    fn finish(&self, state: &[u8]) -> Result<A::Output> {
        Ok(self.aggregator.finish(self.codec.decode(state)?))
    }
}

/// A user's reduction; the state is the encoded record. No records have no state, so it is never of fixed width.
struct Reduced<T, F> {
    f: F,
    codec: Arc<RecordCodec<T>>,
}

impl<T, F: Clone> Clone for Reduced<T, F> {
    fn clone(&self) -> Self {
        Self { f: self.f.clone(), codec: self.codec.clone() }
    }
}

impl<T: Data, F: Fn(T, T) -> T> Aggregation for Reduced<T, F> {
    fn width(&self) -> Option<usize> {
        None
    }
    fn merge(&self, _state: &mut [u8], _other: &[u8]) -> fluvial_memory::Result<()> {
        Err(fluvial_memory::Error::Unsupported("a reduction has no state of fixed width".into()))
    }
    fn merge_into(&self, state: &mut [u8], other: &[u8], out: &mut Vec<u8>) -> fluvial_memory::Result<bool> {
        let reduced = (self.f)(self.codec.decode(state)?, self.codec.decode(other)?);
        self.codec.encode(&reduced, out)?;
        Ok(true)
    }
}

impl<T: Data, F: Fn(T, T) -> T + Clone + Send + Sync + 'static> Accumulate<T> for Reduced<T, F> {
    type Output = T;
    fn lift(&self, record: T, out: &mut Vec<u8>) -> fluvial_memory::Result<()> {
        self.codec.encode(&record, out)
    }
    fn add(&self, _record: T, _state: &mut [u8]) -> Result<()> {
        Err(Error::Plan("a reduction has no state of fixed width".into()))
    }
    fn finish(&self, state: &[u8]) -> Result<T> {
        Ok(self.codec.decode(state)?)
    }
}
