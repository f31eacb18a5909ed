use super::blocks::Examples;
use super::together::{Together, learn_together};
use crate::learner::{OnlineLearner, Prediction};
use crate::metrics::{Prequential, Timings};
use crate::model::Model;
use crate::vector::Vector;
use fluvial_core::{DataStream, OperatorList, OperatorState, OutputTag, ProcessContext, ProcessFunction, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How a stream is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnlineOptions {
    /// Name of the models.
    pub name: String,
    /// Records of a window of the evaluation.
    pub window: u64,
    /// Records after which there is a new version of the model; 0: at the end alone. There is always one at the end.
    pub version_every: u64,
    /// Whether [`Learned::predictions`] has records: it costs about as much as learning.
    pub predictions: bool,
}

impl Default for OnlineOptions {
    fn default() -> Self {
        Self { name: "model".into(), window: 1000, version_every: 0, predictions: false }
    }
}

/// A model as of some record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Its name.
    pub name: String,
    /// Counts from 1.
    pub version: u64,
    /// Records that it has learned from.
    pub records: u64,
    /// When it was made, milliseconds UTC.
    pub time: i64,
    /// The model.
    pub model: Model,
}

/// What a worker's learner did, once its input has ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Predictions that were made before their records were learned; none before the first record.
    pub prequential: Option<Prequential>,
    /// Nanoseconds that records took, of one in sixteen.
    pub timings: Timings,
    /// Records that were refused.
    pub rejected: u64,
    /// Versions of the model.
    pub versions: u64,
}

impl Evaluation {
    /// Adds what another worker's did.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.prequential, &other.prequential) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, Some(theirs)) => *mine = Some(theirs.clone()),
            (_, None) => {}
        }
        self.timings.merge(&other.timings);
        self.rejected += other.rejected;
        self.versions += other.versions;
    }
}

/// A record that could not be learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectedRecord {
    /// Its features.
    pub features: Vector,
    /// Its label.
    pub label: Option<f64>,
    /// What is wrong.
    pub reason: String,
}

/// A prediction that was made before its record was learned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// The record's label; not a number where there is none.
    pub label: f64,
    /// What was predicted.
    pub prediction: Prediction,
}

/// Streams that come out of a learner.
pub struct Learned {
    /// Versions of the model, as they are made.
    pub versions: DataStream<ModelVersion>,
    /// What each worker's learner did, at the end.
    pub evaluations: DataStream<Evaluation>,
    /// Records that could not be learned from: values that are missing or infinite, another width, no label.
    pub rejected: DataStream<RejectedRecord>,
    /// The predictions, in the order of the records of each worker, if [they are wanted](OnlineOptions::predictions).
    pub predictions: DataStream<Tested>,
}

/// Streams of examples that are learned from.
pub trait LearnOnline<R> {
    /// Predicts every record, and then learns from it: workers apart, for one worker or data of which each part stands for the
    /// whole; to learn together there is [`LearnOnline::learn_together`]. `make` makes the learner, for records of a width: once a worker, with its first
    /// record.
    ///
    /// The learner is state: after a restore with as many workers each goes on as it was, bit for bit; with another number they
    /// all go on with the merged learner.
    ///
    /// ```
    /// use fluvial_ml::{Example, LearnOnline, OnlineOptions, PassiveAggressive, PassiveAggressiveParams};
    /// let env = fluvial_core::Env::new(fluvial_core::Config { threads: 1, ..Default::default() });
    /// let examples = env.generate(3000, |n| {
    ///     let x = (n % 100) as f64 / 100.0;
    ///     Example::new(vec![x, 1.0 - x], if x < 0.3 { -1.0 } else { 1.0 })
    /// });
    /// let make = |width| PassiveAggressive::new(width, PassiveAggressiveParams::default());
    /// let learned = examples.learn(make, OnlineOptions::default());
    /// let evaluation = learned.evaluations.collect()?.remove(0);
    /// let windows = evaluation.prequential.unwrap();
    /// assert_eq!(windows.windows().len(), 3);
    /// assert!(windows.windows()[2].confusion.accuracy() > 0.9);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn learn<L: OnlineLearner>(
        &self,
        make: impl Fn(usize) -> crate::Result<L> + Send + Sync + 'static,
        options: OnlineOptions,
    ) -> Learned;

    /// As [`LearnOnline::learn`], where the workers' learners are merged again and again: once they have learned from
    /// [`Together::every`] records, one of them merges what they know and sends it back to all of them through a feedback loop.
    /// Versions of the model are the merged ones.
    ///
    /// ```
    /// use fluvial_ml::{Drift, Example, LearnOnline, OnlineOptions, ServerStatistics, Sgd, SgdParams, Together};
    /// let env = fluvial_core::Env::new(fluvial_core::Config { threads: 2, ..Default::default() });
    /// let servers = ServerStatistics::new(1, Drift::None);
    /// let examples = env.generate(10_000, move |n| servers.example(n));
    /// let make = |width| Sgd::new(width, SgdParams::svm());
    /// let learned = examples.learn_together(make, OnlineOptions::default(), Together::default());
    /// let last = learned.versions.collect()?.into_iter().max_by_key(|v| v.version).unwrap();
    /// assert_eq!(last.records, 10_000);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn learn_together<L: OnlineLearner>(
        &self,
        make: impl Fn(usize) -> crate::Result<L> + Send + Sync + 'static,
        options: OnlineOptions,
        together: Together,
    ) -> Learned;
}

