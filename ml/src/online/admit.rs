//! Records wait in front of a loop for what is in it.

use super::blocks::Examples;
use fluvial_core::{Batch, DataStream, Operation, Operator, Output, Progress, Result, Waker};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How many records the workers of this process have learned, by worker.
#[derive(Clone)]
pub(super) struct LearnedSoFar(Arc<[AtomicU64]>);

impl LearnedSoFar {
    pub fn of(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// A worker begins, perhaps once more.
    pub fn begin(&self, worker: usize) {
        self.0[worker].store(0, Relaxed);
    }

    pub fn add(&self, worker: usize, records: usize) {
        self.0[worker].fetch_add(records as u64, Relaxed);
    }

    fn get(&self, worker: usize) -> u64 {
        self.0[worker].load(Relaxed)
    }
}

/// Lets batches in while fewer than `most` records of the worker's are to be learned. None waits longer than [`PATIENCE`]: who is to
/// learn may wait for others whose records come behind these.
pub(super) fn admit<R: Examples>(stream: &DataStream<R>, most: u64, learned: &LearnedSoFar) -> DataStream<R> {
    let learned = learned.clone();
    Operation::new("admit").input(stream).add(stream.env(), move |context| {
        let (worker, waker, learned) = (context.worker, context.waker.clone(), learned.clone());
        Ok(Box::new(Admit { worker, waker, most, admitted: 0, learned, held: None, count: count::<R> }))
    })
}

const PATIENCE: Duration = Duration::from_millis(20);

struct Admit {
    worker: usize,
    waker: Waker,
    most: u64,
    admitted: u64,
    learned: LearnedSoFar,
    /// What waits, and since when.
    held: Option<(Batch, Instant)>,
    count: fn(&Batch) -> Result<u64>,
}

fn count<R: Examples>(batch: &Batch) -> Result<u64> {
    Ok(batch.typed_slice::<R>()?.iter().map(|records| records.count() as u64).sum())
}

impl Operator for Admit {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.held = Some((batch, Instant::now()));
        self.resume(out)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let Some((batch, since)) = self.held.take() else { return Ok(Progress::Done) };
        if self.admitted.saturating_sub(self.learned.get(self.worker)) >= self.most && since.elapsed() < PATIENCE {
            self.held = Some((batch, since));
            // After everybody else has had a turn.
            (self.waker)();
            return Ok(Progress::Waiting);
        }
        self.admitted += (self.count)(&batch)?;
        out.send(0, batch)?;
        Ok(Progress::Done)
    }
}
