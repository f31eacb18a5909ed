//! The rows of one partition in memory, and the directory over them.

use super::directory::{self, Directory, Entry};
use super::env::{Merge, Stored};
use super::lists::{Chain, Lists};
use fluvial_memory::{Address, Reservation, RowCursor, RowPages, hash, prefetch, same_key};

/// Rows whose directory slots are fetched ahead of their insertion.
const AHEAD: usize = 64;

/// One partition in memory. Rows are appended; then [`Table::index`] makes them findable. A growing table
/// ([`Table::insert_growing`]) is findable all the time.
pub(crate) struct Table {
    pages: RowPages,
    lists: Lists,
    directory: Option<Directory>,
    stored: Stored,
    level: u32,
    /// Bits at the top of the mixed hashes that all its keys have in common.
    skip: u32,
}

impl Table {
    pub(crate) fn new(reservation: &Reservation, stored: Stored, level: u32, skip: u32) -> Self {
        let (pages, lists) = (RowPages::new(reservation, stored.shape()), Lists::new(reservation));
        Self { pages, lists, directory: None, stored, level, skip }
    }

    pub(crate) fn pages(&self) -> &RowPages {
        &self.pages
    }

    /// Segments held.
    pub(crate) fn segments(&self) -> usize {
        self.pages.segments() + self.lists.segments() + self.directory.as_ref().map_or(0, |d| d.segments())
    }

    #[inline]
    pub(crate) fn append(&mut self, row: &[u8]) -> Option<Address> {
        self.pages.append(row)
    }

    /// A row of this table.
    #[inline]
    pub(crate) fn row(&self, address: Address) -> &[u8] {
        // SAFETY: addresses of rows are only taken from `pages.append` and `pages.step`, are kept in this table's own
        // directory and lists (and in candidates found there, which do not outlive a change of the table), and the
        // directory and lists are cleared with the pages.
        unsafe { self.pages.row_unchecked(address) }
    }

    /// Whether the row at an address, that [`Table::append`] gave, has this key.
    pub(crate) fn has_key(&self, address: Address, key: &[u8]) -> bool {
        same_key(self.stored.key(self.row(address)), key)
    }

    /// Counts a further row like the one at an address.
    pub(crate) fn count_another(&mut self, address: Address, count: u64) {
        self.stored.add_count(self.pages.row_mut(address), count);
    }

    /// Builds the directory over all rows; `None` if there is no memory for it, and then there is none.
    pub(crate) fn index(&mut self, reservation: &Reservation, merge: Merge) -> Option<()> {
        self.directory = Some(Directory::new(reservation, self.pages.rows(), self.skip)?);
        let done = self.insert_all(merge);
        if done.is_none() {
            self.drop_index();
        }
        done
    }

    pub(crate) fn drop_index(&mut self) {
        self.directory = None;
        self.lists.clear();
    }

    fn insert_all(&mut self, merge: Merge) -> Option<()> {
        let mut cursor = RowCursor::default();
        let mut ahead = [(0u64, Address(0)); AHEAD];
        loop {
            let mut count = 0;
            while count < AHEAD
                && let Some((address, row)) = self.pages.advance(&mut cursor)
            {
                let mixed = hash::remix(hash::hash_bytes(self.stored.key(row)), self.level);
                ahead[count] = (mixed, address);
                count += 1;
                if let Some(directory) = &self.directory {
                    directory.prefetch(directory.slot(mixed));
                }
            }
            if count == 0 {
                return Some(());
            }
            for &(mixed, address) in &ahead[..count] {
                self.insert(mixed, address, merge)?;
            }
        }
    }

    /// Enters a row of `pages` in the directory.
    fn insert(&mut self, mixed: u64, address: Address, merge: Merge) -> Option<()> {
        let directory = self.directory.as_ref()?;
        let (slot, entry) =
            self.find(directory, mixed, directory.slot(mixed), |key| same_key(key, self.stored.key(self.row(address))));
        let directory = self.directory.as_mut()?;
        if entry.is_free() {
            directory.occupy(slot, mixed, address);
            return Some(());
        }
        match merge {
            Merge::Drop => {}
            Merge::Count => {
                let more = self.stored.count(self.pages.row(address));
                self.stored.add_count(self.pages.row_mut(entry.address()), more);
            }
            Merge::List => {
                let here = entry.address();
                let list = if entry.is_list() { self.lists.push(here, address)? } else { self.lists.pair(here, address)? };
                if !entry.is_list() || list != here {
                    directory.set_list(slot, list);
                }
            }
        }
        Some(())
    }

