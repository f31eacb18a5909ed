//! Hash aggregation and pre-aggregation of serialized rows against a naive model, in memory and where memory ends.

mod kit;

use fluvial_memory::{
    Error, KeyWidth, MemoryManager, Progress, Result, RowBatch, SEGMENT_SIZE, SpillConfig, SpillManager, Waker,
};
use fluvial_operators::aggregate::{Aggregation, Combine, CombineOptions, Distinct, HashAggregate, HashAggregateOptions};
use kit::{Sum, numbers};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Keeps the greatest byte string, by length first: states that grow.
#[derive(Clone)]
struct Longest;

impl Aggregation for Longest {
    fn width(&self) -> Option<usize> {
        None
    }

    fn merge(&self, _: &mut [u8], _: &[u8]) -> Result<()> {
        unreachable!("states vary")
    }

    fn merge_into(&self, state: &mut [u8], other: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let better = (other.len(), other) > (state.len(), &*state);
        if better {
            out.extend_from_slice(other);
        }
        Ok(better)
    }
}

type Groups = BTreeMap<Vec<u8>, Vec<u8>>;

fn model<A: Aggregation>(aggregation: &A, rows: &[(Vec<u8>, Vec<u8>)]) -> Groups {
    let mut groups = Groups::new();
    for (key, state) in rows {
        match groups.get_mut(key) {
            None => drop(groups.insert(key.clone(), state.clone())),
            Some(held) if aggregation.width().is_some() => aggregation.merge(held, state).unwrap(),
            Some(held) => {
                let mut out = Vec::new();
                if aggregation.merge_into(held, state, &mut out).unwrap() {
                    *held = out;
                }
            }
        }
    }
    groups
}

/// A waker, and a way to wait for it with a deadline.
fn waker() -> (Waker, impl Fn()) {
    let signal = Arc::new((Mutex::new(false), Condvar::new()));
    let called = signal.clone();
    let wake: Waker = Arc::new(move || {
        *called.0.lock().unwrap() = true;
        called.1.notify_one();
    });
    let wait = move || {
        let (flag, timeout) =
            signal.1.wait_timeout_while(signal.0.lock().unwrap(), Duration::from_secs(20), |called| !*called).unwrap();
        assert!(!timeout.timed_out(), "nobody woke the operator");
        let mut flag = flag;
        *flag = false;
    };
    (wake, wait)
}

struct Setting {
    memory: MemoryManager,
    spill: SpillManager,
    options: HashAggregateOptions,
    wakes: bool,
}

impl Setting {
    fn new(segments: usize) -> Self {
        Self {
            memory: MemoryManager::new(segments * SEGMENT_SIZE).unwrap(),
            spill: SpillManager::new(SpillConfig::default()).unwrap(),
            options: HashAggregateOptions::default(),
            wakes: false,
        }
    }

    fn aggregate<A: Aggregation>(&self, key: KeyWidth, aggregation: A) -> HashAggregate<A> {
        let reservation = self.memory.reserve("groups", 33.min(self.memory.budget() / SEGMENT_SIZE)).unwrap();
        HashAggregate::new(reservation, self.spill.clone(), key, aggregation, self.options.clone(), None).unwrap()
    }

    /// Aggregates, checks that each key comes once and that all memory and files are gone afterwards.
    fn run<A: Aggregation>(&self, key: KeyWidth, aggregation: A, batches: impl Iterator<Item = RowBatch>) -> Groups {
        let (wake, wait) = waker();
        let reservation = self.memory.reserve("groups", 33.min(self.memory.budget() / SEGMENT_SIZE)).unwrap();
        let wake = self.wakes.then_some(wake);
        let spill = self.spill.clone();
        let mut operator = HashAggregate::new(reservation, spill, key, aggregation, self.options.clone(), wake).unwrap();
        let settle = |operator: &mut HashAggregate<A>, mut progress: Progress| {
            while progress == Progress::Waiting {
                wait();
                progress = operator.resume().unwrap();
            }
        };
        for batch in batches {
            let progress = operator.push(&batch).unwrap();
            settle(&mut operator, progress);
        }
        let progress = operator.end().unwrap();
        settle(&mut operator, progress);
        let mut groups = Groups::new();
        let mut out = RowBatch::new(operator.shape());
        loop {
            let progress = operator.pull(&mut out, 1000).unwrap();
            for i in 0..out.len() {
                let twice = groups.insert(out.key(i).to_vec(), out.payload(i).to_vec());
                assert!(twice.is_none(), "key {:?} came twice", out.key(i));
            }
            match progress {
                Progress::Done => break,
                Progress::Waiting => wait(),
                Progress::More => {}
            }
        }
        drop(operator);
        assert_eq!(self.memory.available(), self.memory.budget());
        assert_eq!(self.spill.stats().open_files, 0);
        groups
    }
}

