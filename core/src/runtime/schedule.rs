//! What happens to a job by time alone: barriers at an interval, and the end of its input.

use super::epochs::Barrier;
use super::job::Job;
use crate::{Clock, Waker};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When barriers go through a job by themselves, and what is made of those that take long or come to nothing.
#[derive(Clone, Copy, Debug)]
pub struct BarrierPolicy {
    /// From the beginning of one to that of the next; `None`: only when somebody asks. Never before the last one is decided.
    pub interval: Option<Duration>,
    /// From the decision on one to the beginning of the next, at least.
    pub pause: Duration,
    /// A checkpoint that is not complete after this long is dropped.
    pub timeout: Duration,
    /// Checkpoints in a row that may fail before the job does.
    pub tolerated: usize,
}

impl Default for BarrierPolicy {
    fn default() -> Self {
        Self { interval: None, pause: Duration::ZERO, timeout: Duration::MAX, tolerated: usize::MAX }
    }
}

/// When a barrier has to wait for a loop to begin: how long, before it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One process's part of it, driven by the thread that waits for the job.
pub(super) struct Schedule {
    clock: Clock,
    /// When the job takes no more input, milliseconds UTC by its clock.
    stop_at: Option<i64>,
    /// When that is in real time, where the clock does not call.
    stop_instant: Option<Instant>,
    /// In the first process only, where barriers have an interval.
    barriers: Option<Barriers>,
}

struct Barriers {
    policy: BarrierPolicy,
    interval: Duration,
    /// When the next one may begin.
    next: Instant,
    /// The epoch that the last one ends and when it began, until it is decided.
    pending: Option<(u64, Instant)>,
    /// Whether the pending one has been dropped.
    expired: bool,
}

impl Barriers {
    /// When there is something to do though nobody calls.
    fn at(&self) -> Option<Instant> {
        match self.pending {
            None => Some(self.next),
            Some(_) if self.expired => None,
            Some((_, since)) => since.checked_add(self.policy.timeout),
        }
    }

    fn due(&self, job: &Job) -> bool {
        self.pending.is_some_and(|(epoch, _)| job.fate(epoch).is_some()) || self.at().is_some_and(|at| at <= Instant::now())
    }

    fn act(&mut self, job: &Arc<Job>) {
        let now = Instant::now();
        match self.pending {
            Some((epoch, _)) if job.fate(epoch).is_some() => {
                self.pending = None;
                self.next = self.next.max(now + self.policy.pause);
            }
            Some((epoch, since)) if !self.expired && now.saturating_duration_since(since) >= self.policy.timeout => {
                self.expired = true;
                job.expire(epoch, self.policy.timeout);
            }
            _ => {}
        }
        if self.pending.is_none() && self.next <= now && !job.takes_barriers() {
            self.next = now + self.interval.min(LOOK_AGAIN);
        }
        if self.pending.is_none() && self.next <= now {
            self.next = now + self.interval;
            // One that somebody asked for may be under way.
            if job.is_between_barriers() && !job.aborted() {
                self.pending = Some((job.send_barrier(&Barrier::Checkpoint), now));
                self.expired = false;
            }
        }
    }
}

impl Schedule {
    /// That of a job which begins now.
    pub(super) fn new(job: &Job) -> Self {
        let clock = job.options.clock.clone();
        let stop_at = job.options.stop_at;
        let mesh = Arc::downgrade(&job.mesh);
        let look_again = || -> Waker {
            Arc::new(move || {
                if let Some(mesh) = mesh.upgrade() {
                    mesh.news();
                }
            })
        };
        let stop_instant = stop_at.and_then(|at| clock.call_at(at, look_again)).and_then(|left| Instant::now().checked_add(left));
        let policy = job.options.barriers;
        let barriers = policy.interval.filter(|_| job.topology.process == 0).map(|interval| Barriers {
            policy,
            interval,
            next: Instant::now() + interval,
            pending: None,
            expired: false,
        });
        Self { clock, stop_at, stop_instant, barriers }
    }

    /// Whether there is something to do.
    pub(super) fn due(&self, job: &Job) -> bool {
        self.stop_due() || self.barriers.as_ref().is_some_and(|barriers| barriers.due(job))
    }

    fn stop_due(&self) -> bool {
        self.stop_at.is_some_and(|at| at <= self.clock.now())
    }

    /// How long nothing is due, at most; `None`: until somebody calls.
    pub(super) fn wait(&self) -> Option<Duration> {
        let next = [self.stop_instant, self.barriers.as_ref().and_then(Barriers::at)].into_iter().flatten().min();
        // The system's clock may be a little behind the instant.
        next.map(|at| at.saturating_duration_since(Instant::now()).max(Duration::from_micros(100)))
    }

    /// Does what is due.
    pub(super) fn act(&mut self, job: &Arc<Job>) {
        if self.stop_due() {
            (self.stop_at, self.stop_instant) = (None, None);
            job.stop_everywhere();
        }
        if let Some(barriers) = &mut self.barriers {
            barriers.act(job);
        }
    }
}
