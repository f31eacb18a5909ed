//! Predicts violations of a service level from server statistics while the load changes.
//!
//! Two support vector machines see the same stream: one was trained on its beginning and stays as it is, the other learns from
//! every record after predicting it. When the load shifts, other figures announce a violation: the first goes on predicting by the
//! old ones, the second is as good again after a few hundred records.
//!
//!     cargo run --release --example online_svm_sla
//!     cargo run --release --example online_svm_sla -- --small

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::ml::{
    Drift, DualSvm, DualSvmParams, LearnOnline, Model, OnlineOptions, Predictor, ServerStatistics, Sgd, SgdParams, WindowReport,
    fit,
};
use fluvial::prelude::*;

/// Accuracy of both models, by window of 1000 records.
pub struct Comparison {
    pub online: Vec<f64>,
    pub batch: Vec<f64>,
}

pub fn compare(env: &Env, records: u64, shift: u64) -> Result<Comparison> {
    let servers = ServerStatistics::new(1, Drift::Abrupt { at: shift });
    let learner = DualSvm::new(DualSvmParams { c: 0.1, ..DualSvmParams::default() })?;
    let batch = fit(&learner, &[servers.block(0..shift / 2)?])?;

    let source = servers.clone();
    let examples = env.generate(records, move |n| source.example(n));
    let learned = examples.learn(|width| Sgd::new(width, SgdParams::svm()), OnlineOptions::default());
    let evaluation = learned.evaluations.collect()?;
    let windows = evaluation.iter().filter_map(|e| e.prequential.as_ref()).flat_map(|p| p.windows());
    let online: Vec<f64> = windows.map(|w: &WindowReport| w.confusion.accuracy()).collect();
    let batch = (0..online.len() as u64).map(|w| accuracy(&batch, &servers, w * 1000..(w + 1) * 1000)).collect();
    Ok(Comparison { online, batch })
}

fn accuracy(model: &Model, servers: &ServerStatistics, records: std::ops::Range<u64>) -> f64 {
    let count = records.end - records.start;
    let right = records.map(|n| servers.example(n)).filter(|e| model.predict(e.features.row()).value == e.label);
    right.count() as f64 / count as f64
}

fn main() -> Result<()> {
    let small = std::env::args().any(|a| a == "--small");
    let (records, shift) = if small { (10_000, 5000) } else { (200_000, 100_000) };
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let Comparison { online, batch } = compare(&env, records, shift)?;
    println!("  records   online    batch");
    let step = online.len().div_ceil(20);
    for w in (0..online.len()).step_by(step) {
        let shifted = if (w as u64) * 1000 == shift { "   the load has shifted" } else { "" };
        println!("{:9} {:7.1}% {:7.1}%{shifted}", (w + 1) * 1000, online[w] * 100.0, batch[w] * 100.0);
    }
    Ok(())
}
