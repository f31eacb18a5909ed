use super::backend::TablePlace;
use super::generation::{Cached, Frozen, Generation, Keep, NOT_MOVED, UNWRITTEN, write};
use super::index::{Address, KeyIndex, NOWHERE};
use super::rewrite::Rewrite;
use super::run::{Run, StoredSection, loaded};
use super::runs::{Runs, address};
use super::sweep::Sweeping;
use crate::checkpoint::SectionKind;
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
use crate::state::block::{BLOCK, KeyBlock};
use crate::state::dense::DenseTable;
use crate::state::heap::Visited;
use crate::state::key::{INLINE, KeyRef};
use crate::state::section::{self, RawEntry};
use crate::state::table::Visit;
use crate::stream::Data;
use crate::{Error, Result, StateSection};
use fluvial_memory::hash::{hash_bytes, key_group};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_128;

/// Read for an entry of which the length is not known: at first, and at most.
const READ: (usize, usize) = (64, 4096);
/// An entry takes longer than this only if the system has to read it.
const WAITS: Duration = Duration::from_micros(10);
/// Keys looked up ahead where the order is not ours.
const AHEAD: usize = 16;

/// A table of state on disk. See the module's head.
pub(crate) struct DiskTable<V> {
    pub(super) place: TablePlace,
    pub(super) codec: RecordCodec<V>,
    /// By key group.
    pub(super) index: Vec<KeyIndex>,
    pub(super) runs: Runs,
    /// What has been read or changed last.
    pub(super) young: Generation<V>,
    /// What was before that, and is being written.
    pub(super) frozen: Option<Frozen<V>>,
    /// What was written last: the same as in the runs, where it is not in one of the others.
    pub(super) settled: Generation<V>,
    /// A table to be used again.
    spare: DenseTable<Cached<V>>,
    pub(super) rewrite: Option<Rewrite>,
    /// Of the next run.
    pub(super) sequence: u64,
    pub(super) len: usize,
    /// What went wrong in calls that cannot say so.
    pub(super) failed: Option<Error>,
    /// Keys of a block that have to be read: their number in it and where they may be.
    wanted: Vec<(usize, Address)>,
    pub(super) buffer: Vec<u8>,
    /// Bytes that are read for an entry.
    hint: usize,
    /// Whether the last block waited for the disk.
    waits: bool,
    /// Sections to be taken back.
    given: Vec<StateSection>,
    pub(super) sweeping: Sweeping,
}

impl<V: Data> DiskTable<V> {
    pub(crate) fn new(place: TablePlace, codec: RecordCodec<V>) -> Self {
        let groups = place.groups.len();
        Self {
            place,
            codec,
            index: (0..groups).map(|_| KeyIndex::default()).collect(),
            runs: Runs::default(),
            young: Generation::default(),
            frozen: None,
            settled: Generation::default(),
            spare: DenseTable::default(),
            rewrite: None,
            sequence: 1,
            len: 0,
            failed: None,
            wanted: Vec::new(),
            buffer: Vec::new(),
            hint: READ.0,
            waits: false,
            given: Vec::new(),
            sweeping: Sweeping::default(),
        }
    }

    #[inline]
    pub(super) fn group(&self, hash: u64) -> usize {
        usize::from(key_group(hash)) - usize::from(self.place.groups.start)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that it takes: in memory, and of what keys have in runs.
    pub(crate) fn byte_len(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, Frozen::byte_len);
        let memory = self.young.byte_len() + self.settled.byte_len() + frozen;
        let index: usize = self.index.iter().map(KeyIndex::byte_len).sum();
        memory + index + self.runs.list.iter().map(|listed| self.runs.live(listed) as usize).sum::<usize>()
    }

    /// What went wrong in calls that cannot say so.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Whether a key's value, or that it has none, is known without reading.
    #[inline]
    pub(crate) fn is_resident(&self, key: KeyRef<'_>) -> bool {
        self.young.table.find(key).is_some()
            || self.frozen.as_ref().is_some_and(|frozen| frozen.table.find(key).is_some())
            || self.settled.table.find(key).is_some()
    }