impl<R: Examples> LearnOnline<R> for DataStream<R> {
    fn learn<L: OnlineLearner>(
        &self,
        make: impl Fn(usize) -> crate::Result<L> + Send + Sync + 'static,
        options: OnlineOptions,
    ) -> Learned {
        let (make, tags) = (Arc::new(make), Tags::default());
        let own = tags.clone();
        let versions = self.process(move |state: &mut OperatorState| {
            Ok(Learn {
                place: Place::of(state),
                kept: state.union_list("learner")?,
                progress: state.list("progress")?,
                settled: false,
                make: make.clone(),
                options: options.clone(),
                tags: own.clone(),
            })
        });
        Learned {
            evaluations: versions.side_output(&tags.evaluations),
            rejected: versions.side_output(&tags.rejected),
            predictions: versions.side_output(&tags.predictions),
            versions: versions.name(&format!("learn {}", L::NAME)),
        }
    }

    fn learn_together<L: OnlineLearner>(
        &self,
        make: impl Fn(usize) -> crate::Result<L> + Send + Sync + 'static,
        options: OnlineOptions,
        together: Together,
    ) -> Learned {
        learn_together(self, make, options, together)
    }
}

#[derive(Clone)]
struct Tags {
    evaluations: OutputTag<Evaluation>,
    rejected: OutputTag<RejectedRecord>,
    predictions: OutputTag<Tested>,
}

impl Default for Tags {
    fn default() -> Self {
        Self {
            evaluations: OutputTag::new("evaluations"),
            rejected: OutputTag::new("rejected"),
            predictions: OutputTag::new("predictions"),
        }
    }
}

/// What is counted beside the learner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counted {
    pub evaluation: Evaluation,
    /// Records since the last version.
    pub since: u64,
    /// Records since one was timed.
    untimed: u32,
}

impl Counted {
    /// What several workers have counted.
    pub(super) fn sum(parts: &[Self]) -> Self {
        let mut whole = Self::default();
        for part in parts {
            whole.evaluation.merge(&part.evaluation);
            whole.since += part.since;
        }
        whole
    }
}

/// What comes out of learning, beside a learner that knows more.
pub(super) enum Event {
    Rejected(RejectedRecord),
    Tested(Tested),
    Version(ModelVersion),
}

/// Tests and trains with each record of a range.
#[inline]
pub(super) fn learn_each<R: Examples, L: OnlineLearner>(
    records: &R,
    range: Range<usize>,
    learner: &mut L,
    counted: &mut Counted,
    options: &OnlineOptions,
    mut emit: impl FnMut(Event),
) -> Result<()> {
    let width = learner.width();
    for i in range {
        let (row, label) = (records.features(i), records.label(i));
        let fault = row.fault(width);
        if fault.is_some() || (L::SUPERVISED && !label.is_finite()) {
            counted.evaluation.rejected += 1;
            let reason = fault.unwrap_or_else(|| "the label is missing, or of neither class".into());
            let label = Some(label).filter(|l| l.is_finite());
            emit(Event::Rejected(RejectedRecord { features: row.to_vector(), label, reason }));
            continue;
        }
        let started = (counted.untimed == 0).then(Instant::now);
        counted.untimed = (counted.untimed + 1) % TIMED;
        let prediction = learner.test_then_train(row, label);
        let loss = learner.loss(prediction, label);
        let prequential = counted.evaluation.prequential.get_or_insert_with(|| Prequential::new(options.window));
        prequential.add(label, prediction.value, loss);
        if let Some(started) = started {
            counted.evaluation.timings.add(started.elapsed().as_nanos() as u64, 1);
        }
        if options.predictions {
            emit(Event::Tested(Tested { label, prediction }));
        }
        counted.since += 1;
        if counted.since == options.version_every {
            emit(Event::Version(version_of(learner, counted, options)?));
        }
    }
    Ok(())
}

/// The next version of the model, if the learner has not diverged.
pub(super) fn version_of<L: OnlineLearner>(learner: &L, counted: &mut Counted, options: &OnlineOptions) -> Result<ModelVersion> {
    learner.check()?;
    counted.since = 0;
    counted.evaluation.versions += 1;
    Ok(ModelVersion {
        name: options.name.clone(),
        version: counted.evaluation.versions,
        records: learner.records(),
        time: now(),
        model: learner.model(),
    })
}

/// Milliseconds UTC.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64)
}

