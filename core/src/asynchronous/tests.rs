//! The operator driven by hand: requests are answered when and in the order in which a test says so.

use super::{AsyncMap, Backoff};
use crate::testing::checkpoints::{Checkpoints, run_from};
use crate::testing::{Emitted, OperatorDriver, split_restore};
use crate::{Config, DataStream, Env, Progress, Result, StateSection, tokio_runtime};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const DEADLINE: Duration = Duration::from_secs(20);

/// A service that answers when it is told to: a number with ten times itself.
#[derive(Clone, Default)]
struct Desk(Arc<(Mutex<Asked>, Condvar)>);

#[derive(Default)]
struct Asked {
    open: BTreeMap<u64, oneshot::Sender<u64>>,
    /// Every request ever.
    all: Vec<u64>,
    /// Most requests under way at a time.
    most: usize,
}

impl Desk {
    fn ask(&self, number: u64) -> impl Future<Output = std::result::Result<u64, oneshot::error::RecvError>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let mut asked = self.0.0.lock().unwrap();
        asked.open.insert(number, sender);
        asked.all.push(number);
        asked.most = asked.most.max(asked.open.len());
        self.0.1.notify_all();
        receiver
    }

    /// Waits until there is what is looked for.
    fn wait_for<R>(&self, mut look: impl FnMut(&mut Asked) -> Option<R>) -> R {
        let deadline = Instant::now() + DEADLINE;
        let mut asked = self.0.0.lock().unwrap();
        loop {
            if let Some(found) = look(&mut asked) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nobody asks; so far {:?}", asked.all);
            asked = self.0.1.wait_timeout(asked, left).unwrap().0;
        }
    }

    /// Takes a request, once it is there.
    fn take(&self, number: u64) -> oneshot::Sender<u64> {
        self.wait_for(|asked| asked.open.remove(&number))
    }

    fn answer(&self, number: u64) {
        self.take(number).send(number * 10).expect("somebody waits for the answer");
    }

    fn all(&self) -> Vec<u64> {
        let mut all = self.0.0.lock().unwrap().all.clone();
        all.sort_unstable();
        all
    }

    fn map(&self) -> AsyncMap<u64, u64, oneshot::error::RecvError, u64> {
        let desk = self.clone();
        numbers().async_map(move |number| desk.ask(number))
    }
}

fn numbers() -> DataStream<u64> {
    Env::default().from_collection([0])
}

fn record(record: u64, time: i64) -> Emitted<u64> {
    Emitted::Record { port: 0, record, time }
}

fn single(stream: DataStream<u64>) -> OperatorDriver {
    OperatorDriver::of(&stream, 0, 1).unwrap()
}

#[test]
fn unordered_results_overtake_each_other_but_the_watermark_waits_for_the_records_before_it() -> Result<()> {
    let desk = Desk::default();
    let mut driver = single(desk.map().unordered().stream());
    driver.push(0, vec![(1u64, 10), (2, 20), (3, 30)])?;
    driver.watermark(25)?;
    assert_eq!(driver.drain::<u64>(), [Emitted::Watermark(9)]);
    desk.answer(3);
    driver.wait_for(1)?;
    assert_eq!(driver.drain(), [record(30, 30)]);
    driver.push(0, vec![(4u64, 26)])?;
    desk.answer(1);
    driver.wait_for(1)?;
    assert_eq!(driver.drain(), [record(10, 10), Emitted::Watermark(19)]);
    driver.watermark(40)?;
    desk.answer(2);
    driver.wait_for(1)?;
    assert_eq!(driver.drain(), [record(20, 20), Emitted::Watermark(25)]);
    desk.answer(4);
    driver.wait_for(1)?;
    assert_eq!(driver.drain(), [record(40, 26), Emitted::Watermark(40)]);
    Ok(())
}

#[test]
fn ordered_results_keep_the_records_order() -> Result<()> {
    let desk = Desk::default();
    let mut driver = single(desk.map().stream());
    driver.push(0, vec![(1u64, 30), (2, 20), (3, 10)])?;
    driver.watermark(25)?;
    assert_eq!(driver.drain::<u64>(), [Emitted::Watermark(9)]);
    for number in [3, 2] {
        desk.answer(number);
        driver.woken()?;
        assert_eq!(driver.drain::<u64>(), []);
    }
    desk.answer(1);
    driver.wait_for(3)?;
    assert_eq!(driver.drain(), [record(10, 30), record(20, 20), record(30, 10), Emitted::Watermark(25)]);
    Ok(())
}

