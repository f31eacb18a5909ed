//! Rows in memory, appended one after another into segments.
//!
//! A row lies in one piece and never moves, so its [`Address`] stays good until the pages are cleared. Rows of varying
//! width have their length (`u32`) in front of them; the address is that of the row. Extents grow with the pages, from
//! one segment to eight, so that small collections waste little and large ones allocate seldom; a row that is longer
//! than that gets an extent of its own.

use crate::{Address, Extent, Reservation, RowShape, SEGMENT_SIZE};

/// Segments of the largest extent that rows share.
const LARGEST: usize = 8;

/// Append-only rows within a reservation.
///
/// ```
/// use fluvial_memory::{MemoryManager, RowPages, RowShape};
/// let reservation = MemoryManager::new(1 << 20)?.reserve("join", 1)?;
/// let mut pages = RowPages::new(&reservation, RowShape::VARIABLE);
/// let address = pages.append(b"a row").expect("memory is left");
/// assert_eq!(pages.row(address), b"a row");
/// assert_eq!(pages.iter().count(), 1);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Debug)]
pub struct RowPages {
    reservation: Reservation,
    /// First byte of the arena: addresses count from there.
    base: *mut u8,
    /// Width of every row, or 0 where each has its length before it.
    width: usize,
    prefix: usize,
    pages: Vec<Page>,
    /// Which segments of the arena are in `pages`, one bit each: what makes [`RowPages::row`] safe to call with any
    /// address. A few KiB, in the cache while it is used.
    owned: Vec<u64>,
    /// Where the next row goes, and the end of the page it goes to.
    next: *mut u8,
    left: usize,
    rows: u64,
    bytes: u64,
    segments: usize,
}

#[derive(Debug)]
struct Page {
    extent: Extent,
    /// Bytes written; of the last page, what `left` does not cover.
    filled: usize,
}

// SAFETY: `base` and `next` point into the arena, which the reservation keeps; `next` into an extent that these pages own,
// only written through with `&mut self`.
unsafe impl Send for RowPages {}
// SAFETY: with `&self` the pages are only read.
unsafe impl Sync for RowPages {}

impl RowPages {
    /// Empty pages; they take nothing of the reservation until the first row.
    pub fn new(reservation: &Reservation, shape: RowShape) -> Self {
        Self {
            reservation: reservation.clone(),
            base: reservation.arena_base(),
            width: shape.row.unwrap_or(0),
            prefix: if shape.row.is_some() { 0 } else { 4 },
            pages: Vec::new(),
            owned: Vec::new(),
            next: std::ptr::null_mut(),
            left: 0,
            rows: 0,
            bytes: 0,
            segments: 0,
        }
    }

    /// Appends a row; `None` if there is no memory for it: time to spill.
    #[inline]
    pub fn append(&mut self, row: &[u8]) -> Option<Address> {
        self.append_parts(row, &[])
    }

    /// Appends a row given in two parts.
    #[inline]
    pub fn append_parts(&mut self, front: &[u8], back: &[u8]) -> Option<Address> {
        let length = front.len() + back.len();
        debug_assert!(self.prefix > 0 || length == self.width);
        let needed = self.prefix + length;
        // An empty row of no width still needs an address in an owned segment.
        if needed > self.left || self.pages.is_empty() {
            self.grow(needed)?;
        }
        // SAFETY: `next..next + left` is the unwritten rest of the last page, which this owns, and `needed <= left`.
        let row = unsafe {
            if self.prefix > 0 {
                self.next.cast::<[u8; 4]>().write((length as u32).to_le_bytes());
            }
            let row = self.next.add(self.prefix);
            std::ptr::copy_nonoverlapping(front.as_ptr(), row, front.len());
            std::ptr::copy_nonoverlapping(back.as_ptr(), row.add(front.len()), back.len());
            self.next = self.next.add(needed);
            row
        };
        self.left -= needed;
        self.rows += 1;
        self.bytes += length as u64;
        Some(Address(row as u64 - self.base as u64))
    }

