use super::bound::Interval;
use super::context::{IntervalContext, PairTimes};
use super::held::Pair;
use crate::codec::RecordCodec;
use crate::graph::{NodeMetrics, TaskContext};
use crate::process::{OutputTag, Outputs};
use crate::state::{BLOCK, KeyBlock, KeyRef, StateGauge, StateTable, TimerQueue, section};
use crate::stream::{Data, KeySelector};
use crate::{Batch, Error, Operator, Output, Progress, Restored, Result, Snapshot};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::vec::IntoIter;

/// The name under which the records are stored.
const STATE: &str = "interval join";

/// Keys whose deadlines are dealt with in one call.
const KEYS: usize = 4096;

/// Batches between two measurements of the state.
const MEASURED: u32 = 64;

/// What the builder says beside the function.
pub(super) struct Settings<L, LS, R, RS> {
    pub(super) left: LS,
    pub(super) right: RS,
    pub(super) interval: Interval,
    pub(super) late_left: Option<OutputTag<L>>,
    pub(super) late_right: Option<OutputTag<R>>,
}

/// The interval join.
pub(super) struct IntervalOperator<L, LS, R, RS, K, U, F> {
    settings: Settings<L, LS, R, RS>,
    f: F,
    table: StateTable<Pair<L, R>>,
    codec: RecordCodec<Pair<L, R>>,
    /// When keys are looked at, even if no record of them comes: one deadline for each key of the table. They are not stored,
    /// since the records give them.
    deadlines: TimerQueue<()>,
    watermark: i64,
    /// Records of the table.
    held: usize,
    /// What is left of the batch in hand.
    left: Rest<L>,
    right: Rest<R>,
    keys: KeyBlock,
    outputs: Outputs<U>,
    metrics: Arc<NodeMetrics>,
    gauge: StateGauge,
    calls: u32,
    key: PhantomData<fn() -> K>,
}

/// Records of a batch that are still to be taken, with their event times.
struct Rest<T> {
    records: IntoIter<T>,
    times: IntoIter<i64>,
}

impl<T> Default for Rest<T> {
    fn default() -> Self {
        Self { records: Vec::new().into_iter(), times: Vec::new().into_iter() }
    }
}

impl<T: Data> Rest<T> {
    fn new(mut batch: Batch) -> Result<Self> {
        let times = batch.event_times.take().unwrap_or_default();
        let records = batch.typed_records::<T>()?;
        if times.len() != records.len() || times.contains(&i64::MIN) {
            let message = "an interval join needs records with event times: call assign_timestamps_and_watermarks before it";
            return Err(Error::Plan(message.into()));
        }
        Ok(Self { records: records.into_iter(), times: times.into_iter() })
    }

    /// The next records, as many as are looked up together.
    fn block(&self) -> &[T] {
        let records = self.records.as_slice();
        &records[..records.len().min(BLOCK)]
    }

    #[inline]
    fn next(&mut self) -> Option<(T, i64)> {
        self.records.next().zip(self.times.next())
    }
}

