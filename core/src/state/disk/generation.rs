//! Entries in memory, and how a generation of them becomes a run.

use super::backend::TablePlace;
use super::index::Address;
use super::run::{Run, RunLabel, RunWriter};
use crate::codec::RecordCodec;
use crate::runtime::guard;
use crate::state::dense::DenseTable;
use crate::state::key::KeyRef;
use crate::state::section;
use crate::stream::Data;
use crate::{Error, Result};
use fluvial_memory::hash::{KEY_GROUPS, key_group};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// An entry in memory.
#[derive(Clone)]
pub(super) struct Cached<V> {
    /// `None` for a key that has no value.
    pub(super) value: Option<V>,
    pub(super) hash: u64,
    /// Bytes of the entry in a run, where it is in one.
    pub(super) stored_bytes: u32,
    /// What it was last found to take beside itself.
    pub(super) heap: u32,
    /// How often it was changed.
    pub(super) changes: u32,
    /// Whether it differs from what is in the runs.
    pub(super) dirty: bool,
    /// Whether runs may have an earlier value.
    pub(super) stored: bool,
}

/// Entries that are looked up together.
pub(super) struct Generation<V> {
    pub(super) table: DenseTable<Cached<V>>,
    /// Where each entry lies in the runs.
    pub(super) at: Vec<Address>,
    /// What the entries take beside themselves.
    pub(super) heap: usize,
    pub(super) dirty: usize,
}

impl<V> Default for Generation<V> {
    fn default() -> Self {
        Self { table: DenseTable::default(), at: Vec::new(), heap: 0, dirty: 0 }
    }
}

/// Bytes of a directory's slots for one entry, at most.
const DIRECTORY: usize = 22;

impl<V> Generation<V> {
    /// Bytes that the entries take.
    #[inline]
    pub(super) fn byte_len(&self) -> usize {
        Self::bytes_of(self.table.len(), self.heap)
    }

    /// Bytes that so many entries take with what they have on the heap.
    #[inline]
    pub(super) fn bytes_of(entries: usize, heap: usize) -> usize {
        entries * (DenseTable::<Cached<V>>::ENTRY + size_of::<Address>() + DIRECTORY) + heap
    }

    pub(super) fn add(&mut self, key: KeyRef<'_>, entry: Cached<V>, at: Address) -> usize {
        self.heap += entry.heap as usize;
        self.dirty += usize::from(entry.dirty);
        self.at.push(at);
        self.table.add(key, entry)
    }

    /// Forgets everything and keeps the room.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.at.clear();
        (self.heap, self.dirty) = (0, 0);
    }
}

/// A generation that is being written. Its entries are read as before.
pub(super) struct Frozen<V> {
    pub(super) table: Arc<DenseTable<Cached<V>>>,
    pub(super) at: Vec<Address>,
    pub(super) heap: usize,
    /// The places in the young generation of entries that have been taken there since; [`NOT_MOVED`] of others.
    pub(super) moved: Vec<u32>,
    pub(super) writing: Arc<Writing>,
}

pub(super) const NOT_MOVED: u32 = u32::MAX;

impl<V> Frozen<V> {
    pub(super) fn byte_len(&self) -> usize {
        Generation::<V>::bytes_of(self.table.len(), self.heap)
    }
}

/// Where entries of a generation came to lie, and how long they are; [`UNWRITTEN`] where none was written.
pub(super) type Offsets = Vec<(u64, u32)>;
pub(super) const UNWRITTEN: (u64, u32) = (0, 0);

/// A run that is being written; `None` where nothing had to be.
type Written = std::result::Result<(Option<Arc<Run>>, Arc<Offsets>), String>;

/// Waits for a run.
#[derive(Default)]
pub(super) struct Writing {
    written: Mutex<Option<Written>>,
    done: Condvar,
}

impl Writing {
    pub(super) fn set(&self, written: Written) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
        self.done.notify_all();
    }

    pub(super) fn is_done(&self) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits until it is written.
    pub(super) fn wait(&self) -> Result<(Option<Arc<Run>>, Arc<Offsets>)> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.done.wait_while(written, |written| written.is_none()).unwrap_or_else(PoisonError::into_inner);
        match &*written {
            Some(Ok(written)) => Ok(written.clone()),
            Some(Err(message)) => Err(Error::User(message.clone())),
            None => unreachable!("waited for"),
        }
    }
}

/// Leaves out what is over when a generation is written.
pub(super) type Keep<V> = Box<dyn Fn(&V) -> bool + Send>;

/// Has the changes of a generation written to a run of this sequence.
pub(super) fn write<V: Data>(
    place: &TablePlace,
    table: &Arc<DenseTable<Cached<V>>>,
    sequence: u64,
    codec: &RecordCodec<V>,
    keep: Keep<V>,
) -> Arc<Writing> {
    let writing = Arc::new(Writing::default());
    let (told, table, codec) = (writing.clone(), table.clone(), codec.clone());
    let (path, label) = (place.path(), place.label.clone());
    place.background(move || {
        let write = || encode(&table, &label, RunWriter::create(path, sequence)?, &codec, &keep);
        let written = guard(write).unwrap_or_else(|panic| Err(Error::User(format!("panicked: {panic}"))));
        // Whoever waits may want the table for itself.
        drop(table);
        told.set(written.map_err(|error| error.to_string()));
    });
    writing
}

fn encode<V: Data>(
    table: &DenseTable<Cached<V>>,
    label: &RunLabel,
    mut run: RunWriter,
    codec: &RecordCodec<V>,
    keep: &Keep<V>,
) -> Result<(Option<Arc<Run>>, Arc<Offsets>)> {
    let entries = table.entries();
    let groups = usize::from(KEY_GROUPS);
    // The places of what has changed, by key group.
    let mut ends = vec![0usize; groups + 1];
    let changed = || entries.iter().enumerate().filter(|(_, entry)| entry.value.dirty);
    changed().for_each(|(_, entry)| ends[usize::from(key_group(entry.value.hash)) + 1] += 1);
    (0..groups).for_each(|group| ends[group + 1] += ends[group]);
    let mut places = vec![0u32; ends[groups]];
    let mut next = ends.clone();
    for (place, entry) in changed() {
        let group = usize::from(key_group(entry.value.hash));
        places[next[group]] = place as u32;
        next[group] += 1;
    }
    let mut offsets = vec![UNWRITTEN; entries.len()];
    let mut bytes = Vec::new();
    let mut any = false;
    for group in 0..groups {
        let start = run.offset();
        bytes.clear();
        for &place in &places[ends[group]..ends[group + 1]] {
            let entry = &entries[place as usize];
            match entry.value.value.as_ref().filter(|value| keep(value)) {
                Some(value) => {
                    let at = bytes.len();
                    section::append(codec, entry.key.as_slice(), value, &mut bytes)?;
                    offsets[place as usize] = (start + at as u64, (bytes.len() - at) as u32);
                }
                None if entry.value.stored => section::append_removed(entry.key.as_slice(), &mut bytes),
                None => {}
            }
        }
        if !bytes.is_empty() {
            any = true;
            run.add(label, group as u16, &bytes)?;
        }
    }
    let run = if any { Some(Arc::new(run.finish()?)) } else { None };
    Ok((run, Arc::new(offsets)))
}

impl<V> Cached<V> {
    /// A key that is in no run.
    pub(super) fn absent(hash: u64) -> Self {
        Self { value: None, hash, stored_bytes: 0, heap: 0, changes: 0, dirty: false, stored: false }
    }
}
