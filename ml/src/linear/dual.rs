use super::check_finite;
use super::model::{LinearModel, LinearTask};
use crate::learner::BulkLearner;
use crate::parameters::{Parameters, above, at_least, parameters};
use crate::random::Random;
use crate::vector::{Row, dot};
use crate::{Model, Result, TrainingData};
use serde::{Deserialize, Serialize};

parameters! {
    /// How [`DualSvm`] learns.
    DualSvmParams of "svm" {
        #[doc = " What a wrong record costs: the objective is half the squared norm of the weights plus `c` times the sum of the hinge losses."]
        c: f64 = 1.0, above(0.0);
        #[doc = " Ends when the duality gap is at most this share of the objective: the objective is then that close to its optimum."]
        tolerance: f64 = 1e-3, above(0.0);
        #[doc = " Ends after so many supersteps at the latest."]
        rounds: u64 = 500, at_least(1);
        #[doc = " Passes over its data that a part makes in a superstep."]
        passes: u64 = 5, at_least(1);
        #[doc = " Seed of the order of the records."]
        seed: u64 = 1, crate::parameters::any();
    }
}

/// Linear support vector machine by dual coordinate descent (Hsieh et al. 2008), over several parts of the data by CoCoA (Jaggi et
/// al. 2014; results are added, with the safe scaling of Ma et al. 2015).
///
/// Each record has a dual variable from 0 to C; a step solves for one of them exactly. Parts work on their own variables with the
/// shared weights as of the superstep's start, and their changes to the weights are added up. The gap between the primal and the dual
/// objective is known in every superstep: it bounds how far from the optimum the weights are.
pub struct DualSvm {
    params: DualSvmParams,
}

/// What the parts of a [`DualSvm`] share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DualShared {
    /// The last one is the intercept.
    weights: Vec<f64>,
    parts: usize,
    records: u64,
    /// Of the weights with which the last superstep began.
    pub objective: f64,
    /// How far above the optimum that objective is at most.
    pub gap: f64,
}

/// Dual variables of a part's records.
#[derive(Clone, Serialize, Deserialize)]
pub struct DualLocal {
    alphas: Vec<f64>,
    /// Squared norms, with the intercept's 1.
    norms: Vec<f64>,
    order: Vec<u32>,
    random: Random,
}

/// A part's change.
#[derive(Clone, Serialize, Deserialize)]
pub struct DualPartial {
    change: Vec<f64>,
    records: u64,
    /// At the start of the superstep.
    hinge: f64,
    alphas: f64,
}

impl DualSvm {
    /// # Errors
    /// A parameter out of range.
    pub fn new(params: DualSvmParams) -> Result<Self> {
        params.check()?;
        Ok(Self { params })
    }
}

#[inline]
fn target(data: &TrainingData<'_>, i: usize) -> f64 {
    if data.label(i) > 0.0 { 1.0 } else { -1.0 }
}

#[inline]
fn score(weights: &[f64], row: Row<'_>) -> f64 {
    let last = weights.len() - 1;
    row.dot(&weights[..last]) + weights[last]
}

impl BulkLearner for DualSvm {
    type Shared = DualShared;
    type Local = DualLocal;
    type Partial = DualPartial;

    fn start(&self, width: usize, parts: usize) -> Result<DualShared> {
        Ok(DualShared { weights: vec![0.0; width + 1], parts, records: 0, objective: f64::INFINITY, gap: f64::INFINITY })
    }

    fn local(&self, data: &TrainingData<'_>, part: usize) -> Result<DualLocal> {
        let norms = data.rows().map(|row| row.squared_norm() + 1.0).collect();
        let random = Random::new(self.params.seed.wrapping_add(part as u64));
        Ok(DualLocal { alphas: vec![0.0; data.len()], norms, order: (0..data.len() as u32).collect(), random })
    }

