//! Records a second of the online learners, one by one on one thread, and k-means, on seeded data.
//!
//!     cargo bench -p fluvial-ml --bench learners

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fluvial_ml::{
    Block, BulkLearner, DenseRows, Drift, Ftrl, FtrlParams, KMeans, KMeansParams, LinearModel, LinearTask, OnlineKMeans,
    OnlineKMeansParams, OnlineLearner, PassiveAggressive, PassiveAggressiveParams, Predictor, Rows, ServerStatistics, Sgd,
    SgdParams, fit_shared,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use std::hint::black_box;
use std::time::{Duration, Instant};

const RECORDS: usize = 100_000;

/// 20 dense features, two classes.
fn records() -> Block {
    ServerStatistics::new(1, Drift::None).block(0..RECORDS as u64).unwrap()
}

fn one_by_one<L: OnlineLearner>(c: &mut Criterion, name: &str, data: &Block, learner: L) {
    let mut group = c.benchmark_group("online, 20 features");
    group.throughput(Throughput::Elements(data.len() as u64)).measurement_time(Duration::from_secs(3)).sample_size(10);
    group.bench_function(name, |b| {
        let learn = |mut learner: L| {
            let mut right = 0;
            for i in 0..data.len() {
                let label = data.label(i);
                right += usize::from(learner.test_then_train(data.rows.row(i), label).value == label);
            }
            (right, learner)
        };
        b.iter_batched(|| learner.clone(), |learner| black_box(learn(learner)), BatchSize::LargeInput);
    });
    group.finish();
}

fn online(c: &mut Criterion) {
    let data = records();
    let width = data.rows.width();
    one_by_one(c, "svm", &data, Sgd::new(width, SgdParams::svm()).unwrap());
    one_by_one(c, "sgd", &data, Sgd::new(width, SgdParams::default()).unwrap());
    one_by_one(c, "pa", &data, PassiveAggressive::new(width, PassiveAggressiveParams::default()).unwrap());
    one_by_one(c, "ftrl", &data, Ftrl::new(width, FtrlParams::default()).unwrap());
    let params = OnlineKMeansParams { k: 16, half_life: 1e5, ..OnlineKMeansParams::default() };
    one_by_one(c, "kmeans, 16 centres", &data, OnlineKMeans::new(width, params).unwrap());
}

fn scoring(c: &mut Criterion) {
    let width = 28;
    let rows = DenseRows::from_values(width, (0..width * RECORDS).map(|i| (i % 97) as f64 / 97.0).collect()).unwrap();
    let rows = Rows::Dense(rows);
    let model = LinearModel { task: LinearTask::Logistic, weights: vec![0.1; width], intercept: -1.0 };
    let mut group = c.benchmark_group("scoring, 28 features");
    group.throughput(Throughput::Elements(RECORDS as u64)).sample_size(10);
    group.bench_function("logistic", |b| b.iter(|| rows.iter().map(|row| model.predict(row).score).sum::<f64>()));
    group.finish();
}

/// 10 M x 8, 16 centres, 10 rounds on two threads, once: printed with its figures.
fn kmeans(_: &mut Criterion) {
    let (records, width, k) = (10_000_000usize, 8, 16);
    let mut random = SplitMix64::seed_from_u64(1);
    let mut next = move || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let part = |next: &mut dyn FnMut() -> f64| {
        let values = (0..records / 2 * width).map(|_| next()).collect();
        Block::new(Rows::Dense(DenseRows::from_values(width, values).unwrap()), Vec::new()).unwrap()
    };
    let parts = [part(&mut next), part(&mut next)];
    let centres: Vec<f64> = (0..k).flat_map(|i| parts[0].rows.row(i).to_vector().row().stored().to_vec()).collect();
    let params = KMeansParams { k, rounds: 10, tolerance: 0.0, ..KMeansParams::default() };
    let learner = KMeans::from_centres(params, width, centres).unwrap();
    let started = Instant::now();
    let shared = fit_shared(&learner, &parts).unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let figures = learner.figures(&shared);
    println!(
        "k-means, {records} x {width}, {k} centres, 10 rounds, 2 threads of {cores}: {:.2} s, {figures:?}",
        started.elapsed().as_secs_f64()
    );
}

criterion_group!(benches, online, scoring, kmeans);
criterion_main!(benches);
