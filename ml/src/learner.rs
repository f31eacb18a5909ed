//! What learners have in common.
//!
//! A learner is a plain state machine: no threads, no clock, no input of its own. What runs it (a test, a loop over a file, an
//! operator of a job) decides where records come from, and its state is a value that serde knows, so a job's snapshots hold it as
//! they hold any other.

use crate::vector::{Block, Row};
use crate::{Model, Result, TrainingData};
use fluvial_core::Data;
use serde::{Deserialize, Serialize};

/// What a model says of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The class (1 or -1), the number, the cluster, or whether it is an anomaly (1 or -1).
    pub value: f64,
    /// What it was decided by: the distance from the separating plane, the probability of the class 1, the number itself, the
    /// distance from the centre, or how anomalous the record is.
    pub score: f64,
}

/// Something that predicts.
pub trait Predictor {
    /// How many features it needs.
    fn width(&self) -> usize;

    /// Predicts. Features must be [finite and as many](Row::fault) as the model has; otherwise the answer means nothing.
    fn predict(&self, row: Row<'_>) -> Prediction;
}

/// A learner that takes record by record, and can be asked at any time.
pub trait OnlineLearner: Predictor + Data {
    /// Its name in messages and files.
    const NAME: &'static str;

    /// Whether it needs labels.
    const SUPERVISED: bool = true;

    /// Learns from a record. Labels of two classes are 1 and -1: whatever is above 0 counts as 1.
    fn learn(&mut self, row: Row<'_>, label: f64);

    /// Predicts a record and then learns from it.
    #[inline]
    fn test_then_train(&mut self, row: Row<'_>, label: f64) -> Prediction {
        let prediction = self.predict(row);
        self.learn(row, label);
        prediction
    }

    /// The loss of a prediction.
    fn loss(&self, prediction: Prediction, label: f64) -> f64;

    /// Records that it has learned from.
    fn records(&self) -> u64;

    /// Takes the place of several that learned apart since they were the same as this one: `decay` times what this one knew, and the
    /// rest of the mean of the others, each by the number of records that it has learned since.
    fn merge(&mut self, locals: &[(u64, Self)], decay: f64);

    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged) if its parameters are no longer finite numbers.
    fn check(&self) -> Result<()>;

    /// The model as of now.
    fn model(&self) -> Model;
}

/// A learner that goes over its data again and again, part by part: bulk-synchronous supersteps.
///
/// In each superstep every part of the data computes a partial result from what all share; the partial results, in the order of
/// the parts, then change what is shared. That is all that a driver needs to know, whether the parts are on threads of this
/// process ([`fit`](crate::fit())) or on the workers of a job.
pub trait BulkLearner: Send + Sync {
    /// What all parts see.
    type Shared: Data;
    /// What a part keeps from superstep to superstep.
    type Local: Data;
    /// What a part says at the end of a superstep.
    type Partial: Data;

    /// What is shared in superstep 0.
    ///
    /// # Errors
    /// Data that cannot be learned from.
    fn start(&self, width: usize, parts: usize) -> Result<Self::Shared>;

    /// What a part keeps in superstep 0.
    ///
    /// # Errors
    /// Data that cannot be learned from.
    fn local(&self, data: &TrainingData<'_>, part: usize) -> Result<Self::Local>;

    /// One part's superstep.
    ///
    /// # Errors
    /// Data that cannot be learned from.
    fn step(
        &self,
        data: &TrainingData<'_>,
        local: &mut Self::Local,
        shared: &Self::Shared,
        superstep: u64,
    ) -> Result<Self::Partial>;

    /// Changes what is shared; says whether there is to be another superstep.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged).
    fn merge(&self, shared: &mut Self::Shared, partials: Vec<Self::Partial>, superstep: u64) -> Result<bool>;

    /// What there is to know about what is shared, by name: an objective, how far from the optimum it is.
    fn figures(&self, shared: &Self::Shared) -> Vec<(&'static str, f64)> {
        let _ = shared;
        Vec::new()
    }

    /// The model, at the end.
    ///
    /// # Errors
    /// A result that is no model.
    fn model(&self, shared: &Self::Shared) -> Result<Model>;
}

/// Runs a bulk learner over parts of data, each on a thread of its own.
///
/// ```
/// use fluvial_ml::{Block, DenseRows, DualSvm, DualSvmParams, Predictor, Row, Rows, fit};
/// let rows = Rows::Dense(DenseRows::from_values(2, vec![0.0, 1.0, 0.2, 2.0, 1.0, 0.1, 3.0, 0.0])?);
/// let data = Block::new(rows, vec![1.0, 1.0, -1.0, -1.0])?;
/// let model = fit(&DualSvm::new(DualSvmParams::default())?, &data.deal(2))?;
/// assert_eq!(model.predict(Row::Dense(&[0.0, 1.5])).value, 1.0);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
///
/// # Errors
/// What the learner says; parts of different widths; no records at all.
pub fn fit<L: BulkLearner>(learner: &L, parts: &[Block]) -> Result<Model> {
    let shared = fit_shared(learner, parts)?;
    learner.model(&shared)
}

/// As [`fit`], with everything that the parts share at the end.
///
/// # Errors
/// As [`fit`].
pub fn fit_shared<L: BulkLearner>(learner: &L, parts: &[Block]) -> Result<L::Shared> {
    let width = width_of(parts)?;
    let parts: Vec<TrainingData<'_>> = parts.iter().map(TrainingData::from).collect();
    let mut shared = learner.start(width, parts.len())?;
    let mut locals = parts.iter().enumerate().map(|(i, part)| learner.local(part, i)).collect::<Result<Vec<_>>>()?;
    for superstep in 0.. {
        let seen = &shared;
        let step = |(part, local): (&TrainingData<'_>, &mut L::Local)| learner.step(part, local, seen, superstep);
        let partials: Vec<Result<L::Partial>> = match parts.as_slice() {
            [part] => vec![step((part, &mut locals[0]))],
            _ => std::thread::scope(|scope| {
                let started: Vec<_> = parts.iter().zip(&mut locals).map(|part| scope.spawn(move || step(part))).collect();
                started.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
            }),
        };
        if !learner.merge(&mut shared, partials.into_iter().collect::<Result<_>>()?, superstep)? {
            break;
        }
    }
    Ok(shared)
}

/// The one width of all parts that have records.
pub(crate) fn width_of(parts: &[Block]) -> Result<usize> {
    let mut widths = parts.iter().filter(|p| !p.is_empty()).map(|p| p.rows.width());
    let Some(width) = widths.next() else { return crate::error::data("no records to learn from") };
    match parts.iter().map(|p| p.rows.width()).find(|w| *w != width) {
        Some(other) => crate::error::data(format!("parts with {width} and {other} features")),
        None => Ok(width),
    }
}
