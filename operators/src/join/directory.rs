//! The hash directory of a partition in memory: one extent of `u64` entries with linear probing.
//!
//! ```text
//!   bit 63    62     61 ........ 48  47 ............. 0
//!   matched | list | 14 bits of salt | address + 1          0: the slot is free
//! ```
//!
//! The salt is part of the key's hash; a row is looked at only if its salt agrees, so a probe without a partner costs one
//! cache line. `list` says that the address is that of a list of rows with the same key ([`super::lists`]). `matched`
//! is the key's mark for outer, semi and anti joins. The number of slots need not be a power of two: a hash is mapped to
//! a slot by multiplication, which keeps the load where it is meant to be instead of anywhere between half and all of it.

use super::lists::Chain;
use fluvial_memory::{Address, Extent, Reservation, SEGMENT_SIZE};

const MATCHED: u64 = 1 << 63;
const LIST: u64 = 1 << 62;
const SALT_SHIFT: u32 = 48;
const SALT: u64 = 0x3FFF << SALT_SHIFT;
pub(super) const ADDRESS: u64 = (1 << SALT_SHIFT) - 1;

const SLOTS_A_SEGMENT: u64 = SEGMENT_SIZE as u64 / 8;

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    pub(crate) const FREE: Self = Self(0);

    #[inline]
    pub(crate) fn is_free(self) -> bool {
        self.0 == 0
    }

    /// Whether the key has a partner.
    pub(crate) fn matched(self) -> bool {
        self.0 & MATCHED != 0
    }

    #[inline]
    pub(crate) fn is_list(self) -> bool {
        self.0 & LIST != 0
    }

    /// Of the row, or of the list of rows.
    #[inline]
    pub(crate) fn address(self) -> Address {
        Address((self.0 & ADDRESS).wrapping_sub(1))
    }

    /// All rows of the key.
    #[inline]
    pub(crate) fn chain(self) -> Chain {
        Chain::new(self.0 & ADDRESS, self.is_list())
    }
}

#[inline]
fn salt(hash: u64) -> u64 {
    hash << SALT_SHIFT & SALT
}

/// The slot, of so many, where the search for a hash begins; its `skip` top bits say nothing.
#[inline]
pub(super) fn slot_of(hash: u64, skip: u32, slots: u64) -> usize {
    ((u128::from(hash << skip) * u128::from(slots)) >> 64) as usize
}

/// The next slot, at `slot` or after it, that is free or whose salt agrees with the hash.
#[inline]
pub(super) fn seek(entries: &[u64], hash: u64, mut slot: usize) -> (usize, Entry) {
    let salt = salt(hash);
    loop {
        let entry = entries[slot];
        if entry == 0 || entry & SALT == salt {
            return (slot, Entry(entry));
        }
        slot += 1;
        if slot == entries.len() {
            slot = 0;
        }
    }
}

pub(crate) struct Directory {
    entries: Extent,
    slots: u64,
    /// Bits at the top of the hashes that are the same for all keys of the partition.
    skip: u32,
    used: u64,
}

impl Directory {
    /// Room for `keys` keys, then at most 7/10 full, whose hashes agree in the `skip` top bits; `None` if there is no memory.
    pub(crate) fn new(reservation: &Reservation, keys: u64, skip: u32) -> Option<Self> {
        let segments = (keys * 10 / 7 + 1).div_ceil(SLOTS_A_SEGMENT) as usize;
        let mut entries = reservation.alloc_extent(segments)?;
        entries.fill(0);
        Some(Self { entries, slots: segments as u64 * SLOTS_A_SEGMENT, skip, used: 0 })
    }

    /// Whether another key would fill it too far.
    pub(crate) fn is_full(&self) -> bool {
        self.used * 10 >= self.slots * 7
    }

    pub(crate) fn keys(&self) -> u64 {
        self.used
    }

    pub(crate) fn entries(&self) -> &[u64] {
        self.entries.u64s()
    }

    #[inline]
    pub(crate) fn slot(&self, hash: u64) -> usize {
        slot_of(hash, self.skip, self.slots)
    }

    /// Brings a slot's cache line near.
    #[inline]
    pub(crate) fn prefetch(&self, slot: usize) {
        self.entries.prefetch(slot * 8);
    }

    #[inline]
    pub(crate) fn seek(&self, hash: u64, slot: usize) -> (usize, Entry) {
        seek(self.entries.u64s(), hash, slot)
    }

    #[inline]
    pub(crate) fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots as usize { 0 } else { slot + 1 }
    }

    /// Puts the first row of a key into a free slot.
    #[inline]
    pub(crate) fn occupy(&mut self, slot: usize, hash: u64, row: Address) {
        self.entries.as_u64s()[slot] = salt(hash) | (row.0 + 1);
        self.used += 1;
    }

    /// Takes over an entry of a smaller directory, whose key is not here.
    pub(crate) fn adopt(&mut self, hash: u64, entry: Entry) {
        let mut slot = self.slot(hash);
        while self.entries.u64s()[slot] != 0 {
            slot = self.after(slot);
        }
        self.entries.as_u64s()[slot] = entry.0;
        self.used += 1;
    }

    pub(crate) fn segments(&self) -> usize {
        self.entries.segments()
    }

    /// Replaces the rows of a key by a list of them.
    #[inline]
    pub(crate) fn set_list(&mut self, slot: usize, list: Address) {
        let entry = &mut self.entries.as_u64s()[slot];
        *entry = *entry & (MATCHED | SALT) | LIST | (list.0 + 1);
    }

    #[inline]
    pub(crate) fn entry(&self, slot: usize) -> Entry {
        Entry(self.entries.u64s()[slot])
    }

    /// Marks the key as matched; whether it was not before.
    #[inline]
    pub(crate) fn mark(&mut self, slot: usize) -> bool {
        let entry = &mut self.entries.as_u64s()[slot];
        let fresh = *entry & MATCHED == 0;
        *entry |= MATCHED;
        fresh
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }
}
