//! Sinks of typed streams: files that roll, sockets, channels, callbacks, results streamed to the program.

use fluvial_core::{Config, Env, Error, Interrupt, SocketOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Reading {
    sensor: u32,
    place: Option<String>,
    value: f64,
}

fn reading(n: u64) -> Reading {
    let place = (!n.is_multiple_of(4)).then(|| format!("hall \"{}\", left", n % 5));
    Reading { sensor: n as u32, place, value: n as f64 / 4.0 }
}

fn env(threads: usize) -> Env {
    Env::new(Config { threads, memory: 32 << 20, ..Config::default() })
}

/// Runs `test`, but not forever: a job that hangs is interrupted.
fn in_time<R>(interrupt: Interrupt, test: impl FnOnce() -> R) -> R {
    thread::scope(|scope| {
        let (done, over) = channel::<()>();
        scope.spawn(move || {
            if over.recv_timeout(DEADLINE) == Err(RecvTimeoutError::Timeout) {
                interrupt.raise();
            }
        });
        let result = test();
        drop(done);
        result
    })
}

/// All files below a folder, hidden ones too.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn names(files: &[PathBuf]) -> Vec<&str> {
    files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect()
}

#[test]
fn every_format_gives_back_what_was_written() {
    let expected: Vec<Reading> = (0..20_000).map(reading).collect();
    for threads in [1, 3] {
        for format in ["csv", "jsonl", "parquet"] {
            let folder = tempfile::tempdir().unwrap();
            let env = env(threads);
            let sink = env.generate(20_000, reading).write_files(folder.path()).roll_at_bytes(40_000);
            let sink = match format {
                "csv" => sink.csv(),
                "jsonl" => sink.json_lines(),
                _ => sink.parquet(),
            };
            sink.add().unwrap();
            env.execute("write").unwrap();
            let written = files(folder.path());
            assert!(written.len() > threads, "{format}: {written:?}");
            assert!(names(&written).iter().all(|n| n.starts_with("part-") && n.ends_with(format)), "{written:?}");
            let mut found = env.read_records::<Reading>(&[folder.path().to_str().unwrap()]).unwrap().collect().unwrap();
            found.sort_by_key(|r| r.sensor);
            assert_eq!(found, expected, "{format}, {threads} workers");
        }
    }
}

#[test]
fn text_is_a_record_a_line_and_buckets_are_folders() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(2);
    env.sequence(0..1000)
        .write_files(folder.path().join("new/one"))
        .text()
        .bucket_by(|n| format!("rest={}", n % 3))
        .add()
        .unwrap();
    env.execute("write").unwrap();
    for rest in 0..3 {
        let bucket = folder.path().join(format!("new/one/rest={rest}"));
        let text: String = files(&bucket).iter().map(|f| fs::read_to_string(f).unwrap()).collect();
        let numbers: BTreeSet<u64> = text.lines().map(|l| l.parse().unwrap()).collect();
        assert!(numbers.into_iter().eq((rest..1000).step_by(3)));
    }
}

#[test]
fn a_second_job_adds_to_what_the_first_one_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(2);
    for _ in 0..2 {
        env.sequence(0..100).write_files(folder.path()).text().add().unwrap();
        env.execute("write").unwrap();
    }
    let written = files(folder.path());
    assert_eq!(names(&written), ["part-0-0.txt", "part-0-1.txt", "part-1-0.txt", "part-1-1.txt"]);
}

#[test]
fn a_job_that_fails_leaves_whole_files_or_with_transactions_none() {
    for transactional in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let env = env(2);
        let numbers = env.sequence(0..200_000).try_map(|n| if n % 100_000 < 99_000 { Ok(n) } else { Err("too far") });
        let sink = numbers.write_files(folder.path()).text().roll_at_bytes(10_000);
        if transactional { sink.transactional() } else { sink }.add().unwrap();
        let error = env.execute("write").unwrap_err().to_string();
        assert!(error.contains("too far"), "{error}");
        for file in files(folder.path()) {
            assert!(!transactional, "{file:?}");
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.len() >= 10_000 && text.ends_with('\n'), "{file:?}");
        }
    }
}

#[test]
fn transactions_show_everything_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(2);
    env.sequence(0..10_000).write_files(folder.path()).text().roll_at_bytes(1000).transactional().add().unwrap();
    env.execute("write").unwrap();
    let lines: usize = files(folder.path()).iter().map(|f| fs::read_to_string(f).unwrap().lines().count()).sum();
    assert_eq!(lines, 10_000);
}

