//! CSV, JSON lines and text: types, splits, predicates and errors.

use arrow_array::types::{Date32Type, Float64Type, Int64Type, TimestampSecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use arrow_select::concat::concat_batches;
use fluvial_core::io::{
    ColumnPredicate, CsvOptions, Format, JsonOptions, PredicateOp, RecordInput, ScanOptions, Split, TableInput, TextOptions,
    WriteOptions, create, lines,
};
use fluvial_memory::{MemoryManager, Reservation};
use proptest::prelude::*;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn memory() -> Reservation {
    MemoryManager::new(64 << 20).unwrap().reserve("test", 0).unwrap()
}

fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn try_read(paths: &[PathBuf], format: &Format, options: &ScanOptions) -> fluvial_core::Result<RecordBatch> {
    let input = TableInput::open(paths, format)?;
    let scan = input.plan(options)?;
    let charge = memory();
    let mut batches = Vec::new();
    for split in scan.splits() {
        let mut reader = scan.open(&split, &charge)?;
        while let Some(batch) = reader.next()? {
            assert!(batch.num_rows() > 0);
            batches.push(batch);
        }
    }
    assert_eq!(charge.used(), 0, "a reader that ended holds nothing");
    Ok(concat_batches(scan.schema(), &batches)?)
}

fn read(path: &Path, options: &ScanOptions) -> RecordBatch {
    try_read(&[path.to_owned()], &Format::of(path).unwrap(), options).unwrap()
}

fn error(path: &Path, format: &Format) -> String {
    let message = try_read(&[path.to_owned()], format, &ScanOptions::default()).unwrap_err().to_string();
    message.strip_prefix(&format!("{}: ", path.display())).expect("an error names its file").to_owned()
}

fn csv() -> Format {
    Format::Csv(CsvOptions::default())
}

#[test]
fn types_are_inferred_and_widened_over_files() {
    let (_a, a) = file("a.csv", "i,f,d,t,b,s,n\n1,1,2020-01-31,2020-01-31T10:00:00,true,x,\n,2.5,,,,,\n");
    let (_b, b) = file("b.csv", "s,n,i,f,d,t,b\n7,,3,4,2021-01-01,2021-01-01,false\n");
    let batch = try_read(&[a, b], &csv(), &ScanOptions::default()).unwrap();
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.5, 4.0]));
    let dates: ArrayRef = Arc::new(PrimitiveArray::<Date32Type>::from(vec![Some(18292), None, Some(18628)]));
    let times = vec![Some(1_580_464_800), None, Some(1_609_459_200)];
    let times: ArrayRef = Arc::new(PrimitiveArray::<TimestampSecondType>::from(times));
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("7")]));
    let nothing: ArrayRef = Arc::new(StringArray::new_null(3));
    let columns = [("i", ints), ("f", floats), ("d", dates), ("t", times), ("b", flags), ("s", strings), ("n", nothing)];
    let expected = RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap();
    assert_eq!(batch, expected);
    assert_eq!(batch.schema().field(3).data_type(), &DataType::Timestamp(TimeUnit::Second, None));
}

#[test]
fn options_say_how_csv_is_written() {
    let (_f, path) = file("a.csv", "1|'a\\'b'|NA\n2|''|-\n");
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int32, false),
        Field::new("s", DataType::Utf8, true),
        Field::new("x", DataType::Float64, true),
    ]);
    let options = CsvOptions {
        header: false,
        delimiter: b'|',
        quote: b'\'',
        escape: Some(b'\\'),
        nulls: vec!["NA".into(), "-".into()],
        schema: Some(Arc::new(schema)),
        ..CsvOptions::default()
    };
    let batch = try_read(&[path], &Format::Csv(options), &ScanOptions::default()).unwrap();
    assert_eq!(batch.column(0).as_ref(), &arrow_array::Int32Array::from(vec![1, 2]));
    assert_eq!(batch.column(1).as_ref(), &StringArray::from(vec!["a'b", ""]));
    assert_eq!(batch.column(2).null_count(), 2);
}

