//! Batch learners as bulk iterations of a job: each worker has a part of the data, once, for all supersteps.
//!
//! ```text
//!   blocks (from outside, kept) --+
//!                                 v
//!   what is shared, to all --> learn --> partial results, to one worker --> merge --> what is shared
//!   what a part keeps ---------^  +----> what a part keeps --------------------------------^
//! ```
//!
//! What a part keeps is part of the partial solution, as what all share is: it goes around on its own worker. The data are not:
//! they come once, from outside the loop, and are state of the operator that learns. So a checkpoint at the end of a superstep
//! holds everything.
//!
//! Trade-off: a worker's part of the data is copied once, into [managed memory](crate::TrainingData), and stays there: data that
//! do not fit are an error, not a reason to read them from disk in each superstep. Each checkpoint writes them whole.

use crate::learner::BulkLearner;
use crate::model::Model;
use crate::training::Gathering;
use crate::vector::Block;
use fluvial_core::{
    Batch, BatchStore, Data, DataStream, Error, Operation, Operator, Output, Progress, Restored, Result, STORE_SEGMENTS, Snapshot,
};
use fluvial_iterate::Iterate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Streams of blocks that a bulk learner can learn from.
pub trait FitBlocks {
    /// Learns in bulk iterations on the job's workers and gives what they share in the end: one record. See
    /// [`FitBlocks::fit_model`] for the model.
    ///
    /// # Errors
    /// While the job runs: what the learner says; blocks of different widths.
    fn fit_shared<L: BulkLearner + 'static>(&self, learner: &Arc<L>) -> DataStream<L::Shared>;

    /// Learns in bulk iterations on the job's workers, now.
    ///
    /// ```
    /// use fluvial_ml::{Block, Drift, DualSvm, DualSvmParams, FitBlocks, Predictor, ServerStatistics};
    /// let env = fluvial_core::Env::new(fluvial_core::Config { threads: 2, ..Default::default() });
    /// let servers = ServerStatistics::new(1, Drift::None);
    /// let source = servers.clone();
    /// let blocks = env.generate(10, move |n| source.block(n * 100..(n + 1) * 100).unwrap());
    /// let model = blocks.fit_model(DualSvm::new(DualSvmParams::default())?)?;
    /// let right = (1000..2000).filter(|n| {
    ///     let example = servers.example(*n);
    ///     model.predict(example.features.row()).value == example.label
    /// });
    /// assert!(right.count() > 900);
    /// # Ok::<(), fluvial_ml::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the learner or the job says; no records.
    fn fit_model<L: BulkLearner + 'static>(&self, learner: L) -> crate::Result<Model>;
}

/// Supersteps after which a learner that knows no end is stopped.
const MOST_SUPERSTEPS: u64 = 1 << 32;

/// The partial solution.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "S: Serialize, L: Serialize", deserialize = "S: Deserialize<'de>, L: Deserialize<'de>"))]
enum Turn<S, L> {
    /// Before there is anything: the parts say how wide their rows are.
    Begin,
    Shared {
        shared: S,
        superstep: u64,
        more: bool,
    },
    /// What the part of this worker keeps.
    Local {
        worker: usize,
        local: L,
    },
}

/// What a part says.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "P: Serialize, L: Serialize", deserialize = "P: Deserialize<'de>, L: Deserialize<'de>"))]
enum Said<P, L> {
    Width { worker: usize, width: usize },
    Partial { worker: usize, partial: P },
    Local { worker: usize, local: L },
}

type TurnOf<L> = Turn<<L as BulkLearner>::Shared, <L as BulkLearner>::Local>;
type SaidOf<L> = Said<<L as BulkLearner>::Partial, <L as BulkLearner>::Local>;

impl FitBlocks for DataStream<Block> {
    fn fit_shared<L: BulkLearner + 'static>(&self, learner: &Arc<L>) -> DataStream<L::Shared> {
        let begin = self.env().from_collection([TurnOf::<L>::Begin]);
        let solution = begin.iterate(MOST_SUPERSTEPS, |partial, it| {
            let shared = partial.filter(|turn| !matches!(turn, Turn::Local { .. }));
            let locals = partial.filter(|turn| matches!(turn, Turn::Local { .. }));
            let learning = learner.clone();
            let said = Operation::new("learn")
                .input(&shared.clone().broadcast())
                .input(&locals)
                .input(self)
                .reserves(STORE_SEGMENTS)
                .knows_supersteps()
                .add::<SaidOf<L>>(self.env(), move |context| {
                    Ok(Box::new(Part {
                        learner: learning.clone(),
                        worker: context.worker,
                        workers: context.workers,
                        data: Gathering::new(context.memory.reserve(&context.name, 0)?),
                        scratch: BatchStore::typed::<Block>(context)?,
                        turn: None,
                        local: None,
                    }))
                });
            let kept = said.flat_map(|said| match said {
                Said::Local { worker, local } => Some(Turn::Local { worker, local }),
                _ => None,
            });
            let partials = said.filter(|said| !matches!(said, Said::Local { .. })).partition_by_hash(|_| 0u64);
            let merging = learner.clone();
            let merged = Operation::new("merge")
                .input(&shared.partition_by_hash(|_| 0u64))
                .input(&partials)
                .at_the_end()
                .add::<TurnOf<L>>(self.env(), move |_| {
                    Ok(Box::new(Merge { learner: merging.clone(), turn: None, said: Vec::new() }))
                });
            it.terminate_when_empty(&merged.filter(|turn| matches!(turn, Turn::Shared { more: true, .. })));
            merged.union(&kept)
        });
        solution.flat_map(|turn| if let Turn::Shared { shared, .. } = turn { Some(shared) } else { None })
    }

    fn fit_model<L: BulkLearner + 'static>(&self, learner: L) -> crate::Result<Model> {
        let learner = Arc::new(learner);
        match self.fit_shared(&learner).collect()?.pop() {
            Some(shared) => learner.model(&shared),
            None => crate::error::data("no records to learn from"),
        }
    }
}

