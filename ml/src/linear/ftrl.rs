use super::loss::sigmoid;
use super::model::{LinearModel, LinearTask, predict_by};
use super::{blend, check_finite};
use crate::learner::{OnlineLearner, Prediction, Predictor};
use crate::parameters::{Parameters, above, not_below, parameters};
use crate::vector::{Row, dot};
use crate::{Model, Result};
use serde::{Deserialize, Serialize};

parameters! {
    /// How [`Ftrl`] learns; the names are the paper's.
    FtrlParams of "ftrl" {
        #[doc = " Learning rate of a coordinate at first."]
        alpha: f64 = 0.1, above(0.0);
        #[doc = " Slows the rates down at first."]
        beta: f64 = 1.0, not_below(0.0);
        #[doc = " L1 penalty: coordinates that do not reach it have weight zero."]
        l1: f64 = 0.0, not_below(0.0);
        #[doc = " L2 penalty."]
        l2: f64 = 0.0, not_below(0.0);
        #[doc = " Whether there is an intercept: a coordinate that is always 1, without penalties."]
        intercept: bool = true, crate::parameters::any();
    }
}

/// Logistic regression by FTRL-Proximal, every coordinate with a rate of its own (McMahan et al. 2013, algorithm 1).
///
/// The weights are kept beside the sums that they follow from, so that a prediction is one dot product; only coordinates of the
/// record change.
///
/// ```
/// use fluvial_ml::{Ftrl, FtrlParams, OnlineLearner, Predictor, Row};
/// let mut learner = Ftrl::new(2, FtrlParams::default())?;
/// for i in 0..1000 {
///     let x = [f64::from(i % 5) - 2.0, 1.0];
///     learner.learn(Row::Dense(&x), if x[0] > 0.5 { 1.0 } else { -1.0 });
/// }
/// assert!(learner.predict(Row::Dense(&[2.0, 1.0])).score > 0.9);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ftrl {
    params: FtrlParams,
    /// The last of each array is the intercept's.
    weights: Vec<f64>,
    z: Vec<f64>,
    n: Vec<f64>,
    /// Square roots of `n`: each is needed twice.
    roots: Vec<f64>,
    records: u64,
}

/// What coordinates follow a gradient by: a multiplication takes a fraction of a division's time.
#[derive(Clone, Copy)]
struct Rule {
    inverse_alpha: f64,
    beta: f64,
    l1: f64,
    l2: f64,
}

impl Rule {
    fn of(params: &FtrlParams) -> Self {
        Self { inverse_alpha: 1.0 / params.alpha, beta: params.beta, l1: params.l1, l2: params.l2 }
    }

    /// Of the intercept.
    fn without_penalties(self) -> Self {
        Self { l1: 0.0, l2: 0.0, ..self }
    }

    /// Without branches, so that the loop over a dense row vectorizes: zero within the penalty.
    #[inline(always)]
    fn weight(self, z: f64, root: f64) -> f64 {
        let beyond = (z.abs() - self.l1).max(0.0).copysign(z);
        // A coordinate that no record has had yet is nothing, also where nothing slows the rates down.
        -beyond / ((self.beta + root) * self.inverse_alpha + self.l2).max(f64::MIN_POSITIVE)
    }

    /// A coordinate after a gradient.
    #[inline(always)]
    fn follow(self, [z, n, root, w]: [&mut f64; 4], gradient: f64) {
        *n += gradient * gradient;
        let before = std::mem::replace(root, n.sqrt());
        *z += gradient - (*root - before) * self.inverse_alpha * *w;
        *w = self.weight(*z, *root);
    }
}

impl Ftrl {
    /// Knows nothing, of so many features.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(width: usize, params: FtrlParams) -> Result<Self> {
        params.check()?;
        let zeros = vec![0.0; width + 1];
        Ok(Self { params, weights: zeros.clone(), z: zeros.clone(), n: zeros.clone(), roots: zeros, records: 0 })
    }

    #[inline]
    fn score(&self, row: Row<'_>) -> f64 {
        let (intercept, weights) = (self.weights[self.weights.len() - 1], &self.weights[..self.weights.len() - 1]);
        match row {
            Row::Dense(values) => dot(&values[..values.len().min(weights.len())], weights) + intercept,
            row => row.dot(weights) + intercept,
        }
    }

    #[inline]
    fn update(&mut self, row: Row<'_>, label: f64, score: f64) {
        self.records += 1;
        let error = sigmoid(score) - if label > 0.0 { 1.0 } else { 0.0 };
        let (rule, width) = (Rule::of(&self.params), self.weights.len() - 1);
        let Self { weights, z, n, roots, .. } = self;
        match row {
            Row::Dense(values) => {
                let (z, n, roots, weights) = (&mut z[..width], &mut n[..width], &mut roots[..width], &mut weights[..width]);
                for ((x, z), ((n, root), w)) in values.iter().zip(z).zip(n.iter_mut().zip(roots).zip(weights)) {
                    rule.follow([z, n, root, w], error * x);
                }
            }
            row => row.for_each(|i, x| {
                if i < width {
                    rule.follow([&mut z[i], &mut n[i], &mut roots[i], &mut weights[i]], error * x);
                }
            }),
        }
        if self.params.intercept {
            let coordinate = [&mut z[width], &mut n[width], &mut roots[width], &mut weights[width]];
            rule.without_penalties().follow(coordinate, error);
        }
    }
}

impl Predictor for Ftrl {
    fn width(&self) -> usize {
        self.weights.len() - 1
    }

    #[inline]
    fn predict(&self, row: Row<'_>) -> Prediction {
        predict_by(LinearTask::Logistic, self.score(row))
    }
}

