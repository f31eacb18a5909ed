//! Learning online in processes that are killed on the way: the model is that of a run that nobody disturbed.
#![cfg(unix)]

use fluvial_core::{Checkpoints, Config, Env, Mode, RestoreFrom};
use fluvial_ml::{DealInOrder, Drift, LearnOnline, Model, OnlineOptions, ServerStatistics, Sgd, SgdParams, Together};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RECORDS: u64 = 30_000;
const LIVES: [u64; 3] = [4_000, 11_000, 19_000];
const HALF_WAY: &str = "half way";

/// Complete checkpoints: the manifest is written last.
fn checkpoints(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let complete = entries.filter(|entry| entry.path().join("manifest").exists());
    complete.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.starts_with("chk-")).collect()
}

/// Weights and intercept of the last model. With a folder there are checkpoints, and from the record `at` on, once there is a new one,
/// it says that it is half way.
fn learn(workers: usize, folder: Option<&Path>, at: u64) -> Vec<f64> {
    let mut config = Config { threads: workers, ..Config::default() };
    if let Some(folder) = folder {
        config.mode = Mode::Streaming;
        config.checkpoints = Some(Checkpoints::to_folder(folder).every(Duration::from_millis(20)).from(RestoreFrom::LatestIfAny));
    }
    let env = Env::new(config);
    let servers = ServerStatistics::new(9, Drift::None);
    let generator = env.generator(move |n| (n, servers.example(n)));
    // At a rate that leaves time for checkpoints on a busy machine, too.
    let generator = if folder.is_some() { generator.rate(20_000.0) } else { generator };
    let (place, former) = (folder.map(Path::to_owned), folder.map(checkpoints).unwrap_or_default());
    let said = Arc::new(AtomicBool::new(folder.is_none()));
    let examples = generator.count(RECORDS).stream().map(move |(n, example)| {
        let new = |place: &Path| checkpoints(place).iter().any(|name| !former.contains(name));
        if n >= at && !said.load(SeqCst) && place.as_deref().is_some_and(new) && !said.swap(true, SeqCst) {
            println!("\n{HALF_WAY}");
        }
        (n, example)
    });
    let make = |width| Sgd::new(width, SgdParams::svm());
    let learned = if workers == 1 {
        examples.map(|(_, example)| example).learn(make, OnlineOptions::default())
    } else {
        let dealt = examples.deal_in_order(|(n, _)| *n).map(|(_, example)| example);
        dealt.learn_together(make, OnlineOptions::default(), Together { every: 500, decay: 0.1, lag: Some(1) })
    };
    let versions = Arc::new(Mutex::new(Vec::new()));
    let into = versions.clone();
    learned.versions.for_each(move |version| into.lock().unwrap().push(version));
    env.execute("learn").unwrap();
    let last = std::mem::take(&mut *versions.lock().unwrap()).into_iter().max_by_key(|v| v.version).unwrap();
    assert_eq!(last.records, RECORDS);
    let Model::Linear(model) = last.model else { panic!("{:?}", last.model) };
    [model.weights, vec![model.intercept]].concat()
}

/// A process that learns, started by the tests; an empty test otherwise.
#[test]
fn program() {
    let told = |name: &str| std::env::var(name).ok();
    let (Some(folder), Some(workers), Some(at)) = (told("LEARN_IN"), told("LEARN_WORKERS"), told("LEARN_AT")) else { return };
    let folder = Path::new(&folder);
    let weights = learn(workers.parse().unwrap(), Some(&folder.join("checkpoints")), at.parse().unwrap());
    let bits: Vec<String> = weights.iter().map(|w| w.to_bits().to_string()).collect();
    std::fs::write(folder.join("weights"), bits.join("\n")).unwrap();
}

fn start(folder: &Path, workers: usize, at: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--nocapture", "--test-threads", "1"]).stdout(Stdio::piped());
    command.env("LEARN_IN", folder).env("LEARN_WORKERS", workers.to_string()).env("LEARN_AT", at.to_string());
    command.spawn().unwrap()
}

/// Weights of a run that is killed again and again, each time with a checkpoint of its own, and of one that is not.
fn killed_and_not(workers: usize) -> [Vec<f64>; 2] {
    let folder = tempfile::tempdir().unwrap();
    for at in LIVES {
        let mut child = start(folder.path(), workers, at);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == HALF_WAY), "{workers} workers, {at}: ended before a checkpoint");
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "{workers} workers, {at}: ended by itself");
    }
    let mut last = start(folder.path(), workers, u64::MAX);
    BufReader::new(last.stdout.take().unwrap()).lines().for_each(|line| drop(line.unwrap()));
    assert!(last.wait().unwrap().success());
    let bits = std::fs::read_to_string(folder.path().join("weights")).unwrap();
    [bits.lines().map(|bits| f64::from_bits(bits.parse().unwrap())).collect(), learn(workers, None, 0)]
}

#[test]
fn a_killed_learner_goes_on_bit_for_bit() {
    let [killed, not] = killed_and_not(1);
    assert_eq!(killed, not);
}

#[test]
fn killed_learners_of_several_workers_go_on_together_as_they_would_have() {
    for workers in [2, 3] {
        let [killed, not] = killed_and_not(workers);
        let apart = killed.iter().zip(&not).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(killed.len() == not.len() && apart < 1e-9, "{workers} workers: {apart}");
    }
}
