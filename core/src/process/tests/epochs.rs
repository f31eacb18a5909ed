//! Barriers while a job runs: one that reaches one source much later than another changes no result.

use crate::runtime::JobControl;
use crate::state::{KeyedState, ValueState};
use crate::{Config, DataStream, Env, KeyedContext, KeyedProcessFunction, Mode, Result, Timer, WatermarkStrategy};
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Numbers at which the slow source stops, all of the second worker's.
const HELD: [u64; 3] = [99, 199, 299];

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

/// Runs a job on two sources. The slow one stops its worker now and then until the fast one, on the other worker, has gone on;
/// with `barriers`, one is on its way then, which the fast source passes long before the slow one.
fn run<U: Debug + crate::Data>(
    barriers: bool,
    build: &impl Fn(&DataStream<u64>, &DataStream<u64>) -> DataStream<U>,
) -> Vec<String> {
    let env = Env::new(Config { threads: 2, memory: 64 << 20, mode: Mode::Streaming, ..Config::default() });
    let control: Arc<OnceLock<JobControl>> = Arc::default();
    let fast_made = Arc::new(AtomicU64::new(0));
    let (made, job) = (fast_made.clone(), control.clone());
    let slow = env.generator(move |n| {
        if HELD.contains(&n) {
            if barriers {
                until(|| job.get()).trigger_epoch();
            }
            let enough = (made.load(SeqCst) + 200).min(9_000);
            until(|| (made.load(SeqCst) >= enough).then_some(()));
        }
        n
    });
    let fast = env.generator(move |n| {
        fast_made.fetch_add(1, SeqCst);
        n
    });
    let results: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = results.clone();
    build(&slow.count(4_000).stream(), &fast.count(20_000).stream())
        .for_each(move |result| sink.lock().unwrap().push(format!("{result:?}")));
    env.execute_controlled("epochs", |started| drop(control.set(started))).unwrap();
    let passed = control.get().and_then(JobControl::completed_epoch);
    assert_eq!(passed, barriers.then_some(HELD.len() as u64 - 1));
    let mut results = std::mem::take(&mut *results.lock().unwrap());
    results.sort();
    results
}

fn check<U: Debug + crate::Data>(records: usize, build: impl Fn(&DataStream<u64>, &DataStream<u64>) -> DataStream<U>) {
    let without = run(false, &build);
    assert_eq!(without.len(), records);
    assert!(without == run(true, &build), "barriers have changed the results");
}

#[test]
fn rolling_state_of_two_united_streams() {
    check(24_000, |slow, fast| slow.union(fast).key_by(|n| n % 7).rolling_count());
}

#[test]
fn connected_streams() {
    check(24_000, |slow, fast| slow.clone().rebalance().connect(&fast.clone().rebalance()).map(|n| n * 2, |n| n * 2 + 1));
}

#[test]
fn requests_under_way() {
    check(24_000, |slow, fast| slow.union(fast).rebalance().async_map_infallible(|n| async move { n + 1 }).ordered().stream());
}

/// Counts, and says the count when event time has come to its end.
struct Count(ValueState<u64>);

impl KeyedProcessFunction<u64, u64> for Count {
    type Output = (u64, u64);

    fn process(&mut self, _: u64, context: &mut KeyedContext<'_, u64, Self::Output>) -> Result<()> {
        self.0.set(self.0.get().unwrap_or(0) + 1);
        context.set_event_timer(1_000_000);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, context: &mut KeyedContext<'_, u64, Self::Output>) -> Result<()> {
        context.emit((context.key(), self.0.get().unwrap_or(0)));
        Ok(())
    }
}

#[test]
fn state_and_timers_of_keys() {
    check(11, |slow, fast| {
        let timed = |stream: &DataStream<u64>| {
            stream.assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|n: &u64| *n as i64))
        };
        let both = timed(slow).union(&timed(fast));
        both.key_by(|n| n % 11).process(|state: &mut KeyedState| Ok(Count(state.value("count")?)))
    });
}
