//! The command as a person or a script uses it: what it prints, what it leaves, how it fails.

mod full_disk;
mod graph;
mod interrupt;
mod keeping;
mod kit;
mod learning;
mod metrics;
#[path = "../../iterate/tests/kit/reference.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod reference;
mod terminal;
mod wrong;

use arrow::array::{AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type};
use fluvial::prelude::*;
use kit::{fails, fluvial, folder, input, names, one_line, succeeds};
use std::process::Command;
use std::sync::Arc;

#[test]
fn sorts_a_file_within_a_small_budget_and_says_what_it_did() {
    let folder = folder();
    let (out, stats) = (folder.path().join("sorted.parquet"), folder.path().join("stats.json"));
    let (out, stats) = (out.to_str().unwrap(), stats.to_str().unwrap());
    let by = "l_shipdate, l_orderkey desc, l_linenumber";
    succeeds(&["sort", &input("lineitem"), "--by", by, "--out", out, "--memory", "5MiB", "--threads", "2", "--stats", stats]);
    assert_eq!(names(folder.path()), ["sorted.parquet", "stats.json"]);

    let batches = Env::default().read(&[out]).unwrap().select("l_shipdate, l_orderkey").unwrap().collect().unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        let (dates, orders) = (batch.column(0).as_primitive::<Date32Type>(), batch.column(1).as_primitive::<Int64Type>());
        rows.extend(dates.values().iter().zip(orders.values()).map(|(d, o)| (*d, -*o)));
    }
    assert_eq!(rows.len(), 60_175);
    assert!(rows.is_sorted());

    let stats: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(stats).unwrap()).unwrap();
    assert!(stats["spilled_bytes"].as_u64().unwrap() > 1 << 20, "{stats}");
    assert!(stats["spill_files"].as_u64().unwrap() > 1, "{stats}");
    assert!(stats["seconds"].as_f64().unwrap() > 0.0, "{stats}");
    assert!(stats["merge_passes"].is_u64(), "{stats}");
    assert!(stats["pool_peak"].as_u64().unwrap() <= 5 << 20);
    assert!(stats["peak_resident"].as_u64().unwrap() > 5 << 20, "{stats}");
    assert_eq!((stats["records_in"].as_u64(), stats["records_out"].as_u64()), (Some(60_175), Some(60_175)));
    let sort = stats["operators"].as_array().unwrap().iter().find(|o| o["name"] == "sort").unwrap();
    assert_eq!((sort["records_in"].as_u64(), sort["records_out"].as_u64()), (Some(60_175), Some(60_175)));
}

#[test]
fn joins_and_counts_alike_with_one_process_and_two() {
    for processes in ["1", "2"] {
        let count = |kind: &str| {
            let on = "o_custkey = c_custkey";
            let arguments = ["join", &input("orders"), &input("customer"), "--on", on, "--type", kind, "--count"];
            succeeds(&[&arguments[..], &["--processes", processes, "--threads", "1"]].concat()).trim().to_owned()
        };
        assert_eq!(count("inner"), "15000");
        assert_eq!(count("anti"), "0");
        // A third of the customers have no orders.
        assert_eq!(count("right"), "15500");
    }
}

#[test]
fn aggregates_print_as_a_table() {
    let printed = succeeds(&[
        "aggregate",
        &input("lineitem"),
        "--by",
        "l_returnflag",
        "--agg",
        "count(*) as n, sum(l_quantity) as q",
        "--out",
        "-",
    ]);
    let cells: Vec<Vec<&str>> =
        printed.lines().filter(|l| l.starts_with('|')).map(|l| l.split('|').map(str::trim).collect()).collect();
    assert_eq!(cells[0][1..4], ["l_returnflag", "n", "q"]);
    let total: u64 = cells[1..].iter().map(|row| row[2].parse::<u64>().unwrap()).sum();
    assert_eq!((cells.len(), total), (4, 60_175));
}

#[test]
fn two_processes_give_the_same_file_as_one() {
    let folder = folder();
    let sorted = |processes: &str| {
        let out = folder.path().join(format!("{processes}.csv"));
        let by = "o_orderdate, o_orderkey";
        succeeds(&[
            "sort",
            &input("orders"),
            "--by",
            by,
            "--out",
            out.to_str().unwrap(),
            "--processes",
            processes,
            "--threads",
            "2",
        ]);
        std::fs::read_to_string(out).unwrap()
    };
    assert_eq!(sorted("1"), sorted("2"));
    assert_eq!(names(folder.path()), ["1.csv", "2.csv"]);
}

/// The cells of the rows of all printed tables; headers too.
fn rows(printed: &str) -> Vec<Vec<&str>> {
    let lines = printed.lines().filter_map(|l| l.strip_prefix('|')?.strip_suffix('|'));
    lines.map(|l| l.split('|').map(str::trim).collect()).collect()
}

