//! What happens to a job by time alone: barriers at an interval, and the end of its input.

use super::job::Job;
use crate::{Clock, Waker};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One process's part of it, driven by the thread that waits for the job.
pub(super) struct Schedule {
    clock: Clock,
    /// When the job takes no more input, milliseconds UTC by its clock.
    stop_at: Option<i64>,
    /// When that is in real time, where the clock does not call.
    stop_instant: Option<Instant>,
    /// How often a barrier begins, and when the next one may. In the first process only.
    barriers: Option<(Duration, Instant)>,
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
        let barriers = job.options.barrier_interval.filter(|_| job.topology.process == 0);
        Self { clock, stop_at, stop_instant, barriers: barriers.map(|interval| (interval, Instant::now() + interval)) }
    }

    /// Whether there is something to do.
    pub(super) fn due(&self) -> bool {
        self.stop_due() || self.barriers.is_some_and(|(_, at)| at <= Instant::now())
    }

    fn stop_due(&self) -> bool {
        self.stop_at.is_some_and(|at| at <= self.clock.now())
    }

    /// How long nothing is due, at most; `None`: until somebody calls.
    pub(super) fn wait(&self) -> Option<Duration> {
        let next = [self.stop_instant, self.barriers.map(|(_, at)| at)].into_iter().flatten().min();
        // The system's clock may be a little behind the instant.
        next.map(|at| at.saturating_duration_since(Instant::now()).max(Duration::from_micros(100)))
    }

    /// Does what is due.
    pub(super) fn act(&mut self, job: &Job) {
        if self.stop_due() {
            (self.stop_at, self.stop_instant) = (None, None);
            job.stop_everywhere();
        }
        if let Some((interval, at)) = &mut self.barriers
            && *at <= Instant::now()
        {
            *at = Instant::now() + *interval;
            if job.is_between_barriers() {
                job.trigger();
            }
        }
    }
}
