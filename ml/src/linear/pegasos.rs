use super::check_finite;
use super::model::{LinearModel, LinearTask};
use super::scaled::ScaledWeights;
use crate::learner::BulkLearner;
use crate::parameters::{Parameters, above, at_least, parameters};
use crate::random::Random;
use crate::{Model, Result, TrainingData};
use serde::{Deserialize, Serialize};

parameters! {
    /// How [`Pegasos`] learns.
    PegasosParams of "pegasos" {
        #[doc = " L2 penalty: the objective is half of it times the squared norm of the weights plus the mean hinge loss."]
        lambda: f64 = 1e-4, above(0.0);
        #[doc = " Passes over the data."]
        rounds: u64 = 50, at_least(1);
        #[doc = " Seed of the order of the records."]
        seed: u64 = 1, crate::parameters::any();
    }
}

/// Linear support vector machine by primal estimated sub-gradients (Shalev-Shwartz et al. 2011), with their projection. Parts
/// learn a pass apart, then their weights are averaged (Zinkevich et al. 2010).
///
/// The model is the mean of the weights after each pass of the second half (Rakhlin, Shamir and Sridharan 2012). The intercept is
/// the weight of a feature that is always 1, shrunk with the others. Fast to a good model and slow to the optimum: where the
/// optimum matters, or parts are not alike, there is [`DualSvm`](crate::DualSvm).
pub struct Pegasos {
    params: PegasosParams,
}

/// What the parts of a [`Pegasos`] share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PegasosShared {
    /// The last one is the intercept.
    weights: Vec<f64>,
    /// Sum of the weights after the passes of the second half, and how many these are.
    sum: Vec<f64>,
    summed: f64,
    records: u64,
}

/// What a part keeps.
#[derive(Clone, Serialize, Deserialize)]
pub struct PegasosLocal {
    order: Vec<u32>,
    random: Random,
}

/// A part's weights, and its records.
#[derive(Clone, Serialize, Deserialize)]
pub struct PegasosPartial {
    weights: Vec<f64>,
    records: u64,
}

impl Pegasos {
    /// # Errors
    /// A parameter out of range.
    pub fn new(params: PegasosParams) -> Result<Self> {
        params.check()?;
        Ok(Self { params })
    }
}

impl BulkLearner for Pegasos {
    type Shared = PegasosShared;
    type Local = PegasosLocal;
    type Partial = PegasosPartial;

    fn start(&self, width: usize, _parts: usize) -> Result<PegasosShared> {
        Ok(PegasosShared { weights: vec![0.0; width + 1], sum: vec![0.0; width + 1], summed: 0.0, records: 0 })
    }

    fn local(&self, data: &TrainingData<'_>, part: usize) -> Result<PegasosLocal> {
        let random = Random::new(self.params.seed.wrapping_add(part as u64));
        Ok(PegasosLocal { order: (0..data.len() as u32).collect(), random })
    }

    fn step(
        &self,
        data: &TrainingData<'_>,
        local: &mut PegasosLocal,
        shared: &PegasosShared,
        superstep: u64,
    ) -> Result<PegasosPartial> {
        let lambda = self.params.lambda;
        let last = shared.weights.len() - 1;
        let mut weights = ScaledWeights::from_values(&shared.weights[..last]);
        let mut intercept = shared.weights[last];
        let mut norm = crate::vector::dot(&shared.weights, &shared.weights);
        local.random.shuffle(&mut local.order);
        let before = superstep as f64 * data.len() as f64;
        for (t, &i) in local.order.iter().enumerate() {
            let (row, target) = (data.row(i as usize), if data.label(i as usize) > 0.0 { 1.0 } else { -1.0 });
            let t = before + t as f64 + 1.0;
            let rate = 1.0 / (lambda * t);
            let score = weights.dot(row) + intercept;
            // The first factor is 0: then there is nothing to shrink yet.
            let shrink = if t > 1.0 { 1.0 - 1.0 / t } else { 1.0 };
            weights.shrink(shrink);
            intercept *= shrink;
            norm *= shrink * shrink;
            if target * score < 1.0 {
                let step = rate * target;
                norm += 2.0 * step * score * shrink + step * step * (row.squared_norm() + 1.0);
                weights.add(step, row);
                intercept += step;
            }
            if norm * lambda > 1.0 {
                let project = 1.0 / (norm * lambda).sqrt();
                weights.shrink(project);
                intercept *= project;
                norm = 1.0 / lambda;
            }
        }
        let mut weights = weights.to_vec();
        weights.push(intercept);
        Ok(PegasosPartial { weights, records: data.len() as u64 })
    }

    fn merge(&self, shared: &mut PegasosShared, partials: Vec<PegasosPartial>, superstep: u64) -> Result<bool> {
        shared.records = partials.iter().map(|p| p.records).sum();
        shared.weights.fill(0.0);
        for partial in &partials {
            crate::vector::axpy(partial.records as f64 / shared.records.max(1) as f64, &partial.weights, &mut shared.weights);
        }
        let last = shared.weights.len() - 1;
        check_finite("pegasos", shared.records, &shared.weights[..last], shared.weights[last])?;
        if superstep >= self.params.rounds / 2 {
            crate::vector::axpy(1.0, &shared.weights, &mut shared.sum);
            shared.summed += 1.0;
        }
        Ok(superstep + 1 < self.params.rounds)
    }

    fn model(&self, shared: &PegasosShared) -> Result<Model> {
        let mut weights: Vec<f64> = shared.sum.iter().map(|w| w / shared.summed).collect();
        let intercept = weights.pop().unwrap_or_default();
        Ok(Model::Linear(LinearModel { task: LinearTask::Margin, weights, intercept }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dual::tests::clouds;
    use super::*;
    use crate::learner::{fit, fit_shared};
    use crate::{DualSvm, DualSvmParams};

    #[test]
    fn the_objective_comes_near_that_of_the_dual_method() {
        let data = clouds(900, 8);
        let (lambda, records) = (1e-3, 900.0);
        let dual = DualSvmParams { c: 1.0 / (lambda * records), tolerance: 1e-6, rounds: 10_000, ..DualSvmParams::default() };
        let optimum = fit_shared(&DualSvm::new(dual).unwrap(), &data.deal(1)).unwrap().objective * lambda;
        // Parts that are alike: dealt out by three, one would have all records of a class.
        for parts in [1, 2] {
            let learner = Pegasos::new(PegasosParams { lambda, rounds: 200, ..PegasosParams::default() }).unwrap();
            let Model::Linear(model) = fit(&learner, &data.deal(parts)).unwrap() else { unreachable!() };
            let hinge = |i| (1.0 - data.label(i) * model.decide(data.rows.row(i))).max(0.0);
            let norm = crate::vector::dot(&model.weights, &model.weights) + model.intercept * model.intercept;
            let objective = lambda / 2.0 * norm + (0..data.len()).map(hinge).sum::<f64>() / records;
            let off = objective / optimum - 1.0;
            assert!((-1e-6..0.02).contains(&off), "{parts} parts: {off}");
        }
    }
}