#[test]
fn late_records_do_not_become_later_and_do_not_stop_event_time() -> Result<()> {
    let desk = Desk::default();
    let mut driver = single(desk.map().unordered().stream());
    driver.watermark(50)?;
    driver.push(0, vec![(1u64, 7)])?;
    driver.watermark(60)?;
    driver.push(0, vec![(2u64, 8)])?;
    driver.watermark(70)?;
    assert_eq!(driver.drain::<u64>(), [Emitted::Watermark(50)]);
    desk.answer(1);
    driver.wait_for(1)?;
    assert_eq!(driver.drain(), [record(10, 7), Emitted::Watermark(60)]);
    desk.answer(2);
    driver.wait_for(1)?;
    assert_eq!(driver.drain(), [record(20, 8), Emitted::Watermark(70)]);
    Ok(())
}

#[test]
fn no_more_requests_than_the_capacity_are_under_way() -> Result<()> {
    for ordered in [true, false] {
        let desk = Desk::default();
        let map = desk.map().capacity(2);
        let mut driver = single(if ordered { map.ordered() } else { map.unordered() }.stream());
        let batch = crate::Batch::typed((0..5u64).collect::<Vec<_>>());
        assert_eq!(driver.offer(0, batch)?, Progress::Waiting);
        desk.wait_for(|asked| (asked.open.len() == 2).then_some(()));
        for (number, progress) in [(0, Progress::Waiting), (1, Progress::Waiting), (2, Progress::Done)] {
            desk.answer(number);
            assert_eq!(driver.woken()?, progress);
        }
        desk.answer(3);
        desk.answer(4);
        driver.wait_for(5)?;
        let expected: Vec<_> = [0, 10, 20, 30, 40].map(|r| record(r, i64::MIN)).into();
        let given = driver.drain();
        assert!(given == expected || !ordered, "{given:?}");
        assert_eq!((given.len(), desk.0.0.lock().unwrap().most), (5, 2));
    }
    Ok(())
}

#[test]
fn the_end_waits_for_what_is_under_way() -> Result<()> {
    let desk = Desk::default();
    let mut driver = single(desk.map().stream());
    driver.push(0, vec![(1u64, 10), (2, 10)])?;
    let answers = std::thread::spawn(move || [2, 1].map(|number| desk.answer(number)));
    driver.end(1)?;
    answers.join().unwrap();
    assert_eq!(driver.drain(), [Emitted::Watermark(9), record(10, 10), record(20, 10), Emitted::Watermark(i64::MAX)]);
    Ok(())
}

#[test]
fn a_request_that_takes_too_long_fails_the_job_or_is_substituted() -> Result<()> {
    let limit = Duration::from_millis(5);
    let mut driver = single(Desk::default().map().timeout(limit).stream());
    assert_eq!(failure(&mut driver), "a request was not answered within 5ms");

    let desk = Desk::default();
    let mut driver = single(desk.map().timeout_or(limit, |number| number + 1000).stream());
    driver.push(0, vec![(1u64, 3), (2, 4)])?;
    driver.wait_for(2)?;
    assert_eq!(driver.drain(), [record(1001, 3), record(1002, 4)]);

    // The time between retries counts.
    let failing = numbers().async_map(|_| async { Err::<u64, _>("busy") });
    let mut driver = single(failing.retries(9, Backoff::fixed(DEADLINE * 9)).timeout_or(limit, |_| 7).stream());
    driver.push_plain(0, vec![1u64])?;
    driver.wait_for(1)?;
    assert_eq!(driver.drain(), [record(7, i64::MIN)]);
    Ok(())
}

/// Answers with the number of the attempt, and an error before attempt `good`.
fn attempts(good: u64) -> (Arc<AtomicU64>, AsyncMap<u64, u64, String, u64>) {
    let calls: Arc<AtomicU64> = Arc::default();
    let counted = calls.clone();
    let map = numbers().async_map(move |_| {
        let attempt = counted.fetch_add(1, SeqCst) + 1;
        async move { if attempt < good { Err(format!("attempt {attempt} failed")) } else { Ok(attempt) } }
    });
    (calls, map)
}

