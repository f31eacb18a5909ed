//! Merging rows of short keys and states in the cache, though their groups do not fit there.

use super::Aggregation;
use super::layout::Layout;
use super::passed::Passed;
use fluvial_memory::hash::{hash_word, remix};
use fluvial_memory::{Extent, KeyWidth, Reservation, Result, RowBatch, SEGMENT_SIZE};

/// log2 of the number of partitions: of a table of 64 MiB each is what a second-level cache holds.
const BITS: u32 = 6;
const PARTITIONS: usize = 1 << BITS;
/// Most segments of rows that wait, and parts of the budget.
const MOST_WAITING: usize = 1024;
const BUDGET: usize = 16;
/// Widths of states.
const STATES: std::ops::RangeInclusive<usize> = 1..=24;
/// Rows of a table for each row merged into it above which it was of no use.
const USELESS: f64 = 0.75;
/// Marks a free slot. A row of this key is not for these tables.
const FREE: u64 = u64::MAX;

/// Rows of keys of 8 bytes and short states, by partition of their re-mixed hashes. A row is written to the end of those that
/// wait in its partition; when they are many, those of one partition are merged, one after the other, into the partition's
/// table, which is in the cache meanwhile. So a row costs two sequential accesses to memory instead of two random ones.
///
/// The tables are open-addressed arrays of rows, `[key][state]`, at most three quarters full. One that cannot grow is emptied
/// into the output.
///
/// Invariant: all memory is the reservation's, and where there is none, rows pass through.
pub(super) struct Staged {
    reservation: Reservation,
    width: usize,
    partitions: Vec<Partition>,
    /// Segments of rows that wait, and how many there may be.
    waiting: usize,
    most_waiting: usize,
    /// Segments of the tables, and how many one may have.
    most_table: usize,
    /// Rows merged since the tables were last all empty.
    merged: u64,
    /// A table was emptied that had merged hardly anything.
    useless: bool,
}

#[derive(Default)]
struct Partition {
    /// Extents of rows that wait; all but the last are full.
    full: Vec<Extent>,
    open: Option<Extent>,
    /// Bytes of rows in the last one.
    filled: usize,
    table: Table,
}

#[derive(Default)]
struct Table {
    extent: Option<Extent>,
    /// Slots less one.
    mask: usize,
    rows: usize,
    /// Rows merged since it was last empty.
    merged: u64,
}

/// How far the tables have been emptied.
#[derive(Default)]
pub(super) struct StagedCursor {
    partition: usize,
    slot: usize,
}

#[inline(always)]
fn key(row: &[u8]) -> u64 {
    row.first_chunk().map_or(FREE, |word| u64::from_le_bytes(*word))
}

impl Staged {
    /// Whether rows are such, and the budget is enough.
    pub(super) fn suits(layout: Layout, reservation: &Reservation) -> bool {
        layout.key == KeyWidth::Fixed(8)
            && layout.state.is_some_and(|state| STATES.contains(&state))
            && Self::most_waiting(reservation) >= 2 * PARTITIONS
    }

    fn most_waiting(reservation: &Reservation) -> usize {
        (reservation.limit() / BUDGET).min(MOST_WAITING)
    }

    /// `table` are the segments that all tables together may have.
    pub(super) fn new(layout: Layout, reservation: &Reservation, table: usize) -> Self {
        Self {
            reservation: reservation.clone(),
            width: layout.row_width().unwrap_or(8),
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            waiting: 0,
            most_waiting: Self::most_waiting(reservation),
            most_table: (table / PARTITIONS).max(1).next_power_of_two(),
            merged: 0,
            useless: false,
        }
    }

    /// Room for a row with this re-mixed hash, if there is some at hand. What is written there counts.
    #[inline]
    pub(super) fn place(&mut self, mixed: u64) -> Option<&mut [u8]> {
        let partition = &mut self.partitions[(mixed >> (64 - BITS)) as usize];
        let start = partition.filled;
        let row = partition.open.as_deref_mut()?.get_mut(start..start + self.width)?;
        partition.filled += self.width;
        Some(row)
    }

    /// Makes room for a row with this re-mixed hash, if there is memory.
    pub(super) fn make_room<A: Aggregation>(&mut self, aggregation: &A, mixed: u64, passed: &mut Passed) -> Result<()> {
        let at = (mixed >> (64 - BITS)) as usize;
        let partition = &mut self.partitions[at];
        if partition.open.as_ref().is_some_and(|open| partition.filled + self.width <= open.len()) {
            return Ok(());
        }
        partition.full.extend(partition.open.take());
        loop {
            if self.waiting < self.most_waiting
                && self.reservation.pressure() == 0
                && let Some(extent) = self.reservation.alloc()
            {
                self.waiting += 1;
                (self.partitions[at].open, self.partitions[at].filled) = (Some(extent), 0);
                return Ok(());
            }
            let waiting = |at: &usize| self.partitions[*at].full.len();
            match (0..PARTITIONS).max_by_key(waiting).filter(|at| waiting(at) > 0) {
                Some(most) => self.absorb(aggregation, most, passed)?,
                None if self.waiting > 0 => self.absorb_all(aggregation, passed)?,
                None => return Ok(()),
            }
        }
    }

    /// Merges the rows that wait in all partitions.
    pub(super) fn absorb_all<A: Aggregation>(&mut self, aggregation: &A, passed: &mut Passed) -> Result<()> {
        (0..PARTITIONS).try_for_each(|at| self.absorb(aggregation, at, passed))
    }