fn batches(key: KeyWidth, state: Option<usize>, rows: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = RowBatch> {
    let shape = match (key, state) {
        (KeyWidth::Fixed(key), Some(state)) => fluvial_memory::RowShape::fixed(key, state),
        _ => fluvial_memory::RowShape { key, row: None },
    };
    rows.chunks(777).enumerate().map(move |(i, rows)| {
        let mut batch = RowBatch::new(shape);
        rows.iter().for_each(|(key, state)| batch.push(key, state));
        if i % 2 == 0 {
            batch.compute_hashes();
        }
        batch
    })
}

/// `distinct` keys of some width, each `rows / distinct` times on average.
fn sums(width: KeyWidth, rows: usize, distinct: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
    let key = |n: u64| match width {
        KeyWidth::Fixed(width) => n.to_be_bytes().repeat(width.div_ceil(8))[..width].to_vec(),
        KeyWidth::Variable => n.to_string().repeat(1 + n as usize % 3).into_bytes(),
    };
    numbers(7).take(rows).map(|n| (key(n % distinct), (n >> 40).to_le_bytes().to_vec())).collect()
}

#[test]
fn any_key_width_in_memory_and_spilling() {
    for width in [KeyWidth::Fixed(8), KeyWidth::Fixed(16), KeyWidth::Fixed(11), KeyWidth::Variable] {
        let rows = sums(width, 150_000, 60_000);
        let expected = model(&Sum, &rows);
        for (segments, wakes) in [(1024, false), (33, false), (33, true), (50, true)] {
            let setting = Setting { wakes, ..Setting::new(segments) };
            assert_eq!(setting.run(width, Sum, batches(width, Some(8), &rows)), expected, "{width:?}, {segments} segments");
            assert_eq!(setting.spill.stats().files > 0, segments < 100);
        }
    }
}

#[test]
fn recursion_with_the_minimum() {
    let width = KeyWidth::Fixed(8);
    let rows = sums(width, 1_000_000, 700_000);
    let setting = Setting::new(HashAggregate::<Sum>::MINIMUM_SEGMENTS);
    assert_eq!(setting.run(width, Sum, batches(width, Some(8), &rows)), model(&Sum, &rows));
    assert!(setting.spill.stats().files > 2, "more than one level of files");
}

#[test]
fn many_partitions_in_little_memory_are_merged() {
    let width = KeyWidth::Fixed(8);
    let rows = sums(width, 100_000, 50_000);
    let mut setting = Setting::new(40);
    setting.options.partitions = Some(256);
    assert_eq!(setting.run(width, Sum, batches(width, Some(8), &rows)), model(&Sum, &rows));
}

#[test]
fn four_hundred_thousand_duplicates_of_one_key_among_a_million() {
    let width = KeyWidth::Variable;
    let rows: Vec<_> = numbers(3)
        .take(1_000_000)
        .map(|n| {
            let key = if n % 10 < 4 { "the same".to_owned() } else { format!("key {}", n % 500_000) };
            (key.into_bytes(), 1u64.to_le_bytes().to_vec())
        })
        .collect();
    let setting = Setting::new(33);
    assert_eq!(setting.run(width, Sum, batches(width, Some(8), &rows)), model(&Sum, &rows));
}

#[test]
fn inseparable_keys_take_several_passes() {
    let width = KeyWidth::Fixed(8);
    let rows = sums(width, 300_000, 150_000);
    let mut setting = Setting { wakes: true, ..Setting::new(33) };
    setting.options.last_level = 0;
    assert_eq!(setting.run(width, Sum, batches(width, Some(8), &rows)), model(&Sum, &rows));
    assert!(setting.spill.stats().files > 1);
}

#[test]
fn states_that_grow() {
    for width in [KeyWidth::Fixed(8), KeyWidth::Variable] {
        let rows: Vec<_> = numbers(5)
            .take(60_000)
            .enumerate()
            .map(|(i, n)| {
                let key = match width {
                    KeyWidth::Variable => (n % 500).to_string().into_bytes(),
                    _ => (n % 500).to_be_bytes().to_vec(),
                };
                (key, vec![b'a' + (n % 26) as u8; 1 + i / 100 + (n >> 20) as usize % 50])
            })
            .collect();
        let expected = model(&Longest, &rows);
        for (segments, wakes) in [(1024, false), (33, true)] {
            let setting = Setting { wakes, ..Setting::new(segments) };
            assert_eq!(setting.run(width, Longest, batches(width, None, &rows)), expected);
        }
    }
}

#[test]
fn records_of_ten_megabytes_in_64_mib() {
    let setting = Setting::new((64 << 20) / SEGMENT_SIZE);
    let shape = fluvial_memory::RowShape::VARIABLE;
    let long = |i: u64| {
        let mut batch = RowBatch::new(shape);
        batch.push(&vec![b'k' + (i % 12) as u8; 10_000_000], &i.to_le_bytes());
        batch
    };
    let groups = setting.run(KeyWidth::Variable, Sum, (0..24).map(long));
    assert_eq!(groups.len(), 12);
    assert!((0..12).all(|i| groups[&vec![b'k' + i as u8; 10_000_000]] == (2 * i + 12u64).to_le_bytes()));
    assert!(setting.spill.stats().files > 0);

    let grown = |i: u64| {
        let mut batch = RowBatch::new(shape);
        batch.push(&(i % 8).to_le_bytes(), &vec![1; 6_000_000 + 100_000 * i as usize]);
        batch
    };
    let groups = setting.run(KeyWidth::Variable, Longest, (0..40).map(grown));
    assert_eq!(groups.len(), 8);
    assert!((0..8u64).all(|i| groups[&i.to_le_bytes().to_vec()].len() == 6_000_000 + 100_000 * (32 + i as usize)));
}

#[test]
fn a_record_larger_than_memory_is_an_error_that_names_it() {
    let setting = Setting::new(40);
    let mut operator = setting.aggregate(KeyWidth::Variable, Distinct);
    let mut batch = RowBatch::new(operator.shape());
    batch.push(b"small", &[]);
    batch.push(&vec![0; 2 << 20], &[]);
    let error = operator.push(&batch).unwrap_err();
    assert!(matches!(error, Error::RecordTooLarge { ref operator, record, .. } if operator == "groups" && record > 2 << 20));
}

#[test]
fn an_error_of_the_aggregation_passes_through() {
    let setting = Setting::new(64);
    let mut operator = setting.aggregate(KeyWidth::Fixed(1), Sum);
    let mut batch = RowBatch::new(operator.shape());
    batch.push(b"k", &u64::MAX.to_le_bytes());
    batch.push(b"k", &1u64.to_le_bytes());
    assert_eq!(operator.push(&batch).unwrap_err().to_string(), "the sum overflows");
}

#[test]
fn dropping_early_releases_everything() {
    let width = KeyWidth::Fixed(16);
    let rows = sums(width, 100_000, 100_000);
    for stage in 0..3 {
        let setting = Setting::new(33);
        let mut operator = setting.aggregate(width, Sum);
        batches(width, Some(8), &rows).for_each(|batch| assert_eq!(operator.push(&batch).unwrap(), Progress::Done));
        assert!(setting.spill.stats().open_files > 0);
        if stage > 0 {
            operator.end().unwrap();
        }
        let mut out = RowBatch::new(operator.shape());
        for _ in 0..stage * 20 {
            operator.pull(&mut out, 1000).unwrap();
        }
        drop(operator);
        // Blocks that are just being written are given back by the I/O threads.
        let deadline = Instant::now() + Duration::from_secs(20);
        while setting.memory.available() < setting.memory.budget() || setting.spill.stats().open_files > 0 {
            assert!(Instant::now() < deadline, "memory or files are left");
            std::thread::yield_now();
        }
    }
}

#[test]
fn distinct_of_the_empty_key() {
    let setting = Setting::new(64);
    let shape = fluvial_memory::RowShape::fixed(0, 0);
    let mut batch = RowBatch::new(shape);
    (0..5).for_each(|_| batch.push(&[], &[]));
    assert_eq!(setting.run(KeyWidth::Fixed(0), Distinct, [batch].into_iter()), Groups::from([(vec![], vec![])]));
    assert_eq!(setting.run(KeyWidth::Fixed(0), Distinct, std::iter::empty()), Groups::new());
}

/// Combines and then aggregates what came out; checks the hashes and says how many rows came out.
fn combine<A: Aggregation + Clone>(
    setting: &Setting,
    options: CombineOptions,
    width: KeyWidth,
    aggregation: A,
    batches: impl Iterator<Item = RowBatch>,
) -> (Groups, usize) {
    let reservation = setting.memory.reserve("combine", 0).unwrap();
    let mut combiner = Combine::new(reservation, width, aggregation.clone(), options);
    let mut partials = Vec::new();
    let drain = |combiner: &mut Combine<A>, partials: &mut Vec<RowBatch>| loop {
        let mut out = RowBatch::new(combiner.shape());
        let progress = combiner.pull(&mut out, 1000);
        assert!(out.hashes().iter().enumerate().all(|(i, &hash)| hash == fluvial_memory::hash::hash_bytes(out.key(i))));
        assert_eq!(out.hashes().len(), out.len());
        partials.push(out);
        if progress == Progress::Done {
            break;
        }
    };
    for batch in batches {
        if combiner.push(&batch).unwrap() == Progress::More {
            drain(&mut combiner, &mut partials);
        }
    }
    combiner.end();
    drain(&mut combiner, &mut partials);
    drop(combiner);
    assert_eq!(setting.memory.available(), setting.memory.budget());
    let rows = partials.iter().map(RowBatch::len).sum();
    (Setting::new(4096).run(width, aggregation, partials.into_iter()), rows)
}

#[test]
fn combining_merges_what_repeats_and_passes_on_what_does_not() {
    let width = KeyWidth::Fixed(16);
    let setting = Setting::new(4096);
    for (distinct, at_most) in [(1_000, 1_000), (100_000, 100_000), (1 << 60, 500_000)] {
        let rows = sums(width, 500_000, distinct);
        let (groups, left) = combine(&setting, CombineOptions::default(), width, Sum, batches(width, Some(8), &rows));
        assert_eq!(groups, model(&Sum, &rows));
        assert!(left <= at_most, "{left} rows of {distinct} keys");
    }
    let mut rows = sums(width, 500_000, 1 << 60);
    (0..rows.len()).for_each(|i| rows[i].0 = rows[i / 4 * 4].0.clone());
    let (groups, left) = combine(&setting, CombineOptions::default(), width, Sum, batches(width, Some(8), &rows));
    assert_eq!(groups, model(&Sum, &rows));
    assert!(left < 150_000, "{left} rows of 125,000 clustered keys");
}

#[test]
fn combining_without_memory_passes_rows_through() {
    let width = KeyWidth::Variable;
    let setting = Setting::new(1);
    let rows = sums(width, 50_000, 100);
    let held = setting.memory.reserve("other", 1).unwrap();
    let other = Setting { memory: setting.memory.clone(), ..Setting::new(1) };
    let reservation = other.memory.reserve("combine", 0).unwrap();
    let mut combiner = Combine::new(reservation, width, Sum, CombineOptions::default());
    let mut left = 0;
    let mut out = RowBatch::new(combiner.shape());
    for batch in batches(width, Some(8), &rows) {
        if combiner.push(&batch).unwrap() == Progress::More {
            while combiner.pull(&mut out, 100) == Progress::More {
                left += out.len();
            }
            left += out.len();
        }
    }
    combiner.end();
    while combiner.pull(&mut out, 100) == Progress::More {
        left += out.len();
    }
    left += out.len();
    assert!(left > 49_000 && left <= 50_000, "{left} rows");
    drop((combiner, held));
}

#[test]
fn single_records_are_counted() {
    let memory = MemoryManager::new(64 << 20).unwrap();
    for options in [CombineOptions::default(), {
        let mut options = CombineOptions::default();
        (options.small_bytes, options.large_bytes) = (1 << 16, Some(1 << 17));
        options
    }] {
        let mut combiner = Combine::new(memory.reserve("combine", 8).unwrap(), KeyWidth::Variable, Sum, options);
        let mut expected = BTreeMap::<Vec<u8>, u64>::new();
        let mut found = BTreeMap::<Vec<u8>, u64>::new();
        let mut drain = |combiner: &mut Combine<Sum>| loop {
            let mut out = RowBatch::new(combiner.shape());
            let progress = combiner.pull(&mut out, 500);
            for i in 0..out.len() {
                *found.entry(out.key(i).to_vec()).or_default() += u64::from_le_bytes(out.payload(i).try_into().unwrap());
            }
            if progress == Progress::Done {
                break;
            }
        };
        for n in numbers(1).take(200_000) {
            let word = format!("w{}", (n % 10_000) * (n >> 32) % 20_000);
            *expected.entry(word.clone().into_bytes()).or_default() += 1;
            let progress = combiner.add(word.as_bytes(), fluvial_memory::hash::hash_bytes(word.as_bytes()), |count| {
                let one = u64::from_le_bytes(count.try_into().unwrap()) + 1;
                count.copy_from_slice(&one.to_le_bytes());
            });
            if progress == Progress::More {
                drain(&mut combiner);
            }
        }
        combiner.end();
        drain(&mut combiner);
        assert_eq!(found, expected);
    }
}

#[test]
fn an_aggregation_begins_again_while_nothing_was_spilled() {
    let width = KeyWidth::Fixed(8);
    for (segments, again) in [(4096, true), (33, false)] {
        let setting = Setting::new(segments);
        let reservation = setting.memory.reserve("aggregate", HashAggregate::<Sum>::MINIMUM_SEGMENTS).unwrap();
        let options = HashAggregateOptions::default();
        let mut aggregate = HashAggregate::new(reservation, setting.spill.clone(), width, Sum, options, None).unwrap();
        for round in 0..3u64 {
            let rows: Vec<(Vec<u8>, Vec<u8>)> = (0..200_000u64)
                .map(|i| ((i % 100_000 * (round + 1)).to_be_bytes().to_vec(), (i + round).to_le_bytes().to_vec()))
                .collect();
            for batch in batches(width, Some(8), &rows) {
                aggregate.push(&batch).unwrap();
            }
            aggregate.end().unwrap();
            let (mut groups, mut out) = (Groups::new(), RowBatch::new(aggregate.shape()));
            loop {
                let progress = aggregate.pull(&mut out, 1000).unwrap();
                (0..out.len()).for_each(|i| drop(groups.insert(out.key(i).to_vec(), out.payload(i).to_vec())));
                if progress == Progress::Done {
                    break;
                }
            }
            assert!(groups == model(&Sum, &rows), "round {round}");
            assert_eq!(aggregate.begin_again(), again);
            if !again {
                break;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn equals_the_model(
        rows in prop::collection::vec((prop::collection::vec(0u8..4, 0..6), prop::collection::vec(any::<u8>(), 0..400)), 0..3000),
        segments in prop_oneof![Just(33usize), Just(40), Just(400)],
        wakes in any::<bool>(),
    ) {
        let setting = Setting { wakes, ..Setting::new(segments) };
        let width = KeyWidth::Variable;
        let expected = model(&Longest, &rows);
        prop_assert_eq!(&setting.run(width, Longest, batches(width, None, &rows)), &expected);
        let mut options = CombineOptions::default();
        (options.small_bytes, options.large_bytes) = (1 << 16, Some(1 << 17));
        let (groups, _) = combine(&Setting::new(segments), options, width, Longest, batches(width, None, &rows));
        prop_assert_eq!(&groups, &expected);
    }

    #[test]
    fn fixed_widths_equal_the_model(
        width in 0usize..20,
        keys in prop::collection::vec((0u64..2000, any::<u32>()), 0..5000),
        segments in prop_oneof![Just(33usize), Just(400)],
    ) {
        let rows: Vec<_> = keys
            .iter()
            .map(|(key, n)| (key.to_le_bytes().repeat(3)[..width].to_vec(), u64::from(*n).to_le_bytes().to_vec()))
            .collect();
        let setting = Setting::new(segments);
        let width = KeyWidth::Fixed(width);
        prop_assert_eq!(setting.run(width, Sum, batches(width, Some(8), &rows)), model(&Sum, &rows));
    }
}
