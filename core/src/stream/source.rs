use super::{Data, DataStream, typed_port};
use crate::chain::{AnyCollector, BoxCollector, Context};
use crate::graph::{Body, Estimate, Node, NodeMetrics, TaskContext, Timing};
use crate::source::position;
use crate::{Env, Error, Output, Progress, Restored, Result, Snapshot, Source};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ops::{Range, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Records pushed in one call of a source.
const POLL_RECORDS: usize = 1024;

impl Env {
    /// A stream of these records. In a program of several processes each has the same collection and reads its part. A job that
    /// goes on from a checkpoint reads on where it was, with any number of workers, as those of all bounded sources do.
    pub fn from_collection<T: Data + Sync>(&self, records: impl IntoIterator<Item = T>) -> DataStream<T> {
        let records: Arc<[T]> = records.into_iter().collect();
        let count = records.len() as u64;
        self.bounded_source("collection", count, size_of::<T>(), move |part| {
            let records = records.clone();
            Box::new((part.start as usize..part.end as usize).map(move |i| records[i].clone()))
        })
    }

    /// `count` records, each made from its number. Every worker makes a contiguous part. A restored job makes the numbers that
    /// are left, so the same number must give the same record again.
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
        part: impl Fn(Range<u64>) -> Box<dyn Iterator<Item = T>> + Send + Sync + 'static,
    ) -> DataStream<T> {
        let part: PartFn<T> = Arc::new(part);
        let make = move |context: &TaskContext, next: AnyCollector| -> Result<Box<dyn Source>> {
            let (worker, workers) = (context.worker, context.workers);
            let numbers = Numbers::all(count).share(worker, workers);
            Ok(Box::new(IteratorSource {
                part: part.clone(),
                numbers,
                records: None,
                worker,
                workers,
                next: next.into::<T>()?,
                metrics: context.metrics.clone(),
                ended: false,
            }))
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
            feedback: Vec::new(),
            aware: false,
            piecewise: crate::graph::Piecewise::Never,
            timing: Timing::AsTheyCome,
            bounded: true,
            estimate: Some(Estimate { bytes: count as f64 * record_bytes as f64 }),
        };
        DataStream::new(self, self.add(node))
    }
}

/// Makes the records of some numbers.
type PartFn<T> = Arc<dyn Fn(Range<u64>) -> Box<dyn Iterator<Item = T>> + Send + Sync>;

/// The numbers whose records an instance still has to make, and so its position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Numbers {
    /// How many there are of all instances.
    count: u64,
    /// Number of instances.
    instances: u64,
    /// Ranges by their first number and the one after their last, in order.
    left: VecDeque<(u64, u64)>,
}

impl Numbers {
    fn all(count: u64) -> Self {
        Self { count, instances: 1, left: [(0, count)].into() }
    }

    /// What instance `worker` of `workers` makes of these: a share of about the same size, contiguous but for what is
    /// missing.
    fn share(&self, worker: usize, workers: usize) -> Self {
        let total: u128 = self.left.iter().map(|(start, end)| u128::from(end - start)).sum();
        let bound = |worker: usize| (total * worker as u128 / workers as u128) as u64;
        let (from, to) = (bound(worker), bound(worker + 1));
        let mut before = 0;
        let mut left = VecDeque::new();
        for (start, end) in &self.left {
            let length = end - start;
            let cut = |at: u64| start + at.clamp(before, before + length) - before;
            if cut(from) < cut(to) {
                left.push_back((cut(from), cut(to)));
            }
            before += length;
        }
        Self { count: self.count, instances: workers as u64, left }
    }

    /// What former instances have left of `count` records.
    ///
    /// # Errors
    /// [`Error::Plan`] if the position of one of them is missing.
    fn together(former: Vec<Self>, count: u64) -> Result<Self> {
        if let Some(wrong) = former.iter().find(|numbers| numbers.instances != former.len() as u64) {
            let (found, expected) = (former.len(), wrong.instances);
            return Err(Error::Plan(format!("the restored state has the positions of {found} of {expected} instances")));
        }
        // There may be more records now, or fewer.
        let counted = former.first().map_or(0, |numbers| numbers.count);
        let ranges = former.into_iter().flat_map(|numbers| numbers.left).chain([(counted, count)]);
        let mut left: Vec<_> = ranges.map(|(start, end)| (start, end.min(count))).filter(|(start, end)| start < end).collect();
        left.sort_unstable();
        Ok(Self { count, instances: 1, left: left.into() })
    }
}

