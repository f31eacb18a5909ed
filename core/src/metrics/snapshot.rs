use crate::checkpoint::CheckpointStats;
use crate::graph::NodeMetrics;
use crate::runtime::JobCounters;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What a job has done up to one moment, in one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MetricsSnapshot {
    /// The job's name; empty if none has run.
    pub job: String,
    /// Number of the job among those of its environment's workers, from 0.
    pub job_number: u64,
    /// The process among all of the job.
    pub process: usize,
    /// When it was taken, milliseconds UTC by the clock of the configuration.
    pub time: i64,
    /// The job's age in seconds; it ends with the job.
    pub seconds: f64,
    /// Whether the job was running.
    pub running: bool,
    /// What its checkpoints were like; all zero where it keeps none, and in other processes than the first.
    pub checkpoints: CheckpointStats,
    /// How often it was started again in this process.
    pub restarts: u64,
    /// In the order of the job's graph. A chain of fused steps is one operator.
    pub operators: Vec<OperatorMetrics>,
}

/// What the instances of one operator have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OperatorMetrics {
    /// Number of the operator in the job.
    pub id: usize,
    /// Its name.
    pub name: String,
    /// Records that it read from outside, where it is a source that says so.
    pub records_read: u64,
    /// Bytes of the files that it read.
    pub bytes_read: u64,
    /// Bytes sent to it that it is not done with: what the edges' budgets count, at least 64 a batch.
    pub in_flight_bytes: u64,
    /// Records that came after the watermark had passed them, whatever became of them.
    pub late_records: u64,
    /// Records that were thrown away, late ones among them.
    pub dropped_records: u64,
    /// Bytes of its keyed state.
    pub state_bytes: u64,
    /// Entries of its keyed state.
    pub state_entries: u64,
    /// One for each worker of the process, in order.
    pub workers: Vec<WorkerMetrics>,
}

/// What one instance of an operator has done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkerMetrics {
    /// The worker among all workers of all processes.
    pub worker: usize,
    /// Records that it was given by other operators.
    pub records_in: u64,
    /// Records that it sent, before they were multiplied by edges.
    pub records_out: u64,
    /// Batches that it was given.
    pub batches_in: u64,
    /// Batches that it sent.
    pub batches_out: u64,
    /// Bytes of the records that it was given, as they lie in memory: without what typed records point to.
    pub bytes_in: u64,
    /// Bytes of the records that it sent, to all edges and workers together.
    pub bytes_out: u64,
    /// Seconds that it worked.
    pub busy_seconds: f64,
    /// Seconds that it was held up because an output had no room.
    pub backpressured_seconds: f64,
    /// Seconds of the rest: nothing to do, or its worker was with other operators.
    pub idle_seconds: f64,
    /// The watermark that it has announced, milliseconds UTC: `None` before the first one, `i64::MAX` once all input has come.
    pub watermark: Option<i64>,
}

impl MetricsSnapshot {
    /// How far a watermark is behind the time of this snapshot, in seconds. `None` where there is no watermark, or where it
    /// is that of the end.
    pub fn lag_seconds(&self, watermark: Option<i64>) -> Option<f64> {
        watermark.filter(|at| *at != i64::MAX).map(|at| self.time.saturating_sub(at) as f64 / 1e3)
    }
}

impl OperatorMetrics {
    /// All workers together, and what was read from outside: sums, and the smallest watermark (`None` as long as one of
    /// them has none). `worker` is that of the first.
    pub fn total(&self) -> WorkerMetrics {
        let mut workers = self.workers.iter();
        let mut total = workers.next().cloned().unwrap_or_default();
        for WorkerMetrics { watermark, .. } in workers.clone() {
            // `None` is before all times.
            total.watermark = total.watermark.min(*watermark);
        }
        for more in workers {
            total.records_in += more.records_in;
            total.records_out += more.records_out;
            total.batches_in += more.batches_in;
            total.batches_out += more.batches_out;
            total.bytes_in += more.bytes_in;
            total.bytes_out += more.bytes_out;
            total.busy_seconds += more.busy_seconds;
            total.backpressured_seconds += more.backpressured_seconds;
            total.idle_seconds += more.idle_seconds;
        }
        total.records_in += self.records_read;
        total.bytes_in += self.bytes_read;
        total
    }
}

