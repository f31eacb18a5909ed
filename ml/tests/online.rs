//! Learning online as part of a job: what is refused, several workers, failures on the way.

mod kit;

use fluvial_core::{Checkpoints, Config, DataStream, Env, Mode, Restart, RestoreFrom};
use fluvial_ml::{
    DealBlocks, DealInOrder, Drift, Evaluation, Example, Ftrl, FtrlParams, HalfSpaceParams, HalfSpaceTrees, LearnOnline, Learned,
    Model, ModelVersion, OnlineKMeans, OnlineKMeansParams, OnlineLearner, OnlineOptions, ServerStatistics, Sgd, SgdParams,
    Together,
};
use kit::has_checkpoint;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn env(threads: usize) -> Env {
    Env::new(Config { threads, ..Config::default() })
}

/// Everything that a learner gives in one run: what each worker did, and versions of the model.
fn run_apart(learned: &Learned) -> (Vec<Evaluation>, Vec<ModelVersion>) {
    let (evaluations, versions) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (one, other) = (evaluations.clone(), versions.clone());
    learned.evaluations.for_each(move |part| one.lock().unwrap().push(part));
    learned.versions.for_each(move |version| other.lock().unwrap().push(version));
    learned.versions.env().execute("learn").unwrap();
    let versions = std::mem::take(&mut *versions.lock().unwrap());
    (std::mem::take(&mut *evaluations.lock().unwrap()), versions)
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
fn a_short_table_is_learned_by_all_workers() {
    let servers = ServerStatistics::new(5, Drift::None);
    for workers in [2, 3] {
        let blocks = env(workers).from_collection([servers.block(0..5500).unwrap()]).deal(128);
        let learned =
            blocks.learn_together(|width| Sgd::new(width, SgdParams::svm()), OnlineOptions::default(), Together::default());
        let (evaluations, versions) = run_apart(&learned);
        let records: Vec<u64> = evaluations.iter().map(|e| e.prequential.as_ref().unwrap().overall().records).collect();
        assert_eq!((records.len(), records.iter().sum::<u64>()), (workers, 5500));
        let share = 5500 / workers as u64;
        assert!(records.iter().all(|n| n.abs_diff(share) <= 2 * 128), "{records:?}");
        // What they learned, they learned together: a version a round, and the last one of all records.
        let last = versions.iter().max_by_key(|v| v.version).unwrap();
        assert!(last.records == 5500 && (4..=6).contains(&last.version), "{} records, version {}", last.records, last.version);
    }
}

const RECORDS: u64 = 30_000;

/// A job that learns from servers; if it has a folder for checkpoints it fails once half of its records have come and there is
/// one to go on from. What it gives, once it has ended.
fn learn_servers(
    workers: usize,
    folder: Option<&Path>,
    learn: impl FnOnce(&DataStream<Example>) -> Learned,
) -> (Vec<Evaluation>, Vec<ModelVersion>) {
    learn_numbered(workers, folder, |examples| learn(&examples.map(|(_, example)| example)))
}

/// The same, of examples with their numbers.
fn learn_numbered(
    workers: usize,
    folder: Option<&Path>,
    learn: impl FnOnce(&DataStream<(u64, Example)>) -> Learned,
) -> (Vec<Evaluation>, Vec<ModelVersion>) {
    let mut config = Config { threads: workers, ..Config::default() };
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
    let generator = env.generator(move |n| (n, servers.example(n)));
    // At a rate that leaves time for checkpoints on a busy machine, too.
    let generator = if folder.is_some() { generator.rate(20_000.0) } else { generator };
    let place = folder.map(Path::to_owned);
    let examples = generator.count(RECORDS).stream().map(move |(n, example)| {
        if broken.load(SeqCst) {
            first.fetch_min(n, SeqCst);
        } else if seen.fetch_add(1, SeqCst) >= RECORDS / 2
            && place.as_deref().is_some_and(has_checkpoint)
            && !broken.swap(true, SeqCst)
        {
            panic!("half way");
        }
        (n, example)
    });
    let gave = run_apart(&learn(&examples));
    let first = again.load(SeqCst);
    assert!(folder.is_none() || (first > 0 && first < RECORDS), "went on from a checkpoint on the way: {first}");
    gave
}

/// A learner's last model after a job that fails once and goes on from a checkpoint is that of a job that does not.
#[track_caller]
fn the_same_after_a_failure<L: OnlineLearner>(make: impl Fn(usize) -> fluvial_ml::Result<L> + Clone + Send + Sync + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let [disturbed, not] = [Some(folder.path()), None].map(|folder| {
        let (_, versions) = learn_servers(1, folder, |examples| examples.learn(make.clone(), OnlineOptions::default()));
        let last = versions.into_iter().next_back().unwrap();
        assert_eq!(last.records, RECORDS);
        last.model
    });
    assert_eq!(disturbed, not);
}

#[test]
fn a_job_that_failed_on_the_way_has_the_same_model_bit_for_bit() {
    the_same_after_a_failure(|width| Sgd::new(width, SgdParams::svm()));
    the_same_after_a_failure(|width| Ftrl::new(width, FtrlParams { l1: 0.1, ..FtrlParams::default() }));
    the_same_after_a_failure(|width| OnlineKMeans::new(width, OnlineKMeansParams { half_life: 500.0, ..Default::default() }));
    the_same_after_a_failure(|width| HalfSpaceTrees::new(width, HalfSpaceParams { trees: 5, ..Default::default() }));
}

/// Which worker makes which of the records that were left is open after a restore. One centre is their mean, whoever has which.
#[test]
fn what_several_workers_learned_is_all_there_after_a_failure() {
    let make = |width| OnlineKMeans::new(width, OnlineKMeansParams { k: 1, warm_up: 1, ..Default::default() });
    for workers in [2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let [disturbed, not] = [Some(folder.path()), None].map(|folder| {
            let (_, versions) = learn_servers(workers, folder, |examples| examples.learn(make, OnlineOptions::default()));
            assert_eq!((versions.len(), versions.iter().map(|v| v.records).sum::<u64>()), (workers, RECORDS));
            let mut mean = [0.0; ServerStatistics::FEATURES];
            for version in versions {
                let Model::KMeans(model) = version.model else { panic!("{:?}", version.model) };
                let share = version.records as f64 / RECORDS as f64;
                mean.iter_mut().zip(model.centres()).for_each(|(mean, centre)| *mean += share * centre);
            }
            mean
        });
        let apart = disturbed.iter().zip(&not).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-9, "{workers} workers: {apart}");
    }
}

