use crate::{Config, Data, Env};
use arrow_array::RecordBatch;
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

fn env() -> Env {
    Env::new(Config { threads: 2, ..Config::default() })
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Small,
    Large,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    id: u64,
    kind: Kind,
    name: Option<String>,
    letter: char,
    big: i128,
    ratio: f32,
    list: Vec<Option<i16>>,
    map: BTreeMap<String, bool>,
    pair: (u8, Option<Inner>),
    unit: (),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    x: f64,
}

fn everything(id: u64) -> Everything {
    let odd = id % 2 == 1;
    Everything {
        id,
        kind: if odd { Kind::Small } else { Kind::Large },
        name: odd.then(|| format!("name {id}")),
        letter: 'ß',
        big: i128::from(id) << 64,
        ratio: id as f32 / 2.0,
        list: (0..id % 4).map(|i| (i > 0).then_some(i as i16)).collect(),
        map: (0..id % 3).map(|i| (format!("k{i}"), odd)).collect(),
        pair: (id as u8, odd.then_some(Inner { x: id as f64 })),
        unit: (),
    }
}

#[test]
fn values_become_rows_and_values_again() {
    let env = env();
    let table = env.generate(20_000, everything).to_table().unwrap();
    assert_eq!(table.schema().field(4).data_type(), &DataType::Decimal128(38, 0));
    assert!(!table.schema().field(0).is_nullable() && table.schema().field(2).is_nullable());
    let mut back = table.rows::<Everything>().unwrap().collect().unwrap();
    back.sort_by_key(|e| e.id);
    assert_eq!(back.len(), 20_000);
    assert!(back.iter().enumerate().all(|(i, e)| *e == everything(i as u64)));
}

#[test]
fn columns_have_names() {
    let env = env();
    let names = |schema: &arrow_schema::Schema| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    assert_eq!(names(env.sequence(0..1).map(|n| (n, ())).to_table().unwrap().schema()), ["column_1", "column_2"]);
    assert_eq!(names(env.sequence(0..1).to_table().unwrap().schema()), ["value"]);
    let listed = env.sequence(0..3).map(|n| vec![n; n as usize]).to_table().unwrap();
    assert_eq!(listed.rows::<Vec<u64>>().unwrap().count().unwrap(), 3);
}

#[test]
fn what_has_no_columns_says_why() {
    #[derive(Clone, Serialize, Deserialize)]
    enum Shape {
        Circle(f64),
    }
    #[derive(Clone, Serialize, Deserialize)]
    struct Drawing {
        shape: Shape,
    }
    #[derive(Clone, Serialize, Deserialize)]
    struct Loose {
        rest: serde_json::Value,
    }
    fn refused<T: Data + Sync>() -> String {
        env().from_collection(Vec::<T>::new()).to_table().map(|_| ()).unwrap_err().to_string()
    }
    assert_eq!(
        refused::<Drawing>(),
        "the columns of `Drawing` cannot be told: an enum whose variants have fields has no columns"
    );
    assert_eq!(refused::<Loose>(), "the columns of `Loose` cannot be told: field `rest` can be anything");
}

#[test]
fn order_is_kept() {
    let env = env();
    let table = env.sequence(0..50_000).map(|n| n ^ 0x2AAA).sort_by(|n| *n).filter(|n| n % 3 == 0).to_table().unwrap();
    let batches = table.collect().unwrap();
    let rows: RecordBatch = concat_batches(table.schema(), &batches).unwrap();
    assert!(batches.iter().all(|b| b.num_rows() <= super::BATCH_ROWS));
    let ordered = env.from_batches(rows.schema(), vec![rows]).unwrap().rows::<u64>().unwrap().collect().unwrap();
    assert!(ordered.is_sorted() && ordered.len() > 16_000);
}

#[test]
fn skipped_fields_are_null() {
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none")]
        a: Option<u32>,
        b: u32,
    }
    let rows = [Sparse { a: None, b: 1 }, Sparse { a: Some(2), b: 3 }];
    let back = env().from_collection(rows.clone()).to_table().unwrap().rows::<Sparse>().unwrap();
    let mut back = back.collect().unwrap();
    back.sort_by_key(|s| s.b);
    assert_eq!(back, rows);
}

#[test]
fn streams_are_written_as_files() {
    let folder = tempfile::tempdir().unwrap();
    let env = env();
    let rows = env.sequence(0..1000).map(|n| (n, format!("row {n}"))).sort_by(|r| r.0);
    for name in ["rows.parquet", "rows.csv", "rows.jsonl"] {
        rows.write(folder.path().join(name)).unwrap();
    }
    rows.map(|r| r.1).write(folder.path().join("rows.txt")).unwrap();
    env.execute("write").unwrap();
    for name in ["rows.parquet", "rows.csv", "rows.jsonl"] {
        let path = folder.path().join(name);
        let back = env.read(&[path.to_str().unwrap()]).unwrap().rows::<(u64, String)>().unwrap().collect().unwrap();
        assert_eq!(back.len(), 1000, "{name}");
        assert!(back.iter().enumerate().all(|(i, r)| *r == (i as u64, format!("row {i}"))), "{name}");
    }
    let text = std::fs::read_to_string(folder.path().join("rows.txt")).unwrap();
    assert!(text.starts_with("row 0\nrow 1\n") && text.lines().count() == 1000);
}
