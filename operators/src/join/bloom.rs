//! A register-blocked Bloom filter over the keys of a spilled build partition: a probe row whose key it does not know is
//! never written.
//!
//! Each key sets four bits of one 64-bit word, so a test costs one memory access (Putze, Sanders, Singler: *Cache-,
//! Hash- and Space-Efficient Bloom Filters*, 2007). Its size is fixed when the partition spills; a filter that has
//! more keys than bits can tell apart passes nearly everything, and one that passes nearly everything is dropped.

use fluvial_memory::{Extent, Reservation};

/// Tests after which a filter is judged.
const TRIAL: u64 = 32 * 1024;

pub(crate) struct Bloom {
    words: Extent,
    slots: u64,
    tested: u64,
    rejected: u64,
}

impl Bloom {
    /// A filter of `segments` segments, if there is memory for it.
    pub(crate) fn new(reservation: &Reservation, segments: usize) -> Option<Self> {
        if segments == 0 {
            return None;
        }
        let mut words = reservation.alloc_extent(segments)?;
        words.fill(0);
        let slots = words.u64s().len() as u64;
        Some(Self { words, slots, tested: 0, rejected: 0 })
    }

    fn place(&self, hash: u64) -> (usize, u64) {
        // The partition is the hash's top bits, equal for all keys here: mix again before taking the word.
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let slot = ((u128::from(mixed) * u128::from(self.slots)) >> 64) as usize;
        let mask = 1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63) | 1 << (hash >> 18 & 63);
        (slot, mask)
    }

    #[inline]
    pub(crate) fn insert(&mut self, hash: u64) {
        let (slot, mask) = self.place(hash);
        self.words.as_u64s()[slot] |= mask;
    }

    /// Whether the key may be among those inserted.
    #[inline]
    pub(crate) fn contains(&mut self, hash: u64) -> bool {
        let (slot, mask) = self.place(hash);
        let known = self.words.u64s()[slot] & mask == mask;
        self.tested += 1;
        self.rejected += u64::from(!known);
        known
    }

    /// Rows that it rejected.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Whether it rejects too few rows to be worth a test: fewer than one in sixteen.
    pub(crate) fn useless(&self) -> bool {
        self.tested == TRIAL && self.rejected < TRIAL / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::{MemoryManager, hash};

    #[test]
    fn knows_all_its_keys_and_rejects_most_others() {
        let manager = MemoryManager::new(1 << 20).unwrap();
        let reservation = manager.reserve("test", 4).unwrap();
        let mut bloom = Bloom::new(&reservation, 2).unwrap();
        let keys = 64 * 1024; // 8 bits a key
        let hash = |key: u64| hash::remix(key, 0);
        (0..keys).for_each(|key| bloom.insert(hash(key)));
        assert!((0..keys).all(|key| bloom.contains(hash(key))));
        let passed = (keys..2 * keys).filter(|&key| bloom.contains(hash(key))).count();
        assert!(passed < 6000, "{passed} of {keys} unknown keys passed");
    }
}
