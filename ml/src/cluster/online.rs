use super::model::{KMeansModel, nearest_of};
use super::seeding::plus_plus;
use crate::learner::{OnlineLearner, Prediction, Predictor};
use crate::linear::check_finite;
use crate::parameters::{Parameters, at_least, not_below, parameters, within};
use crate::random::Random;
use crate::vector::{Nearest, Row};
use crate::{Model, Result};
use serde::{Deserialize, Serialize};

parameters! {
    /// How [`OnlineKMeans`] learns.
    OnlineKMeansParams of "kmeans" {
        #[doc = " How many clusters."]
        k: usize = 8, at_least(1);
        #[doc = " What is left of a centre's weight after each record: 1 forgets nothing, 0 all."]
        decay: f64 = 1.0, within(0.0, 1.0);
        #[doc = " Records after which half of a centre's weight is left, in place of `decay`; 0: by `decay`."]
        half_life: f64 = 0.0, not_below(0.0);
        #[doc = " Records of which the first centres are drawn by k-means++; at least `k`."]
        warm_up: usize = 200, at_least(1);
        #[doc = " Seed of the first centres."]
        seed: u64 = 1, crate::parameters::any();
    }
}

/// k-means record by record: the nearest centre moves towards the record by the record's share of its weight (MacQueen 1967), and
/// weights decay with every record, so that centres follow data that move.
///
/// Decay costs nothing per record: instead of shrinking all weights, a new record weighs more.
///
/// ```
/// use fluvial_ml::{OnlineKMeans, OnlineKMeansParams, OnlineLearner, Predictor, Row};
/// let params = OnlineKMeansParams { k: 2, warm_up: 10, ..OnlineKMeansParams::default() };
/// let mut learner = OnlineKMeans::new(1, params)?;
/// for i in 0..100 {
///     learner.learn(Row::Dense(&[if i % 2 == 0 { 1.0 } else { 9.0 }]), f64::NAN);
/// }
/// assert_eq!(learner.predict(Row::Dense(&[7.0])).score, 2.0);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct OnlineKMeans {
    stored: Stored,
    /// Of the centres; empty before there are any.
    nearest: Nearest,
    /// What is left of a weight after a record.
    decay: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stored {
    params: OnlineKMeansParams,
    width: usize,
    /// Records of which the first centres will be drawn.
    waiting: Vec<f64>,
    centres: Vec<f64>,
    /// In units of `unit`.
    weights: Vec<f64>,
    /// What a record weighs now: grows as older ones decay.
    unit: f64,
    records: u64,
}

impl From<OnlineKMeans> for Stored {
    fn from(learner: OnlineKMeans) -> Self {
        learner.stored
    }
}

impl From<Stored> for OnlineKMeans {
    fn from(stored: Stored) -> Self {
        let nearest = Nearest::new(&stored.centres, stored.width);
        let params = &stored.params;
        let decay = if params.half_life > 0.0 { 0.5f64.powf(1.0 / params.half_life) } else { params.decay };
        Self { stored, nearest, decay }
    }
}

impl PartialEq for OnlineKMeans {
    fn eq(&self, other: &Self) -> bool {
        self.stored == other.stored
    }
}

/// Beyond it, weights are brought back to a unit of 1.
const LARGEST_UNIT: f64 = 1e100;