/// One in so many records is timed: the clock costs about as much as a record.
const TIMED: u32 = 16;

/// Which of how many workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub worker: usize,
    pub workers: usize,
}

impl Place {
    pub(super) fn of(state: &OperatorState) -> Self {
        Self { worker: state.instance(), workers: state.instances() }
    }
}

/// What a worker has learned.
///
/// After a restore every worker sees what all former ones had. Between a restore and its first record a worker stores that as it
/// is, so there can be several of one place: the one that knows most is the latest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept<L> {
    pub place: Place,
    /// Records that it has learned from since it last sent what it knows.
    pub since: u64,
    /// Records before those; and those of them that the last merged learner that it was given has learned from.
    pub sent: u64,
    pub merged: u64,
    pub learner: L,
}

impl<L: OnlineLearner> Kept<L> {
    pub(super) fn new(place: Place, learner: L) -> Self {
        Self { place, since: 0, sent: 0, merged: 0, learner }
    }

    /// Records that it has learned from and the last merged learner has not.
    pub(super) fn unmerged(&self) -> u64 {
        self.since + self.sent.saturating_sub(self.merged)
    }

    /// What a worker goes on with: what it had, or, where there were others than now, what `merge` makes of all of them. Nothing
    /// if it had learned nothing yet.
    pub(super) fn settled(former: Vec<Self>, here: Place, merge: impl FnOnce(Vec<Self>) -> Option<L>) -> Option<Self> {
        let mut latest: BTreeMap<(usize, usize), Self> = BTreeMap::new();
        for kept in former {
            match latest.entry((kept.place.workers, kept.place.worker)) {
                Entry::Occupied(mut other) if other.get().learner.records() < kept.learner.records() => *other.get_mut() = kept,
                Entry::Occupied(_) => {}
                Entry::Vacant(entry) => drop(entry.insert(kept)),
            }
        }
        if let Some(own) = latest.remove(&(here.workers, here.worker)) {
            return Some(own);
        }
        if latest.keys().all(|(workers, _)| *workers == here.workers) {
            return None;
        }
        merge(latest.into_values().collect()).map(|learner| Self::new(here, learner))
    }
}

/// What several workers know that learned apart from the start.
fn apart<L: OnlineLearner>(former: Vec<Kept<L>>) -> Option<L> {
    let parts: Vec<(u64, L)> = former.into_iter().map(|kept| (kept.learner.records(), kept.learner)).collect();
    let mut merged = parts.iter().max_by_key(|(records, _)| *records)?.1.clone();
    if parts.len() > 1 {
        merged.merge(&parts, 0.0);
    }
    Some(merged)
}

struct Learn<L, M> {
    place: Place,
    kept: OperatorList<Kept<L>>,
    progress: OperatorList<Counted>,
    /// Whether there is one learner and one count, whatever was restored.
    settled: bool,
    make: Arc<M>,
    options: OnlineOptions,
    tags: Tags,
}

impl<L: OnlineLearner, M: Fn(usize) -> crate::Result<L>> Learn<L, M> {
    #[cold]
    fn settle(&mut self, width: usize) -> Result<()> {
        let place = self.place;
        let kept = match Kept::settled(self.kept.take(), place, apart) {
            Some(kept) => kept,
            None => Kept::new(place, (self.make)(width)?),
        };
        self.kept.set(vec![kept]);
        self.progress.set(vec![Counted::sum(&self.progress.take())]);
        self.settled = true;
        Ok(())
    }
}

impl<R: Examples, L: OnlineLearner, M: Fn(usize) -> crate::Result<L> + 'static> ProcessFunction<R> for Learn<L, M> {
    type Output = ModelVersion;

    fn process(&mut self, records: R, context: &mut ProcessContext<'_, ModelVersion>) -> Result<()> {
        let count = records.count();
        if count == 0 {
            return Ok(());
        }
        if !self.settled {
            self.settle(records.features(0).width())?;
        }
        self.kept.update(|kept| {
            self.progress.update(|counts| {
                learn_each(&records, 0..count, &mut kept[0].learner, &mut counts[0], &self.options, |event| match event {
                    Event::Rejected(record) => context.side(&self.tags.rejected, record),
                    Event::Tested(tested) => context.side(&self.tags.predictions, tested),
                    Event::Version(version) => context.emit(version),
                })
            })
        })
    }

    fn finish(&mut self, context: &mut ProcessContext<'_, ModelVersion>) -> Result<()> {
        if !self.settled {
            if self.progress.is_empty() && self.kept.with(|kept| kept.iter().all(|k| k.place != self.place)) {
                return Ok(());
            }
            self.settle(0)?;
        }
        self.kept.with(|kept| {
            self.progress.update(|counts| {
                let counted = &mut counts[0];
                context.emit(version_of(&kept[0].learner, counted, &self.options)?);
                context.side(&self.tags.evaluations, std::mem::take(&mut counted.evaluation));
                Ok(())
            })
        })
    }
}
