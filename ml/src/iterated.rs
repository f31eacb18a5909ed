//! Batch learners as bulk iterations of a job: each worker has a part of the data, once, for all supersteps.
//!
//! ```text
//!   blocks (from outside, kept) --+
//!                                 v
//!   what is shared, to all --> learn --> partial results, to one worker --> merge --> what is shared
//!   what a part keeps ---------^  +----> what a part keeps --------------------------------^
//! ```
//!
//! What a part keeps is part of the partial solution, as what all share is: it goes around on its own worker, so a checkpoint at
//! the end of a superstep holds everything. The data are not: they come from outside the loop, and are there again.
//!
//! Trade-off: a worker's part of the data lies in ordinary memory, contiguous, for the learners' loops; while it is put together it is
//! there once more, less and less of it.

use crate::learner::BulkLearner;
use crate::model::Model;
use crate::vector::Block;
use fluvial_core::{Batch, Data, DataStream, Error, Operation, Operator, Output, Progress, Result};
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
                .at_the_end()
                .add::<SaidOf<L>>(self.env(), move |context| {
                    let worker = context.worker;
                    Ok(Box::new(Part {
                        learner: learning.clone(),
                        worker,
                        pieces: Vec::new(),
                        data: None,
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
    /// What has come of the data, before the first superstep ends.
    pieces: Vec<Block>,
    data: Option<Block>,
    turn: Option<TurnOf<L>>,
    local: Option<L::Local>,
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
            _ => self.pieces.extend(one::<Block>(batch)?),
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let worker = self.worker;
        if !self.pieces.is_empty() {
            self.data = Some(Block::concat(std::mem::take(&mut self.pieces))?);
        }
        let (Some(data), Some(turn)) = (self.data.as_ref().filter(|d| !d.is_empty()), self.turn.take()) else {
            return Ok(Progress::Done);
        };
        let said: Vec<SaidOf<L>> = match turn {
            Turn::Shared { shared, superstep, .. } => {
                let mut local = self.local.take().map_or_else(|| self.learner.local(data, worker), Ok)?;
                let partial = self.learner.step(data, &mut local, &shared, superstep)?;
                vec![Said::Partial { worker, partial }, Said::Local { worker, local }]
            }
            _ => vec![Said::Width { worker, width: data.rows.width() }],
        };
        out.send(0, Batch::typed(said))?;
        Ok(Progress::Done)
    }

    /// The data stay; what the superstep brought is gone.
    fn begin_again(&mut self, constant: &[bool]) -> Result<bool> {
        (self.turn, self.local) = (None, None);
        Ok(constant == [false, false, true])
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
