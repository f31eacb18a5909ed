//! How fast groupings of the shapes of TPC-H and of a word count run: one worker's share of scale 10 on two workers, with
//! its half of 256 MiB. `cargo test --release -p fluvial-operators --test aggregate_speed -- --ignored --nocapture`

use arrow_array::{ArrayRef, Decimal128Array};
use arrow_schema::DataType;
use fluvial_memory::hash::{hash_bytes, remix};
use fluvial_memory::{KeyWidth, MemoryManager, Progress, Result, RowBatch, RowShape, SpillConfig, SpillManager};
use fluvial_operators::aggregate::{
    AggregateFunction, Aggregation, ColumnAggregate, ColumnAggregates, Combine, CombineOptions, HashAggregate,
};
use std::sync::Arc;
use std::time::Duration;

const ROWS: u64 = 30_000_000;
const BATCH: u64 = 8192;

#[derive(Default)]
struct Clock {
    combine: Duration,
    take: Duration,
    result: Duration,
    partials: u64,
    groups: u64,
}

/// Runs a grouping by `key` with sum(decimal(15,2)) and count(*).
fn grouping(name: &str, width: usize, budget: usize, combined: bool, key: impl Fn(u64, &mut Vec<u8>)) {
    let memory = MemoryManager::new(budget).unwrap();
    let spill = SpillManager::new(SpillConfig::default()).unwrap();
    let sum = ColumnAggregate::new(AggregateFunction::Sum, 0, DataType::Decimal128(15, 2), "l_quantity").not_null();
    let aggregates = ColumnAggregates::new(&[sum, ColumnAggregate::count_star()]).unwrap();
    let width = KeyWidth::Fixed(width);
    let reservation = memory.reserve("groups", 33).unwrap();
    let mut groups = HashAggregate::new(reservation, spill.clone(), width, aggregates.clone(), Default::default(), None).unwrap();
    let reservation = memory.reserve("combine", 8).unwrap();
    let mut combine = Combine::new(reservation, width, aggregates.clone(), CombineOptions::default());
    let mut clock = Clock::default();
    let mut keys = RowBatch::new(RowShape { key: width, row: None });
    let mut partials = RowBatch::new(combine.shape());
    let mut drain = |combine: &mut Combine<ColumnAggregates>, groups: &mut HashAggregate<ColumnAggregates>, clock: &mut Clock| loop {
        let start = here();
        let progress = combine.pull(&mut partials, BATCH as usize);
        clock.combine += here() - start;
        clock.partials += partials.len() as u64;
        let start = here();
        groups.push(&partials).unwrap();
        clock.take += here() - start;
        if progress == Progress::Done {
            break;
        }
    };
    let before = everywhere();
    let mut making = Duration::ZERO;
    for first in (0..ROWS).step_by(BATCH as usize) {
        let start = here();
        keys.clear();
        let (bytes, offsets) = keys.parts_mut();
        for i in first..(first + BATCH).min(ROWS) {
            key(i, bytes);
            offsets.push(bytes.len() as u32);
        }
        let values = Decimal128Array::from_iter_values((0..keys.len()).map(|i| (i % 50) as i128 * 100));
        let column: ArrayRef = Arc::new(values.with_precision_and_scale(15, 2).unwrap());
        making += here() - start;
        let start = here();
        keys.compute_hashes();
        if combined {
            let progress = combine.update_batch(&keys, &[column]).unwrap();
            clock.combine += here() - start;
            if progress == Progress::More {
                drain(&mut combine, &mut groups, &mut clock);
            }
        } else {
            groups.update_batch(&keys, &[column]).unwrap();
            clock.take += here() - start;
        }
    }
    combine.end();
    drain(&mut combine, &mut groups, &mut clock);
    drop(combine);
    let start = here();
    groups.end().unwrap();
    let mut out = RowBatch::new(groups.shape());
    loop {
        let progress = groups.pull(&mut out, BATCH as usize).unwrap();
        clock.groups += out.len() as u64;
        if progress == Progress::Done {
            break;
        }
    }
    clock.result = here() - start;
    let used = everywhere() - before - making;
    let ns = |d: Duration| d.as_nanos() as f64 / ROWS as f64;
    let stats = spill.stats();
    println!(
        "\n{name}: {:.1} ns CPU a row (of that: combine {:.1}, take {:.1}, result {:.1}); {ROWS} rows, {} partials, {} groups, \
         {} MB spilled to {} files, memory peak {} of {} MiB",
        ns(used),
        ns(clock.combine),
        ns(clock.take),
        ns(clock.result),
        clock.partials,
        clock.groups,
        stats.bytes_written / 1_000_000,
        stats.files,
        memory.peak() >> 20,
        budget >> 20
    );
}