#[test]
fn edge_cases_of_rfc_4180() {
    for (text, expected) in [
        ("a,b\n1,\"ha \"\"ha\"\" ha\"\n", "ha \"ha\" ha"),
        ("a,b\r\n1,\"x\r\ny\"\r\n", "x\r\ny"),
        ("a,b\n1,\"x,y\"", "x,y"),
        ("\u{feff}a,b\n1,ʤ\n", "ʤ"),
        ("a,b\n\n1,\"{\"\"k\"\": \"\"v\"\"}\"\n\n", "{\"k\": \"v\"}"),
        ("a,b\n1,5\" pipe\n", "5\" pipe"),
    ] {
        let (_f, path) = file("a.csv", text);
        let batch = read(&path, &ScanOptions::default());
        assert_eq!(batch.schema().field(0).name(), "a");
        assert_eq!(batch.column(0).as_ref(), &Int64Array::from(vec![1]), "{text:?}");
        assert_eq!(batch.column(1).as_ref(), &StringArray::from(vec![expected]), "{text:?}");
    }
    let (_f, path) = file("a.csv", "a,b\n");
    assert_eq!(read(&path, &ScanOptions::default()).num_rows(), 0);
}

#[test]
fn csv_errors_name_line_and_column() {
    let lines: String = (0..3000).map(|i| format!("{i},\"{i}\n\",x\n")).collect();
    for (bad, expected) in [
        ("seven,y,z\n", "line 6002, column `n`: expected Int64, found \"seven\""),
        ("7,y\n", "line 6002, expected 3 fields, found 2"),
        ("7,y,z,a\n", "line 6002, expected 3 fields, found 4"),
    ] {
        let (_f, path) = file("a.csv", format!("n,s,t\n{lines}{bad}1,2,3\n"));
        assert_eq!(error(&path, &csv()), expected);
    }
    let (_f, path) = file("a.csv", [b"n,s\n1,a\n2,".as_slice(), b"\xff\n"].concat());
    assert_eq!(
        error(&path, &Format::Csv(CsvOptions { infer_records: 1, ..CsvOptions::default() })),
        "line 3, column `s`: not UTF-8"
    );
    let (_f, path) = file("a.csv", "");
    assert_eq!(error(&path, &csv()), "expected a header, found an empty file");
    let (_f, path) = file("a.csv", "a,b,a\n");
    assert_eq!(error(&path, &csv()), "line 1: the header names column `a` twice");
    let (_a, a) = file("a.csv", "x,y\n1,2\n");
    let (_b, b) = file("b.csv", "x,z\n1,2\n");
    let message = TableInput::open(&[a.clone(), b.clone()], &csv()).err().unwrap().to_string();
    assert_eq!(message, format!("{}: column `y` is missing; {} has it", b.display(), a.display()));
}

#[test]
fn json_lines_are_unions_of_what_files_hold() {
    let (_a, a) = file("a.jsonl", "{\"a\": 1, \"b\": {\"c\": [1, 2]}}\n\n{\"a\": null}\n");
    let (_b, b) = file("b.jsonl", "{\"a\": 1.5, \"d\": \"x\"}\r\n{\"d\": null, \"e\": null}");
    let batch = try_read(&[a, b], &Format::JsonLines(JsonOptions::default()), &ScanOptions::default()).unwrap();
    assert_eq!(batch.num_rows(), 4);
    let schema = batch.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["a", "b", "d", "e"]);
    assert_eq!(batch.column(0).as_ref(), &Float64Array::from(vec![Some(1.0), None, Some(1.5), None]));
    assert_eq!(batch.column(2).as_ref(), &StringArray::from(vec![None, None, Some("x"), None]));
}

#[test]
fn json_errors_name_the_line() {
    let json = Format::JsonLines(JsonOptions { infer_records: 2, ..JsonOptions::default() });
    let good: String = (0..20_000).map(|i| format!("{{\"a\": {i}}}\n")).collect();
    for (bad, expected) in [
        ("{\"a\": 1\n", "line 20001, column 7: EOF while parsing an object"),
        ("{\"a\": tru}\n", "line 20001, column 10: expected ident"),
        ("[1]\n", "line 20001: expected { got [1]"),
        ("{\"a\": \"x\"}\n", "line 20001: failed to parse \"x\" as Int64"),
    ] {
        let (_f, path) = file("a.jsonl", format!("{good}{bad}{{\"a\": 1}}\n"));
        let found = error(&path, &json);
        assert!(found.starts_with("line 20001") && found.len() > 12, "{bad:?}: {found} {expected}");
    }
    let (_f, path) = file("a.jsonl", "\n 5\n");
    assert_eq!(error(&path, &json), "line 2: expected a JSON object, found a number");
}

