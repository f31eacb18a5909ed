//! Records made from their numbers, as fast as they are taken or at a rate.

use super::lanes::{Lanes, Run};
use super::{POLL_RECORDS, add_source, position};
use crate::chain::{BoxCollector, Context};
use crate::graph::{NodeMetrics, TaskContext};
use crate::{Data, DataStream, Env, Error, Output, Progress, Restored, Result, Snapshot, Source};
use std::ops::RangeFrom;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

impl Env {
    /// Records that `make` makes from their numbers 0, 1, 2, ...: without end unless a [count](Generator::count) is given,
    /// as fast as they are taken unless a [rate](Generator::rate) is.
    ///
    /// The numbers are interleaved over the workers of all processes: worker `w` of `W` makes `w, w + W, w + 2 W, ...`, so
    /// that the event times of all advance together; no worker of a process runs far ahead of another. A restored job goes on where it was, also with another number of
    /// workers.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// let env = Env::default();
    /// let readings = env.generator(|n| (n % 3, n as f64)).rate(1e6).count(3_000).stream();
    /// assert_eq!(readings.filter(|(sensor, _)| *sensor == 1).count()?, 1_000);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn generator<T, F>(&self, make: F) -> Generator<F>
    where
        T: Data,
        F: Fn(u64) -> T + Clone + Send + Sync + 'static,
    {
        Generator { env: self.clone(), kind: "generator", make, rate: None, count: None }
    }

    /// The numbers from `range.start` on; divided over the workers, and given a rate, like those of [`Env::generator`].
    ///
    /// ```
    /// use fluvial_core::Env;
    /// let env = Env::default();
    /// let mut numbers = env.unbounded_sequence(10..).count(4).stream().collect()?;
    /// numbers.sort();
    /// assert_eq!(numbers, [10, 11, 12, 13]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn unbounded_sequence(&self, range: RangeFrom<u64>) -> Generator<impl Fn(u64) -> u64 + Clone + Send + Sync + 'static> {
        let start = range.start;
        let make = move |n| start + n;
        // The numbers end where their type does.
        Generator { env: self.clone(), kind: "sequence", make, rate: None, count: None }.at_most(u64::MAX - start)
    }
}

/// A source of generated records, before it is made a stream; see [`Env::generator`].
#[must_use = "a source is part of the job once it is a stream"]
pub struct Generator<F> {
    env: Env,
    kind: &'static str,
    make: F,
    rate: Option<f64>,
    /// The first number that is not made, and whether the user said so.
    count: Option<(u64, bool)>,
}

impl<F> Generator<F> {
    /// So many records a second, all workers together. Record `n` is due `n / rate` seconds after the start and leaves
    /// some microseconds later, unless what follows is behind: then it catches up as fast as it can.
    pub fn rate(self, records_per_second: f64) -> Self {
        Self { rate: Some(records_per_second), ..self }
    }

    /// Ends after so many records, which makes the stream a bounded one.
    pub fn count(self, records: u64) -> Self {
        let most = self.count.map_or(u64::MAX, |(most, _)| most);
        Self { count: Some((records.min(most), true)), ..self }
    }

    fn at_most(self, records: u64) -> Self {
        Self { count: Some((records, false)), ..self }
    }

    /// The stream of its records.
    pub fn stream<T>(self) -> DataStream<T>
    where
        T: Data,
        F: Fn(u64) -> T + Clone + Send + Sync + 'static,
    {
        let Self { env, kind, make, rate, count } = self;
        let bounded = count.filter(|(_, said)| *said).map(|(count, _)| count);
        let end = count.map_or(u64::MAX, |(count, _)| count);
        let detail = match (bounded, rate) {
            (Some(count), None) => format!("{count} records"),
            (Some(count), Some(rate)) => format!("{count} records, {rate} a second"),
            (None, Some(rate)) => format!("{rate} records a second"),
            (None, None) => String::new(),
        };
        add_source(&env, kind, detail, bounded, move |context, next| {
            let pace = rate.map(|rate| Pace::new(rate, context)).transpose()?;
            let (worker, workers) = (context.worker, context.workers);
            let lanes = Lanes::new(end, worker, workers);
            let next = next.into::<T>()?;
            Ok(Box::new(GeneratorSource {
                make: make.clone(),
                lanes,
                end,
                worker,
                workers,
                pace,
                together: Together::join(context),
                wake: None,
                next,
                metrics: context.metrics.clone(),
                ended: false,
            }))
        })
    }
}

