use super::check_finite;
use super::loss::Loss;
use super::model::{LinearModel, LinearTask};
use crate::learner::BulkLearner;
use crate::parameters::{Parameters, above, at_least, choice, not_below, parameters, within};
use crate::random::Random;
use crate::vector::{Row, axpy};
use crate::{Model, Result, TrainingData};
use serde::{Deserialize, Serialize};

choice! {
    /// What [`Proximal`] learns.
    Regression {
        /// The probability of one of two classes.
        Logistic = "logistic",
        /// A number.
        Linear = "linear",
    }
}

parameters! {
    /// How [`Proximal`] learns. The objective is the mean loss (logistic, or half the squared error) plus `penalty` times
    /// (`l1_ratio` times the sum of the absolute weights plus half of the rest times the sum of their squares).
    ProximalParams of "logistic or linear" {
        #[doc = " Strength of the penalty."]
        penalty: f64 = 1e-4, not_below(0.0);
        #[doc = " Elastic net: 0 is L2 alone, 1 is L1 alone."]
        l1_ratio: f64 = 0.0, within(0.0, 1.0);
        #[doc = " Ends when no coordinate of the proximal gradient is further from zero: at zero is the optimum."]
        tolerance: f64 = 1e-5, above(0.0);
        #[doc = " Ends after so many passes of stochastic steps at the latest."]
        rounds: u64 = 300, at_least(1);
        #[doc = " Step, as a share of the inverse of the largest curvature of a record's loss."]
        step: f64 = 0.3, within(1e-6, 1.0);
        #[doc = " Whether there is an intercept; it is not penalized."]
        intercept: bool = true, crate::parameters::any();
        #[doc = " Seed of the order of the records."]
        seed: u64 = 1, crate::parameters::any();
    }
}

/// Logistic or linear regression with L1, L2 or elastic-net penalty, by stochastic proximal gradients with reduced variance
/// (prox-SVRG, Xiao and Zhang 2014): linear convergence to the optimum at a constant step.
///
/// Supersteps alternate: the exact gradient at the shared weights, summed over the parts; then a pass of stochastic steps in each
/// part, corrected by that gradient, whose results are averaged by number of records (Konečný et al. 2016). A pass that makes the
/// objective worse is taken back and the step halved, so it never gets worse. Rows should be of similar scale:
/// see [`StandardScaler`](crate::StandardScaler).
pub struct Proximal {
    task: Regression,
    params: ProximalParams,
}

/// What the parts of a [`Proximal`] share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProximalShared {
    /// The last one is the intercept.
    weights: Vec<f64>,
    /// Of the mean loss at these weights.
    gradient: Vec<f64>,
    /// The weights before the last pass, with their gradient and objective.
    before: Option<(Vec<f64>, Vec<f64>, f64)>,
    step: f64,
    passes: u64,
    /// At the weights, once their gradient is known.
    pub objective: f64,
    /// The largest coordinate of the proximal gradient there: 0 at the optimum.
    pub distance: f64,
}

/// What a part keeps.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProximalLocal {
    order: Vec<u32>,
    random: Random,
    /// The largest squared norm of a row.
    norm: f64,
}

/// What a part has found: sums of gradient and loss, or new weights times its records.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProximalPartial {
    sums: Vec<f64>,
    loss: f64,
    records: f64,
    norm: f64,
}

impl Proximal {
    /// # Errors
    /// A parameter out of range.
    pub fn new(task: Regression, params: ProximalParams) -> Result<Self> {
        params.check()?;
        Ok(Self { task, params })
    }

    fn loss(&self) -> Loss {
        match self.task {
            Regression::Logistic => Loss::Logistic,
            Regression::Linear => Loss::Squared,
        }
    }

    /// Largest second derivative of the loss.
    fn curvature(&self) -> f64 {
        match self.task {
            Regression::Logistic => 0.25,
            Regression::Linear => 1.0,
        }
    }

    fn l1(&self) -> f64 {
        self.params.penalty * self.params.l1_ratio
    }

    fn l2(&self) -> f64 {
        self.params.penalty * (1.0 - self.params.l1_ratio)
    }

    fn penalty(&self, weights: &[f64]) -> f64 {
        let weights = &weights[..weights.len() - 1];
        self.l1() * weights.iter().map(|w| w.abs()).sum::<f64>() + self.l2() / 2.0 * weights.iter().map(|w| w * w).sum::<f64>()
    }

    fn score(&self, weights: &[f64], row: Row<'_>) -> f64 {
        let last = weights.len() - 1;
        row.dot(&weights[..last]) + weights[last]
    }

