use super::generation::Cached;
use super::index::Address;
use super::runs::address;
use super::table::DiskTable;
use crate::Result;
use crate::state::key::KeyRef;
use crate::state::section::RawEntry;
use crate::stream::Data;
use std::sync::Arc;

/// Entries that are passed over, at most, for each one that is looked at.
const PASSED: usize = 8;

/// Where a sweep through the runs goes on: in a section of a run.
#[derive(Default)]
pub(super) struct Sweeping {
    /// The sequence of the run, and the section's place in it.
    run: u64,
    place: usize,
    bytes: Vec<u8>,
    base: Address,
    offset: usize,
}

impl<V: Data> DiskTable<V> {
    /// Removes values for which `keep` is false among the next `count`: one half of them in memory, going around from `cursor`, the
    /// other in runs.
    pub(crate) fn sweep(&mut self, cursor: &mut usize, count: usize, mut keep: impl FnMut(&V) -> bool) {
        let in_runs = if self.runs.list.is_empty() { 0 } else { count.div_ceil(2) };
        for _ in 0..(count - in_runs).min(self.young.table.len()) {
            if *cursor >= self.young.table.len() {
                *cursor = 0;
            }
            let over = self.young.table.value(*cursor).value.as_ref().is_some_and(|value| !keep(value));
            if over {
                self.changes(*cursor);
                self.young.table.value_mut(*cursor).value = None;
                self.len -= 1;
            }
            *cursor += 1;
        }
        if let Err(error) = self.sweep_runs(in_runs, &mut keep) {
            self.failed.get_or_insert(error);
        }
    }

    fn sweep_runs(&mut self, count: usize, keep: &mut impl FnMut(&V) -> bool) -> Result<()> {
        let mut sweeping = std::mem::take(&mut self.sweeping);
        let mut looks = 0;
        for _ in 0..count * PASSED {
            if looks == count {
                break;
            }
            let Some(entry) = RawEntry::first(&sweeping.bytes[sweeping.offset..]) else {
                self.next_section(&mut sweeping)?;
                continue;
            };
            let (key, at) = (KeyRef::new(entry.key), sweeping.base + sweeping.offset as u64);
            sweeping.offset += entry.bytes.len();
            let group = self.group(key.hash);
            if let Some(value) = entry.value
                && self.index[group].contains(key.hash, at)
                && !self.shadows(key)
            {
                looks += 1;
                if !keep(&self.codec.decode(value)?) {
                    let stored_bytes = entry.bytes.len() as u32;
                    let removed = Cached { stored: true, dirty: true, stored_bytes, ..Cached::absent(key.hash) };
                    self.young.add(key, removed, at);
                    self.len -= 1;
                }
            }
        }
        self.sweeping = sweeping;
        Ok(())
    }

    fn next_section(&mut self, sweeping: &mut Sweeping) -> Result<()> {
        (sweeping.offset, sweeping.place) = (0, sweeping.place + 1);
        sweeping.bytes.clear();
        let at = |listed: &super::runs::Listed| {
            (listed.run.sequence >= sweeping.run)
                && (listed.run.sequence > sweeping.run || sweeping.place < listed.run.sections.len())
        };
        let Some(listed) = self.runs.list.iter().find(|listed| at(listed)) else {
            *sweeping = Sweeping::default();
            return Ok(());
        };
        let run = Arc::clone(&listed.run);
        if run.sequence > sweeping.run {
            (sweeping.run, sweeping.place) = (run.sequence, 0);
        }
        sweeping.base = address(listed.first, run.sections[sweeping.place].offset);
        run.read(sweeping.place, &mut sweeping.bytes)
    }
}
