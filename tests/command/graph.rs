//! Graphs on the command line: made, read in every format, and every algorithm, by several workers and processes, in little memory;
//! and what can be held wrong.

use crate::kit::{Running, fluvial, folder, names, one_line};
use crate::reference::Naive;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

/// What a graph command printed, and the line with which it ended.
fn graph(arguments: &[&str]) -> (String, String) {
    let output = fluvial(&[&["graph"][..], arguments].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

/// A folder with one file in it, and its path.
fn file(name: &str, content: &str) -> (TempDir, String) {
    let folder = folder();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// A triangle, a tail with a loop, and a pair.
const SMALL: &str = "# source target\n3 1\n1 2\n2 3\n% a tail\n3 10\n10 10\n20 21\n";

fn lines(values: &[(u64, &str)]) -> String {
    values.iter().map(|(vertex, value)| format!("{vertex} {value}\n")).collect()
}

#[test]
fn every_algorithm_prints_vertices_and_values() {
    let (_folder, edges) = file("edges.txt", SMALL);
    let (_other, vertices) = file("vertices.txt", "7\n1\n");
    let run = |algorithm: &str, more: &[&str]| graph(&[&[algorithm, edges.as_str(), "--vertices", &vertices], more].concat());
    let expect = |algorithm: &str, more: &[&str], values: [&str; 7]| {
        let expected: Vec<(u64, &str)> = [1, 2, 3, 7, 10, 20, 21].into_iter().zip(values).collect();
        let (printed, summary) = run(algorithm, more);
        assert_eq!(printed, lines(&expected), "{algorithm} {more:?}");
        assert!(summary.starts_with(&format!("{algorithm}: 7 vertices, 6 edges, ")), "{summary}");
        assert!(summary.contains(" superstep") && summary.ends_with(" after reading)\n"), "{summary}");
    };
    let far = "9223372036854775807";
    expect("wcc", &[], ["1", "1", "1", "7", "1", "20", "20"]);
    expect("scc", &["--directed"], ["1", "1", "1", "7", "10", "20", "21"]);
    expect("bfs", &["--source", "10"], ["2", "2", "1", far, "0", far, far]);
    expect("bfs", &["--source", "1", "--directed", "--asynchronous"], ["0", "1", "2", far, "3", far, far]);
    expect("cdlp", &["--iterations", "1"], ["2", "1", "1", "7", "3", "21", "20"]);
    expect("lcc", &[], ["1", "1", "0.3333333333333333", "0", "0", "0", "0"]);
    expect("triangles", &[], ["1", "1", "1", "0", "0", "0", "0"]);
    expect("kcore", &[], ["2", "2", "2", "0", "1", "1", "1"]);
    let (ranks, summary) = run("pagerank", &["--iterations", "30"]);
    let sum: f64 = ranks.lines().map(|line| line.split_once(' ').unwrap().1.parse::<f64>().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9 && summary.contains("30 supersteps"), "{sum} {summary}");
    let (top, _) = run("pagerank", &["--top", "2", "--tolerance", "1e-10", "--damping", "0.5"]);
    assert_eq!(top.lines().map(|line| line.split_once(' ').unwrap().0).collect::<Vec<_>>(), ["3", "20"]);
    assert_eq!(run("bfs", &["--source", "10", "--top", "2"]).0, lines(&[(1, "2"), (2, "2")]));
}

#[test]
fn shortest_paths_by_names() {
    let (_folder, roads) =
        file("roads.csv", "from,to,km\nBerlin,Potsdam,30\nPotsdam,\"Brandenburg, Havel\",40.5\nBonn,Köln,28\n");
    let weighted = ["sssp", roads.as_str(), "--source", "Berlin", "--columns", "from,to,km"];
    let expected = "Berlin 0\nBonn Infinity\nBrandenburg, Havel 70.5\nKöln Infinity\nPotsdam 30\n";
    assert_eq!(graph(&weighted).0, expected);
    assert_eq!(graph(&[&weighted[..], &["--weighted", "--top", "1"]].concat()).0, "Brandenburg, Havel 70.5\n");
}

#[test]
fn edges_of_every_format_give_the_same_in_every_format() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["e.txt", "e.csv", "e.parquet"] {
        let made =
            fluvial(&["gen", "rmat", "--scale", "10", "--edge-factor", "8", "--seed", "5", "--weighted", "--out", &at(name)]);
        assert!(made.status.success() && made.stderr.is_empty() && made.stdout.is_empty(), "{made:?}");
    }
    let text = std::fs::read_to_string(at("e.txt")).unwrap();
    let edges = text.lines().map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[0].parse().unwrap(), fields[1].parse().unwrap(), fields[2].parse().unwrap())
    });
    let naive = Naive::new(true, edges.collect::<Vec<(u64, u64, f64)>>(), []);
    assert_eq!(naive.edges.len(), 8 << 10);
    let source = naive.vertices.first().unwrap();
    let expected = naive.sssp(source);
    for (at_place, name) in ["e.txt", "e.csv", "e.parquet"].iter().enumerate() {
        let threads = (at_place + 1).to_string();
        let run = ["sssp", &at(name), "--source", &source.to_string(), "--directed", "--threads", &threads];
        let (printed, _) = graph(&run);
        let found = printed.lines().map(|line| {
            let (vertex, value) = line.split_once(' ').unwrap();
            (vertex.parse::<u64>().unwrap(), value.parse::<f64>().unwrap())
        });
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{name}");
        let vertices: Vec<u64> = printed.lines().map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect();
        assert!(vertices.is_sorted());
        for out in ["o.txt", "o.csv", "o.parquet"] {
            assert_eq!(graph(&[&run[..], &["--out", &at(out)]].concat()).0, "");
        }
        assert_eq!(std::fs::read_to_string(at("o.txt")).unwrap(), printed);
        let csv = std::fs::read_to_string(at("o.csv")).unwrap();
        assert!(csv.starts_with("vertex,value\n") && csv.lines().count() == expected.len() + 1);
        let rows = fluvial(&["aggregate", &at("o.parquet"), "--agg", "count(vertex) as n", "--out", "-"]);
        assert!(String::from_utf8_lossy(&rows.stdout).contains(&format!("| {} ", expected.len())));
    }
}

