use super::{Data, DataStream, typed_port};
use crate::chain::{AnyCollector, BoxCollector, Context};
use crate::graph::{Body, Estimate, Node, NodeMetrics, TaskContext, Timing};
use crate::{Env, Output, Progress, Result, Source};
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Records pushed in one call of a source.
const POLL_RECORDS: usize = 1024;

impl Env {
    /// A stream of these records. In a program of several processes each has the same collection and reads its part.
    pub fn from_collection<T: Data + Sync>(&self, records: impl IntoIterator<Item = T>) -> DataStream<T> {
        let records: Arc<[T]> = records.into_iter().collect();
        let count = records.len() as u64;
        self.bounded_source("collection", count, size_of::<T>(), move |part| {
            let records = records.clone();
            Box::new((part.start as usize..part.end as usize).map(move |i| records[i].clone()))
        })
    }

    /// `count` records, each made from its number. Every worker makes a contiguous part.
    pub fn generate<T: Data>(&self, count: u64, make: impl Fn(u64) -> T + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.bounded_source("generate", count, size_of::<T>(), move |part| {
            let make = make.clone();
            Box::new(part.map(make))
        })
    }

    /// The numbers of a range, in parallel.
    pub fn sequence(&self, range: impl RangeBounds<u64>) -> DataStream<u64> {
        use std::ops::Bound::*;
        let start = match range.start_bound() {
            Included(&s) => s,
            Excluded(&s) => s.saturating_add(1),
            Unbounded => 0,
        };
        let end = match range.end_bound() {
            Included(&e) => e.saturating_add(1),
            Excluded(&e) => e,
            Unbounded => u64::MAX,
        };
        self.bounded_source("sequence", end.saturating_sub(start), 8, move |part| Box::new(part.map(move |i| start + i)))
    }

    /// A source of `count` records of which each worker makes the part of its share of the numbers.
    fn bounded_source<T: Data>(
        &self,
        kind: &'static str,
        count: u64,
        record_bytes: usize,
        part: impl Fn(std::ops::Range<u64>) -> Box<dyn Iterator<Item = T>> + Send + Sync + 'static,
    ) -> DataStream<T> {
        let make = move |context: &TaskContext, next: AnyCollector| -> Result<Box<dyn Source>> {
            let share = |worker: usize| (u128::from(count) * worker as u128 / context.workers as u128) as u64;
            let records = part(share(context.worker)..share(context.worker + 1));
            let metrics = context.metrics.clone();
            Ok(Box::new(IteratorSource { records, next: next.into::<T>()?, metrics, ended: false }))
        };
        let node = Node {
            kind,
            name: None,
            uid: None,
            detail: format!("{count} records"),
            inputs: Vec::new(),
            build_input: None,
            body: Body::Source { make: Arc::new(make), port: typed_port::<T>() },
            memory: 0,
            outputs: 1,
            sides: Vec::new(),
            timing: Timing::AsTheyCome,
            bounded: true,
            estimate: Some(Estimate { bytes: count as f64 * record_bytes as f64 }),
        };
        DataStream::new(self, self.add(node))
    }
}

/// Pushes an iterator's records.
struct IteratorSource<T> {
    records: Box<dyn Iterator<Item = T>>,
    next: BoxCollector<T>,
    metrics: Arc<NodeMetrics>,
    ended: bool,
}

impl<T: Data> Source for IteratorSource<T> {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let progress = if self.ended {
            self.next.finish(&mut context)
        } else {
            let mut left = POLL_RECORDS;
            while left > 0 {
                let Some(record) = self.records.next() else {
                    self.ended = true;
                    break;
                };
                self.next.push(record, &mut context);
                left -= 1;
            }
            self.metrics.rows_read.fetch_add((POLL_RECORDS - left) as u64, Relaxed);
            self.next.end_batch(None, &mut context);
            Progress::More
        };
        context.check()?;
        Ok(progress)
    }

    fn stop(&mut self) {
        self.ended = true;
    }
}
