use crate::random::Random;
use crate::vector::{Block, DenseRows, Example, Rows};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// How the load of the servers changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drift {
    /// Not at all.
    None,
    /// From one record to the next, there.
    Abrupt {
        /// The first record of the new load.
        at: u64,
    },
    /// Over so many records from there: more and more records are of the new load.
    Gradual {
        /// The first record that can be of the new load.
        at: u64,
        /// How many records it takes.
        over: u64,
    },
    /// Back and forth, every so many records.
    Recurring {
        /// Records between two changes.
        every: u64,
    },
}

/// A seeded stream of server statistics, labelled by whether the service level was violated (1) or not (-1).
///
/// There are [`ServerStatistics::FEATURES`] figures of processor, memory, disks, network and queues. They follow a load that rises
/// and falls over the day, and noise; when the service level is violated, those of the resource that is short stand out. A shift of load
/// makes another resource the short one: what stood out before says nothing then, or the contrary. A record follows from seed and
/// number alone, so any worker can make any part of the stream.
///
/// ```
/// use fluvial_ml::{Drift, ServerStatistics};
/// let servers = ServerStatistics::new(7, Drift::Abrupt { at: 1000 });
/// assert_eq!(servers.example(3), servers.example(3));
/// let violated = (0..1000).filter(|n| servers.example(*n).label > 0.0).count();
/// assert!((200..500).contains(&violated));
/// ```
#[derive(Clone, Debug)]
pub struct ServerStatistics {
    seed: u64,
    drift: Drift,
    /// How each figure follows the load.
    gains: Vec<f64>,
    /// Of both loads: how each figure stands out when the service level is violated.
    effects: [Vec<f64>; 2],
}

/// Records of a day.
const DAY: f64 = 5000.0;
/// Deviation of what is noise.
const NOISE: f64 = 0.25;

impl ServerStatistics {
    /// What the figures are called.
    pub const NAMES: [&'static str; 20] = [
        "cpu_user",
        "cpu_system",
        "cpu_wait",
        "run_queue",
        "context_switches",
        "memory_used",
        "memory_cached",
        "swap_used",
        "page_faults",
        "page_ins",
        "disk_reads",
        "disk_writes",
        "disk_queue",
        "disk_wait",
        "net_in",
        "net_out",
        "net_retransmits",
        "connections",
        "requests",
        "threads",
    ];

    /// How many figures there are.
    pub const FEATURES: usize = Self::NAMES.len();

    /// A stream.
    pub fn new(seed: u64, drift: Drift) -> Self {
        let mut random = Random::new(seed);
        let gains = (0..Self::FEATURES).map(|_| random.between(-0.2, 0.4)).collect();
        let first: Vec<f64> = (0..Self::FEATURES).map(|j| if j % 2 == 0 { random.between(0.2, 0.5) } else { 0.0 }).collect();
        // The resource that was short has room now: half of what stood out sinks instead.
        let second = (0..Self::FEATURES)
            .map(|j| match j % 4 {
                0 => -first[j],
                2 => 0.0,
                _ => random.between(0.2, 0.5),
            })
            .collect();
        Self { seed, drift, gains, effects: [first, second] }
    }

    /// Whether a record is of the second load.
    fn shifted(&self, n: u64, random: &mut Random) -> bool {
        match self.drift {
            Drift::None => false,
            Drift::Abrupt { at } => n >= at,
            Drift::Gradual { at, over } => n >= at && random.unit() * over as f64 <= (n - at) as f64,
            Drift::Recurring { every } => (n / every.max(1)) % 2 == 1,
        }
    }

    /// Record `n`.
    pub fn example(&self, n: u64) -> Example {
        let mut values = Vec::with_capacity(Self::FEATURES);
        let label = self.write(n, &mut values);
        Example::new(values, label)
    }

    fn write(&self, n: u64, values: &mut Vec<f64>) -> f64 {
        let mut random = Random::new(self.seed ^ (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let effects = &self.effects[usize::from(self.shifted(n, &mut random))];
        let load = 0.5 + 0.3 * (n as f64 / DAY * TAU).sin() + 0.1 * random.normal();
        let violated = random.unit() < 0.2 + 0.3 * load.clamp(0.0, 1.0);
        let standing_out = if violated { 0.5 } else { -0.5 };
        values.extend(
            (0..Self::FEATURES).map(|j| 0.1 + self.gains[j] * (load - 0.5) + effects[j] * standing_out + NOISE * random.normal()),
        );
        if violated { 1.0 } else { -1.0 }
    }

    /// The records of a range, as a block.
    ///
    /// # Errors
    /// A range that ends before it begins.
    pub fn block(&self, records: std::ops::Range<u64>) -> Result<Block> {
        if records.end < records.start {
            return Err(Error::Data(format!("records {} to {}", records.start, records.end)));
        }
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        records.for_each(|n| labels.push(self.write(n, &mut values)));
        Block::new(Rows::Dense(DenseRows::from_values(Self::FEATURES, values)?), labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DualSvm, DualSvmParams, OnlineLearner, Predictor, Sgd, SgdParams, fit};

    /// Share of right predictions, record by record, of those in a range.
    fn online(servers: &ServerStatistics, learner: &mut Sgd, records: std::ops::Range<u64>) -> f64 {
        let count = records.end - records.start;
        let right = records.filter(|n| {
            let example = servers.example(*n);
            learner.test_then_train(example.features.row(), example.label).value == example.label
        });
        right.count() as f64 / count as f64
    }

    #[test]
    fn an_online_model_follows_a_shift_that_a_batch_model_does_not() {
        let servers = ServerStatistics::new(1, Drift::Abrupt { at: 20_000 });
        let batch =
            fit(&DualSvm::new(DualSvmParams { c: 0.1, ..DualSvmParams::default() }).unwrap(), &[servers.block(0..5000).unwrap()])
                .unwrap();
        let judge = |records: std::ops::Range<u64>| {
            let block = servers.block(records).unwrap();
            let right = (0..block.len()).filter(|i| batch.predict(block.rows.row(*i)).value == block.label(*i)).count();
            right as f64 / block.len() as f64
        };
        let mut learner = Sgd::new(ServerStatistics::FEATURES, SgdParams::svm()).unwrap();
        online(&servers, &mut learner, 0..10_000);
        let before = online(&servers, &mut learner, 10_000..20_000);
        let frozen = judge(10_000..20_000);
        assert!((before - frozen).abs() < 0.005, "without drift they agree: {before} {frozen}");
        online(&servers, &mut learner, 20_000..20_500);
        let after = online(&servers, &mut learner, 20_500..21_500);
        let frozen_after = judge(20_500..21_500);
        assert!(after > 0.95 * before && frozen_after < 0.8 * frozen, "{before} {after}, {frozen} {frozen_after}");
    }

    #[test]
    fn loads_change_as_they_are_told() {
        let share = |drift: Drift, records: std::ops::Range<u64>| {
            let servers = ServerStatistics::new(3, drift);
            let count = records.end - records.start;
            records.filter(|n| servers.shifted(*n, &mut Random::new(*n))).count() as f64 / count as f64
        };
        assert_eq!(share(Drift::None, 0..100), 0.0);
        assert_eq!(share(Drift::Abrupt { at: 50 }, 0..100), 0.5);
        assert_eq!(share(Drift::Recurring { every: 10 }, 0..40), 0.5);
        let gradual = Drift::Gradual { at: 1000, over: 1000 };
        assert!((share(gradual, 1000..2000) - 0.5).abs() < 0.1);
        assert_eq!((share(gradual, 0..1000), share(gradual, 2001..2100)), (0.0, 1.0));
    }
}
