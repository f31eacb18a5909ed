//! The operator for windows of any kind: own triggers and evictors, all records of a window, lateness, merging, both times.
//!
//! The windows of a key lie together in one entry of a table, so that a record costs one look-up, however many windows it
//! belongs to. [`lifecycle`] is what happens to one window; [`keyed`] are the windows of a key, and how they merge; here is what
//! drives them: records, watermarks, the clock, snapshots.
//!
//! Invariant: each window that has an end has a timer at the time when its state goes (the end and the allowed lateness).
//! Timers of windows that are gone are ignored.
//!
//! Trade-off: the copy that follows a snapshot is of a key group; windows that keep all their records make it a large one.

mod keyed;
mod lifecycle;

use super::aligned::event_times;
use super::assigner::WindowAssigner;
use super::contents::WindowContents;
use super::count_late;
use super::function::WindowFunction;
use super::timers::WindowTimers;
use super::trigger::Trigger;
use crate::codec::RecordCodec;
use crate::graph::{NodeMetrics, TaskContext};
use crate::process::{OutputTag, Outputs, TimeDomain};
use crate::state::{BLOCK, KeyBlock, KeyRef, StateTable};
use crate::stream::{Data, KeySelector};
use crate::{Batch, Operator, Output, Progress, Restored, Result, Snapshot, Waker};
use keyed::KeyWindows;
use lifecycle::Lifecycle;
use std::marker::PhantomData;
use std::sync::Arc;

/// The name under which windows are stored.
const STATE: &str = "windows";

/// Timers that fire between two looks at whether the output has room.
const TIMERS: usize = 64;

/// What the builder says beside functions.
pub(super) struct Settings<T, S, A, G> {
    pub(super) selector: S,
    pub(super) assigner: A,
    pub(super) trigger: G,
    /// Milliseconds.
    pub(super) lateness: i64,
    pub(super) late: Option<OutputTag<T>>,
}

impl<T, S: Clone, A: Clone, G: Clone> Clone for Settings<T, S, A, G> {
    fn clone(&self) -> Self {
        let Self { selector, assigner, trigger, lateness, late } = self;
        let (selector, assigner, trigger) = (selector.clone(), assigner.clone(), trigger.clone());
        Self { selector, assigner, trigger, lateness: *lateness, late: late.clone() }
    }
}

/// The general window operator.
pub(super) struct WindowOperator<T, S, A, G, C, F>
where
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<T, A::Window>,
    F: WindowFunction<C::Value, A::Window>,
{
    selector: S,
    assigner: A,
    late: Option<OutputTag<T>>,
    metrics: Arc<NodeMetrics>,
    table: StateTable<KeyWindows<A::Window, C::State, G::State>>,
    codec: RecordCodec<KeyWindows<A::Window, C::State, G::State>>,
    lifecycle: Lifecycle<A::Window, G, C, F, F::Output>,
    keys: KeyBlock,
    assigned: Vec<A::Window>,
    /// The timers that fire at present: up to which time.
    firing: Option<(TimeDomain, i64)>,
    waker: Waker,
    record: PhantomData<fn(T)>,
}

