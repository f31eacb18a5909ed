//! Ctrl-C and `kill`: the command ends in order, says so in one line and leaves nothing.

use crate::kit::{Running, folder, input, kill, names, one_line};
use std::path::Path;
use std::time::{Duration, Instant};

/// A sort that takes many seconds: the same table many times over, in a small budget.
struct Sort {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Sort {
    fn new(more: &[&str]) -> Self {
        let folder = folder();
        let (out, spill) = (folder.path().join("out"), folder.path().join("spill"));
        std::fs::create_dir(&out).unwrap();
        let mut arguments = vec!["sort".to_owned()];
        arguments.extend(std::iter::repeat_n(input("lineitem"), 40));
        let flags = ["--by", "l_comment, l_shipdate", "--memory", "16MiB", "--threads", "2", "--out"];
        arguments.extend(flags.map(str::to_owned));
        arguments.push(out.join("sorted.parquet").to_str().unwrap().to_owned());
        arguments.extend(["--spill-dir".to_owned(), spill.to_str().unwrap().to_owned()]);
        arguments.extend(more.iter().map(|s| (*s).to_owned()));
        Self { folder, arguments }
    }

    fn start(&self) -> Running {
        Running::start(&self.arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The folder of the output, once the job has begun to write it.
    fn started(&self) -> bool {
        !names(&self.folder.path().join("out")).is_empty()
    }

    /// Whether row groups are being written.
    fn writes(&self) -> bool {
        let out = std::fs::read_dir(self.folder.path().join("out")).unwrap();
        out.flatten().any(|file| file.metadata().is_ok_and(|m| m.len() > 1000))
    }

    fn assert_nothing_left(&self) {
        for folder in ["out", "spill"] {
            let left = names(&self.folder.path().join(folder));
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

fn at_once(since: Instant) {
    // A second on a machine that does nothing else.
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    eprintln!("ended after {:?}", since.elapsed());
}

#[test]
fn the_first_signal_ends_the_job_in_order() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let sort = Sort::new(&[]);
        let mut running = sort.start();
        running.until(|| sort.started());
        let sent = Instant::now();
        running.signal(signal);
        let output = running.end();
        at_once(sent);
        assert_eq!(one_line(&output, code), "fluvial: interrupted\n");
        sort.assert_nothing_left();
    }
}

#[test]
fn a_job_that_is_writing_takes_back_what_it_wrote() {
    let sort = Sort::new(&[]);
    let mut running = sort.start();
    running.until(|| sort.writes());
    let sent = Instant::now();
    running.signal("INT");
    assert_eq!(one_line(&running.end(), 130), "fluvial: interrupted\n");
    at_once(sent);
    sort.assert_nothing_left();
}

#[test]
fn all_processes_of_a_job_end_with_the_first() {
    let sort = Sort::new(&["--processes", "2"]);
    let mut running = sort.start();
    running.until(|| sort.started());
    let others = children(running.0.id());
    assert_eq!(others.len(), 1);
    let sent = Instant::now();
    running.signal("INT");
    assert_eq!(one_line(&running.end(), 130), "fluvial: interrupted\n");
    at_once(sent);
    assert!(others.iter().all(|process| ended(*process)), "{others:?}");
    sort.assert_nothing_left();
}

#[test]
fn a_signal_to_one_process_ends_the_job_in_all() {
    let sort = Sort::new(&["--processes", "2"]);
    let mut running = sort.start();
    running.until(|| sort.started());
    let others = children(running.0.id());
    kill("TERM", others[0]);
    assert_eq!(one_line(&running.end(), 130), "fluvial: interrupted\n");
    assert!(ended(others[0]));
    sort.assert_nothing_left();
}

#[test]
fn nobody_survives_a_first_process_that_is_killed() {
    let sort = Sort::new(&["--processes", "3"]);
    let mut running = sort.start();
    running.until(|| sort.started());
    let others = children(running.0.id());
    assert_eq!(others.len(), 2);
    running.signal("KILL");
    running.end();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !others.iter().all(|process| ended(*process)) {
        assert!(Instant::now() < deadline, "{others:?} still run");
        std::thread::yield_now();
    }
}

/// Processes that this one has started.
fn children(process: u32) -> Vec<u32> {
    let mut children: Vec<u32> = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten() {
        let listed = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().map(|id| id.parse::<u32>().unwrap()));
    }
    children
}

/// Whether a process is no more, or only waits for its parent to hear of its end.
fn ended(process: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).unwrap_or_default();
    status.rsplit(')').next().is_none_or(|rest| rest.trim().is_empty() || rest.trim().starts_with('Z'))
}