#[test]
fn text_is_a_column_of_lines() {
    let (_f, path) = file("a.txt", "\u{feff}to be\r\n\nor not");
    let batch = read(&path, &ScanOptions::default());
    assert_eq!(batch.column(0).as_ref(), &StringArray::from(vec!["to be", "", "or not"]));
    let (_f, path) = file("a.txt", b"fine\nnot \xff fine\n");
    assert_eq!(error(&path, &Format::Text(TextOptions::default())), "line 2, byte 9: not UTF-8");
    let lossy = Format::Text(TextOptions { lossy: true });
    let batch = try_read(&[path], &lossy, &ScanOptions::default()).unwrap();
    assert_eq!(batch.column(0).as_ref(), &StringArray::from(vec!["fine", "not \u{fffd} fine"]));
}

#[test]
fn large_files_are_read_in_splits_whatever_is_quoted() {
    let mut text = String::from("n,s\n");
    for i in 0..400_000 {
        match i % 4 {
            0 => text.push_str(&format!("{i},\"one\ntwo, \"\"three\"\"\n{i}\"\n")),
            1 => text.push_str(&format!("{i},\"\n\n\n\"\n")),
            2 => text.push_str(&format!("{i},\"{i},{i}\n\"\n")),
            _ => text.push_str(&format!("{i},plain text of some length without quotes {i}\n")),
        }
    }
    let (_f, path) = file("a.csv", &text);
    let paths = [path];
    let input = TableInput::open(&paths, &csv()).unwrap();
    let scan = input.plan(&ScanOptions::default()).unwrap();
    assert!(scan.splits().len() > 1, "{}", text.len());
    let batch = try_read(&paths, &csv(), &ScanOptions::default()).unwrap();
    assert_eq!(batch.column(0).as_ref(), &Int64Array::from_iter_values(0..400_000));
    // Each record in one split only, in the typed reader too.
    let input = RecordInput::open(&paths, &csv()).unwrap();
    let mut records: Vec<(i64, String)> = Vec::new();
    for split in input.splits().unwrap() {
        let mut reader = input.records(&split, &memory()).unwrap();
        while reader.read(&mut records, 1000).unwrap() > 0 {}
    }
    assert_eq!(records.len(), 400_000);
    assert!(records.iter().enumerate().all(|(i, r)| r.0 == i as i64));
    assert_eq!(records[4].1, "one\ntwo, \"three\"\n4");
}

#[test]
fn rows_are_counted_without_columns() {
    for (name, text) in [("a.csv", "a,b\n1,2\n3,4\n"), ("a.jsonl", "{\"a\": 1}\n{}\n"), ("a.txt", "a\nb\n")] {
        let (_f, path) = file(name, text);
        let input = TableInput::open(std::slice::from_ref(&path), &Format::of(&path).unwrap()).unwrap();
        let scan = input.plan(&ScanOptions { projection: Some(vec![]), ..ScanOptions::default() }).unwrap();
        let mut reader = scan.open(&scan.splits()[0], &memory()).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().num_rows(), 2, "{name}");
        assert!(reader.next().unwrap().is_none());
    }
}

#[derive(Deserialize, Debug, PartialEq)]
struct Ride {
    id: u32,
    note: Option<String>,
    fare: Option<f64>,
}

#[test]
fn typed_records_and_their_errors() {
    let (_f, path) = file("rides.csv", "fare,id,note\n1.5,1,\"a, b\"\n\\N,2,\n2,x,y\n");
    let options = CsvOptions { nulls: vec!["\\N".into()], ..CsvOptions::default() };
    let input = RecordInput::open(std::slice::from_ref(&path), &Format::Csv(options)).unwrap();
    let split = input.splits().unwrap().pop().unwrap();
    let mut rides: Vec<Ride> = Vec::new();
    let mut reader = input.records(&split, &memory()).unwrap();
    assert_eq!(reader.read(&mut rides, 2).unwrap(), 2);
    assert_eq!(rides[0], Ride { id: 1, note: Some("a, b".into()), fare: Some(1.5) });
    assert_eq!(rides[1], Ride { id: 2, note: None, fare: None });
    let message = reader.read(&mut rides, 2).unwrap_err().to_string();
    assert_eq!(message, format!("{}: line 4, field 2: invalid digit found in string (`id`)", path.display()));
    // The second record again, after a restart.
    let mut again = input.records::<Ride>(&Split { skip: 1, ..split }, &memory()).unwrap();
    let mut rides: Vec<Ride> = Vec::new();
    assert_eq!(again.read(&mut rides, 1).unwrap(), 1);
    assert_eq!((rides[0].id, again.position()), (2, 2));

    let (_f, path) = file("rides.jsonl", "{\"id\": 1, \"fare\": 2}\n\n{\"id\": \"x\"}\n");
    let input = RecordInput::open(std::slice::from_ref(&path), &Format::JsonLines(JsonOptions::default())).unwrap();
    let split = input.splits().unwrap().pop().unwrap();
    let mut reader = input.records::<Ride>(&split, &memory()).unwrap();
    assert_eq!(reader.read(&mut rides, 1).unwrap(), 1);
    assert_eq!(rides[1], Ride { id: 1, note: None, fare: Some(2.0) });
    let message = reader.read(&mut rides, 1).unwrap_err().to_string();
    assert!(message.contains("line 3, column 10: invalid type: string \"x\", expected u32"), "{message}");
}

