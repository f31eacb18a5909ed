//! A table of state, wherever it is kept.

use super::block::KeyBlock;
use super::disk::{DiskTable, StateScope};
use super::heap::{HeapTable, HeapVisit, SweepCursor, Visited};
use super::key::{KeyBytes, KeyRef};
use crate::checkpoint::SectionKind;
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
use crate::stream::Data;
use crate::{Result, StateSection};

/// Values by key, of the key groups that one instance owns.
///
/// Keys are looked up in blocks: [`KeyBlock::prefetch`] brings near what they need, from whatever distance, and says what went wrong.
/// A key that is not of such a block is [fetched](StateTable::fetch) before it is read.
pub(crate) enum StateTable<V> {
    /// In memory.
    Heap(HeapTable<V>),
    /// On disk.
    Disk(Box<DiskTable<V>>),
}

impl<V: Data> StateTable<V> {
    /// The table of a state of this name.
    pub(crate) fn open(scope: &StateScope, name: &str, codec: &RecordCodec<V>) -> Self {
        match scope.disk(name, codec, SectionKind::Changes) {
            None => Self::Heap(HeapTable::new(scope.groups.clone())),
            Some(place) => Self::Disk(Box::new(DiskTable::new(place, codec.clone()))),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Heap(table) => table.len(),
            Self::Disk(table) => table.len(),
        }
    }

    /// Bytes that it takes; in memory without what values point to.
    pub(crate) fn byte_len(&self) -> usize {
        match self {
            Self::Heap(table) => table.byte_len(),
            Self::Disk(table) => table.byte_len(),
        }
    }

    /// Whether a key's value is at hand.
    #[inline]
    pub(crate) fn is_resident(&self, key: KeyRef<'_>) -> bool {
        match self {
            Self::Heap(_) => true,
            Self::Disk(table) => table.is_resident(key),
        }
    }

    /// Brings a key's value to hand.
    #[inline]
    pub(crate) fn fetch(&mut self, key: KeyRef<'_>) {
        if let Self::Disk(table) = self {
            table.fetch(key);
        }
    }

    /// Brings near what look-ups of these keys read.
    ///
    /// # Errors
    /// It cannot be read; or a call before this could not do what it had to.
    #[inline]
    pub(super) fn fetch_block(&mut self, keys: &KeyBlock) -> Result<()> {
        match self {
            Self::Heap(table) => {
                keys.hashes().iter().for_each(|hash| table.prefetch(*hash));
                keys.hashes().iter().for_each(|hash| table.prefetch_entry(*hash));
                Ok(())
            }
            Self::Disk(table) => table.fetch_block(keys),
        }
    }

    /// # Errors
    /// A call before this could not do what it had to.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self {
            Self::Heap(_) => Ok(()),
            Self::Disk(table) => table.check(),
        }
    }

    /// The value of a key that is at hand.
    #[inline]
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<&V> {
        match self {
            Self::Heap(table) => table.get(key),
            Self::Disk(table) => table.get(key),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: KeyRef<'_>) -> Option<&mut V> {
        match self {
            Self::Heap(table) => table.get_mut(key),
            Self::Disk(table) => table.get_mut(key),
        }
    }

    /// The key's value, made if there is none.
    #[inline]
    pub(crate) fn get_or_insert_with(&mut self, key: KeyRef<'_>, make: impl FnOnce() -> V) -> &mut V {
        match self {
            Self::Heap(table) => table.get_or_insert_with(key, make),
            Self::Disk(table) => table.get_or_insert_with(key, make),
        }
    }

    pub(crate) fn insert(&mut self, key: KeyRef<'_>, value: V) {
        match self {
            Self::Heap(table) => table.insert(key, value),
            Self::Disk(table) => table.insert(key, value),
        }
    }

    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<V> {
        match self {
            Self::Heap(table) => table.remove(key),
            Self::Disk(table) => table.remove(key),
        }
    }

    /// Removes entries among the next `count`, going around the table from `cursor`, for which `keep` is false.
    pub(crate) fn sweep(&mut self, cursor: &mut SweepCursor, count: usize, keep: impl FnMut(&V) -> bool) {
        match self {
            Self::Heap(table) => table.sweep(cursor, count, keep),
            Self::Disk(table) => table.sweep(&mut cursor.place, count, keep),
        }
    }

    /// Hands all entries to a function.
    ///
    /// # Errors
    /// They cannot be read; what the function says.
    pub(crate) fn each(&mut self, mut f: impl FnMut(&[u8], &V) -> Result<()>) -> Result<()> {
        match self {
            Self::Heap(table) => table.iter().try_for_each(|entry| f(entry.key.as_slice(), &entry.value)),
            Self::Disk(table) => table.each(f),
        }
    }

    /// Shows about `count` more entries of a visit to a function that may change them, in no order. Says whether there are
    /// more. No other entries may be added or removed before the visit has ended; an entry that has changed may be shown again.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn visit(
        &mut self,
        visit: &mut Visit,
        count: usize,
        f: impl FnMut(KeyRef<'_>, &mut V) -> Visited,
    ) -> Result<bool> {
        match self {
            Self::Heap(table) => Ok(table.visit(&mut visit.heap, count, f)),
            Self::Disk(table) => table.visit(visit, count, f),
        }
    }

    /// Takes back a section that [`StateTable::snapshot`] gave; [`StateTable::restored`] must follow the last one.
    ///
    /// # Errors
    /// As [`super::section::decode`]; and a key whose group this table does not have. All name the state.
    pub(crate) fn restore(&mut self, section: &StateSection, codec: &RecordCodec<V>) -> Result<()> {
        match self {
            Self::Heap(table) => table.restore(section, codec),
            Self::Disk(table) => table.take_back(section),
        }
    }

    /// All sections have been taken back.
    ///
    /// # Errors
    /// As for [`StateTable::restore`], where the sections lie in files.
    pub(crate) fn restored(&mut self) -> Result<()> {
        match self {
            Self::Heap(_) => Ok(()),
            Self::Disk(table) => table.restored(),
        }
    }

    /// Sets the state aside as of now, without the entries for which `keep` is false when they are encoded.
    ///
    /// # Errors
    /// A call before this could not do what it had to; what was to be written before could not be.
    pub(crate) fn snapshot(
        &mut self,
        name: &str,
        codec: &RecordCodec<V>,
        keep: impl Fn(&V) -> bool + Send + 'static,
    ) -> Result<DeferredState> {
        match self {
            Self::Heap(table) => Ok(table.snapshot(name, codec, keep)),
            Self::Disk(table) => table.snapshot(keep),
        }
    }
}

/// Where a visit of all entries goes on.
#[derive(Default)]
pub(crate) struct Visit {
    heap: HeapVisit,
    /// The next key group, from 0; and keys that are left of the one before it, from the last to the first.
    pub(super) group: usize,
    pub(super) keys: Vec<KeyBytes>,
    /// Keys that were in no run when it began.
    pub(super) fresh: Vec<KeyBytes>,
}
