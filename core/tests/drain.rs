//! Jobs on data that does not end, stopped from outside: what was taken is processed, and the job ends well.

use fluvial_core::{Clock, Config, DataStream, Env, Error, Result, launch};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);
/// Names the folder that processes started by a test write to.
const FOLDER: &str = "FLUVIAL_TEST_DRAIN";

/// What sources have made and sinks have seen, in this process.
#[derive(Clone, Default)]
struct Seen {
    made: Arc<AtomicU64>,
    counted: Arc<AtomicU64>,
}

impl Seen {
    /// Numbers without end, counted by key on other workers.
    fn job(&self, env: &Env) -> DataStream<(u64, u64)> {
        let (made, counted) = (self.made.clone(), self.counted.clone());
        let numbers = env.generator(move |n| {
            made.fetch_add(1, SeqCst);
            n
        });
        numbers.rate(20_000.0).stream().key_by(|n| n % 10).rolling_count().inspect(move |_| {
            counted.fetch_add(1, SeqCst);
        })
    }

    /// Waits until that many more have been counted.
    fn more(&self, count: u64) {
        let (start, from) = (Instant::now(), self.counted.load(SeqCst));
        while self.counted.load(SeqCst) < from + count {
            assert!(start.elapsed() < DEADLINE, "nothing is counted");
            thread::yield_now();
        }
    }

    /// All that was made has been counted, and each key's last count is the number of its records.
    fn assert_complete(&self, counts: &[(u64, u64)], of_all: u64) {
        assert_eq!(counts.len() as u64, of_all);
        let last = |key| counts.iter().filter(|c| c.0 == key).map(|c| c.1).max().unwrap_or(0);
        assert_eq!((0..10).map(last).sum::<u64>(), of_all);
    }
}

fn config(threads: usize) -> Config {
    Config { threads, memory: 32 << 20, ..Config::default() }
}

fn loopback(processes: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
}

#[test]
fn an_interrupt_drains_a_streaming_job() {
    let (seen, env) = (Seen::default(), Env::new(config(2)));
    let interrupt = env.config().interrupt.clone();
    let counts = thread::scope(|scope| {
        let job = scope.spawn(|| seen.job(&env).collect());
        seen.more(500);
        assert!(interrupt.is_gentle());
        assert_eq!(interrupt.raise(), 1);
        job.join().unwrap().unwrap()
    });
    assert!(!interrupt.is_gentle());
    seen.assert_complete(&counts, seen.made.load(SeqCst));
    assert!(matches!(env.sequence(0..10).collect(), Err(Error::Interrupted)), "no other job begins");
}

#[test]
fn files_are_complete_after_a_drain() {
    let (seen, env) = (Seen::default(), Env::new(config(2)));
    let folder = tempfile::tempdir().unwrap();
    seen.job(&env).write_files(folder.path()).roll_at_bytes(10_000).json_lines().add().unwrap();
    let interrupt = env.config().interrupt.clone();
    thread::scope(|scope| {
        let job = scope.spawn(|| env.execute("drained"));
        seen.more(2_000);
        interrupt.raise();
        job.join().unwrap().unwrap();
    });
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let counts: Vec<(u64, u64)> =
        files.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect();
    seen.assert_complete(&counts, seen.made.load(SeqCst));
}

#[test]
fn the_second_interrupt_ends_a_job_that_drains() {
    let (seen, env) = (Seen::default(), Env::new(config(2)));
    let interrupt = env.config().interrupt.clone();
    // A step that is held up, so that the job cannot end by itself in between.
    let (hold, held) = mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let slow = seen.job(&env).map(move |count| {
        let _ = held.lock().unwrap().recv();
        count
    });
    let ended = thread::scope(|scope| {
        let job = scope.spawn(|| slow.collect());
        seen.more(1);
        interrupt.raise();
        interrupt.raise();
        drop(hold);
        job.join().unwrap()
    });
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
}

