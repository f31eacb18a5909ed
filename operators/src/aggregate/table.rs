//! Rows of distinct keys and the directory over them.

use super::Aggregation;
use super::directory::{Directory, EMPTY, address_of, salt, salt_of};
use super::layout::{KeyKind, Layout, bury, put_state, room_for, state_of_mut};
use fluvial_memory::hash::{hash_bytes, remix};
use fluvial_memory::{Address, Reservation, Result, RowCursor, RowPages, RowShape};

/// Rows between a look-up and the prefetch of its row; twice as many for its slot. Enough loads are in flight to hide
/// the latency of memory, and few enough that what was fetched is still in the first-level cache.
pub(super) const AHEAD: usize = 12;

/// A hash table: rows in pages, found through a directory.
///
/// The states of the rows lie in the rows and are changed in place. Where states vary and one outgrows its room, the row
/// is written anew and the old one marked dead.
#[derive(Debug)]
pub(super) struct Table {
    layout: Layout,
    /// Which re-mix of the hashes the directory uses.
    level: u32,
    reservation: Reservation,
    pages: RowPages,
    directory: Directory,
    /// Segments at which it takes no new key, and whether that was why it took none.
    limit: usize,
    limited: bool,
    /// Where in a row to prefetch, besides its start.
    prefetched: usize,
    /// A row or state that is being put together.
    scratch: Vec<u8>,
}

/// Where a key is.
pub(super) enum Found {
    /// In this row, which this slot points to.
    Row(usize, Address),
    /// Nowhere; this slot would be its.
    Free(usize),
}

/// There was no memory; nothing has changed.
#[derive(Debug)]
pub(super) struct NoMemory;

/// What needs memory.
pub(super) type Room<T> = std::result::Result<T, NoMemory>;

impl Table {
    pub(super) fn new(layout: Layout, level: u32, reservation: &Reservation) -> Self {
        let stored = if layout.state.is_some() { layout.shape() } else { RowShape { key: layout.key, row: None } };
        Self {
            layout,
            level,
            reservation: reservation.clone(),
            pages: RowPages::new(reservation, stored),
            directory: Directory::new(),
            limit: usize::MAX,
            limited: false,
            prefetched: stored.row.unwrap_or(24).saturating_sub(1).min(63),
            scratch: Vec::new(),
        }
    }

    /// Where its memory is from.
    pub(super) fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Sets the segments at which new keys are refused as if there were no memory; pages may overshoot it by an extent.
    pub(super) fn set_limit(&mut self, segments: usize) {
        self.limit = segments;
    }

    /// Whether the last new key was refused by the limit, and not for lack of memory.
    pub(super) fn is_limited(&self) -> bool {
        self.limited
    }

    /// Distinct keys, or rows where they were appended without look-up.
    pub(super) fn rows(&self) -> u64 {
        if self.is_indexed() { self.directory.len() as u64 } else { self.pages.rows() }
    }

    /// Segments held.
    pub(super) fn segments(&self) -> usize {
        self.pages.segments() + self.directory.segments()
    }

    /// Whether all rows can be found. Not so after an enlargement failed, or where rows were appended without look-up.
    pub(super) fn is_indexed(&self) -> bool {
        self.directory.segments() > 0 || self.pages.rows() == 0
    }

    /// Brings the slot of a hash into the cache.
    #[inline]
    pub(super) fn prefetch_slot(&self, mixed: u64) {
        self.directory.prefetch(mixed);
    }

    /// Brings the row that the slot of a hash points to into the cache; the slot should be there.
    #[inline]
    pub(super) fn prefetch_row(&self, mixed: u64) {
        let entry = self.directory.entry(self.directory.home(mixed));
        if entry != EMPTY {
            let row = address_of(entry);
            self.pages.prefetch(row);
            // The state is often in the next line.
            self.pages.prefetch(Address(row.0 + self.prefetched as u64));
        }
    }

    /// Finds a key.
    #[inline(always)]
    pub(super) fn find<K: KeyKind>(&self, mixed: u64, key: &[u8]) -> Found {
        let salt = salt(mixed);
        let mut slot = self.directory.home(mixed);
        loop {
            let entry = self.directory.entry(slot);
            if entry == EMPTY {
                return Found::Free(slot);
            }
            if salt_of(entry) == salt {
                let address = address_of(entry);
                // SAFETY: entries are addresses that `append` of these pages gave; the two are cleared together.
                let row = unsafe { self.pages.row_unchecked(address) };
                if K::same(row, key) {
                    return Found::Row(slot, address);
                }
            }
            slot = self.directory.next(slot);
        }
    }

