//! What can be held wrong: every time one line that says what and where, exit code 1 (2 for a command line that makes no sense),
//! and nothing left.

use crate::kit::{fails, fluvial, folder, input, names, succeeds};
use std::path::Path;

/// Runs the commands in a folder of its own in which they must leave nothing; each must fail with a line that holds all of these.
fn all_fail(cases: &[(&[&str], &[&str])]) {
    let folder = folder();
    let out = folder.path().join("out.parquet");
    for (arguments, expected) in cases {
        let arguments: Vec<&str> = arguments.iter().map(|a| if *a == "OUT" { out.to_str().unwrap() } else { a }).collect();
        let error = fails(&arguments);
        assert!(error.starts_with("fluvial: ") && error.len() < 600, "{error}");
        for part in *expected {
            assert!(error.contains(part), "{arguments:?}: expected `{part}` in: {error}");
        }
        assert!(names(folder.path()).is_empty(), "{arguments:?}: {:?}", names(folder.path()));
    }
}

#[test]
fn inputs_that_are_not_there() {
    let (empty, orders) = (folder(), input("orders"));
    let empty = empty.path().to_str().unwrap();
    all_fail(&[
        (&["sort", "/nowhere/x.parquet", "--by", "a", "--out", "OUT"], &["/nowhere/x.parquet: no such file or directory"]),
        (&["sort", &orders, "/nowhere/*.parquet", "--by", "a", "--out", "OUT"], &["/nowhere/*.parquet: no file matches"]),
        (&["sort", empty, "--by", "a", "--out", "OUT"], &[empty, "the directory holds no .parquet"]),
        (&["join", &orders, "x.parquet", "--on", "a = b", "--count"], &["x.parquet: no such file or directory"]),
        (&["join", empty, &orders, "--on", "a = b", "--count"], &[empty, "the directory holds no .parquet"]),
        (&["aggregate", "x.parquet", "--agg", "count(*)", "--out", "OUT"], &["x.parquet: no such file or directory"]),
        (&["aggregate", empty, "--agg", "count(*)", "--out", "-"], &[empty, "the directory holds no .parquet"]),
    ]);
}

#[test]
fn columns_that_are_not_there_and_those_that_are() {
    let (orders, customers) = (input("orders"), input("customer"));
    let there = "o_orderkey Int64";
    all_fail(&[
        (&["sort", &orders, "--by", "o_colour", "--out", "OUT"], &["`o_colour`", there, "o_comment Utf8"]),
        (&["join", &orders, &customers, "--on", "o_key = c_custkey", "--count"], &["`o_key`", there]),
        (&["join", &orders, &customers, "--on", "o_custkey = c_key", "--count"], &["`c_key`", "c_custkey Int64"]),
        (
            &["join", &orders, &customers, "--on", "o_custkey = c_custkey", "--select", "c_colour", "--out", "OUT"],
            &["`c_colour`", there, "c_custkey Int64"],
        ),
        (&["aggregate", &orders, "--by", "o_colour", "--agg", "count(*)", "--out", "OUT"], &["`o_colour`", there]),
        (&["aggregate", &orders, "--agg", "sum(o_colour)", "--out", "-"], &["`o_colour`", there]),
    ]);
}

#[test]
fn types_that_do_not_go_together() {
    let (orders, customers) = (input("orders"), input("customer"));
    all_fail(&[
        (
            &["join", &orders, &customers, "--on", "o_custkey = c_custkey, o_orderkey = c_name", "--count"],
            &["`o_orderkey` is Int64", "`c_name` is Utf8"],
        ),
        (&["aggregate", &orders, "--agg", "sum(o_comment)", "--out", "-"], &["sum(o_comment)", "Utf8"]),
        (
            &["sort", &orders, &customers, "--by", "o_custkey", "--out", "OUT"],
            &["customer.parquet", "`o_orderkey`", "orders.parquet"],
        ),
    ]);
}

