//! Edges and vertices from files of all formats, and what is wrong with those that are none.

use fluvial_core::{Config, Data, Env, Error, Result};
use fluvial_iterate::graph::files::{EdgeFiles, GraphFileOptions, IdType, VertexFiles, to_lines};
use fluvial_iterate::graph::generate::{EdgeGenerator, Rmat};
use std::fmt::Write;
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, content: &str) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

fn env(threads: usize) -> Env {
    Env::new(Config { threads, memory: 16 << 20, ..Config::default() })
}

/// The records of files, sorted.
fn edges<T: Data + PartialOrd>(path: &str, options: &GraphFileOptions) -> Result<(IdType, Vec<T>)> {
    let files = EdgeFiles::open(&[path], options)?;
    let mut found: Vec<T> = files.table(&env(2)).rows()?.collect()?;
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    Ok((files.ids(), found))
}

fn plain() -> GraphFileOptions {
    GraphFileOptions::default()
}

#[test]
fn every_format_gives_the_same_edges() {
    let folder = Folder::new();
    let rmat = Rmat::new(14, 16).seed(9).with_weights();
    let env = env(2);
    let mut expected: Vec<(u64, u64, f64)> = rmat.table(&env).unwrap().rows().unwrap().collect().unwrap();
    expected.sort_by(|a, b| a.partial_cmp(b).unwrap());
    assert_eq!(expected.len(), 1 << 18);
    let table = rmat.table(&env).unwrap();
    for name in ["e.parquet", "e.csv", "e.jsonl"] {
        table.write(folder.path(name)).unwrap();
    }
    to_lines(&table).unwrap().write(folder.path("e.txt")).unwrap();
    env.execute("write").unwrap();
    std::fs::copy(folder.path("e.txt"), folder.path("graph.e")).unwrap();
    for name in ["e.parquet", "e.csv", "e.jsonl", "e.txt", "graph.e"] {
        let (ids, found) = edges::<(u64, u64, f64)>(&folder.path(name), &plain().weighted(true)).unwrap();
        assert!(ids == IdType::Number && found == expected, "{name}");
        // Without weights, the column is left alone.
        let (_, found) = edges::<(u64, u64)>(&folder.path(name), &plain()).unwrap();
        assert!(found.iter().zip(&expected).all(|(a, b)| *a == (b.0, b.1)) && found.len() == expected.len(), "{name}");
        let (ids, found) = edges::<(String, String)>(&folder.path(name), &plain().ids(IdType::Text)).unwrap();
        let mut texts: Vec<_> = expected.iter().map(|(source, target, _)| (source.to_string(), target.to_string())).collect();
        texts.sort();
        assert!(ids == IdType::Text && found == texts, "{name}");
    }
}

#[test]
fn integers_of_all_widths_and_text_of_all_forms() {
    let folder = Folder::new();
    let env = env(1);
    let numbers = env.from_collection([(1i8, 2i32), (3, 70_000)]).to_table().unwrap();
    numbers.write(folder.path("n.parquet")).unwrap();
    let texts = env.from_collection([("ann", "bob", 1i64)].map(|(a, b, w)| (a.to_owned(), b.to_owned(), w)));
    let texts = texts.to_table().unwrap().select("column_1 as src, column_2 as dst, column_3 as weight").unwrap();
    texts.write(folder.path("t.parquet")).unwrap();
    env.execute("write").unwrap();
    assert_eq!(edges(&folder.path("n.parquet"), &plain()).unwrap(), (IdType::Number, vec![(1u64, 2u64), (3, 70_000)]));
    let expected = (IdType::Text, vec![("ann".to_owned(), "bob".to_owned(), 1.0)]);
    assert_eq!(edges(&folder.path("t.parquet"), &plain().weighted(true)).unwrap(), expected);
}

#[test]
fn columns_by_other_names() {
    let folder = Folder::new();
    let path = folder.file("e.csv", "km,stop,start\n2.5,7,1\n0.5,\"1\",7\n");
    let named = plain().columns(["start", "stop", "km"]).weighted(true);
    assert_eq!(edges(&path, &named).unwrap(), (IdType::Number, vec![(1u64, 7u64, 2.5), (7, 1, 0.5)]));
    let path = folder.file("e.tsv", "from\tto\nann\tbob, \"jr\"\n");
    let expected = (IdType::Text, vec![("ann".to_owned(), "bob, \"jr\"".to_owned())]);
    assert_eq!(edges(&path, &plain()).unwrap(), expected);
}

#[test]
fn a_split_begins_where_its_first_line_does() {
    let folder = Folder::new();
    let mut text = String::from("# a comment of some length, so that splits do not begin with it\nsource target\n");
    let count = 2_000_000u64;
    for n in 0..count {
        writeln!(text, "{n} {}", n + 1).unwrap();
        if n % 100_000 == 0 {
            text.push_str("% in between\n\n");
        }
    }
    assert!(text.len() > 16 << 20);
    let path = folder.file("long.txt", &text);
    for threads in [1, 3] {
        let files = EdgeFiles::open(&[&path], &plain()).unwrap();
        let sum = files.table(&env(threads)).rows::<(u64, u64)>().unwrap().map(|(a, b)| b - a).sum(|one| *one);
        assert_eq!(sum.collect().unwrap(), [count]);
    }
}

#[test]
fn several_files_are_one_graph() {
    let folder = Folder::new();
    folder.file("a.txt", "1 2\n");
    folder.file("b.txt", "# nothing\n");
    folder.file("c.txt", "from to label\n2 3 x\n");
    assert_eq!(edges(&folder.path("*.txt"), &plain()).unwrap(), (IdType::Number, vec![(1u64, 2u64), (2, 3)]));
    folder.file("d.txt", "ann bob\n");
    let (ids, found) = edges::<(String, String)>(&folder.path("*.txt"), &plain()).unwrap();
    assert_eq!((ids, found.len()), (IdType::Text, 3));
}

