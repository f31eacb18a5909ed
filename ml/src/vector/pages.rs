use crate::{Error, Result};
use fluvial_core::format_bytes;
use fluvial_memory::{Extent, Reservation, SEGMENT_SIZE};

/// Dense rows of one width in managed memory, which are added and never changed.
///
/// Each page but the last has the same number of rows, a power of two: a row is found by a shift.
#[derive(Debug)]
pub(crate) struct Pages {
    width: usize,
    count: usize,
    /// Rows of a page, as the exponent of 2.
    rows: u32,
    pages: Vec<Extent>,
}

/// Bytes of a page at least, if rows are not longer.
const PAGE: usize = 4 * SEGMENT_SIZE;

impl Pages {
    /// For rows of this width, which is not 0.
    pub fn new(width: usize) -> Self {
        let rows = PAGE.div_ceil(width.max(1) * 8).next_power_of_two().ilog2();
        Self { width: width.max(1), count: 0, rows, pages: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Adds whole rows that lie one after another.
    ///
    /// # Errors
    /// The pool has no more.
    pub fn push(&mut self, mut values: &[f64], memory: &Reservation) -> Result<()> {
        let rows = 1usize << self.rows;
        while !values.is_empty() {
            let at = self.count % rows;
            if at == 0 {
                self.pages.push(self.page(memory)?);
            }
            let Some(page) = self.pages.last_mut() else { break };
            let (now, later) = values.split_at(values.len().min((rows - at) * self.width));
            page.as_f64s()[at * self.width..][..now.len()].copy_from_slice(now);
            self.count += now.len() / self.width;
            values = later;
        }
        Ok(())
    }

    fn page(&self, memory: &Reservation) -> Result<Extent> {
        let segments = (self.width << self.rows).div_ceil(SEGMENT_SIZE / 8);
        memory.alloc_extent(segments).ok_or_else(|| too_many(memory))
    }

    #[inline]
    pub fn row(&self, i: usize) -> &[f64] {
        let (page, at) = (i >> self.rows, i & ((1 << self.rows) - 1));
        &self.pages[page].f64s()[at * self.width..][..self.width]
    }

    /// The values of whole rows, page by page.
    pub fn chunks(&self) -> impl Iterator<Item = &[f64]> {
        let rows = 1 << self.rows;
        self.pages.iter().enumerate().map(move |(p, page)| &page.f64s()[..rows.min(self.count - p * rows) * self.width])
    }
}

/// That there is no room for more training data.
pub(crate) fn too_many(memory: &Reservation) -> Error {
    let [used, budget] = [memory.used(), memory.limit()].map(|segments| format_bytes((segments * SEGMENT_SIZE) as u64));
    Error::Data(format!(
        "training data do not fit: {used} of managed memory hold a part of them, and the budget of {budget} has no more; give the job more memory"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::MemoryManager;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_where_they_were_put(width in 1usize..40, pushes in prop::collection::vec(0usize..3000, 0..6)) {
            let memory = MemoryManager::new(64 << 20).unwrap().reserve("test", 0).unwrap();
            let (mut pages, mut plain) = (Pages::new(width), Vec::new());
            for count in pushes {
                let values: Vec<f64> = (0..count * width).map(|i| (plain.len() + i) as f64).collect();
                pages.push(&values, &memory).unwrap();
                plain.extend(values);
            }
            prop_assert_eq!(pages.len() * width, plain.len());
            prop_assert!(plain.chunks(width).enumerate().all(|(i, row)| pages.row(i) == row));
            prop_assert_eq!(pages.chunks().flatten().copied().collect::<Vec<_>>(), plain);
        }
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_and_what_was_taken_comes_back() {
        let memory = MemoryManager::new(1 << 20).unwrap().reserve("learn", 0).unwrap();
        let mut pages = Pages::new(10_000);
        let error = (0..).find_map(|_| pages.push(&[1.0; 10_000], &memory).err()).unwrap().to_string();
        assert!(error.contains("the budget of 1 MiB has no more"), "{error}");
        assert!(pages.len() >= 8 && pages.row(7) == [1.0; 10_000]);
        drop(pages);
        assert_eq!(memory.used(), 0);
    }
}
