//! What a running job does, by operator and worker: records and bytes, where time goes, watermarks, state.
//!
//! The runtime and the operators count in cells of their own ([`JobCounters`], [`NodeMetrics`]); nothing here is on their
//! path. A [`snapshot`](Metrics::snapshot) reads all cells at once; everything else is made of snapshots: rates (the
//! difference of two), Prometheus text, and what goes to the recorder of the `metrics` crate.
//!
//! Invariant: no recorder is ever installed here. A program that embeds the engine and has installed one of its own sees
//! the same metrics there, once a second while a job runs and at its end; one that has not pays a look a second.
//! [`Config::metrics_addr`](crate::Config::metrics_addr) works with or without a recorder, since its text is made of a
//! snapshot at the time of the scrape.
//!
//! Trade-off: the numbers are those of this process. Each process serves its own, and whatever scrapes them adds them up;
//! so looking costs no message between processes.
//!
//! What user functions count will be a further list of named cells in [`NodeMetrics`], which a snapshot reads with the rest.

mod catalog;
mod prometheus;
mod publish;
mod rates;
mod server;
mod snapshot;
#[cfg(test)]
mod tests;

pub use rates::OperatorRates;
pub use server::parse_metrics_addr;
pub use snapshot::{MetricsSnapshot, OperatorMetrics, WorkerMetrics};

pub(crate) use server::{MetricsServer, check, of_process};

use crate::Clock;
use crate::checkpoint::SharedStats;
use crate::graph::NodeMetrics;
use crate::runtime::JobCounters;
use std::sync::{Arc, Mutex, MutexGuard};

/// Looks at what the job of an environment does, from any thread, and at what it did once it has ended. Cheap to clone.
///
/// ```
/// use fluvial_core::Env;
/// let env = Env::default();
/// env.sequence(1..=1000).rebalance().map(|x| x + 1).collect()?;
/// let snapshot = env.metrics().snapshot();
/// assert_eq!(snapshot.operators.iter().map(|o| o.total().records_out).max(), Some(1000));
/// assert!(env.metrics().prometheus().contains("# TYPE fluvial_operator_records_out_total counter"));
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Metrics {
    watched: Arc<Mutex<Option<Watched>>>,
    kept: Arc<Mutex<Kept>>,
}

/// What outlasts the runs of a job that is started again.
#[derive(Clone, Default)]
struct Kept {
    checkpoints: SharedStats,
    restarts: u64,
}

/// A job, or the last one.
struct Watched {
    job: String,
    counters: Arc<JobCounters>,
    nodes: Vec<Arc<NodeMetrics>>,
    clock: Clock,
}

impl Metrics {
    /// What the running job has done so far, or what the last one did. Empty before the first.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let kept = self.kept.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let take = |watched: &Watched| MetricsSnapshot {
            checkpoints: kept.checkpoints.get(),
            restarts: kept.restarts,
            ..snapshot::take(&watched.job, &watched.counters, &watched.nodes, watched.clock.now())
        };
        self.lock().as_ref().map(take).unwrap_or_default()
    }

    /// [`snapshot`](Self::snapshot) in Prometheus' text format.
    pub fn prometheus(&self) -> String {
        self.snapshot().prometheus()
    }

    /// From here on looks at this job.
    pub(crate) fn watch(&self, job: &str, counters: Arc<JobCounters>, nodes: &[Arc<NodeMetrics>], clock: &Clock) {
        *self.lock() = Some(Watched { job: job.to_owned(), counters, nodes: nodes.to_vec(), clock: clock.clone() });
    }

    /// The job that is watched from here on counts its checkpoints there, and has been started again so often.
    pub(crate) fn keep(&self, checkpoints: &SharedStats, restarts: usize) {
        let kept = Kept { checkpoints: checkpoints.clone(), restarts: restarts as u64 };
        *self.kept.lock().unwrap_or_else(|e| e.into_inner()) = kept;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Watched>> {
        self.watched.lock().unwrap_or_else(|e| e.into_inner())
    }
}
