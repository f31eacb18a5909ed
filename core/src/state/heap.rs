//! A table of state in memory: copy-on-write, by key group.

use super::dense::{DenseTable, Entry};
use super::key::KeyRef;
use super::section;
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
use crate::stream::Data;
use crate::{Result, StateSection};
use fluvial_memory::hash::key_group;
use std::ops::Range;
use std::sync::Arc;

/// Values by key, of the key groups that one instance owns.
///
/// Each group is a table of its own. A snapshot shares the groups with whoever encodes them and costs the pipeline one
/// pointer a group; the first change of a group after that copies it, if it is still shared. So the copying is spread over
/// the changes that follow, a 128th of the state at a time.
pub(crate) struct HeapTable<V> {
    first: u16,
    groups: Vec<CowTable<V>>,
    len: usize,
}

/// A table that a snapshot may share: whoever changes it then has a copy.
pub(crate) enum CowTable<V> {
    /// Nobody else reads it.
    Own(DenseTable<V>),
    /// A snapshot may still be reading it.
    Shared(Arc<DenseTable<V>>),
}

impl<V> Default for CowTable<V> {
    fn default() -> Self {
        Self::Own(DenseTable::default())
    }
}

impl<V> CowTable<V> {
    #[inline]
    pub(crate) fn read(&self) -> &DenseTable<V> {
        match self {
            Self::Own(table) => table,
            Self::Shared(table) => table,
        }
    }
}

impl<V: Clone> CowTable<V> {
    /// The table as of now, for somebody else.
    pub(crate) fn share(&mut self) -> Arc<DenseTable<V>> {
        if let Self::Own(own) = self {
            *self = Self::Shared(Arc::new(std::mem::take(own)));
        }
        match self {
            Self::Shared(table) => table.clone(),
            Self::Own(_) => unreachable!("just shared"),
        }
    }

    #[inline]
    pub(crate) fn write(&mut self) -> &mut DenseTable<V> {
        self.write_in(DenseTable::default)
    }

    /// As [`CowTable::write`]: a copy, if there must be one, is made in a table whose room is to be used again.
    #[inline]
    pub(crate) fn write_in(&mut self, room: impl FnOnce() -> DenseTable<V>) -> &mut DenseTable<V> {
        if let Self::Shared(table) = self {
            *self = Self::Own(Arc::try_unwrap(std::mem::take(table)).unwrap_or_else(|shared| {
                let mut own = room();
                own.clone_from(&shared);
                own
            }));
        }
        match self {
            Self::Own(table) => table,
            Self::Shared(_) => unreachable!("just made its own"),
        }
    }
}

impl<V: Clone> HeapTable<V> {
    pub(crate) fn new(groups: Range<u16>) -> Self {
        Self { first: groups.start, groups: groups.map(|_| CowTable::default()).collect(), len: 0 }
    }

    /// The group of a key. Records come to the instance that owns their key's group.
    #[inline]
    fn group(&self, hash: u64) -> usize {
        usize::from(key_group(hash)) - usize::from(self.first)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that it holds, without what values point to.
    pub(crate) fn byte_len(&self) -> usize {
        self.groups.iter().map(|g| g.read().byte_len()).sum()
    }

    #[inline]
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<&V> {
        let table = self.groups[self.group(key.hash)].read();
        table.find(key).map(|place| table.value(place))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: KeyRef<'_>) -> Option<&mut V> {
        let group = self.group(key.hash);
        let place = self.groups[group].read().find(key)?;
        Some(self.groups[group].write().value_mut(place))
    }

    /// The key's value, made if there is none.
    #[inline]
    pub(crate) fn get_or_insert_with(&mut self, key: KeyRef<'_>, make: impl FnOnce() -> V) -> &mut V {
        let group = self.group(key.hash);
        let table = self.groups[group].write();
        let place = match table.find(key) {
            Some(place) => place,
            None => {
                self.len += 1;
                table.add(key, make())
            }
        };
        table.value_mut(place)
    }

    pub(crate) fn insert(&mut self, key: KeyRef<'_>, value: V) {
        let group = self.group(key.hash);
        let table = self.groups[group].write();
        match table.find(key) {
            Some(place) => *table.value_mut(place) = value,
            None => {
                self.len += 1;
                table.add(key, value);
            }
        }
    }

    /// Shows the next `count` entries of a visit to a function that may change them. Says whether there are more.
    pub(crate) fn visit(
        &mut self,
        visit: &mut HeapVisit,
        count: usize,
        mut f: impl FnMut(KeyRef<'_>, &mut V) -> Visited,
    ) -> bool {
        // From the last to the first of a group: whatever is removed, the entry that takes its place has been visited.
        let place = match visit.left {
            Some(left) => left,
            None => match self.groups.get(visit.group) {
                Some(group) => group.read().len(),
                None => return false,
            },
        };
        let last = place.saturating_sub(count);
        for place in (last..place).rev() {
            let entry = self.groups[visit.group].write().entry_mut(place);
            let key = KeyRef { hash: 0, bytes: entry.key.as_slice() };
            if f(key, &mut entry.value) == Visited::Done {
                self.len -= 1;
                self.groups[visit.group].write().remove_at(place);
            }
        }
        visit.left = Some(last);
        if last == 0 {
            *visit = HeapVisit { group: visit.group + 1, left: None };
        }
        visit.group < self.groups.len()
    }

    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<V> {
        let group = self.group(key.hash);
        self.groups[group].read().find(key)?;
        self.len -= 1;
        self.groups[group].write().remove(key)
    }

    /// Asks for what a look-up of this key reads first to be in cache soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.groups[self.group(hash)].read().prefetch(hash);
    }

    /// The second step of it, once the first has had its time.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        self.groups[self.group(hash)].read().prefetch_entry(hash);
    }

