use super::{EmitWindow, TimeWindow, Windows};
use crate::codec::RecordCodec;
use crate::graph::{NodeMetrics, TaskContext};
use crate::process::{OutputTag, Outputs};
use crate::state::{BLOCK, KeyBlock, StateGauge, StateTable, Visit, Visited};
use crate::stream::{Data, KeySelector};
use crate::window::count_late;
use crate::{Aggregator, Batch, Operator, Output, Progress, Restored, Result, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

/// The name under which the state is stored.
const STATE: &str = "slices";
/// Keys that are gone through between two looks at whether the output has room.
const KEYS: usize = 128;

/// Windows that overlap: the slices of each key.
///
/// A window's result is made of two parts, as in a queue made of two stacks (Tangwongsan, Hirzel, Schneider, "Low-latency
/// sliding-window aggregation in worst-case constant time", DEBS 2017, give the history): each slice of the older part holds
/// the aggregate of itself and all later slices of that part; the younger part has one aggregate of all of it. So a result is
/// one merge, whatever the number of slices; when the older part is used up, the younger one takes its place, one merge a
/// slice. Where late records are allowed, windows that are over must be computed once more, which such sums do not allow:
/// then every result merges its slices.
pub(super) struct SlidingWindows<T, S, A: Aggregator<T>, U, E> {
    windows: Windows,
    selector: S,
    aggregator: A,
    emit: E,
    late: Option<OutputTag<T>>,
    metrics: Arc<NodeMetrics>,
    gauge: StateGauge,
    outputs: Outputs<U>,
    table: StateTable<KeySlices<A::Accumulator>>,
    /// The slice that records came for last.
    hot: Hot,
    /// The watermark at which there is something to do.
    due: i64,
    firing: Option<Visit>,
    watermark: i64,
    keys: KeyBlock,
    codec: RecordCodec<KeySlices<A::Accumulator>>,
    record: PhantomData<fn(T)>,
}

/// A slice, and what there is to know of its windows.
#[derive(Clone, Copy)]
struct Hot {
    slice: TimeWindow,
    /// The end of the first window that it belongs to.
    first_end: i64,
    /// From this watermark on it is too late for all of them.
    late_from: i64,
}

impl Hot {
    fn new(windows: &Windows, slice: TimeWindow) -> Self {
        Self { slice, first_end: windows.first_end(slice), late_from: windows.late_from(slice) }
    }
}

/// The slices of a key.
#[derive(Clone, Serialize, Deserialize)]
struct KeySlices<V> {
    /// In order of time.
    slices: VecDeque<Slice<V>>,
    /// How many slices make up the older part.
    older: usize,
    /// How many slices behind those are in `younger`.
    closed: usize,
    /// Aggregate of the younger part.
    younger: Option<V>,
    /// The end of the next window that gives a result; `i64::MAX` if there is none.
    next_end: i64,
    /// The end of the last window that did.
    fired: i64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Slice<V> {
    start: i64,
    end: i64,
    value: V,
}

impl<V: Data> KeySlices<V> {
    fn new() -> Self {
        Self { slices: VecDeque::new(), older: 0, closed: 0, younger: None, next_end: i64::MAX, fired: i64::MIN }
    }

    /// Drops the first slice.
    fn evict(&mut self) {
        self.slices.pop_front();
        if self.older > 0 {
            self.older -= 1;
        } else if self.closed > 0 {
            // What is left in `younger` is thrown away with the last slice of the older part, of which there is none.
            self.closed -= 1;
        }
    }

    /// The place of a slice, or where it would be.
    fn find(&self, start: i64) -> std::result::Result<usize, usize> {
        match self.slices.back() {
            None => Err(0),
            Some(last) if last.start == start => Ok(self.slices.len() - 1),
            Some(last) if last.start < start => Err(self.slices.len()),
            _ => self.slices.binary_search_by_key(&start, |s| s.start),
        }
    }

    /// Adds a record to a slice, and to every sum that the slice is in.
    #[inline]
    fn add<T: Data, A: Aggregator<T, Accumulator = V>>(&mut self, slice: TimeWindow, record: T, aggregator: &A) {
        let place = self.find(slice.start);
        let (Ok(at) | Err(at)) = place;
        if at < self.older {
            if place.is_err() {
                // A sum of this part holds what follows it.
                let value = self.slices[at].value.clone();
                self.slices.insert(at, Slice { start: slice.start, end: slice.end, value });
                self.older += 1;
            }
            self.slices.iter_mut().take(at + 1).for_each(|s| aggregator.add(&mut s.value, record.clone()));
            return;
        }
        if at < self.older + self.closed {
            self.closed += usize::from(place.is_err());
            aggregator.add(self.younger.get_or_insert_with(|| aggregator.create()), record.clone());
        }
        if place.is_err() {
            self.slices.insert(at, Slice { start: slice.start, end: slice.end, value: aggregator.create() });
        }
        aggregator.add(&mut self.slices[at].value, record);
    }

    /// The result of a window; `None` where the key has no records in it. Windows must be asked for in order.
    fn result<T, A: Aggregator<T, Accumulator = V>>(&mut self, window: TimeWindow, aggregator: &A) -> Option<V> {
        while self.slices.front().is_some_and(|s| s.start < window.start) {
            self.evict();
        }
        while let Some(slice) = self.slices.get(self.older + self.closed).filter(|s| s.end <= window.end) {
            match &mut self.younger {
                Some(younger) => aggregator.merge(younger, slice.value.clone()),
                none => *none = Some(slice.value.clone()),
            }
            self.closed += 1;
        }
        if self.older == 0 {
            self.older = std::mem::take(&mut self.closed);
            self.younger = None;
            for at in (1..self.older).rev() {
                let later = self.slices[at].value.clone();
                aggregator.merge(&mut self.slices[at - 1].value, later);
            }
        }
        let oldest = self.slices.front().filter(|_| self.older > 0)?;
        let mut value = oldest.value.clone();
        if let Some(younger) = &self.younger {
            aggregator.merge(&mut value, younger.clone());
        }
        Some(value)
    }

    /// The result of a window from its slices alone; for windows that may be asked for again.
    fn result_again<T, A: Aggregator<T, Accumulator = V>>(&self, window: TimeWindow, aggregator: &A) -> Option<V> {
        let mut slices = self.slices.iter().filter(|s| window.start <= s.start && s.end <= window.end);
        let mut value = slices.next()?.value.clone();
        slices.for_each(|s| aggregator.merge(&mut value, s.value.clone()));
        Some(value)
    }
}

impl<T: Data, S: KeySelector<T>, A: Aggregator<T>, U: Data, E: EmitWindow<A::Output, U>> SlidingWindows<T, S, A, U, E> {
    pub(super) fn new(
        windows: Windows,
        selector: S,
        aggregator: A,
        emit: E,
        late: Option<OutputTag<T>>,
        context: &TaskContext,
    ) -> Self {
        let codec = RecordCodec::new().keyed(context.keys());
        Self {
            windows,
            selector,
            aggregator,
            emit,
            late,
            metrics: context.metrics.clone(),
            gauge: StateGauge::new(&context.metrics),
            outputs: Outputs::new(context),
            table: StateTable::open(&context.state_scope(), STATE, &codec),
            hot: Hot::new(&windows, windows.slice(0)),
            due: i64::MAX,
            firing: None,
            watermark: i64::MIN,
            keys: KeyBlock::default(),
            codec,
            record: PhantomData,
        }
    }

    #[inline]
    fn add(&mut self, record: T, time: i64, i: usize) {
        if time < self.hot.slice.start || time >= self.hot.slice.end {
            self.hot = Hot::new(&self.windows, self.windows.slice(time));
        }
        let Hot { slice, first_end, late_from } = self.hot;
        if late_from <= self.watermark {
            let heard = self.late.as_ref().is_some_and(|late| self.outputs.push_side(late, record, time));
            count_late(&self.metrics, heard);
            return;
        }
        let key = self.keys.get(i);
        let slices = self.table.get_or_insert_with(key, KeySlices::new);
        if first_end < slices.next_end {
            // Of the windows that the slice belongs to, the first that has not given its result.
            slices.next_end = first_open(&self.windows, first_end, self.watermark.max(slices.fired.saturating_sub(1)));
            self.due = self.due.min(slices.next_end.saturating_sub(1));
        }
        slices.add(slice, record, &self.aggregator);
        if first_end.saturating_sub(1) <= self.watermark && self.windows.lateness > 0 {
            self.fire_again(i);
        }
    }

    /// Emits the results of windows that are over and have got a late record.
    fn fire_again(&mut self, i: usize) {
        let Self { windows, aggregator, emit, outputs, table, watermark, keys, .. } = self;
        let (key, Hot { slice, mut first_end, .. }) = (keys.get(i), self.hot);
        let Some(slices) = table.get(key) else { return };
        while first_end.saturating_sub(1) <= *watermark {
            let window = TimeWindow { start: first_end.saturating_sub(windows.size), end: first_end };
            if window.start > slice.start {
                break;
            }
            if window.cleanup(windows.lateness) > *watermark
                && let Some(value) = slices.result_again(window, aggregator)
            {
                emit(key, window, aggregator.finish(value), outputs);
            }
            first_end = first_end.saturating_add(windows.slide);
        }
    }

    /// Goes through the keys and emits the results of the windows that are complete.
    fn fire(&mut self, out: &mut dyn Output) -> Result<Progress> {
        while let Some(mut visit) = self.firing.take() {
            let Self { windows, aggregator, emit, outputs, table, watermark, due, .. } = self;
            let more = table.visit(&mut visit, KEYS, |key, slices| {
                fire_key(windows, aggregator, *watermark, slices, due, |window, value| emit(key, window, value, outputs))
            })?;
            self.firing = more.then_some(visit);
            self.outputs.send_full(out)?;
            if more && out.congested(0) {
                self.outputs.flush(out)?;
                return Ok(Progress::More);
            }
        }
        self.gauge.set(self.table.len(), self.table.byte_len());
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }
}

/// Emits what is due of one key, and says when there is something due next. Nothing may be left of it.
fn fire_key<T: Data, A: Aggregator<T>>(
    windows: &Windows,
    aggregator: &A,
    watermark: i64,
    slices: &mut KeySlices<A::Accumulator>,
    due: &mut i64,
    mut emit: impl FnMut(TimeWindow, A::Output),
) -> Visited {
    let mut visited = Visited::Same;
    while slices.next_end.saturating_sub(1) <= watermark && !slices.slices.is_empty() {
        visited = Visited::Changed;
        let window = TimeWindow { start: slices.next_end.saturating_sub(windows.size), end: slices.next_end };
        let result = if windows.lateness > 0 {
            slices.result_again(window, aggregator)
        } else {
            slices.result::<T, A>(window, aggregator)
        };
        if let Some(value) = result {
            emit(window, aggregator.finish(value));
        }
        slices.fired = window.end;
        // The next window that has something of this key: the one behind this, or the first of a slice behind it.
        let next = window.end.saturating_add(windows.slide);
        let begins = next.saturating_sub(windows.size);
        slices.next_end = match slices.slices.iter().find(|s| s.start >= begins) {
            Some(first) if next > window.end => next.max(windows.first_end(first.span())),
            _ => i64::MAX,
        };
        if slices.next_end == i64::MAX {
            break;
        }
    }
    while let Some(first) = slices.slices.front()
        && windows.is_late(first.span(), watermark)
    {
        visited = Visited::Changed;
        slices.evict();
    }
    match slices.slices.front() {
        Some(first) => {
            *due = (*due).min(slices.next_end.saturating_sub(1).min(windows.late_from(first.span())));
            visited
        }
        None => Visited::Done,
    }
}

impl<V> Slice<V> {
    fn span(&self) -> TimeWindow {
        TimeWindow { start: self.start, end: self.end }
    }
}

/// Of the window ends from `end` on, a slide apart, the first whose window is not complete.
fn first_open(windows: &Windows, end: i64, watermark: i64) -> i64 {
    if end.saturating_sub(1) > watermark {
        return end;
    }
    let slide = i128::from(windows.slide);
    let behind = i128::from(watermark) + 2 - i128::from(end);
    let slides = behind.max(0).div_euclid(slide) + i128::from(behind.rem_euclid(slide) > 0);
    i64::try_from(i128::from(end) + slides * slide).unwrap_or(i64::MAX)
}

impl<T, S, A, U, E> Operator for SlidingWindows<T, S, A, U, E>
where
    T: Data,
    S: KeySelector<T>,
    A: Aggregator<T>,
    U: Data,
    E: EmitWindow<A::Output, U>,
{
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let mut times = super::event_times(&mut batch)?.into_iter();
        let mut records = batch.typed_records::<T>()?.into_iter();
        while records.len() > 0 {
            let count = records.len().min(BLOCK);
            self.keys.encode(records.as_slice()[..count].iter(), |record, out| self.selector.encode(record, out));
            self.keys.prefetch(&mut self.table)?;
            for (i, (record, time)) in records.by_ref().zip(&mut times).take(count).enumerate() {
                self.add(record, time, i);
            }
            self.table.check()?;
            self.outputs.send_full(out)?;
        }
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.watermark = watermark;
        if self.due > watermark {
            return Ok(Progress::Done);
        }
        self.due = i64::MAX;
        self.firing = Some(Visit::default());
        self.fire(out)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.fire(out)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        Ok(Snapshot { sections: Vec::new(), deferred: vec![self.table.snapshot(STATE, &self.codec, |_| true)?] })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        for section in state.sections.iter().filter(|s| s.name == STATE) {
            self.table.restore(section, &self.codec)?;
        }
        let Self { table, due, .. } = self;
        table.restored()?;
        table.each(|_, slices| {
            *due = (*due).min(slices.next_end.saturating_sub(1));
            Ok(())
        })
    }
}
