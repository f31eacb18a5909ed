//! Hash tables of joins and aggregations: building, probing and grouping by a `u64` key, in memory, on one core. What they
//! do beyond memory is in `join.rs` and in `tests/aggregate_speed.rs`, whose runs are too long for a statistic.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fluvial_memory::{KeyWidth, MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager, hash};
use fluvial_operators::aggregate::{Distinct, HashAggregate};
use fluvial_operators::{HashJoin, JoinKind, JoinOptions, JoinedBatch, Side};
use std::time::{Duration, Instant};

const BATCH: u64 = 8192;
const BUILD: u64 = 1_000_000;
const PROBE: u64 = 4_000_000;

/// Batches of `rows` rows of 8 bytes of key, below `keys` and in random order, and `width` bytes more.
fn batches(rows: u64, keys: u64, width: usize, level: u32) -> Vec<RowBatch> {
    let batch = |first: u64| {
        let mut batch = RowBatch::new(RowShape::fixed(8, width));
        for i in first..(first + BATCH).min(rows) {
            batch.push(&(hash::remix(i, level) % keys).to_be_bytes(), &i.to_le_bytes()[..width]);
        }
        batch.compute_hashes();
        batch
    };
    (0..rows).step_by(BATCH as usize).map(batch).collect()
}

/// Time to build and index, and time to probe.
fn join(memory: &MemoryManager, spill: &SpillManager, build: &[RowBatch], probe: &[RowBatch]) -> (Duration, Duration) {
    let shape = RowShape::fixed(8, 8);
    let mut out = JoinedBatch::new(JoinKind::Inner, shape, shape);
    let reservation = memory.reserve("join", 66).expect("the minimum");
    let options = JoinOptions::new(JoinKind::Inner, shape, shape);
    let mut join = HashJoin::new(reservation, spill.clone(), options, None).expect("a join");
    let mut rows = 0;
    let mut drain = |join: &mut HashJoin| {
        while join.pull(&mut out, BATCH as usize).expect("results") != Progress::Done {
            rows += out.len();
        }
        rows += out.len();
    };
    let start = Instant::now();
    for batch in build {
        join.push(Side::Right, batch, None).expect("build rows");
    }
    join.end(Side::Right).expect("the end");
    drain(&mut join);
    let built = start.elapsed();
    let start = Instant::now();
    for batch in probe {
        join.push(Side::Left, batch, None).expect("probe rows");
        drain(&mut join);
    }
    join.end(Side::Left).expect("the end");
    drain(&mut join);
    let probed = start.elapsed();
    assert!(rows > 0, "keys have partners");
    (built, probed)
}

fn group(memory: &MemoryManager, spill: &SpillManager, input: &[RowBatch]) -> usize {
    let reservation = memory.reserve("groups", HashAggregate::<Distinct>::MINIMUM_SEGMENTS).expect("the minimum");
    let width = KeyWidth::Fixed(8);
    let mut groups = HashAggregate::new(reservation, spill.clone(), width, Distinct, Default::default(), None).expect("groups");
    input.iter().for_each(|batch| assert_eq!(groups.push(batch).expect("rows"), Progress::Done));
    groups.end().expect("the end");
    let mut out = RowBatch::new(groups.shape());
    let mut rows = 0;
    loop {
        let progress = groups.pull(&mut out, BATCH as usize).expect("results");
        rows += out.len();
        if progress == Progress::Done {
            return rows;
        }
    }
}

fn hash_tables(criterion: &mut Criterion) {
    let memory = MemoryManager::new(512 << 20).expect("the arena can be mapped");
    let spill = SpillManager::new(SpillConfig::default()).expect("a folder for spill files");
    let (build, probe) = (batches(BUILD, BUILD, 8, 1), batches(PROBE, BUILD, 8, 2));
    let mut hash_join = criterion.benchmark_group("hash join, 1 M build rows, 4 M probe rows");
    hash_join.sample_size(10).throughput(Throughput::Elements(BUILD));
    hash_join.bench_function("build", |b| b.iter_custom(|n| (0..n).map(|_| join(&memory, &spill, &build, &probe).0).sum()));
    hash_join.throughput(Throughput::Elements(PROBE));
    hash_join.bench_function("probe", |b| b.iter_custom(|n| (0..n).map(|_| join(&memory, &spill, &build, &probe).1).sum()));
    hash_join.finish();

    let mut groups = criterion.benchmark_group("hash aggregation, 4 M rows");
    groups.sample_size(10).throughput(Throughput::Elements(PROBE));
    for keys in [1_000, 100_000, 2_000_000] {
        let input = batches(PROBE, keys, 0, 3);
        groups.bench_function(format!("{keys} groups"), |b| b.iter(|| group(&memory, &spill, &input)));
    }
    groups.finish();
}

criterion_group!(benches, hash_tables);
criterion_main!(benches);
