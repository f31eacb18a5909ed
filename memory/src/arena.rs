//! One anonymous mapping that all segments live in.

use crate::{Error, Result, SEGMENT_SIZE};
use memmap2::{MmapMut, MmapOptions, UncheckedAdvice};

/// Where a record lies: segment index times [`SEGMENT_SIZE`] plus the offset within the segment, counted from the start
/// of the arena. It fits in 48 bits, so that a hash directory can keep a salt beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

impl Address {
    /// Index of the segment in the arena.
    pub fn segment(self) -> u32 {
        (self.0 / SEGMENT_SIZE as u64) as u32
    }

    /// Offset within the segment.
    pub fn offset(self) -> usize {
        (self.0 % SEGMENT_SIZE as u64) as usize
    }
}

#[derive(Debug)]
pub(crate) struct Arena {
    base: *mut u8,
    map: MmapMut,
}

// SAFETY: the arena itself never dereferences `base`; extents hand out disjoint parts of it, each with one owner.
unsafe impl Send for Arena {}
// SAFETY: as above; shared use of the arena only computes addresses or releases free pages under the manager's lock.
unsafe impl Sync for Arena {}

impl Arena {
    pub(crate) fn map(segments: usize) -> Result<Self> {
        let bytes = segments * SEGMENT_SIZE;
        let mut map =
            MmapOptions::new().len(bytes).no_reserve_swap().map_anon().map_err(|source| Error::Map { bytes, source })?;
        Ok(Self { base: map.as_mut_ptr(), map })
    }

    /// First byte of a segment.
    pub(crate) fn pointer(&self, segment: u32) -> *mut u8 {
        // SAFETY: the buddy allocator only knows segments below the mapping's length.
        unsafe { self.base.add(segment as usize * SEGMENT_SIZE) }
    }

    /// First byte of the arena.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Makes the pages of segments that are about to be written present, all at once: one call instead of a fault for every
    /// 4 KiB. The segments count as resident already.
    pub(crate) fn populate(&self, first: usize, count: usize) {
        #[cfg(target_os = "linux")]
        // Kernels before 5.14 do not know it, and then the pages come one by one.
        let _ = self.map.advise_range(memmap2::Advice::PopulateWrite, first * SEGMENT_SIZE, count * SEGMENT_SIZE);
        #[cfg(not(target_os = "linux"))]
        let _ = (first, count);
    }

    /// Gives the pages of free segments back to the system.
    pub(crate) fn release(&self, first: usize, count: usize) {
        // SAFETY: the segments are free (the manager's lock is held), so nobody relies on their contents.
        let done =
            unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, first * SEGMENT_SIZE, count * SEGMENT_SIZE) };
        if let Err(error) = done {
            tracing::warn!(%error, "pages could not be given back");
        }
    }
}
