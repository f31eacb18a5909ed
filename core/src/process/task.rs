//! The operator around every function with keyed state: keys, timers, outputs, snapshots, so that a function is all that
//! differs.

use super::outputs::Outputs;
use crate::graph::TaskContext;
use crate::state::{
    BLOCK, EVENT_TIMERS, KeyBlock, KeyedState, OperatorState, PROCESSING_TIMERS, StateGauge, TimerQueue, section,
};
use crate::stream::{Data, KeySelector};
use crate::time::Clock;
use crate::{Batch, Operator, OperatorContext, Output, Progress, Restored, Result, Snapshot, StateSection, Waker};

/// Timers that fire between two looks at whether the output has room.
const TIMERS: usize = 64;

/// Calls of an operator between two measurements of its state.
const MEASURED: u32 = 64;

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
    /// State that is not of keys.
    pub(crate) operator_state: OperatorState,
    pub(crate) event_timers: TimerQueue<()>,
    pub(crate) processing_timers: TimerQueue<()>,
    pub(crate) watermark: i64,
    pub(crate) clock: Clock,
    /// The processing time that the harness was asked to call at.
    alarm: i64,
    /// The input has ended, and with it processing time: no more timers can be set.
    closed: bool,
    /// The keys of the block of records in hand.
    keys: KeyBlock,
    /// Has the operator called again.
    waker: Waker,
    gauge: StateGauge,
    calls: u32,
}

impl KeyedRuntime {
    pub(crate) fn new(context: &TaskContext) -> Self {
        let operator: &OperatorContext = context;
        Self {
            state: KeyedState::new(context.state_scope(), context.clock().clone(), context.keys().clone()),
            operator_state: OperatorState::new(operator),
            event_timers: TimerQueue::new(EVENT_TIMERS).keyed(context.keys()),
            processing_timers: TimerQueue::new(PROCESSING_TIMERS).keyed(context.keys()),
            watermark: i64::MIN,
            clock: context.clock().clone(),
            alarm: i64::MAX,
            closed: false,
            keys: KeyBlock::default(),
            waker: operator.waker.clone(),
            gauge: StateGauge::new(&context.metrics),
            calls: 0,
        }
    }

    /// Gives a function each record of a batch, with its event time, while its key is the current one. Look-ups of a block
    /// of records are prepared together.
    pub(crate) fn each<T: Data, S: KeySelector<T>>(
        &mut self,
        mut batch: Batch,
        selector: &S,
        mut f: impl FnMut(&mut Self, T, i64) -> Result<()>,
    ) -> Result<()> {
        let times = batch.event_times.take();
        let mut records = batch.typed_records::<T>()?.into_iter();
        let mut keys = std::mem::take(&mut self.keys);
        let mut number = 0;
        while records.len() > 0 {
            let count = records.len().min(BLOCK);
            keys.encode(records.as_slice()[..count].iter(), |record, out| selector.encode(record, out));
            self.state.prefetch(&keys)?;
            for (i, record) in records.by_ref().take(count).enumerate() {
                self.state.current().go(keys.get(i));
                f(self, record, times.as_ref().map_or(i64::MIN, |times| times[number]))?;
                number += 1;
            }
        }
        self.keys = keys;
        Ok(())
    }

    pub(crate) fn set_processing_timer(&mut self, time: i64) {
        if !self.closed {
            let Self { state, processing_timers, .. } = self;
            state.current().with(|key| processing_timers.set(time, key, ()));
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

    fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        self.state.snapshot(&mut snapshot)?;
        self.operator_state.snapshot(&mut snapshot);
        snapshot.deferred.push(self.event_timers.snapshot());
        snapshot.deferred.push(self.processing_timers.snapshot());
        Ok(snapshot)
    }

    /// Takes back what [`KeyedRuntime::snapshot`] gave. Sections of key groups that are not of this go to `other`, which says
    /// whether it knows them.
    fn restore(&mut self, state: &Restored, mut other: impl FnMut(&StateSection) -> Result<bool>) -> Result<()> {
        for section in state.sections.iter().filter(|s| s.key_group.is_some()) {
            let known = self.event_timers.restore(section)?
                || self.processing_timers.restore(section)?
                || self.state.restore(section)?
                || other(section)?;
            if !known {
                section::unclaimed(section)?;
            }
        }
        self.state.restored()?;
        self.operator_state.restore(&state.sections)?;
        if self.processing_timers.len() > 0 {
            // Timers can be asked for only when the operator is called.
            (self.waker)();
        }
        Ok(())
    }

    /// Says how large the state is, now and then.
    #[inline]
    fn measure(&mut self) {
        self.calls = self.calls.wrapping_add(1);
        if self.calls % MEASURED == 1 {
            let (entries, bytes) = self.state.size();
            let timers = self.event_timers.byte_len() + self.processing_timers.byte_len();
            self.gauge.set(entries, bytes + timers + self.operator_state.byte_len());
        }
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

    /// State of keys that the handler keeps itself.
    fn snapshot(&mut self, into: &mut Snapshot) -> Result<()> {
        let _ = into;
        Ok(())
    }

    /// Takes back a section of it. Says whether it is one.
    fn restore(&mut self, section: &StateSection) -> Result<bool> {
        let _ = section;
        Ok(false)
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
        Self::with_operator_state(context, |state, _| make(state))
    }

    /// The same, with state that is not of keys.
    pub(crate) fn with_operator_state(
        context: &TaskContext,
        make: impl FnOnce(&mut KeyedState, &mut OperatorState) -> Result<H>,
    ) -> Result<Self> {
        let mut runtime = KeyedRuntime::new(context);
        let KeyedRuntime { state, operator_state, .. } = &mut runtime;
        let handler = make(state, operator_state)?;
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
                    self.runtime.state.check()?;
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
            self.runtime.state.check()?;
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
        self.runtime.state.check()?;
        self.outputs.flush(out)?;
        self.runtime.arm(out);
        self.runtime.measure();
        Ok(Progress::Done)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.runtime.arm(out);
        self.firing.map_or(Ok(Progress::Done), |until| self.fire(until, out))
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.runtime.watermark = watermark;
        self.runtime.measure();
        self.fire(Timer { time: watermark, domain: TimeDomain::EventTime }, out)
    }

    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.fire(Timer { time: now, domain: TimeDomain::ProcessingTime }, out)
    }

    /// Processing time ends here: its timers fire in their order, and those that would be set now never do. So a job whose
    /// input ends has the same output however fast it runs, and a timer that sets itself again does not hold up its end.
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.runtime.closed = true;
        self.fire(Timer { time: i64::MAX, domain: TimeDomain::ProcessingTime }, out)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let mut snapshot = self.runtime.snapshot()?;
        self.handler.snapshot(&mut snapshot)?;
        Ok(snapshot)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        let Self { handler, runtime, .. } = self;
        runtime.restore(&state, |section| handler.restore(section))
    }
}
