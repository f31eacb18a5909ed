use super::reader::RowReader;
use crate::{Config, Env, Error, Result};
use arrow_array::builder::{ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder};
use arrow_array::types::{Float64Type, Int8Type};
use arrow_array::*;
use arrow_buffer::i256;
use arrow_schema::DataType;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

fn read<T: DeserializeOwned>(batch: &RecordBatch) -> Result<Vec<T>> {
    let reader = RowReader::new::<T>(batch.schema_ref())?;
    let columns: Vec<_> = reader.columns.iter().map(|c| batch.schema_ref().index_of(c).unwrap()).collect();
    let mut values = Vec::new();
    let failed = |row: usize, message: String| Error::User(format!("row {row}: {message}"));
    reader.read(&batch.project(&columns).unwrap(), failed, |value| values.push(value))?;
    Ok(values)
}

/// The values of one column.
fn column<T: DeserializeOwned>(array: impl Array + 'static) -> Result<Vec<T>> {
    read(&batch([("c", Arc::new(array))]))
}

fn message<T: DeserializeOwned + std::fmt::Debug>(array: impl Array + 'static) -> String {
    column::<T>(array).unwrap_err().to_string()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    name: String,
    age: u8,
    height: Option<f64>,
}

fn people() -> RecordBatch {
    batch([
        ("height", Arc::new(Float64Array::from(vec![Some(1.7), None]))),
        ("unused", Arc::new(Int32Array::from(vec![1, 2]))),
        ("age", Arc::new(Int64Array::from(vec![36, 41]))),
        ("name", Arc::new(StringViewArray::from(vec!["Ada", "Alan"]))),
    ])
}

#[test]
fn columns_go_to_fields_by_name_and_to_tuples_by_position() {
    let person = |name: &str, age, height| Person { name: name.into(), age, height };
    let expected = vec![person("Ada", 36, Some(1.7)), person("Alan", 41, None)];
    assert_eq!(read::<Person>(&people()).unwrap(), expected);
    let tuples = read::<(Option<f32>, i8, u64, String)>(&people()).unwrap();
    assert_eq!(tuples[1], (None, 2, 41, "Alan".to_string()));
    let maps = read::<BTreeMap<String, serde_json::Value>>(&people()).unwrap();
    assert_eq!(maps[1]["age"], 41);
    assert_eq!(maps[1]["height"], serde_json::Value::Null);
    assert_eq!(read::<serde_json::Value>(&people()).unwrap()[0]["name"], "Ada");
}

