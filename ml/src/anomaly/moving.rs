use crate::learner::{OnlineLearner, Prediction, Predictor};
use crate::model::{Persist, Stage};
use crate::parameters::{Parameters, at_least, parameters, within};
use crate::vector::Row;
use crate::{Error, Model, Result};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::f64::consts::SQRT_2;

parameters! {
    /// How [`MovingStatistics`] judges.
    MovingParams of "moving-stats" {
        #[doc = " Values of the window that a new one is compared with."]
        window: usize = 6400, at_least(2);
        #[doc = " The window moves on by so many values at once; at most `window`."]
        step: usize = 100, at_least(1);
        #[doc = " Score from which a record counts as an anomaly."]
        threshold: f64 = 0.9999, within(0.5, 1.0);
    }
}

/// How unlikely a value is, were it of a normal distribution with the mean and deviation of the values before it: 1 minus the
/// smaller tail, so from 0.5 (the mean) to 1. The windowed Gaussian detector of the Numenta Anomaly Benchmark; with its window (6400)
/// and step (100), its scores. Of several features the one that is least likely decides.
///
/// ```
/// use fluvial_ml::{MovingParams, MovingStatistics, OnlineLearner, Row};
/// let mut detector = MovingStatistics::new(1, MovingParams::default())?;
/// (0..100).for_each(|i| detector.learn(Row::Dense(&[f64::from(i % 3)]), f64::NAN));
/// assert_eq!(detector.test_then_train(Row::Dense(&[50.0]), f64::NAN).value, 1.0);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MovingStatistics {
    params: MovingParams,
    /// One a feature.
    features: Vec<Window>,
    records: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    values: VecDeque<f64>,
    /// What comes into the window with its next step.
    coming: Vec<f64>,
    mean: f64,
    /// Sum of the squared distances from the mean.
    spread: f64,
    deviation: f64,
}

/// In place of a deviation of zero, as the benchmark has it.
const LEAST_DEVIATION: f64 = 1e-6;

impl Window {
    fn score(&self, value: f64) -> f64 {
        if self.values.is_empty() {
            return 0.0;
        }
        let z = (value - self.mean).abs() / self.deviation;
        1.0 - 0.5 * libm::erfc(z / SQRT_2)
    }

    fn add(&mut self, value: f64, params: &MovingParams) {
        if self.values.len() < params.window {
            self.values.push_back(value);
            let distance = value - self.mean;
            self.mean += distance / self.values.len() as f64;
            self.spread += distance * (value - self.mean);
        } else {
            self.coming.push(value);
            if self.coming.len() < params.step.min(params.window) {
                return;
            }
            self.values.drain(..self.coming.len());
            self.values.extend(self.coming.drain(..));
            let count = self.values.len() as f64;
            self.mean = self.values.iter().sum::<f64>() / count;
            self.spread = self.values.iter().map(|v| (v - self.mean) * (v - self.mean)).sum();
        }
        let deviation = (self.spread / self.values.len() as f64).sqrt();
        self.deviation = if deviation == 0.0 { LEAST_DEVIATION } else { deviation };
    }
}

impl MovingStatistics {
    /// Has seen nothing, of so many features.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(width: usize, params: MovingParams) -> Result<Self> {
        params.check()?;
        Ok(Self { params, features: vec![Window::default(); width], records: 0 })
    }
}

impl Predictor for MovingStatistics {
    fn width(&self) -> usize {
        self.features.len()
    }

    /// 1 where the score reaches the threshold, else -1.
    fn predict(&self, row: Row<'_>) -> Prediction {
        let mut score = 0.0f64;
        self.features.iter().enumerate().for_each(|(i, window)| score = score.max(window.score(row.get(i))));
        Prediction { value: if score >= self.params.threshold { 1.0 } else { -1.0 }, score }
    }
}

impl OnlineLearner for MovingStatistics {
    const NAME: &'static str = "moving-stats";
    const SUPERVISED: bool = false;

    fn learn(&mut self, row: Row<'_>, _label: f64) {
        self.records += 1;
        for (i, window) in self.features.iter_mut().enumerate() {
            window.add(row.get(i), &self.params);
        }
    }

    /// Whether the prediction was wrong; 0 where nobody knows.
    fn loss(&self, prediction: Prediction, label: f64) -> f64 {
        f64::from(!label.is_nan() && (label > 0.0) != (prediction.value > 0.0))
    }

    fn records(&self) -> u64 {
        self.records
    }

