//! Delta iterations: a solution set that is changed in place.

use crate::kit::{components, env, mix, sorted, tight};
use fluvial_core::{DataStream, Env, Result};
use fluvial_iterate::IterateDelta;
use proptest::prelude::*;

/// Connected components: the label of a vertex is the smallest vertex that it has heard of.
pub fn connected(env: &Env, vertices: u64, edges: Vec<(u64, u64)>, max: u64) -> DataStream<(u64, u64)> {
    let edges = env.from_collection(edges).flat_map(|(a, b)| [(a, b), (b, a)]);
    let labels = env.sequence(0..vertices).map(|v| (v, v));
    labels.iterate_delta(
        |l| l.0,
        &labels,
        max,
        |solution, workset, _| {
            let heard = workset.key_by(|l| l.0).join(&edges.key_by(|e| e.0)).inner(|label, edge| (edge.1, label.1));
            let smallest = heard.key_by(|h| h.0).reduce(|a, b| if a.1 <= b.1 { a } else { b });
            let changed = solution.join(&smallest, |s| s.0, |s, known| known.is_some_and(|known| s.1 < known.1).then_some(s));
            (changed.clone(), changed)
        },
    )
}

pub fn random_edges(vertices: u64, count: u64, seed: u64) -> Vec<(u64, u64)> {
    (0..count).map(|e| (mix(seed + 2 * e) % vertices, mix(seed + 2 * e + 1) % vertices)).collect()
}

#[test]
fn connected_components() -> Result<()> {
    for threads in 1..=3 {
        let edges = random_edges(2000, 1800, 7);
        let expected = components(2000, edges.clone());
        let labels = connected(&env(threads), 2000, edges, u64::MAX).collect()?;
        assert_eq!(sorted(labels)?, expected, "{threads} workers");
    }
    Ok(())
}

#[test]
fn a_solution_set_that_outgrows_its_share_goes_to_disk_in_parts() -> Result<()> {
    const VERTICES: u64 = 60_000;
    for threads in [1, 2] {
        let env = tight(threads, threads * (14 << 20));
        let chains: Vec<(u64, u64)> = (0..VERTICES).filter(|v| v % 6 < 5).map(|v| (v, v + 1)).collect();
        let labels = env.sequence(0..VERTICES).map(|v| (v, v, format!("{v:>400}")));
        let edges = env.from_collection(chains).flat_map(|(a, b)| [(a, b), (b, a)]);
        let start = labels.map(|l| (l.0, l.1));
        let result = labels.iterate_delta(
            |l| l.0,
            &start,
            u64::MAX,
            |solution, workset, _| {
                let heard = workset.key_by(|l| l.0).join(&edges.key_by(|e| e.0)).inner(|label, edge| (edge.1, label.1));
                let smallest = heard.key_by(|h| h.0).reduce(|a, b| if a.1 <= b.1 { a } else { b });
                let changed = solution.join(
                    &smallest,
                    |s| s.0,
                    |s, known| known.filter(|known| s.1 < known.1).map(|known| (s.0, s.1, known.2.clone())),
                );
                (changed.clone(), changed.map(|c| (c.0, c.1)))
            },
        );
        let wrong = result.filter(|l| l.1 != l.0 / 6 * 6 || l.2.trim() != l.0.to_string()).counted();
        let count = result.counted();
        assert_eq!((wrong.collect()?, count.collect()?), (vec![0], vec![VERTICES]), "{threads} workers");
        assert!(env.last_report().unwrap().spilled_bytes > 0);
    }
    Ok(())
}

#[test]
fn the_loop_ends_when_the_workset_is_empty_or_after_so_many_supersteps() -> Result<()> {
    let chain: Vec<(u64, u64)> = (0..49).map(|v| (v, v + 1)).collect();
    for (max, reached) in [(0, 0), (1, 1), (10, 10), (48, 48), (1000, 49)] {
        let env = env(2);
        let labels = sorted(connected(&env, 50, chain.clone(), max).collect()?)?;
        // In each superstep each label goes one step further.
        let expected: Vec<(u64, u64)> = (0..50u64).map(|v| (v, v.saturating_sub(reached))).collect();
        assert_eq!(labels, expected, "at most {max} supersteps");
    }
    let env = env(2);
    connected(&env, 50, chain, u64::MAX).count()?;
    let supersteps = env.monitor().supersteps(0);
    assert_eq!(supersteps.last().map(|s| (s.superstep, s.workset)), Some((49, 0)));
    Ok(())
}

