//! Permits between processes: what a receiver is done with goes back to the sending process as credit, in sums.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// Collects what one edge's receiving worker has consumed of one sending process.
pub(super) struct CreditReturn {
    pending: AtomicI64,
    /// Sums below this wait for more; a fraction of the sender's gate, so that what is held back never keeps it full.
    threshold: i64,
    send: Box<dyn Fn(i64) + Send + Sync>,
}

impl CreditReturn {
    pub(super) fn new(threshold: i64, send: Box<dyn Fn(i64) + Send + Sync>) -> Self {
        Self { pending: AtomicI64::new(0), threshold: threshold.max(1), send }
    }

    pub(super) fn put(&self, cost: i64) {
        let pending = self.pending.fetch_add(cost, SeqCst) + cost;
        if pending >= self.threshold {
            let sum = self.pending.swap(0, SeqCst);
            if sum > 0 {
                (self.send)(sum);
            }
        }
    }
}
