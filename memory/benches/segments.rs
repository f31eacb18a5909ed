//! Segment allocation: what a segment or an extent costs that was used before, one that is new, and a million rows in pages.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fluvial_memory::{Extent, MemoryManager, Reservation, RowPages, RowShape};
use std::hint::black_box;

const SEGMENTS: usize = 1024;
const ROWS: u64 = 1_000_000;

fn take(reservation: &Reservation, extent: usize) -> Vec<Extent> {
    (0..SEGMENTS / extent).map_while(|_| reservation.alloc_extent(extent)).collect()
}

fn allocation(criterion: &mut Criterion) {
    let memory = MemoryManager::new(SEGMENTS * fluvial_memory::SEGMENT_SIZE).expect("the arena can be mapped");
    let reservation = memory.reserve("bench", 1).expect("the pool is empty");
    let mut group = criterion.benchmark_group("segments");
    for extent in [1, 8, 64] {
        let number = take(&reservation, extent).len();
        assert_eq!(number, SEGMENTS / extent, "the whole pool can be taken");
        group.throughput(Throughput::Elements(number as u64));
        group.bench_function(format!("take and give back extents of {extent}"), |b| {
            b.iter(|| black_box(take(&reservation, extent)))
        });
    }
    group.throughput(Throughput::Elements(SEGMENTS as u64));
    group.bench_function("take and write to new ones", |b| {
        let fresh = || {
            let memory = MemoryManager::new(SEGMENTS * fluvial_memory::SEGMENT_SIZE).expect("the arena can be mapped");
            memory.reserve("bench", 1).expect("the pool is empty")
        };
        let touch = |reservation: Reservation| {
            let mut segments = take(&reservation, 1);
            segments.iter_mut().for_each(|segment| segment[..].iter_mut().step_by(4096).for_each(|byte| *byte = 1));
            (segments, reservation)
        };
        b.iter_batched(fresh, touch, BatchSize::PerIteration);
    });
    group.finish();

    let mut group = criterion.benchmark_group("pages");
    group.throughput(Throughput::Elements(ROWS));
    group.bench_function("append rows of 24 bytes", |b| {
        let mut pages = RowPages::new(&reservation, RowShape::fixed(8, 16));
        b.iter(|| {
            pages.clear();
            (0..ROWS).for_each(|i| assert!(pages.append_parts(&i.to_be_bytes(), &[7; 16]).is_some()));
            pages.rows()
        });
    });
    group.finish();
}

criterion_group!(benches, allocation);
criterion_main!(benches);
