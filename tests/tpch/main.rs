//! TPC-H queries on tables equal the stored answers of another engine (DuckDB 2.0 on the same data, scale 0.1), whatever the
//! workers, and with a budget that makes the larger ones spill.
//!
//! `FLUVIAL_TPCH=folder` checks scale 1 against the answers in `FLUVIAL_TPCH_ANSWERS`.

mod queries;
#[allow(dead_code)]
#[path = "../../examples/tpch_q3.rs"]
mod typed;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use fluvial::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Scale 0.1, generated once for all tests of this program.
fn data() -> &'static Path {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tpch-0.1");
        let done = folder.join("complete");
        if !done.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            let env = Env::default();
            for name in fluvial::tpch::TABLES {
                fluvial::tpch::table(&env, name, 0.1).unwrap().write(folder.join(format!("{name}.parquet"))).unwrap();
            }
            env.execute("generate").unwrap();
            std::fs::write(done, "").unwrap();
        }
        folder
    })
}

fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>()));
    }
    rows
}

/// Numbers to 1e-9 relative, all else to the letter.
fn same(expected: &str, found: &str) -> bool {
    match (expected.parse::<f64>(), found.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => expected == found,
    }
}

fn check(config: Config, folder: &Path, answers: &Path, name: &str) {
    let env = Env::new(config);
    compare(&queries::query(&env, folder, name).unwrap(), answers, name);
}

fn compare(found: &Table, answers: &Path, name: &str) {
    let found = cells(&found.collect().unwrap());
    let path = answers.join(format!("{name}.csv"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let expected: Vec<Vec<String>> =
        text.lines().skip(1).map(|line| line.split(',').map(|cell| cell.trim_matches('"').to_owned()).collect()).collect();
    assert_eq!(found.len(), expected.len(), "{name}: rows");
    for (row, (e, f)) in expected.iter().zip(&found).enumerate() {
        assert!(e.len() == f.len() && e.iter().zip(f).all(|(e, f)| same(e, f)), "{name}, row {row}: expected {e:?}, found {f:?}");
    }
}

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tpch/answers")
}

macro_rules! queries {
    ($($query:ident)*) => {$(
        #[test]
        fn $query() {
            for threads in [1, 2, 3] {
                check(Config { threads, ..Config::default() }, data(), &stored(), stringify!($query));
            }
            // Three workers and up to nine blocking operators share 32 MiB: the large ones spill.
            check(Config { threads: 3, memory: 32 << 20, ..Config::default() }, data(), &stored(), stringify!($query));
        }
    )*};
}

queries! { q1 q3 q5 q9 q13 q18 q21 }

/// The example that shows query 3 on typed records.
#[test]
fn q3_typed() {
    for (threads, memory) in [(1, 512 << 20), (2, 512 << 20), (3, 32 << 20)] {
        let env = Env::new(Config { threads, memory, ..Config::default() });
        let found = typed::query_3(&env, data()).unwrap().to_table().unwrap();
        compare(&found, &stored(), "q3");
    }
}

#[test]
fn scale_one() {
    let (Ok(folder), Ok(answers)) = (std::env::var("FLUVIAL_TPCH"), std::env::var("FLUVIAL_TPCH_ANSWERS")) else { return };
    for name in queries::QUERIES {
        check(Config::default(), Path::new(&folder), Path::new(&answers), name);
    }
}
