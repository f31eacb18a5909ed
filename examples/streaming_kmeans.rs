//! Clusters that follow points which move.
//!
//! Centres learn from every point; what is old counts half after 2000 points, so that they stay with clouds that drift. Versions
//! of the model come out of the job as it runs.
//!
//!     cargo run --release --example streaming_kmeans
//!     cargo run --release --example streaming_kmeans -- --small

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::ml::{Example, LearnOnline, Model, ModelVersion, OnlineKMeans, OnlineKMeansParams, OnlineOptions};
use fluvial::prelude::*;

pub const CLOUDS: u64 = 3;

/// Where a cloud is when point `n` comes: they go round in a circle once in 60,000 points.
pub fn middle(cloud: u64, n: u64) -> [f64; 2] {
    let angle = (n as f64 / 60_000.0 + cloud as f64 / CLOUDS as f64) * std::f64::consts::TAU;
    [10.0 * angle.cos(), 10.0 * angle.sin()]
}

/// A point within half a unit of the middle of its cloud.
pub fn point(n: u64) -> Example {
    let middle = middle(n % CLOUDS, n);
    let scatter = |shift: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(shift as u32) % 1000) as f64 / 1000.0 - 0.5;
    Example::new(vec![middle[0] + scatter(7), middle[1] + scatter(29)], f64::NAN)
}

pub fn versions(env: &Env, points: u64, every: u64) -> Result<Vec<ModelVersion>> {
    let params = OnlineKMeansParams { k: CLOUDS as usize, half_life: 2000.0, ..OnlineKMeansParams::default() };
    let options = OnlineOptions { name: "clouds".into(), version_every: every, ..OnlineOptions::default() };
    let learned = env.generate(points, point).learn(move |width| OnlineKMeans::new(width, params.clone()), options);
    learned.versions.collect()
}

/// How far each cloud's middle is from the nearest centre of a version, at most.
pub fn distance(version: &ModelVersion) -> f64 {
    let Model::KMeans(model) = &version.model else { return f64::INFINITY };
    let middles = (0..CLOUDS).map(|cloud| middle(cloud, version.records));
    middles.map(|m| model.assign(fluvial::ml::Row::Dense(&m)).1.sqrt()).fold(0.0, f64::max)
}

fn main() -> Result<()> {
    let points = if std::env::args().any(|a| a == "--small") { 10_000 } else { 1_000_000 };
    let env = Env::new(Config { threads: 1, ..Config::default() });
    for version in versions(&env, points, points / 10)? {
        println!(
            "version {:2} after {:7} points: at most {:.2} from a cloud's middle",
            version.version,
            version.records,
            distance(&version)
        );
    }
    Ok(())
}
