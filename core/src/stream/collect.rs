use super::{Data, DataStream, typed_batch_codec};
use crate::codec::RecordCodec;
use crate::graph::{Body, Distribution, TaskContext};
use crate::runtime::BatchCodec;
use crate::{Batch, Error, JobReport, Operator, Output, Position, Progress, Restored, Result, Snapshot, StateSection};
use std::sync::{Arc, Mutex, MutexGuard};

impl<T: Data> DataStream<T> {
    /// Runs the job that leads to this stream and returns its records; in every process the same. Where the stream is
    /// ordered (behind a sort) the records come in that order. In a job with checkpoints they are state, all of them each
    /// time: for many, a sink is better.
    ///
    /// # Errors
    /// The first error of any operator.
    pub fn collect(&self) -> Result<Vec<T>> {
        let batches = collect_batches(self.env.config().hosts.len(), typed_batch_codec::<T>(), |make, distribution| {
            let mut node = self.after("collect", String::new(), make);
            node.inputs[0].distribution = distribution;
            node.outputs = 0;
            let id = self.env.add(node);
            self.env.run("collect", &[id])
        })?;
        let mut records = Vec::with_capacity(batches.iter().map(Batch::len).sum());
        for batch in batches {
            records.extend(batch.into_typed::<T>().map_err(|b| crate::Error::Plan(format!("collect got {b:?}")))?);
        }
        Ok(records)
    }

    /// Runs the job that leads to this stream and returns how many records it has.
    ///
    /// # Errors
    /// The first error of any operator.
    pub fn count(&self) -> Result<u64> {
        let counts = self.count_records().collect()?;
        Ok(counts.into_iter().sum())
    }

    /// One number a worker: how many records it saw.
    fn count_records(&self) -> DataStream<u64> {
        self.operator("count", String::new(), Arc::new(|context| Ok(Box::new(CountOperator::new(context)))))
    }
}

/// Counts the records of one worker.
pub(crate) struct CountOperator {
    records: u64,
    worker: (usize, usize),
}

impl CountOperator {
    pub(crate) fn new(context: &TaskContext) -> Self {
        Self { records: 0, worker: (context.worker, context.workers) }
    }
}

impl Operator for CountOperator {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        self.records += batch.len() as u64;
        Ok(Progress::Done)
    }
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        out.send(0, Batch::typed(vec![self.records]))?;
        Ok(Progress::Done)
    }
    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let section = RecordCodec::new().section(&format!("{COUNT}{}", self.worker.0), &self.records)?;
        Ok(Snapshot { sections: vec![section], deferred: Vec::new() })
    }
    /// Each takes the counts of the former workers whose number is its own modulo the number of workers.
    fn restore(&mut self, state: Restored) -> Result<()> {
        let (worker, workers) = self.worker;
        let former = |section: &StateSection| section.name.strip_prefix(COUNT).and_then(|w| w.parse::<usize>().ok());
        for section in state.sections.iter().filter(|section| former(section).is_some_and(|w| w % workers == worker)) {
            self.records += RecordCodec::<u64>::new().from_section(section)?;
        }
        Ok(())
    }
}

/// Names the state of a count; the worker's number follows.
const COUNT: &str = "count of worker ";

/// Batches in the order of their positions; those without one keep the order in which they came.
type Collected = Arc<Mutex<Vec<(Option<Position>, Batch)>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Runs a job that ends in a collecting sink and returns the batches, sorted by position.
pub(crate) fn collect_batches(
    processes: usize,
    codec: Arc<dyn BatchCodec>,
    run: impl FnOnce(Body, Distribution) -> Result<JobReport>,
) -> Result<Vec<Batch>> {
    /// That a run of the job has begun.
    struct Begun;
    // One an instance.
    let collected: Arc<Mutex<Vec<Collected>>> = Arc::default();
    let sink = collected.clone();
    let make = move |context: &TaskContext| -> Result<Box<dyn Operator>> {
        // What a run has collected that failed is collected again, or is state.
        context.shared(|| {
            lock(&sink).clear();
            Begun
        });
        let own = Collected::default();
        lock(&sink).push(own.clone());
        let (alone, first) = (context.processes == 1, context.local_worker == 0);
        let role = Role { keeps: alone || first, saves: context.process == 0, restores: first };
        Ok(Box::new(CollectOperator { role, collected: own, codec: codec.clone() }))
    };
    // Several processes: everybody gets everything, and one worker of each process keeps it.
    let distribution = if processes > 1 { Distribution::Broadcast } else { Distribution::Forward };
    run(Body::Operator(Arc::new(make)), distribution)?;
    let instances = std::mem::take(&mut *lock(&collected));
    let mut batches: Vec<_> = instances.iter().flat_map(|instance| std::mem::take(&mut *lock(instance))).collect();
    batches.sort_by_key(|(position, _)| *position);
    Ok(batches.into_iter().map(|(_, batch)| batch).filter(|b| !b.is_empty()).collect())
}

