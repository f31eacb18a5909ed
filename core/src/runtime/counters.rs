//! What the instances of a process count while a job runs. Each has cells of its own, which its worker alone writes:
//! counting costs no more than plain stores, and whoever looks reads them at any time, after the job's end too.
//!
//! Time is split in three without a gap: an instance is *busy* while its harness runs, *back-pressured* from the end of a
//! run that found an output edge without permits to the next one, and *idle* otherwise (nothing to do, or the worker
//! is with other operators).

use super::job::NodeReport;
use super::permit::{EdgeBudget, Gate};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What one instance counts. A cache line pair of its own, so that workers do not get into each other's way.
#[repr(align(128))]
pub(crate) struct InstanceCounters {
    pub records_in: AtomicU64,
    pub records_out: AtomicU64,
    pub batches_in: AtomicU64,
    pub batches_out: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    /// What has been announced; `i64::MIN` before the first, `i64::MAX` once the instance has finished.
    pub watermark: AtomicI64,
    pub busy: Stopwatch,
    pub blocked: Stopwatch,
    pub idle: Stopwatch,
}

/// Adds to a cell that no other thread writes.
pub(super) fn add(cell: &AtomicU64, n: u64) {
    if n > 0 {
        cell.store(cell.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }
}

impl InstanceCounters {
    /// Idle since the job's start.
    fn new() -> Self {
        let counters = Self {
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            batches_in: AtomicU64::new(0),
            batches_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
            busy: Stopwatch::default(),
            blocked: Stopwatch::default(),
            idle: Stopwatch::default(),
        };
        counters.idle.start(0);
        counters
    }
}

/// Nanoseconds that one thread measures and any thread reads, while it runs too. One cell, so that no reader sees a start
/// without the sum before it: the sum, or, with the highest bit set, the sum less the time of the start.
#[derive(Default)]
pub(crate) struct Stopwatch(AtomicU64);

const RUNNING: u64 = 1 << 63;

impl Stopwatch {
    pub(super) fn start(&self, now: u64) {
        let sum = self.0.load(Ordering::Relaxed);
        self.0.store(sum.wrapping_sub(now) | RUNNING, Ordering::Release);
    }

    /// Does nothing to a stopwatch that is not running.
    pub(super) fn stop(&self, now: u64) {
        let cell = self.0.load(Ordering::Relaxed);
        if cell & RUNNING != 0 {
            self.0.store(cell.wrapping_add(now) & !RUNNING, Ordering::Release);
        }
    }

    /// `now` is asked after the cell is read, so that it is not before the start.
    fn read(&self, now: impl Fn() -> u64) -> u64 {
        let cell = self.0.load(Ordering::Acquire);
        if cell & RUNNING == 0 {
            return cell;
        }
        let now = now();
        // Less than the job's age, also where it was started after the job's last moment.
        (cell.wrapping_add(now) & !RUNNING).min(now)
    }
}

/// What the instances of one node count.
pub(super) struct NodeCounters {
    id: usize,
    name: String,
    /// One a local worker.
    pub instances: Vec<Arc<InstanceCounters>>,
    /// Of all inputs and receiving workers.
    gates: Vec<Arc<Gate>>,
}

/// What all instances of a process count. Holds nothing else of the job alive.
pub(crate) struct JobCounters {
    /// Number of the job among those of its mesh.
    pub(crate) job: u64,
    pub(crate) process: usize,
    pub(crate) threads: usize,
    pub(super) nodes: Vec<NodeCounters>,
    /// Whether permits are bytes.
    in_bytes: bool,
    started: Instant,
    ended: OnceLock<Instant>,
}

/// One reading of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InstanceReading {
    pub records_in: u64,
    pub records_out: u64,
    pub batches_in: u64,
    pub batches_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub busy_nanos: u64,
    pub blocked_nanos: u64,
    pub idle_nanos: u64,
    /// As [`InstanceCounters::watermark`].
    pub watermark: i64,
}

