//! A binary buddy allocator over segment indices, lowest address first.
//!
//! Requests that are not a power of two take the next power and return the tail at once, so an extent is charged for
//! exactly what it holds.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Buddy {
    /// Free blocks by order; a block of order k is 2^k segments, aligned to its size.
    free: Vec<BTreeSet<u32>>,
}

impl Buddy {
    /// All of `segments` (a power of two) free.
    pub(crate) fn new(segments: usize) -> Self {
        let order = segments.ilog2() as usize;
        let mut free = vec![BTreeSet::new(); order + 1];
        free[order].insert(0);
        Self { free }
    }

    /// First of `count` contiguous segments.
    pub(crate) fn alloc(&mut self, count: usize) -> Option<usize> {
        let order = count.next_power_of_two().ilog2() as usize;
        let from =
            (order..self.free.len()).filter(|&o| !self.free[o].is_empty()).min_by_key(|&o| self.free[o].first().copied())?;
        let first = self.free[from].pop_first()?;
        for o in (order..from).rev() {
            self.free[o].insert(first + (1 << o));
        }
        let first = first as usize;
        self.free(first + count, (1 << order) - count);
        Some(first)
    }

    /// Returns `count` segments, merging with free neighbours.
    pub(crate) fn free(&mut self, mut first: usize, count: usize) {
        let end = first + count;
        while first < end {
            let fits = (end - first).ilog2() as usize;
            let order = if first == 0 { fits } else { fits.min(first.trailing_zeros() as usize) };
            self.free_block(first as u32, order);
            first += 1 << order;
        }
    }

    fn free_block(&mut self, mut first: u32, mut order: usize) {
        while order + 1 < self.free.len() && self.free[order].remove(&(first ^ (1 << order))) {
            first &= !(1 << order);
            order += 1;
        }
        self.free[order].insert(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Extents never overlap, and everything merges back into one block.
        #[test]
        fn extents_are_disjoint_and_merge_back(sizes in prop::collection::vec((1usize..40, any::<bool>()), 1..200)) {
            let mut buddy = Buddy::new(1024);
            let mut owner = vec![false; 1024];
            let mut held: Vec<(usize, usize)> = Vec::new();
            for (size, drop_one) in sizes {
                if drop_one && !held.is_empty() {
                    let (first, count) = held.swap_remove(size % held.len());
                    owner[first..first + count].fill(false);
                    buddy.free(first, count);
                } else if let Some(first) = buddy.alloc(size) {
                    prop_assert!(owner[first..first + size].iter().all(|o| !o));
                    owner[first..first + size].fill(true);
                    held.push((first, size));
                }
            }
            for (first, count) in held {
                buddy.free(first, count);
            }
            prop_assert_eq!(buddy.alloc(1024), Some(0));
        }
    }
}
