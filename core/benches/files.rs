//! What reading and writing files costs, in nanoseconds a value.
//!
//!     cargo bench -p fluvial-core --bench files -- DIR [decode|columns|encode|copy|words]
//!
//! DIR holds `lineitem.parquet` (TPC-H) and, for `words`, `words.txt`.

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use fluvial_core::io::{Format, ParquetFile, RecordInput, ScanOptions, Split, TableInput, WriteOptions, lines};
use fluvial_memory::{MemoryManager, Reservation};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let Some(folder) = arguments.first() else { return Ok(()) };
    let folder = Path::new(folder);
    let wanted = |what: &str| arguments.len() == 1 || arguments.iter().skip(1).any(|a| a == what);
    let memory = MemoryManager::new(256 << 20)?.reserve("bench", 0)?;
    let threads = std::thread::available_parallelism()?.get();
    println!("{threads} cores");
    let lineitem = folder.join("lineitem.parquet");
    if lineitem.exists() {
        let input = TableInput::open(&[lineitem], &Format::Parquet)?;
        if wanted("columns") {
            columns(&input, &memory)?;
        }
        if wanted("encode") {
            encode(&input, folder, &memory)?;
        }
        if wanted("decode") {
            let all = ScanOptions::default();
            let start = Instant::now();
            let rows = scan(&input, &all, threads, &memory, |_| Ok(()))?;
            report("decode, all columns", start, rows * input.schema().fields().len() as u64);
        }
        if wanted("copy") {
            copy(&input, folder, threads, &memory)?;
        }
    }
    let text = folder.join("words.txt");
    if text.exists() && wanted("words") {
        words(&text, threads, &memory)?;
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

fn report(what: &str, start: Instant, values: u64) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:40} {seconds:8.3} s {:8.2} ns a value", seconds * 1e9 / values as f64);
}

/// Reads a whole input on several threads.
fn scan(
    input: &TableInput,
    options: &ScanOptions,
    threads: usize,
    memory: &Reservation,
    each: impl Fn(&RecordBatch) -> Outcome<()> + Sync,
) -> Outcome<u64> {
    let scan = input.plan(options)?;
    let splits = scan.splits();
    let (next, rows) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Outcome<()> {
                    while let Some(split) = splits.get(next.fetch_add(1, Relaxed)) {
                        let mut reader = scan.open(split, memory)?;
                        while let Some(batch) = reader.next()? {
                            rows.fetch_add(batch.num_rows() as u64, Relaxed);
                            each(&batch)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err("a worker panicked".into())))
    })?;
    Ok(rows.into_inner())
}

/// Decoding column by column, on one thread.
fn columns(input: &TableInput, memory: &Reservation) -> Outcome<()> {
    for (column, field) in input.schema().fields().iter().enumerate() {
        let options = ScanOptions { projection: Some(vec![column]), ..ScanOptions::default() };
        let start = Instant::now();
        let rows = scan(input, &options, 1, memory, |_| Ok(()))?;
        report(&format!("decode {} {}", field.name(), field.data_type()), start, rows);
    }
    Ok(())
}

/// Encoding column by column, on one thread, from the first rows of the table.
fn encode(input: &TableInput, folder: &Path, memory: &Reservation) -> Outcome<()> {
    let scan = input.plan(&ScanOptions::default())?;
    let mut batches = Vec::new();
    for split in scan.splits().iter().take(6) {
        let mut reader = scan.open(split, memory)?;
        while let Some(batch) = reader.next()? {
            batches.push(batch);
        }
    }
    for (column, field) in input.schema().fields().iter().enumerate() {
        let file = ParquetFile::create(
            &folder.join(".bench.parquet"),
            batches[0].project(&[column])?.schema(),
            &WriteOptions::default(),
        )?;
        let mut encoder = file.encoder(memory);
        let (start, mut rows, mut bytes) = (Instant::now(), 0, 0);
        for batch in &batches {
            rows += batch.num_rows() as u64;
            encoder.write(&batch.project(&[column])?)?;
            if rows % 100_000 < batch.num_rows() as u64
                && let Some(group) = encoder.close()?
            {
                bytes += group.bytes();
            }
        }
        report(&format!("encode {} {}", field.name(), field.data_type()), start, rows);
        let width = match field.data_type() {
            DataType::Utf8 => String::new(),
            other => other.primitive_width().map(|w| format!(" of {w}")).unwrap_or_default(),
        };
        println!("{:40} {:.2} bytes{width} a value", "", bytes as f64 / rows as f64);
    }
    Ok(())
}

/// Decoding and encoding again, on all threads.
fn copy(input: &TableInput, folder: &Path, threads: usize, memory: &Reservation) -> Outcome<()> {
    let path = folder.join("bench-copy.parquet");
    let start = Instant::now();
    let scan = input.plan(&ScanOptions::default())?;
    let splits: Vec<Split> = scan.splits();
    let file = ParquetFile::create(&path, scan.schema().clone(), &WriteOptions::default())?;
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Outcome<()> {
                    let mut encoder = file.encoder(memory);
                    loop {
                        let at = next.fetch_add(1, Relaxed);
                        let Some(split) = splits.get(at) else { break };
                        let mut reader = scan.open(split, memory)?;
                        while let Some(batch) = reader.next()? {
                            encoder.write(&batch)?;
                            if encoder.is_full()
                                && let Some(group) = encoder.close()?
                            {
                                file.append(at as u64, group)?;
                            }
                        }
                    }
                    if let Some(group) = encoder.close()? {
                        file.append(u64::MAX, group)?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err("a worker panicked".into())))
    })?;
    let written = file.finish()?;
    report("decode and encode, all columns", start, written.rows * input.schema().fields().len() as u64);
    println!("{:40} {} bytes of {}", "", written.bytes, input.bytes());
    std::fs::remove_file(path)?;
    Ok(())
}

/// Splitting text into lines and words.
fn words(path: &PathBuf, threads: usize, memory: &Reservation) -> Outcome<()> {
    let input = RecordInput::open(std::slice::from_ref(path), &Format::Text(Default::default()))?;
    let splits = input.splits()?;
    let (next, count) = (AtomicUsize::new(0), AtomicU64::new(0));
    for what in ["lines", "words"] {
        let start = Instant::now();
        next.store(0, Relaxed);
        count.store(0, Relaxed);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| -> Outcome<()> {
                        while let Some(split) = splits.get(next.fetch_add(1, Relaxed)) {
                            input.lines(split, memory)?.for_each_block(|block| {
                                let found = match what {
                                    "lines" => lines(block).count(),
                                    _ => lines(block).map(|l| l.split_ascii_whitespace().count()).sum(),
                                };
                                count.fetch_add(found as u64, Relaxed);
                                Ok(())
                            })?;
                        }
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err("a worker panicked".into())))
        })?;
        report(what, start, count.load(Relaxed));
    }
    Ok(())
}