#[test]
fn empty_files_have_no_edges() {
    let folder = Folder::new();
    for (name, content) in [("a.txt", ""), ("b.txt", "# c\n"), ("c.csv", ""), ("d.csv", "src,dst\n"), ("e.txt", "src dst\n")] {
        let (ids, found) = edges::<(u64, u64)>(&folder.file(name, content), &plain()).unwrap();
        assert_eq!((ids, found.len()), (IdType::Number, 0), "{name}");
    }
}

#[test]
fn vertices_one_a_line_or_in_a_column() {
    let folder = Folder::new();
    let vertices = |path: &str| -> (IdType, Vec<String>) {
        let files = VertexFiles::open(&[path], &plain()).unwrap();
        let mut found = to_lines(&files.table(&env(2))).unwrap().rows::<String>().unwrap().collect().unwrap();
        found.sort();
        (files.ids(), found)
    };
    let expected = |ids, found: &[&str]| (ids, found.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
    assert_eq!(vertices(&folder.file("a.v", "# v\n3\n1\n\n2")), expected(IdType::Number, &["1", "2", "3"]));
    assert_eq!(vertices(&folder.file("b.csv", "name,id\nx,7\ny,8\n")), expected(IdType::Number, &["7", "8"]));
    assert_eq!(vertices(&folder.file("c.txt", "ann\nbob")), expected(IdType::Text, &["ann", "bob"]));
}

/// The message of a file's error, without the operator that found it.
fn error(path: &str, options: &GraphFileOptions) -> String {
    let mut error = match EdgeFiles::open(&[path], options).and_then(|files| files.table(&env(2)).collect()) {
        Ok(batches) => panic!("{batches:?}"),
        Err(error) => error,
    };
    if let Error::Operator { source, .. } = error {
        error = *source;
    }
    error.to_string()
}

#[test]
fn malformed_files_say_what_and_where() {
    let folder = Folder::new();
    let long = |last: &str| "1 2\n".repeat(300_000) + last;
    let weighted = plain().weighted(true);
    let hint = "; ids that are not all numbers have to be read as text (--ids text)";
    let number = "expected a number from 0 to 18446744073709551615";
    let cases: [(&str, &str, &GraphFileOptions, &str); 9] = [
        ("a.txt", &long("1 bob\n"), &plain(), &format!("line 300001: {number} as the target, found \"bob\"{hint}")),
        (
            "b.txt",
            &long("1\n"),
            &plain(),
            "line 300001: expected 2 fields, as in line 1, found 1; lists of neighbours are not read",
        ),
        ("c.txt", "# c\n1 2 0.5\n1 2 x\n", &weighted, "line 3: expected a number as the weight, found \"x\""),
        ("d.txt", "1 2\n", &weighted, "line 1: expected source, target, weight, found 2 fields"),
        ("e.csv", "src,dst\n1,2\n1,bob\n", &plain(), &format!("line 3, column `dst`: expected UInt64, found \"bob\"{hint}")),
        ("f.csv", "src,dst\n1,2\n1,\n", &plain(), &format!("record 2 after byte 8: {number} as the target, found null")),
        ("g.csv", "src,dst\n1,2\n1,2,3\n", &plain(), "line 3, expected 2 fields, found 3"),
        ("h.jsonl", "{\"src\":1}\n", &plain(), "column `dst` not found; there are src Int64"),
        (
            "i.jsonl",
            "{\"src\":1,\"dst\":-2}\n",
            &plain(),
            &format!("record 1 after byte 0: {number} as the target, found \"-2\""),
        ),
    ];
    for (name, content, options, expected) in cases {
        let path = folder.file(name, content);
        assert_eq!(error(&path, options), format!("{path}: {expected}"));
    }
    assert!(error(&folder.path("none.txt"), &plain()).contains("none.txt: no such file"));
    std::fs::write(folder.path("j.txt"), b"1 2\n1 \xff\n").unwrap();
    assert!(error(&folder.path("j.txt"), &plain()).contains("line 2, byte 6: not UTF-8"));
}

#[test]
fn columns_of_parquet_that_do_not_fit() {
    let folder = Folder::new();
    let env = env(1);
    let path = folder.path("e.parquet");
    let write = |columns: &str| {
        let rows = env.from_collection([(1i64, "ann".to_owned(), 0.5f64), (-7, "bob".to_owned(), 1.5)]);
        let rows = rows.map(|(number, text, float)| (number, number, text.clone(), text.clone(), text, float));
        rows.to_table().unwrap().select(columns).unwrap().write(&path).unwrap();
        env.execute("write").unwrap();
    };
    let cases: [(&str, bool, &str); 6] = [
        ("column_1 as src, column_3 as other", false, "column `dst` not found; there are src Int64, other Utf8"),
        ("column_1 as src, column_3 as dst", false, "column `dst`: expected integers as in column `src`, found Utf8"),
        ("column_1 as src, column_6 as dst", false, "column `dst`: expected integers or text, found Float64"),
        ("column_3 as src, column_4 as dst", true, "column `weight` not found; there are src Utf8, dst Utf8"),
        ("column_3 as src, column_4 as dst, column_5 as weight", true, "column `weight`: expected numbers, found Utf8"),
        (
            "column_1 as src, column_2 as dst",
            false,
            "row group 0, row 1: expected a number from 0 to 18446744073709551615 as the source, found \"-7\"",
        ),
    ];
    for (columns, weighted, expected) in cases {
        write(columns);
        assert_eq!(error(&path, &plain().weighted(weighted)), format!("{path}: {expected}"), "{columns}");
    }
}