#[test]
fn texts_that_do_not_parse() {
    let (orders, customers) = (input("orders"), input("customer"));
    all_fail(&[
        (&["sort", &orders, "--by", "o_custkey sideways", "--out", "OUT"], &["character 11", "`desc`", "found `sideways`"]),
        (&["sort", &orders, "--by", "o_custkey,", "--out", "OUT"], &["character 11", "found the end"]),
        (&["sort", &orders, "--by", "a, \"o_custkey", "--out", "OUT"], &["character 4", "a quote that is not closed"]),
        (&["join", &orders, &customers, "--on", "o_custkey == c_custkey", "--count"], &["character 12", "found `=`"]),
        (&["aggregate", &orders, "--agg", "count(*), median(o_custkey)", "--out", "-"], &["character 11", "found `median`"]),
        (&["aggregate", &orders, "--agg", "sum(o_custkey", "--out", "-"], &["character 14", "found the end"]),
        (&["aggregate", &orders, "--by", "a,,b", "--agg", "count(*)", "--out", "-"], &["character 3", "found `,`"]),
        (&["aggregate", &orders, "--agg", "count(*), count(*)", "--out", "-"], &["two columns", "`count(*)`"]),
    ]);
}

#[test]
fn budgets_and_outputs_that_cannot_be() {
    let (orders, customers) = (input("orders"), input("customer"));
    let to = |out| ["--by", "o_custkey", "--out", out];
    let sort = |out, more: &[&'static str]| [&["sort", orders.as_str()][..], &to(out), more].concat();
    all_fail(&[
        (&sort("OUT", &["--memory", "3MiB", "--threads", "2"]), &["3 MiB given", "4 MiB is needed for 2 workers"]),
        (&sort("OUT", &["--memory", "0"]), &["memory: 0 B given"]),
        (&sort("OUT", &["--threads", "0"]), &["threads: 0 given"]),
        (&sort("OUT", &["--threads", "100000", "--memory", "1TiB"]), &["threads: 100000 given, at most 1024"]),
        (&sort("/nowhere/out.parquet", &[]), &["/nowhere/out.parquet: the folder does not exist"]),
        (&sort("/nowhere/out.parquet", &["--processes", "2"]), &["/nowhere/out.parquet: the folder does not exist"]),
        (&sort("/proc/out.csv", &[]), &["/proc/out.csv: cannot write to this folder"]),
        (&sort("out.xyz", &[]), &["out.xyz", ".parquet, .csv, .jsonl"]),
        (&sort("OUT", &["--stats", "/nowhere/s.json"]), &["/nowhere/s.json: the folder does not exist"]),
        (&sort("OUT", &["--spill-dir", "/proc/nowhere"]), &["spill folder `/proc/nowhere`"]),
        (
            &["join", &orders, &customers, "--on", "o_custkey = c_custkey", "--out", "/nowhere/out.csv"],
            &["/nowhere/out.csv: the folder does not exist"],
        ),
        (&["aggregate", &orders, "--agg", "count(*)", "--out", "/nowhere/o.csv"], &["/nowhere/o.csv: the folder does not exist"]),
    ]);
    // In the place of a folder.
    let place = folder();
    let taken = place.path().join("out.csv");
    std::fs::create_dir(&taken).unwrap();
    let error = fails(&["sort", &orders, "--by", "o_custkey", "--out", taken.to_str().unwrap()]);
    assert!(error.contains("out.csv: is a directory"), "{error}");
}

#[test]
fn hosts_that_are_none() {
    let place = folder();
    let (hosts, orders) = (place.path().join("hosts"), input("orders"));
    let hosts = hosts.to_str().unwrap();
    let sort = |process| ["sort", orders.as_str(), "--by", "o_custkey", "--out", "-", "--hosts", hosts, "--process", process];
    assert!(fails(&sort("0")).contains("hosts: No such file"));
    for (text, process, expected) in [
        ("localhost:7001\nelsewhere\n", "0", "`elsewhere` given for process 1, expected host:port"),
        ("localhost:70010\n", "0", "`localhost:70010` given for process 0, expected host:port"),
        ("# nobody\n\n", "0", "names no process"),
        ("localhost:7001\nlocalhost:7002", "2", "process: 2 given, but there are 2 hosts"),
    ] {
        std::fs::write(hosts, text).unwrap();
        let error = fails(&sort(process));
        assert!(error.contains(hosts) && error.contains(expected), "{error}");
    }
}

#[test]
fn command_lines_that_make_no_sense() {
    let orders = input("orders");
    for arguments in [
        &["sort", orders.as_str(), "--out", "-"][..],
        &["sort", &orders, "--by", "o_custkey", "--out", "-", "--memory", "lots"],
        &["sort", &orders, "--by", "o_custkey", "--out", "-", "--processes", "0"],
        &["sort", &orders, "--by", "o_custkey", "--out", "-", "--process", "1"],
        &["join", &orders, "--on", "a = b", "--count"],
        &["join", &orders, &orders, "--on", "o_orderkey = o_orderkey", "--type", "cross", "--count"],
        &["aggregate", &orders, "--out", "-"],
        &["shuffle"],
    ] {
        let output = fluvial(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stderr.starts_with(b"error: ") && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn malformed_files() {
    let place = folder();
    let write = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let whole = std::fs::read(input("orders")).unwrap();
    // Bytes in the middle are not what they were; the footer is whole.
    let mut damaged = whole.clone();
    damaged[1000..60_000].fill(0xAB);
    let torn = write("torn.parquet", &whole[..whole.len() / 2]);
    let damaged = write("damaged.parquet", &damaged);
    let tiny = write("tiny.parquet", b"PAR1");
    let csv = write("bad.csv", b"a,b\n1,2\n3,4,5\n");
    let late = write("late.csv", &[b"a,b\n".as_slice(), b"1,2\n".repeat(20_000).as_slice(), b"x,3\n"].concat());
    let json = write("bad.jsonl", &[b"{\"a\":1}\n".repeat(20_000).as_slice(), b"{\"a\":}\n"].concat());
    let customers = input("customer");
    all_fail(&[
        (&["sort", &torn, "--by", "o_orderkey", "--out", "OUT"], &["torn.parquet: malformed Parquet"]),
        (&["sort", &tiny, "--by", "o_orderkey", "--out", "OUT"], &["tiny.parquet: malformed Parquet"]),
        (&["sort", &damaged, "--by", "o_orderkey", "--out", "OUT"], &["damaged.parquet: row group 0, after row 0"]),
        (&["join", &damaged, &customers, "--on", "o_custkey = c_custkey", "--count"], &["damaged.parquet: row group 0"]),
        (
            &["join", &customers, &damaged, "--on", "c_custkey = o_custkey", "--count", "--processes", "2"],
            &["damaged.parquet: row group 0"],
        ),
        (&["aggregate", &damaged, "--agg", "sum(o_orderkey)", "--out", "-"], &["damaged.parquet: row group 0"]),
        (&["sort", &csv, "--by", "a", "--out", "OUT"], &["bad.csv", "line 3"]),
        (
            &["aggregate", &late, "--agg", "sum(a)", "--out", "OUT"],
            &["late.csv: line 20002, column `a`: expected Int64, found \"x\""],
        ),
        (&["sort", &json, "--by", "a", "--out", "OUT"], &["bad.jsonl", "line 20001"]),
    ]);
}

#[test]
fn a_file_may_be_replaced_by_what_is_made_of_it() {
    let place = folder();
    let file = place.path().join("orders.parquet");
    std::fs::copy(input("orders"), &file).unwrap();
    let file = file.to_str().unwrap();
    succeeds(&["sort", file, "--by", "o_totalprice desc", "--out", file, "--memory", "8MiB"]);
    assert_eq!(names(Path::new(place.path())), ["orders.parquet"]);
    let first = succeeds(&["aggregate", file, "--agg", "count(*) as n, max(o_totalprice) as most", "--out", "-"]);
    assert!(first.contains("15000"), "{first}");
    // A failed one leaves what was there.
    let before = std::fs::read(file).unwrap();
    fails(&["sort", file, "--by", "o_nothing", "--out", file]);
    assert_eq!(std::fs::read(file).unwrap(), before);
}
