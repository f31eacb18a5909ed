//! Pre-aggregation of short rows: by partition, in the cache, or where their keys say.

mod kit;

use fluvial_memory::{KeyWidth, MemoryManager, Progress, RowBatch};
use fluvial_operators::aggregate::{Combine, CombineOptions};
use kit::{Sum, numbers};
use std::collections::BTreeMap;

/// Numbers far from each other.
fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Adds one to the key's count by whichever way the combiner is ready for; gives what came out, and how many rows.
fn count_words(combiner: &mut Combine<Sum>, keys: impl Iterator<Item = u64>) -> (BTreeMap<u64, u64>, usize, bool) {
    let (mut found, mut left, mut staged) = (BTreeMap::<u64, u64>::new(), 0, false);
    let mut drain = |combiner: &mut Combine<Sum>| loop {
        let mut out = RowBatch::new(combiner.shape());
        let progress = combiner.pull(&mut out, 500);
        left += out.len();
        for i in 0..out.len() {
            assert_eq!(out.hashes()[i], fluvial_memory::hash::hash_bytes(out.key(i)));
            let key = u64::from_be_bytes(out.key(i).try_into().unwrap());
            *found.entry(key).or_default() += u64::from_le_bytes(out.payload(i).try_into().unwrap());
        }
        if progress == Progress::Done {
            break;
        }
    };
    let one = |count: &mut [u8]| {
        let one = u64::from_le_bytes((&*count).try_into().unwrap()) + 1;
        count.copy_from_slice(&one.to_le_bytes());
    };
    for key in keys {
        let key = key.to_be_bytes();
        let hash = fluvial_memory::hash::hash_bytes(&key);
        let progress = if combiner.is_staging() {
            staged = true;
            if let Some(state) = combiner.stage(&key) {
                one(state);
                continue;
            }
            if combiner.make_room(&key).unwrap() == Progress::More {
                drain(combiner);
            }
            match combiner.stage(&key) {
                Some(state) => {
                    one(state);
                    Progress::Done
                }
                None => combiner.add(&key, hash, one),
            }
        } else {
            combiner.add(&key, hash, one)
        };
        if progress == Progress::More {
            drain(combiner);
        }
    }
    combiner.settle().unwrap();
    combiner.end();
    drain(combiner);
    (found, left, staged)
}

#[test]
fn staged_records_are_counted_whatever_the_memory() {
    const RECORDS: usize = 1_500_000;
    // All groups fit; partitions' tables overflow; the pool has little; nothing is merged.
    let settings = [
        (256, None, 100_000, 150_000),
        (256, Some(2 << 20), 300_000, RECORDS),
        (66, None, 300_000, RECORDS),
        (256, None, u64::MAX, RECORDS),
    ];
    for (mebibytes, large, distinct, at_most) in settings {
        let memory = MemoryManager::new(mebibytes << 20).unwrap();
        let mut options = CombineOptions::default();
        (options.small_bytes, options.large_bytes, options.stages) = (1 << 16, large, true);
        let mut combiner = Combine::new(memory.reserve("combine", 8).unwrap(), KeyWidth::Fixed(8), Sum, options);
        // What others hold of the small pool leaves room for some of what waits.
        let others = memory.reserve("others", 0).unwrap();
        let held: Vec<_> = (0..if mebibytes < 100 { 2012 } else { 0 }).filter_map(|_| others.alloc()).collect();
        // A smaller input comes in the end: what the tables had for the others is let go. Where staging turns out to be of no use
        // in the first, rows may pass through in the second.
        let mut ever = false;
        for records in [RECORDS, RECORDS, 3_000] {
            let keys = || {
                numbers(records as u64)
                    .take(records)
                    .map(|n| if n % 1000 == 0 { u64::MAX - n % 2 } else { scattered(n % distinct) })
            };
            let mut expected = BTreeMap::<u64, u64>::new();
            keys().for_each(|key| *expected.entry(key).or_default() += 1);
            let (found, left, staged) = count_words(&mut combiner, keys());
            assert!(found == expected, "{mebibytes} MiB, {distinct} keys");
            assert!(left <= at_most.min(records), "{left} rows of {records} with {distinct} keys");
            ever |= staged;
        }
        assert!(ever, "{mebibytes} MiB, {distinct} keys");
        drop((combiner, held));
        assert_eq!(others.used(), 0);
    }
}

#[test]
fn an_overflow_of_staged_states_is_told() {
    let memory = MemoryManager::new(256 << 20).unwrap();
    let mut options = CombineOptions::default();
    (options.small_bytes, options.stages) = (1 << 16, true);
    let mut combiner = Combine::new(memory.reserve("combine", 8).unwrap(), KeyWidth::Fixed(8), Sum, options);
    count_words(&mut combiner, (0..100_000u64).map(|n| scattered(n % 20_000)));
    assert!(combiner.is_staging());
    let key = scattered(7).to_be_bytes();
    for _ in 0..2 {
        combiner.make_room(&key).unwrap();
        combiner.stage(&key).unwrap().fill(0xFF);
    }
    assert!(combiner.settle().is_err());
}

/// Negative and positive numbers, as keys of `i64` have them.
fn near(n: u64) -> u64 {
    (1 << 63) - 40_000 + n % 100_000
}

/// The key of a record: from a pseudo-random number and its place.
type KeyOf = fn(u64, u64) -> u64;

#[test]
fn keys_near_each_other_are_counted_at_their_places() {
    const RECORDS: usize = 1_000_000;
    // None are far away; some are, each of which may come out by itself; a pool with next to no memory, a range that is left soon: places
    // for some keys alone.
    let cases: [(_, KeyOf, _, _); 4] = [
        ("near", |n, _| near(n), 0, 105_000),
        ("strays", |n, _| if n % 1000 == 0 { n } else { near(n) }, 0, 107_000),
        ("little memory", |n, _| near(n), 2012, RECORDS),
        ("drifting", |n, i| n % 100_000 + i * 3, 0, RECORDS),
    ];
    for (name, key, held, at_most) in cases {
        let memory = MemoryManager::new(if held > 0 { 66 << 20 } else { 256 << 20 }).unwrap();
        let mut options = CombineOptions::default();
        (options.small_bytes, options.stages) = (1 << 16, true);
        let mut combiner = Combine::new(memory.reserve("combine", 8).unwrap(), KeyWidth::Fixed(8), Sum, options);
        let others = memory.reserve("others", 0).unwrap();
        let held: Vec<_> = (0..held).filter_map(|_| others.alloc()).collect();
        for records in [RECORDS, RECORDS, 3_000] {
            let keys = || numbers(records as u64).take(records).enumerate().map(|(i, n)| key(n, i as u64));
            let mut expected = BTreeMap::<u64, u64>::new();
            keys().for_each(|key| *expected.entry(key).or_default() += 1);
            let (found, left, _) = count_words(&mut combiner, keys());
            assert!(found == expected, "{name}");
            assert!(left <= at_most.min(records), "{name}: {left} rows of {records}");
        }
        drop((combiner, held));
        assert_eq!(others.used(), 0, "{name}");
    }
}
