use super::mesh::JobControl;
use crate::{Error, Result};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

/// Ends jobs from outside: a program's handler for Ctrl-C raises it. Clones are the same interrupt; it is part of a
/// [`Config`](crate::Config), so that all environments with that configuration share it.
///
/// Once raised it stays so: jobs that run end with [`Error::Interrupted`], in all processes, and release what they hold
/// before they do; later ones do not begin.
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
    raised: AtomicBool,
    running: Mutex<Vec<JobControl>>,
}

impl Interrupt {
    /// Ends what runs and whatever would begin later. Returns how many jobs were running in this process. Does not wait
    /// for their ends.
    pub fn raise(&self) -> usize {
        self.shared.raised.store(true, SeqCst);
        let running = self.running().clone();
        running.iter().for_each(|job| job.abort(Error::Interrupted));
        running.len()
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.shared.raised.load(SeqCst)
    }

    /// # Errors
    /// [`Error::Interrupted`] once it was raised.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Has the job end when it is raised, until the guard is dropped.
    pub(super) fn watch(&self, job: JobControl) -> Watched {
        self.running().push(job.clone());
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
    }
}
