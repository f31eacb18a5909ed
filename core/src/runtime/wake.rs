//! Waking a harness from any thread.

use crate::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use timely::scheduling::activate::SyncActivator;

/// Makes a worker call one harness again soon. Calls that come before it does count as one.
#[derive(Clone)]
pub(super) struct Wake(Arc<Inner>);

struct Inner {
    pending: AtomicBool,
    activator: SyncActivator,
}

impl Wake {
    pub(super) fn new(activator: SyncActivator) -> Self {
        Self(Arc::new(Inner { pending: AtomicBool::new(false), activator }))
    }

    pub(super) fn wake(&self) {
        if !self.0.pending.swap(true, SeqCst) {
            // Fails only where the worker is gone, and with it what would have been woken.
            let _ = self.0.activator.activate();
        }
    }

    /// For others who know no harness.
    pub(super) fn waker(&self) -> Waker {
        let wake = self.clone();
        Arc::new(move || wake.wake())
    }

    /// The harness is running: later calls count anew.
    pub(super) fn running(&self) {
        self.0.pending.store(false, SeqCst);
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