#[test]
fn workers_processes_and_memory_make_no_difference() {
    let folder = folder();
    let edges = folder.path().join("e.parquet").to_str().unwrap().to_owned();
    assert!(fluvial(&["gen", "rmat", "--scale", "13", "--seed", "2", "--weighted", "--out", &edges]).status.success());
    let spill = folder.path().join("spill").to_str().unwrap().to_owned();
    std::fs::create_dir(&spill).unwrap();
    let source = graph(&["kcore", &edges, "--top", "1"]).0.split(' ').next().unwrap().to_owned();
    let algorithms: [&[&str]; 9] = [
        &["pagerank", "--directed"],
        &["wcc"],
        &["scc", "--directed"],
        &["bfs", "--source", &source, "--directed"],
        &["sssp", "--source", &source],
        &["cdlp", "--directed"],
        &["lcc"],
        &["triangles"],
        &["kcore"],
    ];
    for algorithm in algorithms {
        let run = |more: &[&str]| graph(&[&algorithm[..1], &[edges.as_str()], &algorithm[1..], more].concat()).0;
        let expected = run(&["--threads", "1"]);
        let runs: [&[&str]; 4] = [
            &["--threads", "2"],
            &["--threads", "3"],
            &["--threads", "1", "--processes", "2"],
            &["--threads", "2", "--memory", "8MiB", "--spill-dir", &spill],
        ];
        for more in runs {
            assert_alike(&run(more), &expected, &format!("{algorithm:?} {more:?}"));
        }
        assert!(names(Path::new(&spill)).is_empty());
    }
}

/// The same but for the last digits of numbers.
fn assert_alike(found: &str, expected: &str, what: &str) {
    assert_eq!(found.lines().count(), expected.lines().count(), "{what}");
    for (found, expected) in found.lines().zip(expected.lines()) {
        let number = |line: &str| line.split_once(' ').and_then(|(_, value)| value.parse::<f64>().ok()).unwrap();
        let close = (number(found) - number(expected)).abs() <= 1e-9 * number(expected).abs();
        let vertex = |line: &str| line.split_once(' ').unwrap().0.to_owned();
        assert!(found == expected || close && vertex(found) == vertex(expected), "{what}: expected {expected}, found {found}");
    }
}