impl OnlineKMeans {
    /// Knows nothing, of records of this width.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(width: usize, params: OnlineKMeansParams) -> Result<Self> {
        params.check()?;
        let (waiting, centres, weights) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Stored { params, width, waiting, centres, weights, unit: 1.0, records: 0 }.into())
    }

    /// Begins with these centres, each of the weight of so many records.
    ///
    /// # Errors
    /// A parameter out of range; another number of centres than `k`.
    pub fn from_model(model: &KMeansModel, weight: f64, params: OnlineKMeansParams) -> Result<Self> {
        if model.clusters() != params.k {
            return crate::error::data(format!("kmeans: a model of {} clusters for k = {}", model.clusters(), params.k));
        }
        let mut learner = Self::new(model.width(), params)?;
        learner.begin(model.centres().to_vec(), weight);
        Ok(learner)
    }

    fn begin(&mut self, centres: Vec<f64>, weight: f64) {
        self.stored.weights = vec![weight; centres.len() / self.stored.width.max(1)];
        self.nearest = Nearest::new(&centres, self.stored.width);
        self.stored.centres = centres;
    }

    /// Sum of the squared distances is what a record adds to the cost; here of its nearest centre.
    #[inline]
    fn follow(&mut self, row: Row<'_>, centre: usize) {
        let Stored { width, centres, weights, unit, records, .. } = &mut self.stored;
        *records += 1;
        if self.decay > 0.0 {
            *unit /= self.decay;
        } else {
            weights.fill(0.0);
        }
        weights[centre] += *unit;
        let share = *unit / weights[centre];
        let values = &mut centres[centre * *width..(centre + 1) * *width];
        match row {
            Row::Dense(row) => values.iter_mut().zip(row).for_each(|(c, x)| *c += share * (x - *c)),
            row => {
                values.iter_mut().for_each(|c| *c -= share * *c);
                row.add_to(share, values);
            }
        }
        self.nearest.set(centre, values);
        if *unit > LARGEST_UNIT {
            let by = 1.0 / *unit;
            weights.iter_mut().for_each(|w| *w *= by);
            *unit = 1.0;
        }
    }

    fn wait(&mut self, row: Row<'_>) {
        let Stored { params, width, waiting, records, .. } = &mut self.stored;
        *records += 1;
        let start = waiting.len();
        waiting.resize(start + *width, 0.0);
        row.write_to(&mut waiting[start..]);
        let count = waiting.len() / (*width).max(1);
        if count >= params.warm_up.max(params.k) {
            let mut random = Random::new(params.seed);
            let centres = plus_plus(waiting, &vec![1.0; count], *width, params.k, &mut random);
            if centres.len() == params.k * *width {
                let waited = std::mem::take(waiting);
                self.begin(centres, 0.0);
                for row in waited.chunks(self.stored.width) {
                    let (centre, _) = self.nearest.find(row);
                    self.stored.records -= 1;
                    self.follow(Row::Dense(row), centre);
                }
            } else {
                // Not that many different records so far: half of them make room for more.
                let keep = count / 2 * *width;
                waiting.drain(..waiting.len() - keep);
            }
        }
    }
}

impl Predictor for OnlineKMeans {
    fn width(&self) -> usize {
        self.stored.width
    }

    /// Before there are centres: cluster 0, at no distance.
    #[inline]
    fn predict(&self, row: Row<'_>) -> Prediction {
        if self.stored.weights.is_empty() {
            return Prediction::default();
        }
        let (cluster, squared) = nearest_of(&self.nearest, row, self.stored.width);
        Prediction { value: cluster as f64, score: squared.sqrt() }
    }
}

impl OnlineLearner for OnlineKMeans {
    const NAME: &'static str = "kmeans";
    const SUPERVISED: bool = false;

    fn learn(&mut self, row: Row<'_>, label: f64) {
        self.test_then_train(row, label);
    }

    #[inline]
    fn test_then_train(&mut self, row: Row<'_>, _label: f64) -> Prediction {
        if self.stored.weights.is_empty() {
            self.wait(row);
            return Prediction::default();
        }
        let (centre, squared) = nearest_of(&self.nearest, row, self.stored.width);
        self.follow(row, centre);
        Prediction { value: centre as f64, score: squared.sqrt() }
    }

    /// The squared distance from the centre.
    fn loss(&self, prediction: Prediction, _label: f64) -> f64 {
        prediction.score * prediction.score
    }

    fn records(&self) -> u64 {
        self.stored.records
    }

    /// Centres are matched by number: locals began with the same ones. A local that has none yet contributes nothing.
    fn merge(&mut self, locals: &[(u64, Self)], decay: f64) {
        self.stored.records += locals.iter().map(|(n, _)| n).sum::<u64>();
        let locals: Vec<&Self> = locals.iter().map(|(_, l)| l).filter(|l| !l.stored.weights.is_empty()).collect();
        let Some(first) = locals.first() else { return };
        if self.stored.weights.is_empty() {
            self.stored.waiting.clear();
            self.begin(first.stored.centres.clone(), 0.0);
        }
        let Stored { width, centres, weights, unit, .. } = &mut self.stored;
        let of = |l: &Self, centre: usize| l.stored.weights[centre] / l.stored.unit;
        for centre in 0..weights.len() {
            let own = decay * weights[centre] / *unit;
            let total = own + (1.0 - decay) * locals.iter().map(|l| of(l, centre)).sum::<f64>();
            if total > 0.0 {
                let values = &mut centres[centre * *width..(centre + 1) * *width];
                values.iter_mut().for_each(|x| *x *= own / total);
                for local in &locals {
                    let theirs = &local.stored.centres[centre * *width..(centre + 1) * *width];
                    crate::vector::axpy((1.0 - decay) * of(local, centre) / total, theirs, values);
                }
            }
            // The mean, not the sum: what locals began with is in each of them.
            weights[centre] = own + (1.0 - decay) * locals.iter().map(|l| of(l, centre)).sum::<f64>() / locals.len() as f64;
        }
        *unit = 1.0;
        self.nearest = Nearest::new(&self.stored.centres, self.stored.width);
    }

