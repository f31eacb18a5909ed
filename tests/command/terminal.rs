//! On a terminal there is a progress bar; a table of any length is printed for as long as somebody reads.

use crate::kit::{Running, folder, input, names, succeeds};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_terminal_shows_a_progress_bar() {
    let folder = folder();
    let out = folder.path().join("out.parquet");
    let sort = ["sort", &input("lineitem"), &input("lineitem"), &input("lineitem"), "--by", "l_comment", "--memory", "6MiB"];
    let line = [env!("CARGO_BIN_EXE_fluvial")].iter().chain(&sort).copied().collect::<Vec<_>>().join(" ");
    let line = format!("{line} --threads 2 --out {}", out.display());
    let Ok(output) = Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output() else {
        return eprintln!("no `script` to make a terminal with: not tested");
    };
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    for part in ["records", "spilled", "left", "%"] {
        assert!(shown.contains(part), "expected `{part}` in {shown:?}");
    }
    assert_eq!(names(folder.path()), ["out.parquet"]);
}

#[test]
fn a_long_table_is_printed_whole_and_in_order() {
    let spill = folder();
    let sort = ["sort", &input("orders"), "--by", "o_orderkey desc", "--out", "-", "--memory", "4MiB", "--threads", "2"];
    let printed = succeeds(&[&sort[..], &["--spill-dir", spill.path().to_str().unwrap()]].concat());
    let keys: Vec<i64> = printed.lines().filter_map(|l| l.split('|').nth(1)?.trim().parse().ok()).collect();
    assert_eq!(keys.len(), 15_000);
    assert!(keys.is_sorted_by(|a, b| a > b));
    assert!(names(spill.path()).is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_is_not_an_error() {
    let command = &mut Command::new(env!("CARGO_BIN_EXE_fluvial"));
    let sort = command.args(["sort", &input("lineitem"), "--by", "l_orderkey", "--out", "-"]);
    let mut child = sort.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// A sort that has begun to print to a pipe that nobody reads any further.
fn blocked(spill: &Path) -> Running {
    let sort = ["sort", &input("lineitem"), "--by", "l_orderkey", "--out", "-", "--memory", "8MiB", "--threads", "2"];
    let mut running = Running::start(&[&sort[..], &["--spill-dir", spill.to_str().unwrap()]].concat());
    running.0.stdout.as_mut().unwrap().read_exact(&mut [0; 100]).unwrap();
    running
}

#[test]
fn ctrl_c_ends_a_command_whose_output_nobody_reads() {
    let spill = folder();
    let running = blocked(spill.path());
    running.signal("INT");
    let (status, stderr) = running.status();
    assert_eq!((status.code(), stderr.as_str()), (Some(130), "fluvial: interrupted\n"));
    assert!(names(spill.path()).is_empty(), "{:?}", names(spill.path()));
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let spill = folder();
    let mut running = blocked(spill.path());
    // Signals that come before the first one is taken are one with it.
    while running.0.try_wait().unwrap().is_none() {
        running.signal("INT");
    }
    let (status, stderr) = running.status();
    assert_eq!((status.code(), stderr.as_str()), (Some(130), ""));
}
