//! Parquet files written by several workers and read back under projections and predicates.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use fluvial_core::io::{
    ColumnPredicate, Compression, Format, ParquetFile, PredicateOp, ScanOptions, TableInput, WriteOptions, create,
};
use fluvial_core::{Error, Position};
use fluvial_memory::{MemoryManager, Reservation};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn memory() -> Reservation {
    MemoryManager::new(64 << 20).unwrap().reserve("test", 0).unwrap()
}

fn table(ids: impl Iterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let values: ArrayRef = Arc::new(ids.iter().map(|i| (i % 7 != 0).then_some(*i as f64 / 3.0)).collect::<Float64Array>());
    let names: ArrayRef =
        Arc::new(ids.iter().map(|i| (i % 5 != 0).then(|| format!("name {}", i % 100))).collect::<StringArray>());
    let ids: ArrayRef = Arc::new(Int64Array::from(ids));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("value", values, true), ("name", names, true)]).unwrap()
}

fn read(paths: &[PathBuf], options: &ScanOptions) -> RecordBatch {
    let input = TableInput::open(paths, &Format::Parquet).unwrap();
    let scan = input.plan(options).unwrap();
    let charge = memory();
    let mut batches = Vec::new();
    for split in scan.splits() {
        let mut reader = scan.open(&split, &charge).unwrap();
        while let Some(batch) = reader.next().unwrap() {
            assert!(batch.num_rows() > 0);
            batches.push(batch);
        }
    }
    assert_eq!(charge.used(), 0, "a reader that ended holds nothing");
    concat_batches(scan.schema(), &batches).unwrap()
}

fn write(path: &Path, batch: &RecordBatch, options: &WriteOptions, rows: usize) {
    let mut writer = create(path, &Format::Parquet, batch.schema(), options, &memory()).unwrap();
    for first in (0..batch.num_rows()).step_by(rows) {
        writer.write(&batch.slice(first, rows.min(batch.num_rows() - first))).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.rows, batch.num_rows() as u64);
    assert_eq!(written.bytes, path.metadata().unwrap().len());
}

#[test]
fn what_is_written_is_read_under_every_compression() {
    let folder = tempfile::tempdir().unwrap();
    let batch = table(0..30_000);
    for compression in ["none", "snappy", "lz4", "zstd", "gzip:1", "brotli:1"] {
        let path = folder.path().join("t.parquet");
        let options =
            WriteOptions { compression: compression.parse().unwrap(), row_group_bytes: 50_000, ..WriteOptions::default() };
        write(&path, &batch, &options, 1000);
        let input = TableInput::open(std::slice::from_ref(&path), &Format::Parquet).unwrap();
        assert_eq!(input.rows(), Some(30_000));
        assert!(input.plan(&ScanOptions::default()).unwrap().splits().len() > 3);
        assert_eq!(read(&[path], &ScanOptions::default()), batch);
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(Compression::Snappy, WriteOptions::default().compression);
}

#[test]
fn row_groups_appended_in_any_order_are_listed_in_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ordered.parquet");
    let whole = table(0..40_000);
    let file = ParquetFile::create(&path, whole.schema(), &WriteOptions::default()).unwrap();
    let charge = memory();
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let (file, whole, charge) = (file.clone(), &whole, &charge);
            scope.spawn(move || {
                let mut encoder = file.encoder(charge);
                // Ranges of ten row groups of 1000 rows, the last first.
                for sequence in (0..10).rev() {
                    encoder.write(&whole.slice((worker * 10 + sequence) as usize * 1000, 1000)).unwrap();
                    let group = encoder.close().unwrap().unwrap();
                    file.append_at(Position { range: worker, sequence, last: sequence == 9 }, group).unwrap();
                }
                assert!(encoder.close().unwrap().is_none());
            });
        }
    });
    assert_eq!(charge.used(), 0);
    let written = file.finish().unwrap();
    assert_eq!((written.rows, written.bytes), (40_000, path.metadata().unwrap().len()));
    assert_eq!(read(std::slice::from_ref(&path), &ScanOptions::default()), whole);
    // The page index moved with its row groups.
    let one = ScanOptions {
        predicates: vec![ColumnPredicate::new(0, PredicateOp::Eq, Arc::new(Int64Array::from(vec![31_234])))],
        ..ScanOptions::default()
    };
    assert_eq!(read(std::slice::from_ref(&path), &one), whole.slice(31_234, 1));
    assert!(matches!(file.finish(), Err(Error::File { .. })));
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let batch = table(0..10);
    for name in ["t.parquet", "t.csv", "t.jsonl"] {
        let path = folder.path().join(name);
        let mut writer = create(&path, &Format::of(&path).unwrap(), batch.schema(), &WriteOptions::default(), &memory()).unwrap();
        writer.write(&batch).unwrap();
        drop(writer);
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let missing = folder.path().join("no/such/t.parquet");
    let error = ParquetFile::create(&missing, batch.schema(), &WriteOptions::default()).err().unwrap();
    assert_eq!(error.to_string(), format!("{}: the folder does not exist", missing.display()));
}

