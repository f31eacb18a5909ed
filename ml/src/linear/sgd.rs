use super::loss::Loss;
use super::model::{LinearModel, LinearTask, predict_by};
use super::scaled::ScaledWeights;
use super::schedule::Schedule;
use super::{blend, check_finite};
use crate::learner::{OnlineLearner, Prediction, Predictor};
use crate::parameters::{Parameters, above, not_below, parameters, within};
use crate::vector::Row;
use crate::{Error, Model, Result};
use serde::{Deserialize, Serialize};

parameters! {
    /// How [`Sgd`] learns.
    SgdParams of "sgd" {
        #[doc = " What a wrong prediction costs: `hinge` (a support vector machine), `logistic` or `squared` (linear regression)."]
        loss: Loss = Loss::Squared, crate::parameters::any();
        #[doc = " How the rate changes: `constant`, `inverse-scaling` or `optimal`."]
        schedule: Schedule = Schedule::InverseScaling, crate::parameters::any();
        #[doc = " The learning rate at first."]
        rate: f64 = 0.05, above(0.0);
        #[doc = " By which power of the record's number inverse scaling divides the rate."]
        power: f64 = 0.25, within(0.0, 1.0);
        #[doc = " L2 penalty: half of it times the squared norm of the weights is added to the mean loss."]
        l2: f64 = 1e-5, not_below(0.0);
        #[doc = " L1 penalty, by the cumulative method: weights that do not pay are exactly zero."]
        l1: f64 = 0.0, not_below(0.0);
        #[doc = " Whether there is an intercept."]
        intercept: bool = true, crate::parameters::any();
    }
}

impl SgdParams {
    /// The defaults of an online support vector machine: hinge loss at a constant rate, so that it follows data that change.
    pub fn svm() -> Self {
        Self { loss: Loss::Hinge, schedule: Schedule::Constant, rate: 0.1, ..Self::default() }
    }
}

/// Stochastic gradient descent, record by record: a support vector machine, logistic or linear regression by its loss.
///
/// A record costs one dot product and one addition of vectors; the L2 penalty one multiplication.
///
/// ```
/// use fluvial_ml::{OnlineLearner, Predictor, Row, Sgd, SgdParams};
/// let mut line = Sgd::new(1, SgdParams::default())?;
/// for i in 0..20_000 {
///     let x = f64::from(i % 10) / 10.0;
///     line.learn(Row::Dense(&[x]), 3.0 * x - 1.0);
/// }
/// assert!((line.predict(Row::Dense(&[0.5])).value - 0.5).abs() < 1e-2);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sgd {
    params: SgdParams,
    weights: ScaledWeights,
    intercept: f64,
    records: u64,
    /// Of L1: what every weight should have been moved so far, and what each was.
    penalty: f64,
    applied: Vec<f64>,
}

impl Sgd {
    /// Knows nothing, of so many features.
    ///
    /// # Errors
    /// A parameter out of range; the optimal schedule without an L2 penalty.
    pub fn new(width: usize, params: SgdParams) -> Result<Self> {
        params.check()?;
        if params.schedule == Schedule::Optimal && params.l2 == 0.0 {
            return Err(Error::Parameter {
                learner: SgdParams::LEARNER,
                name: "l2".into(),
                given: "0".into(),
                expected: "a number above 0 with the schedule `optimal`".into(),
            });
        }
        let applied = if params.l1 > 0.0 { vec![0.0; width] } else { Vec::new() };
        Ok(Self { params, weights: ScaledWeights::zeros(width), intercept: 0.0, records: 0, penalty: 0.0, applied })
    }

    #[inline]
    fn score(&self, row: Row<'_>) -> f64 {
        self.weights.dot(row) + self.intercept
    }

    fn task(&self) -> LinearTask {
        match self.params.loss {
            Loss::Hinge => LinearTask::Margin,
            Loss::Logistic => LinearTask::Logistic,
            Loss::Squared => LinearTask::Number,
        }
    }

    #[inline]
    fn update(&mut self, row: Row<'_>, label: f64, score: f64) {
        self.records += 1;
        let SgdParams { loss, schedule, rate, power, l2, l1, intercept } = self.params;
        let rate = schedule.rate(rate, power, l2, self.records as f64);
        let slope = loss.slope(score, loss.target(label));
        if l2 > 0.0 {
            // A rate times penalty above 1 would turn the weights around.
            self.weights.shrink((1.0 - rate * l2).max(0.0).max(f64::MIN_POSITIVE));
        }
        if slope != 0.0 {
            self.weights.add(-rate * slope, row);
            if intercept {
                self.intercept -= rate * slope;
            }
        }
        if l1 > 0.0 {
            self.penalty += rate * l1;
            row.for_each(|i, _| {
                let before = self.weights.get(i);
                let after = if before > 0.0 {
                    (before - (self.penalty + self.applied[i])).max(0.0)
                } else {
                    (before + (self.penalty - self.applied[i])).min(0.0)
                };
                self.weights.set(i, after);
                self.applied[i] += after - before;
            });
        }
    }
}

