use crate::graph::NodeMetrics;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What one instance has told its operator's metrics of the size of its state; taken back when it ends.
pub(crate) struct StateGauge {
    metrics: Arc<NodeMetrics>,
    entries: i64,
    bytes: i64,
}

impl StateGauge {
    pub(crate) fn new(metrics: &Arc<NodeMetrics>) -> Self {
        Self { metrics: metrics.clone(), entries: 0, bytes: 0 }
    }

    /// The size is this now.
    pub(crate) fn set(&mut self, entries: usize, bytes: usize) {
        let (entries, bytes) = (entries as i64, bytes as i64);
        self.metrics.state_entries.fetch_add(entries - self.entries, Relaxed);
        self.metrics.state_bytes.fetch_add(bytes - self.bytes, Relaxed);
        (self.entries, self.bytes) = (entries, bytes);
    }
}

impl Drop for StateGauge {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}