#[test]
fn projections_reorder_repeat_and_may_be_empty() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let batch = table(0..5000);
    write(&path, &batch, &WriteOptions { row_group_bytes: 10_000, ..WriteOptions::default() }, 1000);
    let columns = |projection: Vec<usize>| ScanOptions { projection: Some(projection), ..ScanOptions::default() };
    let paths = [path];
    assert_eq!(read(&paths, &columns(vec![2, 0])), batch.project(&[2, 0]).unwrap());
    assert_eq!(read(&paths, &columns(vec![1, 1])), batch.project(&[1, 1]).unwrap());
    let input = TableInput::open(&paths, &Format::Parquet).unwrap();
    let scan = input.plan(&columns(vec![])).unwrap();
    let mut rows = 0;
    for split in scan.splits() {
        let mut reader = scan.open(&split, &memory()).unwrap();
        while let Some(batch) = reader.next().unwrap() {
            rows += batch.num_rows();
        }
    }
    assert_eq!(rows, 5000);
    assert!(matches!(input.plan(&columns(vec![3])), Err(Error::Plan(_))));
}

#[test]
fn a_split_goes_on_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let batch = table(0..10_000);
    write(&path, &batch, &WriteOptions::default(), 10_000);
    let options = ScanOptions { predicates: vec![ColumnPredicate::is_not_null(1)], batch_rows: 700, ..ScanOptions::default() };
    let input = TableInput::open(std::slice::from_ref(&path), &Format::Parquet).unwrap();
    let scan = input.plan(&options).unwrap();
    let mut split = scan.splits().pop().unwrap();
    let mut batches = Vec::new();
    // A new reader for every batch.
    loop {
        let mut reader = scan.open(&split, &memory()).unwrap();
        let Some(batch) = reader.next().unwrap() else { break };
        batches.push(batch);
        split.skip = reader.position();
    }
    let expected = filter_record_batch(&batch, &arrow::compute::is_not_null(batch.column(1)).unwrap()).unwrap();
    assert_eq!(concat_batches(scan.schema(), &batches).unwrap(), expected);
}

#[test]
fn files_that_differ_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.parquet"), folder.path().join("b.parquet"));
    write(&a, &table(0..10), &WriteOptions::default(), 10);
    let other = RecordBatch::try_from_iter([("id", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]).unwrap();
    write(&b, &other, &WriteOptions::default(), 10);
    let error = TableInput::open(&[a.clone(), b.clone()], &Format::Parquet).err().unwrap().to_string();
    assert_eq!(error, format!("{}: column `id`: expected Int64 as in {}, found Utf8", b.display(), a.display()));
    std::fs::write(&b, "PAR1 this is not Parquet").unwrap();
    let error = TableInput::open(&[a, b.clone()], &Format::Parquet).err().unwrap().to_string();
    assert!(error.starts_with(&b.display().to_string()), "{error}");
}