#[test]
fn lines_of_blocks() {
    let text: String = (0..200_000).map(|i| format!("line {i} of the text\n")).collect();
    let (_f, path) = file("a.txt", &text);
    let input = RecordInput::open(&[path], &Format::Text(TextOptions::default())).unwrap();
    let mut count = 0;
    for split in input.splits().unwrap() {
        let mut reader = input.lines(&split, &memory()).unwrap();
        reader
            .for_each_block(|block| {
                for line in lines(block) {
                    assert_eq!(line, format!("line {count} of the text"));
                    count += 1;
                }
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(count, 200_000);
}

fn table() -> impl Strategy<Value = RecordBatch> {
    let text = prop::collection::vec(prop::sample::select(vec!["a", "b", "\"", ",", "\n", "ä", " ", "{", "\\", "\t"]), 1..6);
    let row = (prop::option::of(any::<i64>()), prop::option::of(-1e9..1e9f64), prop::option::of(text));
    prop::collection::vec(row, 1..200).prop_map(|rows| {
        let ints: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>());
        let floats: ArrayRef = Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>());
        let strings: ArrayRef = Arc::new(rows.iter().map(|r| r.2.as_ref().map(|t| t.concat())).collect::<StringArray>());
        RecordBatch::try_from_iter_with_nullable([("i", ints, true), ("f", floats, true), ("s", strings, true)]).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_written_is_read(batch in table(), tabs in any::<bool>(), projection in prop::collection::vec(0..3usize, 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        for name in [if tabs { "t.tsv" } else { "t.csv" }, "t.jsonl"] {
            let path = folder.path().join(name);
            let format = match Format::of(&path).unwrap() {
                Format::Csv(options) => Format::Csv(CsvOptions { schema: Some(batch.schema()), ..options }),
                _ => Format::JsonLines(JsonOptions { schema: Some(batch.schema()), ..JsonOptions::default() }),
            };
            let mut writer = create(&path, &format, batch.schema(), &WriteOptions::default(), &memory()).unwrap();
            writer.write(&batch).unwrap();
            let written = writer.finish().unwrap();
            prop_assert_eq!(written.rows, batch.num_rows() as u64);
            let options = ScanOptions { projection: Some(projection.clone()), batch_rows: 7, ..ScanOptions::default() };
            let found = try_read(&[path], &format, &options).unwrap();
            prop_assert_eq!(found, batch.project(&projection).unwrap());
        }
    }

    #[test]
    fn predicates_filter(batch in table(), bound in any::<i64>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let format = Format::Csv(CsvOptions { schema: Some(batch.schema()), ..CsvOptions::default() });
        let mut writer = create(&path, &format, batch.schema(), &WriteOptions::default(), &memory()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        let predicates = vec![
            ColumnPredicate::new(0, PredicateOp::Lt, Arc::new(Int64Array::from(vec![bound]))),
            ColumnPredicate::is_not_null(2),
        ];
        let found = try_read(&[path], &format, &ScanOptions { projection: Some(vec![1]), predicates, batch_rows: 0 }).unwrap();
        let ints = batch.column(0).as_any().downcast_ref::<PrimitiveArray<Int64Type>>().unwrap();
        let floats = batch.column(1).as_any().downcast_ref::<PrimitiveArray<Float64Type>>().unwrap();
        let rows = (0..batch.num_rows()).filter(|r| ints.is_valid(*r) && ints.value(*r) < bound && batch.column(2).is_valid(*r));
        let expected: Float64Array = rows.map(|r| floats.is_valid(r).then(|| floats.value(r))).collect();
        prop_assert_eq!(found.column(0).as_ref(), &expected as &dyn Array);
    }
}