    fn check(&self) -> Result<()> {
        check_finite(Self::NAME, self.stored.records, &self.stored.centres, 0.0)
    }

    /// Of the records that wait, before there are centres.
    fn model(&self) -> Model {
        let Stored { width, centres, waiting, .. } = &self.stored;
        let centres = if centres.is_empty() { waiting } else { centres };
        let centres = if centres.is_empty() { vec![0.0; (*width).max(1)] } else { centres.clone() };
        let model = KMeansModel::new((*width).max(1), centres);
        Model::KMeans(model.unwrap_or_else(|_| unreachable!("whole rows of the width")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_decay_a_centre_is_the_mean_of_its_records() {
        let params = OnlineKMeansParams { k: 1, warm_up: 1, ..OnlineKMeansParams::default() };
        let mut learner = OnlineKMeans::new(2, params).unwrap();
        let mut random = Random::new(4);
        let rows: Vec<[f64; 2]> = (0..500).map(|_| [random.normal(), random.unit()]).collect();
        rows.iter().for_each(|r| learner.learn(Row::Dense(r), f64::NAN));
        for j in 0..2 {
            let mean = rows.iter().map(|r| r[j]).sum::<f64>() / 500.0;
            assert!((learner.stored.centres[j] - mean).abs() < 1e-12);
        }
        assert_eq!((learner.records(), learner.stored.weights[0]), (500, 500.0));
    }

    #[test]
    fn with_decay_it_is_the_weighted_mean_also_where_the_unit_overflows() {
        let half_life = 5.0;
        let params = OnlineKMeansParams { k: 1, warm_up: 1, half_life, ..OnlineKMeansParams::default() };
        let mut learner = OnlineKMeans::new(1, params).unwrap();
        let values: Vec<f64> = (0..5000).map(|i| f64::from(i % 17)).collect();
        values.iter().for_each(|x| learner.learn(Row::Dense(&[*x]), f64::NAN));
        let weight = |i: usize| 0.5f64.powf((values.len() - 1 - i) as f64 / half_life);
        let total: f64 = (0..values.len()).map(weight).sum();
        let mean = values.iter().enumerate().map(|(i, x)| x * weight(i)).sum::<f64>() / total;
        assert!((learner.stored.centres[0] - mean).abs() < 1e-9);
    }

    #[test]
    fn centres_follow_what_moves_and_state_continues_bit_for_bit() {
        let params = OnlineKMeansParams { k: 3, half_life: 100.0, ..OnlineKMeansParams::default() };
        let mut learner = OnlineKMeans::new(2, params).unwrap();
        let mut random = Random::new(6);
        let mut row = move |i: u32, shift: f64| {
            let angle = f64::from(i % 3) * 2.1;
            [shift + 5.0 * angle.cos() + 0.1 * random.normal(), 5.0 * angle.sin() + 0.1 * random.normal()]
        };
        (0..2000).for_each(|i| learner.learn(Row::Dense(&row(i, 0.0)), f64::NAN));
        let mut restored: OnlineKMeans = serde_json::from_value(serde_json::to_value(&learner).unwrap()).unwrap();
        for i in 0..3000 {
            let row = row(i, f64::from(i) / 300.0);
            learner.learn(Row::Dense(&row), f64::NAN);
            restored.learn(Row::Dense(&row), f64::NAN);
        }
        assert_eq!(learner, restored);
        let distances: f64 = (0..300).map(|i| learner.predict(Row::Dense(&row(i, 10.0))).score).sum();
        assert!(distances / 300.0 < 1.0, "{distances}");
    }

    #[test]
    fn the_same_records_again_and_again_are_no_centres_yet() {
        let params = OnlineKMeansParams { k: 2, warm_up: 4, ..OnlineKMeansParams::default() };
        let mut learner = OnlineKMeans::new(1, params).unwrap();
        (0..100).for_each(|_| learner.learn(Row::Dense(&[3.0]), f64::NAN));
        assert!(learner.stored.weights.is_empty() && learner.stored.waiting.len() < 4);
        (0..4).for_each(|_| learner.learn(Row::Dense(&[5.0]), f64::NAN));
        assert_eq!(learner.stored.weights.len(), 2);
        assert_eq!(learner.records(), 104);
    }
}