    /// Adds a row `[key][state]` for a key that is not there: `slot` is the free one that the search ended at.
    #[inline]
    pub(super) fn insert(&mut self, mut slot: usize, mixed: u64, row: &[u8]) -> Room<Address> {
        if self.directory.is_full() {
            slot = self.enlarge(mixed)?;
        } else if self.segments() > self.limit {
            self.limited = true;
            return Err(NoMemory);
        }
        self.limited = false;
        let address = self.append(row)?;
        self.directory.insert(slot, mixed, address);
        Ok(address)
    }

    /// Adds a row `[key][state]` without looking whether the key is there.
    #[inline]
    pub(super) fn append(&mut self, row: &[u8]) -> Room<Address> {
        if self.layout.state.is_some() {
            return self.pages.append(row).ok_or(NoMemory);
        }
        let (key, state) = row.split_at(self.layout.key_end(row));
        self.scratch.clear();
        self.scratch.extend_from_slice(&(state.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(state);
        self.pages.append_parts(key, &self.scratch).ok_or(NoMemory)
    }

    /// The state of a row, where states have one width.
    #[inline]
    pub(super) fn state_mut(&mut self, address: Address) -> &mut [u8] {
        // SAFETY: callers have the address from `find` or `insert` of this table, and it was not cleared since.
        let row = unsafe { self.pages.row_unchecked_mut(address) };
        let start = self.layout.key_end(row);
        &mut row[start..]
    }

    /// Merges a partial state into the row of its key, or makes it that row.
    #[inline(always)]
    pub(super) fn merge<K: KeyKind, A: Aggregation>(
        &mut self,
        aggregation: &A,
        mixed: u64,
        key: &[u8],
        row: &[u8],
    ) -> Result<Room<()>> {
        match self.find::<K>(mixed, key) {
            Found::Row(slot, address) => {
                let other = &row[self.layout.key_end(row)..];
                if aggregation.width().is_some() {
                    aggregation.merge(self.state_mut(address), other)?;
                    Ok(Ok(()))
                } else {
                    self.merge_varying(aggregation, slot, mixed, address, other)
                }
            }
            Found::Free(slot) => Ok(self.insert(slot, mixed, row).map(|_| ())),
        }
    }

    #[inline(never)]
    fn merge_varying<A: Aggregation>(
        &mut self,
        aggregation: &A,
        slot: usize,
        mixed: u64,
        address: Address,
        other: &[u8],
    ) -> Result<Room<()>> {
        let mut merged = std::mem::take(&mut self.scratch);
        merged.clear();
        let row = self.pages.row_mut(address);
        let end = self.layout.key_end(row);
        let state = state_of_mut(&mut row[end..]).unwrap_or_default();
        let outcome = aggregation
            .merge_into(state, other, &mut merged)
            .map(|changed| if changed { self.replace(slot, mixed, address, &merged).map(|_| ()) } else { Ok(()) });
        self.scratch = merged;
        outcome
    }

    /// Gives the row at `address` another state, where states vary. Says where the row is then.
    pub(super) fn replace(&mut self, slot: usize, mixed: u64, address: Address, state: &[u8]) -> Room<Address> {
        let row = self.pages.row_mut(address);
        let end = self.layout.key_end(row);
        if put_state(&mut row[end..], state) {
            return Ok(address);
        }
        let mut moved = Vec::with_capacity(end + 4 + room_for(state.len()));
        moved.extend_from_slice(&row[..end]);
        moved.extend_from_slice(&(state.len() as u32).to_le_bytes());
        moved.extend_from_slice(state);
        // Slack is a help, not a need.
        let bare = moved.len();
        moved.resize(end + 4 + room_for(state.len()), 0);
        let to = self.pages.append(&moved).or_else(|| self.pages.append(&moved[..bare])).ok_or(NoMemory)?;
        bury(&mut self.pages.row_mut(address)[end..]);
        self.directory.replace(slot, mixed, to);
        Ok(to)
    }

    /// The live row at the cursor, as `[key]` and `[state]` one after another, and moves on.
    #[inline]
    pub(super) fn advance(&self, cursor: &mut RowCursor) -> Option<(&[u8], &[u8])> {
        loop {
            let (_, row) = self.pages.advance(cursor)?;
            if let Some(parts) = self.layout.parts(row) {
                return Some(parts);
            }
        }
    }

    /// As [`Table::advance`], of many rows at a time: those that lie next to each other, `max` at the most. Where rows have one
    /// width.
    #[inline]
    pub(super) fn advance_run(&self, cursor: &mut RowCursor, max: usize) -> Option<&[u8]> {
        self.pages.advance_run(cursor, max)
    }

    /// Removes all rows and gives the memory back.
    pub(super) fn clear(&mut self) {
        self.pages.clear();
        self.directory = Directory::new();
    }

    /// Removes all rows and keeps the directory's memory.
    pub(super) fn clear_rows(&mut self) {
        self.pages.clear();
        self.directory.clear();
    }

    /// Doubles the directory and says where the hash, which is not in it, belongs now.
    ///
    /// It is built anew from the rows, so the old one can be given back first when both do not fit.
    #[cold]
    fn enlarge(&mut self, mixed: u64) -> Room<usize> {
        let before = self.directory.segments();
        let wanted = (before * 2).max(1);
        self.limited = self.pages.segments() + wanted > self.limit;
        if self.limited {
            return Err(NoMemory);
        }
        let larger = Directory::with_segments(&self.reservation, wanted).or_else(|| {
            self.directory = Directory::new();
            Directory::with_segments(&self.reservation, wanted)
        });
        let Some(larger) = larger else {
            if before > 0 {
                // What was given back a moment ago; if another operator was faster, the table is left without directory.
                self.directory = Directory::with_segments(&self.reservation, before).unwrap_or_else(Directory::new);
                self.index();
            }
            return Err(NoMemory);
        };
        self.directory = larger;
        self.index();
        let mut slot = self.directory.home(mixed);
        while self.directory.entry(slot) != EMPTY {
            slot = self.directory.next(slot);
        }
        Ok(slot)
    }

    /// Fills the empty directory, if it has memory.
    fn index(&mut self) {
        if self.directory.segments() > 0 {
            let (layout, level) = (self.layout, self.level);
            let (pages, directory) = (&self.pages, &mut self.directory);
            let mut batch = [(0, Address(0)); 64];
            let mut cursor = RowCursor::default();
            loop {
                let mut n = 0;
                while n < batch.len()
                    && let Some((address, row)) = pages.advance(&mut cursor)
                {
                    if layout.parts(row).is_some() {
                        let mixed = remix(hash_bytes(layout.key(row)), level);
                        directory.prefetch(mixed);
                        batch[n] = (mixed, address);
                        n += 1;
                    }
                }
                for &(mixed, address) in &batch[..n] {
                    let mut slot = directory.home(mixed);
                    while directory.entry(slot) != EMPTY {
                        slot = directory.next(slot);
                    }
                    directory.insert(slot, mixed, address);
                }
                if n < batch.len() {
                    return;
                }
            }
        }
    }

    /// The row of a key, with the state of no records if it is new; for states of one width.
    #[inline(always)]
    pub(super) fn locate<K: KeyKind, A: Aggregation>(&mut self, aggregation: &A, mixed: u64, key: &[u8]) -> Room<Address> {
        match self.find::<K>(mixed, key) {
            Found::Row(_, address) => Ok(address),
            Found::Free(slot) => self.insert_initial(aggregation, slot, mixed, key),
        }
    }

    #[inline(never)]
    fn insert_initial<A: Aggregation>(&mut self, aggregation: &A, slot: usize, mixed: u64, key: &[u8]) -> Room<Address> {
        let row = self.initial_row(aggregation, key);
        let address = self.insert(slot, mixed, &row);
        self.scratch = row;
        address
    }

    /// A new row of a key with the state of no records, without look-up; for states of one width.
    pub(super) fn append_initial<A: Aggregation>(&mut self, aggregation: &A, key: &[u8]) -> Room<Address> {
        let row = self.initial_row(aggregation, key);
        let address = self.append(&row);
        self.scratch = row;
        address
    }

    /// `[key][state of no records]`, in the scratch vector.
    fn initial_row<A: Aggregation>(&mut self, aggregation: &A, key: &[u8]) -> Vec<u8> {
        let mut row = std::mem::take(&mut self.scratch);
        row.clear();
        self.layout.put_key(key, &mut row);
        let end = row.len();
        row.resize(end + aggregation.width().unwrap_or(0), 0);
        aggregation.init(&mut row[end..]);
        row
    }

    /// Where the state of the row of this key begins; good until rows are removed.
    #[inline(always)]
    pub(super) fn state_pointer(&self, address: Address, key: &[u8]) -> *mut u8 {
        self.pages.pointer(address).wrapping_add(self.layout.front(key))
    }
}
