//! Spreading records over the workers by a key.

use super::group::{UnitKey, unit_key};
use super::{Data, DataStream, KeyFn, KeySelector, aggregate::short_type_name};
use crate::blocking::{Shelf, TypedRows, least};
use crate::exchange::{Emit, TypedByHash, split_typed};
use crate::graph::{Body, Distribution, OperatorFactory, TaskContext, Timing};
use crate::runtime::Partitioner;
use crate::{Batch, Operator, Output, Progress, Result};
use fluvial_memory::NormalizedKey;
use std::marker::PhantomData;
use std::sync::Arc;

/// Keys that each worker draws from its records to cut the ranges.
const SAMPLED_KEYS: usize = 1024;

/// A normalized key, and how many records it stands for.
type Sampled = (Vec<u8>, u64);

impl<T: Data> DataStream<T> {
    /// The next operation finds records of equal keys on the same worker.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let spread = env.sequence(0..100).partition_by_hash(|n| n % 10);
    /// // Each key's records are counted on one worker.
    /// let keys = spread.map_partition(|numbers| numbers.map(|n| n % 10).collect::<std::collections::BTreeSet<u64>>().into_iter());
    /// assert_eq!(keys.count()?, 10);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    pub fn partition_by_hash<K: NormalizedKey + Data>(
        &self,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        let selector = KeyFn::new(key);
        let mut spread = self.settled();
        spread.distribution = Distribution::Hash {
            key: short_type_name::<K>(),
            partitioner: Arc::new(move || Box::new(TypedByHash::new(selector.clone()))),
        };
        spread
    }

    /// Each worker gets a range of the keys: all of a worker are smaller than those of the next one. The ranges are cut by a
    /// sample of all records, which wait in memory and on disk until it is drawn.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let ranges = env.sequence(0..1000).partition_by_range(|n| *n).sort_partition(|n| *n);
    /// assert_eq!(ranges.count()?, 1000);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    pub fn partition_by_range<K: NormalizedKey + Data>(
        &self,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        let stream = self.settled();
        let selector = KeyFn::new(key);
        let sampling = selector.clone();
        let sample: OperatorFactory = Arc::new(move |context| Ok(Box::new(Sample::<T, _>::new(sampling.clone(), context))));
        let sample = stream.operator::<Sampled>("sample", String::new(), sample);
        let make: OperatorFactory = Arc::new(move |context| Ok(Box::new(Ranges::<T, _>::open(selector.clone(), context)?)));
        let mut node =
            stream.after("range", String::new(), Body::Operator(make)).reserves(least::GROUPING).timing(Timing::AtTheEnd);
        node.inputs.push(sample.input_by(Distribution::Broadcast));
        let mut placed = DataStream::<(u64, T)>::new(&self.env, self.env.add(node));
        placed.distribution =
            Distribution::Range { key: short_type_name::<K>(), partitioner: Arc::new(|| Box::new(ByPlace::<T>(PhantomData))) };
        placed.map(|(_, record)| record)
    }
}

/// Draws keys of a worker's records, each with the same chance (Vitter's algorithm R).
struct Sample<T, S> {
    selector: S,
    keys: Vec<Vec<u8>>,
    seen: u64,
    random: u64,
    record: PhantomData<fn(T)>,
}

impl<T, S> Sample<T, S> {
    fn new(selector: S, context: &TaskContext) -> Self {
        let random = 0x9e37_79b9_7f4a_7c15 ^ context.worker as u64;
        Self { selector, keys: Vec::new(), seen: 0, random, record: PhantomData }
    }

    /// A number below `bound` (xorshift64, Marsaglia 2003).
    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((u128::from(self.random) * u128::from(bound)) >> 64) as u64
    }
}

impl<T: Data, S: KeySelector<T>> Operator for Sample<T, S> {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        for record in &batch.typed_records::<T>()? {
            self.seen += 1;
            let at = match self.keys.len() {
                n if n < SAMPLED_KEYS => {
                    self.keys.push(Vec::new());
                    n
                }
                _ => self.below(self.seen) as usize,
            };
            if let Some(key) = self.keys.get_mut(at) {
                key.clear();
                self.selector.encode(record, key);
            }
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let keys = std::mem::take(&mut self.keys);
        if !keys.is_empty() {
            let weight = self.seen.div_ceil(keys.len() as u64);
            out.send(0, Batch::typed(keys.into_iter().map(|k| (k, weight)).collect::<Vec<Sampled>>()))?;
        }
        Ok(Progress::Done)
    }
}

/// Keeps the records of input 0 until input 1 has brought the samples of all workers, which make the same ranges
/// everywhere; then puts the number of its range before each.
struct Ranges<T: Data, S> {
    selector: S,
    workers: usize,
    shelf: Shelf<TypedRows<T, UnitKey<T>>>,
    samples: Vec<Sampled>,
    /// The smallest key of each range but the first.
    splitters: Option<Vec<Vec<u8>>>,
    key: Vec<u8>,
}

impl<T: Data, S> Ranges<T, S> {
    fn open(selector: S, context: &TaskContext) -> Result<Self> {
        let shelf = Shelf::open(TypedRows::new(unit_key()), context)?;
        Ok(Self { selector, workers: context.workers, shelf, samples: Vec::new(), splitters: None, key: Vec::new() })
    }
}

/// Cuts sampled keys into ranges of about the same weight.
fn splitters(mut samples: Vec<Sampled>, ranges: usize) -> Vec<Vec<u8>> {
    samples.sort_unstable();
    let total: u64 = samples.iter().map(|s| s.1).sum();
    let mut splitters = Vec::with_capacity(ranges.saturating_sub(1));
    let mut before = 0;
    for (key, weight) in samples {
        while splitters.len() + 1 < ranges && before >= total * (splitters.len() as u64 + 1) / ranges as u64 {
            splitters.push(key.clone());
        }
        before += weight;
    }
    splitters
}

impl<T: Data, S: KeySelector<T>> Operator for Ranges<T, S> {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        if input == 0 {
            return self.shelf.push(batch);
        }
        self.samples.extend(batch.typed_records::<Sampled>()?);
        Ok(Progress::Done)
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        self.shelf.resume()
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.shelf.close()?;
        if progress != Progress::Done {
            return Ok(progress);
        }
        let workers = self.workers;
        let splitters = self.splitters.get_or_insert_with(|| splitters(std::mem::take(&mut self.samples), workers));
        while let Some(mut batch) = self.shelf.take()? {
            let times = batch.event_times.take();
            let mut placed = Vec::with_capacity(batch.len());
            for record in batch.typed_records::<T>()? {
                self.key.clear();
                self.selector.encode(&record, &mut self.key);
                let range = splitters.partition_point(|s| s.as_slice() <= self.key.as_slice());
                placed.push((range as u64, record));
            }
            let mut batch = Batch::typed(placed);
            batch.event_times = times;
            out.send(0, batch)?;
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}

/// Sends each record to the worker whose number stands before it.
struct ByPlace<T>(PhantomData<fn(T)>);

impl<T: Data> Partitioner for ByPlace<T> {
    fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        split_typed::<(u64, T)>(batch, targets, |record| record.0 as usize % targets, emit)
    }

    fn flush(&mut self, _targets: usize, _emit: Emit<'_>) -> Result<()> {
        Ok(())
    }
}
