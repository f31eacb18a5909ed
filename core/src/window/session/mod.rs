//! Event-time sessions that sum up as records come, fire once and take nothing late: the fast path beside [`super::general`].
//!
//! A key has one entry in a table with its few [`sessions`], and one deadline in a queue: not later than the end of its first
//! session, and put off only when it is reached. So a record that extends a session costs a look-up of its key and an
//! addition; moving a timer with every record, as the general operator must, would cost more than all the rest.
//!
//! Invariant: a key with sessions has its `deadline` in the queue; deadlines that are not their key's are ignored. The queue
//! is not stored: it follows from the sessions.
//!
//! Trade-off: what is due comes out of the queue in spans of time, and is sorted there; a long span is held in memory at once.

mod deadlines;
mod sessions;

use super::aligned::event_times;
use super::assigner::WindowAssigner;
use super::contents::Summing;
use super::count_late;
use super::time_window::{Window, Windowed};
use crate::codec::RecordCodec;
use crate::graph::{NodeMetrics, TaskContext};
use crate::process::{OutputTag, Outputs};
use crate::state::{BLOCK, KeyBlock, KeyBytes, KeyRef, StateTable};
use crate::stream::{Data, KeySelector};
use crate::{Aggregator, Batch, Operator, Output, Progress, Restored, Result, Snapshot};
use deadlines::Deadlines;
use sessions::{Open, Sessions};
use std::marker::PhantomData;
use std::sync::Arc;

/// The name under which sessions are stored.
const STATE: &str = "sessions";

/// Keys that are looked at between two looks at whether the output has room.
const KEYS: usize = 4096;

/// The session operator.
pub(super) struct SessionOperator<T, S: KeySelector<T>, A: WindowAssigner<T>, G: Aggregator<T>, R> {
    selector: S,
    assigner: A,
    summing: Summing<G, G::Output, R>,
    late: Option<OutputTag<T>>,
    metrics: Arc<NodeMetrics>,
    watermark: i64,
    table: StateTable<Sessions<A::Window, G::Accumulator>>,
    codec: RecordCodec<Sessions<A::Window, G::Accumulator>>,
    deadlines: Deadlines,
    keys: KeyBlock,
    assigned: Vec<A::Window>,
    ended: Vec<Ended<A::Window, G::Accumulator>>,
    outputs: Outputs<Windowed<S::Key, A::Window, R>>,
    record: PhantomData<fn(T)>,
}

/// A session that fires.
struct Ended<W, A> {
    at: i64,
    key: KeyBytes,
    session: Open<W, A>,
}