impl<L, LS, R, RS, K, U, F> IntervalOperator<L, LS, R, RS, K, U, F>
where
    L: Data,
    LS: KeySelector<L, Key = K>,
    R: Data,
    RS: KeySelector<R, Key = K>,
    U: Data,
    F: FnMut(&L, &R, &mut IntervalContext<'_, K, U>) -> Result<()>,
{
    pub(super) fn new(settings: Settings<L, LS, R, RS>, f: F, context: &TaskContext) -> Self {
        let codec = RecordCodec::new().keyed(context.keys());
        Self {
            settings,
            f,
            table: StateTable::open(&context.state_scope(), STATE, &codec),
            codec,
            deadlines: TimerQueue::new("interval join deadlines"),
            watermark: i64::MIN,
            held: 0,
            left: Rest::default(),
            right: Rest::default(),
            keys: KeyBlock::default(),
            outputs: Outputs::new(context),
            metrics: context.metrics.clone(),
            gauge: StateGauge::new(&context.metrics),
            calls: 0,
            key: PhantomData,
        }
    }

    /// Takes the batch in hand, as far as the output has room.
    fn take(&mut self, out: &mut dyn Output) -> Result<Progress> {
        loop {
            if !self.left.block().is_empty() {
                self.left_block(out)?;
            } else if !self.right.block().is_empty() {
                self.right_block(out)?;
            } else {
                return Ok(Progress::Done);
            }
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
    }

    fn left_block(&mut self, out: &mut dyn Output) -> Result<()> {
        let Self { settings, f, table, deadlines, watermark, held, left, keys, outputs, .. } = self;
        let (interval, watermark) = (settings.interval, *watermark);
        let block = left.block();
        let count = block.len();
        keys.encode(block.iter(), |record, out| settings.left.encode(record, out));
        keys.prefetch(table)?;
        for i in 0..count {
            let Some((record, time)) = left.next() else { break };
            if time <= watermark {
                skip(&settings.late_left, record, time, outputs, &self.metrics);
                continue;
            }
            let key = keys.get(i);
            let partners = interval.of_left(time);
            let Some(pair) = pair(table, key, partners.1, watermark, deadlines) else { continue };
            *held -= pair.expire(interval, watermark);
            for (right, partner) in pair.right.between(partners) {
                let at = PairTimes { key, left: time, right: *right, watermark };
                f(&record, partner, &mut IntervalContext { at, outputs, record: PhantomData })?;
                outputs.send_full(out)?;
            }
            if partners.1 > watermark {
                pair.left.insert(time, record);
                *held += 1;
            }
        }
        outputs.send_full(out)
    }

    fn right_block(&mut self, out: &mut dyn Output) -> Result<()> {
        let Self { settings, f, table, deadlines, watermark, held, right, keys, outputs, .. } = self;
        let (interval, watermark) = (settings.interval, *watermark);
        let block = right.block();
        let count = block.len();
        keys.encode(block.iter(), |record, out| settings.right.encode(record, out));
        keys.prefetch(table)?;
        for i in 0..count {
            let Some((record, time)) = right.next() else { break };
            if time <= watermark {
                skip(&settings.late_right, record, time, outputs, &self.metrics);
                continue;
            }
            let key = keys.get(i);
            let partners = interval.of_right(time);
            let Some(pair) = pair(table, key, partners.1, watermark, deadlines) else { continue };
            *held -= pair.expire(interval, watermark);
            for (left, partner) in pair.left.between(partners) {
                let at = PairTimes { key, left: *left, right: time, watermark };
                f(partner, &record, &mut IntervalContext { at, outputs, record: PhantomData })?;
                outputs.send_full(out)?;
            }
            if partners.1 > watermark {
                pair.right.insert(time, record);
                *held += 1;
            }
        }
        outputs.send_full(out)
    }

    /// Forgets what has no partners to come, of the keys whose deadlines have come.
    fn forget(&mut self) -> Result<Progress> {
        let Self { settings, table, deadlines, watermark, held, .. } = self;
        for _ in 0..KEYS {
            let Some((_, key, ())) = deadlines.pop(*watermark) else {
                table.check()?;
                return Ok(Progress::Done);
            };
            let key = KeyRef::new(key.as_slice());
            table.fetch(key);
            let Some(pair) = table.get_mut(key) else { continue };
            *held -= pair.expire(settings.interval, *watermark);
            match pair.last_partner(settings.interval) {
                Some(deadline) => deadlines.set(deadline, key, ()),
                None => drop(table.remove(key)),
            }
        }
        table.check()?;
        Ok(Progress::More)
    }

    fn measure(&mut self) {
        // Records of both sides count as much as the larger: which side they are of is not counted.
        let record = size_of::<(i64, L)>().max(size_of::<(i64, R)>());
        let bytes = self.table.byte_len() + self.deadlines.byte_len() + self.held * record;
        self.gauge.set(self.held, bytes);
    }
}

/// What a key keeps. A record whose last partner may come at `until` begins it, unless that has passed.
#[inline]
fn pair<'a, L: Data, R: Data>(
    table: &'a mut StateTable<Pair<L, R>>,
    key: KeyRef<'_>,
    until: i64,
    watermark: i64,
    deadlines: &mut TimerQueue<()>,
) -> Option<&'a mut Pair<L, R>> {
    if until <= watermark {
        return table.get_mut(key);
    }
    let begin = || {
        deadlines.set(until, key, ());
        Pair::default()
    };
    Some(table.get_or_insert_with(key, begin))
}

/// A record is late.
#[cold]
fn skip<T: Data, U: Data>(late: &Option<OutputTag<T>>, record: T, time: i64, outputs: &mut Outputs<U>, metrics: &NodeMetrics) {
    let heard = late.as_ref().is_some_and(|tag| outputs.push_side(tag, record, time));
    metrics.late_records.fetch_add(1, Relaxed);
    metrics.dropped_records.fetch_add(u64::from(!heard), Relaxed);
}

impl<L, LS, R, RS, K, U, F> Operator for IntervalOperator<L, LS, R, RS, K, U, F>
where
    L: Data,
    LS: KeySelector<L, Key = K>,
    R: Data,
    RS: KeySelector<R, Key = K>,
    U: Data,
    F: FnMut(&L, &R, &mut IntervalContext<'_, K, U>) -> Result<()>,
{
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        match input {
            0 => self.left = Rest::new(batch)?,
            _ => self.right = Rest::new(batch)?,
        }
        self.calls = self.calls.wrapping_add(1);
        if self.calls % MEASURED == 1 {
            self.measure();
        }
        self.resume(out)
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.watermark = watermark;
        let progress = self.resume(out)?;
        self.measure();
        Ok(progress)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.take(out)?;
        self.table.check()?;
        self.outputs.flush(out)?;
        if progress == Progress::Done { self.forget() } else { Ok(progress) }
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        Ok(Snapshot { sections: Vec::new(), deferred: vec![self.table.snapshot(STATE, &self.codec, |pair| pair.len() > 0)?] })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        for state in &state.sections {
            if state.name != STATE {
                section::unclaimed(state)?;
                continue;
            }
            self.table.restore(state, &self.codec)?;
        }
        let Self { table, held, deadlines, settings, .. } = self;
        table.restored()?;
        table.each(|key, pair| {
            *held += pair.len();
            if let Some(deadline) = pair.last_partner(settings.interval) {
                deadlines.set(deadline, KeyRef::new(key), ());
            }
            Ok(())
        })
    }
}
