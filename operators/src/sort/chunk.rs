use super::key::Keys;
use super::radix::{self, Entry, prefix};
use fluvial_memory::{Address, Extent, RowPages, SEGMENT_SIZE};

/// Bytes of an entry.
const ENTRY: usize = size_of::<Entry>();

/// Entries of rows, as many as the cache holds: first in order of arrival, then sorted.
#[derive(Debug)]
pub(super) struct Chunk {
    extent: Extent,
    length: usize,
    capacity: usize,
}

impl Chunk {
    pub(super) fn new(extent: Extent) -> Self {
        let capacity = extent.segments() * SEGMENT_SIZE / ENTRY;
        Self { extent, length: 0, capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn segments(&self) -> usize {
        self.extent.segments()
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.length == self.capacity
    }

    /// Adds an entry; the chunk is not full.
    #[inline]
    pub(super) fn push(&mut self, prefix: u128, address: Address) {
        let at = 3 * self.length;
        self.extent.as_u64s()[at..at + 3].copy_from_slice(&[(prefix >> 64) as u64, prefix as u64, address.0]);
        self.length += 1;
    }

    #[inline]
    pub(super) fn entry(&self, index: usize) -> Entry {
        let words = &self.extent.u64s()[3 * index..3 * index + 3];
        [words[0], words[1], words[2]]
    }

    pub(super) fn prefix(&self, index: usize) -> u128 {
        prefix(&self.entry(index))
    }

    /// First entry whose prefix is not below `bound`; the chunk is sorted.
    pub(super) fn lower_bound(&self, bound: u128) -> usize {
        self.extent.u64s()[..3 * self.length].as_chunks::<3>().0.partition_point(|e| prefix(e) < bound)
    }

    /// Sorts by key; `scratch` is at least as long as the chunk's extent.
    pub(super) fn sort(&mut self, scratch: &mut Extent, keys: &Keys, pages: &RowPages) {
        let entries = self.extent.as_u64s()[..3 * self.length].as_chunks_mut::<3>().0;
        radix::sort(entries, scratch.as_u64s().as_chunks_mut::<3>().0);
        if keys.long {
            let key = |e: &Entry| keys.key(pages.row(Address(e[2])));
            for equal in entries.chunk_by_mut(|a, b| a[..2] == b[..2]).filter(|equal| equal.len() > 1) {
                if !equal.is_sorted_by(|a, b| key(a) <= key(b)) {
                    equal.sort_by(|a, b| key(a).cmp(key(b)));
                }
            }
        }
    }
}
