use super::{Data, DataStream};
use crate::graph::{Body, Distribution, TaskContext};
use crate::{Batch, JobReport, Operator, Output, Position, Progress, Result};
use std::sync::{Arc, Mutex};

impl<T: Data> DataStream<T> {
    /// Runs the job that leads to this stream and returns its records; in every process the same. Where the stream is
    /// ordered (behind a sort) the records come in that order.
    ///
    /// # Errors
    /// The first error of any operator.
    pub fn collect(&self) -> Result<Vec<T>> {
        let batches = collect_batches(self.env.config().hosts.len(), |make, distribution| {
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
        self.operator("count", String::new(), Arc::new(|_| Ok(Box::new(CountOperator::default()))))
    }
}

/// Counts the records of one worker.
#[derive(Default)]
pub(crate) struct CountOperator {
    records: u64,
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
}

/// Batches in the order of their positions; those without one keep the order in which they came.
type Collected = Arc<Mutex<Vec<(Option<Position>, Batch)>>>;

/// Runs a job that ends in a collecting sink and returns the batches, sorted by position.
pub(crate) fn collect_batches(processes: usize, run: impl FnOnce(Body, Distribution) -> Result<JobReport>) -> Result<Vec<Batch>> {
    let collected: Collected = Arc::default();
    let sink = collected.clone();
    let make = move |context: &TaskContext| -> Result<Box<dyn Operator>> {
        Ok(Box::new(CollectOperator { keeps: context.processes == 1 || context.local_worker == 0, collected: sink.clone() }))
    };
    // Several processes: everybody gets everything, and one worker of each process keeps it.
    let distribution = if processes > 1 { Distribution::Broadcast } else { Distribution::Forward };
    run(Body::Operator(Arc::new(make)), distribution)?;
    let mut batches = std::mem::take(&mut *collected.lock().unwrap_or_else(|e| e.into_inner()));
    batches.sort_by_key(|(position, _)| *position);
    Ok(batches.into_iter().map(|(_, batch)| batch).filter(|b| !b.is_empty()).collect())
}

struct CollectOperator {
    keeps: bool,
    collected: Collected,
}

impl Operator for CollectOperator {
    fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        if self.keeps {
            self.collected.lock().unwrap_or_else(|e| e.into_inner()).push((batch.position, batch));
        }
        Ok(Progress::Done)
    }
}