/// How far, in polls of every worker, the numbers of one worker may be ahead of those of another.
const AHEAD: u64 = 16;
/// How long a worker that is ahead waits before it looks again.
const PATIENCE: Duration = Duration::from_micros(100);

/// Keeps the workers of a process together: one that is slowed down (by its share of the keys, by the machine) must not let
/// the others run ahead, since event time waits for the last and everything behind it keeps what is ahead of event time.
struct Together {
    /// The next number of each worker of this process.
    next: Arc<Vec<AtomicU64>>,
    own: usize,
    ahead: u64,
}

impl Together {
    fn join(context: &TaskContext) -> Self {
        let workers = context.local_workers;
        let next = context.shared(|| (0..workers).map(|_| AtomicU64::new(0)).collect());
        Self { next, own: context.local_worker, ahead: AHEAD * (POLL_RECORDS * context.workers) as u64 }
    }

    /// This worker is at a number; says below which it may go on.
    fn at(&self, number: u64) -> u64 {
        self.next[self.own].store(number, Relaxed);
        let last = self.next.iter().map(|next| next.load(Relaxed)).min().unwrap_or(0);
        last.saturating_add(self.ahead)
    }
}

impl Drop for Together {
    /// Nobody waits for a worker that makes no more.
    fn drop(&mut self) {
        self.next[self.own].store(u64::MAX, Relaxed);
    }
}

/// When which number is due.
struct Pace {
    rate: f64,
    /// The number that is due at the start.
    first: u64,
    start: Arc<Start>,
}

/// When the first instance of the process was polled for the first time.
#[derive(Default)]
struct Start(OnceLock<Instant>);

impl Pace {
    fn new(rate: f64, context: &TaskContext) -> Result<Self> {
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Error::Plan(format!("a rate of {rate} records a second, expected a positive number")));
        }
        Ok(Self { rate, first: 0, start: context.shared(Start::default) })
    }

    fn start(&self) -> Instant {
        *self.start.0.get_or_init(Instant::now)
    }

    /// The first number that is not due yet.
    fn due(&self) -> u64 {
        let since = self.start().elapsed().as_secs_f64();
        self.first.saturating_add((since * self.rate) as u64).saturating_add(1)
    }

    /// When `number` is due; `None` if that is beyond what clocks can tell.
    fn time_of(&self, number: u64) -> Option<Instant> {
        let since = number.saturating_sub(self.first) as f64 / self.rate;
        self.start().checked_add(Duration::try_from_secs_f64(since).ok()?)
    }
}

struct GeneratorSource<T, F> {
    make: F,
    lanes: Lanes,
    /// The first number that nobody makes.
    end: u64,
    worker: usize,
    workers: usize,
    pace: Option<Pace>,
    together: Together,
    /// When the next number is due.
    wake: Option<Instant>,
    next: BoxCollector<T>,
    metrics: Arc<NodeMetrics>,
    ended: bool,
}

impl<T: Data, F: Fn(u64) -> T> GeneratorSource<T, F> {
    /// Pushes what is due, some of it if it is much.
    fn make(&mut self, context: &mut Context<'_>) -> Progress {
        let leash = self.together.at(self.lanes.next().unwrap_or(u64::MAX));
        let due = self.pace.as_ref().map_or(u64::MAX, Pace::due);
        let below = due.min(leash);
        let mut left = POLL_RECORDS as u64;
        while left > 0 {
            let Some(Run { start, step, len }) = self.lanes.take(left, below) else { break };
            let mut number = start;
            for _ in 0..len {
                self.next.push((self.make)(number), context);
                number = number.wrapping_add(step);
            }
            left -= len;
        }
        self.metrics.rows_read.fetch_add(POLL_RECORDS as u64 - left, Relaxed);
        self.next.end_batch(None, context);
        if left < POLL_RECORDS as u64 {
            return Progress::More;
        }
        match self.lanes.next() {
            Some(number) if number >= leash => {
                self.wake = Some(Instant::now() + PATIENCE);
                Progress::Waiting
            }
            Some(number) => {
                self.wake = self.pace.as_ref().and_then(|pace| pace.time_of(number));
                Progress::Waiting
            }
            None => {
                self.together.at(u64::MAX);
                self.ended = true;
                Progress::More
            }
        }
    }
}