#[test]
fn the_demo_answers_spills_and_says_what_it_took() {
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    let arguments = ["demo", "--data", path, "--scale", "0.05", "--memory", "5MiB", "--threads", "1"];
    let first = succeeds(&arguments);
    assert!(first.contains("Making TPC-H data at scale 0.05"), "{first}");
    // With its data present it starts at once.
    let printed = succeeds(&arguments);
    assert!(!printed.contains("Making"), "{printed}");
    let line = |words: &str| printed.lines().find(|l| l.contains(words)).unwrap_or_else(|| panic!("no `{words}` in {printed}"));
    let number = |line: &str| line.split(' ').find_map(|w| w.parse::<f64>().ok()).unwrap();
    assert!(number(line("first row group after")) < 10_000.0);
    assert!(line(" spilled to ").ends_with(" files"));
    let resident = number(line(" resident at most"));
    assert!(resident > 5.0 && resident < 512.0, "{resident}");

    // Query 3, then the customers, each with a header.
    let rows = rows(&printed);
    assert_eq!((rows.len(), rows[0][0], rows[11][0]), (22, "order", "customer"), "{printed}");
    let revenues: Vec<f64> = rows[1..11].iter().map(|row| row[1].parse().unwrap()).collect();
    assert!(revenues.is_sorted_by(|a, b| a >= b), "{revenues:?}");

    // The same from the tables.
    let env = Env::default();
    let table = |name: &str| env.read(&[folder.path().join("tpch-0.05").join(name).to_str().unwrap()]).unwrap();
    let sold = table("lineitem.parquet").join(&table("orders.parquet"), "l_orderkey = o_orderkey").unwrap();
    let best = sold
        .select("o_custkey, l_quantity, l_extendedprice, l_discount")
        .unwrap()
        .with_column("revenue", DataType::Float64, |batch| {
            let [price, discount] = [2, 3].map(|c| cast(batch.column(c), &DataType::Float64));
            let (price, discount) = (price?, discount?);
            let pairs = price.as_primitive::<Float64Type>().iter().zip(discount.as_primitive::<Float64Type>());
            Ok(Arc::new(pairs.map(|(p, d)| Some(p? * (1.0 - d?))).collect::<Float64Array>()))
        })
        .group_by("o_custkey")
        .unwrap()
        .aggregate("sum(revenue) as revenue, count(*) as items")
        .unwrap()
        .sort("revenue desc")
        .unwrap();
    assert!(printed.contains(&format!("the first 10 of {} rows", best.count().unwrap())), "{printed}");
    let best = best.limit(1).unwrap().collect().unwrap().remove(0);
    let customer = format!("Customer#{:09}", best.column(0).as_primitive::<Int64Type>().value(0));
    let items = best.column(2).as_primitive::<Int64Type>().value(0).to_string();
    assert_eq!((rows[12][0], rows[12][4]), (customer.as_str(), items.as_str()));
    let revenue = best.column(1).as_primitive::<Float64Type>().value(0);
    assert!((rows[12][2].parse::<f64>().unwrap() - revenue).abs() < 0.01, "{revenue}");

    // What it says to try next works as it stands.
    let program = env!("CARGO_BIN_EXE_fluvial");
    let commands: Vec<_> = printed.lines().map(str::trim).filter(|l| l.starts_with(program)).collect();
    assert_eq!(commands.len(), 3, "{printed}");
    for command in commands {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_demo_without_room_for_its_data_fails_with_one_line() {
    let error = one_line(&fluvial(&["demo", "--data", "/dev/null/data", "--scale", "0.01"]), 1);
    assert!(error.contains("/dev/null/data"), "{error}");
}

#[test]
fn explains_without_running() {
    let folder = folder();
    let out = folder.path().join("never.parquet");
    let plan = succeeds(&["sort", &input("orders"), "--by", "o_custkey desc", "--out", out.to_str().unwrap(), "--explain"]);
    assert!(plan.contains("sort [o_custkey desc]") && plan.contains("orders.parquet"), "{plan}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_budget_that_the_plan_does_not_fit_is_one_line_before_anything_runs() {
    let folder = folder();
    let out = folder.path().join("out.csv");
    let (out, orders) = (out.to_str().unwrap(), input("orders"));
    let counts = "count(distinct o_custkey) as customers, count(distinct o_orderdate) as days, sum(o_totalprice) as total";
    let aggregate = |memory: &'static str| {
        ["aggregate", &orders, "--by", "o_orderpriority", "--agg", counts, "--out", out, "--threads", "2", "--memory", memory]
            .map(str::to_owned)
    };
    let tight = aggregate("4MiB");
    let error = fails(&tight.each_ref().map(String::as_str));
    assert!(error.contains("memory: 4 MiB given, job `aggregate` needs at least 7872 KiB for 2 workers"), "{error}");
    assert!(error.contains("2 x aggregate") && error.contains("distinct 1056 KiB"), "{error}");
    assert!(names(folder.path()).is_empty());
    // What the line says is enough.
    let enough = aggregate("7872KiB");
    succeeds(&enough.each_ref().map(String::as_str));
    assert_eq!(std::fs::read_to_string(out).unwrap().lines().count(), 6);
}

#[test]
fn a_process_that_dies_ends_the_job_with_a_line_and_code_3() {
    let folder = folder();
    let hosts = folder.path().join("hosts");
    let listeners: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    std::fs::write(&hosts, addresses.join("\n")).unwrap();
    let start = |process: &str| {
        // Large enough to be running when the other process dies: generating takes seconds.
        Command::new(env!("CARGO_BIN_EXE_fluvial"))
            .args(["gen", "tpch", "--scale", "20", "--tables", "lineitem", "--out", folder.path().join("data").to_str().unwrap()])
            .args(["--hosts", hosts.to_str().unwrap(), "--process", process, "--threads", "1"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (first, mut second) = (start("0"), start("1"));
    // It writes once both have met.
    let data = folder.path().join("data");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !data.exists() || std::fs::read_dir(&data).unwrap().all(|e| e.unwrap().metadata().unwrap().len() == 0) {
        assert!(std::time::Instant::now() < deadline, "the job did not start");
        std::thread::yield_now();
    }
    second.kill().unwrap();
    second.wait().unwrap();
    let killed = std::time::Instant::now();
    let output = first.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(killed.elapsed() < std::time::Duration::from_secs(10), "{:?}", killed.elapsed());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("process 1"), "{stderr}");
    assert!(names(&data).is_empty(), "{:?}", names(&data));
}
