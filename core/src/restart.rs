//! What happens after a failure: whether and when a job is started again.

use crate::Error;
use serde::Serialize;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// When a job that has failed is started again: part of a [`Config`](crate::Config). It begins with its last complete
/// checkpoint, or, where it keeps none, with its input.
///
/// An error that would come again at once is not tried again: a plan that makes no sense, an interrupt. Neither is the loss
/// of another process, unless this one has [`launch`](crate::launch)ed it.
///
/// ```
/// use fluvial_core::*;
/// use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
/// use std::time::Duration;
///
/// static CALLS: AtomicU64 = AtomicU64::new(0);
/// let restart = Restart::fixed_delay(3, Duration::from_millis(1));
/// let env = Env::new(Config { restart, ..Config::default() });
/// let sum = env.sequence(1..=10).try_map(|n| match CALLS.fetch_add(1, SeqCst) {
///     5 => Err("the disk hiccups"),
///     _ => Ok(n),
/// });
/// assert_eq!(sum.count()?, 10);
/// assert_eq!(env.last_report().unwrap().restarts.len(), 1);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Restart {
    strategy: Strategy,
}

#[derive(Clone, Debug, Default)]
enum Strategy {
    #[default]
    Never,
    Fixed {
        times: usize,
        delay: Duration,
    },
    Exponential {
        initial: Duration,
        longest: Duration,
        factor: f64,
        jitter: f64,
        reset_after: Duration,
    },
    Rate {
        failures: usize,
        per: Duration,
        delay: Duration,
    },
}

impl Restart {
    /// The first failure ends the job.
    pub fn never() -> Self {
        Self::default()
    }

    /// So many times, each after this delay.
    pub fn fixed_delay(times: usize, delay: Duration) -> Self {
        Self { strategy: Strategy::Fixed { times, delay } }
    }

    /// Any number of times, after delays that grow: from 1 s, doubling, to a minute; each 10 % longer or shorter by chance;
    /// from the beginning again after a run of an hour.
    pub fn exponential_delay() -> Self {
        let second = Duration::from_secs(1);
        let strategy =
            Strategy::Exponential { initial: second, longest: 60 * second, factor: 2.0, jitter: 0.1, reset_after: 3600 * second };
        Self { strategy }
    }

    /// After each failure, after this delay, unless there were more than `failures` within `per`.
    pub fn failure_rate(failures: usize, per: Duration, delay: Duration) -> Self {
        Self { strategy: Strategy::Rate { failures, per, delay } }
    }

    /// The first of growing delays.
    #[must_use]
    pub fn initial(mut self, delay: Duration) -> Self {
        if let Strategy::Exponential { initial, .. } = &mut self.strategy {
            *initial = delay;
        }
        self
    }

    /// The longest of growing delays.
    #[must_use]
    pub fn longest(mut self, delay: Duration) -> Self {
        if let Strategy::Exponential { longest, .. } = &mut self.strategy {
            *longest = delay;
        }
        self
    }

    /// How many times the one before a growing delay is; at least 1.
    #[must_use]
    pub fn factor(mut self, times: f64) -> Self {
        if let Strategy::Exponential { factor, .. } = &mut self.strategy {
            *factor = times.max(1.0);
        }
        self
    }

    /// By which share of itself a growing delay is longer or shorter, at most: 0 to 1.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        if let Strategy::Exponential { jitter, .. } = &mut self.strategy {
            *jitter = share.clamp(0.0, 1.0);
        }
        self
    }

    /// A run of this length has growing delays begin again.
    #[must_use]
    pub fn reset_after(mut self, run: Duration) -> Self {
        if let Strategy::Exponential { reset_after, .. } = &mut self.strategy {
            *reset_after = run;
        }
        self
    }
}

/// One time that a job was started again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestartReport {
    /// What had ended it.
    pub cause: String,
    /// How long it waited, seconds.
    pub delay_seconds: f64,
    /// The checkpoint that it began with.
    pub checkpoint: Option<u64>,
}

/// The failures of one job, and what follows.
pub(crate) struct Restarts {
    strategy: Strategy,
    failures: VecDeque<Instant>,
    count: usize,
    delay: Option<Duration>,
    random: RandomState,
}

