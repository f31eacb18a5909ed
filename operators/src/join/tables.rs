//! The partitions of a build side that are in memory, and the batched probe of them.

use super::directory::Entry;
use super::emitter::Emitter;
use super::env::Stored;
use super::kind::{Roles, Side};
use super::lists::Chain;
use super::table::{Table, View};
use fluvial_memory::{Address, RowBatch};

/// Rows probed together: enough to hide the latency of memory behind each other, few enough that what is known of them
/// stays in the first-level cache.
pub(crate) const CHUNK: usize = 128;

/// Tables by the top `bits` bits of the mixed hash; `None` where the partition is on disk.
pub(crate) struct Tables {
    pub bits: u32,
    pub tables: Vec<Option<Table>>,
}

impl Tables {
    #[inline]
    pub(crate) fn partition(&self, mixed: u64) -> usize {
        mixed.checked_shr(64 - self.bits).unwrap_or(0) as usize
    }
}

/// Probe rows in hand: stored rows with their mixed hashes, and how far the chunk at hand has come.
///
/// A row whose partition is on disk is in here only because the partition's Bloom filter does not know its key: it has
/// no partner.
pub(crate) struct Probe {
    rows: RowBatch,
    mixed: Vec<u64>,
    /// Rows before the chunk, and in it.
    start: usize,
    length: usize,
    slots: Vec<usize>,
    entries: Vec<Entry>,
    partitions: Vec<u8>,
    /// Build rows and rows of the chunk that belong together.
    matches: Vec<(Option<Address>, u32)>,
    /// The row of the chunk whose results are being emitted, and what is left of its chain.
    at: usize,
    opened: bool,
    chain: Chain,
}

/// How a chunk's results are meant.
pub(crate) struct Sense<'a> {
    pub roles: Roles,
    pub build: Side,
    pub build_form: Stored,
    pub probe_form: Stored,
    /// For the block-nested join: which rows in hand found a partner in an earlier block.
    pub found: Option<&'a mut [u8]>,
    /// Whether the rows meet no further build rows.
    pub last: bool,
}

impl Probe {
    pub(crate) fn new(rows: RowBatch) -> Self {
        Self {
            rows,
            mixed: Vec::new(),
            start: 0,
            length: 0,
            slots: Vec::new(),
            entries: Vec::new(),
            partitions: Vec::new(),
            matches: Vec::new(),
            at: 0,
            opened: false,
            chain: Chain::END,
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, row: &[u8], mixed: u64) {
        self.rows.push_row(row);
        self.mixed.push(mixed);
    }

    /// Takes many rows of one width.
    pub(crate) fn extend<'a>(&mut self, width: usize, rows: impl ExactSizeIterator<Item = &'a [u8]>, mixed: &[u64]) {
        self.rows.extend_fixed(width, rows);
        self.mixed.extend_from_slice(mixed);
    }

    /// Rows in hand.
    pub(crate) fn len(&self) -> usize {
        self.mixed.len()
    }

    pub(crate) fn byte_len(&self) -> usize {
        self.rows.byte_len()
    }

    /// Whether all results of the rows in hand are out.
    pub(crate) fn is_done(&self) -> bool {
        self.at == self.length && self.start + self.length == self.len()
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.mixed.clear();
        (self.start, self.length, self.at) = (0, 0, 0);
        self.opened = false;
        self.chain = Chain::END;
    }

    /// Looks up the next chunk: three passes over it, each of which fetches what the next one needs.
    fn locate(&mut self, tables: &Tables, probe_form: Stored) {
        self.start += self.length;
        self.length = (self.len() - self.start).min(CHUNK);
        self.at = 0;
        self.slots.clear();
        self.entries.clear();
        let mixed = &self.mixed[self.start..self.start + self.length];
        self.partitions.clear();
        self.partitions.extend(mixed.iter().map(|&m| tables.partition(m) as u8));
        let views: Vec<View<'_>> = tables.tables.iter().map(|t| t.as_ref().map_or(View::EMPTY, Table::view)).collect();
        let Some(pages) = tables.tables.iter().flatten().map(Table::pages).next() else {
            self.slots.resize(self.length, 0);
            self.entries.resize(self.length, Entry::FREE);
            return;
        };
        let rows = || mixed.iter().zip(&self.partitions).map(|(&m, &p)| (m, &views[usize::from(p)]));
        self.slots.extend(rows().map(|(m, view)| view.slot(m)));
        let mut lists = false;
        self.entries.extend(rows().zip(&mut self.slots).map(|((m, view), slot)| {
            let (at, entry) = view.entry(m, *slot);
            *slot = at;
            lists |= entry.is_list();
            // A free entry's address is nowhere; a prefetch does not mind, and a branch would.
            pages.prefetch(entry.address());
            entry
        }));
        if lists {
            for ((_, view), entry) in rows().zip(&self.entries) {
                if entry.is_list()
                    && let Some(row) = view.first_of(*entry)
                {
                    pages.prefetch(row);
                }
            }
        }
        for (i, (m, view)) in rows().enumerate() {
            if !self.entries[i].is_free() {
                let key = probe_form.key(self.rows.row(self.start + i));
                (self.slots[i], self.entries[i]) = view.key(m, self.slots[i], self.entries[i], key);
            }
        }
    }