#[test]
fn a_job_takes_input_for_as_long_as_it_is_told() {
    let (seen, clock) = (Seen::default(), Clock::manual(1_000));
    let stop_after = Some(Duration::from_secs(5));
    let env = Env::new(Config { clock: clock.clone(), stop_after, ..config(2) });
    let counts = thread::scope(|scope| {
        let job = scope.spawn(|| seen.job(&env).collect());
        seen.more(1);
        clock.advance_to(5_999);
        seen.more(500);
        clock.advance_to(6_000);
        job.join().unwrap().unwrap()
    });
    seen.assert_complete(&counts, seen.made.load(SeqCst));
    // By the system's clock, and the environment is as good as before.
    let env = Env::new(Config { stop_after: Some(Duration::from_millis(50)), ..config(2) });
    for _ in 0..2 {
        let seen = Seen::default();
        let counts = seen.job(&env).collect().unwrap();
        seen.assert_complete(&counts, seen.made.load(SeqCst));
    }
}

/// Runs the job as each of two processes, which live in this one.
fn both(seen: &[Seen; 2], stop: impl FnOnce(&[Env; 2])) -> [Result<Vec<(u64, u64)>>; 2] {
    let hosts = loopback(2);
    let envs = [0, 1].map(|process| Env::new(Config { hosts: hosts.clone(), process, ..config(2) }));
    thread::scope(|scope| {
        let jobs = [0, 1].map(|p| {
            let (seen, env) = (&seen[p], &envs[p]);
            scope.spawn(move || {
                let counts = seen.job(env).collect();
                env.close();
                counts
            })
        });
        seen.iter().for_each(|seen| seen.more(500));
        stop(&envs);
        jobs.map(|job| job.join().unwrap())
    })
}

#[test]
fn all_processes_drain_with_one() {
    let seen = [Seen::default(), Seen::default()];
    let results = both(&seen, |envs| drop(envs[1].config().interrupt.raise()));
    let made = seen.iter().map(|seen| seen.made.load(SeqCst)).sum();
    for (seen, counts) in seen.iter().zip(results) {
        seen.assert_complete(&counts.unwrap(), made);
    }
}

#[test]
fn interrupts_of_two_processes_are_one_each() {
    // As Ctrl-C has it: everybody in the terminal's group gets the signal.
    let seen = [Seen::default(), Seen::default()];
    let results = both(&seen, |envs| envs.iter().for_each(|env| drop(env.config().interrupt.raise())));
    let made = seen.iter().map(|seen| seen.made.load(SeqCst)).sum();
    for (seen, counts) in seen.iter().zip(results) {
        seen.assert_complete(&counts.unwrap(), made);
    }
}

/// A program that makes itself a job of two processes, in the test below; an empty test otherwise.
#[test]
fn launched() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut config = config(2);
    let children = launch(2, &mut config).unwrap();
    let process = config.process;
    let (seen, env) = (Seen::default(), Env::new(config));
    let result = thread::scope(|scope| {
        if process == 0 {
            scope.spawn(|| {
                seen.more(500);
                env.config().interrupt.raise();
            });
        }
        seen.job(&env).collect()
    });
    env.close();
    let result = match children {
        Some(children) => children.conclude(result),
        None => result,
    };
    let told = format!("{} {}", seen.made.load(SeqCst), result.map_or_else(|e| e.to_string(), |counts| counts.len().to_string()));
    std::fs::write(std::path::Path::new(&folder).join(process.to_string()), told).unwrap();
}

#[test]
fn a_launched_process_drains_with_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "launched", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let told = ["0", "1"].map(|process| std::fs::read_to_string(folder.path().join(process)).unwrap());
    let numbers = told.each_ref().map(|told| told.split(' ').map(|n| n.parse::<usize>().expect(told)).collect::<Vec<_>>());
    assert_eq!(numbers[0][1], numbers[1][1]);
    assert_eq!(numbers[0][1], numbers[0][0] + numbers[1][0]);
}