#[test]
fn what_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let env = env(1);
    let nested = env.from_collection([(1u64, vec![1u64])]);
    let error = nested.write_files(folder.path()).csv().add().unwrap_err();
    assert!(matches!(&error, Error::Plan(m) if m.contains("column_2")), "{error}");
    let error = nested.write_files(folder.path()).bucket_by_time("%!").add().unwrap_err();
    assert!(error.to_string().contains("%!"), "{error}");

    nested.write_files(folder.path()).bucket_by(|_| "../elsewhere").add().unwrap();
    let error = env.execute("write").unwrap_err().to_string();
    assert!(error.contains("write_files") && error.contains("../elsewhere"), "{error}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    nested.write_files(&file).add().unwrap();
    let error = env.execute("write").unwrap_err().to_string();
    assert!(error.contains("write_files") && error.contains(file.to_str().unwrap()), "{error}");
    assert_eq!(names(&files(folder.path())), ["file"]);
}

/// Run by the test below in a process whose files cannot grow.
#[test]
#[ignore = "needs a limit on the size of files"]
fn write_more_than_there_is_room_for() {
    let folder = std::env::var("SINK_FOLDER").unwrap();
    for (format, transactional) in
        [("csv", false), ("jsonl", false), ("parquet", false), ("csv", true), ("jsonl", true), ("parquet", true)]
    {
        let env = env(2);
        let sink = env.generate(200_000, reading).write_files(format!("{folder}/{format}"));
        let sink = match format {
            "csv" => sink.csv(),
            "jsonl" => sink.json_lines(),
            _ => sink.parquet(),
        };
        let sink = if transactional { sink.transactional() } else { sink };
        sink.add().unwrap();
        let error = env.execute("write").unwrap_err().to_string();
        assert!(error.contains("write_files") && error.contains(&format!("{folder}/{format}/part-")), "{error}");
        assert!(error.contains("File too large"), "{error}");
    }
}

#[test]
fn a_disk_that_is_full_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A process that ignores the signal is told by an error.
    let script = "trap '' XFSZ && ulimit -f 200 && exec \"$0\" \"$@\"";
    let test = std::env::current_exe().unwrap();
    let limited = std::process::Command::new("sh")
        .args(["-c", script, test.to_str().unwrap(), "--ignored", "--exact", "write_more_than_there_is_room_for"])
        .env("SINK_FOLDER", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&limited.stdout);
    assert!(limited.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&limited.stderr));
    assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn lines(stream: TcpStream) -> Vec<u64> {
    BufReader::new(stream).lines().map(|l| l.unwrap().parse().unwrap()).collect()
}

#[test]
fn a_socket_gets_a_line_a_record_over_one_connection() {
    for threads in [1, 3] {
        let (listener, address) = listen();
        let env = env(threads);
        env.sequence(0..200_000).write_socket(&address);
        let reader = thread::spawn(move || lines(listener.accept().unwrap().0));
        in_time(env.config().interrupt.clone(), || env.execute("socket")).unwrap();
        let mut found = reader.join().unwrap();
        found.sort_unstable();
        assert!(found.into_iter().eq(0..200_000));
    }
}

#[test]
fn a_socket_that_is_not_there_or_goes_away_is_named() {
    let (listener, address) = listen();
    drop(listener);
    let env = env(2);
    env.sequence(0..10).write_socket(&address);
    let error = in_time(env.config().interrupt.clone(), || env.execute("socket")).unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("write_socket"), "{error}");

    let (listener, address) = listen();
    env.sequence(0..).write_socket(&address);
    let reader = thread::spawn(move || drop(listener.accept().unwrap()));
    let error = in_time(env.config().interrupt.clone(), || env.execute("socket")).unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
    reader.join().unwrap();
}

#[test]
fn a_socket_is_connected_again_if_it_should_be() {
    let (listener, address) = listen();
    let env = env(2);
    let options = SocketOptions { retries: 3, retry_delay: Duration::from_millis(1), ..SocketOptions::default() };
    env.sequence(0..1_000_000).write_socket_with(&address, options);
    let reader = thread::spawn(move || {
        let (first, _) = listener.accept().unwrap();
        let mut first = BufReader::new(first);
        first.read_line(&mut String::new()).unwrap();
        drop(first);
        BufReader::new(listener.accept().unwrap().0).lines().count()
    });
    in_time(env.config().interrupt.clone(), || env.execute("socket")).unwrap();
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn a_job_that_fails_does_not_wait_for_a_socket_that_nobody_reads() {
    let (listener, address) = listen();
    let env = env(2);
    env.sequence(0..).write_socket(&address);
    let interrupt = env.config().interrupt.clone();
    let reader = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 1000]).unwrap();
        interrupt.raise();
        stream
    });
    assert!(matches!(env.execute("socket"), Err(Error::Interrupted)));
    drop(reader.join().unwrap());
}

#[test]
fn a_channel_gets_all_records_and_ends() {
    for (threads, capacity) in [(1, 1), (3, 2), (2, 1000)] {
        let env = env(threads);
        let (sender, mut receiver) = tokio::sync::mpsc::channel(capacity);
        env.sequence(0..20_000).send_to(sender);
        let reader = thread::spawn(move || {
            let mut found = Vec::new();
            while let Some(n) = receiver.blocking_recv() {
                found.push(n);
            }
            found
        });
        in_time(env.config().interrupt.clone(), || env.execute("channel")).unwrap();
        // The graph is still there, and the channel has ended all the same.
        let mut found: Vec<u64> = reader.join().unwrap();
        drop(env);
        found.sort_unstable();
        assert!(found.into_iter().eq(0..20_000));
    }
}

