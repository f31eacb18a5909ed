//! Bulk iterations: what a superstep is given, and when the last one is.

use crate::kit::{env, sorted, tight};
use fluvial_core::{Aggregator, Env, JoinStrategy, Result};
use fluvial_iterate::{Iterate, IterateTable};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[test]
fn each_superstep_is_given_what_the_last_one_gave() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        let doubled = env.sequence(0..1000).rebalance().iterate(10, |partial, _| partial.map(|n| n * 2));
        let mut result = doubled.collect()?;
        result.sort_unstable();
        assert_eq!(result, (0..1000).map(|n| n * 1024).collect::<Vec<u64>>(), "{threads} workers");
    }
    Ok(())
}

#[test]
fn no_superstep_gives_what_there_was() -> Result<()> {
    assert_eq!(env(2).sequence(0..5).iterate(0, |partial, _| partial.map(|n| n * 2)).count()?, 5);
    Ok(())
}

#[test]
fn operations_with_one_result_a_key_give_it_in_each_superstep() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        // The records of a key become one that counts them: after one superstep all counts are ones.
        let result = env
            .sequence(0..100)
            .map(|n| (n % 7, 1u64))
            .iterate(3, |partial, _| partial.key_by(|r| r.0).sum(|r| r.1).map(|(key, sum)| (key, sum + 1)));
        let mut result = result.collect()?;
        result.sort_unstable();
        let expected: Vec<(u64, u64)> = (0..7).map(|k| (k, (0..100).filter(|n| n % 7 == k).count() as u64 + 3)).collect();
        assert_eq!(result, expected, "{threads} workers");
    }
    Ok(())
}

#[test]
fn inputs_from_outside_are_there_in_each_superstep() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        let steps = env.sequence(0..500).map(|n| (n, (n * 3 + 1) % 500));
        let result = env
            .sequence(0..500)
            .map(|n| (n, n))
            .iterate(7, |partial, _| partial.key_by(|r| r.1).join(&steps.key_by(|s| s.0)).inner(|r, s| (r.0, s.1)));
        let mut result = result.collect()?;
        result.sort_unstable();
        let turn = |n: u64| (0..7).fold(n, |at, _| (at * 3 + 1) % 500);
        assert_eq!(result, (0..500).map(|n| (n, turn(n))).collect::<Vec<_>>(), "{threads} workers");
    }
    Ok(())
}

/// Ranks by the power method, as anybody would write it: pages pass what they have along their links.
fn ranks(env: &Env, strategy: JoinStrategy, rounds: u64) -> Result<Vec<(u64, f64)>> {
    const PAGES: u64 = 300;
    let links = env.sequence(0..PAGES).flat_map(|p| [(p, (p * 7 + 1) % PAGES), (p, (p * p + 3) % PAGES), (p, p / 2)]);
    let grouped = links.key_by(|l| l.0).fold(Vec::new(), |targets: &mut Vec<u64>, link| targets.push(link.1));
    let ranks = env.sequence(0..PAGES).map(|p| (p, 1.0 / PAGES as f64)).iterate(rounds, |ranks, _| {
        let passed = ranks.key_by(|r| r.0).join(&grouped.key_by(|g| g.0)).strategy(strategy).inner(|rank, (_, targets)| {
            let share = rank.1 / targets.len() as f64;
            targets.into_iter().map(|t| (t, share)).collect::<Vec<_>>()
        });
        let gained = passed.flat_map(|shares| shares).key_by(|s| s.0).sum(|s| s.1);
        let all = ranks.key_by(|r| r.0).join(&gained.key_by(|g| g.0)).left(|rank, gained| (rank.0, gained.map_or(0.0, |g| g.1)));
        all.map(|(page, gained)| (page, 0.15 / PAGES as f64 + 0.85 * gained))
    });
    sorted(ranks.collect()?)
}

fn expected_ranks(rounds: u64) -> Vec<f64> {
    const PAGES: u64 = 300;
    (0..rounds).fold(vec![1.0 / PAGES as f64; PAGES as usize], |ranks, _| {
        let mut next = vec![0.15 / PAGES as f64; PAGES as usize];
        for p in 0..PAGES {
            for target in [(p * 7 + 1) % PAGES, (p * p + 3) % PAGES, p / 2] {
                next[target as usize] += 0.85 * ranks[p as usize] / 3.0;
            }
        }
        next
    })
}

