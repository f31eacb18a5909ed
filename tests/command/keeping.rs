//! Jobs that keep their state: checkpoints, savepoints, what is in them, and a command that is run again.

use crate::kit::{Running, fails, fluvial, folder, kill, names, one_line, succeeds};
use std::path::Path;
use std::process::Output;

const QUERY: [&str; 9] =
    ["nexmark", "--query", "q11", "--events", "3000", "--mode", "streaming", "--checkpoint-interval", "50ms"];

/// The lines of all results in a folder, sorted.
fn results(out: &Path) -> Vec<String> {
    let text = |name: &String| std::fs::read_to_string(out.join(name)).unwrap();
    let files = names(out).into_iter().filter(|name| !name.starts_with('.'));
    let mut lines: Vec<String> =
        files.map(|name| text(&name)).flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.sort();
    lines
}

fn run(folder: &Path, name: &str, more: &[&str]) -> Vec<String> {
    let (state, out) = (folder.join(format!("{name}-state")), folder.join(format!("{name}-out")));
    let keeping = ["--checkpoints", state.to_str().unwrap(), "--out", out.to_str().unwrap()];
    assert_eq!(succeeds(&[&QUERY[..], &keeping, more].concat()), "");
    results(&out)
}

#[test]
fn a_savepoint_of_the_first_version_of_the_format_is_continued_and_read() {
    let folder = folder();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/savepoint-v1");
    // It was taken when half of the events were through, none of whose sessions had ended.
    let undisturbed = run(folder.path(), "undisturbed", &[]);
    assert!(!undisturbed.is_empty());
    for threads in ["1", "3"] {
        assert_eq!(run(folder.path(), threads, &["--from", golden, "--threads", threads]), undisturbed);
    }
    let listed = succeeds(&["state", golden]);
    assert!(listed.contains("sessions") && listed.contains("Sessions { deadline: i64, last: option<Open {"), "{listed}");
    let nine = succeeds(&["state", golden, "--state", "sessions", "--key", "9"]);
    let expected = r#"{"key_group":3,"key":9,"value":{"deadline":10048,"earlier":[],"last":{"accumulator":1,"window":{"end":10049,"start":49}}}}"#;
    assert_eq!(nine.trim_end(), expected);
    let table = folder.path().join("sessions.parquet");
    succeeds(&["state", golden, "--state", "sessions", "--out", table.to_str().unwrap()]);
    let count = ["aggregate", table.to_str().unwrap(), "--agg", "count(*) as sessions", "--out", "-"];
    assert!(succeeds(&count).contains("| 15"), "{}", succeeds(&count));
    let error = fails(&["state", golden, "--state", "nothing"]);
    assert!(error.contains("no state `nothing`; there is") && error.contains("`sessions` of `window`"), "{error}");
}

#[test]
fn a_checkpoint_of_state_on_disk_of_the_second_version_is_read() {
    // Four runs, each with a later sum of every key; of the last checkpoint's folder, and of those before it.
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/checkpoint-v2");
    let listed = succeeds(&["checkpoints", golden]);
    assert!(listed.contains("checkpoint") && !listed.contains("damaged"), "{listed}");
    let sums = succeeds(&["state", golden, "--state", "sum"]);
    let sums: Vec<serde_json::Value> = sums.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(sums.len(), 15);
    assert_eq!(sums.iter().map(|sum| sum["value"]["value"].as_u64().unwrap()).sum::<u64>(), 11_138_239_625);
    let first = succeeds(&["state", golden, "--state", "sum", "--key", "0"]);
    assert!(first.contains("742604055"), "{first}");
}

#[test]
fn state_on_disk_gives_the_same_results() {
    let folder = folder();
    let disk = ["--state-backend", "disk", "--state-memory", "64KiB"];
    assert_eq!(run(folder.path(), "disk", &disk), run(folder.path(), "memory", &[]));
    let state = folder.path().join("too-little").to_str().unwrap().to_owned();
    let out = folder.path().join("nothing").to_str().unwrap().to_owned();
    let too_little = ["--out", &out, "--checkpoints", &state, "--state-backend", "disk", "--state-memory", "1KiB"];
    let error = fails(&[&QUERY[..], &too_little].concat());
    assert!(error.contains("state memory: 1024 bytes given, at least 65536 are needed"), "{error}");
}