    /// Merges the rows that wait in a partition into its table.
    fn absorb<A: Aggregation>(&mut self, aggregation: &A, at: usize, passed: &mut Passed) -> Result<()> {
        let partition = &mut self.partitions[at];
        let open = partition.open.take().map(|extent| (extent, std::mem::take(&mut partition.filled)));
        let whole = SEGMENT_SIZE / self.width * self.width;
        let full = std::mem::take(&mut partition.full).into_iter().map(|extent| (extent, whole));
        for (extent, filled) in full.chain(open) {
            self.waiting -= 1;
            self.merged += (filled / self.width) as u64;
            let mut rows = &extent[..filled];
            while let Some(left) = self.partitions[at].table.merge(aggregation, self.width, rows)? {
                rows = left;
                self.enlarge(at, passed);
                if self.partitions[at].table.extent.is_none() {
                    rows.chunks_exact(self.width).for_each(|row| passed.push(row, hash_word(key(row).to_le_bytes())));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives a table that is full a larger one, or empties it.
    fn enlarge(&mut self, at: usize, passed: &mut Passed) {
        let width = self.width;
        let table = &mut self.partitions[at].table;
        let wanted = table.extent.as_ref().map_or(1, |extent| 2 * extent.segments());
        let larger = (wanted <= self.most_table).then(|| self.reservation.alloc_extent(wanted)).flatten();
        let Some(mut larger) = larger else {
            self.useless |= table.rows as f64 > USELESS * table.merged as f64 && table.rows > 0;
            if let Some(extent) = &mut table.extent {
                for slot in extent.chunks_exact(width).filter(|slot| key(slot) != FREE) {
                    passed.push(slot, hash_word(key(slot).to_le_bytes()));
                }
                extent.fill(0xFF);
            }
            (table.rows, table.merged) = (0, 0);
            return;
        };
        larger.fill(0xFF);
        let slots = 1 << (larger.len() / width).ilog2();
        let old = table.extent.replace(larger);
        table.mask = slots - 1;
        if let (Some(old), Some(extent)) = (old, &mut table.extent) {
            for row in old.chunks_exact(width).filter(|row| key(row) != FREE) {
                let mut slot = remix(hash_word(key(row).to_le_bytes()), 0) as usize & table.mask;
                while key(&extent[slot * width..]) != FREE {
                    slot = (slot + 1) & table.mask;
                }
                extent[slot * width..(slot + 1) * width].copy_from_slice(row);
            }
        }
    }

    /// Whether a table has been emptied that had merged hardly anything.
    pub(super) fn is_useless(&self) -> bool {
        self.useless
    }

    /// Rows merged since all tables were empty.
    pub(super) fn merged(&self) -> u64 {
        self.merged
    }

    /// Whether the tables are much larger than what they were used for, or others would like their memory.
    pub(super) fn is_oversized(&self) -> bool {
        let slots: usize = self.partitions.iter().filter(|p| p.table.extent.is_some()).map(|p| p.table.mask + 1).sum();
        self.merged < slots as u64 / 4 || self.reservation.pressure() > 0
    }

    /// Appends rows of the tables to `out` until it has `max_rows` of them (false) or all tables are empty.
    pub(super) fn empty_into(&mut self, cursor: &mut StagedCursor, out: &mut RowBatch, max_rows: usize) -> bool {
        let width = self.width;
        while let Some(Partition { table, .. }) = self.partitions.get_mut(cursor.partition) {
            if let Some(extent) = &mut table.extent {
                while cursor.slot <= table.mask {
                    if out.len() >= max_rows {
                        return false;
                    }
                    let slot = &extent[cursor.slot * width..(cursor.slot + 1) * width];
                    if key(slot) != FREE {
                        out.push_row(slot);
                    }
                    cursor.slot += 1;
                }
                extent.fill(0xFF);
            }
            (table.rows, table.merged) = (0, 0);
            *cursor = StagedCursor { partition: cursor.partition + 1, slot: 0 };
        }
        true
    }

    /// All tables are empty, and are to be used again.
    pub(super) fn begin_again(&mut self) {
        (self.merged, self.useless) = (0, false);
    }
}

impl Table {
    /// Merges rows; gives those that are left when the table is full.
    #[inline]
    fn merge<'a, A: Aggregation>(&mut self, aggregation: &A, width: usize, rows: &'a [u8]) -> Result<Option<&'a [u8]>> {
        let Some(extent) = &mut self.extent else { return Ok((!rows.is_empty()).then_some(rows)) };
        let (slots, mask) = (&mut extent[..(self.mask + 1) * width], self.mask);
        let limit = mask / 4 * 3;
        for (i, row) in rows.chunks_exact(width).enumerate() {
            let word = key(row);
            let mut at = remix(hash_word(word.to_le_bytes()), 0) as usize & mask;
            loop {
                let slot = &mut slots[at * width..(at + 1) * width];
                let found = key(slot);
                if found == word {
                    aggregation.merge(&mut slot[8..], &row[8..])?;
                    break;
                }
                if found == FREE {
                    if self.rows >= limit {
                        self.merged += i as u64;
                        return Ok(Some(&rows[i * width..]));
                    }
                    slot.copy_from_slice(row);
                    self.rows += 1;
                    break;
                }
                at = (at + 1) & mask;
            }
        }
        self.merged += (rows.len() / width) as u64;
        Ok(None)
    }
}
