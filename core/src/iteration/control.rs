use super::aggregates::ErasedAggregate;
use super::build::Superstep;
use serde::{Deserialize, Serialize};
use std::any::Any;

/// What the tail of one worker says of a superstep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ControlRecord {
    /// The worker.
    pub(super) worker: u64,
    /// The epoch that has been asked for, as the worker knows.
    pub(super) requested: u64,
    /// Records of the step's result, then of each criterion.
    pub(super) counts: Vec<u64>,
    /// By aggregator: the worker's part, serialized.
    pub(super) parts: Vec<Vec<u8>>,
}

/// How a loop goes; fixed when the graph is built.
pub(crate) struct LoopSettings {
    /// Most supersteps.
    pub(super) max: u64,
    pub(super) aggregates: Vec<Box<dyn ErasedAggregate>>,
    pub(super) names: Vec<String>,
    /// Whether a superstep was the last.
    pub(super) stop: Box<dyn Fn(&Superstep<'_>) -> bool + Send + Sync>,
    /// Whether what the last superstep gave is the result; else somebody else in the loop has it.
    pub(super) delivers: bool,
}

/// What all workers together say of a superstep.
pub(super) struct Merged {
    pub(super) counts: Vec<u64>,
    pub(super) values: Vec<Box<dyn Any>>,
    pub(super) requested: u64,
}

impl LoopSettings {
    /// Merges the records of all workers, in the order of the workers.
    pub(super) fn merge(&self, mut records: Vec<ControlRecord>) -> crate::Result<Merged> {
        records.sort_unstable_by_key(|record| record.worker);
        let inputs = records.iter().map(|record| record.counts.len()).max().unwrap_or(0);
        let count = |i: usize| records.iter().filter_map(|record| record.counts.get(i)).sum();
        let part = |i: usize| records.iter().filter_map(|record| record.parts.get(i).map(Vec::as_slice)).collect::<Vec<_>>();
        let values = self.aggregates.iter().enumerate().map(|(i, aggregate)| aggregate.merge(&part(i)));
        Ok(Merged {
            counts: (0..inputs).map(count).collect(),
            values: values.collect::<crate::Result<_>>()?,
            requested: records.iter().map(|record| record.requested).min().unwrap_or(0),
        })
    }
}
