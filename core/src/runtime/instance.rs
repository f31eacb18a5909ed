//! What every harness has: its place in the job, its outputs, how it is called again, and what it counts.

use super::job::{Job, NodeCounters, named};
use super::outlet::Outlets;
use super::time::Time;
use super::wake::Wake;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use timely::scheduling::Activator;

pub(super) struct Instance {
    pub job: Arc<Job>,
    pub node: usize,
    pub outlets: Outlets,
    pub wake: Wake,
    activator: Activator,
    /// The time that capabilities outside loops are held at.
    at: Time,
    pub records_in: u64,
    pub batches_in: u64,
    finished: bool,
    /// The timer that the worker has been asked to call for.
    alarm: i64,
}

impl Instance {
    pub(super) fn new(job: Arc<Job>, node: usize, outlets: Outlets, wake: Wake, activator: Activator) -> Self {
        job.register(wake.clone());
        let at = Time::new(0, 0, i64::MIN);
        Self { job, node, outlets, wake, activator, at, records_in: 0, batches_in: 0, finished: false, alarm: i64::MIN }
    }

    /// An activation begins: what wakes the harness from here on leads to another one.
    pub(super) fn begin(&self) {
        self.wake.running();
    }

    /// An activation ends: counts it.
    pub(super) fn end(&mut self, start: Instant) {
        let counters: &NodeCounters = &self.job.counters[self.node];
        let add = |counter: &std::sync::atomic::AtomicU64, n: &mut u64| {
            if *n > 0 {
                counter.fetch_add(std::mem::take(n), Relaxed);
            }
        };
        add(&counters.records_in, &mut self.records_in);
        add(&counters.batches_in, &mut self.batches_in);
        add(&counters.records_out, &mut self.outlets.records);
        add(&counters.batches_out, &mut self.outlets.batches);
        counters.busy_nanos.fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
    }

    /// Whether an output has no room; the harness is woken when it has.
    pub(super) fn blocked(&self) -> bool {
        self.outlets.wait_for_room(&self.wake)
    }

    /// Asks for another activation.
    pub(super) fn again(&self) {
        self.activator.activate();
    }

    pub(super) fn name(&self) -> &str {
        &self.job.plan.nodes[self.node].name
    }

    pub(super) fn fail(&self, error: Error) {
        self.job.fail(named(self.name(), error), true);
    }

    /// Announces that nothing before `time` will be sent. Sends what partitioners hold back first.
    pub(super) fn advance(&mut self, time: Time) -> Result<()> {
        if time != self.at {
            self.outlets.flush()?;
            self.outlets.downgrade(time);
            self.at = time;
        }
        Ok(())
    }

    /// Says that this instance has processed all there is.
    pub(super) fn finished(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.job.instance_finished();
        }
    }

    /// Whether all instances everywhere have finished.
    pub(super) fn committed(&self) -> bool {
        self.job.committed()
    }

    /// Has the harness called when its next processing-time timer is due. Gives the current time, milliseconds UTC, if one is.
    pub(super) fn due_timer(&mut self) -> Option<i64> {
        let at = self.outlets.timers.peek()?.0;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        if at <= now {
            while self.outlets.timers.peek().is_some_and(|t| t.0 <= now) {
                self.outlets.timers.pop();
            }
            return Some(now);
        }
        if self.alarm != at {
            self.alarm = at;
            self.activator.activate_after(std::time::Duration::from_millis((at - now) as u64));
        }
        None
    }
}
