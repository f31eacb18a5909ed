//! Sources that are faster than what follows them, inputs and workers of different speed: memory stays flat, and nothing waits
//! for ever. `FLUVIAL_SLOW_SINK` set to a number of seconds makes the measurement that long.

use fluvial_core::{Config, Env};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{Receiver, channel};

const DEADLINE: Duration = Duration::from_secs(60);

/// How much resident memory may grow after the first part.
const FLAT: u64 = 64 << 20;

/// Records that a sink takes at a time.
const ROUND: usize = 500;

/// About a KiB.
type Record = (u64, Vec<u8>);

/// Bytes of this process that are resident now.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * 4096
}

fn config(hosts: &[String], process: usize) -> Config {
    Config { threads: 2, memory: 32 << 20, hosts: hosts.to_vec(), process, ..Config::default() }
}

fn loopback(processes: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
}

fn take(receiver: &mut Receiver<Record>, records: usize) {
    (0..records).for_each(|_| drop(receiver.blocking_recv().expect("the job goes on")));
}

/// Sinks that take records only in rounds, from sources that make them as fast as they can, in `processes` processes, all of
/// them in this one. Returns how much memory grew after the first part.
fn measure(processes: usize) -> u64 {
    let hosts = if processes > 1 { loopback(processes) } else { Vec::new() };
    let seconds = std::env::var("FLUVIAL_SLOW_SINK").ok().map(|s| s.parse::<u64>().expect("a number of seconds"));
    let (made, taken, rounds) = (AtomicU64::new(0), AtomicU64::new(0), Barrier::new(processes));
    let made = Arc::new(made);
    let (stopped, start) = (AtomicU64::new(0), Instant::now());
    let (taken, rounds, stopped) = (&taken, &rounds, &stopped);
    thread::scope(|scope| {
        let each = (0..processes).map(|process| {
            let (hosts, made) = (hosts.clone(), made.clone());
            scope.spawn(move || {
                let env = Env::new(config(&hosts, process));
                let (sender, mut receiver) = channel(64);
                let count = move |n| -> Record {
                    made.fetch_add(1, SeqCst);
                    (n, vec![n as u8; 1000])
                };
                env.generator(count).stream().rebalance().map(|r| r).rebalance().send_to(sender);
                let interrupt = env.config().interrupt.clone();
                let job = thread::spawn(move || {
                    let ended = env.execute("slow sinks");
                    env.close();
                    ended
                });
                let (mut round, mut first, mut grown) = (0, 0, 0);
                loop {
                    take(&mut receiver, ROUND);
                    taken.fetch_add(ROUND as u64, SeqCst);
                    round += 1;
                    let over = seconds.map_or(round >= 100, |seconds| start.elapsed() >= Duration::from_secs(seconds));
                    let begun = seconds.map_or(round <= 25, |seconds| start.elapsed() <= Duration::from_secs(seconds / 6));
                    if begun {
                        first = first.max(resident());
                    } else {
                        grown = grown.max(resident().saturating_sub(first));
                    }
                    if over && process == 0 {
                        stopped.store(1, SeqCst);
                    }
                    rounds.wait();
                    if stopped.load(SeqCst) > 0 {
                        break;
                    }
                    rounds.wait();
                }
                interrupt.raise();
                while receiver.blocking_recv().is_some() {
                    taken.fetch_add(1, SeqCst);
                }
                job.join().unwrap().unwrap();
                grown
            })
        });
        let each: Vec<_> = each.collect();
        let grown = each.into_iter().map(|process| process.join().unwrap()).max().unwrap_or(0);
        assert_eq!(taken.load(SeqCst), made.load(SeqCst), "what was made has been taken in the end");
        grown
    })
}

#[test]
fn memory_is_flat_while_a_source_waits_for_its_sink() {
    for processes in [1, 2] {
        let grown = measure(processes);
        eprintln!("{processes} processes: {} KiB more resident after the first part", grown >> 10);
        assert!(grown <= FLAT, "{processes} processes: {grown} bytes more resident");
    }
}

/// Runs a job, but not for ever.
fn in_time<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(run()));
    ended.recv_timeout(DEADLINE).expect("the job ends")
}

#[test]
fn inputs_of_different_speed_do_not_hold_each_other_up_for_ever() {
    // Barriers have the fast input wait for the slow one, again and again.
    for barrier_interval in [None, Some(Duration::from_millis(2))] {
        let count = in_time(move || {
            let env = Env::new(Config { barrier_interval, ..config(&[], 0) });
            let slow = env.generator(|n| n).rate(2_000.0).count(400).stream().rebalance();
            let fast = env.generator(|n| n).count(300_000).stream().rebalance();
            slow.connect(&fast).map(|n| n, |n| n).key_by(|n| n % 100).rolling_count().count().unwrap()
        });
        assert_eq!(count, 300_400);
    }
}

#[test]
fn a_slow_worker_holds_nobody_up_for_ever() {
    let count = in_time(|| {
        let env = Env::new(config(&[], 0));
        let numbers = env.generator(|n| n).count(60_000).stream();
        // All of one key, and so of one worker, which takes its time over each record.
        let slow = |n: u64| if n % 20 == 3 { (0..2_000).fold(n, |a, b| std::hint::black_box(a ^ b)) } else { n };
        numbers.key_by(|n| n % 20).rolling_reduce(|_, b| b).map(slow).key_by(|n| n % 7).rolling_count().count().unwrap()
    });
    assert_eq!(count, 60_000);
}
