//! Several workers learn one model: each from its part of the stream, merged again and again.
//!
//! ```text
//!   records ------> learn ---- finals ----> last version
//!              ^      |  locals                 ^
//!              |      v                         |
//!              +--- merge (one worker) -- versions
//!           merged, to all workers
//! ```
//!
//! A worker sends its learner around the loop after its share of the records of a round, and goes on learning. The merging worker
//! waits for as many records as a round has, merges, and broadcasts. What a worker has learned since it sent is blended in when the
//! merged learner comes back, by number of records: nothing is thrown away, and nobody waits.

use super::blocks::Examples;
use super::learn::{
    Counted, Evaluation, Event, Learned, ModelVersion, OnlineOptions, RejectedRecord, Tested, learn_each, now, version_of,
};
use crate::learner::OnlineLearner;
use fluvial_core::{Data, DataStream, OperatorList, OutputTag, ProcessContext, ProcessFunction, Result};
use fluvial_iterate::Feedback;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// When and how the learners of several workers are merged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Together {
    /// After so many records of all workers together.
    pub every: u64,
    /// What stays of the model before, from 0 (nothing: the mean of the workers' models) to below 1.
    pub decay: f64,
}

impl Default for Together {
    /// Every 1000 records, nothing stays.
    fn default() -> Self {
        Self { every: 1000, decay: 0.0 }
    }
}

impl Together {
    fn checked(self) -> crate::Result<Self> {
        if self.every > 0 && (0.0..1.0).contains(&self.decay) {
            return Ok(self);
        }
        let given = format!("every {} records, decay {}", self.every, self.decay);
        let expected = "1 record or more, and a decay from 0 to below 1".to_owned();
        Err(crate::Error::Parameter { learner: "together", name: "merging".into(), given, expected })
    }
}

/// What goes around the loop.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Serialize, L: Serialize", deserialize = "R: Deserialize<'de>, L: Deserialize<'de>"))]
enum Message<R, L> {
    Records(R),
    /// The learner of all workers.
    Merged(L),
}

/// What leaves the loop.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "L: Deserialize<'de>"))]
enum Leaving<L> {
    Version(ModelVersion),
    Rejected(RejectedRecord),
    Tested(Tested),
    Evaluation(Evaluation),
    Final(Part<L>),
}

/// A worker's learner, and how many records it has learned from since it last sent or was given one.
#[derive(Clone, Serialize, Deserialize)]
struct Part<L> {
    since: u64,
    learner: L,
}

pub(super) fn learn_together<R: Examples, L: OnlineLearner>(
    stream: &DataStream<R>,
    make: impl Fn(usize) -> crate::Result<L> + Send + Sync + 'static,
    options: OnlineOptions,
    together: Together,
) -> Learned {
    let config = stream.env().config();
    let workers = (config.threads * config.hosts.len().max(1)) as u64;
    let (make, locals) = (Arc::new(make), OutputTag::<Part<L>>::new("locals"));
    let messages = stream.map(Message::<R, L>::Records);
    let leaving = messages.feedback(|merged| {
        let for_workers = make.clone();
        let (own, options_of_worker) = (locals.clone(), OnlineOptions { version_every: 0, ..options.clone() });
        let learned = merged.process(move |state| {
            together.checked()?;
            Ok(Worker {
                learner: state.union_list("learner")?,
                counted: state.list("counted")?,
                share: together.every.div_ceil(workers),
                together,
                make: for_workers.clone(),
                options: options_of_worker.clone(),
                locals: own.clone(),
            })
        });
        let learned = learned.name(&format!("learn {}", L::NAME));
        let versions = OutputTag::<ModelVersion>::new("versions");
        let (tag, options) = (versions.clone(), options.clone());
        let sent = learned.side_output(&locals).partition_by_hash(|_| 0u64);
        let make = make.clone();
        let merger = sent.process(move |state| {
            let (merged, waiting, counted) = (state.list("merged")?, state.list("waiting")?, state.list("counted")?);
            let (make, options, versions) = (make.clone(), options.clone(), tag.clone());
            Ok(Merger { merged, waiting, counted, make, together, options, versions })
        });
        let merger = merger.name("merge");
        let versions = merger.side_output(&versions).map(Leaving::Version);
        (merger.map(Message::Merged).broadcast(), learned.union(&versions))
    });
    outputs(&leaving, options)
}

