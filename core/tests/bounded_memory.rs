//! Row groups of 128 MiB, of few columns and of many, are read and written again within the budget: resident memory
//! stays within it plus 96 MiB. Measured in processes of their own.

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use fluvial_core::io::{Format, ParquetFile, ScanOptions, TableInput, WriteOptions};
use fluvial_memory::MemoryManager;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const OVERHEAD: u64 = 96 << 20;

/// A file of one row group of about `bytes` bytes that do not compress.
fn create(path: &Path, columns: usize, bytes: usize) {
    let rows = bytes / columns / 8;
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 20
    };
    let mut batch = |rows: usize| {
        let columns = (0..columns).map(|column| -> (String, ArrayRef) {
            let values: Vec<u64> = (0..rows).map(|_| next()).collect();
            let column_of: ArrayRef = match column % 3 {
                0 => Arc::new(values.iter().map(|v| *v as i64).collect::<Int64Array>()),
                1 => Arc::new(values.iter().map(|v| *v as f64).collect::<Float64Array>()),
                _ => Arc::new(values.iter().map(|v| Some(format!("{:08x}", v & 0xffff_ffff))).collect::<StringArray>()),
            };
            (format!("c{column}"), column_of)
        });
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let first = batch(0);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).set_max_row_group_row_count(None).build();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), first.schema(), Some(properties)).unwrap();
    let mut left = rows;
    while left > 0 {
        let now = left.min(8192);
        writer.write(&batch(now)).unwrap();
        left -= now;
    }
    writer.close().unwrap();
}

/// Copies a file with two workers under a budget; what the child process does.
#[test]
fn copy() {
    let Some(task) = std::env::var_os("FLUVIAL_COPY") else { return };
    let budget: usize = std::env::var("FLUVIAL_BUDGET").unwrap().parse().unwrap();
    let path = PathBuf::from(task);
    let manager = MemoryManager::new(budget).unwrap();
    let (reading, writing) = (manager.reserve("read", 0).unwrap(), manager.reserve("write", 0).unwrap());
    let input = TableInput::open(std::slice::from_ref(&path), &Format::Parquet).unwrap();
    let scan = input.plan(&ScanOptions::default()).unwrap();
    let out = path.with_extension(format!("{budget}.parquet"));
    let file = ParquetFile::create(&out, scan.schema().clone(), &WriteOptions::default()).unwrap();
    let (splits, next) = (scan.splits(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut encoder = file.encoder(&writing);
                while let Some(split) = splits.get(next.fetch_add(1, Relaxed)) {
                    let mut reader = scan.open(split, &reading).unwrap();
                    while let Some(batch) = reader.next().unwrap() {
                        encoder.write(&batch).unwrap();
                        if encoder.is_full() {
                            file.append(0, encoder.close().unwrap().unwrap()).unwrap();
                        }
                    }
                }
                if let Some(group) = encoder.close().unwrap() {
                    file.append(0, group).unwrap();
                }
            });
        }
    });
    assert_eq!(file.finish().unwrap().rows, input.rows().unwrap());
    assert_eq!((reading.used(), writing.used()), (0, 0));
    std::fs::remove_file(out).unwrap();
    for usage in manager.usage() {
        eprintln!("{} at most {} MiB", usage.operator, usage.peak >> 20);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap().split_ascii_whitespace().nth(1).unwrap();
    let peak = peak.parse::<u64>().unwrap() << 10;
    eprintln!("{} MiB resident under {} MiB", peak >> 20, budget >> 20);
    assert!(peak <= budget as u64 + OVERHEAD, "{} MiB resident under {} MiB", peak >> 20, budget >> 20);
}

#[test]
fn large_row_groups_stay_within_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    for columns in [200, 12] {
        let path = folder.path().join(format!("{columns}.parquet"));
        create(&path, columns, 128 << 20);
        for budget in [64usize, 256] {
            let start = std::time::Instant::now();
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "copy", "--nocapture"])
                .env("FLUVIAL_COPY", &path)
                .env("FLUVIAL_BUDGET", (budget << 20).to_string())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&child.stderr);
            eprintln!("{columns} columns, {:.1} s: {}", start.elapsed().as_secs_f64(), said.trim().replace('\n', ", "));
            assert!(child.status.success(), "{said}");
        }
    }
}
