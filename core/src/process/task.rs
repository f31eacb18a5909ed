//! The operator around every function with keyed state: keys, timers, outputs, snapshots, so that a function is all that
//! differs.

use super::outputs::Outputs;
use crate::graph::TaskContext;
use crate::state::{KeyBytes, KeyRef, KeyedState, TimerQueue};
use crate::stream::Data;
use crate::time::Clock;
use crate::{Batch, Operator, OperatorContext, Output, Progress, Restored, Result, Snapshot};

/// Timers that fire between two looks at whether the output has room.
const TIMERS: usize = 64;

/// What a timer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDomain {
    /// It fires when the watermark reaches its time.
    EventTime,
    /// It fires when the clock does.
    ProcessingTime,
}

/// A timer that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The time that it was set for, milliseconds UTC.
    pub time: i64,
    /// Which time.
    pub domain: TimeDomain,
}

/// What an operator has beside the user's function: state of keys, timers, times.
pub(crate) struct KeyedRuntime {
    pub(crate) state: KeyedState,
    pub(crate) event_timers: TimerQueue<()>,
    pub(crate) processing_timers: TimerQueue<()>,
    pub(crate) watermark: i64,
    pub(crate) clock: Clock,
    /// The processing time that the harness was asked to call at.
    alarm: i64,
}

impl KeyedRuntime {
    pub(crate) fn new(context: &TaskContext) -> Self {
        let operator: &OperatorContext = context;
        Self {
            state: KeyedState::new(operator, context.clock().clone()),
            event_timers: TimerQueue::new("event timers"),
            processing_timers: TimerQueue::new("processing timers"),
            watermark: i64::MIN,
            clock: context.clock().clone(),
            alarm: i64::MAX,
        }
    }

    /// Has the harness call when the next processing-time timer is due.
    fn arm(&mut self, out: &mut dyn Output) {
        if let Some(next) = self.processing_timers.next()
            && next < self.alarm
        {
            self.alarm = next;
            out.set_timer(next);
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        self.state.snapshot(&mut snapshot);
        snapshot.deferred.push(self.event_timers.snapshot());
        snapshot.deferred.push(self.processing_timers.snapshot());
        snapshot
    }
}

/// What a kind of keyed operator does with its input and its timers.
pub(crate) trait KeyedHandler {
    /// Records of the main output.
    type Output: Data;

    /// Takes a batch of an input.
    fn batch(
        &mut self,
        input: usize,
        batch: Batch,
        runtime: &mut KeyedRuntime,
        outputs: &mut Outputs<Self::Output>,
        out: &mut dyn Output,
    ) -> Result<()>;

    /// A timer of the current key fires.
    fn timer(&mut self, timer: Timer, runtime: &mut KeyedRuntime, outputs: &mut Outputs<Self::Output>) -> Result<()>;

    /// State that does not belong to keys.
    fn snapshot(&mut self, into: &mut Snapshot) -> Result<()> {
        let _ = into;
        Ok(())
    }

    /// Takes it back.
    fn restore(&mut self, state: &Restored) -> Result<()> {
        let _ = state;
        Ok(())
    }
}

/// Runs a [`KeyedHandler`].
pub(crate) struct KeyedTask<H: KeyedHandler> {
    handler: H,
    runtime: KeyedRuntime,
    outputs: Outputs<H::Output>,
    /// The timers that fire at present: up to which time.
    firing: Option<Timer>,
}

impl<H: KeyedHandler> KeyedTask<H> {
    /// For an operator of this context; `make` gets the state to take handles from.
    pub(crate) fn new(context: &TaskContext, make: impl FnOnce(&mut KeyedState) -> Result<H>) -> Result<Self> {
        let mut runtime = KeyedRuntime::new(context);
        let handler = make(&mut runtime.state)?;
        Ok(Self { handler, runtime, outputs: Outputs::new(context), firing: None })
    }

    /// Fires timers of a domain up to a time.
    fn fire(&mut self, until: Timer, out: &mut dyn Output) -> Result<Progress> {
        self.firing = Some(until);
        loop {
            for _ in 0..TIMERS {
                let queue = match until.domain {
                    TimeDomain::EventTime => &mut self.runtime.event_timers,
                    TimeDomain::ProcessingTime => &mut self.runtime.processing_timers,
                };
                let Some((time, key, ())) = queue.pop(until.time) else {
                    self.firing = None;
                    self.outputs.flush(out)?;
                    if until.domain == TimeDomain::ProcessingTime {
                        self.runtime.alarm = i64::MAX;
                    }
                    self.runtime.arm(out);
                    return Ok(Progress::Done);
                };
                self.runtime.state.current().set(key.as_slice());
                self.handler.timer(Timer { time, ..until }, &mut self.runtime, &mut self.outputs)?;
            }
            self.outputs.send_full(out)?;
            if out.congested(0) {
                self.outputs.flush(out)?;
                return Ok(Progress::More);
            }
        }
    }
}

impl<H: KeyedHandler> Operator for KeyedTask<H> {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.handler.batch(input, batch, &mut self.runtime, &mut self.outputs, out)?;
        self.outputs.flush(out)?;
        self.runtime.arm(out);
        Ok(Progress::Done)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.firing.map_or(Ok(Progress::Done), |until| self.fire(until, out))
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.runtime.watermark = watermark;
        self.fire(Timer { time: watermark, domain: TimeDomain::EventTime }, out)
    }

    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.fire(Timer { time: now, domain: TimeDomain::ProcessingTime }, out)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let mut snapshot = self.runtime.snapshot();
        self.handler.snapshot(&mut snapshot)?;
        Ok(snapshot)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        for section in &state.sections {
            let runtime = &mut self.runtime;
            let _known = runtime.event_timers.restore(section)?
                || runtime.processing_timers.restore(section)?
                || runtime.state.restore(section)?;
        }
        self.handler.restore(&state)
    }
}

/// A timer's key, for operators that keep their own.
pub(crate) fn key_of(key: &KeyBytes) -> KeyRef<'_> {
    KeyRef::new(key.as_slice())
}