    /// Windows do not blend: values come from the locals in turn, the newest of each, and what decays is left out.
    fn merge(&mut self, locals: &[(u64, Self)], _decay: f64) {
        self.records += locals.iter().map(|(n, _)| n).sum::<u64>();
        let share = self.params.window / locals.len().max(1);
        for (i, window) in self.features.iter_mut().enumerate() {
            let newest = |l: &Self| {
                let theirs = &l.features[i];
                let values: Vec<f64> = theirs.values.iter().chain(&theirs.coming).copied().collect();
                values[values.len().saturating_sub(share.max(1))..].to_vec()
            };
            let parts: Vec<Vec<f64>> = locals.iter().map(|(_, l)| newest(l)).collect();
            let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
            *window = Window::default();
            for at in (0..longest).rev() {
                for part in parts.iter().filter(|p| p.len() > at) {
                    window.add(part[part.len() - 1 - at], &self.params);
                }
            }
        }
    }

    fn check(&self) -> Result<()> {
        match self.features.iter().position(|w| !(w.mean.is_finite() && w.deviation.is_finite())) {
            Some(i) => {
                let what = format!("mean or deviation of feature {i} is not finite");
                Err(Error::Diverged { learner: Self::NAME, records: self.records, what })
            }
            None => Ok(()),
        }
    }

    fn model(&self) -> Model {
        Model::MovingStatistics(self.clone())
    }
}

impl Persist for MovingStatistics {
    const KIND: &'static str = "moving-stats";

    fn to_stage(&self) -> Stage {
        let mut stage = Stage::new(Self::KIND, &(&self.params, self.records));
        let all = |part: fn(&Window) -> f64| self.features.iter().map(part).collect::<Vec<_>>();
        stage.numbers("mean", all(|w| w.mean));
        stage.numbers("spread", all(|w| w.spread));
        stage.numbers("deviation", all(|w| w.deviation));
        stage.numbers("values", self.features.iter().flat_map(|w| w.values.iter().copied()).collect());
        stage.numbers("coming", self.features.iter().flat_map(|w| w.coming.iter().copied()).collect());
        stage
    }

    fn from_stage(stage: &Stage) -> Result<Self> {
        let (params, records): (MovingParams, u64) = stage.parameters()?;
        params.check()?;
        let [mean, spread, deviation] =
            [stage.get_numbers("mean")?, stage.get_numbers("spread")?, stage.get_numbers("deviation")?];
        let width = mean.len();
        if spread.len() != width || deviation.len() != width {
            return Err(stage.wrong("its arrays are not as long as each other"));
        }
        // All features have seen as many values.
        let parts = |name: &str| -> Result<Vec<Vec<f64>>> {
            let values = stage.get_numbers(name)?;
            let length = values.len().checked_div(width).unwrap_or(0);
            if length * width != values.len() {
                return Err(stage.wrong(format!("`{name}` has {} values of {width} features", values.len())));
            }
            Ok((0..width).map(|i| values[i * length..(i + 1) * length].to_vec()).collect())
        };
        let windows = parts("values")?.into_iter().zip(parts("coming")?).enumerate();
        let features = windows.map(|(i, (values, coming))| Window {
            values: values.into(),
            coming,
            mean: mean[i],
            spread: spread[i],
            deviation: deviation[i],
        });
        Ok(Self { params, features: features.collect(), records })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn scores_are_those_of_the_plain_detector() {
        let params = MovingParams { window: 50, step: 7, ..MovingParams::default() };
        let mut detector = MovingStatistics::new(1, params).unwrap();
        let mut random = Random::new(5);
        let (mut window, mut buffer): (Vec<f64>, Vec<f64>) = Default::default();
        for i in 0..400 {
            let value = random.normal() + f64::from(i) / 50.0;
            let expected = if window.is_empty() {
                0.0
            } else {
                let mean = window.iter().sum::<f64>() / window.len() as f64;
                let deviation = (window.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / window.len() as f64).sqrt();
                1.0 - 0.5 * libm::erfc((value - mean).abs() / deviation.max(1e-6) / SQRT_2)
            };
            let score = detector.test_then_train(Row::Dense(&[value]), f64::NAN).score;
            assert!((score - expected).abs() < 1e-9, "value {i}: {score} {expected}");
            if window.len() < 50 {
                window.push(value);
            } else {
                buffer.push(value);
                if buffer.len() == 7 {
                    window.drain(..7);
                    window.append(&mut buffer);
                }
            }
        }
    }
}
