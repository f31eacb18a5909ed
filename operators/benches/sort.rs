//! Sort of 10 M rows of (u64, u64) in memory, beside `sort_unstable` and `sort` of the same pairs; the merge of 40 runs of
//! 130-byte rows from disk.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager};
use fluvial_operators::{ExternalSort, KeyRange, SortOptions, SortedSet};

const ROWS: usize = 10_000_000;

fn pairs() -> Vec<(u64, u64)> {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..ROWS).map(|_| (next(), next())).collect()
}

fn batches(shape: RowShape, keys: &[(u64, u64)], payload: &[u8]) -> Vec<RowBatch> {
    let batch = |part: &[(u64, u64)]| {
        let mut batch = RowBatch::new(shape);
        for (a, b) in part {
            let key = (u128::from(*a) << 64 | u128::from(*b)).to_be_bytes();
            batch.push(&key, payload);
        }
        batch
    };
    keys.chunks(8192).map(batch).collect()
}

/// Sorts and merges; the rows that came out.
fn sort(memory: &MemoryManager, spill: &SpillManager, shape: RowShape, input: &[RowBatch]) -> usize {
    merge(memory, &runs(memory, spill, shape, input), shape)
}

fn runs(memory: &MemoryManager, spill: &SpillManager, shape: RowShape, input: &[RowBatch]) -> SortedSet {
    let reservation = memory.reserve("sort", ExternalSort::FULL_BLOCK_SEGMENTS).expect("within the budget");
    let mut sort = ExternalSort::new(&reservation, spill, SortOptions::new(shape), None).expect("a sort");
    for batch in input {
        sort.push(batch).expect("rows are taken");
    }
    SortedSet::new(vec![sort.into_runs().expect("runs")])
}

fn merge(memory: &MemoryManager, set: &SortedSet, shape: RowShape) -> usize {
    let reservation = memory.reserve("merge", ExternalSort::FULL_BLOCK_SEGMENTS).expect("within the budget");
    let mut reader = set.merge(KeyRange::ALL, &reservation, None);
    let (mut out, mut rows) = (RowBatch::new(shape), 0);
    loop {
        out.clear();
        let progress = reader.pull(&mut out, 8192, 1 << 20).expect("rows are merged");
        rows += out.len();
        if progress == Progress::Done {
            return rows;
        }
    }
}

fn in_memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sort 10 M (u64, u64)");
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(10);
    let keys = pairs();
    group.bench_function("sort_unstable", |b| {
        b.iter_batched(|| keys.clone(), |mut keys| keys.sort_unstable(), BatchSize::PerIteration);
    });
    group.bench_function("sort", |b| b.iter_batched(|| keys.clone(), |mut keys| keys.sort(), BatchSize::PerIteration));
    let shape = RowShape::fixed(16, 0);
    let input = batches(shape, &keys, &[]);
    let spill = SpillManager::new(SpillConfig::default()).expect("a spill folder");
    let memory = MemoryManager::new(1 << 30).expect("an arena");
    group.bench_function("external sort, rows in and out, 1 GiB", |b| b.iter(|| sort(&memory, &spill, shape, &input)));
    let memory = MemoryManager::new(64 << 20).expect("an arena");
    group.bench_function("external sort, rows in and out, 64 MiB", |b| b.iter(|| sort(&memory, &spill, shape, &input)));
    group.finish();
}

fn from_disk(criterion: &mut Criterion) {
    let rows = 4_000_000;
    let mut group = criterion.benchmark_group("merge of about 40 runs, 130-byte rows");
    group.throughput(Throughput::Elements(rows as u64)).sample_size(10);
    let shape = RowShape::fixed(16, 114);
    let input = batches(shape, &pairs()[..rows], &[b'.'; 114]);
    let spill = SpillManager::new(SpillConfig::default()).expect("a spill folder");
    let set = runs(&MemoryManager::new(20 << 20).expect("an arena"), &spill, shape, &input);
    drop(input);
    let memory = MemoryManager::new(64 << 20).expect("an arena");
    group.bench_function(format!("{} runs", set.stats().runs), |b| b.iter(|| merge(&memory, &set, shape)));
    group.finish();
}

criterion_group!(benches, in_memory, from_disk);
criterion_main!(benches);