    /// The value of a key that is resident.
    #[inline]
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<&V> {
        if let Some(place) = self.young.table.find(key) {
            return self.young.table.value(place).value.as_ref();
        }
        if let Some(frozen) = &self.frozen
            && let Some(place) = frozen.table.find(key)
        {
            return frozen.table.value(place).value.as_ref();
        }
        self.settled.table.find(key).and_then(|place| self.settled.table.value(place).value.as_ref())
    }

    /// Reads a key's value, if it is not resident.
    pub(crate) fn fetch(&mut self, key: KeyRef<'_>) {
        let room = self.make_room();
        let fetched = if self.is_resident(key) { room } else { room.and_then(|()| self.load(key).map(drop)) };
        if let Err(error) = fetched {
            self.failed.get_or_insert(error);
        }
    }

    /// Reads the values of a block's keys, as far as they are not resident; all reads are asked for before the first is waited
    /// for.
    pub(crate) fn fetch_block(&mut self, keys: &KeyBlock) -> Result<()> {
        self.check()?;
        self.make_room()?;
        for hash in keys.hashes() {
            self.young.table.prefetch(*hash);
            self.settled.table.prefetch(*hash);
            self.index[self.group(*hash)].prefetch(*hash);
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        let begin = Instant::now();
        for i in 0..keys.hashes().len() {
            let key = keys.get(i);
            if self.is_resident(key) {
                continue;
            }
            let first = self.index[self.group(key.hash)].candidates(key.hash).next();
            match first {
                Some(at) => wanted.push((i, at)),
                None => drop(self.young.add(key, Cached::absent(key.hash), NOWHERE)),
            }
        }
        if self.waits {
            self.ask_for(&wanted);
        }
        for &(i, _) in &wanted {
            let key = keys.get(i);
            // The same key may be in a block twice.
            if self.young.table.find(key).is_none() {
                self.load(key)?;
            }
        }
        self.waits = begin.elapsed() > WAITS * wanted.len().max(1) as u32;
        self.wanted = wanted;
        Ok(())
    }

    /// Has the system bring near what will be read, where it is not in its cache.
    fn ask_for(&self, wanted: &[(usize, Address)]) {
        for (_, at) in wanted {
            if let Some((file, offset)) = self.runs.at(*at) {
                file.ask_for(offset, self.hint);
            }
        }
    }

    /// Reads the entry at an address.
    pub(super) fn entry_at<'a>(runs: &Runs, at: Address, hint: &mut usize, buffer: &'a mut Vec<u8>) -> Result<RawEntry<'a>> {
        let (file, offset) = runs.at(at).ok_or_else(|| Error::User(format!("state on disk: no run has the address {at:x}")))?;
        buffer.resize(*hint, 0);
        let mut found = file.read(offset, buffer)?;
        // Of a key that is longer than what was read, the length of the value is not known either.
        for _ in 0..2 {
            let needed = RawEntry::needed(&buffer[..found]);
            *hint = (*hint).max(needed.next_power_of_two().min(READ.1));
            if needed > found && (needed <= READ.1 || needed as u64 <= file.len()?) {
                buffer.resize(needed, 0);
                found = file.read(offset, buffer)?;
            }
        }
        match RawEntry::first(&buffer[..found]) {
            Some(entry) => Ok(entry),
            None => {
                let (file, offset) = runs.at(at).unwrap_or_else(|| unreachable!("just read"));
                Err(file.error(format!("damaged: the entry at byte {offset} is cut off")))
            }
        }
    }

    /// Where a key's entry lies in the runs: its address and length.
    pub(super) fn find_stored(&mut self, key: KeyRef<'_>) -> Result<Option<(Address, u32)>> {
        let group = self.group(key.hash);
        let Self { index, runs, hint, buffer, .. } = self;
        for at in index[group].candidates(key.hash) {
            let entry = Self::entry_at(runs, at, hint, buffer)?;
            if entry.key == key.bytes {
                return Ok(Some((at, entry.bytes.len() as u32)));
            }
        }
        Ok(None)
    }

    /// Takes a key's value, or that it has none, into the young generation. Gives its place there.
    fn load(&mut self, key: KeyRef<'_>) -> Result<usize> {
        let group = self.group(key.hash);
        let Self { index, runs, hint, buffer, young, codec, .. } = self;
        for at in index[group].candidates(key.hash) {
            let entry = Self::entry_at(runs, at, hint, buffer)?;
            let (found, Some(value)) = (entry.key, entry.value) else { continue };
            if found == key.bytes {
                let damaged = |error| match runs.at(at) {
                    Some((file, offset)) => file.error(format!("the entry at byte {offset}: {error}")),
                    None => Error::Memory(error),
                };
                let heap = heap_of(codec, value.len(), key.bytes.len());
                let cached = Cached {
                    value: Some(codec.decode(value).map_err(damaged)?),
                    stored_bytes: entry.bytes.len() as u32,
                    heap,
                    stored: true,
                    ..Cached::absent(key.hash)
                };
                return Ok(young.add(key, cached, at));
            }
        }
        Ok(young.add(key, Cached::absent(key.hash), NOWHERE))
    }

    /// The place of a key in the young generation, where it can be changed.
    #[inline]
    fn own(&mut self, key: KeyRef<'_>) -> usize {
        match self.young.table.find(key) {
            Some(place) => place,
            None => self.take(key),
        }
    }

    fn take(&mut self, key: KeyRef<'_>) -> usize {
        if let Some(frozen) = &mut self.frozen
            && let Some(place) = frozen.table.find(key)
        {
            let before = frozen.table.value(place);
            // Where what is being written will lie is known when it has been.
            let at = if before.dirty { NOWHERE } else { frozen.at[place] };
            let cached = Cached { stored: before.stored || before.dirty, dirty: false, changes: 0, ..before.clone() };
            let new = self.young.add(key, cached, at);
            frozen.moved[place] = new as u32;
            return new;
        }
        if let Some(place) = self.settled.table.find(key) {
            let cached = self.settled.table.value(place).clone();
            let at = self.settled.at[place];
            return self.young.add(key, cached, at);
        }
        match self.load(key) {
            Ok(place) => place,
            Err(error) => {
                self.failed.get_or_insert(error);
                self.young.add(key, Cached::absent(key.hash), NOWHERE)
            }
        }
    }

    /// An entry of the young generation is about to change.
    #[inline]
    pub(super) fn changes(&mut self, place: usize) {
        let entry = self.young.table.value_mut(place);
        if !entry.dirty {
            entry.dirty = true;
            self.young.dirty += 1;
        }
        entry.changes += 1;
        // What lies on the heap is looked at when it has been changed twice as often as at the last look: so looking costs
        // in proportion to the changes, and a list that grows is never taken for less than half of what it is.
        if entry.changes.is_power_of_two() && self.codec.width().is_none() {
            self.measure(place);
        }
    }

    fn measure(&mut self, place: usize) {
        let entry = &mut self.young.table.entry_mut(place);
        if let Some(value) = &entry.value.value {
            self.buffer.clear();
            // A value that cannot be encoded fails when it has to be.
            if self.codec.encode(value, &mut self.buffer).is_ok() {
                let heap = heap_of(&self.codec, self.buffer.len(), entry.key.as_slice().len());
                self.young.heap = self.young.heap - entry.value.heap as usize + heap as usize;
                entry.value.heap = heap;
            }
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: KeyRef<'_>) -> Option<&mut V> {
        let place = self.own(key);
        self.young.table.value(place).value.as_ref()?;
        self.changes(place);
        self.young.table.value_mut(place).value.as_mut()
    }

    #[inline]
    pub(crate) fn get_or_insert_with(&mut self, key: KeyRef<'_>, make: impl FnOnce() -> V) -> &mut V {
        let place = self.own(key);
        self.changes(place);
        let Self { young, len, .. } = self;
        young.table.value_mut(place).value.get_or_insert_with(|| {
            *len += 1;
            make()
        })
    }

    pub(crate) fn insert(&mut self, key: KeyRef<'_>, value: V) {
        let place = self.own(key);
        self.changes(place);
        let before = self.young.table.value_mut(place).value.replace(value);
        self.len += usize::from(before.is_none());
    }

    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<V> {
        let place = self.own(key);
        self.young.table.value(place).value.as_ref()?;
        self.changes(place);
        self.len -= 1;
        self.young.table.value_mut(place).value.take()
    }

    /// Keeps what is in memory within its bounds, and goes on with what has been begun. Called between blocks.
    pub(crate) fn make_room(&mut self) -> Result<()> {
        if self.frozen.as_ref().is_some_and(|frozen| frozen.writing.is_done()) {
            self.settle()?;
        }
        let memory = self.place.memory();
        if self.young.byte_len() > memory / 2 {
            self.settle()?;
            self.freeze(Box::new(|_| true));
        }
        let frozen = self.frozen.as_ref().map_or(0, Frozen::byte_len);
        if self.settled.table.len() > 0 && self.young.byte_len() + frozen + self.settled.byte_len() > memory {
            self.settled.clear();
        }
        self.rewrite_some()
    }

    /// Begins to write the young generation.
    fn freeze(&mut self, keep: Keep<V>) {
        let Generation { table, at, heap, dirty } = std::mem::take(&mut self.young);
        if dirty == 0 {
            self.settled = Generation { table, at, heap, dirty };
            return;
        }
        self.young.table = std::mem::take(&mut self.spare);
        let table = Arc::new(table);
        let writing = write(&self.place, &table, self.sequence, &self.codec, keep);
        self.sequence += 1;
        let moved = vec![NOT_MOVED; at.len()];
        self.frozen = Some(Frozen { table, at, heap, moved, writing });
    }

    /// Waits for the generation that is being written, and looks for its entries in their run from then on.
    fn settle(&mut self) -> Result<()> {
        let Some(Frozen { table, mut at, heap, moved, writing }) = self.frozen.take() else { return Ok(()) };
        let (run, offsets) = writing.wait()?;
        let first = match &run {
            Some(run) => self.runs.open(&run.file, run.bytes)?,
            None => 0,
        };
        let entries = table.entries();
        for place in 0..entries.len() {
            if let Some(ahead) = entries.get(place + AHEAD) {
                self.index[self.group(ahead.value.hash)].prefetch(ahead.value.hash);
            }
            let Cached { hash, stored_bytes, dirty, ref value, .. } = entries[place].value;
            if !dirty {
                continue;
            }
            let (offset, bytes) = offsets[place];
            let written = (offset, bytes) != UNWRITTEN;
            let new = if written { address(first, offset) } else { NOWHERE };
            let key = KeyRef { hash, bytes: entries[place].key.as_slice() };
            self.replace(key, (at[place], stored_bytes), (new, bytes))?;
            at[place] = new;
            match moved[place] {
                NOT_MOVED if !written && value.is_some() => self.len -= 1,
                NOT_MOVED => {}
                young => {
                    self.young.at[young as usize] = new;
                    self.young.table.value_mut(young as usize).stored_bytes = bytes;
                }
            }
        }
        if let Some(run) = run {
            self.runs.add(run, first);
        }
        self.keep_settled(table, at, heap, &offsets);
        self.plan_rewrite()
    }

    /// A key's entry is no longer at the first address but at the second.
    fn replace(&mut self, key: KeyRef<'_>, from: (Address, u32), to: (Address, u32)) -> Result<()> {
        let group = self.group(key.hash);
        let mut from = from;
        if from.0 != NOWHERE && self.rewrite.is_some() && !self.index[group].contains(key.hash, from.0) {
            // It has been copied since it was read.
            from = self.find_stored(key)?.unwrap_or((NOWHERE, 0));
        }
        let index = &mut self.index[group];
        match (from.0, to.0) {
            (NOWHERE, NOWHERE) => {}
            (NOWHERE, to) => index.insert(key.hash, to),
            (from, NOWHERE) => drop(index.remove(key.hash, from)),
            (from, to) => drop(index.relocate(key.hash, from, to)),
        }
        self.runs.dies(from.0, from.1);
        self.runs.lives(to.0, to.1);
        Ok(())
    }

    /// Keeps what has been written, as far as there is room.
    fn keep_settled(&mut self, table: Arc<DenseTable<Cached<V>>>, at: Vec<Address>, heap: usize, offsets: &[(u64, u32)]) {
        let Ok(mut table) = Arc::try_unwrap(table) else { return };
        let clean = |entry: &mut Cached<V>, place: usize| {
            if entry.dirty {
                let written = offsets[place] != UNWRITTEN;
                (entry.dirty, entry.stored, entry.stored_bytes) = (false, written, offsets[place].1);
                if !written {
                    entry.value = None;
                }
            }
            entry.changes = 0;
        };
        let size = Generation::<V>::bytes_of(table.len(), heap);
        let half = self.place.memory() / 2;
        if size + self.settled.byte_len() <= half && self.settled.table.len() > 0 {
            for place in 0..table.len() {
                let entry = table.entry_mut(place);
                clean(&mut entry.value, place);
                let key = KeyRef { hash: entry.value.hash, bytes: entry.key.as_slice() };
                match self.settled.table.find(key) {
                    Some(old) => {
                        self.settled.at[old] = at[place];
                        let old = self.settled.table.value_mut(old);
                        self.settled.heap = self.settled.heap - old.heap as usize + entry.value.heap as usize;
                        *old = entry.value.clone();
                    }
                    None => drop(self.settled.add(key, entry.value.clone(), at[place])),
                }
            }
            table.clear();
            self.spare = table;
        } else {
            (0..table.len()).for_each(|place| clean(table.value_mut(place), place));
            let settled = Generation { table, at, heap, dirty: 0 };
            self.spare = std::mem::replace(&mut self.settled, settled).table;
            self.spare.clear();
        }
    }

    /// Sets the state aside as of now, without the changes for which `keep` is false when they are written.
    pub(crate) fn snapshot(&mut self, keep: impl Fn(&V) -> bool + Send + 'static) -> Result<DeferredState> {
        self.check()?;
        self.settle()?;
        if self.young.dirty > 0 {
            self.freeze(Box::new(keep));
        }
        let mut runs: Vec<Arc<Run>> = self.runs.list.iter().map(|listed| listed.run.clone()).collect();
        let (label, groups) = (self.place.label.clone(), self.place.groups.clone());
        let writing = self.frozen.as_ref().map(|frozen| frozen.writing.clone());
        Ok(Box::new(move |sink| {
            if let Some(writing) = writing {
                runs.extend(writing.wait()?.0);
            }
            for group in groups {
                for run in &runs {
                    if let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) {
                        sink(label.section(run, place))?;
                    }
                }
            }
            Ok(())
        }))
    }

    /// Takes back a section, once all are there.
    pub(crate) fn take_back(&mut self, section: &StateSection) -> Result<()> {
        self.codec.reading(section)?;
        self.given.push(section.clone());
        Ok(())
    }

    /// Takes back the sections that were given. Where they are runs of such tables, of key groups that this one has, they are used as
    /// they are; what they hold is taken over entry by entry otherwise.
    ///
    /// # Errors
    /// A key whose group this table does not have; a value of another type; a section that is damaged.
    pub(crate) fn restored(&mut self) -> Result<()> {
        let sections = std::mem::take(&mut self.given);
        let mut runs: Vec<Arc<Run>> = Vec::new();
        let mut adopted = true;
        for section in &sections {
            let same = section.schema == self.place.label.schema && section.keys == self.place.label.keys;
            match &section.stored {
                Some(stored) if same && stored.kind() == SectionKind::Changes => {
                    if !runs.iter().any(|run| Arc::ptr_eq(run, &stored.run)) {
                        runs.push(stored.run.clone());
                    }
                }
                _ => adopted = false,
            }
        }
        let handed: usize = runs.iter().map(|run| run.sections.len()).sum();
        if adopted && self.len == 0 && self.runs.list.is_empty() && handed == sections.len() {
            runs.sort_by_key(|run| run.sequence);
            self.adopt(runs)
        } else {
            self.import(sections)
        }
    }

    /// Begins with runs of an earlier table that had the same key groups.
    fn adopt(&mut self, runs: Vec<Arc<Run>>) -> Result<()> {
        for run in runs {
            self.sequence = self.sequence.max(run.sequence + 1);
            let first = self.runs.open(&run.file, run.bytes)?;
            self.runs.add(run, first);
        }
        // A key's last entry counts, so the last run is looked at first. Keys are told apart by 128 bits of hash: that two
        // of a group agree in them is less likely than that the disk lies.
        let mut seen: HashSet<u128> = HashSet::new();
        let mut bytes = Vec::new();
        for (group, at) in self.place.groups.clone().zip(0..) {
            seen.clear();
            for number in (0..self.runs.list.len()).rev() {
                let listed = &self.runs.list[number];
                let (run, first) = (listed.run.clone(), listed.first);
                let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) else { continue };
                run.read(place, &mut bytes)?;
                let base = run.sections[place].offset;
                let mut offset = 0;
                while offset < bytes.len() {
                    let cut = || run.file.error(format!("damaged: the entry at byte {} is cut off", base + offset as u64));
                    let entry = RawEntry::first(&bytes[offset..]).ok_or_else(cut)?;
                    if (number == 0 && seen.is_empty()) || seen.insert(xxh3_128(entry.key)) {
                        if entry.value.is_some() {
                            let address = address(first, base + offset as u64);
                            self.index[at].insert(hash_bytes(entry.key), address);
                            self.runs.lives(address, entry.bytes.len() as u32);
                            self.len += 1;
                        }
                    }
                    offset += entry.bytes.len();
                }
            }
        }
        Ok(())
    }

    /// Takes over what sections hold.
    fn import(&mut self, mut sections: Vec<StateSection>) -> Result<()> {
        sections.sort_by_key(|section| (section.key_group, section.stored.as_ref().map_or(0, StoredSection::sequence)));
        let groups = self.place.groups.clone();
        for section in sections {
            let (_, _, section) = loaded(section)?;
            let values = self.codec.reading(&section)?;
            let mut at = 0;
            let mut since = 0;
            while at < section.bytes.len() {
                let entry = RawEntry::first(&section.bytes[at..]).ok_or_else(|| section::cut_off(&section.name, at))?;
                at += entry.bytes.len();
                let key = KeyRef::new(entry.key);
                section::check_group(&section.name, key.hash, &groups)?;
                match entry.value {
                    Some(value) => self.insert(key, values.decode(value)?),
                    None => drop(self.remove(key)),
                }
                since += 1;
                if since % 64 == 0 {
                    self.make_room()?;
                }
            }
            self.make_room()?;
            self.check()?;
        }
        Ok(())
    }

    /// Hands all entries to a function, group by group.
    ///
    /// # Errors
    /// A run that cannot be read; what the function says.
    pub(crate) fn each(&mut self, mut f: impl FnMut(&[u8], &V) -> Result<()>) -> Result<()> {
        self.check()?;
        self.finish_rewrite()?;
        let mut bytes = Vec::new();
        for (group, at) in self.place.groups.clone().zip(0..) {
            for listed in &self.runs.list {
                let run = &listed.run;
                let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) else { continue };
                run.read(place, &mut bytes)?;
                let base = run.sections[place].offset;
                let mut offset = 0;
                while let Some(entry) = RawEntry::first(&bytes[offset..]) {
                    let key = KeyRef::new(entry.key);
                    let address = address(listed.first, base + offset as u64);
                    offset += entry.bytes.len();
                    if let Some(value) = entry.value
                        && self.index[at].contains(key.hash, address)
                        && !self.shadows(key)
                    {
                        f(key.bytes, &self.codec.decode(value)?)?;
                    }
                }
            }
        }
        if let Some(frozen) = &self.frozen {
            for entry in frozen.table.entries() {
                let key = KeyRef { hash: entry.value.hash, bytes: entry.key.as_slice() };
                if let Some(value) = &entry.value.value
                    && self.young.table.find(key).is_none()
                {
                    f(key.bytes, value)?;
                }
            }
        }
        for entry in self.young.table.entries() {
            if let Some(value) = &entry.value.value {
                f(entry.key.as_slice(), value)?;
            }
        }
        Ok(())
    }

    /// As [`StateTable::visit`](crate::state::StateTable::visit).
    pub(crate) fn visit(
        &mut self,
        visit: &mut Visit,
        count: usize,
        mut f: impl FnMut(KeyRef<'_>, &mut V) -> Visited,
    ) -> Result<bool> {
        if visit.group == 0 && visit.keys.is_empty() {
            self.check()?;
            self.settle()?;
            let fresh = self.young.table.entries().iter().zip(&self.young.at);
            let fresh = fresh.filter(|(entry, at)| **at == NOWHERE && entry.value.value.is_some());
            visit.fresh = fresh.map(|(entry, _)| entry.key.clone()).collect();
            visit.fresh.sort_by_cached_key(|key| std::cmp::Reverse(key_group(hash_bytes(key.as_slice()))));
        }
        let mut block = KeyBlock::default();
        let mut left = count;
        loop {
            if visit.keys.is_empty() {
                if visit.group == self.index.len() {
                    return Ok(false);
                }
                self.keys_of(visit)?;
                visit.group += 1;
                continue;
            }
            if left == 0 {
                return Ok(true);
            }
            let keys = visit.keys.split_off(visit.keys.len().saturating_sub(BLOCK.min(left)));
            left -= keys.len();
            block.encode(keys.iter(), |key, out| out.extend_from_slice(key.as_slice()));
            self.fetch_block(&block)?;
            for i in 0..keys.len() {
                let key = block.get(i);
                let place = self.own(key);
                let Some(value) = &mut self.young.table.value_mut(place).value else { continue };
                match f(key, value) {
                    Visited::Same => {}
                    Visited::Changed => self.changes(place),
                    Visited::Done => drop(self.remove(key)),
                }
            }
        }
    }

    /// Finds the keys of a visit's next group.
    fn keys_of(&mut self, visit: &mut Visit) -> Result<()> {
        self.finish_rewrite()?;
        let (at, group) = (visit.group, self.place.groups.start + visit.group as u16);
        let mut bytes = Vec::new();
        for listed in &self.runs.list {
            let run = &listed.run;
            let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) else { continue };
            run.read(place, &mut bytes)?;
            let base = address(listed.first, run.sections[place].offset);
            let mut offset = 0;
            while let Some(entry) = RawEntry::first(&bytes[offset..]) {
                if entry.value.is_some() && self.index[at].contains(hash_bytes(entry.key), base + offset as u64) {
                    visit.keys.push(entry.key.into());
                }
                offset += entry.bytes.len();
            }
        }
        while let Some(key) = visit.fresh.pop_if(|key| key_group(hash_bytes(key.as_slice())) <= group) {
            visit.keys.push(key);
        }
        Ok(())
    }

    pub(super) fn shadows(&self, key: KeyRef<'_>) -> bool {
        self.young.table.find(key).is_some() || self.frozen.as_ref().is_some_and(|frozen| frozen.table.find(key).is_some())
    }
}

/// What a value of so many bytes takes beside its entry.
#[inline]
fn heap_of<V: Data>(codec: &RecordCodec<V>, value: usize, key: usize) -> u32 {
    let value = if codec.width().is_some() { 0 } else { value };
    let key = if key > INLINE { key } else { 0 };
    (value + key) as u32
}