#[test]
fn a_superstep_sees_the_solution_as_it_was_at_its_beginning() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        let values = env.sequence(0..100).map(|n| (n, 0u64));
        let start = env.sequence(0..100).map(|n| (n, n));
        // Each key is asked for twice a superstep, by two operations, and both see the same; new keys are added.
        let result = values.iterate_delta(
            |v| v.0,
            &start,
            5,
            |solution, workset, it| {
                let superstep = it.superstep();
                let once = solution.join(workset, |w| w.0, |w, known| Some((w.0, known.map(|v| v.1))));
                let twice = solution.join(workset, |w| w.0, |w, known| Some((w.0, known.map(|v| v.1))));
                let both = once.key_by(|o| o.0).join(&twice.key_by(|t| t.0)).inner(|a, b| {
                    assert_eq!(a, b);
                    a
                });
                let changed = both.flat_map(|(key, value)| [(key, value.unwrap_or(0) + 1), (key + 1000, 7)]);
                let next = workset.filter(move |w| w.1 % 2 == 0 || superstep.get() < 2);
                (changed, next)
            },
        );
        // Even keys are asked for in all five supersteps, the others in three.
        let rounds = |n: u64| if n.is_multiple_of(2) { 5 } else { 3 };
        let expected: Vec<(u64, u64)> = (0..100).map(|n| (n, rounds(n))).chain((1000..1100).map(|n| (n, 7))).collect();
        assert_eq!(sorted(result.collect()?)?, expected, "{threads} workers");
    }
    Ok(())
}

#[test]
fn groups_meet_the_record_of_their_key() -> Result<()> {
    for (threads, memory) in [(1, 512 << 20), (2, 512 << 20), (3, 512 << 20), (1, 16 << 20)] {
        let env = tight(threads, memory);
        let sums = env.sequence(0..500).map(|n| (n, 0u64));
        let start = env.sequence(0..5000).map(|n| (n % 600, n));
        let result = sums.iterate_delta(
            |s| s.0,
            &start,
            2,
            |solution, workset, _| {
                let added = solution.co_group(
                    workset,
                    |w| w.0,
                    |key, records, known, out| {
                        let sum: u64 = records.iter().map(|r| r.1).sum();
                        out.push((*key, known.map_or(1_000_000, |known| known.1) + sum));
                    },
                );
                (added, workset.clone())
            },
        );
        let sum = |key: u64| (0..5000).filter(|n| n % 600 == key).sum::<u64>();
        let expected: Vec<(u64, u64)> = (0..600).map(|k| (k, 2 * sum(k) + if k < 500 { 0 } else { 1_000_000 })).collect();
        assert_eq!(sorted(result.collect()?)?, expected, "{threads} workers");
    }
    Ok(())
}

#[test]
fn string_keys_and_records_that_grow() -> Result<()> {
    let env = tight(2, 20 << 20);
    let words = env.sequence(0..20_000).map(|n| (format!("key {n}"), String::new()));
    let start = words.map(|w| w.0);
    let result = words.iterate_delta(
        |w| w.0.clone(),
        &start,
        4,
        |solution, workset, _| {
            let longer = solution.join(
                workset,
                |w| w.clone(),
                |_, known| known.map(|(key, value)| (key.clone(), format!("{value}{}", "x".repeat(100)))),
            );
            (longer.clone(), longer.map(|l| l.0))
        },
    );
    let lengths = result.map(|r| r.1.len() as u64).key_by(|n| *n).count().collect()?;
    assert_eq!(lengths, [(400, 20_000)]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn components_of_any_graph(
        vertices in 1u64..60,
        edges in prop::collection::vec((0u64..60, 0u64..60), 0..80),
        threads in 1usize..4,
    ) {
        let edges: Vec<_> = edges.into_iter().map(|(a, b)| (a % vertices, b % vertices)).collect();
        let expected = components(vertices, edges.clone());
        let labels = connected(&env(threads), vertices, edges, u64::MAX).collect().unwrap();
        prop_assert_eq!(sorted(labels).unwrap(), expected);
    }
}