/// No checkpoint has a graph: who is killed computes again. What can be seen is whole or not there.
#[test]
fn a_killed_command_leaves_nothing_half_written_and_computes_again() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (edges, spill, out) = (at("edges.parquet"), at("spill"), at("out.txt"));
    assert!(fluvial(&["gen", "rmat", "--scale", "15", "--seed", "5", "--out", &edges]).status.success());
    std::fs::create_dir(&spill).unwrap();
    let algorithms: [&[&str]; 3] = [&["pagerank", "--directed", "--iterations", "40"], &["wcc"], &["lcc"]];
    for algorithm in algorithms {
        let command = [&["graph", algorithm[0], edges.as_str()], &algorithm[1..]].concat();
        let run = |out: &str| {
            let began = Instant::now();
            let output = fluvial(&[&command[..], &["--out", out, "--spill-dir", &spill]].concat());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            (std::fs::read_to_string(out).unwrap(), began.elapsed())
        };
        let (expected, time) = run(&at("expected.txt"));
        for (turn, processes) in [1, 1, 2, 1, 2, 1].into_iter().enumerate() {
            let _ = std::fs::remove_file(&out);
            let processes = processes.to_string();
            let more = ["--out", out.as_str(), "--processes", &processes, "--memory", "24MiB", "--spill-dir", &spill];
            let started = Instant::now();
            let mut killed = Running::start(&[&command[..], &more].concat());
            // Ever later, into the last of it.
            let moment = time * (2 * turn as u32 + 1) / 12;
            while started.elapsed() < moment && killed.0.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            killed.0.kill().unwrap();
            killed.end();
            if let Ok(found) = std::fs::read_to_string(&out) {
                assert_alike(&found, &expected, &format!("{algorithm:?}, killed in turn {turn}"));
            }
            let (again, _) = run(&out);
            assert_alike(&again, &expected, &format!("{algorithm:?}, again"));
            // A folder that was just being set up is swept a minute later.
            let left: Vec<String> = names(Path::new(&spill)).into_iter().filter(|name| !name.starts_with('.')).collect();
            assert_eq!(left, Vec::<String>::new(), "turn {turn}, {processes} processes");
        }
        let seen: Vec<String> = names(folder.path()).into_iter().filter(|name| !name.starts_with('.')).collect();
        assert_eq!(seen, ["edges.parquet", "expected.txt", "out.txt", "spill"]);
    }
}

#[test]
fn what_it_did_is_told_and_drawn() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("e.txt"), SMALL).unwrap();
    let run = ["pagerank", &at("e.txt"), "--stats", &at("s.json"), "--plot", &at("p.svg"), "--out", &at("o.txt")];
    graph(&run);
    assert_eq!(names(folder.path()), ["e.txt", "o.txt", "p.svg", "s.json"]);
    let stats: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(at("s.json")).unwrap()).unwrap();
    assert_eq!((stats["graph"]["vertices"].as_u64(), stats["graph"]["edges"].as_u64()), (Some(6), Some(6)), "{stats}");
    let supersteps = stats["graph"]["supersteps"].as_array().unwrap();
    assert_eq!(supersteps.len(), 20);
    assert!(supersteps.iter().all(|s| s["workset"] == 6 && s["seconds"].is_f64() && s["convergence"].is_f64()), "{stats}");
    assert!(stats["peak_resident"].is_u64() && stats["operators"].is_array());
    let picture = std::fs::read_to_string(at("p.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("convergence") && picture.contains("6 vertices"));
}

#[test]
fn a_plan_is_printed_and_nothing_done() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("e.txt"), SMALL).unwrap();
    let arguments = ["graph", "wcc", &at("e.txt"), "--explain", "--plot", &at("p.svg"), "--out", &at("o.txt")];
    let output = fluvial(&arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let plan = String::from_utf8(output.stdout).unwrap();
    assert!(plan.contains("edges") && plan.contains("wcc") && plan.contains("write"), "{plan}");
    assert_eq!(names(folder.path()), ["e.txt"]);
}

#[test]
fn a_terminal_shows_a_line_a_superstep() {
    let (_folder, edges) = file("edges.txt", SMALL);
    let line = format!("{} graph pagerank {edges} --iterations 7", env!("CARGO_BIN_EXE_fluvial"));
    let Ok(output) = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null()).output() else {
        return eprintln!("no `script` to make a terminal with: not tested");
    };
    let shown = String::from_utf8_lossy(&output.stdout);
    for superstep in 1..=7 {
        assert!(shown.contains(&format!("superstep {superstep}: workset 6, convergence ")), "{shown}");
    }
}

