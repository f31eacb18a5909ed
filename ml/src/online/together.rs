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
//! With a [lag](Together::lag) they do not: the merging worker merges round by round, what all workers have sent after their first share,
//! then after their second, and a worker takes each merged learner up at a fixed place of its own records. There it holds them back until
//! that has come. When nothing goes around any more, the others have ended, and what is still held back is learned without them.
//!
//! What is sent to one worker goes to all, and the first alone takes it: its state is then the first and only element of its list,
//! which the first of any number of workers gets back.

use super::admit::{LearnedSoFar, admit};
use super::blocks::Examples;
use super::learn::{
    Counted, Evaluation, Event, Kept, Learned, ModelVersion, OnlineOptions, Place, RejectedRecord, Tested, learn_each, now,
    version_of,
};
use crate::learner::OnlineLearner;
use fluvial_core::{Data, DataStream, OperatorList, OutputTag, ProcessContext, ProcessFunction, Result};
use fluvial_iterate::Feedback;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// When and how the learners of several workers are merged.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Together {
    /// After so many records of all workers together.
    pub every: u64,
    /// What stays of the model before, from 0 (nothing: the mean of the workers' models) to below 1.
    pub decay: f64,
    /// Rounds that a worker goes on before it takes up what was merged, always at the same record: workers that get the same records
    /// ([`DealInOrder`](crate::DealInOrder)) learn the same models in every run, also in one that was restored. Records that are further
    /// ahead wait: the stream is slowed down, and what comes nevertheless is kept in memory, so records should be dealt out evenly.
    /// Nothing: as soon as it is there; nobody waits, and models differ a little from run to run.
    pub lag: Option<u64>,
}

