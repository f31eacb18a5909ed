//! Files that are malformed, exotic or hostile end in records or in an error that names them.
//!
//! Truncated and damaged files are made here. With `FLUVIAL_DATA` set to a folder, every Parquet, CSV and JSON file
//! below it is read as well: the `parquet-testing` and `arrow-testing` collections with their fuzzing crashers,
//! `csv-spectrum`, `JSONTestSuite`.

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use fluvial_core::io::{CsvOptions, Format, JsonOptions, RecordInput, ScanOptions, TableInput, WriteOptions, create};
use fluvial_memory::{MemoryManager, Reservation};
use serde_json::Value;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn memory() -> Reservation {
    MemoryManager::new(256 << 20).unwrap().reserve("test", 0).unwrap()
}

/// Rows of a table, or the error; a panic is a failure of the test.
fn rows(path: &Path, format: &Format) -> fluvial_core::Result<u64> {
    let read = || {
        let input = TableInput::open(&[path.to_owned()], format)?;
        let scan = input.plan(&ScanOptions::default())?;
        let charge = memory();
        let mut rows = 0;
        for split in scan.splits() {
            let mut reader = scan.open(&split, &charge)?;
            while let Some(batch) = reader.next()? {
                rows += batch.num_rows() as u64;
            }
        }
        Ok(rows)
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| panic!("{} caused a panic", path.display()))
}

/// Files of the collections that are not what they are said to be.
const EXCEPTIONS: [(&str, &str); 4] = [
    ("location_coordinates.csv", "the expected JSON has another telephone number"),
    ("n_structure_UTF8_BOM_no_data.json", "an empty file of lines"),
    ("ARROW-GH-43605.parquet", "indices of no bits are what a dictionary of one entry needs"),
    ("large_string_map.brotli.parquet", "two values of a GiB each"),
];

/// What the parquet crate's own reader makes of a file.
fn reference(path: &Path) -> Result<u64, String> {
    let read = || -> Result<u64, Box<dyn std::error::Error>> {
        let file = std::fs::File::open(path)?;
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)?.build()?;
        let mut rows = 0;
        for batch in reader {
            rows += batch?.num_rows() as u64;
        }
        Ok(rows)
    };
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| "a panic".to_owned())?.map_err(|e| e.to_string())
}

/// Says nothing of panics in other code than this.
fn quiet() {
    std::panic::set_hook(Box::new(|panic| {
        if panic.location().is_some_and(|l| l.file() == file!()) {
            eprintln!("{panic}");
        }
    }));
}

fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn damaged_parquet_is_an_error_or_other_values() {
    quiet();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let numbers: ArrayRef = Arc::new((0..2000i64).map(|i| (i % 3 != 0).then_some(i)).collect::<Int64Array>());
    let words: ArrayRef = Arc::new((0..2000).map(|i| Some(format!("word {}", i % 50))).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter([("n", numbers), ("w", words)]).unwrap();
    for compression in ["snappy", "zstd", "gzip", "lz4", "none"] {
        let options = WriteOptions { compression: compression.parse().unwrap(), ..WriteOptions::default() };
        let mut writer = create(&path, &Format::Parquet, batch.schema(), &options, &memory()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let good = std::fs::read(&path).unwrap();
        assert_eq!(rows(&path, &Format::Parquet).unwrap(), 2000);
        for at in (0..good.len()).step_by(97) {
            std::fs::write(&path, &good[..at]).unwrap();
            let error = rows(&path, &Format::Parquet).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            for damage in [0x00, 0xff, good[at] ^ 0x10] {
                let mut bad = good.clone();
                bad[at] = damage;
                std::fs::write(&path, bad).unwrap();
                if let Err(error) = rows(&path, &Format::Parquet) {
                    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
                }
            }
        }
    }
    assert!(peak() < 1 << 30, "{} bytes resident", peak());
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn collections_of_hostile_files() {
    let Some(folder) = std::env::var_os("FLUVIAL_DATA") else { return };
    quiet();
    let mut found = Vec::new();
    files(Path::new(&folder), &mut found);
    found.sort();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    let mut failures = Vec::new();
    for path in &found {
        let text = path.to_string_lossy();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if EXCEPTIONS.iter().any(|(exception, _)| *exception == name) {
            continue;
        }
        let before = peak();
        if text.contains("/parquet/") || name.ends_with(".parquet") || name.ends_with(".parquet.encrypted") {
            let (ours, theirs) = (rows(path, &Format::Parquet), reference(path));
            *counts.entry(if ours.is_ok() { "Parquet read" } else { "Parquet refused" }).or_default() += 1;
            match (&ours, &theirs) {
                (Ok(ours), Ok(theirs)) if ours != theirs => failures.push(format!("{text}: {ours} rows, expected {theirs}")),
                (Err(ours), Ok(theirs)) => failures.push(format!("{ours} (arrow reads {theirs} rows)")),
                _ => {}
            }
            if text.contains("bad_data") && ours.is_ok() && !name.ends_with(".md") {
                failures.push(format!("{text}: malformed, but read"));
            }
            if let Err(error) = &ours
                && !error.to_string().starts_with(text.as_ref())
            {
                failures.push(format!("{text}: the error does not name it: {error}"));
            }
        } else if text.contains("csv-spectrum/csvs/") {
            *counts.entry("csv-spectrum").or_default() += 1;
            if let Err(message) = spectrum(path) {
                failures.push(format!("{text}: {message}"));
            }
        } else if text.contains("/csv/") {
            *counts.entry("CSV").or_default() += 1;
            let _ = rows(path, &Format::Csv(CsvOptions::default()));
        } else if name.ends_with(".json") {
            *counts.entry("JSON").or_default() += 1;
            let json = Format::JsonLines(JsonOptions::default());
            let table = rows(path, &json);
            let records = catch_unwind(AssertUnwindSafe(|| values(path))).unwrap_or_else(|_| panic!("{text} caused a panic"));
            let one_line = std::fs::read(path).unwrap().trim_ascii().iter().all(|b| *b != b'\n');
            if name.starts_with("n_")
                && (table.is_ok() || records.is_ok())
                && !std::fs::read(path).unwrap().trim_ascii().is_empty()
            {
                failures.push(format!("{text}: not JSON, but read as {table:?}, {records:?}"));
            }
            if name.starts_with("y_") && one_line && records.is_err() {
                failures.push(format!("{text}: JSON, but {records:?}"));
            }
        }
        if peak() > before + (256 << 20) {
            failures.push(format!("{text}: {} MiB more resident", (peak() - before) >> 20));
        }
    }
    eprintln!("{counts:?}, {} MiB at most", peak() >> 20);
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn values(path: &Path) -> fluvial_core::Result<usize> {
    let input = RecordInput::open(&[path.to_owned()], &Format::JsonLines(JsonOptions::default()))?;
    let mut values: Vec<Value> = Vec::new();
    for split in input.splits()? {
        let mut reader = input.records(&split, &memory())?;
        while reader.read(&mut values, 100)? > 0 {}
    }
    Ok(values.len())
}

fn spectrum(path: &Path) -> Result<(), String> {
    let json = path.parent().unwrap().parent().unwrap().join("json").join(path.file_name().unwrap()).with_extension("json");
    let expected = match serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap() {
        Value::Array(records) => records,
        one => vec![one],
    };
    let text = |record: Value| -> HashMap<String, String> {
        let Value::Object(fields) = record else { panic!("an expected record is not an object") };
        fields.into_iter().map(|(k, v)| (k, v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect()
    };
    let expected: Vec<_> = expected.into_iter().map(text).collect();
    let input = RecordInput::open(&[path.to_owned()], &Format::Csv(CsvOptions::default())).map_err(|e| e.to_string())?;
    let mut records: Vec<HashMap<String, String>> = Vec::new();
    for split in input.splits().map_err(|e| e.to_string())? {
        let mut reader = input.records(&split, &memory()).map_err(|e| e.to_string())?;
        while reader.read(&mut records, 100).map_err(|e| e.to_string())? > 0 {}
    }
    if records != expected {
        return Err(format!("found {records:?}, expected {expected:?}"));
    }
    let table = rows(path, &Format::Csv(CsvOptions::default())).map_err(|e| e.to_string())?;
    if table == expected.len() as u64 { Ok(()) } else { Err(format!("{table} rows")) }
}
