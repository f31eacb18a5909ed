//! Delta iterations without supersteps give what those with supersteps give.

use crate::delta::random_edges;
use crate::kit::{components, env, mix, sorted, tight};
use crate::processes::in_two_processes;
use fluvial_core::{Batch, Checkpoints, Config, DataStream, Env, JoinStrategy, Operation, Operator, Output, Progress, Result};
use fluvial_iterate::{DeltaOptions, IterateDelta};
use proptest::prelude::*;

/// An operator that gives nothing.
struct Nothing;

impl Operator for Nothing {
    fn process(&mut self, _input: usize, _batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        Ok(Progress::Done)
    }
}

/// A vertex, what is known of it, and what goes with it.
type Vertex = (u64, u64, String);

/// Whether the new record is the better one.
fn less(new: &Vertex, known: &Vertex) -> bool {
    new.1 < known.1
}

fn options(asynchronous: bool) -> DeltaOptions<Vertex> {
    if asynchronous { DeltaOptions::asynchronous(less) } else { DeltaOptions::supersteps(u64::MAX).better(less) }
}

/// Connected components, of vertices that carry so many bytes; the same step either way.
fn connected(env: &Env, vertices: u64, edges: Vec<(u64, u64)>, weight: usize, asynchronous: bool) -> DataStream<(u64, u64)> {
    let edges = env.from_collection(edges).flat_map(|(a, b)| [(a, b), (b, a)]);
    let labels = env.sequence(0..vertices).map(move |v| (v, v, "x".repeat(weight)));
    let start = labels.map(|l| (l.0, l.1));
    let solution = labels.iterate_delta_with(
        |l| l.0,
        &start,
        options(asynchronous),
        |solution, workset, _| {
            let heard = workset.key_by(|l| l.0).join(&edges.key_by(|e| e.0)).inner(|label, edge| (edge.1, label.1));
            let least = heard.key_by(|h| h.0).reduce(|a, b| if a.1 <= b.1 { a } else { b });
            let changed = solution.join(
                &least,
                |l| l.0,
                |l, known| known.filter(|known| l.1 < known.1).map(|known| (l.0, l.1, known.2.clone())),
            );
            let next = changed.map(|c| (c.0, c.1));
            (changed, next)
        },
    );
    solution.map(|l| (l.0, l.1))
}

/// Roads with lengths between random crossings.
fn roads(vertices: u64, count: u64, seed: u64) -> Vec<(u64, u64, u64)> {
    random_edges(vertices, count, seed).into_iter().enumerate().map(|(i, (a, b))| (a, b, 1 + mix(i as u64) % 100)).collect()
}

/// Lengths of shortest paths from crossing 0: only what is reached has a record.
fn distances(env: &Env, roads: Vec<(u64, u64, u64)>, strategy: JoinStrategy, asynchronous: bool) -> DataStream<(u64, u64)> {
    let roads = env.from_collection(roads);
    let start = env.from_collection([(0u64, 0u64)]);
    let solution = start.map(|s| (s.0, s.1, String::new())).iterate_delta_with(
        |d| d.0,
        &start,
        options(asynchronous),
        |solution, workset, _| {
            let reached = workset
                .key_by(|d| d.0)
                .join(&roads.key_by(|r| r.0))
                .strategy(strategy)
                .inner(|(_, so_far), (_, to, length)| (to, so_far + length));
            let nearer = solution.join(
                &reached,
                |r| r.0,
                |r, known| known.is_none_or(|known| r.1 < known.1).then(|| (r.0, r.1, String::new())),
            );
            let next = nearer.map(|n| (n.0, n.1));
            (nearer, next)
        },
    );
    solution.map(|d| (d.0, d.1))
}

/// The same by relaxing all roads until nothing changes.
fn relaxed(vertices: u64, roads: &[(u64, u64, u64)]) -> Vec<(u64, u64)> {
    let mut known = vec![u64::MAX; vertices as usize];
    known[0] = 0;
    loop {
        let before = known.clone();
        for &(from, to, length) in roads {
            known[to as usize] = known[to as usize].min(known[from as usize].saturating_add(length));
        }
        if before == known {
            return (0..).zip(known).filter(|d| d.1 < u64::MAX).collect();
        }
    }
}

