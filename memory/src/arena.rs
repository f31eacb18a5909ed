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

/// Segments in a huge page of 2 MiB.
pub(crate) const HUGE: usize = (2 << 20) / SEGMENT_SIZE;

/// The mapping. Its first segments may be backed by huge pages: rows are read in random order by sorts, joins and
/// aggregations, and with pages of 4 KiB the address translation alone costs more than the read.
#[derive(Debug)]
pub(crate) struct Arena {
    base: *mut u8,
    /// Bytes of the mapping before `base`, which is aligned to a huge page.
    skip: usize,
    /// Segments, from the first, that a huge page may back.
    huge: usize,
    map: MmapMut,
}

// SAFETY: the arena itself never dereferences `base`; extents hand out disjoint parts of it, each with one owner.
unsafe impl Send for Arena {}
// SAFETY: as above; shared use of the arena only computes addresses or releases free pages under the manager's lock.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `segments`, of which the first `huge` may be backed by huge pages.
    pub(crate) fn map(segments: usize, huge: usize) -> Result<Self> {
        let alignment = HUGE * SEGMENT_SIZE;
        let bytes = segments * SEGMENT_SIZE + alignment;
        let mut map =
            MmapOptions::new().len(bytes).no_reserve_swap().map_anon().map_err(|source| Error::Map { bytes, source })?;
        let skip = map.as_ptr().align_offset(alignment);
        let base = map[skip..].as_mut_ptr();
        let huge = if advise_huge(&map, skip, huge / HUGE * alignment) { huge / HUGE * HUGE } else { 0 };
        Ok(Self { base, skip, huge, map })
    }

    /// Segments, from the first, that come into memory by the huge page.
    pub(crate) fn huge(&self) -> usize {
        self.huge
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
        let _ = self.map.advise_range(memmap2::Advice::PopulateWrite, self.skip + first * SEGMENT_SIZE, count * SEGMENT_SIZE);
        #[cfg(not(target_os = "linux"))]
        let _ = (first, count);
    }

    /// Gives the pages of free segments back to the system.
    pub(crate) fn release(&self, first: usize, count: usize) {
        // SAFETY: the segments are free (the manager's lock is held), so nobody relies on their contents.
        let done = unsafe {
            self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, self.skip + first * SEGMENT_SIZE, count * SEGMENT_SIZE)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "pages could not be given back");
        }
    }
}

#[cfg(target_os = "linux")]
fn advise_huge(map: &MmapMut, offset: usize, length: usize) -> bool {
    length > 0 && map.advise_range(memmap2::Advice::HugePage, offset, length).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn advise_huge(_map: &MmapMut, _offset: usize, _length: usize) -> bool {
    false
}
