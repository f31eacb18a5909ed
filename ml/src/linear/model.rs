use super::loss::sigmoid;
use crate::Result;
use crate::learner::{Prediction, Predictor};
use crate::model::{Persist, Stage};
use crate::parameters::choice;
use crate::vector::Row;
use serde::{Deserialize, Serialize};

choice! {
    /// What a linear model's score stands for.
    LinearTask {
        /// The class 1 where it is above 0, else -1.
        Margin = "margin",
        /// The logarithm of the odds of the class 1.
        Logistic = "logistic",
        /// The number itself.
        Number = "number",
    }
}

/// A weight a feature, and an intercept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearModel {
    /// What the score stands for.
    pub task: LinearTask,
    /// A weight a feature.
    pub weights: Vec<f64>,
    /// The score of a record whose features are zero.
    pub intercept: f64,
}

impl LinearModel {
    /// The weighted sum of the features, and the intercept.
    #[inline]
    pub fn decide(&self, row: Row<'_>) -> f64 {
        row.dot(&self.weights) + self.intercept
    }
}

/// The prediction that a score of this kind stands for.
#[inline]
pub(crate) fn predict_by(task: LinearTask, score: f64) -> Prediction {
    let class = if score > 0.0 { 1.0 } else { -1.0 };
    match task {
        LinearTask::Margin => Prediction { value: class, score },
        LinearTask::Logistic => Prediction { value: class, score: sigmoid(score) },
        LinearTask::Number => Prediction { value: score, score },
    }
}

impl Predictor for LinearModel {
    fn width(&self) -> usize {
        self.weights.len()
    }

    #[inline]
    fn predict(&self, row: Row<'_>) -> Prediction {
        predict_by(self.task, self.decide(row))
    }
}

impl Persist for LinearModel {
    const KIND: &'static str = "linear";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &self.task);
        stage.numbers("weights", self.weights.clone());
        stage.numbers("intercept", vec![self.intercept]);
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        let (task, weights) = (stage.parameters()?, stage.get_numbers("weights")?.to_vec());
        match stage.get_numbers("intercept")? {
            [intercept] => Ok(Self { task, weights, intercept: *intercept }),
            other => Err(stage.wrong(format!("{} intercepts, expected one", other.len()))),
        }
    }
}
