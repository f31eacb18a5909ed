//! The metrics' names and meanings: one list for Prometheus text and for the `metrics` crate.
//!
//! Names follow Prometheus: base units, `_total` for counters. Time spent is counted in milliseconds, because counters of
//! the `metrics` crate are integers; `rate(..._milliseconds_total[1m])` is the milliseconds a second.

use super::{MetricsSnapshot, OperatorMetrics, WorkerMetrics};
use crate::CheckpointReport;
use metrics::Label;

/// How to read a metric.
enum Value<T> {
    /// What only grows.
    Counter(fn(&T) -> u64),
    /// What goes up and down; absent where there is nothing to say.
    Gauge(fn(&T, &MetricsSnapshot) -> Option<f64>),
    /// Of the last complete checkpoint; absent where there is none.
    Last(fn(&CheckpointReport) -> f64),
}

struct Metric<T> {
    name: &'static str,
    help: &'static str,
    value: Value<T>,
}

const fn counter<T>(name: &'static str, value: fn(&T) -> u64, help: &'static str) -> Metric<T> {
    Metric { name, help, value: Value::Counter(value) }
}

const fn gauge<T>(name: &'static str, value: fn(&T, &MetricsSnapshot) -> Option<f64>, help: &'static str) -> Metric<T> {
    Metric { name, help, value: Value::Gauge(value) }
}

const fn last<T>(name: &'static str, value: fn(&CheckpointReport) -> f64, help: &'static str) -> Metric<T> {
    Metric { name, help, value: Value::Last(value) }
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1e3) as u64
}

/// Of the job, labelled `job_name` (`job` is Prometheus' own).
const OF_JOB: [Metric<MetricsSnapshot>; 11] = [
    gauge("fluvial_job_running", |_, s| Some(f64::from(u8::from(s.running))), "Whether the job is running: 1 or 0."),
    gauge("fluvial_job_seconds", |_, s| Some(s.seconds), "Age of the job; it ends with the job."),
    counter("fluvial_job_restarts_total", |s| s.restarts, "Times that the job was started again in this process."),
    counter("fluvial_checkpoints_completed_total", |s| s.checkpoints.completed, "Checkpoints and savepoints that are complete."),
    counter(
        "fluvial_checkpoints_failed_total",
        |s| s.checkpoints.failed,
        "Checkpoints that were dropped: not written, or not in time.",
    ),
    last(
        "fluvial_checkpoint_last_duration_seconds",
        |c| c.duration_ms / 1e3,
        "The last complete checkpoint, from when its barrier set out until all of it was safe.",
    ),
    last(
        "fluvial_checkpoint_last_snapshot_seconds",
        |c| c.snapshot_ms / 1e3,
        "The longest time that an operator stood still for the last complete checkpoint.",
    ),
    last(
        "fluvial_checkpoint_last_alignment_seconds",
        |c| c.alignment_ms / 1e3,
        "The longest time that batches waited for the barrier of the last complete checkpoint.",
    ),
    last("fluvial_checkpoint_last_bytes", |c| c.bytes as f64, "Bytes of all files of the last complete checkpoint."),
    last(
        "fluvial_checkpoint_last_new_bytes",
        |c| c.new_bytes as f64,
        "Bytes that were written for the last complete checkpoint.",
    ),
    last(
        "fluvial_checkpoint_last_completed_timestamp_seconds",
        |c| (c.triggered as f64 + c.duration_ms) / 1e3,
        "When the last complete checkpoint was, seconds since 1970 UTC.",
    ),
];

/// Of each operator, labelled `job_name`, `id` and `operator`.
const OF_OPERATORS: [Metric<OperatorMetrics>; 7] = [
    counter("fluvial_operator_records_read_total", |o| o.records_read, "Records that a source read from outside."),
    counter("fluvial_operator_read_bytes_total", |o| o.bytes_read, "Bytes of the files that a source read."),
    counter("fluvial_operator_late_records_total", |o| o.late_records, "Records that came after the watermark had passed them."),
    counter(
        "fluvial_operator_dropped_records_total",
        |o| o.dropped_records,
        "Records that were thrown away, late ones among them.",
    ),
    gauge(
        "fluvial_operator_in_flight_bytes",
        |o, _| Some(o.in_flight_bytes as f64),
        "Bytes sent to the operator by this process that it is not done with.",
    ),
    gauge("fluvial_operator_state_bytes", |o, _| Some(o.state_bytes as f64), "Bytes of keyed state."),
    gauge("fluvial_operator_state_entries", |o, _| Some(o.state_entries as f64), "Entries of keyed state."),
];