impl<T, S, A, G, C, F> WindowOperator<T, S, A, G, C, F>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<T, A::Window>,
    F: WindowFunction<C::Value, A::Window>,
{
    pub(super) fn new(settings: Settings<T, S, A, G>, contents: C, function: F, context: &TaskContext) -> Self {
        let Settings { selector, assigner, trigger, lateness, late } = settings;
        let domain = assigner.domain();
        let codec = RecordCodec::new().keyed(context.keys());
        Self {
            selector,
            assigner,
            late,
            metrics: context.metrics.clone(),
            table: StateTable::open(&context.state_scope(), STATE, &codec),
            codec,
            lifecycle: Lifecycle {
                trigger,
                contents,
                function,
                timers: WindowTimers::new(domain, context.clock().clone(), context.keys()),
                outputs: Outputs::new(context),
                lateness: if domain == TimeDomain::EventTime { lateness } else { 0 },
            },
            keys: KeyBlock::default(),
            assigned: Vec::new(),
            firing: None,
            waker: context.waker.clone(),
            record: PhantomData,
        }
    }

    /// Takes a record; the i-th of the block of keys.
    #[inline]
    fn take(&mut self, i: usize, record: T, time: i64) -> Result<()> {
        let Self { assigner, table, lifecycle, keys, assigned, .. } = self;
        let key = keys.get(i);
        assigned.clear();
        assigner.assign(&record, time, lifecycle.timers.now, assigned);
        let merges = assigner.merges();
        if !merges {
            assigned.retain(|window| !lifecycle.is_late(window));
        }
        if assigned.is_empty() {
            self.skip(record, time);
            return Ok(());
        }
        let windows = table.get_or_insert_with(key, KeyWindows::default);
        let mut record = Some(record);
        let mut taken = false;
        let count = assigned.len();
        for (n, window) in assigned.iter().enumerate() {
            let place = if merges {
                windows.merge::<T, _, _, _, _>(window, key, lifecycle)
            } else {
                Some(windows.find_or_open(window, |window| lifecycle.open(key, window)))
            };
            let Some(place) = place else { continue };
            taken = true;
            let Some(record) = (if n + 1 == count { record.take() } else { record.clone() }) else { break };
            if lifecycle.take(key, windows.at(place), record, time)? {
                windows.remove(place);
            }
        }
        if windows.is_empty() {
            table.remove(key);
        }
        if !taken && let Some(record) = record {
            self.skip(record, time);
        }
        Ok(())
    }

    /// No window takes a record: it is late, or has no windows.
    #[cold]
    fn skip(&mut self, record: T, time: i64) {
        let Lifecycle { timers, outputs, lateness, .. } = &mut self.lifecycle;
        if timers.domain == TimeDomain::EventTime && time.saturating_add(*lateness) <= timers.watermark {
            let heard = self.late.as_ref().is_some_and(|tag| outputs.push_side(tag, record, time));
            count_late(&self.metrics, heard);
        }
    }

    /// Whether all state could be read and written.
    fn check(&mut self) -> Result<()> {
        self.table.check()?;
        self.lifecycle.function.check()
    }

    /// Fires timers of a domain up to a time.
    fn fire(&mut self, domain: TimeDomain, until: i64, out: &mut dyn Output) -> Result<Progress> {
        self.firing = Some((domain, until));
        loop {
            for _ in 0..TIMERS {
                let Some((time, key, window)) = self.lifecycle.timers.pop(domain, until) else {
                    self.firing = None;
                    self.check()?;
                    self.lifecycle.outputs.flush(out)?;
                    self.lifecycle.timers.arm(out);
                    return Ok(Progress::Done);
                };
                let key = KeyRef::new(key.as_slice());
                self.table.fetch(key);
                let Some(windows) = self.table.get_mut(key) else { continue };
                let Some(place) = windows.find(&window) else { continue };
                if self.lifecycle.due(key, windows.at(place), domain, time)? {
                    windows.remove(place);
                    if windows.is_empty() {
                        self.table.remove(key);
                    }
                }
            }
            self.check()?;
            self.lifecycle.outputs.send_full(out)?;
            if out.congested(0) {
                self.lifecycle.outputs.flush(out)?;
                return Ok(Progress::More);
            }
        }
    }
}

impl<T, S, A, G, C, F> Operator for WindowOperator<T, S, A, G, C, F>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Trigger<T, A::Window>,
    C: WindowContents<T, A::Window>,
    F: WindowFunction<C::Value, A::Window>,
{
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let times = match self.lifecycle.timers.domain {
            TimeDomain::EventTime => Some(event_times(&mut batch)?),
            TimeDomain::ProcessingTime => batch.event_times.take(),
        };
        self.lifecycle.timers.look_at_clock();
        let mut number = 0;
        let mut records = batch.typed_records::<T>()?.into_iter();
        while records.len() > 0 {
            let block = records.as_slice();
            let block = &block[..block.len().min(BLOCK)];
            let count = block.len();
            self.keys.encode(block.iter(), |record, out| self.selector.encode(record, out));
            self.keys.prefetch(&mut self.table)?;
            for (i, record) in records.by_ref().take(count).enumerate() {
                self.take(i, record, times.as_ref().map_or(i64::MIN, |times| times[number]))?;
                number += 1;
            }
            self.check()?;
            self.lifecycle.outputs.send_full(out)?;
        }
        self.lifecycle.outputs.flush(out)?;
        self.lifecycle.timers.arm(out);
        Ok(Progress::Done)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        match self.firing {
            Some((domain, until)) => self.fire(domain, until, out),
            None => {
                self.lifecycle.timers.arm(out);
                Ok(Progress::Done)
            }
        }
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        let timers = &mut self.lifecycle.timers;
        timers.look_at_clock();
        timers.watermark = watermark;
        timers.ended |= watermark == i64::MAX;
        self.fire(TimeDomain::EventTime, watermark, out)
    }

    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        let timers = &mut self.lifecycle.timers;
        let until = timers.call(now);
        self.fire(TimeDomain::ProcessingTime, until, out)
    }

    fn end_input(&mut self, _input: usize, _out: &mut dyn Output) -> Result<Progress> {
        self.lifecycle.timers.ended = true;
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        snapshot.deferred.push(self.table.snapshot(STATE, &self.codec, |_| true)?);
        self.lifecycle.timers.snapshot(&mut snapshot);
        self.lifecycle.function.snapshot(&mut snapshot)?;
        Ok(snapshot)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        for section in &state.sections {
            if section.name == STATE {
                self.table.restore(section, &self.codec)?;
            } else if !self.lifecycle.timers.restore(section)? {
                self.lifecycle.function.restore(section)?;
            }
        }
        self.table.restored()?;
        self.lifecycle.function.restored()?;
        // So that the timers are armed.
        (self.waker)();
        Ok(())
    }
}