#[test]
fn what_serde_does_to_names_holds() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Renamed {
        #[serde(rename = "name")]
        who: String,
        #[serde(skip)]
        cache: u64,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Aliased {
        #[serde(alias = "name", alias = "title")]
        label: String,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Flat {
        age: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, serde_json::Value>,
    }
    assert_eq!(read::<Renamed>(&people()).unwrap()[0], Renamed { who: "Ada".into(), cache: 0 });
    assert_eq!(read::<Aliased>(&people()).unwrap()[1], Aliased { label: "Alan".into() });
    let flat = read::<Flat>(&people()).unwrap();
    assert_eq!((flat[0].age, flat[0].rest.len()), (36, 3));
}

#[test]
fn missing_columns_are_named_before_anything_runs() {
    let names = batch([("nom", Arc::new(StringArray::from(vec!["Ada"])))]);
    let error = read::<Person>(&names).unwrap_err();
    assert!(matches!(error, Error::Plan(_)));
    assert_eq!(error.to_string(), "no columns `name`, `age`, `height` for the fields of `Person`; there are nom Utf8");
    let error = read::<(u64, u64)>(&names).unwrap_err().to_string();
    assert!(error.starts_with("`(u64, u64)` takes 2 columns by position, the table has 1: nom Utf8"), "{error}");
    let error = read::<u64>(&people()).unwrap_err().to_string();
    assert!(error.starts_with("`u64` takes one column, the table has 4"), "{error}");
}

#[test]
fn integers_are_checked() {
    assert_eq!(column::<u8>(Int64Array::from(vec![0, 255])).unwrap(), [0, 255]);
    assert_eq!(column::<i128>(UInt64Array::from(vec![u64::MAX])).unwrap(), [i128::from(u64::MAX)]);
    assert_eq!(column::<i64>(Int8Array::from(vec![-1])).unwrap(), [-1]);
    assert_eq!(column::<usize>(UInt16Array::from(vec![9])).unwrap(), [9]);
    assert_eq!(column::<f64>(Int32Array::from(vec![-2])).unwrap(), [-2.0]);
    let error = message::<u8>(Int64Array::from(vec![1, 256]));
    assert_eq!(error, "row 1: not a `u8`: column `c` (Int64): expected u8, found integer `256`");
}

#[test]
fn columns_of_a_wrong_type_are_named_before_anything_runs() {
    let message = |error: Error| {
        assert!(matches!(error, Error::Plan(_)), "{error:?}");
        error.to_string()
    };
    // Also if there are no rows.
    let none = message(column::<u64>(Float64Array::from(Vec::<f64>::new())).unwrap_err());
    assert_eq!(none, "rows are not values of `u64`: column `c` is Float64, expected u64");
    let text = message(column::<String>(Int64Array::from(vec![1])).unwrap_err());
    assert_eq!(text, "rows are not values of `String`: column `c` is Int64, expected a string");
    let heights = batch([
        ("name", Arc::new(StringArray::from(vec!["Ada"]))),
        ("age", Arc::new(UInt8Array::from(vec![36]))),
        ("height", Arc::new(StringArray::from(vec!["tall"]))),
    ]);
    let height = message(read::<Person>(&heights).unwrap_err());
    assert_eq!(height, "rows are not values of `Person`: column `height` is Utf8, expected f64");
    // A value that is merely not accepted says nothing of the type: an empty string is no address.
    assert_eq!(column::<std::net::Ipv4Addr>(StringArray::from(vec!["127.0.0.1"])).unwrap(), [std::net::Ipv4Addr::LOCALHOST]);
}

#[test]
fn nulls_need_an_option() {
    let nulls = || Int32Array::from(vec![Some(1), None]);
    assert_eq!(column::<Option<u32>>(nulls()).unwrap(), [Some(1), None]);
    let error = message::<i32>(nulls());
    assert_eq!(error, "row 1: not a `i32`: column `c` (Int32): expected i32, found null");
    assert_eq!(column::<Option<bool>>(NullArray::new(2)).unwrap(), [None, None]);
    assert!(message::<bool>(NullArray::new(1)).ends_with("column `c` is Null, expected a boolean, found null"));
}

#[test]
fn dates_and_times() {
    let days = || Date32Array::from(vec![0, 9204]);
    assert_eq!(column::<i32>(days()).unwrap(), [0, 9204]);
    assert_eq!(column::<i64>(days()).unwrap(), [0, 9204]);
    assert_eq!(column::<String>(days()).unwrap(), ["1970-01-01", "1995-03-15"]);
    assert_eq!(column::<i64>(Date64Array::from(vec![86_400_000])).unwrap(), [86_400_000]);
    let instant = TimestampMicrosecondArray::from(vec![1_500_000]);
    assert_eq!(column::<i64>(instant.clone()).unwrap(), [1_500_000]);
    assert_eq!(column::<String>(instant.clone()).unwrap(), ["1970-01-01T00:00:01.500"]);
    assert_eq!(column::<String>(instant.with_timezone("+00:00")).unwrap(), ["1970-01-01T00:00:01.500Z"]);
    assert_eq!(column::<String>(Time32SecondArray::from(vec![61])).unwrap(), ["00:01:01"]);
    assert!(message::<u32>(Date32Array::from(vec![-1])).ends_with("expected u32, found integer `-1`"));
}

#[test]
fn decimals() {
    let prices = |scale| Decimal128Array::from(vec![12_345, -7]).with_precision_and_scale(15, scale).unwrap();
    assert_eq!(column::<f64>(prices(2)).unwrap(), [123.45, -0.07]);
    assert_eq!(column::<String>(prices(2)).unwrap(), ["123.45", "-0.07"]);
    assert_eq!(column::<i64>(prices(0)).unwrap(), [12_345, -7]);
    assert_eq!(column::<i128>(prices(0)).unwrap(), [12_345, -7]);
    let error = message::<i64>(prices(2));
    assert!(error.ends_with("expected i64, found a decimal with a scale of 2; a field of f64 or String holds it"), "{error}");
    let huge = Decimal128Array::from(vec![10i128.pow(37)]).with_precision_and_scale(38, 0).unwrap();
    assert_eq!(column::<i128>(huge.clone()).unwrap(), [10i128.pow(37)]);
    assert!(column::<i64>(huge).is_err());
    let wide = Decimal256Array::from(vec![i256::from_i128(125)]).with_precision_and_scale(40, 2).unwrap();
    assert_eq!(column::<f64>(wide.clone()).unwrap(), [1.25]);
    assert_eq!(column::<String>(wide).unwrap(), ["1.25"]);
}

#[test]
fn strings_bytes_and_dictionaries() {
    assert_eq!(column::<char>(LargeStringArray::from(vec!["ä"])).unwrap(), ['ä']);
    assert_eq!(column::<String>(StringViewArray::from(vec!["longer than twelve bytes"])).unwrap()[0].len(), 24);
    assert_eq!(column::<Vec<u8>>(BinaryArray::from(vec![b"\x00\xff".as_slice()])).unwrap(), [vec![0, 255]]);
    assert_eq!(column::<String>(BinaryViewArray::from(vec![b"ok".as_slice()])).unwrap(), ["ok"]);
    let mut words = StringDictionaryBuilder::<Int8Type>::new();
    words.append_value("a");
    words.append_null();
    words.append_value("a");
    assert_eq!(column::<Option<String>>(words.finish()).unwrap(), [Some("a".into()), None, Some("a".into())]);
    #[derive(Debug, PartialEq, Deserialize)]
    enum Flag {
        A,
        #[serde(rename = "N")]
        No,
    }
    assert_eq!(column::<Flag>(StringArray::from(vec!["N", "A"])).unwrap(), [Flag::No, Flag::A]);
    assert!(message::<Flag>(StringArray::from(vec!["x"])).contains("unknown variant `x`"));
}

#[test]
fn nested_columns() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Outer {
        point: Point,
        tags: Vec<Option<String>>,
        counts: BTreeMap<String, f64>,
        pair: [f64; 2],
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Point {
        y: i32,
        x: i32,
    }
    let x: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let y: ArrayRef = Arc::new(Int32Array::from(vec![Some(3), None]));
    let point: ArrayRef = Arc::new(StructArray::try_from(vec![("x", x), ("y", y)]).unwrap());
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a"), None]);
    tags.append_value([Some("b")]);
    let mut counts = MapBuilder::new(None, StringBuilder::new(), builder::PrimitiveBuilder::<Float64Type>::new());
    counts.keys().append_value("k");
    counts.values().append_value(0.5);
    counts.append(true).unwrap();
    counts.append(true).unwrap();
    let pair = FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>([Some([Some(1.0), Some(2.0)]); 2], 2);
    let batch = batch([
        ("point", point),
        ("tags", Arc::new(tags.finish())),
        ("counts", Arc::new(counts.finish())),
        ("pair", Arc::new(pair)),
    ]);
    let first = read::<Outer>(&batch.slice(0, 1)).unwrap().remove(0);
    let counts = BTreeMap::from([("k".to_string(), 0.5)]);
    assert_eq!(first, Outer { point: Point { x: 1, y: 3 }, tags: vec![Some("a".into()), None], counts, pair: [1.0, 2.0] });
    let error = read::<Outer>(&batch).unwrap_err().to_string();
    assert_eq!(error, "row 1: not a `Outer`: column `point.y` (Int32): expected i32, found null");
}

#[test]
fn only_columns_with_a_field_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.parquet");
    let path = path.to_str().unwrap();
    let env = Env::new(Config { threads: 2, ..Config::default() });
    env.from_batches(people().schema(), vec![people()]).unwrap().write(path).unwrap();
    env.execute("write").unwrap();
    let people = env.read_parquet::<Person>(&[path]).unwrap();
    let explained = people.explain().to_string();
    assert!(explained.contains("3 of 4 columns"), "{explained}");
    let older = people.filter(|p| p.age > 40).collect().unwrap();
    assert_eq!(older, [Person { name: "Alan".into(), age: 41, height: None }]);
    let swapped = env.read(&[path]).unwrap().select("unused, name as age, name, height").unwrap().rows::<Person>();
    let error = swapped.err().unwrap().to_string();
    assert!(error.contains("column `age` is Utf8"), "{error}");
    assert!(env.read(&[path]).unwrap().schema().field(0).data_type() == &DataType::Float64);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair {
    key: u8,
    value: String,
}

#[test]
fn the_same_records_come_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(Config { threads: 2, ..Config::default() });
    let pairs: Vec<_> = (0..100).map(|key| Pair { key, value: format!("of {key}") }).collect();
    for name in ["pairs.parquet", "pairs.csv", "pairs.jsonl"] {
        let path = folder.path().join(name).to_str().unwrap().to_owned();
        let wide = env.from_collection(pairs.clone()).to_table().unwrap().zip_with_index("unused").unwrap();
        wide.write(&path).unwrap();
        env.execute("write").unwrap();
        let mut read = env.read_records::<Pair>(&[&path]).unwrap().collect().unwrap();
        read.sort_by_key(|p| p.key);
        assert_eq!(read, pairs, "{name}");
    }
}