    /// All entries, group by group.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<V>> {
        self.groups.iter().flat_map(|g| g.read().entries())
    }

    /// Removes entries among the next `count`, going around the table from `cursor`, for which `keep` is false.
    pub(crate) fn sweep(&mut self, cursor: &mut SweepCursor, count: usize, mut keep: impl FnMut(&V) -> bool) {
        for _ in 0..count {
            if cursor.group >= self.groups.len() {
                *cursor = SweepCursor::default();
            }
            let Some(group) = self.groups.get_mut(cursor.group) else { return };
            match group.read().entries().get(cursor.place) {
                None => *cursor = SweepCursor { group: cursor.group + 1, place: 0 },
                Some(entry) if keep(&entry.value) => cursor.place += 1,
                Some(_) => {
                    group.write().remove_at(cursor.place);
                    self.len -= 1;
                }
            }
        }
    }

    /// Takes back a section that [`HeapTable::snapshot`] gave.
    ///
    /// # Errors
    /// As [`section::decode`]; and a key whose group this table does not have. All name the state.
    pub(crate) fn restore(&mut self, section: &StateSection, codec: &RecordCodec<V>) -> Result<()>
    where
        V: Data,
    {
        let groups = self.first..self.first + self.groups.len() as u16;
        section::decode(section, codec, |key, value| {
            let key = KeyRef::new(key);
            section::check_group(&section.name, key.hash, &groups)?;
            self.insert(key, value);
            Ok(())
        })
    }

    /// Sets the state aside as of now, without the entries for which `keep` is false when they are encoded.
    pub(crate) fn snapshot(
        &mut self,
        name: &str,
        codec: &RecordCodec<V>,
        keep: impl Fn(&V) -> bool + Send + 'static,
    ) -> DeferredState
    where
        V: Data,
    {
        let share = |(group, table): (usize, &mut CowTable<V>)| {
            if table.read().len() == 0 {
                return None;
            }
            Some((self.first + group as u16, table.share()))
        };
        let groups: Vec<_> = self.groups.iter_mut().enumerate().filter_map(share).collect();
        let (name, codec) = (name.to_owned(), codec.clone());
        Box::new(move |sink| {
            // Each group is let go of once it is encoded: from then on its changes copy nothing.
            groups.into_iter().try_for_each(|(group, table)| {
                let entries = table.entries().iter().filter(|e| keep(&e.value));
                sink(section::encode(&name, group, &codec, entries.map(|e| (e.key.as_slice(), &e.value)))?)
            })
        })
    }
}

/// Where a sweep goes on.
#[derive(Default)]
pub(crate) struct SweepCursor {
    group: usize,
    pub(super) place: usize,
}

/// Where a visit goes on: in which group, and how many entries of it are left.
#[derive(Default)]
pub(crate) struct HeapVisit {
    group: usize,
    left: Option<usize>,
}

/// What a visit has done to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visited {
    /// Nothing.
    Same,
    /// It has changed.
    Changed,
    /// It is not needed any more.
    Done,
}