    fn slope(&self, weights: &[f64], data: &TrainingData<'_>, i: usize) -> f64 {
        let loss = self.loss();
        loss.slope(self.score(weights, data.row(i)), loss.target(data.label(i)))
    }

    /// The proximal gradient's largest coordinate, with step 1.
    fn distance(&self, weights: &[f64], gradient: &[f64]) -> f64 {
        let last = weights.len() - 1;
        let inner = weights[..last].iter().zip(gradient).map(|(w, g)| (w - soften(w - g - self.l2() * w, self.l1())).abs());
        inner.fold(if self.params.intercept { gradient[last].abs() } else { 0.0 }, f64::max)
    }

    fn gradient_step(&self, data: &TrainingData<'_>, local: &ProximalLocal, weights: &[f64]) -> ProximalPartial {
        let (loss, last) = (self.loss(), weights.len() - 1);
        let (mut sums, mut total) = (vec![0.0; weights.len()], 0.0);
        for (i, row) in data.rows().enumerate() {
            let (score, target) = (self.score(weights, row), loss.target(data.label(i)));
            total += loss.value(score, target);
            let slope = loss.slope(score, target);
            row.add_to(slope, &mut sums[..last]);
            sums[last] += slope;
        }
        ProximalPartial { sums, loss: total, records: data.len() as f64, norm: local.norm }
    }

    fn pass(&self, data: &TrainingData<'_>, local: &mut ProximalLocal, shared: &ProximalShared) -> ProximalPartial {
        let last = shared.weights.len() - 1;
        let (step, l1, l2) = (shared.step, self.l1(), self.l2());
        let mut weights = shared.weights.clone();
        local.random.shuffle(&mut local.order);
        for &i in &local.order {
            let i = i as usize;
            let change = self.slope(&weights, data, i) - self.slope(&shared.weights, data, i);
            data.row(i).add_to(-step * change, &mut weights[..last]);
            if self.params.intercept {
                weights[last] -= step * (change + shared.gradient[last]);
            }
            let shrink = 1.0 / (1.0 + step * l2);
            for (w, g) in weights[..last].iter_mut().zip(&shared.gradient) {
                *w = soften(*w - step * g, step * l1) * shrink;
            }
        }
        let records = data.len() as f64;
        weights.iter_mut().for_each(|w| *w *= records);
        ProximalPartial { sums: weights, loss: 0.0, records, norm: local.norm }
    }
}

/// Towards zero by `by`, and no further.
#[inline(always)]
fn soften(x: f64, by: f64) -> f64 {
    (x.abs() - by).max(0.0).copysign(x)
}

impl BulkLearner for Proximal {
    type Shared = ProximalShared;
    type Local = ProximalLocal;
    type Partial = ProximalPartial;

    fn start(&self, width: usize, _parts: usize) -> Result<ProximalShared> {
        let zeros = vec![0.0; width + 1];
        let (objective, distance) = (f64::INFINITY, f64::INFINITY);
        Ok(ProximalShared { weights: zeros.clone(), gradient: zeros, before: None, step: 0.0, passes: 0, objective, distance })
    }

    fn local(&self, data: &TrainingData<'_>, part: usize) -> Result<ProximalLocal> {
        let norm = data.rows().map(|row| row.squared_norm()).fold(0.0, f64::max);
        let random = Random::new(self.params.seed.wrapping_add(part as u64));
        Ok(ProximalLocal { order: (0..data.len() as u32).collect(), random, norm })
    }

    fn step(
        &self,
        data: &TrainingData<'_>,
        local: &mut ProximalLocal,
        shared: &ProximalShared,
        superstep: u64,
    ) -> Result<ProximalPartial> {
        match superstep % 2 {
            0 => Ok(self.gradient_step(data, local, &shared.weights)),
            _ => Ok(self.pass(data, local, shared)),
        }
    }