fn outputs<L: OnlineLearner>(leaving: &DataStream<Leaving<L>>, options: OnlineOptions) -> Learned {
    fn only<L: OnlineLearner, U: Data>(
        leaving: &DataStream<Leaving<L>>,
        choose: impl Fn(Leaving<L>) -> Option<U> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        leaving.flat_map(choose)
    }
    let finals = only(leaving, |l| match l {
        Leaving::Final(part) => Some(Last::Part(part)),
        Leaving::Version(version) => Some(Last::Version(Box::new(version))),
        _ => None,
    });
    let versions = finals
        .partition_by_hash(|_| 0u64)
        .process(move |state| Ok(Finish { parts: state.list("parts")?, last: state.list("last")?, options: options.clone() }));
    Learned {
        versions: versions.name("versions"),
        evaluations: only(leaving, |l| if let Leaving::Evaluation(one) = l { Some(one) } else { None }),
        rejected: only(leaving, |l| if let Leaving::Rejected(one) = l { Some(one) } else { None }),
        predictions: only(leaving, |l| if let Leaving::Tested(one) = l { Some(one) } else { None }),
    }
}

/// Learns from a worker's records.
struct Worker<L, M> {
    /// One; after a restore, those of all former workers.
    learner: OperatorList<Part<L>>,
    counted: OperatorList<Counted>,
    /// Records after which it sends what it knows.
    share: u64,
    together: Together,
    make: Arc<M>,
    options: OnlineOptions,
    locals: OutputTag<Part<L>>,
}

impl<L: OnlineLearner, M: Fn(usize) -> crate::Result<L>> Worker<L, M> {
    fn settle(&self, make: impl FnOnce() -> crate::Result<L>) -> Result<()> {
        if self.learner.len() != 1 {
            let learner = gathered(&self.learner.take()).map_or_else(make, |(learner, _)| Ok(learner))?;
            self.learner.set(vec![Part { since: 0, learner }]);
        }
        if self.counted.len() != 1 {
            self.counted.set(vec![Counted::sum(&self.counted.take())]);
        }
        Ok(())
    }
}

impl<R: Examples, L: OnlineLearner, M: Fn(usize) -> crate::Result<L> + 'static> ProcessFunction<Message<R, L>> for Worker<L, M> {
    type Output = Leaving<L>;

    fn process(&mut self, message: Message<R, L>, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        match message {
            Message::Merged(mut learner) => {
                if self.learner.len() == 1 {
                    let round = self.together.every as f64;
                    self.learner.update(|parts| {
                        let part = &mut parts[0];
                        if part.since > 0 {
                            let stays = round / (round + part.since as f64);
                            learner.merge(&[(part.since, part.learner.clone())], stays);
                        }
                        part.learner = learner;
                    });
                } else {
                    self.settle(|| Ok(learner))?;
                }
                Ok(())
            }
            Message::Records(records) => {
                if records.count() == 0 {
                    return Ok(());
                }
                self.settle(|| (self.make)(records.features(0).width()))?;
                self.learner.update(|parts| {
                    self.counted.update(|counts| {
                        let (part, counted) = (&mut parts[0], &mut counts[0]);
                        let before = counted.since;
                        learn_each(&records, &mut part.learner, counted, &self.options, |event| match event {
                            Event::Rejected(record) => context.emit(Leaving::Rejected(record)),
                            Event::Tested(tested) => context.emit(Leaving::Tested(tested)),
                            Event::Version(version) => context.emit(Leaving::Version(version)),
                        })?;
                        part.since += counted.since - before;
                        if part.since >= self.share {
                            part.learner.check()?;
                            context.side(&self.locals, part.clone());
                            part.since = 0;
                        }
                        Ok(())
                    })
                })
            }
        }
    }

    fn finish(&mut self, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        for part in self.learner.take() {
            part.learner.check()?;
            context.emit(Leaving::Final(part));
        }
        for counted in self.counted.take() {
            context.emit(Leaving::Evaluation(counted.evaluation));
        }
        Ok(())
    }
}

