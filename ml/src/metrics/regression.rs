use serde::{Deserialize, Serialize};

/// What figures about predicted numbers are computed from; adds up over workers and windows.
///
/// ```
/// let mut sums = fluvial_ml::RegressionSums::default();
/// for (truth, predicted) in [(3.0, 2.5), (-0.5, 0.0), (2.0, 2.0), (7.0, 8.0)] {
///     sums.add(truth, predicted);
/// }
/// assert_eq!((sums.mae(), sums.rmse()), (0.5, 0.375f64.sqrt()));
/// assert!((sums.r2() - 0.948_608_137).abs() < 1e-9);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RegressionSums {
    count: u64,
    absolute: f64,
    squared: f64,
    /// Mean of the truths, and squared distances from it (Welford 1962).
    mean: f64,
    spread: f64,
}

impl RegressionSums {
    /// Adds a prediction.
    #[inline]
    pub fn add(&mut self, truth: f64, predicted: f64) {
        self.count += 1;
        let error = truth - predicted;
        self.absolute += error.abs();
        self.squared += error * error;
        let distance = truth - self.mean;
        self.mean += distance / self.count as f64;
        self.spread += distance * (truth - self.mean);
    }

    /// Adds other sums (Chan, Golub and LeVeque 1983).
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.mean += distance * b / (a + b);
        self.spread += other.spread + distance * distance * a * b / (a + b);
        self.count += other.count;
        self.absolute += other.absolute;
        self.squared += other.squared;
    }

    /// How many predictions were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean absolute error; not a number where there are no predictions, as for all.
    pub fn mae(&self) -> f64 {
        self.absolute / self.count as f64
    }

    /// Mean squared error.
    pub fn mse(&self) -> f64 {
        self.squared / self.count as f64
    }

    /// Square root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        self.mse().sqrt()
    }

    /// Share of the truths' variance that is predicted: 1 at best, below 0 if their mean would be better. Where the truths do not
    /// vary, 1 if there are no errors, else 0.
    pub fn r2(&self) -> f64 {
        match self.spread {
            0.0 if self.squared == 0.0 => 1.0,
            0.0 => 0.0,
            spread => 1.0 - self.squared / spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let pairs: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i * i % 37), f64::from(i % 31))).collect();
        let sums = |pairs: &[(f64, f64)]| {
            let mut sums = RegressionSums::default();
            pairs.iter().for_each(|(t, p)| sums.add(*t, *p));
            sums
        };
        let whole = sums(&pairs);
        let mut parts = RegressionSums::default();
        [&pairs[..13], &pairs[13..13], &pairs[13..]].into_iter().for_each(|part| parts.merge(&sums(part)));
        assert!((parts.r2() - whole.r2()).abs() < 1e-12);
        assert_eq!((parts.count(), parts.mae()), (whole.count(), whole.mae()));
    }
}
