//! Every operation on typed streams against a plain model, for one to three workers, with memory to spare and with the least.

use fluvial_core::{Aggregator, Config, DataStream, Env, JoinStrategy, MINIMUM_MEMORY_PER_WORKER};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

type Row = (u32, i64, String);

/// Environments of one to three workers, with memory to spare and with the least.
fn environments() -> Vec<Env> {
    let mut all = Vec::new();
    for threads in 1..=3 {
        for memory in [64 << 20, MINIMUM_MEMORY_PER_WORKER * threads] {
            all.push(Env::new(Config { threads, memory, ..Config::default() }));
        }
    }
    all
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0u32..20, -50i64..50, "[a-c]{0,6}"), 0..300)
}

fn sorted<T: Ord>(mut records: Vec<T>) -> Vec<T> {
    records.sort();
    records
}

fn check<T: Ord + Debug + fluvial_core::Data>(stream: DataStream<T>, expected: Vec<T>, what: &str) {
    let got = stream.collect().unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(sorted(got), sorted(expected), "{what}");
}

fn groups(rows: &[Row]) -> BTreeMap<u32, Vec<Row>> {
    let mut groups: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
    rows.iter().for_each(|r| groups.entry(r.0).or_default().push(r.clone()));
    groups
}

/// Count and longest text: an accumulator without a fixed width.
#[derive(Clone)]
struct Summary;

impl Aggregator<Row> for Summary {
    type Accumulator = (u64, String);
    type Output = (u64, String);
    fn create(&self) -> (u64, String) {
        (0, String::new())
    }
    fn add(&self, a: &mut (u64, String), record: Row) {
        self.merge(a, (1, record.2));
    }
    fn merge(&self, a: &mut (u64, String), other: (u64, String)) {
        a.0 += other.0;
        a.1 = std::mem::take(&mut a.1).max(other.1);
    }
    fn finish(&self, a: (u64, String)) -> (u64, String) {
        a
    }
}

fn summary(rows: &[Row]) -> (u64, String) {
    (rows.len() as u64, rows.iter().map(|r| r.2.clone()).max().unwrap_or_default())
}