/// A table of many columns, read where the memory is too small to decode them side by side.
#[test]
fn wide_row_groups_are_read_in_stripes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.parquet");
    let rows = 6000u64;
    let columns = (0..100u64).map(|column| -> (String, ArrayRef) {
        let numbers = (0..rows).map(move |row| row.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(column << 40) as i64);
        match column % 3 {
            0 => (format!("s{column}"), Arc::new(numbers.map(|n| (n % 7 != 0).then(|| n.to_string())).collect::<StringArray>())),
            _ => (format!("n{column}"), Arc::new(numbers.map(|n| n >> 8).collect::<Int64Array>())),
        }
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
    let out = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(out, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let charge = MemoryManager::new(2 << 20).unwrap().reserve("test", 0).unwrap();
    let input = TableInput::open(std::slice::from_ref(&path), &Format::Parquet).unwrap();
    let predicates =
        vec![ColumnPredicate::new(1, PredicateOp::Gt, Arc::new(Int64Array::from(vec![0]))), ColumnPredicate::is_not_null(3)];
    for predicates in [vec![], predicates] {
        let expected = match predicates.as_slice() {
            [] => batch.clone(),
            _ => {
                let positive = arrow::compute::kernels::cmp::gt(batch.column(1), &Int64Array::new_scalar(0)).unwrap();
                let present = arrow::compute::is_not_null(batch.column(3)).unwrap();
                filter_record_batch(&batch, &arrow::compute::and(&positive, &present).unwrap()).unwrap()
            }
        };
        let scan = input.plan(&ScanOptions { predicates, batch_rows: 100, ..ScanOptions::default() }).unwrap();
        let mut batches = Vec::new();
        for split in scan.splits() {
            let mut reader = scan.open(&split, &charge).unwrap();
            while let Some(batch) = reader.next().unwrap() {
                assert!(batch.num_rows() <= 100);
                assert!(charge.used() > 0 && charge.peak() * fluvial_memory::SEGMENT_SIZE <= 2 << 20);
                batches.push(batch);
            }
        }
        assert_eq!(concat_batches(scan.schema(), &batches).unwrap(), expected);
        assert_eq!(charge.used(), 0);
    }
}

/// The same question asked of every row by itself.
fn naive(batch: &RecordBatch, predicates: &[ColumnPredicate]) -> RecordBatch {
    let keep: arrow_array::BooleanArray = (0..batch.num_rows())
        .map(|row| {
            Some(predicates.iter().all(|p| {
                let ordering = |value: usize| -> Option<std::cmp::Ordering> {
                    let column = batch.column(p.column);
                    if column.is_null(row) {
                        return None;
                    }
                    Some(match p.column {
                        0 => {
                            column.as_primitive::<Int64Type>().value(row).cmp(&p.values.as_primitive::<Int64Type>().value(value))
                        }
                        1 => {
                            let (a, b) = (
                                column.as_primitive::<Float64Type>().value(row),
                                p.values.as_primitive::<Float64Type>().value(value),
                            );
                            a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
                        }
                        _ => column.as_string::<i32>().value(row).cmp(p.values.as_string::<i32>().value(value)),
                    })
                };
                match p.op {
                    PredicateOp::IsNull => batch.column(p.column).is_null(row),
                    PredicateOp::IsNotNull => batch.column(p.column).is_valid(row),
                    PredicateOp::In => (0..p.values.len()).any(|v| ordering(v).is_some_and(|o| o.is_eq())),
                    op => ordering(0).is_some_and(|o| match op {
                        PredicateOp::Lt => o.is_lt(),
                        PredicateOp::LtEq => o.is_le(),
                        PredicateOp::Eq => o.is_eq(),
                        PredicateOp::GtEq => o.is_ge(),
                        PredicateOp::Gt => o.is_gt(),
                        _ => o.is_ne(),
                    }),
                }
            }))
        })
        .collect();
    filter_record_batch(batch, &keep).unwrap()
}

fn predicate() -> impl Strategy<Value = ColumnPredicate> {
    use PredicateOp::*;
    let ops = prop::sample::select(vec![Lt, LtEq, Eq, GtEq, Gt, NotEq, IsNull, IsNotNull, In]);
    (0..3usize, ops, prop::collection::vec(-3..40i64, 1..5)).prop_map(|(column, op, seeds)| {
        let count = if op == In { seeds.len() } else { 1 };
        let seeds = &seeds[..count];
        let float = |s: &i64| match s {
            -3 => f64::NAN,
            -2 => -0.0,
            s => *s as f64,
        };
        let values: ArrayRef = match column {
            0 => Arc::new(seeds.iter().map(|s| s * 50).collect::<Int64Array>()),
            1 => Arc::new(seeds.iter().map(float).collect::<Float64Array>()),
            _ => Arc::new(seeds.iter().map(|s| Some(format!("k{}", s / 3))).collect::<StringArray>()),
        };
        ColumnPredicate::new(column, op, values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn predicates_select_what_a_naive_filter_selects(
        rows in prop::collection::vec((0..2000i64, prop::option::of(-3..40i64), prop::option::of(0..12i64)), 1..800),
        sorted in any::<bool>(),
        bloom in any::<bool>(),
        predicates in prop::collection::vec(predicate(), 1..4),
        projection in prop::collection::vec(0..3usize, 0..4),
    ) {
        let mut rows = rows;
        if sorted {
            rows.sort_unstable();
        }
        let float = |s: i64| match s { -3 => f64::NAN, -2 => -0.0, -1 => 0.0, s => s as f64 };
        let ids: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>());
        let values: ArrayRef = Arc::new(rows.iter().map(|r| r.1.map(float)).collect::<Float64Array>());
        let names: ArrayRef = Arc::new(rows.iter().map(|r| r.2.map(|n| format!("k{n}"))).collect::<StringArray>());
        let batch =
            RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("value", values, true), ("name", names, true)]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        // Small pages and row groups, as the engine's own writer would never make them.
        let properties = parquet::file::properties::WriterProperties::builder()
            .set_max_row_group_row_count(Some(300))
            .set_data_page_row_count_limit(50)
            .set_write_batch_size(50)
            .set_bloom_filter_enabled(bloom)
            .build();
        let out = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(out, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let expected = naive(&batch, &predicates).project(&projection).unwrap();
        let options = ScanOptions { projection: Some(projection), predicates, batch_rows: 77 };
        let input = TableInput::open(std::slice::from_ref(&path), &Format::Parquet).unwrap();
        let scan = input.plan(&options).unwrap();
        let charge = memory();
        let mut batches = Vec::new();
        let mut rows = 0;
        for split in scan.splits() {
            let mut reader = scan.open(&split, &charge).unwrap();
            while let Some(batch) = reader.next().unwrap() {
                rows += batch.num_rows();
                batches.push(batch);
            }
        }
        prop_assert_eq!(rows, expected.num_rows());
        if !expected.columns().is_empty() {
            prop_assert_eq!(concat_batches(scan.schema(), &batches).unwrap(), expected);
        }
    }
}
