use super::mesh::JobControl;
use crate::{Error, Result};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Ends jobs from outside: a program's handler for Ctrl-C raises it. Clones are the same interrupt; it is part of a
/// [`Config`](crate::Config), so that all environments with that configuration share it.
///
/// Raised once, it has streaming jobs drain, in all processes: their sources end where they are, what these took is
/// processed, event time passes to its end, sinks finish, and the job ends well. Batch jobs, of which a part is no result, end
/// with [`Error::Interrupted`] and release what they hold before they do; so do all jobs when it is raised again. Jobs that
/// begin later end with that error at once.
///
/// ```
/// use fluvial_core::{Config, Env, Error};
/// let config = Config::default();
/// let interrupt = config.interrupt.clone();
/// let env = Env::new(config);
/// std::thread::spawn(move || interrupt.raise()).join().unwrap();
/// assert!(matches!(env.sequence(0..=1 << 60).collect(), Err(Error::Interrupted)));
/// ```
#[derive(Clone, Default)]
pub struct Interrupt {
    shared: Arc<InterruptShared>,
}

#[derive(Default)]
struct InterruptShared {
    /// How often it was raised.
    raised: AtomicUsize,
    running: Mutex<Vec<JobControl>>,
    /// Called, with `running`, when it is raised.
    changed: Condvar,
    /// How many of those drain when it is raised once.
    draining: AtomicUsize,
}

impl Interrupt {
    /// Has what runs drain or end, the first time; ends all of it the second time. Returns how many jobs were running in this
    /// process. Does not wait for their ends.
    pub fn raise(&self) -> usize {
        let first = self.shared.raised.fetch_add(1, SeqCst) == 0;
        let running = self.running().clone();
        self.shared.changed.notify_all();
        for job in &running {
            if first && job.drains() { job.stop() } else { job.abort(Error::Interrupted) }
        }
        running.len()
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.shared.raised.load(SeqCst) > 0
    }

    /// Whether a job runs in this process that drains where the interrupt is raised once. Neither waits nor allocates: for
    /// handlers of signals.
    pub fn is_gentle(&self) -> bool {
        self.shared.draining.load(SeqCst) > 0
    }

    /// # Errors
    /// [`Error::Interrupted`] once it was raised.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Waits for so long.
    ///
    /// # Errors
    /// [`Error::Interrupted`] at once when it is raised.
    pub(crate) fn sleep(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut running = self.running();
        while !self.is_raised() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            running = self.shared.changed.wait_timeout(running, left).unwrap_or_else(|e| e.into_inner()).0;
        }
        Err(Error::Interrupted)
    }

    /// Has the job end when it is raised, until the guard is dropped.
    pub(super) fn watch(&self, job: JobControl) -> Watched {
        self.running().push(job.clone());
        self.shared.draining.fetch_add(usize::from(job.drains()), SeqCst);
        // Raised before the job was in the list: nobody else tells it.
        if self.is_raised() {
            job.abort(Error::Interrupted);
        }
        Watched { interrupt: self.clone(), job }
    }

    fn running(&self) -> MutexGuard<'_, Vec<JobControl>> {
        self.shared.running.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("raised", &self.is_raised()).finish()
    }
}

/// A job that an interrupt ends.
pub(super) struct Watched {
    interrupt: Interrupt,
    job: JobControl,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.interrupt.running().retain(|job| !job.is(&self.job));
        self.interrupt.shared.draining.fetch_sub(usize::from(self.job.drains()), SeqCst);
    }
}
