//! Batch learners as bulk iterations give what they give over parts in one place.

use fluvial_core::{Config, Env};
use fluvial_ml::{
    Block, BulkLearner, DenseRows, Drift, DualSvm, DualSvmParams, FitBlocks, KMeans, KMeansParams, Pegasos, PegasosParams,
    Proximal, ProximalParams, Regression, Rows, ServerStatistics, fit_shared,
};
use std::sync::Arc;

fn env(threads: usize) -> Env {
    Env::new(Config { threads, ..Config::default() })
}

fn data() -> Block {
    ServerStatistics::new(2, Drift::None).block(0..2000).unwrap()
}

/// Figures of a learner over one part in one place, and on so many workers.
fn figures<L: BulkLearner + 'static>(learner: L, workers: usize) -> (Vec<f64>, Vec<f64>) {
    let learner = Arc::new(learner);
    let values = |shared: &L::Shared| learner.figures(shared).into_iter().map(|(_, v)| v).collect::<Vec<f64>>();
    let here = values(&fit_shared(&*learner, &[data()]).unwrap());
    let blocks = env(workers).from_collection((0..20).map(|i| data().slice(i * 100, (i + 1) * 100)).collect::<Vec<_>>());
    let blocks = if workers > 1 { blocks.rebalance() } else { blocks };
    let mut shared = blocks.fit_shared(&learner).collect().unwrap();
    assert_eq!(shared.len(), 1, "one result");
    (here, values(&shared.remove(0)))
}

#[test]
fn one_worker_gives_the_same_bits() {
    let (here, there) = figures(DualSvm::new(DualSvmParams::default()).unwrap(), 1);
    assert_eq!(here, there);
    let (here, there) = figures(Proximal::new(Regression::Logistic, ProximalParams::default()).unwrap(), 1);
    assert_eq!(here, there);
    let (here, there) = figures(KMeans::new(KMeansParams { k: 4, ..KMeansParams::default() }).unwrap(), 1);
    assert_eq!(here, there);
    let (here, there) = figures(Pegasos::new(PegasosParams { rounds: 5, ..PegasosParams::default() }).unwrap(), 1);
    assert_eq!(here, there);
}

#[test]
fn several_workers_reach_the_same_optimum() {
    for workers in [2, 3] {
        let (here, there) = figures(
            DualSvm::new(DualSvmParams { tolerance: 1e-4, rounds: 20_000, ..DualSvmParams::default() }).unwrap(),
            workers,
        );
        assert!((there[0] / here[0] - 1.0).abs() < 3e-4, "{workers} workers: {here:?} {there:?}");
        let params = ProximalParams { tolerance: 1e-7, rounds: 2000, ..ProximalParams::default() };
        let (here, there) = figures(Proximal::new(Regression::Logistic, params).unwrap(), workers);
        assert!((there[0] / here[0] - 1.0).abs() < 1e-6, "{workers} workers: {here:?} {there:?}");
        let centres: Vec<f64> = (0..4).flat_map(|i| data().rows.row(i * 7).to_vector().row().stored().to_vec()).collect();
        let params = KMeansParams { k: 4, ..KMeansParams::default() };
        let (here, there) = figures(KMeans::from_centres(params, ServerStatistics::FEATURES, centres).unwrap(), workers);
        assert!((there[0] / here[0] - 1.0).abs() < 1e-9 && there[1] == here[1], "{workers} workers: {here:?} {there:?}");
    }
}

#[test]
fn data_that_cannot_be_learned_from_are_an_error() {
    let none = env(2).from_collection(Vec::<Block>::new());
    let error = none.fit_model(KMeans::new(KMeansParams::default()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("no records to learn from"), "{error}");
    let rows = Rows::Dense(DenseRows::from_values(1, vec![1.0; 10]).unwrap());
    let same = env(2).from_collection([Block::new(rows, Vec::new()).unwrap()]);
    let error = same.fit_model(KMeans::new(KMeansParams { k: 2, ..KMeansParams::default() }).unwrap()).unwrap_err().to_string();
    assert!(error.contains("only 1 different records for 2 clusters"), "{error}");
}
