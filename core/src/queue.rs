use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Hands out the parts of an input one by one to the workers of a process, so that no worker idles. Between processes the
/// division is fixed: each takes every n-th part.
pub(crate) struct PartQueue {
    next: AtomicUsize,
    step: usize,
}

impl PartQueue {
    pub(crate) fn new(process: usize, processes: usize) -> Self {
        Self { next: AtomicUsize::new(process), step: processes }
    }

    /// The next part below `count` that nobody has taken.
    pub(crate) fn take(&self, count: usize) -> Option<usize> {
        let part = self.next.fetch_add(self.step, Relaxed);
        (part < count).then_some(part)
    }
}