#[test]
fn components_are_the_same_with_supersteps_and_without() -> Result<()> {
    for threads in 1..=3 {
        let edges = random_edges(3000, 2800, 11);
        let expected = components(3000, edges.clone());
        for asynchronous in [false, true] {
            let labels = connected(&env(threads), 3000, edges.clone(), 0, asynchronous).collect()?;
            assert_eq!(sorted(labels)?, expected, "{threads} workers, asynchronous: {asynchronous}");
        }
    }
    Ok(())
}

#[test]
fn shortest_paths_are_the_same_with_supersteps_and_without() -> Result<()> {
    for (threads, strategy) in [
        (1, JoinStrategy::Auto),
        (2, JoinStrategy::Auto),
        (3, JoinStrategy::Auto),
        (2, JoinStrategy::BroadcastRight),
        (2, JoinStrategy::SortMerge),
    ] {
        let roads = roads(1000, 3500, 5);
        let expected = relaxed(1000, &roads);
        for asynchronous in [false, true] {
            let found = distances(&env(threads), roads.clone(), strategy, asynchronous).collect()?;
            assert_eq!(sorted(found)?, expected, "{threads} workers, {strategy:?}, asynchronous: {asynchronous}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "it takes minutes: the join's table does not fit either, and is built again in each of many small rounds"]
fn a_solution_set_without_supersteps_may_outgrow_its_share() -> Result<()> {
    const VERTICES: u64 = 40_000;
    for threads in [1, 2] {
        let env = tight(threads, threads * (16 << 20));
        let chains: Vec<(u64, u64)> = (0..VERTICES).filter(|v| v % 6 < 5 && v + 1 < VERTICES).map(|v| (v, v + 1)).collect();
        let labels = connected(&env, VERTICES, chains, 400, true);
        let (wrong, count) = (labels.filter(|l| l.1 != l.0 / 6 * 6).counted(), labels.counted());
        assert_eq!((wrong.collect()?, count.collect()?), (vec![0], vec![VERTICES]), "{threads} workers");
        assert!(env.last_report().unwrap().spilled_bytes > 0);
    }
    Ok(())
}

#[test]
fn groups_of_a_loop_without_supersteps_meet_the_record_of_their_key() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        let edges = random_edges(500, 600, 23);
        let expected = components(500, edges.clone());
        let both = env.from_collection(edges).flat_map(|(a, b)| [(a, b), (b, a)]);
        let labels = env.sequence(0..500).map(|v| (v, v));
        let result = labels.iterate_delta_with(
            |l| l.0,
            &labels,
            DeltaOptions::asynchronous(|new: &(u64, u64), known| new.1 < known.1),
            |solution, workset, _| {
                let heard = workset.key_by(|l| l.0).join(&both.key_by(|e| e.0)).inner(|label, edge| (edge.1, label.1));
                let changed = solution.co_group(
                    &heard,
                    |h| h.0,
                    |key, heard, known, out| {
                        let least = heard.iter().map(|h| h.1).min();
                        out.extend(least.filter(|l| known.is_some_and(|known| *l < known.1)).map(|l| (*key, l)));
                    },
                );
                (changed.clone(), changed)
            },
        );
        assert_eq!(sorted(result.collect()?)?, expected, "{threads} workers");
    }
    Ok(())
}

#[test]
fn two_processes_iterate_without_waiting_for_each_other() {
    in_two_processes(|env| {
        let edges = random_edges(2000, 1900, 3);
        let expected = components(2000, edges.clone());
        assert_eq!(sorted(connected(env, 2000, edges, 0, true).collect()?)?, expected);
        let roads = roads(600, 2000, 9);
        let expected = relaxed(600, &roads);
        assert_eq!(sorted(distances(env, roads, JoinStrategy::Auto, true).collect()?)?, expected);
        Ok(())
    });
}

#[test]
fn one_loop_after_another_and_a_loop_of_nothing() -> Result<()> {
    let env = env(2);
    let first = connected(&env, 300, random_edges(300, 200, 1), 0, true);
    let roots = first.filter(|l| l.0 == l.1).map(|l| (l.0, l.0, String::new()));
    let nothing = roots.map(|r| (r.0, r.1)).filter(|_| false);
    let second = roots.iterate_delta_with(
        |r| r.0,
        &nothing,
        options(true),
        |solution, workset, _| {
            let changed = solution.join(workset, |w| w.0, |w, _| Some((w.0, w.1, String::new())));
            (changed, workset.clone())
        },
    );
    let expected = components(300, random_edges(300, 200, 1)).iter().filter(|l| l.0 == l.1).count() as u64;
    assert_eq!(second.count()?, expected);
    Ok(())
}

#[test]
fn what_needs_supersteps_is_refused_with_a_reason() {
    let env = env(2);
    let labels = env.sequence(0..10).map(|v| (v, v, String::new()));
    let start = labels.map(|l| (l.0, l.1));
    let other = env.sequence(0..10);
    type Step<'a> = &'a dyn Fn(&DataStream<(u64, u64)>, &fluvial_iterate::Iteration) -> DataStream<(u64, u64)>;
    let told = |step: Step<'_>| {
        let result = labels.iterate_delta_with(
            |l| l.0,
            &start,
            options(true),
            |solution, workset, it| {
                let next = step(workset, it);
                (solution.join(&next.union(workset), |n| n.0, |n, _| Some((n.0, n.1, String::new()))), next)
            },
        );
        result.count().unwrap_err().to_string()
    };
    let error = told(&|workset, it| {
        let superstep = it.superstep();
        workset.map(move |w| (w.0, superstep.get()))
    });
    assert!(error.contains("asks for the number of the superstep"), "{error}");
    let error = told(&|workset, it| {
        let total = it.sum::<u64>("total");
        workset.inspect(move |w| total.add(w.1))
    });
    assert!(error.contains("asks for the aggregator `total`"), "{error}");
    let error = told(&|workset, it| {
        it.terminate_when_empty(workset);
        workset.clone()
    });
    assert!(error.contains("asks for a stream that ends the loop"), "{error}");
    let error = told(&|workset, _| workset.sort_by(|w| w.0));
    assert!(error.contains("`sort` in the asynchronous loop") || error.contains("`sort`: in the asynchronous loop"), "{error}");
    let error = told(&|workset, _| workset.key_by(|w| w.0).join(&workset.key_by(|w| w.1)).inner(|a, _| a));
    assert!(error.contains("several of its inputs are of the step"), "{error}");
    let error = told(&|workset, _| workset.key_by(|w| w.0).join(&other.key_by(|o| *o)).right(|w, o| w.unwrap_or((o, o))));
    assert!(error.contains("has no partner"), "{error}");
    // What an operation is called says nothing of what it does.
    let error = told(&|workset, _| Operation::new("map").input(workset).add(workset.env(), |_| Ok(Box::new(Nothing))));
    assert!(error.contains("`map`: in the asynchronous loop") && error.contains("needs all that a superstep brings"), "{error}");
    let broadcast = told(&|workset, _| start.with_broadcast(workset).map(|s, _| s));
    assert!(broadcast.contains("looks at all that one brings"), "{broadcast}");
    let error = told(&|_, _| start.clone());
    assert!(error.contains("does not depend on what the step is given"), "{error}");
}

#[test]
fn a_job_that_is_to_take_checkpoints_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Some(Checkpoints::to_folder(folder.path()));
    let env = Env::new(Config { threads: 1, checkpoints, ..Config::default() });
    let error = connected(&env, 10, vec![(0, 1)], 0, true).count().unwrap_err().to_string();
    assert!(error.contains("`iterate_delta`: asynchronous, and the job is to take checkpoints"), "{error}");
    assert!(error.contains("DeltaOptions::supersteps(max).better(..)"), "{error}");
    // As it says.
    assert_eq!(connected(&env, 10, vec![(0, 1)], 0, false).count().unwrap(), 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn paths_of_any_graph(
        vertices in 1u64..60,
        roads in prop::collection::vec((0u64..60, 0u64..60, 1u64..20), 0..120),
        threads in 1usize..4,
    ) {
        let roads: Vec<_> = roads.into_iter().map(|(a, b, length)| (a % vertices, b % vertices, length)).collect();
        let expected = relaxed(vertices, &roads);
        let found = distances(&env(threads), roads, JoinStrategy::Auto, true).collect().unwrap();
        prop_assert_eq!(sorted(found).unwrap(), expected);
    }
}