    /// Emits results of the rows in hand until there are no more ([`Probe::is_done`]) or `out` is full. Rows may be
    /// added between calls.
    pub(crate) fn emit(&mut self, tables: &mut Tables, sense: &mut Sense<'_>, out: &mut Emitter<'_>) {
        let (roles, build) = (sense.roles, sense.build);
        while !self.is_done() {
            if self.at == self.length {
                self.locate(tables, sense.probe_form);
            }
            if let (true, None, None, Some(build_width), Some(probe_width)) =
                (roles.pairs, &sense.found, &out.count, sense.build_form.plain_width(), sense.probe_form.plain_width())
            {
                if !self.emit_fixed(tables, sense, [build_width, probe_width], out) {
                    return;
                }
                continue;
            }
            while self.at < self.length {
                let index = self.start + self.at;
                let entry = self.entries[self.at];
                if entry.is_free() {
                    let found = sense.found.as_ref().is_some_and(|found| bit(found, index));
                    if roles.probe_unmatched && sense.last && !found {
                        if out.is_full() {
                            return;
                        }
                        out.alone(build.other(), sense.probe_form, self.rows.row(index));
                    }
                    self.at += 1;
                    continue;
                }
                let partition = usize::from(self.partitions[self.at]);
                let Some(table) = &mut tables.tables[partition] else {
                    self.at += 1;
                    continue;
                };
                if !self.opened {
                    if out.is_full() {
                        return;
                    }
                    self.opened = true;
                    self.chain = if roles.pairs { entry.chain() } else { Chain::END };
                    if roles.marks_build() && table.mark(self.slots[self.at]) && roles.build_matched {
                        self.chain = entry.chain();
                    }
                    let found = sense.found.as_mut().is_some_and(|found| set_bit(found, index));
                    if roles.probe_matched && !found {
                        out.alone(build.other(), sense.probe_form, self.rows.row(index));
                    }
                }
                while !self.chain.is_end() {
                    if out.is_full() {
                        return;
                    }
                    let Some(row) = table.next_of(&mut self.chain) else { break };
                    if roles.pairs {
                        out.pair(build, sense.build_form, row, sense.probe_form, self.rows.row(index));
                    } else {
                        out.alone(build, sense.build_form, row);
                    }
                }
                self.opened = false;
                self.at += 1;
            }
        }
    }
}

impl Probe {
    /// As [`Probe::emit`], for pairs of rows of fixed widths (build side first): first which rows belong together, then
    /// the copies, one side after the other. Whether the chunk is done.
    fn emit_fixed(&mut self, tables: &mut Tables, sense: &Sense<'_>, widths: [usize; 2], out: &mut Emitter<'_>) -> bool {
        let roles = sense.roles;
        let room = out.room(widths[0] + widths[1]);
        self.matches.clear();
        while self.at < self.length && self.matches.len() < room {
            let row = self.at as u32;
            let entry = self.entries[self.at];
            if !self.opened {
                if entry.is_free() {
                    if roles.probe_unmatched {
                        self.matches.push((None, row));
                    }
                    self.at += 1;
                    continue;
                }
                if roles.build_unmatched
                    && let Some(table) = &mut tables.tables[usize::from(self.partitions[self.at])]
                {
                    table.mark(self.slots[self.at]);
                }
                if !entry.is_list() {
                    self.matches.push((Some(entry.address()), row));
                    self.at += 1;
                    continue;
                }
                self.opened = true;
                self.chain = entry.chain();
            }
            let Some(table) = &tables.tables[usize::from(self.partitions[self.at])] else { return true };
            while self.matches.len() < room
                && let Some(address) = table.next_address(&mut self.chain)
            {
                self.matches.push((Some(address), row));
            }
            if self.chain.is_end() {
                self.opened = false;
                self.at += 1;
            }
        }
        if let Some(table) = tables.tables.iter().flatten().next() {
            let build = self.matches.iter().map(|&(address, _)| address.map(|address| table.row_of_any(address)));
            let probe = self.matches.iter().map(|&(_, row)| self.rows.row(self.start + row as usize));
            out.pairs(sense.build, widths, build, probe);
        } else {
            let probe = self.matches.iter().map(|&(_, row)| self.rows.row(self.start + row as usize));
            out.pairs(sense.build, widths, self.matches.iter().map(|_| None), probe);
        }
        self.at == self.length
    }
}

fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}

/// Sets a bit; whether it was set.
fn set_bit(bits: &mut [u8], index: usize) -> bool {
    let was = bit(bits, index);
    bits[index / 8] |= 1 << (index % 8);
    was
}

/// A walk over the build rows in memory that found no partner.
#[derive(Default)]
pub(crate) struct Unmatched {
    partition: usize,
    slot: usize,
    chain: Option<Chain>,
}

impl Unmatched {
    /// Emits until `out` is full (`false`) or no row is left (`true`).
    pub(crate) fn emit(&mut self, tables: &Tables, build: Side, form: Stored, out: &mut Emitter<'_>) -> bool {
        while let Some(table) = tables.tables.get(self.partition) {
            let Some(table) = table else {
                self.partition += 1;
                continue;
            };
            if let Some(chain) = &mut self.chain {
                while !chain.is_end() {
                    if out.is_full() {
                        return false;
                    }
                    let Some(row) = table.next_of(chain) else { break };
                    out.alone(build, form, row);
                }
            }
            self.chain = table.next_unmatched(&mut self.slot);
            if self.chain.is_none() {
                (self.partition, self.slot) = (self.partition + 1, 0);
            }
        }
        true
    }
}
