use super::model::{LinearModel, LinearTask, predict_by};
use super::{blend, check_finite};
use crate::learner::{OnlineLearner, Prediction, Predictor};
use crate::parameters::{Parameters, above, choice, parameters};
use crate::vector::Row;
use crate::{Model, Result};
use serde::{Deserialize, Serialize};

choice! {
    /// How far a wrong record moves the weights.
    Aggressiveness {
        /// As far as it needs to be right: `PA`.
        Full = "full",
        /// No further than `c`: `PA-I`.
        Capped = "capped",
        /// Less, the smaller `c` is: `PA-II`.
        Damped = "damped",
    }
}

parameters! {
    /// How [`PassiveAggressive`] learns.
    PassiveAggressiveParams of "pa" {
        #[doc = " Which of the three rules of the paper: `full` (PA), `capped` (PA-I) or `damped` (PA-II)."]
        rule: Aggressiveness = Aggressiveness::Capped, crate::parameters::any();
        #[doc = " The aggressiveness C of the last two."]
        c: f64 = 1.0, above(0.0);
        #[doc = " Whether there is an intercept."]
        intercept: bool = true, crate::parameters::any();
    }
}

/// Two classes by the passive-aggressive rule: a record with a margin of 1 changes nothing, any other one moves the weights as
/// little as makes it so (Crammer et al. 2006).
///
/// ```
/// use fluvial_ml::{OnlineLearner, PassiveAggressive, PassiveAggressiveParams, Predictor, Row};
/// let mut learner = PassiveAggressive::new(1, PassiveAggressiveParams::default())?;
/// learner.learn(Row::Dense(&[2.0]), 1.0);
/// assert!((learner.predict(Row::Dense(&[2.0])).score - 1.0).abs() < 1e-12);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassiveAggressive {
    params: PassiveAggressiveParams,
    weights: Vec<f64>,
    intercept: f64,
    records: u64,
}

impl PassiveAggressive {
    /// Knows nothing, of so many features.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(width: usize, params: PassiveAggressiveParams) -> Result<Self> {
        params.check()?;
        Ok(Self { params, weights: vec![0.0; width], intercept: 0.0, records: 0 })
    }

    #[inline]
    fn score(&self, row: Row<'_>) -> f64 {
        row.dot(&self.weights) + self.intercept
    }

    #[inline]
    fn update(&mut self, row: Row<'_>, label: f64, score: f64) {
        self.records += 1;
        let label = if label > 0.0 { 1.0 } else { -1.0 };
        let loss = 1.0 - label * score;
        if loss <= 0.0 {
            return;
        }
        let norm = row.squared_norm() + f64::from(self.params.intercept);
        let step = match self.params.rule {
            Aggressiveness::Full => loss / norm,
            Aggressiveness::Capped => (loss / norm).min(self.params.c),
            Aggressiveness::Damped => loss / (norm + 0.5 / self.params.c),
        };
        // A record without features has nothing to move.
        if step.is_finite() {
            row.add_to(step * label, &mut self.weights);
            if self.params.intercept {
                self.intercept += step * label;
            }
        }
    }
}

impl Predictor for PassiveAggressive {
    fn width(&self) -> usize {
        self.weights.len()
    }

    #[inline]
    fn predict(&self, row: Row<'_>) -> Prediction {
        predict_by(LinearTask::Margin, self.score(row))
    }
}

impl OnlineLearner for PassiveAggressive {
    const NAME: &'static str = "pa";

    fn learn(&mut self, row: Row<'_>, label: f64) {
        let score = self.score(row);
        self.update(row, label, score);
    }

    #[inline]
    fn test_then_train(&mut self, row: Row<'_>, label: f64) -> Prediction {
        let score = self.score(row);
        self.update(row, label, score);
        predict_by(LinearTask::Margin, score)
    }

    fn loss(&self, prediction: Prediction, label: f64) -> f64 {
        (1.0 - if label > 0.0 { prediction.score } else { -prediction.score }).max(0.0)
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn merge(&mut self, locals: &[(u64, Self)], decay: f64) {
        let weights: Vec<(f64, &[f64])> = locals.iter().map(|(n, l)| (*n as f64, l.weights.as_slice())).collect();
        blend(&mut self.weights, &weights, decay);
        let intercepts: Vec<(f64, &[f64])> =
            locals.iter().map(|(n, l)| (*n as f64, std::slice::from_ref(&l.intercept))).collect();
        blend(std::slice::from_mut(&mut self.intercept), &intercepts, decay);
        self.records += locals.iter().map(|(n, _)| n).sum::<u64>();
    }

    fn check(&self) -> Result<()> {
        check_finite(Self::NAME, self.records, &self.weights, self.intercept)
    }

    fn model(&self) -> Model {
        let (weights, intercept) = (self.weights.clone(), self.intercept);
        Model::Linear(LinearModel { task: LinearTask::Margin, weights, intercept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules_are_those_of_the_paper() {
        // w = (0.5, 0), x = (1, 2), y = -1: the loss is 1.5 and the squared norm 5.
        for (rule, step) in
            [(Aggressiveness::Full, 0.3), (Aggressiveness::Capped, 0.1), (Aggressiveness::Damped, 1.5 / (5.0 + 5.0))]
        {
            let params = PassiveAggressiveParams { rule, c: 0.1, intercept: false };
            let mut learner = PassiveAggressive::new(2, params).unwrap();
            learner.weights[0] = 0.5;
            learner.learn(Row::Dense(&[1.0, 2.0]), -1.0);
            assert!((learner.weights[0] - (0.5 - step)).abs() < 1e-15 && (learner.weights[1] + 2.0 * step).abs() < 1e-15);
            let before = learner.clone();
            learner.learn(Row::Dense(&[-9.0, -9.0]), if learner.score(Row::Dense(&[-9.0, -9.0])) > 1.0 { 1.0 } else { -1.0 });
            assert!(rule != Aggressiveness::Full || before.weights == learner.weights, "passive where the margin is 1");
        }
    }
}
