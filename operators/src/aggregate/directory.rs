//! The open-addressing index over a table's rows.

use fluvial_memory::{Address, Extent, Reservation, SEGMENT_SIZE};

/// A free slot. No entry looks like it: addresses stay far below 2^48 - 1.
pub(super) const EMPTY: u64 = u64::MAX;

/// Low bits of an entry: where the row lies.
const ADDRESS: u64 = (1 << 48) - 1;

/// What a directory without memory points to: one free slot that is never written.
static NOTHING: u64 = EMPTY;

/// A power-of-two extent of `u64` entries, each 16 bits of the hash (the salt) and 48 bits of row address, probed
/// linearly (the layout of DuckDB's aggregate hash table). A salt that differs spares the look at the row.
///
/// Of the re-mixed hash the low 32 bits choose the slot, the next 16 are the salt, the top 16 are left to whoever
/// divides rows into partitions.
#[derive(Debug)]
pub(super) struct Directory {
    pointer: *mut u64,
    mask: usize,
    len: usize,
    /// Entries at which it must grow.
    limit: usize,
    extent: Option<Extent>,
}

// SAFETY: `pointer` is either the extent's, which the directory owns, or the static, which is never written.
unsafe impl Send for Directory {}

impl Directory {
    /// A directory without memory; every look-up finds a free slot that cannot be filled.
    pub(super) fn new() -> Self {
        Self { pointer: (&raw const NOTHING).cast_mut(), mask: 0, len: 0, limit: 0, extent: None }
    }

    /// An empty directory of `segments` (a power of two), or `None` if there is no memory.
    pub(super) fn with_segments(reservation: &Reservation, segments: usize) -> Option<Self> {
        debug_assert!(segments.is_power_of_two());
        let mut extent = reservation.alloc_extent(segments)?;
        extent.as_u64s().fill(EMPTY);
        let slots = segments * SEGMENT_SIZE / 8;
        Some(Self { pointer: extent.as_ptr().cast(), mask: slots - 1, len: 0, limit: slots / 16 * 11, extent: Some(extent) })
    }

    /// Segments it holds.
    pub(super) fn segments(&self) -> usize {
        self.extent.as_ref().map_or(0, Extent::segments)
    }

    /// Whether the next insertion needs a larger directory first.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// Entries in it.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot where a search begins.
    #[inline]
    pub(super) fn home(&self, mixed: u64) -> usize {
        mixed as u32 as usize & self.mask
    }

    /// The slot after `slot`.
    #[inline]
    pub(super) fn next(&self, slot: usize) -> usize {
        (slot + 1) & self.mask
    }

    /// The entry in a slot that `home` or `next` gave.
    #[inline]
    pub(super) fn entry(&self, slot: usize) -> u64 {
        debug_assert!(slot <= self.mask);
        // SAFETY: slots come masked from `home` and `next`, and the extent (or the static) has `mask + 1` of them.
        unsafe { *self.pointer.add(slot & self.mask) }
    }

    /// Fills a free slot. The caller has seen that the directory is not full.
    #[inline]
    pub(super) fn insert(&mut self, slot: usize, mixed: u64, address: Address) {
        debug_assert!(!self.is_full() && self.entry(slot) == EMPTY);
        self.len += 1;
        self.replace(slot, mixed, address);
    }

    /// Points an entry to another row.
    #[inline]
    pub(super) fn replace(&mut self, slot: usize, mixed: u64, address: Address) {
        assert!(self.limit > 0, "a directory without memory has no slot to fill");
        // SAFETY: as in `entry`; the limit is above zero, so the slots are the extent's, which `self` owns.
        unsafe { *self.pointer.add(slot & self.mask) = salt(mixed) | address.0 }
    }

    /// Brings the slot of a hash into the cache.
    #[inline]
    pub(super) fn prefetch(&self, mixed: u64) {
        prefetch(self.pointer.wrapping_add(self.home(mixed)).cast());
    }

    /// Empties it and keeps the memory.
    pub(super) fn clear(&mut self) {
        if let Some(extent) = &mut self.extent {
            extent.as_u64s().fill(EMPTY);
        }
        self.len = 0;
    }
}

/// The salt of a hash, in the place it has in an entry.
#[inline]
pub(super) fn salt(mixed: u64) -> u64 {
    (mixed << 16) & !ADDRESS
}

/// The salt of an entry.
#[inline]
pub(super) fn salt_of(entry: u64) -> u64 {
    entry & !ADDRESS
}

/// The row of an entry.
#[inline]
pub(super) fn address_of(entry: u64) -> Address {
    Address(entry & ADDRESS)
}

/// Asks for a cache line ahead of its use; any address will do.
#[inline]
pub(super) fn prefetch(pointer: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}