fn one<T: Data>(batch: Batch) -> Result<impl Iterator<Item = T>> {
    Ok(batch.typed_records::<T>()?.into_iter())
}

/// A worker's part, which learns once a superstep.
struct Part<L: BulkLearner> {
    learner: Arc<L>,
    worker: usize,
    workers: usize,
    /// What comes from outside, before the first superstep ends.
    data: Gathering,
    /// Where blocks become sections of snapshots, and the other way round.
    scratch: BatchStore,
    turn: Option<TurnOf<L>>,
    local: Option<L::Local>,
}

/// Name of the sections of a snapshot; the worker follows.
const RECORDS: &str = "records ";

impl<L: BulkLearner> Part<L> {
    fn said(&mut self) -> Result<Vec<SaidOf<L>>> {
        let (worker, local) = (self.worker, self.local.take());
        let (Some(data), Some(turn)) = (self.data.data()?, self.turn.take()) else { return Ok(Vec::new()) };
        let Turn::Shared { shared, superstep, .. } = turn else { return Ok(vec![Said::Width { worker, width: data.width() }]) };
        let mut local = local.map_or_else(|| self.learner.local(data, worker), Ok)?;
        let partial = self.learner.step(data, &mut local, &shared, superstep)?;
        Ok(vec![Said::Partial { worker, partial }, Said::Local { worker, local }])
    }
}

impl<L: BulkLearner + 'static> Operator for Part<L> {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        match input {
            0 => self.turn = one(batch)?.next().or(self.turn.take()),
            1 => {
                for turn in one::<TurnOf<L>>(batch)? {
                    let Turn::Local { worker, local } = turn else { continue };
                    if worker != self.worker {
                        let message =
                            format!("state of part {worker} on worker {}: it cannot go on with other workers", self.worker);
                        return Err(Error::Plan(message));
                    }
                    self.local = Some(local);
                }
            }
            _ => one::<Block>(batch)?.try_for_each(|block| self.data.push(block))?,
        }
        Ok(Progress::Done)
    }

    fn end_superstep(&mut self, _superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        let said = self.said()?;
        if !said.is_empty() {
            out.send(0, Batch::typed(said))?;
        }
        Ok(Progress::Done)
    }

    /// The records: they do not come once more. All else goes around the loop.
    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let (mut sections, name) = (Vec::new(), format!("{RECORDS}{}", self.worker));
        self.data.for_each_block::<Error>(|block| {
            self.scratch.push(Batch::typed(vec![block]))?;
            sections.extend(self.scratch.snapshot(&name)?);
            self.scratch.clear();
            Ok(())
        })?;
        Ok(Snapshot { sections, ..Snapshot::default() })
    }

    /// Every instance sees the sections of all former ones.
    fn restore(&mut self, state: Restored) -> Result<()> {
        for section in &state.sections {
            let former = section.name.strip_prefix(RECORDS).and_then(|worker| worker.parse::<usize>().ok());
            if former.is_some_and(|former| former % self.workers == self.worker) {
                for batch in self.scratch.batches_of(section)? {
                    one::<Block>(batch)?.try_for_each(|block| self.data.push(block))?;
                }
            }
        }
        Ok(())
    }
}

/// Merges what the parts say, on one worker.
struct Merge<L: BulkLearner> {
    learner: Arc<L>,
    turn: Option<TurnOf<L>>,
    said: Vec<SaidOf<L>>,
}

impl<L: BulkLearner + 'static> Operator for Merge<L> {
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        match input {
            0 => self.turn = one(batch)?.next().or(self.turn.take()),
            _ => self.said.extend(one::<SaidOf<L>>(batch)?),
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let said = std::mem::take(&mut self.said);
        let next: TurnOf<L> = match self.turn.take() {
            None | Some(Turn::Local { .. }) => return Ok(Progress::Done),
            Some(Turn::Begin) => {
                let widths: Vec<usize> =
                    said.iter().filter_map(|s| if let Said::Width { width, .. } = s { Some(*width) } else { None }).collect();
                let Some(first) = widths.first() else { return Err(Error::User("no records to learn from".into())) };
                if let Some(other) = widths.iter().find(|w| *w != first) {
                    return Err(Error::User(format!("parts with {first} and {other} features")));
                }
                Turn::Shared { shared: self.learner.start(*first, widths.len())?, superstep: 0, more: true }
            }
            Some(Turn::Shared { mut shared, superstep, .. }) => {
                // In the order of the parts: the same sums whenever they came.
                let mut partials = BTreeMap::new();
                for one in said {
                    if let Said::Partial { worker, partial } = one {
                        partials.insert(worker, partial);
                    }
                }
                let more = self.learner.merge(&mut shared, partials.into_values().collect(), superstep)?;
                Turn::Shared { shared, superstep: superstep + 1, more }
            }
        };
        out.send(0, Batch::typed(vec![next]))?;
        Ok(Progress::Done)
    }
}