#[test]
fn a_row_that_does_not_fit_is_named_with_its_file_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.parquet").to_str().unwrap().to_owned();
    let env = Env::new(Config { threads: 2, ..Config::default() });
    let numbers = env.sequence(0..20_000).map(|n| (n as i64, format!("of {n}"))).to_table().unwrap();
    numbers.select("column_1 as key, column_2 as value").unwrap().sort("key").unwrap().write(&path).unwrap();
    env.execute("write").unwrap();
    let error = env.read_records::<Pair>(&[&path]).unwrap().count().unwrap_err();
    let expected = format!("{path}: row group 0, row 256: not a `Pair`: column `key` (Int64): expected u8, found integer `256`");
    assert!(error.to_string().ends_with(&expected), "{error}");
    let missing = env.read_records::<Person>(&[&path]).err().unwrap().to_string();
    assert!(missing.contains("no columns `name`, `age`, `height` for the fields of `Person`"), "{missing}");
    let wrong = env.read_records::<(String, String)>(&[&path]).err().unwrap().to_string();
    assert!(wrong.contains("column `key` is Int64, expected a string"), "{wrong}");
}

#[test]
fn a_field_without_a_column_is_named_with_its_file_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let env = Env::new(Config { threads: 1, ..Config::default() });
    for name in ["keys.parquet", "keys.csv", "keys.jsonl"] {
        let path = folder.path().join(name).to_str().unwrap().to_owned();
        env.sequence(0..3).to_table().unwrap().rename("value", "key").unwrap().write(&path).unwrap();
        env.execute("write").unwrap();
        let error = env.read_records::<Pair>(&[&path]).and_then(|pairs| pairs.count()).unwrap_err().to_string();
        assert!(error.contains("`value`") && error.contains(&path), "{name}: {error}");
    }
}

/// Printed with `--nocapture`; what is asserted is only that it is read.
#[test]
fn records_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("items.parquet").to_str().unwrap().to_owned();
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let rows = 200_000;
    env.sequence(0..rows).map(|n| (n, n as f64 / 3.0, n as i32, (n % 7) as f64, format!("mode {}", n % 7))).write(&path).unwrap();
    env.execute("write").unwrap();
    #[derive(Clone, Serialize, Deserialize)]
    struct Item {
        column_1: i64,
        column_2: f64,
        column_3: i32,
        column_4: f64,
    }
    for with_text in [false, true] {
        let counted = match with_text {
            false => env.read_records::<Item>(&[&path]).unwrap().count().unwrap(),
            true => env.read_records::<(i64, f64, i32, f64, String)>(&[&path]).unwrap().count().unwrap(),
        };
        assert_eq!(counted, rows);
        let seconds = env.last_report().unwrap().seconds;
        println!(
            "read_records: {:.1} million records/s a worker, 4 numbers{}",
            rows as f64 / seconds / 1e6,
            if with_text { " and a string" } else { "" }
        );
    }
}
