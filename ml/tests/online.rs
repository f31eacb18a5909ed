//! Learning online as part of a job: what is refused, several workers, shifts of what is learned, failures on the way.

use fluvial_core::{Checkpoints, Config, DataStream, Env, Mode, Restart, RestoreFrom};
use fluvial_ml::{
    Drift, Evaluation, Example, Ftrl, FtrlParams, HalfSpaceParams, HalfSpaceTrees, LearnOnline, Learned, Model, ModelVersion,
    OnlineKMeans, OnlineKMeansParams, OnlineLearner, OnlineOptions, ServerStatistics, Sgd, SgdParams, Together,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn env(threads: usize) -> Env {
    Env::new(Config { threads, ..Config::default() })
}

/// Everything that a learner gives, in one run.
fn run(learned: &Learned) -> (Evaluation, Vec<ModelVersion>) {
    let (evaluation, versions) = (Arc::new(Mutex::new(Evaluation::default())), Arc::new(Mutex::new(Vec::new())));
    let (one, other) = (evaluation.clone(), versions.clone());
    learned.evaluations.for_each(move |part| one.lock().unwrap().merge(&part));
    learned.versions.for_each(move |version| other.lock().unwrap().push(version));
    learned.versions.env().execute("learn").unwrap();
    let versions = std::mem::take(&mut *versions.lock().unwrap());
    (evaluation.lock().unwrap().clone(), versions)
}

/// Share of right predictions of these windows.
fn accuracy(evaluation: &Evaluation, windows: std::ops::Range<usize>) -> f64 {
    let windows = &evaluation.prequential.as_ref().unwrap().windows()[windows];
    windows.iter().map(|w| w.confusion.accuracy()).sum::<f64>() / windows.len() as f64
}

fn servers(env: &Env, records: u64, drift: Drift) -> DataStream<Example> {
    let servers = ServerStatistics::new(5, drift);
    env.generate(records, move |n| servers.example(n))
}

#[test]
fn what_cannot_be_learned_goes_aside() {
    let env = env(1);
    let wrong = |n: u64| match n % 10 {
        0 => Example::new(vec![f64::NAN, 1.0], 1.0),
        1 => Example::new(vec![1.0, f64::INFINITY], 1.0),
        2 => Example::new(vec![1.0], 1.0),
        3 => Example::new(vec![1.0, 1.0], f64::NAN),
        _ => Example::new(vec![1.0, n as f64 % 3.0], 1.0),
    };
    let examples = env.generate(103, move |n| wrong(n + 4));
    let learned = examples.learn(|width| Ftrl::new(width, FtrlParams::default()), OnlineOptions::default());
    let reasons = learned.rejected.map(|r| r.reason).collect().unwrap();
    assert_eq!(reasons.len(), 40);
    for expected in
        ["feature 0 is missing", "feature 1 is inf", "1 features, expected 2", "the label is missing, or of neither class"]
    {
        assert_eq!(reasons.iter().filter(|r| *r == expected).count(), 10, "{expected}");
    }
}

#[test]
fn a_learner_that_diverges_fails_the_job_and_says_so() {
    let examples = env(1).generate(5000, |n| Example::new(vec![n as f64], 1.0));
    let params = SgdParams { rate: 100.0, ..SgdParams::default() };
    let learned = examples.learn(move |width| Sgd::new(width, params.clone()), OnlineOptions::default());
    let error = learned.versions.collect().unwrap_err().to_string();
    assert!(error.contains("learn sgd") && error.contains("sgd has diverged after 5000 records"), "{error}");
}

#[test]
fn after_a_shift_one_two_and_four_workers_are_as_good_again() {
    let (records, shift) = (40_000, 20_000);
    let mut before_and_after = Vec::new();
    for workers in [1u64, 2, 4] {
        let options = OnlineOptions { window: 500 / workers, ..OnlineOptions::default() };
        let examples = servers(&env(workers as usize), records, Drift::Abrupt { at: shift });
        let make = |width| Sgd::new(width, SgdParams::svm());
        let learned = match workers {
            1 => examples.learn(make, options),
            _ => examples.learn_together(make, options, Together { every: 128, decay: 0.0 }),
        };
        let (evaluation, versions) = run(&learned);
        assert_eq!(evaluation.prequential.as_ref().unwrap().overall().records, records);
        assert_eq!(versions.iter().map(|v| v.records).max(), Some(records));
        let (before, after) = (accuracy(&evaluation, 10..39), accuracy(&evaluation, 42..79));
        assert!(after > 0.95 * before, "{workers} workers: {before} {after}");
        before_and_after.push((before, after));
    }
    let first = before_and_after[0];
    for (before, after) in &before_and_after {
        assert!((before - first.0).abs() < 0.01 && (after - first.1).abs() < 0.01, "{before_and_after:?}");
    }
}

/// A learner's last model after a job that fails once and goes on from a checkpoint, and that of a job that does not.
fn disturbed_and_not<L: OnlineLearner>(
    make: impl Fn(usize) -> fluvial_ml::Result<L> + Clone + Send + Sync + 'static,
) -> [Model; 2] {
    const RECORDS: u64 = 30_000;
    let last_model = |folder: Option<&std::path::Path>| {
        let mut config = Config { threads: 1, ..Config::default() };
        if let Some(folder) = folder {
            let checkpoints = Checkpoints::to_folder(folder).every(Duration::from_millis(20));
            config.mode = Mode::Streaming;
            config.checkpoints = Some(checkpoints.from(RestoreFrom::LatestIfAny));
            config.restart = Restart::fixed_delay(1, Duration::from_millis(1));
        }
        let env = Env::new(config);
        let (failed, seen, again) =
            (Arc::new(AtomicBool::new(folder.is_none())), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let servers = ServerStatistics::new(9, Drift::None);
        let (broken, first) = (failed.clone(), again.clone());
        let source = env.generator(move |n| (n, servers.example(n))).rate(100_000.0).count(RECORDS).stream();
        let examples = source.map(move |(n, example)| {
            if broken.load(SeqCst) {
                first.fetch_min(n, SeqCst);
            }
            if seen.fetch_add(1, SeqCst) == RECORDS / 2 && !broken.swap(true, SeqCst) {
                panic!("half way");
            }
            example
        });
        let learned = examples.learn(make.clone(), OnlineOptions::default());
        let (_, versions) = run(&learned);
        let first = again.load(SeqCst);
        assert!(folder.is_none() || (first > 0 && first < RECORDS / 2 + 1), "went on from a checkpoint on the way: {first}");
        let last = versions.into_iter().next_back().unwrap();
        assert_eq!(last.records, RECORDS);
        last.model
    };
    let folder = tempfile::tempdir().unwrap();
    [last_model(Some(folder.path())), last_model(None)]
}

#[test]
fn a_job_that_failed_on_the_way_has_the_same_model_bit_for_bit() {
    let [disturbed, not] = disturbed_and_not(|width| Sgd::new(width, SgdParams::svm()));
    assert_eq!(disturbed, not);
    let [disturbed, not] = disturbed_and_not(|width| Ftrl::new(width, FtrlParams { l1: 0.1, ..FtrlParams::default() }));
    assert_eq!(disturbed, not);
    let [disturbed, not] =
        disturbed_and_not(|width| OnlineKMeans::new(width, OnlineKMeansParams { half_life: 500.0, ..Default::default() }));
    assert_eq!(disturbed, not);
    let [disturbed, not] =
        disturbed_and_not(|width| HalfSpaceTrees::new(width, HalfSpaceParams { trees: 5, ..Default::default() }));
    assert_eq!(disturbed, not);
}
