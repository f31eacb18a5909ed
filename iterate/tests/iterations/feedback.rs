//! Loops over streams.

use crate::kit::sorted;
use fluvial_core::{
    Config, Env, KeyedContext, KeyedProcessFunction, KeyedState, Mode, Result, Timer, ValueState, WatermarkStrategy,
};
use fluvial_iterate::Feedback;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

fn env(threads: usize, barriers: Option<Duration>) -> Env {
    Env::new(Config { threads, mode: Mode::Streaming, barrier_interval: barriers, ..Config::default() })
}

/// How many steps it takes from each number to one, if an even number is halved and an odd one becomes three times itself and one.
fn collatz(n: u64) -> u64 {
    std::iter::successors(Some(n), |n| (*n > 1).then(|| if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 })).count() as u64 - 1
}

#[test]
fn records_go_around_until_they_leave() -> Result<()> {
    for threads in 1..=3 {
        for barriers in [None, Some(Duration::from_millis(1))] {
            let steps = env(threads, barriers).sequence(1..=2000).map(|n| (n, n, 0u64)).feedback(|numbers| {
                let back = numbers
                    .filter(|n| n.1 > 1)
                    .map(|(n, at, steps)| (n, if at % 2 == 0 { at / 2 } else { 3 * at + 1 }, steps + 1));
                (back.rebalance(), numbers.filter(|n| n.1 == 1).map(|n| (n.0, n.2)))
            });
            let expected: Vec<(u64, u64)> = (1..=2000).map(|n| (n, collatz(n))).collect();
            assert_eq!(sorted(steps.collect()?)?, expected, "{threads} workers");
        }
    }
    Ok(())
}

/// Counts the records of a key that went by, and at which watermarks its timers fired.
struct Visits {
    count: ValueState<u64>,
    fired: Arc<Mutex<Vec<i64>>>,
}

impl KeyedProcessFunction<u64, (u64, u64)> for Visits {
    type Output = (u64, u64);
    fn process(&mut self, (key, left): (u64, u64), context: &mut KeyedContext<'_, u64, (u64, u64)>) -> Result<()> {
        self.count.set(self.count.get().unwrap_or(0) + 1);
        if let Some(time) = context.time() {
            context.set_event_timer(time + 10);
        }
        context.emit((key, left));
        Ok(())
    }
    fn on_timer(&mut self, timer: Timer, _: &mut KeyedContext<'_, u64, (u64, u64)>) -> Result<()> {
        self.fired.lock().unwrap().push(timer.time);
        Ok(())
    }
}

#[test]
fn operations_in_the_loop_see_the_watermark_move() -> Result<()> {
    for threads in 1..=2 {
        let fired: Arc<Mutex<Vec<i64>>> = Arc::default();
        let noted = fired.clone();
        let env = env(threads, Some(Duration::from_millis(2)));
        let numbers = env.generator(|n| n).count(3000).rate(30_000.0).stream();
        let timed =
            numbers.assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|n: &u64| *n as i64));
        let result = timed.map(|n| (n % 10, 3u64)).feedback(|records| {
            let noted = noted.clone();
            let visits = move |state: &mut KeyedState| Ok(Visits { count: state.value("count")?, fired: noted.clone() });
            let seen = records.key_by(|r| r.0).process(visits);
            (seen.filter(|r| r.1 > 0).map(|(key, left)| (key, left - 1)), seen.filter(|r| r.1 == 0).map(|r| r.0))
        });
        assert_eq!(result.count()?, 3000, "{threads} workers");
        let fired = fired.lock().unwrap();
        // Timers of event time fired while records still came, and the clock of the loop did not stand still.
        assert!(fired.iter().filter(|t| **t < 2000).count() > 500, "{} timers, {threads} workers", fired.len());
    }
    Ok(())
}

#[test]
fn what_finds_no_room_in_a_loop_goes_to_disk() -> Result<()> {
    const LEAVES: u64 = 1 << 19;
    let env = Env::new(Config { threads: 2, mode: Mode::Streaming, memory: 8 << 20, ..Config::default() });
    // Each node of a tree becomes two: in the end half of them wait in the loop at once, some 70 MiB.
    let leaves = env.from_collection([1u64]).map(|n| (n, String::new())).feedback(|nodes| {
        let children = nodes.filter(|n| n.0 < LEAVES).flat_map(|n| [2 * n.0, 2 * n.0 + 1].map(|n| (n, format!("{n:>100}"))));
        (children.rebalance(), nodes.filter(|n| n.0 >= LEAVES).map(|n| n.0))
    });
    let (count, sum) = (leaves.counted(), leaves.sum(|n| *n));
    assert_eq!((count.collect()?, sum.collect()?), (vec![LEAVES], vec![(LEAVES..2 * LEAVES).sum()]));
    assert!(env.last_report().unwrap().spilled_bytes > 0);
    Ok(())
}

/// Answers a little later.
async fn later(record: (u64, u64)) -> (u64, u64) {
    let mut polls = 0;
    std::future::poll_fn(|context| {
        polls += 1;
        context.waker().wake_by_ref();
        if polls > 50 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    record
}

#[test]
fn a_loop_is_not_empty_while_answers_are_on_their_way() -> Result<()> {
    for threads in 1..=2 {
        let left = env(threads, None).sequence(0..200).map(|n| (n, 10u64)).feedback(|records| {
            let answered = records.async_map_infallible(later).capacity(20).stream();
            (answered.filter(|r| r.1 > 0).map(|(n, left)| (n, left - 1)), answered.filter(|r| r.1 == 0).map(|r| r.0))
        });
        assert_eq!(sorted(left.collect()?)?, (0..200).collect::<Vec<_>>(), "{threads} workers");
    }
    Ok(())
}

#[test]
fn what_waits_for_the_end_of_a_loop_over_a_stream_is_refused() {
    let result = env(1, None).sequence(0..5).feedback(|numbers| (numbers.key_by(|n| *n).reduce(|a, _| a), numbers.clone()));
    let error = result.count().unwrap_err().to_string();
    assert!(error.contains("in a loop over a stream it never does"), "{error}");
}

#[test]
fn a_clean_stop_drains_the_loop() -> Result<()> {
    let env = Env::new(Config { threads: 2, stop_after: Some(Duration::from_millis(200)), ..Config::default() });
    let entered: Arc<Mutex<u64>> = Arc::default();
    let counted = entered.clone();
    let numbers = env.generator(|n| n).rate(5000.0).stream().inspect(move |_| *counted.lock().unwrap() += 1);
    let left = numbers
        .map(|n| (n, 20u64))
        .feedback(|records| (records.filter(|r| r.1 > 0).map(|(n, left)| (n, left - 1)), records.filter(|r| r.1 == 0)));
    let left = left.count()?;
    assert!(left > 0);
    assert_eq!(left, *entered.lock().unwrap());
    Ok(())
}
