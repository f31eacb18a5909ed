//! Spill files: GB/s of 130-byte rows written and read back by one worker, 64 MiB budget, with and without LZ4.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fluvial_memory::{Compression, MemoryManager, Reservation, RowShape, Run, SpillConfig, SpillManager, Step};

const ROWS: usize = 2_000_000;
const WIDTH: usize = 130;

fn row(number: usize) -> [u8; WIDTH] {
    // A third of the bytes repeat, as in a table of numbers and words.
    let mut row = [b' '; WIDTH];
    let mut state = number as u64;
    for word in row[..88].chunks_exact_mut(8) {
        state = (state ^ (state >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number as u64);
        word.copy_from_slice(&state.to_le_bytes());
    }
    row
}

fn write(spill: &SpillManager, reservation: &Reservation, rows: &[[u8; WIDTH]]) -> Run {
    let mut writer = spill.writer("bench", RowShape::fixed(16, WIDTH - 16), "", reservation, None).expect("a spill file");
    for i in 0..ROWS {
        writer.push(&rows[i % rows.len()]).expect("a row is written");
    }
    writer.finish().expect("a run")
}

fn read(run: &Run, reservation: &Reservation) -> u64 {
    let mut reader = run.reader(0..run.blocks().len(), reservation, None).expect("a reader");
    let mut sum = 0;
    while reader.advance().expect("a row is read") == Step::Row {
        sum += u64::from(reader.row()[7]);
    }
    sum
}

fn spill(criterion: &mut Criterion) {
    let rows: Vec<_> = (0..10_000).map(row).collect();
    for (name, compression) in [("plain", Compression::None), ("lz4", Compression::Lz4)] {
        let mut group = criterion.benchmark_group(format!("spill/{name}"));
        group.throughput(Throughput::Bytes((ROWS * WIDTH) as u64)).sample_size(10);
        let memory = MemoryManager::new(64 << 20).expect("an arena");
        let reservation = memory.reserve("bench", 32).expect("within the budget");
        let spill = SpillManager::new(SpillConfig { compression, ..SpillConfig::default() }).expect("a spill folder");
        group.bench_function("write", |b| {
            b.iter_batched(|| (), |()| write(&spill, &reservation, &rows), BatchSize::PerIteration);
        });
        let run = write(&spill, &reservation, &rows);
        group.bench_function("read", |b| b.iter(|| read(&run, &reservation)));
        group.finish();
    }
}

criterion_group!(benches, spill);
criterion_main!(benches);
