use crate::OperatorContext;
use fluvial_memory::SpillManager;
use serde::Serialize;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What an operator's factory is given: the runtime's context, and what the jobs of an environment share.
#[derive(Clone)]
pub(crate) struct TaskContext {
    pub(crate) operator: OperatorContext,
    pub(crate) spill: SpillManager,
    pub(crate) metrics: Arc<NodeMetrics>,
}

impl Deref for TaskContext {
    type Target = OperatorContext;
    fn deref(&self) -> &OperatorContext {
        &self.operator
    }
}

/// What a node's instances count beside the records and batches that the runtime counts.
#[derive(Default)]
pub(crate) struct NodeMetrics {
    /// Records read from outside.
    pub(crate) rows_read: AtomicU64,
    /// Bytes of the files of which all was read.
    pub(crate) bytes_read: AtomicU64,
    /// Parts of the input that were read.
    pub(crate) parts_read: AtomicU64,
    pub(crate) parts: AtomicU64,
    /// When the first of them had been read.
    pub(crate) first_part: OnceLock<Instant>,
    pub(crate) spilled_bytes: AtomicU64,
    pub(crate) spill_files: AtomicU64,
    pub(crate) merge_passes: AtomicU64,
}

impl NodeMetrics {
    /// A part of the input, of so many bytes of a file, was read to its end.
    pub(crate) fn part_read(&self, bytes: u64) {
        self.first_part.get_or_init(Instant::now);
        self.parts_read.fetch_add(1, Relaxed);
        self.bytes_read.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn spilled(&self, bytes: u64, files: u64) {
        self.spilled_bytes.fetch_add(bytes, Relaxed);
        self.spill_files.fetch_add(files, Relaxed);
    }
}

/// What one operator did in one process: its instances together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OperatorStats {
    /// The operator's name.
    pub name: String,
    /// Records that it was given, or read from outside.
    pub records_in: u64,
    /// Records that it gave.
    pub records_out: u64,
    /// Seconds that its instances worked, summed over the workers.
    pub busy_seconds: f64,
    /// Bytes written to spill files.
    pub spilled_bytes: u64,
    /// Spill files written.
    pub spill_files: u64,
    /// Times that spilled runs were merged and written again before the last merge.
    pub merge_passes: u64,
    /// Most managed memory that its instances held at a time, in bytes; the largest of the instances.
    pub memory_peak: u64,
}