impl OnlineLearner for Ftrl {
    const NAME: &'static str = "ftrl";

    fn learn(&mut self, row: Row<'_>, label: f64) {
        let score = self.score(row);
        self.update(row, label, score);
    }

    #[inline]
    fn test_then_train(&mut self, row: Row<'_>, label: f64) -> Prediction {
        let score = self.score(row);
        self.update(row, label, score);
        predict_by(LinearTask::Logistic, score)
    }

    fn loss(&self, prediction: Prediction, label: f64) -> f64 {
        -(if label > 0.0 { prediction.score } else { 1.0 - prediction.score }).max(1e-15).ln()
    }

    fn records(&self) -> u64 {
        self.records
    }

    /// Blends the sums, from which the weights follow.
    fn merge(&mut self, locals: &[(u64, Self)], decay: f64) {
        let of = |part: fn(&Self) -> &[f64]| locals.iter().map(|(n, l)| (*n as f64, part(l))).collect::<Vec<_>>();
        blend(&mut self.z, &of(|l| &l.z), decay);
        blend(&mut self.n, &of(|l| &l.n), decay);
        let (rule, width) = (Rule::of(&self.params), self.weights.len() - 1);
        for i in 0..=width {
            let rule = if i < width { rule } else { rule.without_penalties() };
            self.roots[i] = self.n[i].sqrt();
            self.weights[i] = rule.weight(self.z[i], self.roots[i]);
        }
        self.records += locals.iter().map(|(n, _)| n).sum::<u64>();
    }

    fn check(&self) -> Result<()> {
        let width = self.width();
        check_finite(Self::NAME, self.records, &self.weights[..width], self.weights[width])
    }

    fn model(&self) -> Model {
        let width = self.width();
        let (weights, intercept) = (self.weights[..width].to_vec(), self.weights[width]);
        Model::Linear(LinearModel { task: LinearTask::Logistic, weights, intercept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::vector::Vector;

    /// Algorithm 1 of the paper, line by line.
    struct Published {
        z: Vec<f64>,
        n: Vec<f64>,
    }

    impl Published {
        fn weights(&self, p: &FtrlParams) -> Vec<f64> {
            let weight = |(z, n): (&f64, &f64)| {
                if z.abs() <= p.l1 { 0.0 } else { -(z - z.signum() * p.l1) / ((p.beta + n.sqrt()) / p.alpha + p.l2) }
            };
            self.z.iter().zip(&self.n).map(weight).collect()
        }

        fn learn(&mut self, p: &FtrlParams, x: &[f64], label: f64) {
            let w = self.weights(p);
            let probability = 1.0 / (1.0 + (-w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).exp());
            for i in (0..x.len()).filter(|i| x[*i] != 0.0) {
                let g = (probability - f64::from(label > 0.0)) * x[i];
                let sigma = ((self.n[i] + g * g).sqrt() - self.n[i].sqrt()) / p.alpha;
                self.z[i] += g - sigma * w[i];
                self.n[i] += g * g;
            }
        }
    }

    #[test]
    fn every_weight_is_that_of_the_published_rule() {
        let params = FtrlParams { alpha: 0.2, beta: 1.0, l1: 0.7, l2: 0.3, intercept: false };
        let (mut learner, mut sparse) = (Ftrl::new(8, params.clone()).unwrap(), Ftrl::new(8, params.clone()).unwrap());
        let mut published = Published { z: vec![0.0; 8], n: vec![0.0; 8] };
        let mut random = Random::new(11);
        for _ in 0..3000 {
            let x: Vec<f64> = (0..8).map(|_| if random.unit() < 0.4 { 0.0 } else { random.normal() }).collect();
            let label = if x[0] - 2.0 * x[1] + 0.3 * random.normal() > 0.0 { 1.0 } else { -1.0 };
            learner.learn(Row::Dense(&x), label);
            let indices: Vec<u32> = (0..8).filter(|i| x[*i as usize] != 0.0).collect();
            let values = indices.iter().map(|i| x[*i as usize]).collect();
            sparse.learn(Vector::Sparse { width: 8, indices, values }.row(), label);
            published.learn(&params, &x, label);
            for (i, expected) in published.weights(&params).into_iter().enumerate() {
                assert!((learner.weights[i] - expected).abs() <= 1e-12, "{} is not {expected}", learner.weights[i]);
                assert!((sparse.weights[i] - expected).abs() <= 1e-12);
            }
        }
        assert!(learner.weights.contains(&0.0), "the L1 penalty leaves nothing out: {:?}", learner.weights);
        assert!(learner.weights[1] < -1.0);
    }

    #[test]
    fn features_that_are_always_zero_have_no_weight_without_beta_too() {
        let mut learner = Ftrl::new(2, FtrlParams { beta: 0.0, ..FtrlParams::default() }).unwrap();
        (0..10).for_each(|i| learner.learn(Row::Dense(&[0.0, 1.0]), f64::from(i % 2)));
        assert_eq!(learner.weights[0], 0.0);
        learner.check().unwrap();
    }

    #[test]
    fn merging_the_same_learner_changes_nothing() {
        let mut learner = Ftrl::new(3, FtrlParams { l1: 0.1, ..FtrlParams::default() }).unwrap();
        (0..100).for_each(|i| learner.learn(Row::Dense(&[f64::from(i % 3), 1.0, 0.0]), f64::from(i % 2)));
        let mut merged = learner.clone();
        merged.merge(&[(10, learner.clone()), (30, learner.clone())], 0.5);
        for (a, b) in merged.weights.iter().zip(&learner.weights) {
            assert!((a - b).abs() < 1e-12);
        }
        assert_eq!(merged.records(), 140);
    }
}
