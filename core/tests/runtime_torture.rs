//! Random graphs and loops on one to three workers, with room for four batches an edge, a slow worker and barriers all the
//! time: results equal those of a naive model, barriers cut every edge at the same records on both sides, nothing hangs;
//! a failure anywhere ends everything within a second with one message.
//!
//! `FLUVIAL_TORTURE=n` runs n graphs instead of 1,000, `FLUVIAL_TORTURE_SEED=s` begins with seed `s`.

mod kit;
mod torture;

use fluvial_core::runtime::{JobControl, Mesh, Plan, RunConfig, RunReport, RunningJob};
use fluvial_core::{Error, Result};
use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use torture::graph::{Case, case};

const TICK: Duration = Duration::from_millis(1);
/// Nothing here takes this long, however slow the machine.
const HANG: Duration = Duration::from_secs(60);

fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("FLUVIAL_TORTURE_SEED").unwrap_or(0);
    first..first + number("FLUVIAL_TORTURE").unwrap_or(default)
}

/// Whether what a run covers is worth checking.
fn whole() -> bool {
    std::env::var("FLUVIAL_TORTURE").is_err()
}

/// Waits for a job, sends barriers through it meanwhile, and ends the process if it hangs.
fn drive(job: RunningJob<'_>, what: &str) -> Result<RunReport> {
    let control = job.control();
    std::thread::scope(|scope| {
        let (done, over) = channel::<()>();
        scope.spawn(move || tick(&control, &over, what));
        let result = job.wait();
        drop(done);
        result
    })
}

fn tick(control: &JobControl, over: &std::sync::mpsc::Receiver<()>, what: &str) {
    let start = Instant::now();
    while over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        if start.elapsed() > HANG {
            eprintln!("{what} hangs: {:#?}", control.progress());
            std::process::abort();
        }
        if start.elapsed() < HANG / 2 {
            control.trigger_epoch();
        }
    }
}

fn verify(case: Case, workers: usize, what: &str) -> usize {
    let epochs = case.tally.check(&case.edges, workers).unwrap_or_else(|problem| panic!("{what}: {problem}"));
    verify_results(case, what);
    epochs
}

fn verify_results(case: Case, what: &str) {
    for (sink, (mut expected, collected)) in case.sinks.into_iter().enumerate() {
        let mut collected = std::mem::take(&mut *collected.lock().unwrap());
        expected.sort_unstable();
        collected.sort_unstable();
        assert!(expected == collected, "{what}: sink {sink} has {} records, {} expected", collected.len(), expected.len());
    }
    let problems = case.tally.problems.lock().unwrap();
    assert!(problems.is_empty(), "{what}: {problems:?}");
}

#[test]
fn random_graphs_give_what_a_naive_model_gives() {
    let meshes: Vec<Mesh> = (1..=3).map(|workers| Mesh::start(kit::config(workers)).unwrap()).collect();
    let mut epochs = 0;
    for seed in seeds(1000) {
        let mesh = &meshes[seed as usize % 3];
        let workers = mesh.workers();
        let what = format!("seed {seed} on {workers} workers");
        let case = case(seed, workers, false);
        drive(mesh.submit(&case.plan).unwrap(), &what).unwrap_or_else(|error| panic!("{what}: {error}"));
        epochs += verify(case, workers, &what);
    }
    assert!(!whole() || epochs > 100, "only {epochs} epochs");
}

#[test]
fn at_least_once_gives_the_same_as_long_as_nothing_fails() {
    let config = RunConfig { exactly_once: false, ..kit::config(3) };
    let mesh = Mesh::start(config).unwrap();
    for seed in seeds(100) {
        let what = format!("seed {seed}, at least once");
        let case = case(seed, 3, false);
        drive(mesh.submit(&case.plan).unwrap(), &what).unwrap_or_else(|error| panic!("{what}: {error}"));
        verify_results(case, &what);
    }
}

#[test]
fn random_graphs_over_two_processes_give_the_same() {
    let addresses = kit::addresses(2);
    let config = |process| RunConfig { process, addresses: addresses.clone(), ..kit::config(2) };
    let (first, second) = (config(0), config(1));
    std::thread::scope(|scope| {
        let (plans, other) = channel::<Plan>();
        scope.spawn(move || {
            let mesh = Mesh::start(second).unwrap();
            other.iter().for_each(|plan| drop(mesh.run(&plan)));
        });
        let mesh = Mesh::start(first).unwrap();
        for seed in seeds(200) {
            let what = format!("seed {seed} on 2 processes");
            let failing = seed % 4 == 3;
            let case = case(seed, 4, failing);
            plans.send(case.plan.clone()).unwrap();
            let result = drive(mesh.submit(&case.plan).unwrap(), &what);
            let injected = case.injected.as_ref().is_some_and(|(_, injection)| injection.when.lock().unwrap().is_some());
            match result {
                Err(error) if injected => assert!(error.to_string().contains("injected"), "{what}: {error}"),
                Err(error) => panic!("{what}: {error}"),
                Ok(_) => drop(verify(case, 4, &what)),
            }
        }
        drop(plans);
    });
}

#[test]
fn a_failure_anywhere_ends_everything_with_one_message() {
    let meshes: Vec<Mesh> = (1..=3).map(|workers| Mesh::start(kit::config(workers)).unwrap()).collect();
    let mut failed = BTreeMap::new();
    for seed in seeds(1000) {
        let mesh = &meshes[seed as usize % 3];
        let what = format!("seed {seed} on {} workers, failing", mesh.workers());
        let case = case(seed, mesh.workers(), true);
        let result = drive(mesh.submit(&case.plan).unwrap(), &what);
        let when = case.injected.as_ref().and_then(|(_, injection)| *injection.when.lock().unwrap());
        let Some(when) = when else {
            // The graph has no such node, or the node has seen too few calls.
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
            verify(case, mesh.workers(), &what);
            continue;
        };
        assert!(when.elapsed() < Duration::from_secs(1), "{what}: took {:?}", when.elapsed());
        let error = result.expect_err(&what);
        let (name, injection) = case.injected.unwrap();
        let Error::Operator { operator, source } = &error else { panic!("{what}: {error}") };
        assert_eq!(*operator, name, "{what}");
        let message = source.to_string();
        let expected = if injection.panics { "panicked: injected (at " } else { "injected" };
        assert!(message.starts_with(expected), "{what}: {message}");
        *failed.entry(name.split(' ').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert!(!whole() || failed.len() > 4, "failures were injected into {failed:?} only");
}
