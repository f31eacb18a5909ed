//! What every harness has: its place in the job, its outputs, how it is called again, its epoch, and what it counts.

use super::counters::{InstanceCounters, add};
use super::epochs::{BarrierCost, SnapshotPart};
use super::job::{Job, named};
use super::outlet::{Outlets, Place};
use super::time::Time;
use super::wake::Wake;
use crate::{Error, Result, Snapshot};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use timely::dataflow::operators::Capability;
use timely::scheduling::Activator;

thread_local!(static ACTIVATIONS: Cell<u64> = const { Cell::new(0) });

/// How many activations there have been on this worker.
pub(super) fn activations() -> u64 {
    ACTIVATIONS.get()
}

pub(super) struct Instance {
    pub job: Arc<Job>,
    pub node: usize,
    pub worker: usize,
    pub outlets: Outlets,
    pub wake: Wake,
    activator: Activator,
    /// The time that capabilities outside bulk loops are held at.
    at: Time,
    /// The epoch that it is in.
    pub epoch: u64,
    /// The first epoch whose fate the operator has not been told.
    told: u64,
    pub records_in: u64,
    pub batches_in: u64,
    pub bytes_in: u64,
    counters: Arc<InstanceCounters>,
    /// Whether an output had no room when that was last looked at.
    blocked: bool,
    /// The timer that the worker has been asked to call for.
    alarm: i64,
}

impl Instance {
    pub(super) fn new(job: Arc<Job>, (node, worker): (usize, usize), outlets: Outlets, wake: Wake, activator: Activator) -> Self {
        job.register(wake.clone());
        let epoch = job.first_epoch;
        let at = Time::new(0, 0, i64::MIN);
        let counters = job.counters.nodes[node].instances[worker % job.topology.threads].clone();
        Self {
            job,
            node,
            worker,
            outlets,
            wake,
            activator,
            at,
            epoch,
            told: epoch,
            records_in: 0,
            batches_in: 0,
            bytes_in: 0,
            counters,
            blocked: false,
            alarm: i64::MIN,
        }
    }

    /// Gives each output edge the capability that the substrate made for it. Edges inside a bulk loop get theirs with
    /// the records of a superstep.
    pub(super) fn hand_out(&mut self, capabilities: Vec<Capability<Time>>) {
        for (edge, capability) in self.outlets.edges().zip(capabilities) {
            edge.capability = (edge.place != Place::Borrowed).then_some(capability);
        }
        self.at.epoch = self.epoch;
        self.outlets.downgrade(self.at);
    }

    /// An activation begins: what wakes the harness from here on leads to another one.
    pub(super) fn begin(&mut self) -> Instant {
        self.wake.running();
        ACTIVATIONS.set(ACTIVATIONS.get() + 1);
        let start = Instant::now();
        let now = self.job.counters.nanos(start);
        if std::mem::take(&mut self.blocked) { &self.counters.blocked } else { &self.counters.idle }.stop(now);
        self.counters.busy.start(now);
        start
    }

    /// An activation ends: counts it.
    pub(super) fn end(&mut self) {
        let counters = &*self.counters;
        add(&counters.records_in, std::mem::take(&mut self.records_in));
        add(&counters.batches_in, std::mem::take(&mut self.batches_in));
        add(&counters.bytes_in, std::mem::take(&mut self.bytes_in));
        add(&counters.records_out, std::mem::take(&mut self.outlets.records));
        add(&counters.batches_out, std::mem::take(&mut self.outlets.batches));
        add(&counters.bytes_out, self.outlets.take_bytes());
        let now = self.job.counters.nanos(Instant::now());
        counters.busy.stop(now);
        if self.blocked { &counters.blocked } else { &counters.idle }.start(now);
    }

    /// Whether an output has no room; the harness is woken when it has.
    pub(super) fn blocked(&mut self) -> bool {
        self.blocked = self.outlets.wait_for_room(&self.wake);
        self.blocked
    }

    /// Asks for another activation.
    pub(super) fn again(&self) {
        self.activator.activate();
    }

    /// Asks for another activation after a while.
    pub(super) fn again_after(&self, delay: Duration) {
        self.activator.activate_after(delay);
    }

    pub(super) fn name(&self) -> &str {
        &self.job.plan.nodes[self.node].name
    }

    pub(super) fn fail(&self, error: Error) {
        self.job.fail(named(self.name(), error), true);
    }