/// How a request ends that fails, be it at once or later.
fn failure(driver: &mut OperatorDriver) -> String {
    let mut called = driver.push_plain(0, vec![1u64]);
    loop {
        match called {
            Ok(()) => called = driver.woken().map(drop),
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn requests_are_made_again_as_often_as_allowed() -> Result<()> {
    let at_once = Backoff::fixed(Duration::ZERO);
    let (calls, map) = attempts(3);
    let mut driver = single(map.retries(5, at_once).stream());
    driver.push_plain(0, vec![1u64])?;
    driver.wait_for(1)?;
    assert_eq!((driver.drain(), calls.load(SeqCst)), (vec![record(3, i64::MIN)], 3));

    let (calls, map) = attempts(9);
    let mut driver = single(map.retries(2, at_once).stream());
    assert_eq!((failure(&mut driver), calls.load(SeqCst)), ("attempt 3 failed (3 attempts)".into(), 3));

    let (calls, map) = attempts(1);
    let mut driver = single(map.retries(5, at_once).retry_if(|r| r.as_ref().is_ok_and(|n| *n < 4)).stream());
    driver.push_plain(0, vec![1u64])?;
    driver.wait_for(1)?;
    assert_eq!((driver.drain(), calls.load(SeqCst)), (vec![record(4, i64::MIN)], 4));

    let (calls, map) = attempts(2);
    let mut driver = single(map.retries(5, at_once).retry_if(|r| r.is_ok()).stream());
    assert_eq!((failure(&mut driver), calls.load(SeqCst)), ("attempt 1 failed".into(), 1));
    Ok(())
}

/// The state of two instances: the first has three requests under way, one of them answered, the second one.
fn snapshots() -> Result<Vec<StateSection>> {
    let desk = Desk::default();
    let stream = desk.map().stream();
    let mut sections = Vec::new();
    let mut first = OperatorDriver::of(&stream, 0, 2)?;
    first.push(0, vec![(1u64, 10), (2, 20), (3, 30)])?;
    desk.answer(2);
    first.woken()?;
    let mut second = OperatorDriver::of(&stream, 1, 2)?;
    second.push(0, vec![(4u64, 40)])?;
    for driver in [&mut first, &mut second] {
        assert_eq!(driver.drain::<u64>(), []);
        sections.extend(driver.snapshot()?);
    }
    Ok(sections)
}

#[test]
fn requests_under_way_are_made_again_by_one_instance_after_a_restore() -> Result<()> {
    let sections = snapshots()?;
    for (parts, expected) in
        [(1, vec![vec![1, 2, 3, 4]]), (2, vec![vec![1, 2, 3], vec![4]]), (3, vec![vec![1, 2, 3], vec![4], vec![]])]
    {
        for (part, (state, expected)) in split_restore(sections.clone(), parts).into_iter().zip(expected).enumerate() {
            let desk = Desk::default();
            // Less room than before: the rest waits for it.
            let mut driver = OperatorDriver::of(&desk.map().capacity(2).stream(), part, parts)?;
            driver.restore(state)?;
            for number in &expected {
                desk.answer(*number);
                driver.woken()?;
            }
            driver.watermark(35)?;
            let records: Vec<_> = expected.iter().map(|n| record(n * 10, *n as i64 * 10)).collect();
            assert_eq!(driver.drain(), [records, vec![Emitted::Watermark(35)]].concat());
            assert_eq!(desk.all(), expected);
        }
    }
    Ok(())
}

#[test]
fn restored_records_hold_back_event_time() -> Result<()> {
    let desk = Desk::default();
    let mut driver = single(desk.map().stream());
    driver.restore(split_restore(snapshots()?, 1).remove(0))?;
    driver.watermark(35)?;
    assert_eq!(driver.drain::<u64>(), [Emitted::Watermark(9)]);
    // State that is taken again before anything was answered is the same.
    assert_eq!(driver.snapshot()?.len(), 1);
    Ok(())
}

#[test]
fn requests_end_when_the_job_is_aborted() -> Result<()> {
    for drop_only in [false, true] {
        let desk = Desk::default();
        let mut driver = single(desk.map().stream());
        driver.push_plain(0, vec![1u64])?;
        let mut request = desk.take(1);
        if !drop_only {
            driver.operator().abort();
        }
        let kept = (!drop_only).then_some(driver);
        let gone = tokio_runtime::handle()?.block_on(async { tokio::time::timeout(DEADLINE, request.closed()).await });
        assert!(gone.is_ok(), "the request goes on");
        drop(kept);
    }
    Ok(())
}

#[test]
fn a_panic_is_an_error() {
    let broken = |number: u64| async move { if number == 1 { panic!("boom {number}") } else { Ok::<_, String>(number) } };
    let env = Env::new(Config { threads: 2, ..Config::default() });
    let error = env.sequence(0..3).async_map(broken).stream().name("lookup").collect().unwrap_err().to_string();
    assert!(error.starts_with("operator `lookup") && error.contains("boom 1 (at "), "{error}");
}

#[test]
fn jobs_wait_for_requests_without_blocking_workers() -> Result<()> {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (under_way, highest) = (now.clone(), most.clone());
    let ask = move |number: u64| {
        let (under_way, highest) = (under_way.clone(), highest.clone());
        async move {
            highest.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
            for _ in 0..number % 7 {
                tokio::task::yield_now().await;
            }
            under_way.fetch_sub(1, SeqCst);
            Ok::<_, String>(vec![number; (number % 3) as usize])
        }
    };
    let expected: Vec<u64> = (0..5000).flat_map(|n| vec![n; (n % 3) as usize]).collect();
    let env = Env::new(Config { threads: 2, ..Config::default() });
    let mut unordered = env.sequence(0..5000).async_flat_map(ask.clone()).unordered().capacity(10).stream().collect()?;
    unordered.sort_unstable();
    assert!(unordered == expected && most.load(SeqCst) <= 20, "{} requests at a time", most.load(SeqCst));
    // Two operations of one worker wait for each other's results.
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let twice =
        env.sequence(0..5000).async_flat_map(ask).capacity(3).stream().async_map_infallible(|n| async move { n }).stream();
    assert_eq!(twice.collect()?, expected);
    Ok(())
}

#[test]
fn a_job_that_fails_makes_the_requests_again_that_were_under_way() -> Result<()> {
    for (before, after) in [(1, 2), (2, 1), (2, 3), (3, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let (open, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let asked: Arc<Mutex<Vec<u64>>> = Arc::default();
        let job = |count: u64| -> Result<Env> {
            let (env, open, made, asked) = (Env::default(), open.clone(), made.clone(), asked.clone());
            let ask = move |number: u64| {
                let held = number < 40 && open.load(SeqCst) == 0;
                if number < 40 {
                    asked.lock().unwrap().push(number);
                }
                async move {
                    if held {
                        // Until the job fails.
                        std::future::pending::<()>().await;
                    }
                    number * 10
                }
            };
            let make = move |n| {
                made.fetch_max(n, SeqCst);
                n
            };
            let numbers = env.generator(make).rate(100_000.0).count(count).stream();
            let answers = numbers.async_map_infallible(ask).unordered().capacity(100).stream();
            answers.write_files(folder.path()).text().transactional().add()?;
            Ok(env)
        };
        let kept = Checkpoints::default();
        let failed = run_from(
            &kept,
            &job(u64::MAX)?,
            before,
            |_| true,
            |run| {
                let start = Instant::now();
                while asked.lock().unwrap().len() < 40 && start.elapsed() < DEADLINE {
                    std::thread::yield_now();
                }
                (0..2).for_each(|_| run.checkpoint());
                run.fail();
            },
        );
        assert_eq!(failed.unwrap_err().to_string(), "a failure");
        let mut first = std::mem::take(&mut *asked.lock().unwrap());
        first.sort_unstable();
        assert!(first.into_iter().eq(0..40));
        open.store(1, SeqCst);
        let count = made.load(SeqCst) + 2_000;
        run_from(&kept, &job(count)?, after, |_| true, |_| ())?;
        let mut again = std::mem::take(&mut *asked.lock().unwrap());
        again.sort_unstable();
        assert!(again.into_iter().eq(0..40), "each by one instance");
        let env = Env::default();
        let lines = env.read_text(&[folder.path().to_str().unwrap()])?.collect()?;
        let mut found: Vec<u64> = lines.iter().map(|line| line.parse().unwrap()).collect();
        found.sort_unstable();
        assert!(found.into_iter().eq((0..count).map(|n| n * 10)), "{before} workers, then {after}");
    }
    Ok(())
}