/// Reads all cells. Each is read on its own while the job goes on: sums that belong together may differ by what happens
/// in between. `time`: that of the job's clock.
pub(super) fn take(job: &str, counters: &JobCounters, nodes: &[Arc<NodeMetrics>], time: i64) -> MetricsSnapshot {
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    let operator = |(node, metrics): (usize, &Arc<NodeMetrics>)| {
        let (id, name) = counters.node(node);
        let workers = counters.read(node).enumerate().map(|(local, reading)| WorkerMetrics {
            worker: counters.process * counters.threads + local,
            records_in: reading.records_in,
            records_out: reading.records_out,
            batches_in: reading.batches_in,
            batches_out: reading.batches_out,
            bytes_in: reading.bytes_in,
            bytes_out: reading.bytes_out,
            busy_seconds: seconds(reading.busy_nanos),
            backpressured_seconds: seconds(reading.blocked_nanos),
            idle_seconds: seconds(reading.idle_nanos),
            watermark: Some(reading.watermark).filter(|at| *at != i64::MIN),
        });
        OperatorMetrics {
            id,
            name: name.to_owned(),
            records_read: metrics.rows_read.load(Relaxed),
            bytes_read: metrics.bytes_read.load(Relaxed),
            in_flight_bytes: counters.in_flight_bytes(node),
            late_records: metrics.late_records.load(Relaxed),
            dropped_records: metrics.dropped_records.load(Relaxed),
            state_bytes: metrics.state_bytes.load(Relaxed).max(0) as u64,
            state_entries: metrics.state_entries.load(Relaxed).max(0) as u64,
            workers: workers.collect(),
        }
    };
    let running = counters.running();
    MetricsSnapshot {
        job: job.to_owned(),
        job_number: counters.job,
        process: counters.process,
        time,
        seconds: seconds(counters.age()),
        running,
        checkpoints: CheckpointStats::default(),
        restarts: 0,
        operators: nodes.iter().enumerate().map(operator).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(worker: usize, records: u64, watermark: Option<i64>) -> WorkerMetrics {
        WorkerMetrics { worker, records_in: records, busy_seconds: 0.5, watermark, ..WorkerMetrics::default() }
    }

    #[test]
    fn an_operators_total_sums_workers_and_takes_the_smallest_watermark() {
        let with = |workers| OperatorMetrics { records_read: 5, workers, ..OperatorMetrics::default() };
        let total = with(vec![worker(2, 3, Some(40)), worker(3, 4, Some(30))]).total();
        assert_eq!((total.worker, total.records_in, total.busy_seconds, total.watermark), (2, 12, 1.0, Some(30)));
        assert_eq!(with(vec![worker(0, 0, Some(40)), worker(1, 0, None)]).total().watermark, None);
        assert_eq!(with(vec![worker(0, 0, Some(i64::MAX)), worker(1, 0, Some(7))]).total().watermark, Some(7));
        assert_eq!(with(vec![]).total().records_in, 5);
    }

    #[test]
    fn lag_is_behind_the_snapshots_time_and_ends_with_the_input() {
        let snapshot = MetricsSnapshot { time: 10_000, ..MetricsSnapshot::default() };
        assert_eq!(snapshot.lag_seconds(Some(7_500)), Some(2.5));
        assert_eq!(snapshot.lag_seconds(Some(12_000)), Some(-2.0));
        assert_eq!(snapshot.lag_seconds(Some(i64::MAX)), None);
        assert_eq!(snapshot.lag_seconds(None), None);
    }
}