fn few() -> ProptestConfig {
    ProptestConfig { cases: 4, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn steps(rows in rows()) {
        for env in environments() {
            let stream = env.from_collection(rows.clone());
            check(stream.map(|r| r.1 * 2), rows.iter().map(|r| r.1 * 2).collect(), "map");
            check(stream.filter(|r| r.1 > 0), rows.iter().filter(|r| r.1 > 0).cloned().collect(), "filter");
            let chars = |r: &Row| r.2.chars().collect::<Vec<char>>();
            check(stream.flat_map(move |r| chars(&r)), rows.iter().flat_map(chars).collect(), "flat_map");
            check(stream.union(&stream.filter(|r| r.0 == 3)), rows.iter().chain(rows.iter().filter(|r| r.0 == 3)).cloned().collect(), "union");
            check(stream.clone().rebalance().inspect(|_| ()), rows.clone(), "rebalance");
            let sums = stream.map_partition(|part| std::iter::once(part.map(|r| r.1).sum::<i64>()));
            prop_assert_eq!(sums.collect().unwrap().into_iter().sum::<i64>(), rows.iter().map(|r| r.1).sum::<i64>());
            prop_assert_eq!(stream.count().unwrap(), rows.len() as u64);
            check(stream.try_map(|r| Ok::<_, String>(r.1 + 1)), rows.iter().map(|r| r.1 + 1).collect(), "try_map");
            let words = stream.flat_map_with(|r, out| r.2.split('b').for_each(|w| out.push(w.to_owned())));
            check(words, rows.iter().flat_map(|r| r.2.split('b').map(str::to_owned)).collect(), "flat_map_with");
            let copies = env.config().threads;
            let everywhere = (0..copies).flat_map(|_| rows.clone()).collect();
            check(stream.clone().broadcast().map(|r| r), everywhere, "broadcast");
        }
    }

    #[test]
    fn groupings(rows in rows()) {
        let groups = groups(&rows);
        for env in environments() {
            let stream = env.from_collection(rows.clone());
            let keyed = stream.key_by(|r| r.0);
            check(keyed.count(), groups.iter().map(|(k, g)| (*k, g.len() as u64)).collect(), "count");
            let sum = |g: &[Row]| g.iter().map(|r| r.1).sum::<i64>();
            check(keyed.sum(|r| r.1), groups.iter().map(|(k, g)| (*k, sum(g))).collect(), "sum");
            check(keyed.aggregate(Summary), groups.iter().map(|(k, g)| (*k, summary(g))).collect(), "aggregate");
            check(keyed.reduce(|a, b| a.max(b)), groups.values().filter_map(|g| g.iter().max().cloned()).collect(), "reduce");
            check(keyed.min_by(|r| r.1).map(|r| (r.0, r.1)), groups.iter().map(|(k, g)| (*k, g.iter().map(|r| r.1).min().unwrap_or(0))).collect(), "min_by");
            check(keyed.max_by(|r| r.1).map(|r| (r.0, r.1)), groups.iter().map(|(k, g)| (*k, g.iter().map(|r| r.1).max().unwrap_or(0))).collect(), "max_by");
            check(keyed.fold(0i64, |s, r| *s += r.1), groups.iter().map(|(k, g)| (*k, sum(g))).collect(), "fold");
            let largest = keyed.reduce_group(|key, rows, out| out.push((*key, rows.map(|r| r.2).max())));
            check(largest, groups.iter().map(|(k, g)| (*k, g.iter().map(|r| r.2.clone()).max())).collect(), "reduce_group");
            check(keyed.distinct().map(|r| r.0), groups.keys().copied().collect(), "keyed distinct");
            let texts: BTreeSet<String> = rows.iter().map(|r| r.2.clone()).collect();
            check(stream.map(|r| r.2).distinct(), texts.iter().cloned().collect(), "distinct");
            let by_text = stream.key_by_ref(|r| r.2.as_str()).count().map(|(k, _)| k);
            check(by_text, texts.into_iter().collect(), "key_by_ref");
            let combined = keyed.combine(Summary).collect().unwrap();
            prop_assert_eq!(combined.iter().map(|c| c.1.0).sum::<u64>(), rows.len() as u64);
        }
    }

    #[test]
    fn without_a_key(rows in rows()) {
        for env in environments() {
            let stream = env.from_collection(rows.clone());
            check(stream.reduce(|a, b| a.max(b)), rows.iter().max().cloned().into_iter().collect(), "reduce");
            check(stream.aggregate(Summary), vec![summary(&rows)], "aggregate");
            check(stream.sum(|r| r.1), vec![rows.iter().map(|r| r.1).sum()], "sum");
            check(stream.counted(), vec![rows.len() as u64], "counted");
            check(stream.min(), rows.iter().min().cloned().into_iter().collect(), "min");
            check(stream.max(), rows.iter().max().cloned().into_iter().collect(), "max");
            check(stream.min_by(|r| r.1).map(|r| r.1), rows.iter().map(|r| r.1).min().into_iter().collect(), "min_by");
            check(stream.max_by(|r| r.1).map(|r| r.1), rows.iter().map(|r| r.1).max().into_iter().collect(), "max_by");
        }
    }

    #[test]
    fn orders(rows in rows(), n in 0u64..400) {
        let ordered = sorted(rows.clone());
        for env in environments() {
            let stream = env.from_collection(rows.clone());
            let key = |r: &Row| (r.0, r.1, r.2.clone());
            prop_assert_eq!(&stream.sort_by(key).collect().unwrap(), &ordered);
            let first: Vec<Row> = ordered.iter().take(n as usize).cloned().collect();
            prop_assert_eq!(&stream.top_by(n, key).collect().unwrap(), &first);
            prop_assert_eq!(&stream.sort_by(key).limit(n).collect().unwrap(), &first);
            let odd: Vec<Row> = ordered.iter().filter(|r| r.0 % 2 == 1).take(n as usize).cloned().collect();
            prop_assert_eq!(&stream.sort_by(key).filter(|r| r.0 % 2 == 1).limit(n).collect().unwrap(), &odd);
            let numbered: Vec<(u64, Row)> = (0..).zip(ordered.iter().cloned()).collect();
            prop_assert_eq!(&stream.sort_by(key).zip_with_index().collect().unwrap(), &numbered);
            // Not ordered: any `n` records, and each number once.
            let some = stream.limit(n).collect().unwrap();
            prop_assert_eq!(some.len(), rows.len().min(n as usize));
            let numbered = stream.zip_with_index().collect().unwrap();
            prop_assert_eq!(sorted(numbered.iter().map(|p| p.0).collect::<Vec<_>>()), (0..rows.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(&sorted(numbered.into_iter().map(|p| p.1).collect()), &ordered);
        }
    }

    #[test]
    fn partitions(rows in rows()) {
        for env in environments() {
            let stream = env.from_collection(rows.clone());
            // Of each worker the keys that it has: none twice by hash, none between two others' by range.
            let keys = |s: DataStream<Row>| {
                s.map_partition(|part| {
                    let keys: BTreeSet<u32> = part.map(|r| r.0).collect();
                    std::iter::once(keys.into_iter().collect::<Vec<u32>>())
                })
                .collect()
                .unwrap()
            };
            let all: Vec<u32> = groups(&rows).into_keys().collect();
            check(stream.sort_partition(|r| r.1), rows.clone(), "sort_partition");
            let parts = stream.sort_partition(|r| r.1).map_partition(|part| {
                let keys: Vec<i64> = part.map(|r| r.1).collect();
                std::iter::once(keys.is_sorted())
            });
            prop_assert_eq!(parts.collect().unwrap(), vec![true; env.config().threads]);
            prop_assert_eq!(&sorted(keys(stream.partition_by_hash(|r| r.0)).concat()), &all);
            check(stream.partition_by_hash(|r| r.0), rows.clone(), "partition_by_hash");
            prop_assert_eq!(&sorted(keys(stream.partition_by_range(|r| r.0))).concat(), &all);
            check(stream.partition_by_range(|r| r.1), rows.clone(), "partition_by_range");
        }
    }

    #[test]
    fn joins(left in rows(), right in prop::collection::vec((0u32..25, "[x-z]{0,3}"), 0..60)) {
        let has_right = |k: u32| right.iter().any(|r| r.0 == k);
        let has_left = |k: u32| left.iter().any(|l| l.0 == k);
        let mut pairs = Vec::new();
        for l in &left {
            pairs.extend(right.iter().filter(|r| r.0 == l.0).map(|r| (Some(l.clone()), Some(r.clone()))));
        }
        let lonely_left: Vec<_> = left.iter().filter(|l| !has_right(l.0)).map(|l| (Some(l.clone()), None)).collect();
        let lonely_right: Vec<_> = right.iter().filter(|r| !has_left(r.0)).map(|r| (None, Some(r.clone()))).collect();
        let strategies = [
            JoinStrategy::Auto,
            JoinStrategy::HashBuildLeft,
            JoinStrategy::HashBuildRight,
            JoinStrategy::BroadcastLeft,
            JoinStrategy::BroadcastRight,
        ];
        for env in environments() {
            let (l, r) = (env.from_collection(left.clone()), env.from_collection(right.clone()));
            for strategy in strategies {
                let join = || l.key_by(|l| l.0).join(&r.key_by(|r| r.0)).strategy(strategy);
                let what = |kind: &str| format!("{kind} {strategy:?} {} workers", env.config().threads);
                check(join().inner(|l, r| (Some(l), Some(r))), pairs.clone(), &what("inner"));
                check(join().left(|l, r| (Some(l), r)), [pairs.clone(), lonely_left.clone()].concat(), &what("left"));
                check(join().right(|l, r| (l, Some(r))), [pairs.clone(), lonely_right.clone()].concat(), &what("right"));
                check(join().full(|l, r| (l, r)), [pairs.clone(), lonely_left.clone(), lonely_right.clone()].concat(), &what("full"));
                check(join().semi(), left.iter().filter(|l| has_right(l.0)).cloned().collect(), &what("semi"));
                check(join().anti(), left.iter().filter(|l| !has_right(l.0)).cloned().collect(), &what("anti"));
            }
            let counts = l.key_by(|l| l.0).co_group(&r.key_by(|r| r.0), |k, l, r, out| out.push((*k, l.count() as u64, r.count() as u64)));
            let keys: BTreeSet<u32> = left.iter().map(|l| l.0).chain(right.iter().map(|r| r.0)).collect();
            let count = |k: u32| (k, left.iter().filter(|l| l.0 == k).count() as u64, right.iter().filter(|r| r.0 == k).count() as u64);
            check(counts, keys.into_iter().map(count).collect(), "co_group");
        }
    }

    #[test]
    fn beside_another(left in rows(), right in prop::collection::vec(0u32..25, 0..40)) {
        for env in environments() {
            let (l, r) = (env.from_collection(left.clone()), env.from_collection(right.clone()));
            let product = left.iter().flat_map(|l| right.iter().map(|r| (l.clone(), *r))).collect();
            check(l.cross(&r, |l, r| (l, r)), product, "cross");
            let smaller = |l: &Row, right: &[u32]| right.iter().filter(|r| **r < l.0).count() as u64;
            let expected: Vec<u64> = left.iter().map(|l| smaller(l, &right)).collect();
            check(l.with_broadcast(&r).map(move |l, right| smaller(&l, right)), expected, "broadcast map");
            let known = |l: &Row| right.contains(&l.0);
            check(l.with_broadcast(&r).filter(|l, right| right.contains(&l.0)), left.iter().filter(|l| known(l)).cloned().collect(), "broadcast filter");
            // Both from one source: the records come before what they wait for.
            let own = l.map(|r| r.0).distinct();
            let keys: BTreeSet<u32> = left.iter().map(|l| l.0).collect();
            let expected = left.iter().flat_map(|l| keys.iter().map(|k| (l.0, *k)).collect::<Vec<_>>()).collect();
            check(l.with_broadcast(&own).flat_map(|l, keys| keys.iter().map(|k| (l.0, *k)).collect::<Vec<_>>()), expected, "broadcast flat_map");
        }
    }
}

#[test]
fn large_enough_to_spill() {
    for threads in 1..=3 {
        let env = Env::new(Config { threads, memory: MINIMUM_MEMORY_PER_WORKER * threads, ..Config::default() });
        let n = 60_000u64;
        let stream = env.generate(n, |i| {
            (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40, format!("record number {i}, of some length to fill memory"))
        });
        let numbered = stream.sort_by(|r| r.0).zip_with_index().collect().unwrap();
        assert!(numbered.iter().enumerate().all(|(i, r)| r.0 == i as u64));
        assert!(numbered.windows(2).all(|w| w[0].1.0 <= w[1].1.0));
        assert!(env.last_report().is_some_and(|r| r.spilled_bytes > 0));
        let parts = stream.partition_by_range(|r| r.0).map_partition(|part| {
            let keys: Vec<u64> = part.map(|r| r.0).collect();
            std::iter::once((keys.iter().min().copied(), keys.iter().max().copied(), keys.len() as u64))
        });
        let parts = sorted(parts.collect().unwrap());
        assert_eq!(parts.iter().map(|p| p.2).sum::<u64>(), n);
        assert!(parts.windows(2).all(|w| w[0].1 < w[1].0));
        // The sample makes the parts about even.
        assert!(parts.iter().all(|p| p.2 > n / threads as u64 / 2), "{parts:?}");
        assert_eq!(stream.distinct().count().unwrap(), n);
    }
}

#[test]
fn a_sum_that_does_not_fit_is_an_error_that_names_the_operator() {
    let env = Env::new(Config { threads: 2, ..Config::default() });
    let numbers = env.from_collection([i64::MAX, 1]);
    let error = numbers.key_by(|_| 0u8).sum(|n| *n).name("revenue").collect().unwrap_err().to_string();
    assert!(error.contains("does not fit i64"), "{error}");
    assert!(error.contains("revenue") || error.contains("combine"), "{error}");
    assert_eq!(env.from_collection([1.5f64, 2.0]).sum(|n| *n).collect().unwrap(), [3.5]);
}