    fn merge(&self, shared: &mut ProximalShared, partials: Vec<ProximalPartial>, superstep: u64) -> Result<bool> {
        let records: f64 = partials.iter().map(|p| p.records).sum();
        let mut mean = vec![0.0; shared.weights.len()];
        partials.iter().for_each(|p| axpy(1.0 / records, &p.sums, &mut mean));
        if superstep % 2 == 1 {
            shared.before = Some((std::mem::replace(&mut shared.weights, mean), shared.gradient.clone(), shared.objective));
            shared.passes += 1;
            return Ok(true);
        }
        if superstep == 0 {
            let norm = partials.iter().map(|p| p.norm).fold(0.0, f64::max);
            let intercept = f64::from(self.params.intercept);
            shared.step = self.params.step / (self.curvature() * (norm + intercept) + self.l2()).max(f64::MIN_POSITIVE);
        }
        let objective = partials.iter().map(|p| p.loss).sum::<f64>() / records + self.penalty(&shared.weights);
        match shared.before.take() {
            // The slack is for rounding alone: at the optimum the objective goes up and down by its last digits.
            Some((weights, gradient, before)) if objective.is_nan() || objective > before + 1e-12 * before.abs() => {
                (shared.weights, shared.gradient, shared.objective) = (weights, gradient, before);
                shared.step /= 2.0;
            }
            _ => (shared.gradient, shared.objective) = (mean, objective),
        }
        let last = shared.weights.len() - 1;
        check_finite(self.name(), records as u64, &shared.weights[..last], shared.weights[last])?;
        check_finite(self.name(), records as u64, &shared.gradient, shared.objective)?;
        shared.distance = self.distance(&shared.weights, &shared.gradient);
        Ok(shared.distance > self.params.tolerance && shared.passes < self.params.rounds)
    }

    fn figures(&self, shared: &ProximalShared) -> Vec<(&'static str, f64)> {
        vec![("objective", shared.objective), ("distance", shared.distance), ("passes", shared.passes as f64)]
    }

    fn model(&self, shared: &ProximalShared) -> Result<Model> {
        let (intercept, weights) = (shared.weights[shared.weights.len() - 1], &shared.weights[..shared.weights.len() - 1]);
        let task = match self.task {
            Regression::Logistic => LinearTask::Logistic,
            Regression::Linear => LinearTask::Number,
        };
        Ok(Model::Linear(LinearModel { task, weights: weights.to_vec(), intercept }))
    }
}

impl Proximal {
    fn name(&self) -> &'static str {
        match self.task {
            Regression::Logistic => "logistic",
            Regression::Linear => "linear",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dual::tests::clouds;
    use super::*;
    use crate::Block;
    use crate::learner::fit_shared;

    /// The optimum by full proximal gradient steps with Nesterov's momentum (FISTA), run until nothing moves.
    fn optimum(learner: &Proximal, data: &Block) -> Vec<f64> {
        let (data, width) = (&TrainingData::from(data), data.rows.width() + 1);
        let local = learner.local(data, 0).unwrap();
        let step = 1.0 / (learner.curvature() * (local.norm + 1.0) + learner.l2());
        let (mut w, mut y, mut t) = (vec![0.0; width], vec![0.0; width], 1.0f64);
        for _ in 0..60_000 {
            let gradient = learner.gradient_step(data, &local, &y);
            let mut next = vec![0.0; width];
            for i in 0..width {
                let g = gradient.sums[i] / gradient.records;
                next[i] = if i + 1 < width {
                    soften(y[i] - step * (g + learner.l2() * y[i]), step * learner.l1())
                } else {
                    y[i] - step * g
                };
            }
            let t_next = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
            // Restarted where momentum points uphill (O'Donoghue and Candès 2015).
            let uphill: f64 = (0..width).map(|i| (y[i] - next[i]) * (next[i] - w[i])).sum();
            let momentum = if uphill > 0.0 { 0.0 } else { (t - 1.0) / t_next };
            y = (0..width).map(|i| next[i] + momentum * (next[i] - w[i])).collect();
            t = if uphill > 0.0 { 1.0 } else { t_next };
            w = next;
        }
        w
    }

    #[test]
    fn all_penalties_and_numbers_of_parts_reach_the_optimum() {
        let data = clouds(500, 2);
        for task in [Regression::Logistic, Regression::Linear] {
            for l1_ratio in [0.0, 0.5, 1.0] {
                let params =
                    ProximalParams { penalty: 0.05, l1_ratio, tolerance: 1e-8, rounds: 3000, ..ProximalParams::default() };
                let learner = Proximal::new(task, params).unwrap();
                let expected = optimum(&learner, &data);
                for parts in [1, 3] {
                    let shared = fit_shared(&learner, &data.deal(parts)).unwrap();
                    assert!(shared.distance <= 1e-8, "{task}, {l1_ratio}, {parts} parts: {shared:?}");
                    for (w, e) in shared.weights.iter().zip(&expected) {
                        assert!((w - e).abs() < 1e-6, "{task}, {l1_ratio}, {parts} parts: {:?} {expected:?}", shared.weights);
                    }
                }
            }
        }
    }
}