/// Pushes the records of numbers.
struct IteratorSource<T> {
    part: PartFn<T>,
    numbers: Numbers,
    /// Those of the first range.
    records: Option<Box<dyn Iterator<Item = T>>>,
    worker: usize,
    workers: usize,
    next: BoxCollector<T>,
    metrics: Arc<NodeMetrics>,
    ended: bool,
}

impl<T: Data> IteratorSource<T> {
    /// Pushes some records of the first range; false if there are none left.
    fn push(&mut self, context: &mut Context<'_>) -> bool {
        let Some((start, end)) = self.numbers.left.front_mut() else { return false };
        let records = self.records.get_or_insert_with(|| (self.part)(*start..*end));
        let mut left = POLL_RECORDS;
        let ended = loop {
            if left == 0 {
                break false;
            }
            let Some(record) = records.next() else { break true };
            self.next.push(record, context);
            left -= 1;
        };
        let pushed = (POLL_RECORDS - left) as u64;
        *start += pushed;
        self.metrics.rows_read.fetch_add(pushed, Relaxed);
        if ended {
            self.records = None;
            self.numbers.left.pop_front();
        }
        self.next.end_batch(None, context);
        true
    }
}

impl<T: Data> Source for IteratorSource<T> {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let mut progress = Progress::More;
        if self.ended {
            progress = self.next.finish(&mut context);
        } else {
            self.ended = !self.push(&mut context);
        }
        context.check()?;
        Ok(progress)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        position::save(&self.numbers)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        let former: Vec<Numbers> = position::load(&state)?;
        if !former.is_empty() {
            self.numbers = Numbers::together(former, self.numbers.count)?.share(self.worker, self.workers);
            self.records = None;
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{Driven, NoOutput};
    use proptest::prelude::*;

    fn every_number(numbers: &[Numbers]) -> Vec<u64> {
        let mut all: Vec<u64> = numbers.iter().flat_map(|n| n.left.iter().flat_map(|(start, end)| *start..*end)).collect();
        all.sort();
        all
    }

    proptest! {
        #[test]
        fn shares_of_what_is_left_are_of_one_size_and_make_the_whole(
            cuts in prop::collection::btree_set(0u64..200, 0..8),
            former in 1usize..4,
            workers in 1usize..5,
            count in 0u64..250,
        ) {
            let cuts: Vec<u64> = cuts.into_iter().collect();
            let mut ranges = vec![VecDeque::new(); former];
            for (at, range) in cuts.chunks_exact(2).enumerate() {
                ranges[at % former].push_back((range[0], range[1]));
            }
            let former: Vec<_> = ranges.into_iter().map(|left| Numbers { count: 200, instances: former as u64, left }).collect();
            let mut expected = every_number(&former);
            expected.extend(200..count);
            expected.retain(|n| *n < count);
            let all = Numbers::together(former, count).unwrap();
            let shares: Vec<Numbers> = (0..workers).map(|worker| all.share(worker, workers)).collect();
            let sizes: Vec<usize> = shares.iter().map(|share| every_number(std::slice::from_ref(share)).len()).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{:?}", sizes);
            prop_assert_eq!(every_number(&shares), expected);
        }
    }

    #[test]
    fn a_sequence_goes_on_with_another_number_of_workers() {
        let count = 10 * POLL_RECORDS as u64;
        for workers in [1, 2, 3] {
            let stream = Env::default().sequence(5..5 + count);
            let mut seen = Vec::new();
            let mut sections = Vec::new();
            for (round, instances) in [2, workers].into_iter().enumerate() {
                let mut now = Vec::new();
                for (worker, mut driven) in Driven::all(&stream, instances, &sections).into_iter().enumerate() {
                    for _ in 0..=(worker + round) {
                        assert_eq!(driven.source.poll(&mut NoOutput).unwrap(), Progress::More);
                    }
                    now.extend(driven.snapshot());
                    seen.append(&mut driven.records.lock().unwrap());
                }
                sections = now;
            }
            for mut driven in Driven::all(&stream, 3, &sections) {
                seen.extend(driven.run_to_end());
            }
            seen.sort();
            assert!(seen.into_iter().eq(5..5 + count), "{workers} workers");
            let error = Driven::try_restored(&stream, sections[1..].to_vec()).err().map(|e| e.to_string());
            let expected = (workers > 1).then(|| format!("of {} of {workers} instances", workers - 1));
            assert!(error.as_deref().unwrap_or_default().contains(expected.as_deref().unwrap_or_default()), "{error:?}");
        }
    }
}
