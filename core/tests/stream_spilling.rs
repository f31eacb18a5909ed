//! Every operation on typed streams that holds records, on several times the memory that its plan asks for: it spills, and
//! says what a plain model says.

mod budgets;

use budgets::{WORKERS, least, sorted, spilled};
use fluvial_core::{Aggregator, Data, DataStream, Env, JoinStrategy};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

const ROWS: u64 = 24_000;

/// A key of many, a number, and text to fill memory.
type Row = (u64, u64, String);

fn mix(i: u64) -> u64 {
    i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn row(i: u64) -> Row {
    (mix(i / 2), i, format!("{:016x}", mix(i)).repeat(40))
}

fn rows() -> Vec<Row> {
    (0..ROWS).map(row).collect()
}

/// What is left to compare of a row.
fn brief(row: &Row) -> (u64, u64, usize) {
    (row.0, row.1, row.2.len())
}

/// What the operation gives with each number of workers; `operator` spills.
fn runs<T: Data>(operator: &str, build: impl Fn(&Env) -> DataStream<T>, check: impl Fn(Vec<T>, usize)) {
    let plan = build(&Env::default()).explain();
    for threads in WORKERS {
        let env = least(threads, &plan);
        let found = build(&env).collect().unwrap_or_else(|e| panic!("{operator}, {threads} workers: {e}"));
        check(found, threads);
        assert!(spilled(&env, operator) > 0, "{operator} did not spill, {threads} workers: {:?}", env.last_report());
    }
}

fn gives<T: Data + Ord + Debug>(operator: &str, build: impl Fn(&Env) -> DataStream<T>, expected: Vec<T>) {
    let expected = sorted(expected);
    runs(operator, build, |found, threads| assert!(sorted(found) == expected, "{operator}, {threads} workers"));
}

fn gives_in_order<T: Data + PartialEq>(operator: &str, build: impl Fn(&Env) -> DataStream<T>, expected: &[T]) {
    runs(operator, build, |found, threads| assert!(found == expected, "{operator}, {threads} workers"));
}

#[test]
fn orders() {
    let mut ordered = rows();
    ordered.sort_by_key(|r| (r.0, r.1));
    let key = |r: &Row| (r.0, r.1);
    let ordered: Vec<_> = ordered.iter().map(brief).collect();
    gives_in_order("sort", |env| env.generate(ROWS, row).sort_by(key).map(|r| brief(&r)), &ordered);
    let first = &ordered[..ordered.len() * 2 / 3];
    let n = first.len() as u64;
    gives_in_order("top", |env| env.generate(ROWS, row).top_by(n, key).map(|r| brief(&r)), first);
    gives_in_order("limit", |env| env.generate(ROWS, row).sort_by(key).limit(n).map(|r| brief(&r)), first);
    let numbered: Vec<_> = (0..).zip(ordered.iter().copied()).collect::<Vec<(u64, _)>>();
    let number = |env: &Env| env.generate(ROWS, row).sort_by(key).zip_with_index().map(|(i, r)| (i, brief(&r)));
    gives_in_order("zip_with_index", number, &numbered);
    let sort_partition = |env: &Env| env.generate(ROWS, row).sort_partition(key).map(|r| brief(&r));
    gives("sort_partition", sort_partition, ordered);
    let runs_of = |env: &Env| {
        env.generate(ROWS, row).sort_partition(key).map_partition(move |part| {
            let keys: Vec<_> = part.map(|r| key(&r)).collect();
            std::iter::once((keys.is_sorted(), keys.len() as u64))
        })
    };
    runs("map_partition", runs_of, |parts, threads| {
        assert_eq!((parts.len(), parts.iter().map(|p| p.1).sum()), (threads, ROWS));
        assert!(parts.iter().all(|p| p.0));
    });
}

#[test]
fn ranges() {
    let ranges = |env: &Env| {
        env.generate(ROWS, row).partition_by_range(|r| r.0).map_partition(|part| {
            let keys: Vec<u64> = part.map(|r| r.0).collect();
            std::iter::once((keys.iter().min().copied(), keys.iter().max().copied(), keys.len() as u64))
        })
    };
    runs("range", ranges, |parts, threads| {
        let parts = sorted(parts);
        assert_eq!(parts.iter().map(|p| p.2).sum::<u64>(), ROWS);
        assert!(parts.windows(2).all(|w| w[0].1 < w[1].0), "{parts:?}");
        // The sample makes the parts about even.
        assert!(parts.iter().all(|p| p.2 > ROWS / threads as u64 / 2), "{parts:?}");
    });
}

/// Count and largest text.
#[derive(Clone)]
struct Largest;

impl Aggregator<Row> for Largest {
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

#[test]
fn groupings() {
    let mut groups: BTreeMap<u64, Vec<Row>> = BTreeMap::new();
    rows().into_iter().for_each(|r| groups.entry(r.0).or_default().push(r));
    let each = |f: &dyn Fn(&[Row]) -> String| groups.iter().map(|(k, g)| (*k, f(g))).collect::<Vec<_>>();
    let largest = |g: &[Row]| g.iter().map(|r| r.2.clone()).max().unwrap_or_default();
    let first = |g: &[Row]| g.iter().min_by_key(|r| r.1).map(|r| r.2.clone()).unwrap_or_default();

    let reduce = |env: &Env| env.generate(ROWS, row).key_by(|r| r.0).reduce(|a, b| if a.1 < b.1 { a } else { b });
    gives("reduce", move |env| reduce(env).map(|r| (r.0, r.2)), each(&first));
    let aggregate = |env: &Env| env.generate(ROWS, row).key_by(|r| r.0).aggregate(Largest);
    gives("aggregate", aggregate, groups.iter().map(|(k, g)| (*k, (g.len() as u64, largest(g)))).collect());
    let group = |env: &Env| {
        env.generate(ROWS, row)
            .key_by(|r| r.0)
            .reduce_group(|key, rows, out| out.push((*key, rows.map(|r| r.2).max().unwrap_or_default())))
    };
    gives("reduce_group", group, each(&largest));
    let fold = |env: &Env| env.generate(ROWS, row).key_by(|r| r.0).fold(0u64, |sum, r| *sum += r.1);
    gives("reduce_group", fold, groups.iter().map(|(k, g)| (*k, g.iter().map(|r| r.1).sum())).collect());
    let distinct = |env: &Env| env.generate(2 * ROWS, |i| row(i % ROWS)).distinct().map(|r| brief(&r));
    gives("distinct", distinct, rows().iter().map(brief).collect());
    let sums = |env: &Env| env.generate(ROWS, row).key_by_ref(|r| r.2.as_str()).sum(|r| r.1).map(|(k, s)| (k.len(), s));
    gives("sum", sums, rows().iter().map(|r| (r.2.len(), r.1)).collect());
}

/// Left records have their numbers as keys, right ones those from a half on, each twice; so some on both sides match nothing.
fn sides(env: &Env) -> (DataStream<Row>, DataStream<Row>) {
    (env.generate(ROWS / 2, row), env.generate(ROWS / 2, |i| row(ROWS / 4 + i / 2)))
}

#[test]
fn joins() {
    let left: Vec<u64> = (0..ROWS / 2).collect();
    let right: Vec<u64> = (0..ROWS / 2).map(|i| ROWS / 4 + i / 2).collect();
    let lefts: BTreeSet<u64> = left.iter().copied().collect();
    let rights: BTreeSet<u64> = right.iter().copied().collect();
    let pairs: Vec<_> = right.iter().filter(|r| lefts.contains(r)).map(|r| (Some(*r), Some(*r))).collect();
    let lonely_left: Vec<_> = left.iter().filter(|l| !rights.contains(l)).map(|l| (Some(*l), None)).collect();
    let lonely_right: Vec<_> = right.iter().filter(|r| !lefts.contains(r)).map(|r| (None, Some(*r))).collect();
    let number = |r: Option<Row>| r.map(|r| r.1);
    for strategy in [
        JoinStrategy::Auto,
        JoinStrategy::HashBuildLeft,
        JoinStrategy::HashBuildRight,
        JoinStrategy::BroadcastLeft,
        JoinStrategy::BroadcastRight,
    ] {
        let join = |env: &Env| {
            let (l, r) = sides(env);
            l.key_by(|l| l.1).join(&r.key_by(|r| r.1)).strategy(strategy)
        };
        gives("join", |env| join(env).inner(move |l, r| (number(Some(l)), number(Some(r)))), pairs.clone());
        let expected = [pairs.clone(), lonely_left.clone(), lonely_right.clone()].concat();
        gives("join", |env| join(env).full(move |l, r| (number(l), number(r))), expected);
        if strategy == JoinStrategy::HashBuildLeft || strategy == JoinStrategy::HashBuildRight {
            let expected = [pairs.clone(), lonely_left.clone()].concat();
            gives("join", |env| join(env).left(move |l, r| (Some(l.1), number(r))), expected);
            let expected = [pairs.clone(), lonely_right.clone()].concat();
            gives("join", |env| join(env).right(move |l, r| (number(l), Some(r.1))), expected);
        }
        // Of the right side these need the keys alone, which fit.
        if strategy == JoinStrategy::HashBuildLeft {
            gives("join", |env| join(env).semi().map(|l| l.1), lefts.intersection(&rights).copied().collect());
            gives("join", |env| join(env).anti().map(|l| l.1), lefts.difference(&rights).copied().collect());
        }
    }
    let counts = |env: &Env| {
        let (l, r) = sides(env);
        l.key_by(|l| l.1).co_group(&r.key_by(|r| r.1), |k, l, r, out| out.push((*k, l.count() as u64, r.count() as u64)))
    };
    let twice = |k: u64| right.iter().filter(|r| **r == k).count() as u64;
    let expected = lefts.union(&rights).map(|k| (*k, u64::from(lefts.contains(k)), if rights.contains(k) { 2 } else { 0 }));
    assert_eq!(twice(ROWS / 4), 2);
    gives("co_group", counts, expected.collect());
}

#[test]
fn beside_another() {
    let expected: Vec<(u64, u64)> = (0..3).flat_map(|l| (0..ROWS).map(move |r| (l, r))).collect();
    gives("cross", |env| env.sequence(0..3).cross(&env.generate(ROWS, row), |l, r| (l, r.1)), expected);
    // Both from one source: the records come before what they wait for.
    let beside = |env: &Env| {
        let records = env.generate(ROWS, row);
        let rest = records.map(|r| r.1 % 5).distinct();
        records.with_broadcast(&rest).map(|r, rests| (r.1, rests.len() as u64))
    };
    gives("map", beside, (0..ROWS).map(|i| (i, 5)).collect());
}