/// CPU time so far, of this thread or of the whole process: unlike the clock on the wall, it does not count other programs.
fn time(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call only writes the struct it is given.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn here() -> Duration {
    time(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn everywhere() -> Duration {
    time(libc::CLOCK_PROCESS_CPUTIME_ID)
}

#[test]
#[ignore = "a measurement"]
fn eight_million_groups_of_sixteen_bytes() {
    let key = |i: u64, bytes: &mut Vec<u8>| {
        let group = remix(i, 0) % 4_000_000;
        bytes.extend_from_slice(&group.to_be_bytes());
        bytes.extend_from_slice(&(group % 7).to_be_bytes());
    };
    grouping("l_partkey, l_suppkey", 16, 128 << 20, true, key);
    grouping("l_partkey, l_suppkey, all in memory", 16, 1 << 30, true, key);
    grouping("l_partkey, l_suppkey, without combine", 16, 128 << 20, false, key);
}

#[test]
#[ignore = "a measurement"]
fn fifteen_million_clustered_groups() {
    let key = |i: u64, bytes: &mut Vec<u8>| bytes.extend_from_slice(&(i / 4).to_be_bytes());
    grouping("l_orderkey", 8, 128 << 20, true, key);
    grouping("l_orderkey, all in memory", 8, 1 << 30, true, key);
}

#[test]
#[ignore = "a measurement"]
fn few_groups() {
    let key = |i: u64, bytes: &mut Vec<u8>| bytes.extend_from_slice(&(remix(i, 0) % 4).to_be_bytes());
    grouping("4 groups", 8, 128 << 20, true, key);
    let key = |i: u64, bytes: &mut Vec<u8>| bytes.extend_from_slice(&(remix(i, 0) % 100_000).to_be_bytes());
    grouping("100,000 groups", 8, 128 << 20, true, key);
}

#[derive(Clone)]
struct Count;

impl Aggregation for Count {
    fn width(&self) -> Option<usize> {
        Some(8)
    }

    fn merge(&self, state: &mut [u8], other: &[u8]) -> Result<()> {
        let sum = u64::from_le_bytes(state.try_into().unwrap()) + u64::from_le_bytes(other.try_into().unwrap());
        state.copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }
}

#[test]
#[ignore = "a measurement"]
fn word_count() {
    const WORDS: usize = 200_000;
    let words: Vec<String> = (0..WORDS as u64).map(|i| format!("w{:x}", remix(i, 1) >> (40 - remix(i, 2) % 24))).collect();
    // Zipf with exponent 1, by inversion.
    let weights: Vec<f64> = (1..=WORDS)
        .scan(0.0, |sum, i| {
            *sum += 1.0 / i as f64;
            Some(*sum)
        })
        .collect();
    let text: Vec<u8> = (0..10_000_000u64)
        .flat_map(|i| {
            let at = remix(i, 3) as f64 / u64::MAX as f64 * weights[WORDS - 1];
            words[weights.partition_point(|&w| w < at).min(WORDS - 1)].bytes().chain([b' '])
        })
        .collect();
    let text: Vec<&[u8]> = text.split(|&b| b == b' ').filter(|word| !word.is_empty()).collect();
    let memory = MemoryManager::new(128 << 20).unwrap();
    for (ahead, name) in [(0, "word by word"), (8, "prefetching 8 words ahead")] {
        let reservation = memory.reserve("words", 8).unwrap();
        let mut combine = Combine::new(reservation, KeyWidth::Variable, Count, CombineOptions::default());
        let mut hashed = Duration::ZERO;
        let mut hashes: Vec<u64> = Vec::new();
        let start = here();
        for words in text.chunks(1024) {
            let before = here();
            hashes.clear();
            hashes.extend(words.iter().map(|word| hash_bytes(word)));
            hashed += here() - before;
            for (i, word) in words.iter().enumerate() {
                if ahead > 0
                    && let Some(&hash) = hashes.get(i + 2 * ahead)
                {
                    combine.prefetch_slot(hash);
                    combine.prefetch_row(hashes[i + ahead]);
                }
                let progress = combine.add(word, hashes[i], |count| {
                    let one = u64::from_le_bytes(count.try_into().unwrap()) + 1;
                    count.copy_from_slice(&one.to_le_bytes());
                });
                assert_eq!(progress, Progress::Done, "200,000 words fit into a combiner of 16 MiB");
            }
        }
        let took = here() - start - hashed;
        let ns = |d: Duration| d.as_nanos() as f64 / text.len() as f64;
        println!(
            "\n{name}: {:.1} ns a word, and {:.1} ns for its hash; {} words, {WORDS} distinct",
            ns(took),
            ns(hashed),
            text.len()
        );
    }
}
