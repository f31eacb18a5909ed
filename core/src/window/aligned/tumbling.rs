use super::{EmitWindow, TimeWindow, Windows};
use crate::codec::RecordCodec;
use crate::graph::{NodeMetrics, TaskContext};
use crate::process::{OutputTag, Outputs};
use crate::state::{BLOCK, CowTable, DenseTable, KeyBlock, KeyRef, StateGauge, section};
use crate::stream::{Data, KeySelector};
use crate::window::count_late;
use crate::{Aggregator, Batch, Operator, Output, Progress, Restored, Result, SectionSink, Snapshot};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

/// The name under which the state is stored.
const STATE: &str = "windows";
/// Results between two looks at whether the output has room.
const RESULTS: usize = 1024;
/// Empty tables that are kept.
const SPARE: usize = 4;

/// Windows that do not overlap: one table of accumulators a window.
///
/// Whole tables come and go with their windows: nothing is looked for when a window fires, and its state is gone at once.
pub(super) struct TumblingWindows<T, S, A: Aggregator<T>, U, E> {
    windows: Windows,
    selector: S,
    aggregator: A,
    emit: E,
    late: Option<OutputTag<T>>,
    metrics: Arc<NodeMetrics>,
    gauge: StateGauge,
    outputs: Outputs<U>,
    /// By start.
    open: BTreeMap<i64, Pane<A::Accumulator>>,
    /// The window that records came for last: it is not among `open` then.
    hot: Option<(TimeWindow, Pane<A::Accumulator>)>,
    /// Tables to be used again.
    spare: Vec<DenseTable<A::Accumulator>>,
    firing: Option<Firing<A::Accumulator>>,
    watermark: i64,
    keys: KeyBlock,
    codec: RecordCodec<Stored<A::Accumulator>>,
    record: PhantomData<fn(T)>,
}

/// The keys of one window.
struct Pane<V> {
    table: CowTable<V>,
    /// Whether it has given its results; it stays while it may take late records.
    fired: bool,
}

/// A window whose results are being emitted.
struct Firing<V> {
    window: TimeWindow,
    table: CowTable<V>,
    next: usize,
}

/// A key's accumulator in a snapshot: the window's start, whether it has fired.
type Stored<V> = (i64, bool, V);

impl<T: Data, S: KeySelector<T>, A: Aggregator<T>, U: Data, E: EmitWindow<A::Output, U>> TumblingWindows<T, S, A, U, E> {
    pub(super) fn new(
        windows: Windows,
        selector: S,
        aggregator: A,
        emit: E,
        late: Option<OutputTag<T>>,
        context: &TaskContext,
    ) -> Self {
        Self {
            windows,
            selector,
            aggregator,
            emit,
            late,
            metrics: context.metrics.clone(),
            gauge: StateGauge::new(&context.metrics),
            outputs: Outputs::new(context),
            open: BTreeMap::new(),
            hot: None,
            spare: Vec::new(),
            firing: None,
            watermark: i64::MIN,
            keys: KeyBlock::default(),
            codec: RecordCodec::new().keyed(context.keys()),
            record: PhantomData,
        }
    }

    /// Makes a window the hot one.
    fn heat(&mut self, window: TimeWindow) {
        self.cool();
        let spare = &mut self.spare;
        let fresh =
            || Pane { table: CowTable::Own(spare.pop().unwrap_or_default()), fired: window.max_timestamp() <= self.watermark };
        let pane = self.open.remove(&window.start).unwrap_or_else(fresh);
        self.hot = Some((window, pane));
    }

    fn cool(&mut self) {
        if let Some((window, pane)) = self.hot.take() {
            self.open.insert(window.start, pane);
        }
    }

    #[inline]
    fn add(&mut self, record: T, time: i64, i: usize) {
        if self.hot.as_ref().is_none_or(|(window, _)| time < window.start || time >= window.end) {
            let slice = self.windows.slice(time);
            let window = self.windows.last_window(slice);
            if time >= window.end {
                // Between two windows.
                return;
            }
            if self.windows.is_late(slice, self.watermark) {
                let heard = self.late.as_ref().is_some_and(|late| self.outputs.push_side(late, record, time));
                count_late(&self.metrics, heard);
                return;
            }
            self.heat(window);
        }
        let Some((window, pane)) = &mut self.hot else { return };
        let key = self.keys.get(i);
        let table = pane.table.write();
        let place = match table.find(key) {
            Some(place) => place,
            None => table.add(key, self.aggregator.create()),
        };
        let accumulator = table.value_mut(place);
        self.aggregator.add(accumulator, record);
        if pane.fired {
            // Late, but allowed: the window gives its result once more.
            (self.emit)(key, *window, self.aggregator.finish(accumulator.clone()), &mut self.outputs);
        }
    }