impl Predictor for Sgd {
    fn width(&self) -> usize {
        self.weights.len()
    }

    #[inline]
    fn predict(&self, row: Row<'_>) -> Prediction {
        predict_by(self.task(), self.score(row))
    }
}

impl OnlineLearner for Sgd {
    const NAME: &'static str = "sgd";

    fn learn(&mut self, row: Row<'_>, label: f64) {
        let score = self.score(row);
        self.update(row, label, score);
    }

    #[inline]
    fn test_then_train(&mut self, row: Row<'_>, label: f64) -> Prediction {
        let score = self.score(row);
        self.update(row, label, score);
        predict_by(self.task(), score)
    }

    fn loss(&self, prediction: Prediction, label: f64) -> f64 {
        let target = self.params.loss.target(label);
        match self.params.loss {
            // The score of a logistic prediction is a probability.
            Loss::Logistic => -(if target > 0.0 { prediction.score } else { 1.0 - prediction.score }).max(1e-15).ln(),
            loss => loss.value(prediction.score, target),
        }
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn merge(&mut self, locals: &[(u64, Self)], decay: f64) {
        let plain: Vec<(f64, Vec<f64>)> = locals.iter().map(|(n, l)| (*n as f64, l.weights.to_vec())).collect();
        let parts: Vec<(f64, &[f64])> = plain.iter().map(|(n, w)| (*n, w.as_slice())).collect();
        blend(self.weights.plain_mut(), &parts, decay);
        let intercepts: Vec<(f64, &[f64])> =
            locals.iter().map(|(n, l)| (*n as f64, std::slice::from_ref(&l.intercept))).collect();
        blend(std::slice::from_mut(&mut self.intercept), &intercepts, decay);
        self.records += locals.iter().map(|(n, _)| n).sum::<u64>();
        // The penalty goes on from the merged weights.
        self.penalty = 0.0;
        self.applied.fill(0.0);
    }

    fn check(&self) -> Result<()> {
        check_finite(Self::NAME, self.records, &self.weights.to_vec(), self.intercept)
    }

    fn model(&self) -> Model {
        Model::Linear(LinearModel { task: self.task(), weights: self.weights.to_vec(), intercept: self.intercept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_step_is_the_gradient_step_of_its_loss() {
        for loss in [Loss::Hinge, Loss::Logistic, Loss::Squared] {
            let params = SgdParams { loss, l2: 0.1, ..SgdParams::default() };
            let mut learner = Sgd::new(2, params.clone()).unwrap();
            let (mut w, mut b) = ([0.0, 0.0], 0.0);
            for t in 1..50 {
                let (x, y) = ([f64::from(t % 7) - 3.0, f64::from(t % 5)], if t % 3 == 0 { 1.0 } else { -1.0 });
                let rate = params.rate / f64::from(t).powf(params.power);
                let slope = loss.slope(w[0] * x[0] + w[1] * x[1] + b, y);
                for i in 0..2 {
                    w[i] = w[i] * (1.0 - rate * 0.1) - rate * slope * x[i];
                }
                b -= rate * slope;
                learner.learn(Row::Dense(&x), y);
            }
            let Model::Linear(model) = learner.model() else { unreachable!() };
            assert!((model.weights[0] - w[0]).abs() < 1e-12 && (model.weights[1] - w[1]).abs() < 1e-12);
            assert!((model.intercept - b).abs() < 1e-12);
        }
    }

    #[test]
    fn features_that_say_nothing_get_no_weight_by_the_l1_penalty() {
        let mut random = Random::new(3);
        let params = SgdParams { loss: Loss::Logistic, l1: 0.02, l2: 0.0, ..SgdParams::default() };
        let mut learner = Sgd::new(10, params).unwrap();
        for _ in 0..20_000 {
            let x: Vec<f64> = (0..10).map(|_| random.normal()).collect();
            learner.learn(Row::Dense(&x), if x[3] + 0.1 * random.normal() > 0.0 { 1.0 } else { -1.0 });
        }
        let Model::Linear(model) = learner.model() else { unreachable!() };
        assert!(model.weights[3] > 1.0, "{model:?}");
        assert!(model.weights.iter().filter(|w| **w == 0.0).count() >= 7, "{model:?}");
    }

    #[test]
    fn what_diverges_says_so() {
        let params = SgdParams { schedule: Schedule::Constant, rate: 10.0, l2: 0.0, ..SgdParams::default() };
        let mut learner = Sgd::new(1, params).unwrap();
        (0..2000).for_each(|i| learner.learn(Row::Dense(&[f64::from(i)]), 1.0));
        let error = learner.check().unwrap_err().to_string();
        assert!(error.contains("sgd has diverged after 2000 records"), "{error}");
    }

    #[test]
    fn wrong_parameters_are_refused() {
        assert!(Sgd::new(1, SgdParams { rate: f64::NAN, ..SgdParams::default() }).is_err());
        let optimal = SgdParams { schedule: Schedule::Optimal, l2: 0.0, ..SgdParams::default() };
        assert!(Sgd::new(1, optimal).unwrap_err().to_string().contains("above 0 with the schedule"));
    }
}
