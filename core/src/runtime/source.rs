//! Drives a [`Source`]: polls it while its outputs have room, has it pass barriers at once, moves its capability with its
//! watermark.

use super::epochs::BarrierCost;
use super::failure::guard;
use super::idle::Status;
use super::instance::Instance;
use super::job::flatten;
use super::ticker::Ticker;
use crate::{Progress, Result, Snapshot, Source};
use std::time::{Duration, Instant};

/// Polls an activation.
const FUEL: usize = 16;

/// A source that is to be polled again within this time keeps its worker from sleeping: a sleep would end some 50
/// microseconds late.
const SPIN: Duration = Duration::from_millis(1);

pub(super) struct SourceHarness {
    pub instance: Instance,
    source: Option<Box<dyn Source>>,
    ticker: Ticker,
    stopped: bool,
    /// When the source wanted to be polled again, where the worker has been asked to call for that.
    alarm: Option<Instant>,
    /// Whether it had ended by the checkpoint that the job was restored from.
    had_ended: bool,
}

impl Drop for SourceHarness {
    /// A worker that dies in the middle of a job drops what it runs.
    fn drop(&mut self) {
        self.discard();
    }
}

impl SourceHarness {
    pub(super) fn new(instance: Instance, source: Option<Box<dyn Source>>) -> Self {
        Self { instance, source, ticker: Ticker::default(), stopped: false, alarm: None, had_ended: false }
    }

    /// The source has taken back state of a checkpoint: of this event time, and whether it had ended.
    pub(super) fn restored(&mut self, watermark: i64, ended: bool) {
        self.had_ended = ended;
        if watermark < i64::MAX {
            self.instance.begin_at(watermark);
        }
    }

    /// One activation. True while the instance must be kept.
    pub(super) fn activate(&mut self) -> bool {
        self.instance.begin();
        if self.instance.job.aborted() {
            self.discard();
            return false;
        }
        if let Err(error) = self.run() {
            self.instance.fail(error);
            self.discard();
            return false;
        }
        self.instance.end();
        !self.instance.committed()
    }

    fn run(&mut self) -> Result<()> {
        let Self { instance, source: slot, ticker, stopped, alarm, had_ended } = self;
        let Some(source) = slot.as_deref_mut() else { return Ok(()) };
        if instance.job.stopping() && !*stopped {
            *stopped = true;
            flatten(guard(|| {
                source.stop();
                Ok(())
            }))?;
        }
        // Barriers pass whether there is room or not: what holds the source back may be waiting for them.
        while instance.epoch < instance.job.requested() {
            let epoch = instance.epoch;
            let start = Instant::now();
            let snapshot = flatten(guard(|| source.snapshot(epoch)))?;
            instance.pass_barrier(snapshot, BarrierCost { snapshot: start.elapsed(), ..BarrierCost::default() })?;
        }
        while let Some((epoch, complete)) = instance.next_fate() {
            if complete {
                flatten(guard(|| source.checkpoint_complete(epoch)))?;
            }
        }
        if instance.job.holds(instance.epoch) {
            // Until it is known what becomes of the savepoint that the job is to end with.
            return Ok(());
        }
        // A timer asks for a poll, which it is about to get.
        instance.due_timer();
        let (mut waiting, mut blocked) = (false, false);
        for _ in 0..FUEL {
            if instance.blocked() || instance.job.stash.wait(&instance.wake) {
                (waiting, blocked) = (true, true);
                break;
            }
            let polled = if *had_ended { Progress::Done } else { flatten(guard(|| source.poll(&mut instance.outlets)))? };
            match polled {
                Progress::More => {}
                Progress::Waiting => {
                    instance.outlets.flush()?;
                    let wake_at = flatten(guard(|| Ok(source.wake_at())))?;
                    waiting = wake_at.is_none_or(|at| !soon(at, instance, alarm));
                    break;
                }
                Progress::Done => {
                    instance.job.publish(instance.node, instance.worker, Status { watermark: i64::MAX, idle: true });
                    let epoch = instance.epoch;
                    let checkpointed = instance.checkpointed();
                    let source = slot.take();
                    let snapshot = flatten(guard(|| match source {
                        Some(mut source) if checkpointed => source.snapshot(epoch),
                        _ => Ok(Snapshot::default()),
                    }))?;
                    return instance.finish(snapshot);
                }
            }
        }
        if blocked {
            flatten(guard(|| {
                source.held_up();
                Ok(())
            }))?;
        }
        let own = flatten(guard(|| Ok(Status { watermark: source.watermark(), idle: source.idle() })))?;
        if let Some(global) = ticker.tick(instance, own, waiting, blocked)? {
            flatten(guard(|| {
                source.on_global_watermark(global);
                Ok(())
            }))?;
            // It may have waited for that.
            waiting &= blocked;
        }
        if !waiting || (!blocked && instance.due_timer().is_some()) {
            instance.again();
        }
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(mut source) = self.source.take() {
            // The job has its error; another one of this source would not be shown.
            let _ = guard(|| {
                source.abort();
                drop(source);
            });
        }
        self.instance.outlets.close();
    }
}

/// Whether it is worth staying awake until `at`. If not, the worker is asked to call again shortly before.
fn soon(at: Instant, instance: &Instance, alarm: &mut Option<Instant>) -> bool {
    let left = at.saturating_duration_since(Instant::now());
    if left <= SPIN {
        return true;
    }
    if *alarm != Some(at) {
        *alarm = Some(at);
        instance.again_after(left - SPIN / 2);
    }
    false
}