/// What all workers know, and of how many records: each knows what the last merged learner did, and what came since.
fn gathered<L: OnlineLearner>(parts: &[Part<L>]) -> Option<(L, u64)> {
    let known = |part: &Part<L>| part.learner.records() - part.since.min(part.learner.records());
    let most = parts.iter().max_by_key(|part| known(part))?;
    let records = known(most) + parts.iter().map(|p| p.since).sum::<u64>();
    if let [one] = parts {
        return Some((one.learner.clone(), records));
    }
    let mut learner = most.learner.clone();
    let others: Vec<(u64, L)> = parts.iter().map(|p| (p.since.max(1), p.learner.clone())).collect();
    learner.merge(&others, 0.0);
    Some((learner, records))
}

/// Merges what the workers send. One instance gets everything.
struct Merger<L, M> {
    /// What was sent last, if anything.
    merged: OperatorList<L>,
    waiting: OperatorList<Part<L>>,
    /// Counts versions, in the one element.
    counted: OperatorList<Counted>,
    make: Arc<M>,
    together: Together,
    options: OnlineOptions,
    versions: OutputTag<ModelVersion>,
}

impl<L: OnlineLearner, M: Fn(usize) -> crate::Result<L> + 'static> ProcessFunction<Part<L>> for Merger<L, M> {
    type Output = L;

    fn process(&mut self, part: Part<L>, context: &mut ProcessContext<'_, L>) -> Result<()> {
        self.waiting.add(part);
        let records: u64 = self.waiting.with(|parts| parts.iter().map(|p| p.since).sum());
        if records < self.together.every {
            return Ok(());
        }
        let locals: Vec<(u64, L)> = self.waiting.take().into_iter().map(|p| (p.since, p.learner)).collect();
        // In the first round there is nothing that could stay.
        let (mut merged, decay) = match self.merged.take().pop() {
            Some(merged) => (merged, self.together.decay),
            None => ((self.make)(locals[0].1.width())?, 0.0),
        };
        merged.merge(&locals, decay);
        let mut counted = self.counted.take().pop().unwrap_or_default();
        let version = version_of(&merged, &mut counted, &self.options)?;
        self.counted.set(vec![counted]);
        context.side(&self.versions, version);
        context.emit(merged.clone());
        self.merged.set(vec![merged]);
        Ok(())
    }
}

/// What the last version is made of.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "L: Deserialize<'de>"))]
enum Last<L> {
    Version(Box<ModelVersion>),
    Part(Part<L>),
}

/// Passes versions on and makes the last one, of everything that the workers know. One instance gets everything.
struct Finish<L> {
    parts: OperatorList<Part<L>>,
    /// Number of the last version.
    last: OperatorList<u64>,
    options: OnlineOptions,
}

impl<L: OnlineLearner> ProcessFunction<Last<L>> for Finish<L> {
    type Output = ModelVersion;

    fn process(&mut self, last: Last<L>, context: &mut ProcessContext<'_, ModelVersion>) -> Result<()> {
        match last {
            Last::Part(part) => self.parts.add(part),
            Last::Version(version) => {
                self.last.set(vec![version.version]);
                context.emit(*version);
            }
        }
        Ok(())
    }

    fn finish(&mut self, context: &mut ProcessContext<'_, ModelVersion>) -> Result<()> {
        let Some((learner, records)) = gathered(&self.parts.take()) else { return Ok(()) };
        let version = self.last.take().pop().unwrap_or(0) + 1;
        context.emit(ModelVersion { name: self.options.name.clone(), version, records, time: now(), model: learner.model() });
        Ok(())
    }
}
