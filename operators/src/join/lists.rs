//! Rows with the same key: lists of addresses, three to a node.
//!
//! A key with one row costs nothing here, its directory entry is the row's address; so the common join to a unique key
//! pays for no chain pointer in front of every row. Further rows of a key go into nodes of four words,
//! `count << 48 | address of the next node + 1`, then up to three row addresses; the newest node comes first.

use super::directory::ADDRESS;
use fluvial_memory::{Address, Reservation, RowPages, RowShape};

const WORDS: usize = 4;
const ROWS: u64 = WORDS as u64 - 1;

pub(crate) struct Lists {
    nodes: RowPages,
}

impl Lists {
    pub(crate) fn new(reservation: &Reservation) -> Self {
        Self { nodes: RowPages::new(reservation, RowShape::fixed(0, WORDS * 8)) }
    }

    #[inline]
    fn word(&self, node: Address, index: usize) -> u64 {
        let bytes = &self.nodes.row(node)[index * 8..index * 8 + 8];
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    fn set_word(&mut self, node: Address, index: usize, word: u64) {
        self.nodes.row_mut(node)[index * 8..index * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn node(&mut self, next: u64, rows: &[Address]) -> Option<Address> {
        let mut bytes = [0; WORDS * 8];
        bytes[..8].copy_from_slice(&((rows.len() as u64) << 48 | next).to_le_bytes());
        for (word, row) in bytes[8..].chunks_exact_mut(8).zip(rows) {
            word.copy_from_slice(&row.0.to_le_bytes());
        }
        self.nodes.append(&bytes)
    }

    /// A list of two rows; `None` if there is no memory.
    pub(crate) fn pair(&mut self, first: Address, second: Address) -> Option<Address> {
        self.node(0, &[first, second])
    }

    /// Adds a row to a list and returns the list's new head; `None` if there is no memory.
    pub(crate) fn push(&mut self, list: Address, row: Address) -> Option<Address> {
        let header = self.word(list, 0);
        let count = header >> 48;
        if count == ROWS {
            return self.node(list.0 + 1, &[row]);
        }
        self.set_word(list, count as usize + 1, row.0);
        self.set_word(list, 0, header + (1 << 48));
        Some(list)
    }

    /// Any one row of the list.
    #[inline]
    pub(crate) fn first(&self, list: Address) -> Address {
        Address(self.word(list, 1))
    }

    pub(crate) fn segments(&self) -> usize {
        self.nodes.segments()
    }

    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
    }
}

/// A walk over the rows of a key, that can be left and taken up again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    /// Address + 1 of the row or the list's node; 0 at the end.
    at: u64,
    list: bool,
    /// Rows of the node still to come; 0 if the node was not looked at.
    left: u8,
}

impl Chain {
    pub(crate) const END: Self = Self { at: 0, list: false, left: 0 };

    #[inline]
    pub(super) fn new(at: u64, list: bool) -> Self {
        Self { at, list, left: 0 }
    }

    #[inline]
    pub(crate) fn is_end(&self) -> bool {
        self.at == 0
    }

    /// The next row.
    #[inline]
    pub(crate) fn next(&mut self, lists: &Lists) -> Option<Address> {
        if self.at == 0 {
            return None;
        }
        let here = Address(self.at - 1);
        if !self.list {
            self.at = 0;
            return Some(here);
        }
        let header = lists.word(here, 0);
        if self.left == 0 {
            self.left = (header >> 48) as u8;
        }
        let row = Address(lists.word(here, usize::from(self.left)));
        self.left -= 1;
        if self.left == 0 {
            self.at = header & ADDRESS;
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::MemoryManager;

    #[test]
    fn a_list_gives_every_row_once() {
        let manager = MemoryManager::new(1 << 20).unwrap();
        let mut lists = Lists::new(&manager.reserve("test", 2).unwrap());
        for rows in 2..20u64 {
            let mut head = lists.pair(Address(0), Address(10)).unwrap();
            for row in 2..rows {
                head = lists.push(head, Address(row * 10)).unwrap();
            }
            let mut chain = Chain::new(head.0 + 1, true);
            let mut seen: Vec<_> = std::iter::from_fn(|| chain.next(&lists)).map(|a| a.0 / 10).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..rows).collect::<Vec<_>>());
        }
        let mut end = Chain::END;
        assert_eq!(end.next(&lists), None);
    }
}
