use fluvial_core::Progress;
use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a kernel computes before other operators of its worker get their turn.
const SLICE: Duration = Duration::from_millis(5);

/// What a kernel tells the operator that polls it: why it is pending, and whether it has had its time.
pub(crate) struct Pulse {
    until: Cell<Instant>,
    waits: Cell<bool>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { until: Cell::new(Instant::now()), waits: Cell::new(false) }
    }

    /// The kernel is about to be polled.
    pub(crate) fn begin(&self) {
        self.until.set(Instant::now() + SLICE);
        self.waits.set(false);
    }

    /// The kernel is pending until its worker is woken.
    pub(crate) fn wait(&self) {
        self.waits.set(true);
    }

    /// Why the kernel is pending.
    pub(crate) fn progress(&self) -> Progress {
        if self.waits.get() { Progress::Waiting } else { Progress::More }
    }

    /// Lets others have their turn if the kernel has had its time. Called every some ten thousand steps.
    pub(crate) async fn breathe(&self) {
        if Instant::now() >= self.until.get() {
            self.pause().await;
        }
    }

    /// Lets others have their turn.
    pub(crate) async fn pause(&self) {
        let mut paused = false;
        poll_fn(|_| if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}