impl<T: Data, F: Fn(u64) -> T> Source for GeneratorSource<T, F> {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let progress = if self.ended { self.next.finish(&mut context) } else { self.make(&mut context) };
        context.check()?;
        Ok(progress)
    }

    fn wake_at(&self) -> Option<Instant> {
        self.wake
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        position::save(&self.lanes)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        let former: Vec<Lanes> = position::load(&state)?;
        if former.is_empty() {
            return Ok(());
        }
        self.lanes = Lanes::divided(&former, self.end, self.worker, self.workers)?;
        if let Some(pace) = &mut self.pace {
            pace.first = Lanes::first_of(&former);
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.together.at(u64::MAX);
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DEADLINE, Driven, NoOutput};
    use super::*;

    #[test]
    fn a_snapshot_restores_into_another_number_of_workers() {
        let stream = Env::default().generator(|n| n).count(10_000).stream();
        let (mut seen, mut sections) = (Vec::new(), Vec::new());
        for worker in 0..2 {
            let mut driven = Driven::new(&stream, worker, 2);
            for _ in 0..=worker {
                assert_eq!(driven.source.poll(&mut NoOutput).unwrap(), Progress::More);
            }
            seen.extend(driven.records.lock().unwrap().clone());
            sections.extend(driven.snapshot());
        }
        assert_eq!(seen.len(), 3 * POLL_RECORDS);
        for worker in 0..3 {
            seen.extend(Driven::restored(&stream, worker, 3, sections.clone()).run_to_end());
        }
        seen.sort();
        assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn records_are_due_at_their_time_and_not_before() {
        let stream = Env::default().generator(|n| n).rate(1_000.0).stream();
        let mut driven = Driven::new(&stream, 0, 1);
        let start = Instant::now();
        let mut last = 0;
        while last < 20 && start.elapsed() < DEADLINE {
            let progress = driven.source.poll(&mut NoOutput).unwrap();
            let made = driven.records.lock().unwrap().len() as u128;
            assert!(made <= start.elapsed().as_millis() + 1, "{made} records");
            last = made;
            if progress == Progress::Waiting {
                let wake = driven.source.wake_at().unwrap();
                // Not later than the next number, as seen from the start.
                assert!(wake <= Instant::now() + Duration::from_millis(1));
                std::hint::spin_loop();
            }
        }
        // More where the machine was away for longer than a record takes.
        assert!(last >= 20);
        driven.source.stop();
        assert_eq!(driven.run_to_end().len() as u128, last);
    }

    #[test]
    fn a_restored_rate_begins_where_the_numbers_do() {
        let stream = Env::default().generator(|n| n).rate(1e-3).stream();
        let first = Driven::new(&stream, 0, 1).until(1);
        let mut full = Driven::new(&Env::default().generator(|n| n).stream(), 0, 1);
        let _ = full.source.poll(&mut NoOutput).unwrap();
        let mut driven = Driven::restored(&stream, 0, 1, full.snapshot());
        assert_eq!((first, driven.until(1)), (vec![0], vec![POLL_RECORDS as u64]));
    }

    #[test]
    fn a_rate_that_is_none_is_an_error() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = Env::default().generator(|n| n).rate(rate).count(1).stream().count().unwrap_err();
            assert!(error.to_string().contains("expected a positive number"), "{error}");
        }
    }

    #[test]
    fn the_last_number_of_a_sequence_is_the_last_of_its_type() {
        let mut numbers = Env::default().unbounded_sequence(u64::MAX - 3..).stream().collect().unwrap();
        numbers.sort();
        assert_eq!(numbers, [u64::MAX - 3, u64::MAX - 2, u64::MAX - 1]);
    }
}