impl<T, S, A, G, R> SessionOperator<T, S, A, G, R>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Aggregator<T>,
    R: Data,
{
    pub(super) fn new(
        selector: S,
        assigner: A,
        summing: Summing<G, G::Output, R>,
        late: Option<OutputTag<T>>,
        context: &TaskContext,
    ) -> Self {
        let codec = RecordCodec::new().keyed(context.keys());
        Self {
            selector,
            assigner,
            summing,
            late,
            metrics: context.metrics.clone(),
            watermark: i64::MIN,
            table: StateTable::open(&context.state_scope(), STATE, &codec),
            codec,
            deadlines: Deadlines::default(),
            keys: KeyBlock::default(),
            assigned: Vec::new(),
            ended: Vec::new(),
            outputs: Outputs::new(context),
            record: PhantomData,
        }
    }

    /// Takes a record; the i-th of the block of keys.
    #[inline]
    fn take(&mut self, i: usize, record: T, time: i64) {
        let Self { assigner, table, keys, assigned, deadlines, summing, watermark, .. } = self;
        let key = keys.get(i);
        assigned.clear();
        assigner.assign(&record, time, i64::MIN, assigned);
        let Some(window) = assigned.pop() else { return };
        let aggregator = &summing.aggregator;
        match table.get_mut(key) {
            Some(sessions) => match sessions.add(&window, record, aggregator, *watermark) {
                Some(record) => self.skip(record, time),
                None => {
                    // Out of order, one may begin before the first.
                    if let Some(end) = sessions.first_end().filter(|end| *end < sessions.deadline) {
                        sessions.deadline = end;
                        deadlines.push(end, end.saturating_sub(time), key);
                    }
                }
            },
            None if window.max_timestamp() <= *watermark => self.skip(record, time),
            None => {
                let sessions = Sessions::begin(window, record, aggregator);
                deadlines.push(sessions.deadline, sessions.deadline.saturating_sub(time), key);
                table.insert(key, sessions);
            }
        }
    }

    /// A record is late.
    #[cold]
    fn skip(&mut self, record: T, time: i64) {
        let heard = self.late.as_ref().is_some_and(|tag| self.outputs.push_side(tag, record, time));
        count_late(&self.metrics, heard);
    }

    /// Takes the sessions of these keys that have ended; the others get a new deadline.
    fn look_at(&mut self, keys: &[(i64, KeyBytes)], until: i64) -> Result<()> {
        let Self { table, deadlines, ended, keys: block, .. } = self;
        for keys in keys.chunks(BLOCK) {
            block.encode(keys.iter(), |(_, key), out| out.extend_from_slice(key.as_slice()));
            block.prefetch(table)?;
            for (i, (deadline, bytes)) in keys.iter().enumerate() {
                let key = block.get(i);
                let Some(sessions) = table.get_mut(key).filter(|sessions| sessions.deadline == *deadline) else { continue };
                sessions.take_ended(until, |session| {
                    ended.push(Ended { at: session.window.max_timestamp(), key: bytes.clone(), session });
                });
                match sessions.first_end() {
                    Some(end) => {
                        sessions.deadline = end;
                        deadlines.push(end, end.saturating_sub(*deadline), key);
                    }
                    None => drop(table.remove(key)),
                }
            }
        }
        table.check()
    }

    /// Emits what has ended, in the order of time and key.
    fn emit(&mut self) {
        let Self { ended, outputs, summing, .. } = self;
        ended.sort_unstable_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        for Ended { at, key, session } in ended.drain(..) {
            if let Some(value) = (summing.unpack)(summing.aggregator.finish(session.accumulator)) {
                let key = KeyRef { hash: 0, bytes: key.as_slice() }.decode();
                outputs.push(Windowed { key, window: session.window, value }, at);
            }
        }
    }
}

impl<T, S, A, G, R> Operator for SessionOperator<T, S, A, G, R>
where
    T: Data,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    G: Aggregator<T>,
    R: Data,
{
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let times = event_times(&mut batch)?;
        let mut times = times.into_iter();
        let mut records = batch.typed_records::<T>()?.into_iter();
        while records.len() > 0 {
            let block = records.as_slice();
            let block = &block[..block.len().min(BLOCK)];
            let count = block.len();
            self.keys.encode(block.iter(), |record, out| self.selector.encode(record, out));
            self.keys.prefetch(&mut self.table)?;
            for (i, (record, time)) in records.by_ref().take(count).zip(times.by_ref()).enumerate() {
                self.take(i, record, time);
            }
            self.table.check()?;
        }
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.watermark = watermark;
        self.resume(out)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut looked = 0;
        while let Some(due) = self.deadlines.take(self.watermark) {
            self.look_at(&due.keys, due.until)?;
            self.emit();
            self.outputs.send_full(out)?;
            looked += due.keys.len();
            if looked >= KEYS && out.congested(0) {
                self.outputs.flush(out)?;
                return Ok(Progress::More);
            }
        }
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        Ok(Snapshot { sections: Vec::new(), deferred: vec![self.table.snapshot(STATE, &self.codec, |_| true)?] })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        for state in state.sections.iter().filter(|s| s.name == STATE) {
            self.table.restore(state, &self.codec)?;
        }
        let Self { table, deadlines, .. } = self;
        table.restored()?;
        table.each(|key, sessions| {
            deadlines.push(sessions.deadline, 1 << 10, KeyRef::new(key));
            Ok(())
        })
    }
}
