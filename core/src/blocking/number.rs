//! Numbering the records of a stream without gaps: every worker counts what it has and tells all others, then each knows
//! where its records begin. Batches with a position are counted by it, so that numbers follow the order of the stream.

use super::{RowFormat, Shelf};
use crate::graph::{OperatorFactory, TaskContext};
use crate::{Batch, Operator, Output, Position, Progress, Records, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where records stand in the order: range and sequence, if they have a position, then the worker that has them.
type Place = (Option<(u64, u64)>, u64);

/// How many records there are at a place.
pub(crate) type PlaceCount = (Place, u64);

fn place(position: Option<Position>, worker: u64) -> Place {
    (position.map(|p| (p.range, p.sequence)), worker)
}

/// Counts the records of each place, and tells in the end.
pub(crate) fn counting() -> OperatorFactory {
    Arc::new(|context| Ok(Box::new(Counting { worker: context.worker as u64, counts: BTreeMap::new() })))
}

struct Counting {
    worker: u64,
    counts: BTreeMap<Place, u64>,
}

impl Operator for Counting {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        *self.counts.entry(place(batch.position, self.worker)).or_default() += batch.len() as u64;
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let counts: Vec<PlaceCount> = std::mem::take(&mut self.counts).into_iter().collect();
        if !counts.is_empty() {
            out.send(0, Batch::typed(counts))?;
        }
        Ok(Progress::Done)
    }
}

/// Keeps the batches of input 0 until input 1 has brought the counts of all workers; then gives each to `number`, with the
/// number of its first record.
pub(crate) fn numbering<F: RowFormat>(
    format: impl Fn() -> F + Send + Sync + 'static,
    number: impl Fn(Batch, u64) -> Result<Batch> + Clone + Send + Sync + 'static,
) -> OperatorFactory {
    Arc::new(move |context| Ok(Box::new(Numbering::open(format(), number.clone(), context)?)))
}

struct Numbering<F, N> {
    worker: u64,
    shelf: Shelf<F>,
    counts: Vec<PlaceCount>,
    /// The next number at each place of this worker; filled once all counts are there.
    next: BTreeMap<Place, u64>,
    number: N,
}

impl<F: RowFormat, N> Numbering<F, N> {
    fn open(format: F, number: N, context: &TaskContext) -> Result<Self> {
        let shelf = Shelf::open(format, context)?;
        Ok(Self { worker: context.worker as u64, shelf, counts: Vec::new(), next: BTreeMap::new(), number })
    }
}

impl<F: RowFormat, N: Fn(Batch, u64) -> Result<Batch> + 'static> Operator for Numbering<F, N> {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        if input == 0 {
            return self.shelf.push(batch);
        }
        let counts = batch.typed_records::<PlaceCount>()?;
        self.counts.extend(counts);
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
        let mut counts = std::mem::take(&mut self.counts);
        counts.sort_unstable();
        let mut first = 0;
        for (place, count) in counts {
            if place.1 == self.worker {
                self.next.insert(place, first);
            }
            first += count;
        }
        while let Some(batch) = self.shelf.take()? {
            let next = self.next.entry(place(batch.position, self.worker)).or_default();
            let first = *next;
            *next += batch.len() as u64;
            out.send(0, (self.number)(batch, first)?)?;
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}

/// Lets no more of a worker's records pass than can be among the first `limit` of the stream.
pub(crate) struct FirstOfWorker {
    limit: u64,
    /// Records that passed, by place; those that cannot matter are forgotten.
    passed: BTreeMap<Place, u64>,
    /// Their sum.
    total: u64,
    cut: fn(Batch, usize) -> Result<Batch>,
}

impl FirstOfWorker {
    pub(crate) fn new(limit: u64, cut: fn(Batch, usize) -> Result<Batch>) -> Self {
        Self { limit, passed: BTreeMap::new(), total: 0, cut }
    }

    /// How many of the records at this place pass.
    fn pass(&mut self, place: Place, records: u64) -> u64 {
        // Mostly batches come in order.
        let before = match self.passed.last_key_value() {
            Some((last, _)) if *last > place => self.passed.range(..=place).map(|(_, n)| n).sum(),
            _ => self.total,
        };
        let wanted = records.min(self.limit.saturating_sub(before));
        if wanted == 0 {
            return 0;
        }
        *self.passed.entry(place).or_default() += wanted;
        self.total += wanted;
        // What stands behind the first `limit` can be forgotten: nothing passes there any more.
        while let Some((last, count)) = self.passed.last_key_value().map(|(p, n)| (*p, *n))
            && self.total - count >= self.limit
        {
            self.passed.remove(&last);
            self.total -= count;
        }
        wanted
    }
}

impl Operator for FirstOfWorker {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let wanted = self.pass(place(batch.position, 0), batch.len() as u64);
        let last = batch.position.is_some_and(|p| p.last);
        if wanted > 0 || last {
            out.send(0, (self.cut)(batch, wanted as usize)?)?;
        }
        Ok(Progress::Done)
    }
}

/// The first `count` records of a typed batch.
pub(crate) fn cut_typed<T: Clone + Send + 'static>(mut batch: Batch, count: usize) -> Result<Batch> {
    if count >= batch.len() {
        return Ok(batch);
    }
    let (position, mut times) = (batch.position, batch.event_times.take());
    let mut records = batch.typed_records::<T>()?;
    records.truncate(count);
    times.iter_mut().for_each(|t| t.truncate(count));
    let mut batch = Batch::typed(records);
    (batch.position, batch.event_times) = (position, times);
    Ok(batch)
}

/// The first `count` rows of a batch of columns.
pub(crate) fn cut_table(mut batch: Batch, count: usize) -> Result<Batch> {
    if let Records::Table(records) = &mut batch.records
        && count < records.num_rows()
    {
        *records = records.slice(0, count);
    }
    Ok(batch)
}
