//! Bulk iterations over typed streams and tables.

use fluvial_core::{Config, Env, Result};
use fluvial_iterate::Iterate;

fn env(threads: usize) -> Env {
    Env::new(Config { threads, ..Config::default() })
}

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