#[test]
fn learning_together_goes_on_after_a_failure_with_every_record_and_version() {
    for workers in [2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let (evaluations, mut versions) = learn_servers(workers, Some(folder.path()), |examples| {
            let together = Together { every: 500, decay: 0.1, lag: None };
            examples.learn_together(|width| Sgd::new(width, SgdParams::svm()), OnlineOptions::default(), together)
        });
        let mut whole = Evaluation::default();
        evaluations.iter().for_each(|part| whole.merge(part));
        let whole = whole.prequential.unwrap().overall();
        assert_eq!(whole.records, RECORDS);
        assert!(whole.confusion.accuracy() > 0.95, "{}", whole.confusion.accuracy());
        versions.sort_by_key(|v| v.version);
        let last = versions.last().unwrap();
        assert_eq!(last.records, RECORDS);
        // One a round; the number goes on where it was, also if some came again.
        assert!(last.version.abs_diff(RECORDS / 500 + 1) <= 2, "version {}", last.version);
        let numbers: BTreeSet<u64> = versions.iter().map(|v| v.version).collect();
        assert_eq!(numbers, (1..=last.version).collect());
    }
}

/// Where records are dealt out in order and merged learners taken up at their record, a failure on the way changes nothing: each version of
/// the model is that of the undisturbed run.
#[test]
fn what_several_workers_learn_with_a_lag_is_the_same_after_a_failure() {
    for (workers, lag) in [(2, 0), (2, 1), (3, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let [disturbed, not] = [Some(folder.path()), None].map(|folder| {
            let (_, versions) = learn_numbered(workers, folder, |examples| {
                let dealt = examples.deal_in_order(|(n, _)| *n).map(|(_, example)| example);
                let together = Together { every: 500, decay: 0.1, lag: Some(lag) };
                dealt.learn_together(|width| Sgd::new(width, SgdParams::svm()), OnlineOptions::default(), together)
            });
            // Some came again after the failure.
            let models = versions.into_iter().map(|v| {
                let Model::Linear(model) = v.model else { panic!("{:?}", v.model) };
                (v.version, (v.records, [model.weights, vec![model.intercept]].concat()))
            });
            models.collect::<BTreeMap<u64, (u64, Vec<f64>)>>()
        });
        // Of shares as long as a round needs, from all workers; and the last one.
        let rounds = RECORDS / (500u64.div_ceil(workers as u64) * workers as u64);
        assert_eq!(not.keys().copied().collect::<Vec<_>>(), (1..=rounds + 1).collect::<Vec<_>>());
        assert_eq!(not[&(rounds + 1)].0, RECORDS);
        assert_eq!(disturbed.keys().collect::<Vec<_>>(), not.keys().collect::<Vec<_>>());
        for (version, (records, weights)) in &disturbed {
            let (expected_records, expected) = &not[version];
            let apart = weights.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(records == expected_records && apart < 1e-9, "{workers} workers, version {version}: {apart}");
        }
    }
}

/// A worker that has nothing to send does not keep the others from learning to the end.
#[test]
fn with_a_lag_all_is_learned_also_where_one_worker_gets_everything() {
    let servers = ServerStatistics::new(5, Drift::None);
    let examples = env(2).generate(20_000, move |n| servers.example(n)).partition_by_hash(|_| 0u64);
    let together = Together { every: 500, lag: Some(1), ..Together::default() };
    let learned = examples.learn_together(|width| Sgd::new(width, SgdParams::svm()), OnlineOptions::default(), together);
    let (evaluations, versions) = run_apart(&learned);
    let records: u64 = evaluations.iter().map(|e| e.prequential.as_ref().unwrap().overall().records).sum();
    let last = versions.iter().max_by_key(|v| v.version).unwrap();
    assert_eq!((records, last.records, last.version), (20_000, 20_000, 1));
}
