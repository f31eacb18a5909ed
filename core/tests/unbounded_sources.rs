//! Jobs over sources that need not end: every record once, readers held back by jobs that do not keep up, and everything
//! let go when a job ends, fails or is stopped.

use fluvial_core::{ChannelClosed, Config, Data, DataStream, Env, Error, Interrupt, Result};
use futures_util::stream;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

fn env(threads: usize) -> Env {
    Env::new(Config { threads, ..Config::default() })
}

/// A job on a thread of its own, whose records come out as it makes them.
struct Running<T> {
    records: mpsc::Receiver<T>,
    job: JoinHandle<Result<Vec<T>>>,
    interrupt: Interrupt,
}

impl<T: Data + Debug> Running<T> {
    fn start(stream: DataStream<T>, env: &Env) -> Self {
        let (send, records) = mpsc::channel();
        let looked_at = stream.inspect(move |record: &T| {
            let _ = send.send(record.clone());
        });
        let interrupt = env.config().interrupt.clone();
        let job = thread::spawn(move || looked_at.filter(|_| false).collect());
        Self { records, job, interrupt }
    }

    fn next(&self) -> T {
        self.records.recv_timeout(DEADLINE).expect("a record before the deadline")
    }

    /// Ends the job: it drains, or is aborted.
    fn stop(self) {
        self.interrupt.raise();
        let ended = self.job.join().expect("the job's thread");
        assert!(matches!(ended, Ok(_) | Err(Error::Interrupted)), "{ended:?}");
    }
}

#[test]
fn generated_numbers_come_once_and_not_before_they_are_due() {
    let start = Instant::now();
    let mut numbers = env(3).generator(|n| n).rate(100_000.0).count(5_000).stream().collect().unwrap();
    assert!(start.elapsed() >= Duration::from_micros(49_990), "{:?}", start.elapsed());
    numbers.sort();
    assert_eq!(numbers, (0..5_000).collect::<Vec<_>>());
}

#[test]
fn a_generator_without_end_is_stopped_from_outside() {
    let env = env(2);
    let running = Running::start(env.generator(|n| n).rate(2_000.0).stream(), &env);
    let mut seen: Vec<u64> = (0..100).map(|_| running.next()).collect();
    seen.sort();
    // Workers go on side by side: nobody is far ahead of the other.
    assert!(seen[99] < 1_000, "{seen:?}");
    running.stop();
}

#[test]
fn words_from_a_socket_are_counted_by_all_workers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = thread::spawn(move || {
        let mut connection = listener.accept().unwrap().0;
        (0..1_000).for_each(|line| writeln!(connection, "to be {line}").unwrap());
    });
    let words = env(2).socket(address).stream().rebalance().flat_map(|line| {
        line.split(' ').filter(|word| !word.starts_with(char::is_numeric)).map(str::to_owned).collect::<Vec<_>>()
    });
    let mut counts = BTreeMap::new();
    words.collect().unwrap().into_iter().for_each(|word| *counts.entry(word).or_insert(0) += 1);
    assert_eq!(counts, BTreeMap::from([("be".to_owned(), 1_000), ("to".to_owned(), 1_000)]));
    serving.join().unwrap();
}