    /// The row at an address that [`RowPages::append`] gave.
    ///
    /// # Panics
    /// If the address is not within these pages. Another address within them gives some bytes of theirs, or panics.
    #[inline]
    pub fn row(&self, address: Address) -> &[u8] {
        let length = self.checked_length(address);
        // SAFETY: `checked_length` made sure that all segments of the row are in `pages`, thus mapped, initialized and
        // not written while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.base.add(address.0 as usize), length) }
    }

    /// The row at an address that [`RowPages::append`] gave, to be changed in place.
    ///
    /// # Panics
    /// As [`RowPages::row`].
    #[inline]
    pub fn row_mut(&mut self, address: Address) -> &mut [u8] {
        let length = self.checked_length(address);
        // SAFETY: as in `row`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(address.0 as usize), length) }
    }

    /// As [`RowPages::row`], for loops where the check shows.
    ///
    /// # Safety
    /// [`RowPages::append`] of these pages gave the address, and they were not cleared since.
    #[inline]
    pub unsafe fn row_unchecked(&self, address: Address) -> &[u8] {
        // SAFETY: the caller's promise: a row of these pages starts here, its length before it.
        unsafe {
            let row = self.base.add(address.0 as usize);
            let length =
                if self.prefix > 0 { u32::from_le_bytes(row.sub(4).cast::<[u8; 4]>().read()) as usize } else { self.width };
            std::slice::from_raw_parts(row, length)
        }
    }

    /// As [`RowPages::row_mut`], for loops where the check shows.
    ///
    /// # Safety
    /// As [`RowPages::row_unchecked`].
    #[inline]
    pub unsafe fn row_unchecked_mut(&mut self, address: Address) -> &mut [u8] {
        // SAFETY: the caller's promise, and `&mut self` makes the access unique.
        unsafe {
            let length = self.row_unchecked(address).len();
            std::slice::from_raw_parts_mut(self.base.add(address.0 as usize), length)
        }
    }

    /// Where the row at an address lies. Whoever reads or writes there answers for the address being one of these pages,
    /// and for no reference to the row being alive.
    #[inline]
    pub fn pointer(&self, address: Address) -> *mut u8 {
        self.base.wrapping_add(address.0 as usize)
    }