    /// Takes the next window that is complete and has not given its results.
    fn next_due(&mut self) -> Option<Firing<A::Accumulator>> {
        let due = |start: &i64, pane: &Pane<_>| !pane.fired && self.windows.window(*start).max_timestamp() <= self.watermark;
        let start = self.open.iter().find(|(start, pane)| due(start, pane)).map(|(start, _)| *start)?;
        let pane = self.open.remove(&start)?;
        Some(Firing { window: self.windows.window(start), table: pane.table, next: 0 })
    }

    /// Emits results of windows that are complete, and forgets windows that take no more records.
    fn fire(&mut self, out: &mut dyn Output) -> Result<Progress> {
        while let Some(firing) = &mut self.firing {
            let entries = firing.table.read().entries();
            for entry in entries.iter().skip(firing.next).take(RESULTS) {
                let key = KeyRef { hash: 0, bytes: entry.key.as_slice() };
                (self.emit)(key, firing.window, self.aggregator.finish(entry.value.clone()), &mut self.outputs);
            }
            firing.next += RESULTS;
            let done = firing.next >= entries.len();
            self.outputs.send_full(out)?;
            if done {
                let Firing { window, table, .. } = self.firing.take().expect("it is being emitted");
                self.open.insert(window.start, Pane { table, fired: true });
                self.forget();
                self.firing = self.next_due();
            } else if out.congested(0) {
                self.outputs.flush(out)?;
                return Ok(Progress::More);
            }
        }
        self.forget();
        let tables = self.open.values().map(|pane| pane.table.read());
        let (entries, bytes) = tables.fold((0, 0), |(entries, bytes), t| (entries + t.len(), bytes + t.byte_len()));
        self.gauge.set(entries, bytes);
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }

    /// Drops the windows that take no more records.
    fn forget(&mut self) {
        while let Some(first) = self.open.first_entry()
            && first.get().fired
            && self.windows.window(*first.key()).cleanup(self.windows.lateness) <= self.watermark
        {
            if let CowTable::Own(mut table) = first.remove().table
                && self.spare.len() < SPARE
            {
                table.clear();
                self.spare.push(table);
            }
        }
    }
}

impl<T, S, A, U, E> Operator for TumblingWindows<T, S, A, U, E>
where
    T: Data,
    S: KeySelector<T>,
    A: Aggregator<T>,
    U: Data,
    E: EmitWindow<A::Output, U>,
{
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let times = super::event_times(&mut batch)?;
        let mut records = batch.typed_records::<T>()?.into_iter();
        let mut times = times.into_iter();
        while records.len() > 0 {
            let count = records.len().min(BLOCK);
            self.keys.encode(records.as_slice()[..count].iter(), |record, out| self.selector.encode(record, out));
            if let Some((_, pane)) = &self.hot {
                let table = pane.table.read();
                self.keys.hashes().iter().for_each(|hash| table.prefetch(*hash));
                self.keys.hashes().iter().for_each(|hash| table.prefetch_entry(*hash));
            }
            for (i, (record, time)) in records.by_ref().zip(&mut times).take(count).enumerate() {
                self.add(record, time, i);
            }
            self.outputs.send_full(out)?;
        }
        self.outputs.flush(out)?;
        Ok(Progress::Done)
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.cool();
        self.watermark = watermark;
        self.firing = self.next_due();
        self.fire(out)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.fire(out)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        self.cool();
        let panes: Vec<_> = self.open.iter_mut().map(|(start, pane)| (*start, pane.fired, pane.table.share())).collect();
        let codec = self.codec.clone();
        let encode = move |sink: &mut SectionSink<'_>| {
            let entries = panes.iter().flat_map(|(start, fired, table)| {
                let stored = |value: &A::Accumulator| (*start, *fired, value.clone());
                table.entries().iter().map(move |entry| (entry.key.as_slice(), stored(&entry.value)))
            });
            section::encode_groups(STATE, &codec, entries, sink)
        };
        Ok(Snapshot { sections: Vec::new(), deferred: vec![Box::new(encode)] })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        for section in state.sections.iter().filter(|s| s.name == STATE) {
            section::decode(section, &self.codec, |key, (start, fired, accumulator)| {
                let pane = self.open.entry(start).or_insert_with(|| Pane { table: CowTable::default(), fired });
                pane.fired &= fired;
                pane.table.write().add(KeyRef::new(key), accumulator);
                Ok(())
            })?;
        }
        Ok(())
    }
}
