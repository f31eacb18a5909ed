//! Test-then-train evaluation: every record is first predicted, then learned (Gama, Sebastião and Rodrigues 2013).

use super::{Confusion, RegressionSums};
use serde::{Deserialize, Serialize};

/// What is known of predictions made before their record was learned: overall, and by window of so many records.
///
/// Windows of several workers merge by their number: window 3 of all of them together are the records that came then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prequential {
    window: u64,
    windows: Vec<WindowReport>,
}

/// The figures of a window, or of the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowReport {
    /// Records that were predicted.
    pub records: u64,
    /// Of two classes: 0 for labels of 0 or less, 1 for others.
    pub confusion: Confusion,
    /// Of predicted numbers.
    pub errors: RegressionSums,
    /// Sum of the learner's loss.
    pub loss: f64,
}

impl Default for WindowReport {
    fn default() -> Self {
        Self { records: 0, confusion: Confusion::new(2), errors: RegressionSums::default(), loss: 0.0 }
    }
}

impl WindowReport {
    fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.confusion.merge(&other.confusion);
        self.errors.merge(&other.errors);
        self.loss += other.loss;
    }

    /// Mean loss; 0 where there are no records.
    pub fn mean_loss(&self) -> f64 {
        if self.records == 0 { 0.0 } else { self.loss / self.records as f64 }
    }
}

impl Prequential {
    /// With windows of so many records.
    pub fn new(window: u64) -> Self {
        Self { window: window.max(1), windows: Vec::new() }
    }

    /// Adds a prediction: the truth, what was predicted and the learner's loss.
    #[inline]
    pub fn add(&mut self, truth: f64, predicted: f64, loss: f64) {
        if self.windows.last().is_none_or(|w| w.records == self.window) {
            self.windows.push(WindowReport::default());
        }
        let Some(window) = self.windows.last_mut() else { return };
        window.records += 1;
        window.confusion.add(usize::from(truth > 0.0), usize::from(predicted > 0.0));
        window.errors.add(truth, predicted);
        window.loss += loss;
    }

    /// Adds what another worker has seen in the same time.
    pub fn merge(&mut self, other: &Self) {
        for (i, window) in other.windows.iter().enumerate() {
            match self.windows.get_mut(i) {
                Some(mine) => mine.merge(window),
                None => self.windows.push(window.clone()),
            }
        }
    }

    /// The windows, in order; the last may have fewer records.
    pub fn windows(&self) -> &[WindowReport] {
        &self.windows
    }

    /// Everything together.
    pub fn overall(&self) -> WindowReport {
        let mut whole = WindowReport::default();
        self.windows.iter().for_each(|w| whole.merge(w));
        whole
    }
}

/// How long things took: counts by power of two and an eighth of it, in nanoseconds. Percentiles are right to 12 %, adding costs
/// a few instructions, and parts add up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    buckets: Vec<u64>,
}

/// Sub-buckets of a power of two, as a power of two.
const FINE: u32 = 3;

impl Default for Timings {
    fn default() -> Self {
        Self { buckets: vec![0; 64 << FINE] }
    }
}

impl Timings {
    /// Adds a duration of so many nanoseconds, `count` times.
    #[inline]
    pub fn add(&mut self, nanos: u64, count: u64) {
        self.buckets[Self::bucket(nanos)] += count;
    }

    fn bucket(nanos: u64) -> usize {
        if nanos < 1 << FINE {
            return nanos as usize;
        }
        let power = nanos.ilog2();
        (((power - FINE) as usize + 1) << FINE) + (nanos >> (power - FINE)) as usize - (1 << FINE)
    }

    /// Adds other durations.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(a, b)| *a += b);
    }

    /// Nanoseconds that this share (0 to 1) of the durations did not exceed; 0 where there are none.
    pub fn percentile(&self, share: f64) -> u64 {
        let total: u64 = self.buckets.iter().sum();
        let wanted = (share.clamp(0.0, 1.0) * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && total > 0 {
                return Self::upper(bucket);
            }
        }
        0
    }

    /// The largest duration of a bucket.
    fn upper(bucket: usize) -> u64 {
        if bucket < 1 << FINE {
            return bucket as u64;
        }
        let power = (bucket >> FINE) as u32 - 1;
        let part = (bucket & ((1 << FINE) - 1)) as u64 + (1 << FINE);
        ((part + 1) << power) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn windows_fill_one_after_another_and_add_up_over_workers() {
        let mut one = Prequential::new(10);
        (0..25).for_each(|i| one.add(1.0, if i < 10 { 1.0 } else { -1.0 }, 0.5));
        let sizes: Vec<u64> = one.windows().iter().map(|w| w.records).collect();
        assert_eq!(sizes, [10, 10, 5]);
        assert_eq!((one.windows()[0].confusion.accuracy(), one.windows()[1].confusion.accuracy()), (1.0, 0.0));
        let mut other = Prequential::new(10);
        (0..12).for_each(|_| other.add(0.0, 1.0, 1.5));
        one.merge(&other);
        assert_eq!((one.windows()[0].records, one.overall().records), (20, 37));
        assert_eq!((one.windows()[0].confusion.accuracy(), one.windows()[0].mean_loss()), (0.5, 1.0));
    }

    proptest! {
        #[test]
        fn percentiles_are_right_to_an_eighth(mut nanos in prop::collection::vec(0u64..1 << 40, 1..60)) {
            let mut timings = Timings::default();
            nanos.iter().for_each(|n| timings.add(*n, 1));
            nanos.sort_unstable();
            for share in [0.5, 0.99, 1.0] {
                let exact = nanos[((share * nanos.len() as f64).ceil() as usize).max(1) - 1];
                let told = timings.percentile(share);
                prop_assert!(told >= exact && told as f64 <= exact as f64 * 1.125 + 1.0, "{told} for {exact}");
            }
        }
    }
}
