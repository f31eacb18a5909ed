//! Jobs over several processes: loopback meshes inside one test, and real processes where one dies.

mod kit;

use fluvial_core::runtime::{Edge, EdgeBudget, Mesh, Plan, Route, RunConfig, RunReport};
use fluvial_core::{Error, Result};
use fluvial_memory::MemoryManager;
use kit::{Collected, addresses, by_hash, collect, config, map, node, numbers, wide};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs `job` as each of several processes, each in a thread with a mesh of its own.
fn processes<R: Send>(count: usize, threads: usize, job: impl Fn(usize, Mesh) -> R + Sync) -> Vec<R> {
    let addresses = addresses(count);
    std::thread::scope(|scope| {
        let run = |process: usize| {
            let config = RunConfig { process, addresses: addresses.clone(), ..config(threads) };
            let job = &job;
            scope.spawn(move || job(process, Mesh::start(config).unwrap()))
        };
        let all: Vec<_> = (0..count).map(run).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

fn sum_plan(sink: &Collected, route: Route) -> Plan {
    let nodes = vec![
        node(0, "numbers", numbers(30_000, 100), vec![], 1),
        node(1, "double", map(|n| n * 2), vec![wide(0, 0, route)], 1),
        node(2, "collect", collect(sink), vec![wide(1, 0, by_hash())], 0),
    ];
    Plan::new("sum", nodes)
}

#[test]
fn several_processes_give_the_same_result() {
    for count in [2, 3] {
        for (route, copies) in [(Route::Forward, 1), (Route::Broadcast, count as u64 * 2), (Route::Rebalance, 1), (by_hash(), 1)]
        {
            let sink = Collected::default();
            let reports = processes(count, 2, |_, mesh| {
                let first = mesh.run(&sum_plan(&sink, route.clone())).unwrap();
                let second = mesh.run(&sum_plan(&sink, by_hash())).unwrap();
                (first, second)
            });
            assert_eq!(sink.take().iter().sum::<u64>(), (copies + 1) * 30_000 * 29_999, "{route:?} in {count} processes");
            for (first, second) in &reports {
                let records = |r: &RunReport| r.nodes.iter().map(|n| n.records_in).collect::<Vec<_>>();
                assert_eq!(records(first), [0, copies * 30_000, copies * 30_000]);
                assert_eq!(records(second), [0, 30_000, 30_000]);
            }
        }
    }
}

#[test]
fn an_error_in_one_process_is_the_error_of_all() {
    let errors = processes(2, 2, |process, mesh| {
        let failing = kit::operator(move |_, batch, _| {
            if process == 1 && kit::peek(&batch).iter().any(|n| n % 1000 == 999) {
                return Err(Error::User("no thousands".into()));
            }
            Ok(fluvial_core::Progress::Done)
        });
        let nodes = vec![
            node(0, "numbers", numbers(10_000_000, 100), vec![], 1),
            node(1, "checks", failing, vec![wide(0, 0, by_hash())], 0),
        ];
        let error = mesh.run(&Plan::new("failing", nodes)).unwrap_err().to_string();
        let sink = Collected::default();
        mesh.run(&sum_plan(&sink, by_hash())).unwrap();
        error
    });
    assert_eq!(errors, ["operator `checks`: no thousands"; 2]);
}

#[test]
fn different_jobs_are_told_apart_by_their_first_different_node() {
    let errors = processes(2, 1, |process, mesh| {
        let sink = Collected::default();
        let mut plan = sum_plan(&sink, by_hash());
        if process == 1 {
            plan.nodes[1].name = "treble".into();
            plan = Plan::new("sum", plan.nodes);
        }
        mesh.run(&plan).unwrap_err().to_string()
    });
    assert_eq!(errors[0], errors[1]);
    assert!(errors[0].contains("node 1 is `double") && errors[0].contains("`treble"), "{}", errors[0]);
}

#[test]
fn a_process_that_leaves_early_is_named() {
    let results: Vec<Option<Result<RunReport>>> = processes(2, 1, |process, mesh| {
        let sink = Collected::default();
        (process == 0).then(|| mesh.run(&sum_plan(&sink, by_hash())))
    });
    let error = results[0].as_ref().unwrap().as_ref().unwrap_err().to_string();
    assert!(error.starts_with("process 1 is gone: it ended before job `sum`"), "{error}");
}

#[test]
fn other_generations_stay_out() {
    let addresses = addresses(2);
    let start = |process, generation| {
        let mut config = RunConfig { process, addresses: addresses.clone(), generation, ..config(1) };
        config.connect_timeout = Duration::from_millis(300);
        Mesh::start(config).map(drop).unwrap_err().to_string()
    };
    std::thread::scope(|scope| {
        let new = scope.spawn(|| start(0, 2));
        let old = start(1, 1);
        assert!(old.contains("process 0 is gone: it has been restarted (generation 2 there, 1 here)"), "{old}");
        assert!(new.join().unwrap().contains("process 1 is gone: it did not call in time"));
    });
}

const PEER: &str = "FLUVIAL_TEST_ADDRESSES";

fn endless(config: RunConfig, first: impl Fn() + Clone + Send + Sync + 'static) -> Result<RunReport> {
    let nodes = vec![
        node(0, "numbers", numbers(1 << 60, 100), vec![], 1),
        node(
            1,
            "sink",
            kit::operator(move |_, _, _| {
                first();
                Ok(fluvial_core::Progress::Done)
            }),
            vec![Edge { from: 0, port: 0, route: by_hash(), feedback: false, codec: Some(std::sync::Arc::new(kit::Numbers)) }],
            0,
        ),
    ];
    Mesh::start(config)?.run(&Plan::new("endless", nodes))
}

/// The other process of `a_peer_that_is_killed_is_one_clear_error`; an empty test otherwise.
#[test]
fn peer() {
    let Ok(addresses) = std::env::var(PEER) else { return };
    let mut config = RunConfig::new(2, MemoryManager::new(16 << 20).unwrap());
    config.edge_budget = EdgeBudget::Batches(4);
    config.process = 1;
    config.addresses = addresses.split(',').map(str::to_owned).collect();
    let _ = endless(config, || {});
}

#[test]
fn a_peer_that_is_killed_is_one_clear_error() {
    let addresses = addresses(2);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "peer", "--nocapture"])
        .env(PEER, addresses.join(","))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let config = RunConfig { addresses, ..config(2) };
    let (started, wait) = std::sync::mpsc::sync_channel(1);
    let job = std::thread::spawn(move || {
        endless(config, move || {
            let _ = started.try_send(());
        })
    });
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
    let killed = Instant::now();
    child.kill().unwrap();
    child.wait().unwrap();
    let error = job.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Peer { process: 1, .. }), "{error}");
    assert!(killed.elapsed() < Duration::from_secs(5));
}