impl JobCounters {
    /// `gates` by node, input and receiving worker.
    pub(super) fn new(
        job: u64,
        plan: &super::plan::Plan,
        topology: super::job::Topology,
        budget: EdgeBudget,
        gates: &[Vec<Vec<Arc<Gate>>>],
    ) -> Self {
        let nodes = plan.nodes.iter().zip(gates).map(|(node, gates)| NodeCounters {
            id: node.id,
            name: node.name.clone(),
            instances: (0..topology.threads).map(|_| Arc::new(InstanceCounters::new())).collect(),
            gates: gates.iter().flatten().cloned().collect(),
        });
        Self {
            job,
            process: topology.process,
            threads: topology.threads,
            nodes: nodes.collect(),
            in_bytes: matches!(budget, EdgeBudget::Bytes(_)),
            started: Instant::now(),
            ended: OnceLock::new(),
        }
    }

    /// Nanoseconds of `at` on the stopwatches.
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_nanos() as u64
    }

    /// The job's age in nanoseconds; it ends with the job.
    pub(crate) fn age(&self) -> u64 {
        self.nanos(self.ended.get().copied().unwrap_or_else(Instant::now))
    }

    /// All workers are done with the job.
    pub(super) fn end(&self) {
        self.ended.get_or_init(Instant::now);
    }

    pub(crate) fn running(&self) -> bool {
        self.ended.get().is_none()
    }

    /// A node's id and name.
    pub(crate) fn node(&self, node: usize) -> (usize, &str) {
        (self.nodes[node].id, &self.nodes[node].name)
    }

    /// One reading a local worker.
    pub(crate) fn read(&self, node: usize) -> impl Iterator<Item = InstanceReading> {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        self.nodes[node].instances.iter().map(move |counters| InstanceReading {
            records_in: load(&counters.records_in),
            records_out: load(&counters.records_out),
            batches_in: load(&counters.batches_in),
            batches_out: load(&counters.batches_out),
            bytes_in: load(&counters.bytes_in),
            bytes_out: load(&counters.bytes_out),
            busy_nanos: counters.busy.read(|| self.age()),
            blocked_nanos: counters.blocked.read(|| self.age()),
            idle_nanos: counters.idle.read(|| self.age()),
            watermark: counters.watermark.load(Ordering::Relaxed),
        })
    }

    /// Bytes that this process has sent to instances of the node and that they are not done with; 0 where permits are not
    /// bytes.
    pub(crate) fn in_flight_bytes(&self, node: usize) -> u64 {
        if !self.in_bytes {
            return 0;
        }
        self.nodes[node].gates.iter().map(|gate| gate.used()).sum()
    }

    /// All nodes, their instances summed.
    pub(super) fn report(&self) -> Vec<NodeReport> {
        let report = |node: usize| {
            let (id, name) = self.node(node);
            let zero = NodeReport { id, name: name.to_owned(), ..NodeReport::default() };
            self.read(node).fold(zero, |mut sum, reading| {
                sum.add(&NodeReport {
                    records_in: reading.records_in,
                    records_out: reading.records_out,
                    batches_in: reading.batches_in,
                    batches_out: reading.batches_out,
                    bytes_in: reading.bytes_in,
                    bytes_out: reading.bytes_out,
                    busy_nanos: reading.busy_nanos,
                    blocked_nanos: reading.blocked_nanos,
                    idle_nanos: reading.idle_nanos,
                    ..NodeReport::default()
                });
                sum
            })
        };
        (0..self.nodes.len()).map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopwatch_sums_what_it_ran_and_can_be_read_while_it_runs() {
        let watch = Stopwatch::default();
        assert_eq!(watch.read(|| 7), 0);
        watch.start(10);
        assert_eq!(watch.read(|| 10), 0);
        assert_eq!(watch.read(|| 25), 15);
        watch.stop(30);
        assert_eq!(watch.read(|| 1_000), 20);
        watch.stop(50);
        watch.start(100);
        assert_eq!(watch.read(|| 101), 21);
        watch.stop(100);
        assert_eq!(watch.read(|| 1_000), 20);
    }

    #[test]
    fn one_that_was_started_after_the_last_moment_gives_no_more_than_the_jobs_age() {
        let watch = Stopwatch::default();
        watch.start(10);
        assert_eq!(watch.read(|| 9), 9);
    }
}
