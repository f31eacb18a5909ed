use crate::checkpoint::CheckpointStats;
use crate::graph::{NodeMetrics, OperatorStats, SuperstepReport};
use crate::restart::RestartReport;
use fluvial_memory::SpillManager;
use serde::Serialize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a job did, in this process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JobReport {
    /// The job's name.
    pub job: String,
    /// From its start to the end of the last worker.
    pub seconds: f64,
    /// Records read from outside.
    pub records_in: u64,
    /// Records that came to the sinks.
    pub records_out: u64,
    /// From the call that ran the job to the end of the first part of its inputs (a row group, a piece of a file); the workers
    /// may have had to be started first. `None` if nothing was read from outside.
    pub first_part_seconds: Option<f64>,
    /// Managed memory, in bytes.
    pub memory: u64,
    /// Most managed memory held at a time since the environment was made, in bytes.
    pub pool_peak: u64,
    /// Most bytes of the process that were resident at a time, as the system counts them (`VmHWM`).
    pub peak_resident: u64,
    /// Bytes written to spill files.
    pub spilled_bytes: u64,
    /// Spill files written.
    pub spill_files: u64,
    /// Times that spilled runs were merged and written again before the last merge.
    pub merge_passes: u64,
    /// What its checkpoints were like.
    pub checkpoints: CheckpointStats,
    /// How often it was started again in this process, and why.
    pub restarts: Vec<RestartReport>,
    /// Where its state is, if it ended with a savepoint before the end of its input.
    pub suspended: Option<String>,
    /// By operator, of the last run.
    pub operators: Vec<OperatorStats>,
}

/// How far a running job is, in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// Records read by all sources.
    pub rows_read: u64,
    /// Bytes of the files read.
    pub bytes_read: u64,
    /// Parts of the inputs (row groups, pieces of files) read to their end.
    pub parts_read: u64,
    /// Parts there are.
    pub parts: u64,
    /// Bytes written to spill files since the environment was made.
    pub spilled_bytes: u64,
}

/// Looks at the running job of an environment, from any thread. Cheap to clone.
#[derive(Clone, Default)]
pub struct Monitor {
    watched: Arc<Mutex<Watched>>,
}

#[derive(Default)]
struct Watched {
    nodes: Vec<Arc<NodeMetrics>>,
    spill: Option<SpillManager>,
}

impl Monitor {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn watch(&self, nodes: &[Arc<NodeMetrics>], spill: &SpillManager) {
        *self.lock() = Watched { nodes: nodes.to_vec(), spill: Some(spill.clone()) };
    }

    /// Lets go of the last job.
    pub(crate) fn forget(&self) {
        *self.lock() = Watched::default();
    }

    /// The supersteps of the job's loops that have ended, from this number on, loop by loop; of the last job if it has ended. In
    /// the process of the first worker only.
    pub fn supersteps(&self, from: u64) -> Vec<SuperstepReport> {
        self.lock().nodes.iter().flat_map(|node| node.supersteps(from)).collect()
    }

    /// How far the job is.
    pub fn progress(&self) -> JobProgress {
        let watched = self.lock();
        let mut progress = JobProgress::default();
        for node in &watched.nodes {
            progress.rows_read += node.rows_read.load(Relaxed);
            progress.bytes_read += node.bytes_read.load(Relaxed);
            progress.parts_read += node.parts_read.load(Relaxed);
            progress.parts += node.parts.load(Relaxed);
        }
        progress.spilled_bytes = watched.spill.as_ref().map_or(0, |s| s.stats().bytes_written);
        progress
    }
}

/// `VmHWM` of this process in bytes; 0 where the system does not tell.
pub fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kib| kib * 1024)
}