#[test]
fn a_receiver_that_goes_away_fails_the_job() {
    let env = env(2);
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    env.sequence(0..).send_to(sender);
    let reader = thread::spawn(move || receiver.blocking_recv());
    let error = in_time(env.config().interrupt.clone(), || env.execute("channel")).unwrap_err().to_string();
    assert!(error.contains("send_to") && error.contains("receiver"), "{error}");
    assert!(reader.join().unwrap().is_some());
}

#[test]
fn a_callback_sees_each_record_and_may_fail() {
    let env = env(3);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = seen.clone();
    env.sequence(0..10_000).filter(|n| n % 2 == 0).for_each(move |n| all.lock().unwrap().push(n));
    env.execute("callback").unwrap();
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort_unstable();
    assert!(seen.into_iter().eq((0..10_000).step_by(2)));

    env.sequence(0..10_000).try_for_each(|n| if n == 7777 { Err(format!("{n}: no")) } else { Ok(()) });
    let error = env.execute("callback").unwrap_err().to_string();
    assert!(error.contains("for_each") && error.contains("7777: no"), "{error}");
}

#[test]
fn results_are_streamed_to_the_program() {
    for threads in [1, 3] {
        let env = env(threads);
        let stream = env.sequence(0..300_000).map(|n| n * 2).collect_stream();
        let mut found: Vec<u64> = in_time(env.config().interrupt.clone(), || stream.collect::<Result<_, _>>()).unwrap();
        found.sort_unstable();
        assert!(found.into_iter().eq((0..300_000).map(|n| n * 2)));
    }
}

#[test]
fn the_program_holds_the_job_back_and_stops_it() {
    let env = env(2);
    let made = Arc::new(AtomicU64::new(0));
    let count = made.clone();
    let endless = env.sequence(0..).inspect(move |_| {
        count.fetch_add(1, SeqCst);
    });
    let mut stream = endless.collect_stream();
    assert_eq!(stream.by_ref().take(1000).filter_map(Result::ok).count(), 1000);
    in_time(env.config().interrupt.clone(), || drop(stream));
    assert!(!env.config().interrupt.is_raised());
    let made = made.load(SeqCst);
    assert!(made < 10_000_000, "{made} records were made though nobody took them");
    // The environment is free for the next job.
    assert_eq!(env.sequence(0..10).count().unwrap(), 10);
    drop(endless.collect_stream());
}

#[test]
fn the_error_of_the_job_is_the_last_item() {
    let env = env(2);
    let stream = env.sequence(0..100_000).try_map(|n| if n == 60_000 { Err("no") } else { Ok(n) }).collect_stream();
    let mut items: Vec<_> = in_time(env.config().interrupt.clone(), || stream.collect());
    let error = items.pop().unwrap().unwrap_err().to_string();
    assert!(error.contains("try_map") && error.contains("no"), "{error}");
    assert!(items.iter().all(Result::is_ok));

    // Also of one that cannot even begin.
    let poor = Env::new(Config { threads: 0, ..Config::default() });
    let mut stream = poor.sequence(0..10).collect_stream();
    assert!(matches!(stream.next(), Some(Err(Error::Plan(_)))));
    assert!(stream.next().is_none());
}

#[test]
fn results_may_be_taken_within_an_async_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let env = env(2);
    let found = runtime.block_on(async { env.sequence(0..5000).collect_stream().filter_map(Result::ok).count() });
    assert_eq!(found, 5000);
}

#[test]
fn of_several_processes_the_first_gets_the_results() {
    let listeners = [listen(), listen()];
    let hosts: Vec<String> = listeners.iter().map(|l| l.1.clone()).collect();
    drop(listeners);
    let interrupts = [Interrupt::default(), Interrupt::default()];
    let found = thread::scope(|scope| {
        let processes: Vec<_> = (0..2)
            .map(|process| {
                let interrupt = interrupts[process].clone();
                let hosts = hosts.clone();
                let config =
                    Config { threads: 2, memory: 16 << 20, hosts, process, interrupt: interrupt.clone(), ..Config::default() };
                scope.spawn(move || {
                    let env = Env::new(config);
                    let stream = env.sequence(0..100_000).collect_stream();
                    in_time(interrupt, || stream.collect::<Result<Vec<u64>, _>>()).unwrap()
                })
            })
            .collect();
        processes.into_iter().map(|p| p.join().unwrap()).collect::<Vec<_>>()
    });
    let mut first = found[0].clone();
    first.sort_unstable();
    assert!(first.into_iter().eq(0..100_000));
    assert!(found[1].is_empty());
}