impl Restarts {
    pub(crate) fn new(restart: &Restart) -> Self {
        let strategy = restart.strategy.clone();
        Self { strategy, failures: VecDeque::new(), count: 0, delay: None, random: RandomState::new() }
    }

    /// After which delay the job is started again, if it is. It began at `began` and has failed at `now`.
    pub(crate) fn after(&mut self, error: &Error, began: Instant, now: Instant) -> Option<Duration> {
        if !may_pass(error) {
            return None;
        }
        self.count += 1;
        match self.strategy {
            Strategy::Never => None,
            Strategy::Fixed { times, delay } => (self.count <= times).then_some(delay),
            Strategy::Exponential { initial, longest, factor, jitter, reset_after } => {
                let fresh = now.saturating_duration_since(began) >= reset_after;
                let before = self.delay.take().filter(|_| !fresh);
                let delay = before.map_or(initial, |before| before.mul_f64(factor)).min(longest);
                self.delay = Some(delay);
                // Evenly within -1 to 1.
                let chance = self.random.hash_one(self.count) as f64 / u64::MAX as f64 * 2.0 - 1.0;
                Some(delay.mul_f64(1.0 + jitter * chance))
            }
            Strategy::Rate { failures, per, delay } => {
                self.failures.push_back(now);
                while self.failures.front().is_some_and(|at| now.saturating_duration_since(*at) > per) {
                    self.failures.pop_front();
                }
                (self.failures.len() <= failures).then_some(delay)
            }
        }
    }
}

/// Whether the job may do better another time.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Operator { source, .. } => may_pass(source),
        Error::Plan(_) | Error::Interrupted | Error::Suspended { .. } => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed() -> Error {
        Error::User("failed".into())
    }

    #[test]
    fn a_fixed_number_of_times() {
        let mut restarts = Restarts::new(&Restart::fixed_delay(2, SECOND));
        let now = Instant::now();
        let delays: Vec<_> = (0..3).map(|_| restarts.after(&failed(), now, now)).collect();
        assert_eq!(delays, [Some(SECOND), Some(SECOND), None]);
        assert_eq!(Restarts::new(&Restart::never()).after(&failed(), now, now), None);
    }

    #[test]
    fn delays_grow_to_a_limit_and_begin_again_after_a_long_run() {
        let mut restarts = Restarts::new(&Restart::exponential_delay().longest(5 * SECOND).jitter(0.0));
        let now = Instant::now();
        let mut after = |run: Duration| restarts.after(&failed(), now, now + run).unwrap().as_secs();
        assert_eq!([after(SECOND), after(SECOND), after(SECOND), after(SECOND)], [1, 2, 4, 5]);
        assert_eq!([after(3600 * SECOND), after(SECOND)], [1, 2]);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let mut restarts = Restarts::new(&Restart::exponential_delay().factor(1.0).jitter(0.5));
        let now = Instant::now();
        let delays: Vec<f64> = (0..100).map(|_| restarts.after(&failed(), now, now).unwrap().as_secs_f64()).collect();
        assert!(delays.iter().all(|d| (0.5..=1.5).contains(d)), "{delays:?}");
        assert!(delays.iter().any(|d| *d < 0.9) && delays.iter().any(|d| *d > 1.1), "{delays:?}");
    }

    #[test]
    fn a_rate_of_failures() {
        let mut restarts = Restarts::new(&Restart::failure_rate(2, 10 * SECOND, SECOND));
        let start = Instant::now();
        let mut at = |second: u32| restarts.after(&failed(), start, start + second * SECOND).is_some();
        assert_eq!([at(0), at(6), at(12), at(14), at(40)], [true, true, true, false, true]);
    }

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        let mut restarts = Restarts::new(&Restart::fixed_delay(9, SECOND));
        let now = Instant::now();
        let plan = Error::Operator { operator: "map".into(), source: Box::new(Error::Plan("no such column".into())) };
        for error in [plan, Error::Interrupted] {
            assert_eq!(restarts.after(&error, now, now), None);
        }
    }
}