#[test]
fn a_server_that_sends_more_than_the_job_takes_has_to_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (opened, gate) = mpsc::sync_channel::<()>(1);
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let env = env(1);
    // The first line is not let through before the gate is open; the worker waits with it.
    let lines = env.socket(address).stream().map(move |line| {
        let _ = gate.lock().unwrap().recv_timeout(DEADLINE);
        line.len() as u64
    });
    let running = Running::start(lines, &env);
    let mut connection = listener.accept().unwrap().0;
    connection.set_nonblocking(true).unwrap();
    let line = [&[b'x'; 1 << 16][..], b"\n"].concat();
    let mut sent = 0;
    // Until the connection has been full for a while.
    let mut full_since = Instant::now();
    while full_since.elapsed() < Duration::from_millis(100) {
        match connection.write(&line) {
            Ok(bytes) => {
                sent += bytes;
                full_since = Instant::now();
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        assert!(sent < 64 << 20, "nobody holds the server back");
    }
    drop(opened);
    let _ = running.next();
    running.stop();
    connection.set_nonblocking(false).unwrap();
    // The job is over and its connection closed.
    assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_full_channel_holds_its_senders_back_and_the_last_of_them_ends_the_stream() {
    let env = env(2);
    let (sender, stream) = env.channel::<u64>(8);
    let held_back = (0..).find(|n| sender.try_send(*n).unwrap().is_some());
    assert_eq!(held_back, Some(8));
    let sending: Vec<_> = (0..3u64)
        .map(|thread| {
            let sender = sender.clone();
            thread::spawn(move || (0..1_000).try_for_each(|n| sender.send_blocking(100 + thread * 1_000 + n)))
        })
        .collect();
    drop(sender);
    let mut records = stream.collect().unwrap();
    records.sort();
    assert_eq!(records, (0..8).chain(100..3_100).collect::<Vec<_>>());
    assert!(sending.into_iter().all(|thread| thread.join().unwrap().is_ok()));
    // What was read is gone.
    let again = stream.collect().unwrap_err().to_string();
    assert!(again.ends_with("a channel can be read by one run only, and another has read this one"), "{again}");
}

#[test]
fn who_sends_to_a_job_that_fails_is_told() {
    let (sender, stream) = env(2).channel::<u64>(1);
    let sending = thread::spawn(move || (0..).try_for_each(|n| sender.send_blocking(n)));
    let error = stream.map(|n| if n == 100 { panic!("one hundred") } else { n }).collect().unwrap_err();
    assert!(error.to_string().contains("one hundred"), "{error}");
    let told: std::result::Result<(), ChannelClosed<u64>> = sending.join().unwrap();
    assert!(told.unwrap_err().0 > 100);
}

#[test]
fn a_stream_is_polled_only_a_little_ahead_of_its_job() {
    let polled = Arc::new(AtomicU64::new(0));
    let ahead = Arc::new(AtomicU64::new(0));
    let (counted, seen) = (polled.clone(), polled.clone());
    let most = ahead.clone();
    let endless = move || {
        let counted = counted.clone();
        stream::iter(0..200_000u64).inspect(move |_| _ = counted.fetch_add(1, SeqCst))
    };
    use futures_util::StreamExt;
    let stream = env(1).from_stream(endless).inspect(move |n| {
        most.fetch_max(seen.load(SeqCst).saturating_sub(*n), SeqCst);
    });
    assert_eq!(stream.filter(|n| n % 1_000 == 0).collect().unwrap().len(), 200);
    assert_eq!(polled.load(SeqCst), 200_000);
    assert!(ahead.load(SeqCst) < 10_000, "{} records ahead", ahead.load(SeqCst));
}

#[test]
fn files_that_appear_in_a_folder_are_read_by_the_workers_of_a_running_job() {
    let folder = tempfile::tempdir().unwrap();
    let add = |file: u64| {
        let lines: String = (0..100).map(|line| format!("{}\n", file * 100 + line)).collect();
        std::fs::write(folder.path().join(format!(".{file}")), lines).unwrap();
        std::fs::rename(folder.path().join(format!(".{file}")), folder.path().join(format!("{file}.txt"))).unwrap();
    };
    (0..10).for_each(add);
    let env = env(3);
    let lines = env.follow_folder(folder.path()).suffix(".txt").poll_interval(Duration::from_millis(1)).stream();
    let running = Running::start(lines.map(|line| line.parse::<u64>().unwrap()), &env);
    let mut seen: Vec<u64> = (0..1_000).map(|_| running.next()).collect();
    (10..20).for_each(add);
    seen.extend((0..1_000).map(|_| running.next()));
    seen.sort();
    assert_eq!(seen, (0..2_000).collect::<Vec<_>>());
    running.stop();
}

#[test]
fn a_growing_file_is_followed_by_a_running_job() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let env = env(2);
    let lines = env.tail_file(&path).poll_interval(Duration::from_millis(1)).stream();
    let running = Running::start(lines, &env);
    let mut file = std::fs::File::create(&path).unwrap();
    for line in 0..50 {
        writeln!(file, "line {line}").unwrap();
        assert_eq!(running.next(), format!("line {line}"));
    }
    running.stop();
}
