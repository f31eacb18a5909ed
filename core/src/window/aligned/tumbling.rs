use super::{EmitWindow, TimeWindow, Windows};
use crate::checkpoint::SectionKind;
use crate::codec::RecordCodec;
use crate::graph::{NodeMetrics, TaskContext};
use crate::process::{OutputTag, Outputs};
use crate::state::disk::{Merge, PartStore, Parts, loaded};
use crate::state::{BLOCK, CowTable, DenseTable, KeyBlock, KeyRef, StateGauge, section};
use crate::stream::{Data, KeySelector};
use crate::window::count_late;
use crate::{Aggregator, Batch, Error, Operator, Output, Progress, Restored, Result, SectionSink, Snapshot};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

/// The name under which the state is stored.
const STATE: &str = "windows";
/// Results between two looks at whether the output has room.
const RESULTS: usize = 1024;
/// Empty tables that are kept.
const SPARE: usize = 4;

/// Windows that do not overlap: one table of accumulators a window.
///
/// Whole tables come and go with their windows: nothing is looked for when a window fires, and its state is gone at once.
///
/// Where state is kept on disk and accumulators merge, tables are written out as parts of their windows when they fill their
/// memory, and when a barrier passes. Records are added to what is in memory and nothing is read until the window fires; then
/// its parts are merged, key group by key group. What does not merge stays in memory.
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
    /// What the last snapshot has let go of: room for the copy that the next one makes necessary.
    let_go: LetGo<A::Accumulator>,
    firing: Option<Firing<A::Accumulator>>,
    watermark: i64,
    keys: KeyBlock,
    codec: RecordCodec<Stored<A::Accumulator>>,
    /// Where parts go, if they are not to stay in memory.
    store: Option<PartStore<Stored<A::Accumulator>>>,
    /// `None` where accumulators do not merge.
    merge: Option<Merge<Stored<A::Accumulator>>>,
    /// What an accumulator takes on the heap, as far as has been seen.
    heap: usize,
    /// What went wrong with a record.
    failed: Option<Error>,
    record: PhantomData<fn(T)>,
}

/// The keys of one window.
struct Pane<V> {
    table: CowTable<V>,
    /// Whether it has given its results; it stays while it may take late records.
    fired: bool,
    /// What has been written out.
    parts: Parts,
}