    /// Appends a row and enters it in a directory that grows with the rows; `None`, and nothing changed that shows, if
    /// there is no memory.
    pub(crate) fn insert_growing(&mut self, reservation: &Reservation, row: &[u8], merge: Merge) -> Option<()> {
        match &self.directory {
            None => self.directory = Some(Directory::new(reservation, 1, self.skip)?),
            Some(directory) if directory.is_full() => {
                let mut larger = Directory::new(reservation, directory.keys() * 2, self.skip)?;
                for slot in 0..directory.slots() {
                    let entry = directory.entry(slot);
                    if !entry.is_free() {
                        let key = self.stored.key(self.row(self.head(entry)));
                        larger.adopt(hash::remix(hash::hash_bytes(key), self.level), entry);
                    }
                }
                self.directory = Some(larger);
            }
            Some(_) => {}
        }
        let mixed = hash::remix(hash::hash_bytes(self.stored.key(row)), self.level);
        if merge != Merge::List {
            // Most further rows of a key need no memory; only those that found their key may be merged without a copy.
            let directory = self.directory.as_ref()?;
            let key = self.stored.key(row);
            let (_, entry) = self.find(directory, mixed, directory.slot(mixed), |other| same_key(other, key));
            if !entry.is_free() {
                if merge == Merge::Count {
                    self.stored.add_count(self.pages.row_mut(entry.address()), self.stored.count(row));
                }
                return Some(());
            }
        }
        // The row stays in the pages if its list cannot grow: the directory does not know it, so it is not seen.
        let address = self.pages.append(row)?;
        self.insert(mixed, address, merge)
    }

    /// The slot with an equal key, or the free one where it would go.
    #[inline]
    fn find(&self, directory: &Directory, mixed: u64, mut slot: usize, equal: impl Fn(&[u8]) -> bool) -> (usize, Entry) {
        loop {
            let (at, entry) = directory.seek(mixed, slot);
            if entry.is_free() || equal(self.stored.key(self.row(self.head(entry)))) {
                return (at, entry);
            }
            slot = directory.after(at);
        }
    }

    /// Any one row of an entry's key.
    #[inline]
    fn head(&self, entry: Entry) -> Address {
        if entry.is_list() { self.lists.first(entry.address()) } else { entry.address() }
    }

    /// What a probe looks at.
    pub(crate) fn view(&self) -> View<'_> {
        let entries = self.directory.as_ref().map_or(&[0][..], Directory::entries);
        View { entries, skip: self.skip, table: Some(self) }
    }

    /// Marks a key as matched; whether it was not before.
    #[inline]
    pub(crate) fn mark(&mut self, slot: usize) -> bool {
        self.directory.as_mut().is_some_and(|directory| directory.mark(slot))
    }

    /// The next row of a chain.
    #[inline]
    pub(crate) fn next_of(&self, chain: &mut Chain) -> Option<&[u8]> {
        chain.next(&self.lists).map(|address| self.row(address))
    }

    /// As [`Table::next_of`], where the row lies.
    #[inline]
    pub(crate) fn next_address(&self, chain: &mut Chain) -> Option<Address> {
        chain.next(&self.lists)
    }

    /// The row at an address found in this table or in another one of the same [`Tables`](super::tables::Tables): they
    /// have one arena, and rows of one shape.
    #[inline]
    pub(crate) fn row_of_any(&self, address: Address) -> &[u8] {
        self.row(address)
    }

    /// The rows of the next key at or after `slot` that is not marked; `slot` goes past it.
    pub(crate) fn next_unmatched(&self, slot: &mut usize) -> Option<Chain> {
        let directory = self.directory.as_ref()?;
        while *slot < directory.slots() {
            let entry = directory.entry(*slot);
            *slot += 1;
            let later = *slot + AHEAD / 4;
            if later < directory.slots() && !directory.entry(later).is_free() {
                self.pages.prefetch(directory.entry(later).address());
            }
            if !entry.is_free() && !entry.matched() {
                return Some(entry.chain());
            }
        }
        None
    }

    /// Forgets all rows and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.drop_index();
        self.pages.clear();
    }
}

/// A table as a probe sees it: what is needed in its inner loops, near at hand.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// Of the directory; one free entry where there is none.
    entries: &'a [u64],
    skip: u32,
    table: Option<&'a Table>,
}

impl<'a> View<'a> {
    /// Of a partition without rows in memory.
    pub(crate) const EMPTY: Self = Self { entries: &[0], skip: 0, table: None };

    /// First step of a probe: the slot to look at; its cache line is on its way.
    #[inline]
    pub(crate) fn slot(&self, mixed: u64) -> usize {
        let slot = directory::slot_of(mixed, self.skip, self.entries.len() as u64);
        prefetch(&self.entries[slot]);
        slot
    }

    /// Second step: the first entry with the right salt.
    #[inline]
    pub(crate) fn entry(&self, mixed: u64, slot: usize) -> (usize, Entry) {
        directory::seek(self.entries, mixed, slot)
    }

    /// Third step: the entry of the key, or a free one, from the entry that the second step found.
    #[inline]
    pub(crate) fn key(&self, mixed: u64, slot: usize, entry: Entry, key: &[u8]) -> (usize, Entry) {
        let Some(table) = self.table else { return (slot, Entry::FREE) };
        let (mut slot, mut entry) = (slot, entry);
        while !entry.is_free() && !same_key(table.stored.key(table.row(table.head(entry))), key) {
            let next = if slot + 1 == self.entries.len() { 0 } else { slot + 1 };
            (slot, entry) = self.entry(mixed, next);
        }
        (slot, entry)
    }

    /// Of an entry that is a list: a row of it.
    #[inline]
    pub(crate) fn first_of(&self, list: Entry) -> Option<Address> {
        self.table.map(|table| table.lists.first(list.address()))
    }
}
