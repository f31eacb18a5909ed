use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Counts of truths and predictions, class by class.
///
/// ```
/// use fluvial_ml::Confusion;
/// let mut counts = Confusion::new(2);
/// for (truth, predicted) in [(0, 0), (0, 0), (0, 1), (1, 1)] {
///     counts.add(truth, predicted);
/// }
/// assert_eq!((counts.accuracy(), counts.precision(1), counts.recall(1)), (0.75, 0.5, 1.0));
/// assert!((counts.kappa() - 0.5).abs() < 1e-12);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    classes: usize,
    /// Of truth `t` and prediction `p` at `t * classes + p`.
    counts: Vec<u64>,
}

impl Confusion {
    /// Of so many classes, nothing counted.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Counts a prediction. Classes are numbered from 0; a greater number than there are classes counts as the last.
    #[inline]
    pub fn add(&mut self, truth: usize, predicted: usize) {
        let last = self.classes.saturating_sub(1);
        if let Some(count) = self.counts.get_mut(truth.min(last) * self.classes + predicted.min(last)) {
            *count += 1;
        }
    }

    /// Adds what others have counted, of as many classes.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
    }

    /// How many were counted with this truth and prediction.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts.get(truth * self.classes + predicted).copied().unwrap_or(0)
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn truths(&self, class: usize) -> u64 {
        (0..self.classes).map(|p| self.count(class, p)).sum()
    }

    fn predictions(&self, class: usize) -> u64 {
        (0..self.classes).map(|t| self.count(t, class)).sum()
    }

    /// Share of right predictions; 0 where nothing was counted.
    pub fn accuracy(&self) -> f64 {
        ratio((0..self.classes).map(|c| self.count(c, c)).sum(), self.total())
    }

    /// Cohen's kappa: accuracy beyond what chance gives with the same shares of truths and predictions; 1 at best, 0 for chance.
    pub fn kappa(&self) -> f64 {
        let total = self.total() as f64;
        let chance: f64 =
            (0..self.classes).map(|c| self.truths(c) as f64 * self.predictions(c) as f64).sum::<f64>() / (total * total);
        if total == 0.0 || chance >= 1.0 { 0.0 } else { (self.accuracy() - chance) / (1.0 - chance) }
    }

    /// Of what was predicted to be of a class, the share that is; 0 where nothing was.
    pub fn precision(&self, class: usize) -> f64 {
        ratio(self.count(class, class), self.predictions(class))
    }

    /// Of what is of a class, the share that was predicted to be; 0 where nothing is.
    pub fn recall(&self, class: usize) -> f64 {
        ratio(self.count(class, class), self.truths(class))
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self, class: usize) -> f64 {
        let (precision, recall) = (self.precision(class), self.recall(class));
        if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Mean negative logarithm of the probability that was given to what is true. Probabilities are of the class 1, kept 1e-15 away from
/// 0 and 1; labels above 0 are that class.
///
/// # Errors
/// Nothing to compare, or not as many labels as probabilities.
pub fn log_loss(labels: &[f64], probabilities: &[f64]) -> Result<f64> {
    if labels.is_empty() || labels.len() != probabilities.len() {
        return Err(Error::Data(format!("log loss of {} labels and {} probabilities", labels.len(), probabilities.len())));
    }
    let loss = |(label, p): (&f64, &f64)| {
        let p = p.clamp(1e-15, 1.0 - 1e-15);
        if *label > 0.0 { -p.ln() } else { -(1.0 - p).ln() }
    };
    Ok(labels.iter().zip(probabilities).map(loss).sum::<f64>() / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_scikit_learn() {
        // sklearn.metrics on y = [0,0,1,1,1,0,1,0], p = [0,1,1,1,0,0,1,1].
        let mut counts = Confusion::new(2);
        [(0, 0), (0, 1), (1, 1), (1, 1), (1, 0), (0, 0), (1, 1), (0, 1)].into_iter().for_each(|(t, p)| counts.add(t, p));
        assert_eq!((counts.accuracy(), counts.kappa()), (0.625, 0.25));
        assert_eq!((counts.precision(1), counts.recall(1)), (0.6, 0.75));
        assert!((counts.f1(1) - 2.0 / 3.0).abs() < 1e-15);
        let loss = log_loss(&[1.0, -1.0, 1.0], &[0.9, 0.2, 0.6]).unwrap();
        assert!((loss - 0.279_776_563_579_342_3).abs() < 1e-12, "{loss}");
    }

    #[test]
    fn one_class_alone_is_no_agreement_beyond_chance() {
        let mut counts = Confusion::new(2);
        (0..5).for_each(|_| counts.add(0, 0));
        assert_eq!((counts.accuracy(), counts.kappa(), counts.f1(1)), (1.0, 0.0, 0.0));
    }
}