#[test]
fn joins_and_aggregations_of_all_strategies_run_in_each_superstep() -> Result<()> {
    let expected = expected_ranks(10);
    for (threads, strategy) in [
        (1, JoinStrategy::Auto),
        (2, JoinStrategy::Auto),
        (3, JoinStrategy::HashBuildLeft),
        (2, JoinStrategy::HashBuildRight),
        (2, JoinStrategy::SortMerge),
        (3, JoinStrategy::BroadcastRight),
    ] {
        let ranks = ranks(&env(threads), strategy, 10)?;
        assert_eq!(ranks.len(), expected.len(), "{strategy:?}");
        for ((page, rank), expected) in ranks.iter().zip(&expected) {
            assert!((rank - expected).abs() < 1e-12, "{strategy:?}, {threads} workers: page {page} has {rank}, not {expected}");
        }
    }
    Ok(())
}

#[test]
fn what_does_not_fit_in_memory_goes_to_disk() -> Result<()> {
    // Some 20 MiB go around the loop, and as much is kept for it.
    let env = tight(2, 12 << 20);
    let steps = env.sequence(0..400_000).map(|n| (n, format!("{:>30}", n % 1000)));
    let result = env
        .sequence(0..400_000)
        .map(|n| (n, String::new()))
        .iterate(3, |partial, _| partial.key_by(|r| r.0).join(&steps.key_by(|s| s.0)).inner(|r, s| (r.0, s.1)));
    let lengths = result.map(|r| r.1.len() as u64).key_by(|n| *n).count().collect()?;
    assert_eq!(lengths, [(30, 400_000)]);
    assert!(env.last_report().unwrap().spilled_bytes > 0);
    Ok(())
}

#[test]
fn a_stream_that_is_empty_ends_the_loop() -> Result<()> {
    for threads in 1..=3 {
        let counted = env(threads).sequence(0..10).rebalance().iterate(1000, |partial, it| {
            let next = partial.map(|n| n + 1);
            it.terminate_when_empty(&next.filter(|n| *n < 20));
            next
        });
        // The smallest is 20 after the superstep in which nothing was below.
        assert_eq!(sorted(counted.collect()?)?, (20..30).collect::<Vec<u64>>(), "{threads} workers");
    }
    Ok(())
}

#[test]
fn an_aggregator_has_the_value_of_the_last_superstep_on_all_workers() -> Result<()> {
    for threads in 1..=3 {
        let seen: Arc<Mutex<BTreeMap<u64, Vec<Option<u64>>>>> = Arc::default();
        let noted = seen.clone();
        let result = env(threads).sequence(0..30).rebalance().iterate(5, |partial, it| {
            let (total, superstep) = (it.sum::<u64>("total"), it.superstep());
            let noted = noted.clone();
            partial.map(move |n| {
                total.add(n);
                noted.lock().unwrap().entry(superstep.get()).or_default().push(total.last());
                n + 1
            })
        });
        assert_eq!(result.count()?, 30);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        for (superstep, values) in seen.iter() {
            // Superstep s adds 0..30, each s more.
            let last = superstep.checked_sub(1).map(|s| 435 + 30 * s);
            assert_eq!(values, &vec![last; 30], "superstep {superstep}, {threads} workers");
        }
    }
    Ok(())
}

/// The records of a superstep, in order.
#[derive(Clone)]
struct All;

impl Aggregator<u64> for All {
    type Accumulator = Vec<u64>;
    type Output = Vec<u64>;
    fn create(&self) -> Vec<u64> {
        Vec::new()
    }
    fn add(&self, all: &mut Vec<u64>, n: u64) {
        all.push(n);
    }
    fn merge(&self, all: &mut Vec<u64>, other: Vec<u64>) {
        all.extend(other);
    }
    fn finish(&self, mut all: Vec<u64>) -> Vec<u64> {
        all.sort_unstable();
        all
    }
}

#[test]
fn a_loop_ends_when_an_aggregator_has_converged() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        let result = env.sequence(0..8).rebalance().iterate(100, |partial, it| {
            let (all, least, most) = (it.aggregate("all", All), it.min::<u64>("least"), it.max::<u64>("most"));
            it.converge(&all, |all| all.iter().all(|n| *n >= 50));
            it.converge(&most, |most| most.is_some_and(|most| most > 1000));
            partial.map(move |n| {
                let next = least.last().flatten().unwrap_or(0) + n + 1;
                all.add(next);
                least.add(next);
                most.add(next);
                next
            })
        });
        // By hand: everybody adds the smallest of the last superstep, and one.
        let (mut values, mut least) = ((0..8).collect::<Vec<u64>>(), 0);
        while values[0] < 50 {
            values.iter_mut().for_each(|n| *n += least + 1);
            least = values[0];
        }
        assert_eq!(sorted(result.collect()?)?, values, "{threads} workers");
        assert!(!env.monitor().supersteps(0).is_empty());
    }
    Ok(())
}