#[test]
fn a_savepoint_is_taken_of_a_running_job_and_ends_it_if_asked_to() {
    let folder = folder();
    let (state, out, savepoint) = (folder.path().join("state"), folder.path().join("out"), folder.path().join("savepoint"));
    let keeping = ["--checkpoints", state.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let mut running = Running::start(&[&QUERY[..], &keeping, &["--rate", "300"]].concat());
    running.until(|| state.is_dir() && names(&state).iter().any(|name| name.starts_with("chk-")));
    let kept = folder.path().join("kept");
    let ask = |to: &Path, how: &[&str]| {
        let to = to.to_str().unwrap();
        let said = succeeds(&[&["savepoint", state.to_str().unwrap(), "--to", to], how].concat());
        assert_eq!(said.trim_end(), to);
    };
    ask(&kept, &[]);
    ask(&savepoint, &["--stop"]);
    let ended = running.end();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    let again = fails(&["savepoint", state.to_str().unwrap(), "--to", "again"]);
    assert!(again.contains("no job keeps its checkpoints here at present"), "{again}");
    let undisturbed = run(folder.path(), "undisturbed", &[]);
    let other = folder.path().join("other");
    let from = ["--checkpoints", other.to_str().unwrap(), "--out", out.to_str().unwrap(), "--from", savepoint.to_str().unwrap()];
    succeeds(&[&QUERY[..], &from].concat());
    assert_eq!(results(&out), undisturbed);
    assert_eq!(run(folder.path(), "kept", &["--from", kept.to_str().unwrap()]), undisturbed);
}

#[test]
fn checkpoints_are_listed_and_what_is_wrong_is_one_line() {
    let folder = folder();
    run(folder.path(), "job", &[]);
    let state = folder.path().join("job-state");
    let listed = succeeds(&["checkpoints", state.to_str().unwrap(), "--json"]);
    assert!(listed.lines().last().unwrap().contains(r#""last":true"#), "{listed}");
    let at = state.to_str().unwrap();
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    let anew = fails(&[&QUERY[..], &["--checkpoints", at, "--out", &out]].concat());
    assert!(anew.contains("from an earlier run") && anew.contains("a folder of its own"), "{anew}");
    let nothing = folder.path().join("nothing").to_str().unwrap().to_owned();
    let missing = fails(&[&QUERY[..], &["--checkpoints", &nothing, "--out", &out, "--from", "latest"]].concat());
    assert!(missing.contains("no complete checkpoint"), "{missing}");
    assert!(fails(&["checkpoints", "nowhere"]).contains("nowhere: no checkpoints"));
    assert!(fails(&[&QUERY[..], &["--checkpoints", &nothing, "--out", "-"]].concat()).contains("give --out a folder"));
}

fn supervised(arguments: &[&str], script: &str) -> Output {
    fluvial(&[&["supervise", "--delay", "1ms"], arguments, &["--", "sh", "-c", script]].concat())
}

#[test]
fn a_command_is_run_again_until_it_ends_well_or_has_failed_too_often() {
    let well = supervised(&[], r#"test "$FLUVIAL_GENERATION" = 2"#);
    let said = String::from_utf8(well.stderr).unwrap();
    assert!(well.status.success() && said.contains("restart 2 in 2ms") && !said.contains("restart 3"), "{said}");
    let ill = supervised(&["--restarts", "1"], "kill -9 $$");
    let said = String::from_utf8(ill.stderr.clone()).unwrap();
    assert_eq!(ill.status.code(), Some(128 + 9), "{said}");
    assert!(said.contains("SIGKILL") && said.contains("for the last time after 1 restarts"), "{said}");
    // Wrong usage stays wrong.
    assert_eq!(supervised(&[], "exit 2").status.code(), Some(2));
    let unknown = fluvial(&["supervise", "--", "/no/such/command"]);
    assert!(one_line(&unknown, 1).contains("cannot run `/no/such/command`"));
}

/// The processes that a process has started.
fn child_of(parent: u32) -> Vec<u32> {
    let of_parent = |entry: std::io::Result<std::fs::DirEntry>| {
        let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Its name, in parentheses, may have anything in it.
        let found: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (found == parent).then_some(id)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(of_parent).collect()
}

#[test]
fn a_killed_job_is_run_again_and_gives_what_an_undisturbed_one_does() {
    let folder = folder();
    let (state, out) = (folder.path().join("state"), folder.path().join("out"));
    let keeping = ["--checkpoints", state.to_str().unwrap(), "--out", out.to_str().unwrap(), "--rate", "2000"];
    let command = [&["supervise", "--delay", "1ms", "--", env!("CARGO_BIN_EXE_fluvial")], &QUERY[..], &keeping].concat();
    let mut running = Running::start(&command);
    running.until(|| state.is_dir() && names(&state).iter().any(|name| name.starts_with("chk-")));
    child_of(running.0.id()).into_iter().for_each(|job| kill("KILL", job));
    let (status, said) = running.status();
    assert!(status.success() && said.contains("SIGKILL"), "{said}");
    assert_eq!(results(&out), run(folder.path(), "undisturbed", &[]));
}