#[test]
fn what_is_held_wrong_is_one_line() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, content: &str| {
        std::fs::write(at(name), content).unwrap();
        at(name)
    };
    let (edges, texts) = (write("e.txt", SMALL), write("t.txt", "ann bob\nbob eve\n"));
    let (weighted, negative) = (write("w.txt", "1 2 0.5\n"), write("n.txt", "1 2 0.5\n2 3 -1\n"));
    let mut late = "1 2\n".repeat(100_000);
    writeln!(late, "3 four").unwrap();
    let late = write("late.txt", &late);
    let lists = write("lists.txt", "1 2 3\n2 5\n");
    let columns = write("c.csv", "src,other\n1,2\n");
    let (wrong, strange) = (write("v.txt", "1\nann\n"), at("o.xyz"));
    let before = names(folder.path());
    let out = at("out.txt");
    let cases: [(&[&str], &[&str]); 16] = [
        (&["bfs", &edges, "--source", "99"], &["99"]),
        (&["bfs", &edges, "--source", "ann"], &["--source ann: expected a number from 0, as the ids in", "e.txt are"]),
        (&["bfs", &texts, "--source", "zoe"], &["zoe"]),
        (&["sssp", &edges, "--source", "1"], &["e.txt: line 2: expected source, target, weight, found 2 fields"]),
        (&["sssp", &negative, "--source", "1"], &["-1", "negative"]),
        (&["sssp", &weighted, "--source", "7"], &["7"]),
        (&["pagerank", &edges, "--source", "99"], &["99"]),
        (&["wcc", &late], &["late.txt: line 100001: expected a number", "as the target, found \"four\"", "--ids text"]),
        (&["wcc", &lists], &["lists.txt: line 2: expected 3 fields, as in line 1, found 2; lists of neighbours are not read"]),
        (&["wcc", &columns, "--columns", "src,dst"], &["c.csv: line 1: expected the columns `src`, `dst`"]),
        (&["wcc", &edges, "--columns", "a,b"], &["e.txt: lines of text have no names of columns"]),
        (&["wcc", "/nowhere/e.txt"], &["/nowhere/e.txt: no such file or directory"]),
        (&["wcc", &edges, "--vertices", &wrong], &["v.txt: line 2: expected a number", "found \"ann\""]),
        (&["wcc", &edges, "--out", &strange], &["o.xyz: expected a name that ends in"]),
        (&["wcc", &edges, "--plot", "/nowhere/p.svg"], &["/nowhere/p.svg: the folder does not exist"]),
        (&["wcc", &edges, "--memory", "1MiB", "--threads", "2"], &["1 MiB given"]),
    ];
    for (arguments, expected) in cases {
        let mut arguments = [&["graph"][..], arguments].concat();
        if !arguments.contains(&"--out") {
            arguments.extend(["--out", &out]);
        }
        let error = one_line(&fluvial(&arguments), 1);
        assert!(error.starts_with("fluvial: "), "{error}");
        for part in expected {
            assert!(error.contains(part), "{arguments:?}: expected `{part}` in: {error}");
        }
        assert_eq!(names(folder.path()), before, "{arguments:?}");
    }
    let senseless: [&[&str]; 9] = [
        &["pagerank", &edges, "--iterations", "3", "--tolerance", "0.1"],
        &["pagerank", &edges, "--damping", "1.5"],
        &["pagerank", &edges, "--iterations", "0"],
        &["pagerank", &edges, "--tolerance", "-1"],
        &["wcc", &edges, "--iterations", "3"],
        &["bfs", &edges],
        &["wcc", &edges, "--top", "0"],
        &["wcc"],
        &["betweenness", &edges],
    ];
    for arguments in senseless {
        let output = fluvial(&[&["graph"][..], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stderr.starts_with(b"error: ") && output.stdout.is_empty(), "{arguments:?}");
    }
    let error = one_line(&fluvial(&["gen", "rmat", "--scale", "50", "--out", &out]), 1);
    assert!(error.contains("rmat: a scale of 50, at most 40"), "{error}");
    let error = one_line(&fluvial(&["gen", "rmat", "--scale", "5", "--out", &strange]), 1);
    assert!(error.contains("o.xyz: expected a name"), "{error}");
}
