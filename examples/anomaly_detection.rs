//! Anomalies of a series of measurements, as they come: a value that is unlikely given those before it.
//!
//!     cargo run --release --example anomaly_detection -- Twitter_volume_AAPL.csv
//!     cargo run --release --example anomaly_detection -- --small
//!
//! with columns `timestamp` and `value`, as the series of the Numenta Anomaly Benchmark have them; CSV, JSON lines or Parquet.

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::OperatorList;
use fluvial::ml::{MovingParams, MovingStatistics, OnlineLearner, Row};
use fluvial::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    pub timestamp: String,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    pub measurement: Measurement,
    pub score: f64,
}

struct Detect {
    detector: OperatorList<MovingStatistics>,
}

/// Measurements of which a mean and a deviation say something.
const ENOUGH: u64 = 100;

impl ProcessFunction<Measurement> for Detect {
    type Output = Anomaly;

    fn process(&mut self, measurement: Measurement, context: &mut ProcessContext<'_, Anomaly>) -> Result<()> {
        if self.detector.is_empty() {
            self.detector.add(MovingStatistics::new(1, MovingParams { threshold: 0.999_99, ..MovingParams::default() })?);
        }
        let (said, seen) =
            self.detector.update(|d| (d[0].test_then_train(Row::Dense(&[measurement.value]), f64::NAN), d[0].records()));
        if said.value > 0.0 && seen > ENOUGH {
            context.emit(Anomaly { measurement, score: said.score });
        }
        Ok(())
    }
}

pub fn anomalies(measurements: &DataStream<Measurement>) -> DataStream<Anomaly> {
    measurements.process(|state| Ok(Detect { detector: state.list("detector")? }))
}

fn main() -> Result<()> {
    // One worker: a series has an order.
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let files: Vec<String> = std::env::args().skip(1).filter(|a| a != "--small").collect();
    let measurements = if files.is_empty() { env.generate(SMALL, small) } else { env.read_records(&files)? };
    for anomaly in anomalies(&measurements).collect()? {
        println!("{}  {:10.2}  score {:.6}", anomaly.measurement.timestamp, anomaly.measurement.value, anomaly.score);
    }
    Ok(())
}

pub const SMALL: u64 = 2000;

/// A daily rhythm with a spike at value 1500.
pub fn small(n: u64) -> Measurement {
    let rhythm = 50.0 + 20.0 * (n as f64 / 288.0 * std::f64::consts::TAU).sin() + (n * 7 % 11) as f64;
    let value = if n == 1500 { 400.0 } else { rhythm };
    Measurement { timestamp: format!("day {} minute {}", n / 288 + 1, n % 288 * 5), value }
}
