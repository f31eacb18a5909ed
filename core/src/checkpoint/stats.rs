use super::manifest::Manifest;
use serde::Serialize;
use std::sync::{Arc, Mutex};

/// What a job's checkpoints were like, as its first process saw them. In other processes all is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckpointStats {
    /// Checkpoints and savepoints that are complete, the last one at the job's end among them.
    pub completed: u64,
    /// Those that were dropped: a part could not be written, or they took too long.
    pub failed: u64,
    /// The last complete one.
    pub latest: Option<CheckpointReport>,
    /// The longest time that an operator stood still for one, milliseconds.
    pub longest_snapshot_ms: f64,
    /// Bytes written for all of them.
    pub bytes_written: u64,
}

/// One complete checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckpointReport {
    /// Its number: the epoch that it ends.
    pub id: u64,
    /// Whether its owner keeps it.
    pub savepoint: bool,
    /// When its barrier set out, milliseconds UTC.
    pub triggered: i64,
    /// From then until all of it was safe, milliseconds.
    pub duration_ms: f64,
    /// The longest time that an operator stood still while its state was set aside, milliseconds.
    pub snapshot_ms: f64,
    /// From the first state handed over to the last that was safe, milliseconds: beside the job's work.
    pub writing_ms: f64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Bytes that were written for it.
    pub new_bytes: u64,
    /// The longest time that batches waited for the barrier to come on another input, milliseconds.
    pub alignment_ms: f64,
    /// Bytes of the batches that waited.
    pub aligned_bytes: u64,
}

impl CheckpointReport {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id,
            savepoint: manifest.kind == super::manifest::Kind::Savepoint,
            triggered: manifest.triggered,
            duration_ms: (manifest.completed - manifest.triggered) as f64,
            snapshot_ms: manifest.cost.snapshot,
            writing_ms: manifest.cost.writing,
            bytes: manifest.bytes(),
            new_bytes: manifest.cost.new_bytes,
            alignment_ms: manifest.cost.alignment,
            aligned_bytes: manifest.cost.aligned_bytes,
        }
    }
}

/// Stats that several threads add to. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct SharedStats(Arc<Mutex<CheckpointStats>>);

impl SharedStats {
    pub(crate) fn get(&self) -> CheckpointStats {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(super) fn completed(&self, manifest: &Manifest) {
        let mut stats = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let report = CheckpointReport::of(manifest);
        stats.completed += 1;
        stats.longest_snapshot_ms = stats.longest_snapshot_ms.max(report.snapshot_ms);
        stats.bytes_written += report.new_bytes;
        stats.latest = Some(report);
    }

    pub(super) fn failed(&self) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).failed += 1;
    }
}