/// A window whose results are being emitted.
struct Firing<V> {
    window: TimeWindow,
    pane: Pane<V>,
    next: usize,
    /// Of parts: the number of the next key group, and the group in hand.
    group: u16,
    whole: DenseTable<Stored<V>>,
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
        merges: bool,
        context: &TaskContext,
    ) -> Self {
        let codec = RecordCodec::new().keyed(context.keys());
        let place = if merges { context.state_scope().disk(STATE, &codec, SectionKind::Part) } else { None };
        let merging = aggregator.clone();
        let merge: Merge<Stored<A::Accumulator>> = Arc::new(move |value, other| merging.merge(&mut value.2, other.2));
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
            let_go: LetGo::default(),
            firing: None,
            watermark: i64::MIN,
            keys: KeyBlock::default(),
            store: place.map(|place| PartStore::new(place, codec.clone())),
            merge: merges.then_some(merge),
            codec,
            heap: 0,
            failed: None,
            record: PhantomData,
        }
    }

    /// Makes a window the hot one.
    fn heat(&mut self, window: TimeWindow) {
        self.cool();
        let spare = &mut self.spare;
        let fresh = || Pane {
            table: CowTable::Own(spare.pop().unwrap_or_default()),
            fired: window.max_timestamp() <= self.watermark,
            parts: Parts::default(),
        };
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
        let table = pane.table.write_in(|| self.let_go.take());
        let place = match table.find(key) {
            Some(place) => place,
            None => table.add(key, self.aggregator.create()),
        };
        let accumulator = table.value_mut(place);
        self.aggregator.add(accumulator, record);
        if pane.fired {
            // Late, but allowed: the window gives its result once more.
            let mut value = accumulator.clone();
            if !pane.parts.is_empty() {
                match self.store.as_ref().zip(self.merge.as_ref()).map(|(store, merge)| written(store, &pane.parts, key, merge)) {
                    Some(Ok(Some((.., mut before)))) => {
                        self.aggregator.merge(&mut before, value);
                        value = before;
                    }
                    Some(Err(error)) => drop(self.failed.get_or_insert(error)),
                    Some(Ok(None)) | None => {}
                }
            }
            (self.emit)(key, *window, self.aggregator.finish(value), &mut self.outputs);
        }
    }

    /// Bytes of a window's table.
    fn bytes_of(&self, pane: &Pane<A::Accumulator>) -> usize {
        pane.table.read().len() * (DenseTable::<A::Accumulator>::ENTRY + DIRECTORY + self.heap)
    }

    /// Writes tables out that take more than their memory.
    fn make_room(&mut self) -> Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(store) = &self.store else { return Ok(()) };
        let half = store.memory() / 2;
        let hot = self.hot.as_ref().map_or(0, |(_, pane)| self.bytes_of(pane));
        // Few windows are open beside the hot one.
        if hot + self.open.values().map(|pane| self.bytes_of(pane)).sum::<usize>() <= half {
            return Ok(());
        }
        if let Some(store) = &mut self.store {
            store.settle()?;
        }
        self.cool();
        self.write_out();
        Ok(())
    }

    /// Writes all tables out.
    fn write_out(&mut self) {
        let Self { open, store: Some(store), merge: Some(merge), .. } = self else { return };
        for (start, pane) in open {
            write_part(store, *start, pane, merge);
        }
    }

    /// Looks at what the last accumulator takes on the heap.
    fn measure(&mut self) {
        if self.store.is_none() || self.codec.width().is_some() {
            return;
        }
        let Some((_, pane)) = &self.hot else { return };
        let Some(entry) = pane.table.read().entries().last() else { return };
        let mut bytes = Vec::new();
        // What cannot be encoded fails when it is written.
        if self.codec.encode(&(0, false, entry.value.clone()), &mut bytes).is_ok() {
            self.heap = (3 * self.heap).div_ceil(4).max(bytes.len());
        }
    }

    /// Takes the next window that is complete and has not given its results.
    fn next_due(&mut self) -> Option<Firing<A::Accumulator>> {
        let due = |start: &i64, pane: &Pane<_>| !pane.fired && self.windows.window(*start).max_timestamp() <= self.watermark;
        let start = self.open.iter().find(|(start, pane)| due(start, pane)).map(|(start, _)| *start)?;
        let mut pane = self.open.remove(&start)?;
        let mut group = 0;
        if let Self { store: Some(store), merge: Some(merge), .. } = self
            && !pane.parts.is_empty()
        {
            // So that all of it is in parts.
            write_part(store, start, &mut pane, merge);
            group = store.groups().start;
        }
        Some(Firing { window: self.windows.window(start), pane, next: 0, group, whole: DenseTable::default() })
    }

    /// Emits some results of a window that has been written out. Says whether that was all.
    fn fire_parts(&mut self) -> Result<bool> {
        let Self { firing: Some(firing), store: Some(store), merge: Some(merge), .. } = self else { return Ok(true) };
        if firing.next >= firing.whole.len() {
            if firing.group >= store.groups().end {
                return Ok(true);
            }
            firing.whole = store.read(&firing.pane.parts, firing.group, merge)?;
            (firing.group, firing.next) = (firing.group + 1, 0);
        }
        for entry in firing.whole.entries().iter().skip(firing.next).take(RESULTS) {
            let key = KeyRef { hash: 0, bytes: entry.key.as_slice() };
            (self.emit)(key, firing.window, self.aggregator.finish(entry.value.2.clone()), &mut self.outputs);
        }
        firing.next += RESULTS;
        Ok(false)
    }

    /// Emits some results of a window that is in memory. Says whether that was all.
    fn fire_table(&mut self) -> bool {
        let Some(firing) = &mut self.firing else { return true };
        let entries = firing.pane.table.read().entries();
        for entry in entries.iter().skip(firing.next).take(RESULTS) {
            let key = KeyRef { hash: 0, bytes: entry.key.as_slice() };
            (self.emit)(key, firing.window, self.aggregator.finish(entry.value.clone()), &mut self.outputs);
        }
        firing.next += RESULTS;
        firing.next >= entries.len()
    }

    /// Emits results of windows that are complete, and forgets windows that take no more records.
    fn fire(&mut self, out: &mut dyn Output) -> Result<Progress> {
        while let Some(firing) = &self.firing {
            let done = if firing.pane.parts.is_empty() { self.fire_table() } else { self.fire_parts()? };
            self.outputs.send_full(out)?;
            if done {
                if let Some(Firing { window, mut pane, .. }) = self.firing.take() {
                    pane.fired = true;
                    if let Self { store: Some(store), merge: Some(merge), .. } = self
                        && !pane.parts.is_empty()
                        && self.windows.lateness > 0
                    {
                        store.combine_all(&mut pane.parts, merge, |stored| stored.1 = true);
                    }
                    self.open.insert(window.start, pane);
                }
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
            self.make_room()?;
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
        self.measure();
        self.make_room()?;
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
        self.write_out();
        if let Some(store) = &self.store {
            let parts = store.snapshot(self.open.values().map(|pane| &pane.parts));
            return Ok(Snapshot { sections: Vec::new(), deferred: vec![parts] });
        }
        let panes: Vec<_> = self.open.iter_mut().map(|(start, pane)| (*start, pane.fired, pane.table.share())).collect();
        let (codec, let_go) = (self.codec.clone(), self.let_go.clone());
        let encode = move |sink: &mut SectionSink<'_>| {
            let keys = panes.iter().flat_map(|(.., table)| table.entries().iter().map(|entry| entry.key.as_slice()));
            let entries = panes.iter().flat_map(|(start, fired, table)| {
                let stored = |value: &A::Accumulator| (*start, *fired, value.clone());
                table.entries().iter().map(move |entry| (entry.key.as_slice(), stored(&entry.value)))
            });
            section::encode_groups(STATE, &codec, keys, entries, sink)?;
            panes.into_iter().filter_map(|(.., table)| Arc::into_inner(table)).for_each(|table| let_go.keep(table));
            Ok(())
        };
        Ok(Snapshot { sections: Vec::new(), deferred: vec![Box::new(encode)] })
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        for section in state.sections.into_iter().filter(|s| s.name == STATE) {
            let (.., section) = loaded(section)?;
            let mut since = 0;
            let values = self.codec.reading(&section)?;
            for entry in section::entries(&section) {
                let (key, value) = entry?;
                let (start, fired, accumulator) = values.decode(value)?;
                let fresh = || Pane { table: CowTable::default(), fired, parts: Parts::default() };
                let pane = self.open.entry(start).or_insert_with(fresh);
                pane.fired &= fired;
                let (key, table) = (KeyRef::new(key), pane.table.write());
                match table.find(key) {
                    Some(place) => self.aggregator.merge(table.value_mut(place), accumulator),
                    None => drop(table.add(key, accumulator)),
                }
                since += 1;
                if since % BLOCK == 0 {
                    self.make_room()?;
                }
            }
        }
        Ok(())
    }
}

