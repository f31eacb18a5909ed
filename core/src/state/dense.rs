//! The hash table of one key group.

use super::key::{KeyBytes, KeyRef};
use fluvial_memory::same_key;

/// Entries lie side by side in the order in which they came (a removed one is replaced by the last); a directory of 8-byte
/// slots finds them by linear probing. A slot holds 32 bits of the key's hash, which give its home and make a comparison of
/// keys almost certain to succeed, and the entry's place. So growing and removing touch the directory alone, a snapshot or a
/// sweep runs over contiguous entries, and a look-up can be prefetched in two steps.
pub(crate) struct DenseTable<V> {
    /// `hash32 << 32 | place + 1`; zero is empty. A power of two, at most 3/4 full.
    directory: Vec<u64>,
    entries: Vec<Entry<V>>,
}

/// A key and its value.
#[derive(Clone)]
pub(crate) struct Entry<V> {
    pub(crate) key: KeyBytes,
    pub(crate) value: V,
}

/// The bits of a hash that a directory uses: not those that choose the key group.
#[inline]
fn bits(hash: u64) -> u32 {
    (hash ^ (hash >> 29)) as u32
}

impl<V> Default for DenseTable<V> {
    fn default() -> Self {
        Self { directory: Vec::new(), entries: Vec::new() }
    }
}

impl<V: Clone> Clone for DenseTable<V> {
    fn clone(&self) -> Self {
        Self { directory: self.directory.clone(), entries: self.entries.clone() }
    }

    /// In the room that this one has.
    fn clone_from(&mut self, other: &Self) {
        self.directory.clone_from(&other.directory);
        self.entries.clone_from(&other.entries);
    }
}

impl<V> DenseTable<V> {
    /// Bytes of an entry, without its slot in the directory.
    pub(crate) const ENTRY: usize = size_of::<Entry<V>>();

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entries(&self) -> &[Entry<V>] {
        &self.entries
    }

    /// Bytes that it holds, without what values point to.
    pub(crate) fn byte_len(&self) -> usize {
        self.directory.len() * 8 + self.entries.capacity() * size_of::<Entry<V>>()
    }

    #[inline]
    fn mask(&self) -> usize {
        self.directory.len() - 1
    }

    /// The slot that holds the key.
    #[inline]
    fn slot(&self, key: KeyRef<'_>) -> Option<usize> {
        if self.directory.is_empty() {
            return None;
        }
        let tag = bits(key.hash);
        let mut at = tag as usize & self.mask();
        loop {
            let slot = self.directory[at];
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == tag && same_key(self.entries[place(slot)].key.as_slice(), key.bytes) {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// Where the key's entry lies, until the next change.
    #[inline]
    pub(crate) fn find(&self, key: KeyRef<'_>) -> Option<usize> {
        self.slot(key).map(|at| place(self.directory[at]))
    }

    #[inline]
    pub(crate) fn value(&self, place: usize) -> &V {
        &self.entries[place].value
    }

    #[inline]
    pub(crate) fn value_mut(&mut self, place: usize) -> &mut V {
        &mut self.entries[place].value
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, place: usize) -> &mut Entry<V> {
        &mut self.entries[place]
    }

    /// Removes everything and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.directory.fill(0);
        self.entries.clear();
    }

    /// Gives up all entries and keeps the room, for a copy of another table: nothing is found in this one any more.
    pub(crate) fn into_room(mut self) -> Self {
        self.entries.clear();
        self
    }

    /// Adds a key that is not there; says where.
    pub(crate) fn add(&mut self, key: KeyRef<'_>, value: V) -> usize {
        if (self.entries.len() + 1) * 4 > self.directory.len() * 3 {
            self.grow();
        }
        self.entries.push(Entry { key: key.bytes.into(), value });
        let slot = u64::from(bits(key.hash)) << 32 | self.entries.len() as u64;
        put(&mut self.directory, slot);
        self.entries.len() - 1
    }

    fn grow(&mut self) {
        let mut directory = vec![0; (self.directory.len() * 2).max(4)];
        self.directory.iter().filter(|slot| **slot != 0).for_each(|slot| put(&mut directory, *slot));
        self.directory = directory;
    }

    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<V> {
        self.slot(key).map(|at| self.remove_slot(at))
    }

    /// Removes the entry at a place; the last one takes the place.
    pub(crate) fn remove_at(&mut self, place: usize) -> V {
        let key = self.entries[place].key.clone();
        let at = self.slot(KeyRef::new(key.as_slice()));
        self.remove_slot(at.expect("an entry has a slot"))
    }

    fn remove_slot(&mut self, at: usize) -> V {
        let gone = place(self.directory[at]);
        let last = self.entries.len() - 1;
        if gone != last {
            let moved = KeyRef::new(self.entries[last].key.as_slice());
            let slot = self.slot(moved).expect("an entry has a slot");
            self.directory[slot] = (self.directory[slot] >> 32) << 32 | (gone as u64 + 1);
        }
        self.close(at);
        self.entries.swap_remove(gone).value
    }

    /// Empties a slot and moves those behind it that would no longer be found.
    fn close(&mut self, mut hole: usize) {
        let mask = self.mask();
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.directory[at];
            if slot == 0 {
                break;
            }
            let home = (slot >> 32) as usize & mask;
            // It may move if its home is not between the hole and where it is.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.directory[hole] = slot;
                hole = at;
            }
        }
        self.directory[hole] = 0;
    }

    /// Asks for the directory's line of a key to be in cache soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if !self.directory.is_empty() {
            fluvial_memory::prefetch(&self.directory[bits(hash) as usize & self.mask()]);
        }
    }

    /// Asks for the entry that the directory's first slot of a key names to be in cache soon.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        if self.directory.is_empty() {
            return;
        }
        let slot = self.directory[bits(hash) as usize & self.mask()];
        if slot != 0 {
            fluvial_memory::prefetch(&self.entries[place(slot)]);
        }
    }
}

#[inline]
fn place(slot: u64) -> usize {
    slot as u32 as usize - 1
}

/// Puts a slot at the first free place from its home on.
fn put(directory: &mut [u64], slot: u64) {
    let mask = directory.len() - 1;
    let mut at = (slot >> 32) as usize & mask;
    while directory[at] != 0 {
        at = (at + 1) & mask;
    }
    directory[at] = slot;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn equals_a_map(steps in proptest::collection::vec((0u8..3, 0u64..300), 0..2000)) {
            let mut table = DenseTable::default();
            let mut model = BTreeMap::new();
            for (number, (what, key)) in steps.into_iter().enumerate() {
                let bytes = key.to_be_bytes();
                let at = KeyRef::new(&bytes);
                match what {
                    0 => prop_assert_eq!(table.remove(at), model.remove(&key)),
                    _ => {
                        match table.find(at) {
                            Some(place) => *table.value_mut(place) = number,
                            None => { table.add(at, number); }
                        }
                        model.insert(key, number);
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for (key, value) in &model {
                let bytes = key.to_be_bytes();
                let place = table.find(KeyRef::new(&bytes));
                prop_assert_eq!(place.map(|p| *table.value(p)), Some(*value));
            }
            for key in 0..300u64 {
                let bytes = key.to_be_bytes();
                prop_assert_eq!(table.find(KeyRef::new(&bytes)).is_some(), model.contains_key(&key));
            }
        }
    }
}
