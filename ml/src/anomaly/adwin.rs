use crate::Result;
use crate::parameters::{Parameters, at_least, parameters, within};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

parameters! {
    /// When [`Adwin`] sees a change.
    AdwinParams of "adwin" {
        #[doc = " Probability of seeing a change where there is none."]
        delta: f64 = 0.002, within(1e-12, 0.5);
        #[doc = " Looks for changes every so many values."]
        every: u64 = 32, at_least(1);
        #[doc = " Fewest values of each of the two parts that are compared."]
        least: u64 = 5, at_least(1);
        #[doc = " Buckets of each size."]
        buckets: usize = 5, at_least(2);
    }
}

/// Adaptive windowing (Bifet and Gavaldà 2007): keeps the longest window of values whose mean has not changed, and says when it
/// drops older ones because it has.
///
/// The window is kept as buckets of 1, 2, 4, ... values with their sums and squared distances (an exponential histogram), so that
/// `n` values take `O(log n)` memory; every cut between two buckets is tried.
///
/// ```
/// use fluvial_ml::{Adwin, AdwinParams};
/// let mut adwin = Adwin::new(AdwinParams::default())?;
/// let errors = (0..2000).map(|i| if i < 1000 { 0.1 } else { 0.6 });
/// let changes: Vec<usize> = errors.enumerate().filter(|(_, e)| adwin.add(*e)).map(|(i, _)| i).collect();
/// assert!(changes[0] >= 1000 && changes[0] < 1064);
/// assert!((adwin.mean() - 0.6).abs() < 0.05);
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    params: AdwinParams,
    /// Of 2^level values each; within a level the oldest first.
    levels: Vec<VecDeque<Bucket>>,
    whole: Bucket,
    seen: u64,
    changes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bucket {
    count: f64,
    sum: f64,
    /// Sum of the squared distances from the mean.
    spread: f64,
}

impl Bucket {
    fn mean(&self) -> f64 {
        if self.count == 0.0 { 0.0 } else { self.sum / self.count }
    }

    fn plus(&self, other: &Self) -> Self {
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { *other } else { *self };
        }
        let count = self.count + other.count;
        let distance = self.mean() - other.mean();
        let between = distance * distance * self.count * other.count / count;
        Self { count, sum: self.sum + other.sum, spread: self.spread + other.spread + between }
    }

    fn minus(&self, other: &Self) -> Self {
        let count = self.count - other.count;
        if count <= 0.0 {
            return Self::default();
        }
        let sum = self.sum - other.sum;
        let distance = sum / count - other.mean();
        let between = distance * distance * count * other.count / self.count;
        Self { count, sum, spread: (self.spread - other.spread - between).max(0.0) }
    }
}

impl Adwin {
    /// An empty window.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(params: AdwinParams) -> Result<Self> {
        params.check()?;
        Ok(Self { params, levels: Vec::new(), whole: Bucket::default(), seen: 0, changes: 0 })
    }

    /// Adds a value; says whether older ones were dropped because the mean has changed. Values should lie between 0 and 1 for the
    /// bound to hold as the paper states it.
    pub fn add(&mut self, value: f64) -> bool {
        self.seen += 1;
        let bucket = Bucket { count: 1.0, sum: value, spread: 0.0 };
        self.whole = self.whole.plus(&bucket);
        self.insert(0, bucket);
        if !self.seen.is_multiple_of(self.params.every) {
            return false;
        }
        let mut changed = false;
        while self.differs() {
            self.drop_oldest();
            changed = true;
        }
        self.changes += u64::from(changed);
        changed
    }

    /// Mean of the values in the window; 0 where there are none.
    pub fn mean(&self) -> f64 {
        self.whole.mean()
    }

    /// How many values are in the window.
    pub fn len(&self) -> u64 {
        self.whole.count as u64
    }

    /// Whether the window is empty.
    pub fn is_empty(&self) -> bool {
        self.whole.count == 0.0
    }

    /// How often the mean has changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn insert(&mut self, level: usize, bucket: Bucket) {
        if self.levels.len() == level {
            self.levels.push(VecDeque::new());
        }
        let buckets = &mut self.levels[level];
        buckets.push_back(bucket);
        if buckets.len() > self.params.buckets
            && let (Some(first), Some(second)) = (buckets.pop_front(), buckets.pop_front())
        {
            self.insert(level + 1, first.plus(&second));
        }
    }

    fn drop_oldest(&mut self) {
        while let Some(level) = self.levels.last_mut() {
            if let Some(bucket) = level.pop_front() {
                self.whole = self.whole.minus(&bucket);
                return;
            }
            self.levels.pop();
        }
    }

    /// Whether some cut parts the window into two whose means differ by more than chance.
    fn differs(&self) -> bool {
        let n = self.whole.count;
        if n < 2.0 * self.params.least as f64 {
            return false;
        }
        let confidence = (2.0 * n.ln().max(1.0) / self.params.delta).ln();
        let variance = self.whole.spread / n;
        let least = self.params.least as f64;
        let mut older = Bucket::default();
        for bucket in self.levels.iter().rev().flatten() {
            older = older.plus(bucket);
            let newer = n - older.count;
            if newer < least {
                return false;
            }
            if older.count < least {
                continue;
            }
            let m = 1.0 / (1.0 / (older.count - least + 1.0) + 1.0 / (newer - least + 1.0));
            let bound = (2.0 / m * variance * confidence).sqrt() + 2.0 / (3.0 * m) * confidence;
            let newer_mean = (self.whole.sum - older.sum) / newer;
            if (older.mean() - newer_mean).abs() > bound {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_buckets_hold_what_the_window_holds() {
        let mut adwin = Adwin::new(AdwinParams::default()).unwrap();
        let mut random = Random::new(1);
        let values: Vec<f64> = (0..5000).map(|i| random.unit() * if i < 2500 { 0.2 } else { 1.0 }).collect();
        for value in &values {
            adwin.add(*value);
            let mut sum = Bucket::default();
            adwin.levels.iter().rev().flatten().for_each(|b| sum = sum.plus(b));
            assert!((sum.count - adwin.whole.count).abs() < 0.5 && (sum.sum - adwin.whole.sum).abs() < 1e-6);
        }
        let window = &values[values.len() - adwin.len() as usize..];
        let mean = window.iter().sum::<f64>() / window.len() as f64;
        assert!((mean - adwin.mean()).abs() < 1e-9);
        let spread: f64 = window.iter().map(|v| (v - mean) * (v - mean)).sum();
        assert!((spread - adwin.whole.spread).abs() < 1e-6);
        assert!(adwin.len() <= 2600 && adwin.changes() >= 1, "{} {}", adwin.len(), adwin.changes());
    }

    #[test]
    fn false_alarms_are_as_rare_as_asked_for() {
        let mut alarms = 0;
        for seed in 0..100 {
            let mut adwin = Adwin::new(AdwinParams { delta: 0.05, ..AdwinParams::default() }).unwrap();
            let mut random = Random::new(seed);
            alarms += (0..2000).filter(|_| adwin.add(f64::from(random.unit() < 0.3))).count();
        }
        assert!(alarms <= 5, "{alarms}");
    }
}