    fn step(&self, data: &TrainingData<'_>, local: &mut DualLocal, shared: &DualShared, _superstep: u64) -> Result<DualPartial> {
        let hinge = data.rows().enumerate().map(|(i, row)| (1.0 - target(data, i) * score(&shared.weights, row)).max(0.0));
        let (hinge, alphas) = (hinge.sum(), local.alphas.iter().sum());
        let mut weights = shared.weights.clone();
        let last = weights.len() - 1;
        // Everybody adds in full, so each counts its own changes as if all had made them.
        let scale = shared.parts as f64;
        for _ in 0..self.params.passes {
            local.random.shuffle(&mut local.order);
            for &i in &local.order {
                let i = i as usize;
                let (row, target) = (data.row(i), target(data, i));
                let gradient = target * score(&weights, row) - 1.0;
                let before = local.alphas[i];
                let after = (before - gradient / (scale * local.norms[i])).clamp(0.0, self.params.c);
                if after != before {
                    local.alphas[i] = after;
                    let step = scale * (after - before) * target;
                    row.add_to(step, &mut weights[..last]);
                    weights[last] += step;
                }
            }
        }
        weights.iter_mut().zip(&shared.weights).for_each(|(new, old)| *new = (*new - old) / scale);
        Ok(DualPartial { change: weights, records: data.len() as u64, hinge, alphas })
    }

    fn merge(&self, shared: &mut DualShared, partials: Vec<DualPartial>, superstep: u64) -> Result<bool> {
        let norm = dot(&shared.weights, &shared.weights) / 2.0;
        let hinge: f64 = partials.iter().map(|p| p.hinge).sum();
        let alphas: f64 = partials.iter().map(|p| p.alphas).sum();
        shared.records = partials.iter().map(|p| p.records).sum();
        shared.objective = norm + self.params.c * hinge;
        shared.gap = shared.objective - (alphas - norm);
        let last = shared.weights.len() - 1;
        check_finite("svm", shared.records, &shared.weights[..last], shared.weights[last])?;
        if shared.gap <= self.params.tolerance * shared.objective || superstep >= self.params.rounds {
            return Ok(false);
        }
        for partial in &partials {
            crate::vector::axpy(1.0, &partial.change, &mut shared.weights);
        }
        Ok(true)
    }

    fn figures(&self, shared: &DualShared) -> Vec<(&'static str, f64)> {
        vec![("objective", shared.objective), ("gap", shared.gap)]
    }

    fn model(&self, shared: &DualShared) -> Result<Model> {
        let (intercept, weights) = (shared.weights[shared.weights.len() - 1], &shared.weights[..shared.weights.len() - 1]);
        Ok(Model::Linear(LinearModel { task: LinearTask::Margin, weights: weights.to_vec(), intercept }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::learner::fit_shared;
    use crate::vector::{Block, DenseRows, Rows};

    /// Two overlapping clouds of five features.
    pub(crate) fn clouds(records: usize, seed: u64) -> Block {
        let mut random = Random::new(seed);
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for i in 0..records {
            let label = if i % 3 == 0 { 1.0 } else { -1.0 };
            values.extend((0..5).map(|j| random.normal() + label * 0.4 * f64::from(j % 3)));
            labels.push(label);
        }
        Block::new(Rows::Dense(DenseRows::from_values(5, values).unwrap()), labels).unwrap()
    }

    #[test]
    fn every_number_of_parts_reaches_the_same_optimum() {
        let data = clouds(600, 5);
        let precise = DualSvm::new(DualSvmParams { tolerance: 1e-7, rounds: 20_000, ..DualSvmParams::default() }).unwrap();
        let optimum = fit_shared(&precise, &data.deal(1)).unwrap();
        assert!(optimum.gap <= 1e-7 * optimum.objective);
        for parts in [1, 2, 4] {
            let shared = fit_shared(&DualSvm::new(DualSvmParams::default()).unwrap(), &data.deal(parts)).unwrap();
            let off = shared.objective / optimum.objective - 1.0;
            assert!((-1e-9..1e-3).contains(&off), "{parts} parts: {off}");
        }
    }

    #[test]
    fn the_gap_bounds_the_distance_to_the_optimum() {
        // One feature, two records: the optimum is w = 1, b = 0 for x = -1, 1 (margin 1), objective 1/2.
        let rows = Rows::Dense(DenseRows::from_values(1, vec![1.0, -1.0]).unwrap());
        let data = Block::new(rows, vec![1.0, -1.0]).unwrap();
        let learner = DualSvm::new(DualSvmParams { tolerance: 1e-10, ..DualSvmParams::default() }).unwrap();
        let shared = fit_shared(&learner, &[data]).unwrap();
        assert!((shared.objective - 0.5).abs() < 1e-9 && (shared.weights[0] - 1.0).abs() < 1e-5, "{shared:?}");
    }
}