#[test]
fn every_operation_begins_anew_in_each_superstep() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        let others = env.sequence(0..5).map(|n| n * 100);
        let result = env.sequence(0..40).iterate(3, |partial, _| {
            let sorted = partial.sort_by(|n| *n).limit(20);
            let counted = partial.counted().filter(|n| *n > 0);
            let grouped =
                sorted.union(&others).distinct().key_by(|n| n % 3).reduce_group(|_, group, out| group.for_each(|n| out.push(n)));
            grouped.with_broadcast(&counted).map(|n, count| n + count.len() as u64)
        });
        let mut expected: Vec<u64> = (0..40).collect();
        for _ in 0..3 {
            expected.sort_unstable();
            expected.truncate(20);
            expected.extend((0..5).map(|n| n * 100));
            expected.sort_unstable();
            expected.dedup();
            expected.iter_mut().for_each(|n| *n += 1);
        }
        assert_eq!(sorted(result.collect()?)?, expected, "{threads} workers");
    }
    Ok(())
}

#[test]
fn several_loops_of_a_job_run_one_after_another_and_side_by_side() -> Result<()> {
    for threads in 1..=3 {
        let env = env(threads);
        let first = env.sequence(0..100).iterate(4, |partial, it| {
            let superstep = it.superstep();
            partial.map(move |n| n + superstep.get())
        });
        let second = first.iterate(3, |partial, _| partial.map(|n| n * 2));
        let beside = env.sequence(0..10).iterate(5, |partial, _| partial.map(|n| n + 1));
        let result = second.union(&beside);
        let expected = (0..100).map(|n| (n + 6) * 8).chain((0..10).map(|n| n + 5)).collect();
        assert_eq!(sorted(result.collect()?)?, sorted::<u64>(expected)?, "{threads} workers");
    }
    Ok(())
}

#[test]
fn an_iteration_over_a_table() -> Result<()> {
    let env = env(2);
    let prices = env.from_collection((0..50u64).map(|n| (n % 5, n))).to_table()?.select("column_1 as item, column_2 as price")?;
    let result = prices.iterate(3, |partial, it| {
        let best = partial.group_by("item")?.aggregate("max(price) as price")?;
        it.terminate_when_empty_table(&best);
        best.union(partial)?.distinct()
    })?;
    assert_eq!(result.collect()?.iter().map(|b| b.num_rows()).sum::<usize>(), 50);
    Ok(())
}

#[test]
fn what_cannot_be_iterated_is_refused_with_a_reason() {
    let env = env(2);
    let endless = env.generator(|n| n).stream();
    let error = |result: Result<u64>| result.unwrap_err().to_string();
    let told = error(endless.iterate(3, |partial, _| partial.map(|n| n)).count());
    assert!(told.contains("`iterate` gives its results when its input has ended") && told.contains("does not end"), "{told}");
    let told = error(env.sequence(0..3).iterate(3, |partial, _| partial.union(&endless)).count());
    assert!(told.contains("superstep 0 would never begin"), "{told}");
    let told = error(env.sequence(0..3).iterate(3, |_, _| env.sequence(0..3)).count());
    assert!(told.contains("does not depend on what the step is given"), "{told}");
    let told = error(env.sequence(0..3).iterate(3, |partial, _| partial.iterate(2, |inner, _| inner.map(|n| n + 1))).count());
    assert!(told.contains("a loop within the loop `iterate`"), "{told}");
}

#[test]
fn a_loop_explains_itself() {
    let env = env(2);
    let edges = env.sequence(0..3);
    let result = env.sequence(0..3).iterate(7, |partial, _| partial.key_by(|n| *n).join(&edges.key_by(|n| *n)).inner(|a, _| a));
    let text = result.explain().to_string();
    assert!(text.contains("iterate [at most 7 supersteps]") && text.contains("<- feedback forward superstep"), "{text}");
    let json = result.explain().to_json();
    assert!(json.contains("\"feedback\": true"), "{json}");
}

#[test]
fn a_step_that_panics_fails_the_job_with_its_name() {
    let error = env(2).sequence(0..9).iterate(5, |partial, it| {
        let superstep = it.superstep();
        partial.map(move |n| {
            assert!(superstep.get() < 3, "no further");
            n
        })
    });
    let error = error.count().unwrap_err().to_string();
    assert!(error.contains("`map`") && error.contains("no further"), "{error}");
}
