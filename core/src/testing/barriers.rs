//! Barriers while a job runs: one that reaches one source much later than another changes no result.

use crate::runtime::JobControl;
use crate::{Config, Data, DataStream, Env, Mode};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Numbers that the slow source makes: 0, 1, 2 and so on. Few enough that they never fill the edges for the fast one's.
pub(crate) const SLOW: u64 = 4_000;
/// Numbers that the fast source makes.
pub(crate) const FAST: u64 = 20_000;

/// Numbers at which the slow source asks for a barrier, in the middle of its turn: so it passes it after all others. With two
/// and with three workers these are all made by the same one.
const HELD: [u64; 3] = [99, 201, 303];

/// Numbers a second of the slow source where it has no worker of its own: then the fast source has its turns in between.
const RATE: f64 = 1e5;

fn until<R>(mut look: impl FnMut() -> Option<R>) -> R {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "it does not happen");
        std::thread::yield_now();
    }
}

/// Runs a job on two sources and gives its sorted results. The slow source stops its worker now and then until the fast one,
/// on the other workers, has gone on; with `barriers`, one is on its way then, which the fast source passes long before the
/// slow one.
fn run<U: Data + Debug>(
    threads: usize,
    barriers: bool,
    build: &impl Fn(&DataStream<u64>, &DataStream<u64>) -> DataStream<U>,
) -> Vec<String> {
    let env = Env::new(Config { threads, memory: 64 << 20, mode: Mode::Streaming, ..Config::default() });
    let control: Arc<OnceLock<JobControl>> = Arc::default();
    let fast_made = Arc::new(AtomicU64::new(0));
    let (made, job) = (fast_made.clone(), control.clone());
    let slow = env.generator(move |n| {
        if HELD.contains(&n) {
            if barriers {
                until(|| job.get()).trigger_epoch();
            }
            if threads > 1 {
                let enough = (made.load(SeqCst) + 200).min(9_000);
                until(|| (made.load(SeqCst) >= enough).then_some(()));
            }
        }
        n
    });
    let fast = env.generator(move |n| {
        fast_made.fetch_add(1, SeqCst);
        n
    });
    let results: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = results.clone();
    let slow = if threads == 1 { slow.rate(RATE) } else { slow };
    build(&slow.count(SLOW).stream(), &fast.count(FAST).stream())
        .for_each(move |result| sink.lock().unwrap().push(format!("{result:?}")));
    env.execute_controlled("barriers", |started| drop(control.set(started))).unwrap();
    let passed = control.get().and_then(JobControl::completed_epoch);
    assert_eq!(passed, barriers.then_some(HELD.len() as u64 - 1));
    let mut results = std::mem::take(&mut *results.lock().unwrap());
    results.sort();
    results
}

/// Checks that late barriers do not change what a job gives, so many records, on one to three workers.
pub(crate) fn check_late_barriers<U: Data + Debug>(
    records: u64,
    build: impl Fn(&DataStream<u64>, &DataStream<u64>) -> DataStream<U>,
) {
    let expected = run(1, false, &build);
    assert_eq!(expected.len() as u64, records);
    for threads in 1..=3 {
        assert!(expected == run(threads, true, &build), "barriers have changed the results of {threads} workers");
    }
}