/// What an instance does: all processes have the same records.
struct Role {
    keeps: bool,
    saves: bool,
    restores: bool,
}

struct CollectOperator {
    role: Role,
    collected: Collected,
    codec: Arc<dyn BatchCodec>,
}

/// The state: batches, each behind its length in bytes (u64 LE). They have no order there.
const BATCHES: &str = "collected";

impl Operator for CollectOperator {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        if self.role.keeps {
            lock(&self.collected).push((batch.position, batch));
        }
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        if self.role.keeps && self.role.saves {
            let (mut bytes, mut encoded) = (Vec::new(), Vec::new());
            for (_, batch) in lock(&self.collected).iter() {
                encoded.clear();
                self.codec.encode(batch, &mut encoded)?;
                bytes.extend_from_slice(&(encoded.len() as u64).to_le_bytes());
                bytes.extend_from_slice(&encoded);
            }
            snapshot.sections.push(StateSection { name: BATCHES.to_owned(), bytes, ..StateSection::default() });
        }
        Ok(snapshot)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        if !self.role.restores {
            return Ok(());
        }
        for section in &state.sections {
            let mut rest = section.bytes.as_slice();
            while !rest.is_empty() {
                let batch = rest
                    .split_first_chunk::<8>()
                    .and_then(|(length, after)| after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?));
                let at = section.bytes.len() - rest.len();
                let cut_off = || Error::Plan(format!("the restored state `{BATCHES}` is cut off at byte {at}"));
                let (batch, after) = batch.ok_or_else(cut_off)?;
                lock(&self.collected).push((None, self.codec.decode(batch)?));
                rest = after;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;
    use crate::testing::checkpoints::{Checkpoints, run_from};
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    #[test]
    fn what_was_collected_and_counted_before_a_failure_is_there_after_it() {
        for (before, after) in [(1, 2), (2, 1), (2, 3)] {
            let kept = Checkpoints::default();
            let made = Arc::new(AtomicU64::new(0));
            for workers in [before, after] {
                let last = kept.last().is_some();
                let env = Env::default();
                let count = if last { made.load(SeqCst) + 2_000 } else { u64::MAX };
                let made = made.clone();
                let make = move |n| {
                    made.fetch_max(n, SeqCst);
                    n
                };
                let numbers = env.generator(make).rate(100_000.0).count(count).stream();
                let run = |make, distribution| {
                    let mut node = numbers.after("collect", String::new(), make);
                    (node.inputs[0].distribution, node.outputs) = (distribution, 0);
                    env.add(node);
                    let done = run_from(
                        &kept,
                        &env,
                        workers,
                        |_| true,
                        |run| {
                            if !last {
                                (0..3).for_each(|_| run.checkpoint());
                                run.fail();
                            }
                        },
                    );
                    assert_eq!(done.is_ok(), last, "{done:?}");
                    done.map(|()| JobReport::default())
                };
                let batches = collect_batches(1, typed_batch_codec::<u64>(), run);
                if last {
                    let mut found: Vec<u64> = batches.unwrap().into_iter().flat_map(|b| b.into_typed().unwrap()).collect();
                    found.sort_unstable();
                    assert!(found.into_iter().eq(0..count), "{before} workers, then {after}");
                }
            }
        }
    }
}