    /// Asks the processor to fetch the start of a row. A hint: any address will do.
    #[inline]
    pub fn prefetch(&self, address: Address) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.base.wrapping_add(address.0 as usize).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = address;
    }

    /// All rows in the order they were appended.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.entries().map(|(_, row)| row)
    }

    /// All rows in the order they were appended, with their addresses.
    pub fn entries(&self) -> impl Iterator<Item = (Address, &[u8])> {
        let last = self.pages.len().saturating_sub(1);
        let mut left = self.rows;
        self.pages
            .iter()
            .enumerate()
            .flat_map(move |(i, page)| {
                let filled = if i == last { page.extent.len() - self.left } else { page.filled };
                Rows {
                    bytes: &page.extent[..filled],
                    start: page.extent.address().0,
                    width: self.width,
                    prefix: self.prefix,
                    at: 0,
                }
            })
            .take_while(move |_| {
                let more = left > 0;
                left = left.saturating_sub(1);
                more
            })
    }

    /// The row at the cursor, which moves on to the next; `None` after the last. A cursor starts at its default, and is
    /// good until the pages are cleared.
    #[inline]
    pub fn advance(&self, cursor: &mut RowCursor) -> Option<(Address, &[u8])> {
        if cursor.row >= self.rows {
            return None;
        }
        loop {
            let page = self.pages.get(cursor.page)?;
            let filled = if cursor.page + 1 == self.pages.len() { page.extent.len() - self.left } else { page.filled };
            let start = page.extent.address().0;
            let mut rows = Rows { bytes: &page.extent[..filled], start, width: self.width, prefix: self.prefix, at: cursor.at };
            if let Some(entry) = rows.next() {
                cursor.at = rows.at;
                cursor.row += 1;
                return Some(entry);
            }
            cursor.page += 1;
            cursor.at = 0;
        }
    }

    /// The rows from the cursor on that lie next to each other, `max` of them at the most, in one piece; the cursor moves behind
    /// them. `None` after the last. Of rows of one width that is not zero.
    pub fn advance_run(&self, cursor: &mut RowCursor, max: usize) -> Option<&[u8]> {
        debug_assert!(self.width > 0 && max > 0, "rows of no width lie nowhere");
        while cursor.row < self.rows {
            let page = self.pages.get(cursor.page)?;
            let filled = if cursor.page + 1 == self.pages.len() { page.extent.len() - self.left } else { page.filled };
            let rows = ((filled - cursor.at) / self.width).min(max);
            if rows > 0 {
                let start = cursor.at;
                cursor.at += rows * self.width;
                cursor.row += rows as u64;
                return Some(&page.extent[start..cursor.at]);
            }
            cursor.page += 1;
            cursor.at = 0;
        }
        None
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the rows, without their lengths.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Segments held.
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// Removes all rows and gives the memory back.
    pub fn clear(&mut self) {
        self.pages.clear();
        self.owned.clear();
        self.next = std::ptr::null_mut();
        (self.left, self.rows, self.bytes, self.segments) = (0, 0, 0, 0);
    }

    #[cold]
    fn grow(&mut self, needed: usize) -> Option<()> {
        let fit = needed.div_ceil(SEGMENT_SIZE).max(1);
        let wanted = fit.max((self.segments / 8).min(LARGEST));
        let extent = match self.reservation.alloc_extent(wanted) {
            None if wanted > fit => self.reservation.alloc_extent(fit)?,
            extent => extent?,
        };
        if let Some(last) = self.pages.last_mut() {
            last.filled = last.extent.len() - self.left;
        }
        let first = extent.address().segment() as usize;
        let end = first + extent.segments();
        self.owned.resize(self.owned.len().max(end.div_ceil(64)), 0);
        (first..end).for_each(|s| self.owned[s / 64] |= 1 << (s % 64));
        self.segments += extent.segments();
        (self.next, self.left) = (extent.as_ptr(), extent.len());
        self.pages.push(Page { extent, filled: 0 });
        Some(())
    }

    #[inline]
    fn owns(&self, byte: u64) -> bool {
        let segment = (byte / SEGMENT_SIZE as u64) as usize;
        self.owned.get(segment / 64).is_some_and(|word| word >> (segment % 64) & 1 == 1)
    }

    /// Length of the row at `address`, all of whose bytes lie in owned segments.
    #[inline]
    fn checked_length(&self, address: Address) -> usize {
        let outside = || -> ! { panic!("no row at {address:?} in these pages") };
        let length = if self.prefix > 0 {
            let Some(start) = address.0.checked_sub(4).filter(|&start| self.owns(start)) else { outside() };
            if !self.owns(address.0 - 1) {
                outside();
            }
            // SAFETY: the four bytes lie in one or two segments that `pages` own, which are mapped and initialized.
            let prefix = unsafe { self.base.add(start as usize).cast::<[u8; 4]>().read() };
            u32::from_le_bytes(prefix) as usize
        } else {
            self.width
        };
        if length > 0 {
            let last = address.0 + length as u64 - 1;
            let within = (address.0 / SEGMENT_SIZE as u64..=last / SEGMENT_SIZE as u64)
                .all(|segment| self.owns(segment * SEGMENT_SIZE as u64));
            if !within {
                outside();
            }
        }
        length
    }
}

/// A place among the rows of [`RowPages`], for walks that pause; the start by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowCursor {
    page: usize,
    at: usize,
    row: u64,
}

impl RowCursor {
    /// Whether no row was passed yet.
    pub fn is_start(&self) -> bool {
        self.row == 0
    }
}

/// Rows of one page.
struct Rows<'a> {
    bytes: &'a [u8],
    start: u64,
    width: usize,
    prefix: usize,
    at: usize,
}