/// Of each instance of each operator, labelled `job_name`, `id`, `operator` and `worker`.
const OF_WORKERS: [Metric<WorkerMetrics>; 11] = [
    counter("fluvial_operator_records_in_total", |w| w.records_in, "Records that an operator was given by others."),
    counter(
        "fluvial_operator_records_out_total",
        |w| w.records_out,
        "Records that an operator sent, before edges multiplied them.",
    ),
    counter("fluvial_operator_batches_in_total", |w| w.batches_in, "Batches that an operator was given."),
    counter("fluvial_operator_batches_out_total", |w| w.batches_out, "Batches that an operator sent."),
    counter("fluvial_operator_in_bytes_total", |w| w.bytes_in, "Bytes of the records that an operator was given."),
    counter("fluvial_operator_out_bytes_total", |w| w.bytes_out, "Bytes of the records that an operator sent, on all edges."),
    counter("fluvial_operator_busy_milliseconds_total", |w| milliseconds(w.busy_seconds), "Time spent working."),
    counter(
        "fluvial_operator_backpressured_milliseconds_total",
        |w| milliseconds(w.backpressured_seconds),
        "Time held up by outputs without room.",
    ),
    counter("fluvial_operator_idle_milliseconds_total", |w| milliseconds(w.idle_seconds), "Time neither working nor held up."),
    gauge(
        "fluvial_operator_watermark_seconds",
        |w, _| w.watermark.filter(|at| *at != i64::MAX).map(|at| at as f64 / 1e3),
        "Watermark announced, seconds since 1970 UTC; absent before the first and after the end.",
    ),
    gauge(
        "fluvial_operator_watermark_lag_seconds",
        |w, s| s.lag_seconds(w.watermark),
        "How far the watermark is behind the clock.",
    ),
];

/// What one metric says of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    Counter(u64),
    Gauge(f64),
}

/// One metric with all that it is said of. Counters are always there, in the same order for all snapshots of a job.
pub(super) struct Family {
    pub name: &'static str,
    pub help: &'static str,
    /// What it is for Prometheus.
    pub kind: &'static str,
    pub samples: Vec<(Vec<Label>, Reading)>,
}

/// All metrics of a snapshot.
pub(super) fn families(snapshot: &MetricsSnapshot) -> Vec<Family> {
    if snapshot.job.is_empty() && snapshot.operators.is_empty() {
        return Vec::new();
    }
    let job = vec![Label::new("job_name", snapshot.job.clone())];
    let operators = snapshot.operators.iter().map(|operator| {
        let own = [Label::new("id", operator.id.to_string()), Label::new("operator", operator.name.clone())];
        ([&job[..], &own].concat(), operator)
    });
    let operators: Vec<_> = operators.collect();
    let workers = operators.iter().flat_map(|(labels, operator)| {
        let label = |worker: &WorkerMetrics| Label::new("worker", worker.worker.to_string());
        operator.workers.iter().map(move |worker| ([&labels[..], &[label(worker)]].concat(), worker))
    });
    let workers: Vec<_> = workers.collect();
    let of_job = OF_JOB.iter().map(|metric| metric.family(snapshot, &[(job.clone(), snapshot)]));
    let of_operators = OF_OPERATORS.iter().map(|metric| metric.family(snapshot, &operators));
    let of_workers = OF_WORKERS.iter().map(|metric| metric.family(snapshot, &workers));
    of_job.chain(of_operators).chain(of_workers).collect()
}

impl<T> Metric<T> {
    fn family(&self, snapshot: &MetricsSnapshot, things: &[(Vec<Label>, &T)]) -> Family {
        let read = |thing: &T| match self.value {
            Value::Counter(value) => Some(Reading::Counter(value(thing))),
            Value::Gauge(value) => value(thing, snapshot).map(Reading::Gauge),
            Value::Last(value) => snapshot.checkpoints.latest.as_ref().map(|last| Reading::Gauge(value(last))),
        };
        let samples = things.iter().filter_map(|(labels, thing)| Some((labels.clone(), read(thing)?)));
        let kind = if matches!(self.value, Value::Counter(_)) { "counter" } else { "gauge" };
        Family { name: self.name, help: self.help, kind, samples: samples.collect() }
    }
}
