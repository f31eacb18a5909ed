/// Where an entry lies: an extent's number above [`OFFSET_BITS`], the entry's offset in it below. [`NOWHERE`] is nowhere.
pub(super) type Address = u64;

/// The address of what is in no run: byte 0 of a file is never an entry.
pub(super) const NOWHERE: Address = 0;
/// Bits of an address that count bytes within an extent.
pub(super) const OFFSET_BITS: u32 = 28;
/// Bits of an address.
const ADDRESS_BITS: u32 = 40;
/// Extents that can be told apart.
pub(super) const EXTENTS: usize = 1 << (ADDRESS_BITS - OFFSET_BITS);
const TAG_BITS: u32 = 64 - ADDRESS_BITS;

/// Where the keys of one key group have their entries: 8 bytes a slot, at most 3/4 of them taken.
///
/// A slot is 24 bits of the key's hash, and an address; zero is empty. The bits are also the slot's home (probing is linear), so that
/// growing and removing need no keys. They are others than those that choose the key group and those that a
/// [`DenseTable`](super::super::DenseTable) goes by. Two keys with the same bits are told apart by reading: of a hundred thousand keys in a
/// group one look-up in two hundred reads an entry in vain.
#[derive(Default)]
pub(super) struct KeyIndex {
    slots: Vec<u64>,
    len: usize,
}

#[inline]
fn tag(hash: u64) -> u64 {
    (hash >> 20) & ((1 << TAG_BITS) - 1)
}

#[inline]
fn address(slot: u64) -> Address {
    slot & ((1 << ADDRESS_BITS) - 1)
}

impl KeyIndex {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn byte_len(&self) -> usize {
        self.slots.len() * 8
    }

    #[inline]
    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    #[inline]
    fn home(&self, slot: u64) -> usize {
        (slot >> ADDRESS_BITS) as usize & self.mask()
    }

    /// Asks for the first slot of a key to be in cache soon.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if !self.slots.is_empty() {
            fluvial_memory::prefetch(&self.slots[tag(hash) as usize & self.mask()]);
        }
    }

    /// The addresses at which a key with this hash may have its entry.
    #[inline]
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = Address> + '_ {
        let tag = tag(hash);
        let start = if self.slots.is_empty() { 0 } else { tag as usize & self.mask() };
        let probed = (0..self.slots.len()).map(move |step| self.slots[(start + step) & self.mask()]);
        probed.take_while(|slot| *slot != 0).filter(move |slot| slot >> ADDRESS_BITS == tag).map(address)
    }

    /// The place of a key's slot with this address.
    #[inline]
    fn find(&self, hash: u64, at: Address) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let wanted = tag(hash) << ADDRESS_BITS | at;
        let mut place = tag(hash) as usize & self.mask();
        loop {
            match self.slots[place] {
                0 => return None,
                slot if slot == wanted => return Some(place),
                _ => place = (place + 1) & self.mask(),
            }
        }
    }

    /// Whether a key has its entry there.
    #[inline]
    pub(super) fn contains(&self, hash: u64, at: Address) -> bool {
        self.find(hash, at).is_some()
    }

    /// A key's entry has moved. Says whether it was where it is said to have been.
    #[inline]
    pub(super) fn relocate(&mut self, hash: u64, from: Address, to: Address) -> bool {
        let found = self.find(hash, from);
        if let Some(place) = found {
            self.slots[place] = tag(hash) << ADDRESS_BITS | to;
        }
        found.is_some()
    }

    /// Adds a key that is not there.
    pub(super) fn insert(&mut self, hash: u64, at: Address) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.len += 1;
        self.put(tag(hash) << ADDRESS_BITS | at);
    }

    fn put(&mut self, slot: u64) {
        let mut place = self.home(slot);
        while self.slots[place] != 0 {
            place = (place + 1) & self.mask();
        }
        self.slots[place] = slot;
    }

    fn grow(&mut self) {
        let slots = vec![0; (self.slots.len() * 2).max(8)];
        let old = std::mem::replace(&mut self.slots, slots);
        old.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.put(slot));
    }

    /// Removes a key that has its entry there.
    pub(super) fn remove(&mut self, hash: u64, at: Address) -> bool {
        let Some(mut hole) = self.find(hash, at) else { return false };
        self.len -= 1;
        let mut place = hole;
        loop {
            place = (place + 1) & self.mask();
            let slot = self.slots[place];
            if slot == 0 {
                break;
            }
            let home = self.home(slot);
            // It may move if its home is not between the hole and where it is.
            if place.wrapping_sub(home) & self.mask() >= place.wrapping_sub(hole) & self.mask() {
                self.slots[hole] = slot;
                hole = place;
            }
        }
        self.slots[hole] = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::hash::hash_bytes;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Few different tags, so that keys share them.
    fn hash(key: u32) -> u64 {
        let hash = hash_bytes(&key.to_le_bytes());
        if key.is_multiple_of(3) { hash & !(0xff_fff0 << 20) } else { hash }
    }

    proptest! {
        #[test]
        fn equals_a_map(steps in proptest::collection::vec((0u8..4, 0u32..200), 0..1000)) {
            let mut index = KeyIndex::default();
            let mut model: BTreeMap<u32, Address> = BTreeMap::new();
            for (number, (what, key)) in (1u64..).zip(steps) {
                match (what, model.get(&key).copied()) {
                    (0, Some(at)) => {
                        prop_assert!(index.remove(hash(key), at));
                        model.remove(&key);
                    }
                    (0, None) => prop_assert!(!index.remove(hash(key), number)),
                    (_, Some(at)) => {
                        prop_assert!(index.relocate(hash(key), at, number));
                        model.insert(key, number);
                    }
                    (_, None) => {
                        index.insert(hash(key), number);
                        model.insert(key, number);
                    }
                }
            }
            prop_assert_eq!(index.len(), model.len());
            for key in 0..200 {
                match model.get(&key) {
                    Some(at) => {
                        prop_assert!(index.contains(hash(key), *at));
                        prop_assert!(index.candidates(hash(key)).any(|candidate| candidate == *at));
                    }
                    None => prop_assert!(!index.candidates(hash(key)).any(|at| model.iter().any(|(k, a)| *a == at && *k == key))),
                }
            }
        }
    }
}