impl<'a> Iterator for Rows<'a> {
    type Item = (Address, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let row = self.at + self.prefix;
        if row > self.bytes.len() || self.at == self.bytes.len() && (self.prefix > 0 || self.width > 0) {
            return None;
        }
        let length = match self.bytes[self.at..row].first_chunk::<4>() {
            Some(prefix) => u32::from_le_bytes(*prefix) as usize,
            None => self.width,
        };
        self.at = row + length;
        Some((Address(self.start + row as u64), self.bytes.get(row..self.at)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryManager;
    use proptest::prelude::*;

    fn reservation(segments: usize) -> Reservation {
        MemoryManager::new(segments * SEGMENT_SIZE).unwrap().reserve("test", 1).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_come_back_by_address_and_in_order(
            lengths in prop::collection::vec(prop_oneof![0usize..40, 0usize..5000, 30_000usize..300_000], 1..200),
        ) {
            let reservation = reservation(4096);
            let mut pages = RowPages::new(&reservation, RowShape::VARIABLE);
            let rows: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(i, &n)| vec![i as u8; n]).collect();
            let at: Vec<_> = rows.iter().map(|row| pages.append(row).unwrap()).collect();
            prop_assert_eq!(pages.rows(), rows.len() as u64);
            prop_assert_eq!(pages.bytes(), lengths.iter().sum::<usize>() as u64);
            prop_assert!(pages.iter().eq(rows.iter().map(Vec::as_slice)));
            prop_assert!(pages.entries().map(|(a, _)| a).eq(at.iter().copied()));
            let mut cursor = RowCursor::default();
            prop_assert!(std::iter::from_fn(|| pages.advance(&mut cursor)).eq(pages.entries()));
            for (row, &a) in rows.iter().zip(&at) {
                prop_assert_eq!(pages.row(a), row.as_slice());
                // SAFETY: `append` gave the address.
                prop_assert_eq!(unsafe { pages.row_unchecked(a) }, row.as_slice());
            }
            pages.clear();
            prop_assert_eq!(pages.iter().count(), 0);
            prop_assert_eq!(reservation.used(), 0);
        }

        #[test]
        fn fixed_rows_take_no_more_than_their_width(width in 0usize..70_000, count in 1usize..50) {
            let mut pages = RowPages::new(&reservation(8192), RowShape::fixed(width, 0));
            let rows: Vec<Vec<u8>> = (0..count).map(|i| vec![i as u8; width]).collect();
            let at: Vec<_> = rows.iter().map(|row| pages.append(row).unwrap()).collect();
            prop_assert!(pages.iter().eq(rows.iter().map(Vec::as_slice)));
            if width > 0 {
                let mut cursor = RowCursor::default();
                let runs: Vec<u8> = std::iter::from_fn(|| pages.advance_run(&mut cursor, 7)).flatten().copied().collect();
                prop_assert_eq!(runs, rows.concat());
            }
            pages.row_mut(at[0]).fill(0xFF);
            prop_assert!(pages.row(at[0]).iter().all(|&b| b == 0xFF));
            for i in 1..count {
                prop_assert_eq!(pages.row(at[i]), rows[i].as_slice());
            }
        }
    }

    #[test]
    fn refuses_when_the_budget_is_spent_and_goes_on_after_clear() {
        let mut pages = RowPages::new(&reservation(4), RowShape::fixed(8, 1016));
        while pages.append(&[1; 1024]).is_some() {}
        assert_eq!(pages.rows(), 128);
        pages.clear();
        assert!(pages.append(&[1; 1024]).is_some());
    }

    #[test]
    #[should_panic(expected = "no row at")]
    fn an_address_of_other_pages_is_refused() {
        let reservation = reservation(4);
        let mut a = RowPages::new(&reservation, RowShape::VARIABLE);
        let mut b = RowPages::new(&reservation, RowShape::VARIABLE);
        b.append(b"b").unwrap();
        let address = a.append(b"a").unwrap();
        b.row(address);
    }
}