impl Default for Together {
    /// Every 1000 records, nothing stays, nobody waits.
    fn default() -> Self {
        Self { every: 1000, decay: 0.0, lag: None }
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
    let share = together.every.div_ceil(workers);
    let (make, locals) = (Arc::new(make), OutputTag::<Kept<L>>::new("locals"));
    let so_far = LearnedSoFar::of(workers as usize);
    let messages = match together.lag {
        // As much as keeps it busy while what it sends goes around.
        Some(lag) => admit(stream, lag.saturating_add(2).saturating_mul(share), &so_far).map(Message::<R, L>::Records),
        None => stream.map(Message::<R, L>::Records),
    };
    let leaving = messages.feedback(|merged| {
        let for_workers = make.clone();
        let (own, options_of_worker) = (locals.clone(), OnlineOptions { version_every: 0, ..options.clone() });
        let learned = merged.process(move |state| {
            together.checked()?;
            so_far.begin(state.instance());
            Ok(Worker {
                place: Place::of(state),
                so_far: so_far.clone(),
                kept: state.union_list("learner")?,
                waiting: state.union_list("waiting")?,
                counted: state.list("counted")?,
                settled: false,
                share,
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
            let (place, merging) = (Place::of(state), state.list("merging")?);
            let (make, options, versions) = (make.clone(), options.clone(), tag.clone());
            Ok(Merger { place, merging, share, make, together, options, versions })
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

/// What waits on a worker where there is a lag.
#[derive(Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Serialize, L: Serialize", deserialize = "R: Deserialize<'de>, L: Deserialize<'de>"))]
struct Waiting<R, L> {
    place: Place,
    /// Messages that have come: of several of one place the one with most is the latest.
    come: u64,
    /// For what is merged; the first `learned` of the first have been learned.
    records: VecDeque<R>,
    learned: usize,
    /// For its record.
    merged: VecDeque<(L, Taken)>,
}

impl<R, L> Waiting<R, L> {
    fn new(place: Place) -> Self {
        Self { place, come: 0, records: VecDeque::new(), learned: 0, merged: VecDeque::new() }
    }

    /// What a worker goes on with: what it had, or, where there were others than now, its share of the records that they had.
    fn settled(former: Vec<Self>, here: Place) -> Self {
        let mut latest: BTreeMap<(usize, usize), Self> = BTreeMap::new();
        for waiting in former {
            let place = (waiting.place.workers, waiting.place.worker);
            if latest.get(&place).is_none_or(|other| other.come < waiting.come) {
                latest.insert(place, waiting);
            }
        }
        if let Some(own) = latest.remove(&(here.workers, here.worker)) {
            return own;
        }
        let mut own = Self::new(here);
        for ((workers, worker), other) in latest {
            if workers != here.workers && worker % here.workers == here.worker {
                own.learned = if own.records.is_empty() { other.learned } else { own.learned };
                own.records.extend(other.records);
            }
        }
        own
    }
}

/// Learns from a worker's records.
struct Worker<R, L, M> {
    place: Place,
    kept: OperatorList<Kept<L>>,
    counted: OperatorList<Counted>,
    waiting: OperatorList<Waiting<R, L>>,
    /// Where it says how far it is.
    so_far: LearnedSoFar,
    /// Whether there is one learner and one count, whatever was restored.
    settled: bool,
    /// Records after which it sends what it knows.
    share: u64,
    together: Together,
    make: Arc<M>,
    options: OnlineOptions,
    locals: OutputTag<Kept<L>>,
}

impl<R: Examples, L: OnlineLearner, M: Fn(usize) -> crate::Result<L>> Worker<R, L, M> {
    #[cold]
    fn settle(&mut self, make: impl FnOnce() -> crate::Result<L>) -> Result<()> {
        let place = self.place;
        let kept = match Kept::settled(self.kept.take(), place, |former| gathered(&former).map(|(learner, _)| learner)) {
            Some(kept) => kept,
            None => Kept::new(place, make()?),
        };
        self.kept.set(vec![kept]);
        self.counted.set(vec![Counted::sum(&self.counted.take())]);
        if self.together.lag.is_some() {
            self.waiting.set(vec![Waiting::settled(self.waiting.take(), place)]);
        }
        self.settled = true;
        Ok(())
    }

    /// Takes what all workers know.
    fn follow(&self, kept: &mut Kept<L>, mut learner: L, taken: &Taken) {
        let (round, place) = (self.together.every as f64, (self.place.workers, self.place.worker));
        kept.merged = taken.get(&place).copied().unwrap_or(0);
        let unmerged = kept.unmerged();
        if unmerged > 0 {
            let stays = round / (round + unmerged as f64);
            learner.merge(&[(unmerged, kept.learner.clone())], stays);
        }
        kept.learner = learner;
    }

    /// Takes what is merged if it has come to the record where that is due; says whether the worker may go on.
    fn take_up(&self, kept: &mut Kept<L>) -> bool {
        let Some(lag) = self.together.lag.filter(|_| kept.since == 0) else { return true };
        let ahead = lag.saturating_mul(self.share);
        let place = (self.place.workers, self.place.worker);
        self.waiting.update(|waiting| {
            let merged = &mut waiting[0].merged;
            let due = |(_, taken): &(L, Taken)| taken.get(&place).is_some_and(|taken| kept.sent.saturating_sub(*taken) >= ahead);
            if let Some((learner, taken)) = merged.pop_front_if(|first| due(first)) {
                self.follow(kept, learner, &taken);
            }
        });
        kept.sent.saturating_sub(kept.merged) <= ahead
    }

    /// Learns from the records from place `first` on; up to where it has to wait for what is merged, or, if the others have ended, all.
    fn learn(&self, records: &R, mut first: usize, ended: bool, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<usize> {
        let count = records.count();
        self.kept.update(|kept| {
            self.counted.update(|counts| {
                let (kept, counted) = (&mut kept[0], &mut counts[0]);
                // As many at a time as are missing from its share, so that blocks of any size give the same rounds.
                while first < count && (self.take_up(kept) || ended) {
                    let missing = if ended { u64::MAX } else { self.share.saturating_sub(kept.since).max(1) };
                    let end = usize::try_from(missing).map_or(count, |missing| count.min(first.saturating_add(missing)));
                    let before = counted.since;
                    learn_each(records, first..end, &mut kept.learner, counted, &self.options, |event| match event {
                        Event::Rejected(record) => context.emit(Leaving::Rejected(record)),
                        Event::Tested(tested) => context.emit(Leaving::Tested(tested)),
                        Event::Version(version) => context.emit(Leaving::Version(version)),
                    })?;
                    first = end;
                    kept.since += counted.since - before;
                    if kept.since >= self.share && !ended {
                        kept.learner.check()?;
                        context.side(&self.locals, kept.clone());
                        kept.sent += std::mem::take(&mut kept.since);
                    }
                }
                Ok(first)
            })
        })
    }

    /// Learns from the records that were held back, as far as it may.
    fn go_on(&self, ended: bool, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        let next = || {
            self.waiting.update(|waiting| {
                let first = std::mem::take(&mut waiting[0].learned);
                waiting[0].records.pop_front().map(|records| (records, first))
            })
        };
        while let Some((records, first)) = next() {
            let learned = self.learn(&records, first, ended, context)?;
            if learned < records.count() {
                self.hold(records, learned, true);
                return Ok(());
            }
            self.so_far.add(self.place.worker, learned);
        }
        self.kept.update(|kept| self.take_up(&mut kept[0]));
        Ok(())
    }

    fn hold(&self, records: R, learned: usize, again: bool) {
        self.waiting.update(|waiting| {
            if again || waiting[0].records.is_empty() {
                waiting[0].learned = learned;
                waiting[0].records.push_front(records);
            } else {
                waiting[0].records.push_back(records);
            }
        });
    }

    fn followed(&mut self, learner: L, taken: Taken, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        if !self.settled {
            // What it had before a restore counts like what it has learned since.
            self.settle(|| Ok(learner.clone()))?;
        }
        if self.together.lag.is_none() {
            self.kept.update(|kept| self.follow(&mut kept[0], learner, &taken));
            return Ok(());
        }
        // What was merged of others than now knows no more than what this one was restored from.
        if taken.contains_key(&(self.place.workers, self.place.worker)) {
            self.waiting.update(|waiting| {
                waiting[0].come += 1;
                waiting[0].merged.push_back((learner, taken));
            });
            self.go_on(false, context)?;
        }
        Ok(())
    }
}

impl<R: Examples, L: OnlineLearner, M: Fn(usize) -> crate::Result<L> + 'static> ProcessFunction<Message<R, L>>
    for Worker<R, L, M>
{
    type Output = Leaving<L>;

    fn process(&mut self, message: Message<R, L>, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        let records = match message {
            Message::Merged(learner, taken) => return self.followed(learner, taken, context),
            Message::Records(records) => records,
        };
        if records.count() == 0 {
            return Ok(());
        }
        if !self.settled {
            let make = self.make.clone();
            self.settle(|| make(records.features(0).width()))?;
        }
        if self.together.lag.is_none() {
            return self.learn(&records, 0, false, context).map(drop);
        }
        let held = self.waiting.update(|waiting| {
            waiting[0].come += 1;
            !waiting[0].records.is_empty()
        });
        let learned = if held { 0 } else { self.learn(&records, 0, false, context)? };
        if learned < records.count() {
            self.hold(records, learned, false);
        } else {
            self.so_far.add(self.place.worker, learned);
        }
        Ok(())
    }

    fn finish(&mut self, context: &mut ProcessContext<'_, Leaving<L>>) -> Result<()> {
        if !self.settled && !self.waiting.is_empty() {
            let own = Waiting::settled(self.waiting.take(), self.place);
            if !(own.records.is_empty() && own.merged.is_empty()) {
                self.waiting.set(vec![own]);
                self.settle(|| crate::error::data("records are held back, but nobody has learned"))?;
            }
        }
        if !self.waiting.is_empty() {
            self.go_on(true, context)?;
            // What has come too early for its record, which never comes: so all have the same in the end.
            for (learner, taken) in self.waiting.take().into_iter().flat_map(|waiting| waiting.merged) {
                self.kept.update(|kept| self.follow(&mut kept[0], learner, &taken));
            }
        }
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
    place: Place,
    merging: OperatorList<Merging<L>>,
    /// Records after which a worker sends what it knows.
    share: u64,
    make: Arc<M>,
    together: Together,
    options: OnlineOptions,
    versions: OutputTag<ModelVersion>,
}

impl<L, M> Merger<L, M> {
    /// Takes what is to be merged now out of what has come: as many records as a round has, or, with a lag, the round of all workers.
    fn round(&self, waiting: &mut Vec<Kept<L>>) -> Option<Vec<Kept<L>>> {
        let (workers, share) = (self.place.workers, self.share);
        let mut round = match self.together.lag {
            None if waiting.iter().map(|part| part.since).sum::<u64>() < self.together.every => return None,
            None => std::mem::take(waiting),
            Some(_) => {
                let number = |part: &Kept<L>| (part.place.workers == workers).then_some(part.sent / share);
                let first = waiting.iter().filter_map(number).min()?;
                if waiting.iter().filter(|part| number(part) == Some(first)).count() < workers {
                    return None;
                }
                // With what former workers had sent, if there were others.
                waiting.extract_if(.., |part| number(part).is_none_or(|n| n == first)).collect()
            }
        };
        // In the order of the workers: the same sums, whoever was first.
        round.sort_by_key(|part| (part.place.workers, part.place.worker));
        Some(round)
    }
}

impl<L: OnlineLearner, M: Fn(usize) -> crate::Result<L> + 'static> ProcessFunction<Kept<L>> for Merger<L, M> {
    type Output = (L, Taken);

    fn process(&mut self, part: Kept<L>, context: &mut ProcessContext<'_, (L, Taken)>) -> Result<()> {
        if self.place.worker != 0 {
            return Ok(());
        }
        self.merging.update(|state| {
            if state.is_empty() {
                state.push(Merging::default());
            }
            let Merging { merged, waiting, taken, counted } = &mut state[0];
            waiting.push(part);
            let Some(round) = self.round(waiting) else { return Ok(()) };
            round.iter().for_each(|p| *taken.entry((p.place.workers, p.place.worker)).or_default() += p.since);
            // Whoever comes after other workers counts from nothing.
            taken.retain(|(workers, _), _| *workers == self.place.workers);
            let locals: Vec<(u64, L)> = round.into_iter().map(|part| (part.since, part.learner)).collect();
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
