//! Batch jobs in one process: routes, permits, ends, errors.

mod kit;

use fluvial_core::runtime::{Edge, Mesh, NodeKind, Plan, Route};
use fluvial_core::{Error, Progress};
use kit::{Collected, by_hash, collect, config, map, node, numbers};
use std::time::{Duration, Instant};

#[test]
fn every_route_brings_every_record() {
    for workers in 1..=3 {
        let mesh = Mesh::start(config(workers)).unwrap();
        for (route, copies) in [(Route::Forward, 1), (Route::Broadcast, workers as u64), (Route::Rebalance, 1), (by_hash(), 1)] {
            let sink = Collected::default();
            let plan = Plan::new(
                "routes",
                vec![
                    node(0, "numbers", numbers(10_000, 100), vec![], 1),
                    node(1, "double", map(|n| n * 2), vec![Edge::new(0, 0, route.clone())], 1),
                    node(2, "collect", collect(&sink), vec![Edge::forward(1, 0)], 0),
                ],
            );
            let report = mesh.run(&plan).unwrap();
            let total: u64 = sink.take().iter().sum();
            assert_eq!(total, copies * 10_000 * 9_999, "{route:?} on {workers} workers");
            assert_eq!(report.nodes[2].records_in, copies * 10_000);
        }
    }
}

#[test]
fn an_error_and_a_panic_end_the_job_with_one_message() {
    let mesh = Mesh::start(config(3)).unwrap();
    for panics in [false, true] {
        let sink = Collected::default();
        let failing = kit::operator(move |_, batch, out| {
            if kit::peek(&batch).contains(&777_777) {
                assert!(!panics, "seven");
                return Err(Error::User("seven".into()));
            }
            fluvial_core::Output::send(out, 0, batch)?;
            Ok(Progress::Done)
        });
        let plan = Plan::new(
            "failing",
            vec![
                node(0, "numbers", numbers(1_000_000, 100), vec![], 1),
                node(1, "checks", failing, vec![Edge::forward(0, 0)], 1),
                node(2, "collect", collect(&sink), vec![Edge::new(1, 0, by_hash())], 0),
            ],
        );
        let start = Instant::now();
        let error = mesh.run(&plan).unwrap_err().to_string();
        assert!(error.starts_with("operator `checks`: ") && error.contains("seven"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    // The mesh is as good as new.
    let sink = Collected::default();
    let plan = Plan::new(
        "after",
        vec![
            node(0, "numbers", numbers(10, 3), vec![], 1),
            node(1, "collect", collect(&sink), vec![Edge::new(0, 0, by_hash())], 0),
        ],
    );
    mesh.run(&plan).unwrap();
    assert_eq!(sink.take().len(), 10);
}

#[test]
fn one_port_feeds_several_edges() {
    let mesh = Mesh::start(config(2)).unwrap();
    let (left, right) = (Collected::default(), Collected::default());
    let plan = Plan::new(
        "branches",
        vec![
            node(0, "numbers", numbers(1000, 10), vec![], 1),
            node(1, "left", collect(&left), vec![Edge::forward(0, 0)], 0),
            node(2, "right", collect(&right), vec![Edge::new(0, 0, by_hash())], 0),
        ],
    );
    mesh.run(&plan).unwrap();
    let (mut left, mut right) = (left.take(), right.take());
    left.sort_unstable();
    right.sort_unstable();
    assert_eq!(left, (0..1000).collect::<Vec<_>>());
    assert_eq!(left, right);
}

#[test]
fn a_plan_that_is_not_sound_is_refused() {
    let mesh = Mesh::start(config(1)).unwrap();
    let sink = Collected::default();
    let plan = Plan::new("wrong", vec![node(0, "collect", collect(&sink), vec![Edge::forward(0, 3)], 0)]);
    let error = mesh.run(&plan).unwrap_err().to_string();
    assert!(error.contains("node 0 `collect`") && error.contains("port 3"), "{error}");
    assert!(matches!(plan.nodes[0].kind, NodeKind::Operator(_)));
}
