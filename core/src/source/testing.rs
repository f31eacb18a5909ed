//! Drives sources by hand.

use crate::chain::{AnyCollector, BoxCollector, Collector, Context};
use crate::graph::{Body, TaskContext};
use crate::{
    Batch, DataStream, Env, OperatorContext, Output, Position, Progress, Restored, Result, Shared, Source, StateSection, Waker,
};
use fluvial_memory::{MemoryManager, SpillConfig, SpillManager};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Counts what wakes a worker.
#[derive(Clone, Default)]
pub(crate) struct Wakes(Arc<(Mutex<u64>, Condvar)>);

impl Wakes {
    pub(crate) fn waker(&self) -> Waker {
        let shared = self.0.clone();
        Arc::new(move || {
            *shared.0.lock().unwrap_or_else(|e| e.into_inner()) += 1;
            shared.1.notify_all();
        })
    }

    /// Looks again whenever the worker was woken.
    pub(crate) fn until(&self, mut happened: impl FnMut() -> bool) {
        let end = Instant::now() + DEADLINE;
        loop {
            let before = *self.0.0.lock().unwrap();
            if happened() {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            let (now, waited) = self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), left, |now| *now == before).unwrap();
            drop(now);
            assert!(!waited.timed_out(), "nothing woke the worker");
        }
    }
}

/// Throws away what is sent.
pub(crate) struct NoOutput;

impl Output for NoOutput {
    fn send(&mut self, _port: usize, _batch: Batch) -> Result<()> {
        Ok(())
    }
    fn congested(&self, _port: usize) -> bool {
        false
    }
    fn set_timer(&mut self, _at: i64) {}
}

/// The context of an instance; `shared` is what those of its process share.
fn task(worker: usize, workers: usize, shared: &Arc<Shared>, waker: Waker) -> TaskContext {
    let memory = MemoryManager::new(1 << 20).unwrap();
    let pot = memory.reserve("test", 0).unwrap();
    let spill = SpillManager::new(SpillConfig::default()).unwrap();
    let operator = OperatorContext {
        node: 0,
        name: "test".into(),
        worker,
        workers,
        local_worker: worker,
        local_workers: workers,
        process: 0,
        processes: 1,
        memory,
        waker,
        shared: shared.clone(),
    };
    TaskContext::new(&operator, &spill, &Arc::default(), (&pot, true), 0)
}

struct Keep<T>(Arc<Mutex<Vec<T>>>);

impl<T> Collector<T> for Keep<T> {
    fn push(&mut self, record: T, _: &mut Context<'_>) {
        self.0.lock().unwrap().push(record);
    }
    fn end_batch(&mut self, _: Option<Position>, _: &mut Context<'_>) {}
    fn finish(&mut self, _: &mut Context<'_>) -> Progress {
        Progress::Done
    }
}

/// One instance of a stream's source, and what it has emitted.
pub(crate) struct Driven<T> {
    pub(crate) source: Box<dyn Source>,
    pub(crate) wakes: Wakes,
    pub(crate) records: Arc<Mutex<Vec<T>>>,
    done: bool,
}

impl<T: Clone + Send + Sync + 'static> Driven<T> {
    /// Instance `worker` of `workers` of the source that gives `stream`.
    pub(crate) fn new(stream: &DataStream<T>, worker: usize, workers: usize) -> Self {
        Self::restored(stream, worker, workers, Vec::new())
    }

    /// The same with what [`Driven::snapshot`] of all former instances gave.
    pub(crate) fn restored(stream: &DataStream<T>, worker: usize, workers: usize, sections: Vec<StateSection>) -> Self {
        Self::of_node(&stream.env, stream.node, (worker, workers), &Arc::default(), sections).unwrap()
    }

    /// A single instance that is given these positions.
    pub(crate) fn try_restored(stream: &DataStream<T>, sections: Vec<StateSection>) -> Result<Self> {
        Self::of_node(&stream.env, stream.node, (0, 1), &Arc::default(), sections)
    }

    /// All instances, of one process.
    pub(crate) fn all(stream: &DataStream<T>, workers: usize, sections: &[StateSection]) -> Vec<Self> {
        Self::all_of(&stream.env, stream.node, workers, sections)
    }

    /// All instances, of one process, of the source that is a node of an environment's graph.
    pub(crate) fn all_of(env: &Env, node: usize, workers: usize, sections: &[StateSection]) -> Vec<Self> {
        let shared = Arc::default();
        let driven = |worker| Self::of_node(env, node, (worker, workers), &shared, sections.to_vec()).unwrap();
        (0..workers).map(driven).collect()
    }

    fn of_node(
        env: &Env,
        node: usize,
        (worker, workers): (usize, usize),
        shared: &Arc<Shared>,
        sections: Vec<StateSection>,
    ) -> Result<Self> {
        let wakes = Wakes::default();
        let context = task(worker, workers, shared, wakes.waker());
        let records = Arc::new(Mutex::new(Vec::new()));
        let body = env.graph().nodes[node].body.clone();
        let Body::Source { make, .. } = body else { panic!("a source") };
        let next: BoxCollector<T> = Box::new(Keep(records.clone()));
        let mut source = make(&context, AnyCollector::new::<T>(next))?;
        source.open(&context)?;
        if !sections.is_empty() {
            source.restore(Restored { epoch: 0, sections })?;
        }
        Ok(Self { source, wakes, records, done: false })
    }

    /// Polls until the source waits or ends.
    pub(crate) fn poll(&mut self) -> Result<Progress> {
        loop {
            match self.source.poll(&mut NoOutput)? {
                Progress::More => {}
                progress => {
                    self.done |= progress == Progress::Done;
                    return Ok(progress);
                }
            }
        }
    }

    /// Polls until more than so many records have been emitted and no longer, or to the end.
    pub(crate) fn beyond(&mut self, count: usize) -> Vec<T> {
        let wakes = self.wakes.clone();
        wakes.until(|| {
            loop {
                if self.records.lock().unwrap().len() > count {
                    return true;
                }
                match self.source.poll(&mut NoOutput).unwrap() {
                    Progress::More => {}
                    progress => return progress == Progress::Done,
                }
            }
        });
        self.records.lock().unwrap().clone()
    }

    /// Polls until so many records have been emitted.
    pub(crate) fn until(&mut self, count: usize) -> Vec<T> {
        let wakes = self.wakes.clone();
        wakes.until(|| {
            let _ = self.poll().unwrap();
            self.records.lock().unwrap().len() >= count
        });
        self.records.lock().unwrap().clone()
    }

    /// Polls until the source has ended.
    pub(crate) fn run_to_end(&mut self) -> Vec<T> {
        let wakes = self.wakes.clone();
        wakes.until(|| self.done || self.poll().unwrap() == Progress::Done);
        self.records.lock().unwrap().clone()
    }

    /// Polls until the source fails.
    pub(crate) fn run_to_error(&mut self) -> String {
        let wakes = self.wakes.clone();
        let mut error = None;
        wakes.until(|| {
            error = self.poll().err();
            error.is_some()
        });
        error.map_or_else(String::new, |e| e.to_string())
    }

    pub(crate) fn snapshot(&mut self) -> Vec<StateSection> {
        self.source.snapshot(0).unwrap().into_sections().unwrap()
    }
}
