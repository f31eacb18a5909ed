//! Batch learners as bulk iterations give what they give over parts in one place.

mod kit;

use fluvial_core::{Checkpoints, Config, Env, Restart, RestoreFrom};
use fluvial_ml::{
    Block, BulkLearner, DenseRows, Drift, DualSvm, DualSvmParams, FitBlocks, KMeans, KMeansParams, Model, Pegasos, PegasosParams,
    Proximal, ProximalParams, Regression, Rows, ServerStatistics, TrainingData, fit_shared,
};
use kit::has_checkpoint;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

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

/// Fails once, in the superstep that it is told or the first after it at which there is a checkpoint to go on from, on whichever
/// worker is first; and takes its time, so that there is some for checkpoints.
struct FailsOnce<L> {
    learner: L,
    at: u64,
    folder: PathBuf,
    failed: AtomicBool,
    /// The first superstep after the failure.
    again: AtomicU64,
}

impl<L: BulkLearner> BulkLearner for FailsOnce<L> {
    type Shared = L::Shared;
    type Local = L::Local;
    type Partial = L::Partial;

    fn start(&self, width: usize, parts: usize) -> fluvial_ml::Result<L::Shared> {
        self.learner.start(width, parts)
    }
    fn local(&self, data: &TrainingData<'_>, part: usize) -> fluvial_ml::Result<L::Local> {
        self.learner.local(data, part)
    }
    fn step(
        &self,
        data: &TrainingData<'_>,
        local: &mut L::Local,
        shared: &L::Shared,
        superstep: u64,
    ) -> fluvial_ml::Result<L::Partial> {
        let (started, failed) = (Instant::now(), self.failed.load(SeqCst));
        let fails = || superstep >= self.at && !failed && has_checkpoint(&self.folder);
        // Longer where the checkpoint is waited for, though not for ever: it may need this worker.
        let time = Duration::from_millis(if superstep >= self.at && !failed { 100 } else { 2 });
        while started.elapsed() < time && !fails() {
            std::thread::yield_now();
        }
        if failed {
            self.again.fetch_min(superstep, SeqCst);
        }
        assert!(!fails() || self.failed.swap(true, SeqCst), "by chance");
        self.learner.step(data, local, shared, superstep)
    }
    fn merge(&self, shared: &mut L::Shared, partials: Vec<L::Partial>, superstep: u64) -> fluvial_ml::Result<bool> {
        self.learner.merge(shared, partials, superstep)
    }
    fn model(&self, shared: &L::Shared) -> fluvial_ml::Result<Model> {
        self.learner.model(shared)
    }
}

/// A job that fails in the middle of training and goes on from a checkpoint learns what one does that does not fail: in the order of
/// the parts the sums are the same, on any number of workers.
#[track_caller]
fn the_same_after_a_failure<L: BulkLearner + 'static>(make: impl Fn() -> L, workers: usize, at: u64) {
    let blocks = |env: &Env| env.generate(20, |i| data().slice(i as usize * 100, (i as usize + 1) * 100));
    let undisturbed = blocks(&env(workers)).fit_model(make()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::to_folder(folder.path()).every(Duration::from_millis(5)).from(RestoreFrom::LatestIfAny);
    let env = Env::new(Config {
        threads: workers,
        checkpoints: Some(checkpoints),
        restart: Restart::fixed_delay(1, Duration::from_millis(1)),
        ..Config::default()
    });
    let place = folder.path().to_owned();
    let failing = Arc::new(FailsOnce {
        learner: make(),
        at,
        folder: place,
        failed: AtomicBool::new(false),
        again: AtomicU64::new(u64::MAX),
    });
    let shared = blocks(&env).fit_shared(&failing).collect().unwrap().remove(0);
    let again = failing.again.load(SeqCst);
    assert!(again > 0 && again < u64::MAX, "{workers} workers: superstep {again} came after the failure in superstep {at}");
    assert_eq!(failing.model(&shared).unwrap(), undisturbed, "{workers} workers");
}

#[test]
fn training_that_failed_on_the_way_gives_the_same_model_bit_for_bit() {
    for workers in 1..=3 {
        let params = DualSvmParams { tolerance: 1e-9, rounds: 40, ..DualSvmParams::default() };
        the_same_after_a_failure(|| DualSvm::new(params.clone()).unwrap(), workers, 25);
    }
    for workers in [2, 3] {
        let params = ProximalParams { tolerance: 1e-15, rounds: 20, ..ProximalParams::default() };
        the_same_after_a_failure(|| Proximal::new(Regression::Logistic, params.clone()).unwrap(), workers, 25);
        let params = KMeansParams { k: 4, rounds: 60, tolerance: 0.0, ..KMeansParams::default() };
        the_same_after_a_failure(|| KMeans::new(params.clone()).unwrap(), workers, 20);
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
