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
//! waits for as many records as a round has, merges, and broadcasts. What a worker has learned and the merged learner has not is
//! blended in when that comes back, by number of records: nothing is thrown away, and nobody waits. The price is that models depend on when
//! merged learners came back: two runs differ a little.
//!
//! What is sent to one worker goes to all, and the first alone takes it: its state is then the first and only element of its list,
//! which the first of any number of workers gets back.

use super::blocks::Examples;
use super::learn::{
    Counted, Evaluation, Event, Kept, Learned, ModelVersion, OnlineOptions, Place, RejectedRecord, Tested, learn_each, now,
    version_of,
};
use crate::learner::OnlineLearner;
use fluvial_core::{Data, DataStream, OperatorList, OutputTag, ProcessContext, ProcessFunction, Result};
use fluvial_iterate::Feedback;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// The learner of all workers, and how many records of each of them it has learned from.
    Merged(L, Taken),
}

/// Records by the number of workers and the worker.
type Taken = BTreeMap<(usize, usize), u64>;

/// What leaves the loop.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "L: Deserialize<'de>"))]
enum Leaving<L> {
    Version(ModelVersion),
    Rejected(RejectedRecord),
    Tested(Tested),
    Evaluation(Evaluation),
    Final(Kept<L>),
}

pub(super) fn learn_together<R: Examples, L: OnlineLearner>(
    stream: &DataStream<R>,
    make: impl Fn(usize) -> crate::Result<L> + Send + Sync + 'static,
    options: OnlineOptions,
    together: Together,
) -> Learned {
    let config = stream.env().config();
    let workers = (config.threads * config.hosts.len().max(1)) as u64;
    let (make, locals) = (Arc::new(make), OutputTag::<Kept<L>>::new("locals"));
    let messages = stream.map(Message::<R, L>::Records);
    let leaving = messages.feedback(|merged| {
        let for_workers = make.clone();
        let (own, options_of_worker) = (locals.clone(), OnlineOptions { version_every: 0, ..options.clone() });
        let learned = merged.process(move |state| {
            together.checked()?;
            Ok(Worker {
                place: Place::of(state),
                kept: state.union_list("learner")?,
                counted: state.list("counted")?,
                settled: false,
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
        let sent = learned.side_output(&locals).broadcast();
        let make = make.clone();
        let merger = sent.process(move |state| {
            let (first, merging) = (state.instance() == 0, state.list("merging")?);
            let (make, options, versions) = (make.clone(), options.clone(), tag.clone());
            Ok(Merger { first, merging, make, together, options, versions })
        });
        let merger = merger.name("merge");
        let versions = merger.side_output(&versions).map(Leaving::Version);
        (merger.map(|(learner, taken)| Message::Merged(learner, taken)).broadcast(), learned.union(&versions))
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
    let versions = finals.broadcast().process(move |state| {
        Ok(Finish { first: state.instance() == 0, finishing: state.list("finishing")?, options: options.clone() })
    });
    Learned {
        versions: versions.name("versions"),
        evaluations: only(leaving, |l| if let Leaving::Evaluation(one) = l { Some(one) } else { None }),
        rejected: only(leaving, |l| if let Leaving::Rejected(one) = l { Some(one) } else { None }),
        predictions: only(leaving, |l| if let Leaving::Tested(one) = l { Some(one) } else { None }),
    }
}

/// Learns from a worker's records.
struct Worker<L, M> {
    place: Place,
    kept: OperatorList<Kept<L>>,
    counted: OperatorList<Counted>,
    /// Whether there is one learner and one count, whatever was restored.
    settled: bool,
    /// Records after which it sends what it knows.
    share: u64,
    together: Together,
    make: Arc<M>,
    options: OnlineOptions,
    locals: OutputTag<Kept<L>>,
}

impl<L: OnlineLearner, M: Fn(usize) -> crate::Result<L>> Worker<L, M> {
    #[cold]
    fn settle(&mut self, make: impl FnOnce() -> crate::Result<L>) -> Result<()> {
        let place = self.place;
        let kept = match Kept::settled(self.kept.take(), place, |former| gathered(&former).map(|(learner, _)| learner)) {
            Some(kept) => kept,
            None => Kept::new(place, make()?),
        };
        self.kept.set(vec![kept]);
        self.counted.set(vec![Counted::sum(&self.counted.take())]);
        self.settled = true;
        Ok(())
    }

    /// Takes what all workers know.
    fn follow(&mut self, mut learner: L, taken: &Taken) -> Result<()> {
        if !self.settled {
            // What it had before a restore counts like what it has learned since.
            self.settle(|| Ok(learner.clone()))?;
        }
        let (round, place) = (self.together.every as f64, (self.place.workers, self.place.worker));
        self.kept.update(|kept| {
            let kept = &mut kept[0];
            kept.merged = taken.get(&place).copied().unwrap_or(0);
            let unmerged = kept.unmerged();
            if unmerged > 0 {
                let stays = round / (round + unmerged as f64);
                learner.merge(&[(unmerged, kept.learner.clone())], stays);
            }
            kept.learner = learner;
        });
        Ok(())
    }
}

impl<R: Examples, L: OnlineLearner, M: Fn(usize) -> crate::Result<L> + 'static> ProcessFunction<Message<R, L>> for Worker<L, M> {
    type Output = Leaving<L>;

    fn process(&mut self, message: Message<R, L>, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        let records = match message {
            Message::Merged(learner, taken) => return self.follow(learner, &taken),
            Message::Records(records) => records,
        };
        let count = records.count();
        if count == 0 {
            return Ok(());
        }
        if !self.settled {
            let make = self.make.clone();
            self.settle(|| make(records.features(0).width()))?;
        }
        let mut first = 0;
        self.kept.update(|kept| {
            self.counted.update(|counts| {
                let (kept, counted) = (&mut kept[0], &mut counts[0]);
                // As many at a time as are missing from its share, so that blocks of any size give the same rounds.
                while first < count {
                    let missing = self.share.saturating_sub(kept.since).max(1);
                    let end = usize::try_from(missing).map_or(count, |missing| count.min(first.saturating_add(missing)));
                    let before = counted.since;
                    learn_each(&records, first..end, &mut kept.learner, counted, &self.options, |event| match event {
                        Event::Rejected(record) => context.emit(Leaving::Rejected(record)),
                        Event::Tested(tested) => context.emit(Leaving::Tested(tested)),
                        Event::Version(version) => context.emit(Leaving::Version(version)),
                    })?;
                    first = end;
                    kept.since += counted.since - before;
                    if kept.since >= self.share {
                        kept.learner.check()?;
                        context.side(&self.locals, kept.clone());
                        kept.sent += std::mem::take(&mut kept.since);
                    }
                }
                Ok(())
            })
        })
    }

    fn finish(&mut self, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        let merged = |former: Vec<Kept<L>>| gathered(&former).map(|(learner, _)| learner);
        if let Some(kept) = Kept::settled(self.kept.take(), self.place, merged) {
            kept.learner.check()?;
            context.emit(Leaving::Final(kept));
        }
        for counted in self.counted.take() {
            context.emit(Leaving::Evaluation(counted.evaluation));
        }
        Ok(())
    }
}

/// What all workers know, and of how many records: each knows what the last merged learner did, and what came since.
fn gathered<L: OnlineLearner>(parts: &[Kept<L>]) -> Option<(L, u64)> {
    let known = |part: &Kept<L>| part.learner.records().saturating_sub(part.unmerged());
    let most = parts.iter().max_by_key(|part| known(part))?;
    let records = known(most) + parts.iter().map(Kept::unmerged).sum::<u64>();
    if let [one] = parts {
        return Some((one.learner.clone(), records));
    }
    let mut learner = most.learner.clone();
    let others: Vec<(u64, L)> = parts.iter().map(|p| (p.unmerged().max(1), p.learner.clone())).collect();
    learner.merge(&others, 0.0);
    Some((learner, records))
}

/// What the merging worker has between two messages.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "L: Deserialize<'de>"))]
struct Merging<L> {
    /// What was sent last, if anything.
    merged: Option<L>,
    /// What has come since.
    waiting: Vec<Kept<L>>,
    taken: Taken,
    /// Counts versions.
    counted: Counted,
}

impl<L> Default for Merging<L> {
    fn default() -> Self {
        Self { merged: None, waiting: Vec::new(), taken: Taken::new(), counted: Counted::default() }
    }
}

/// Merges what the workers send.
struct Merger<L, M> {
    first: bool,
    merging: OperatorList<Merging<L>>,
    make: Arc<M>,
    together: Together,
    options: OnlineOptions,
    versions: OutputTag<ModelVersion>,
}

impl<L: OnlineLearner, M: Fn(usize) -> crate::Result<L> + 'static> ProcessFunction<Kept<L>> for Merger<L, M> {
    type Output = (L, Taken);

    fn process(&mut self, part: Kept<L>, context: &mut ProcessContext<'_, (L, Taken)>) -> Result<()> {
        if !self.first {
            return Ok(());
        }
        self.merging.update(|state| {
            if state.is_empty() {
                state.push(Merging::default());
            }
            let Merging { merged, waiting, taken, counted } = &mut state[0];
            waiting.push(part);
            if waiting.iter().map(|part| part.since).sum::<u64>() < self.together.every {
                return Ok(());
            }
            // In the order of the workers: the same sums, whoever was first.
            waiting.sort_by_key(|part| part.place.worker);
            waiting.iter().for_each(|p| *taken.entry((p.place.workers, p.place.worker)).or_default() += p.since);
            let locals: Vec<(u64, L)> = waiting.drain(..).map(|part| (part.since, part.learner)).collect();
            // In the first round there is nothing that could stay.
            let (mut next, decay) = match merged.take() {
                Some(merged) => (merged, self.together.decay),
                None => ((self.make)(locals[0].1.width())?, 0.0),
            };
            next.merge(&locals, decay);
            context.side(&self.versions, version_of(&next, counted, &self.options)?);
            context.emit((next.clone(), taken.clone()));
            *merged = Some(next);
            Ok(())
        })
    }
}

/// What the last version is made of.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "L: Deserialize<'de>"))]
enum Last<L> {
    Version(Box<ModelVersion>),
    Part(Kept<L>),
}

/// What is known of the last version before it is made.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "L: Serialize", deserialize = "L: Deserialize<'de>"))]
struct Finishing<L> {
    parts: Vec<Kept<L>>,
    /// Number of the version before it.
    version: u64,
}

/// Passes versions on and makes the last one, of everything that the workers know.
struct Finish<L> {
    first: bool,
    finishing: OperatorList<Finishing<L>>,
    options: OnlineOptions,
}

impl<L: OnlineLearner> ProcessFunction<Last<L>> for Finish<L> {
    type Output = ModelVersion;

    fn process(&mut self, last: Last<L>, context: &mut ProcessContext<'_, ModelVersion>) -> Result<()> {
        if !self.first {
            return Ok(());
        }
        self.finishing.update(|state| {
            if state.is_empty() {
                state.push(Finishing { parts: Vec::new(), version: 0 });
            }
            match last {
                Last::Part(part) => state[0].parts.push(part),
                Last::Version(version) => {
                    state[0].version = version.version;
                    context.emit(*version);
                }
            }
        });
        Ok(())
    }

    fn finish(&mut self, context: &mut ProcessContext<'_, ModelVersion>) -> Result<()> {
        let Some(Finishing { mut parts, version }) = self.finishing.take().pop() else { return Ok(()) };
        parts.sort_by_key(|part| part.place.worker);
        let Some((learner, records)) = gathered(&parts) else { return Ok(()) };
        let (name, version) = (self.options.name.clone(), version + 1);
        context.emit(ModelVersion { name, version, records, time: now(), model: learner.model() });
        Ok(())
    }
}