/// A table's room on its way from whoever encodes a snapshot back to the operator.
struct LetGo<V>(Arc<Mutex<Option<DenseTable<V>>>>);

impl<V> Default for LetGo<V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<V> Clone for LetGo<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> LetGo<V> {
    fn keep(&self, table: DenseTable<V>) {
        *self.0.lock().unwrap_or_else(|e| e.into_inner()) = Some(table.into_room());
    }

    fn take(&self) -> DenseTable<V> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).take().unwrap_or_default()
    }
}

/// Bytes of a table's directory for an entry, at most.
const DIRECTORY: usize = 22;

/// Writes what a window has in memory to a part of it.
fn write_part<V: Data>(store: &mut PartStore<Stored<V>>, start: i64, pane: &mut Pane<V>, merge: &Merge<Stored<V>>) {
    let table = match std::mem::take(&mut pane.table) {
        CowTable::Own(table) => table,
        CowTable::Shared(table) => Arc::unwrap_or_clone(table),
    };
    if table.len() > 0 {
        let fired = pane.fired;
        store.write(&mut pane.parts, table, move |value| (start, fired, value.clone()), merge);
    }
}

/// What has been written out of a key.
fn written<V: Data>(
    store: &PartStore<Stored<V>>,
    parts: &Parts,
    key: KeyRef<'_>,
    merge: &Merge<Stored<V>>,
) -> Result<Option<Stored<V>>> {
    let whole = store.read(parts, fluvial_memory::hash::key_group(key.hash), merge)?;
    Ok(whole.find(key).map(|place| whole.value(place).clone()))
}