    /// The time that capabilities outside bulk loops are held at.
    pub(super) fn at(&self) -> Time {
        self.at
    }

    /// Announces that nothing before this will be sent. Sends what partitioners hold back first.
    pub(super) fn advance(&mut self, superstep: u64, watermark: i64) -> Result<()> {
        let time = Time::new(self.epoch, superstep.max(self.at.superstep), watermark.max(self.at.watermark));
        if time != self.at {
            self.outlets.flush()?;
            self.outlets.downgrade(time);
            self.at = time;
            self.counters.watermark.store(time.watermark, Relaxed);
        }
        Ok(())
    }

    /// The barrier that ends the current epoch has passed: hands the state over and goes on in the next.
    pub(super) fn pass_barrier(&mut self, snapshot: Snapshot, cost: BarrierCost) -> Result<()> {
        self.outlets.flush()?;
        self.save(self.epoch, snapshot, cost);
        self.enter_next_epoch()
    }

    /// As [`Instance::pass_barrier`], of an operator that has no state to hand over: no checkpoint comes of the epoch.
    pub(super) fn pass_barrier_without(&mut self, why: &str) -> Result<()> {
        self.outlets.flush()?;
        self.job.refuse(self.epoch, format!("`{}` {why}", self.name()));
        self.enter_next_epoch()
    }

    /// Begins with the event time of a checkpoint.
    pub(super) fn begin_at(&mut self, watermark: i64) {
        self.at.watermark = watermark;
    }

    /// Goes on in the next epoch; the state at the end of this one is handed over later.
    pub(super) fn enter_next_epoch(&mut self) -> Result<()> {
        self.epoch += 1;
        self.advance(0, i64::MIN)
    }

    /// Says that this instance has processed all there is. `snapshot` stands for the rest of the job.
    pub(super) fn finish(&mut self, snapshot: Snapshot) -> Result<()> {
        self.outlets.flush()?;
        self.outlets.close();
        self.counters.watermark.store(i64::MAX, Relaxed);
        self.hand_over(self.epoch, snapshot, Some(i64::MAX), BarrierCost::default());
        Ok(())
    }

    /// Whether somebody keeps snapshots.
    pub(super) fn checkpointed(&self) -> bool {
        self.job.options.checkpoints.is_some()
    }

    /// Hands over the state at the end of an epoch.
    pub(super) fn save(&self, epoch: u64, snapshot: Snapshot, cost: BarrierCost) {
        self.hand_over(epoch, snapshot, None, cost);
    }

    fn hand_over(&self, epoch: u64, snapshot: Snapshot, end: Option<i64>, cost: BarrierCost) {
        let (name, watermark) = (self.name().to_owned(), end.unwrap_or(self.at.watermark));
        let (node, worker, ended) = (self.node, self.worker, end.is_some());
        self.job.save(SnapshotPart { node, name, worker, epoch, ended, watermark, cost, snapshot });
    }

    /// The next epoch whose fate is known and has not been told.
    pub(super) fn next_fate(&mut self) -> Option<(u64, bool)> {
        // An instance hears of a checkpoint that it was part of, so not before it has passed the barrier.
        let (epoch, complete) = self.job.fate_from(self.told)?;
        self.told = epoch + 1;
        Some((epoch, complete))
    }

    /// Whether all instances everywhere have finished.
    pub(super) fn committed(&self) -> bool {
        self.job.committed()
    }

    /// Has the harness called when its next processing-time timer is due. Gives the current time, milliseconds UTC, if one is.
    pub(super) fn due_timer(&mut self) -> Option<i64> {
        let at = self.outlets.timers.peek()?.0;
        let clock = &self.job.options.clock;
        let now = clock.now();
        if at <= now {
            while self.outlets.timers.peek().is_some_and(|t| t.0 <= now) {
                self.outlets.timers.pop();
            }
            return Some(now);
        }
        if self.alarm != at {
            self.alarm = at;
            if let Some(delay) = clock.call_at(at, || self.wake.waker()) {
                self.again_after(delay);
            }
        }
        None
    }

    /// All input has been processed: the next of the timers that are left, whether it is due or not. No more can be set.
    pub(super) fn last_timer(&mut self) -> Option<i64> {
        self.outlets.takes_timers = false;
        let at = self.outlets.timers.pop()?.0;
        while self.outlets.timers.peek().is_some_and(|t| t.0 == at) {
            self.outlets.timers.pop();
        }
        Some(at)
    }
}
