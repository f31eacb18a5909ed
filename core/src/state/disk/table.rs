use super::backend::TablePlace;
use super::generation::{Cached, Frozen, Generation};
use super::index::{Address, KeyIndex, NOWHERE};
use super::rewrite::Rewrite;
use super::runs::Runs;
use super::sweep::Sweeping;
use crate::codec::RecordCodec;
use crate::state::block::KeyBlock;
use crate::state::dense::DenseTable;
use crate::state::key::{INLINE, KeyRef};
use crate::state::section::RawEntry;
use crate::stream::Data;
use crate::{Error, Result, StateSection};
use fluvial_memory::hash::key_group;
use std::time::{Duration, Instant};

/// Read for an entry of which the length is not known: at first, and at most.
const READ: (usize, usize) = (64, 4096);
/// An entry takes longer than this only if the system has to read it.
const WAITS: Duration = Duration::from_micros(10);

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
    pub(super) spare: DenseTable<Cached<V>>,
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
    pub(super) given: Vec<StateSection>,
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
    pub(super) fn own(&mut self, key: KeyRef<'_>) -> usize {
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
