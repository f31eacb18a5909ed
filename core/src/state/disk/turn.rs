use super::generation::{Cached, Frozen, Generation, Keep, NOT_MOVED, UNWRITTEN, write};
use super::index::{Address, NOWHERE};
use super::run::Run;
use super::runs::address;
use super::table::DiskTable;
use crate::Result;
use crate::operator::DeferredState;
use crate::state::dense::DenseTable;
use crate::state::key::KeyRef;
use crate::stream::Data;
use std::sync::Arc;

/// Keys looked up ahead where the order is not ours.
const AHEAD: usize = 16;

/// How generations follow each other, and what of them is stored.
impl<V: Data> DiskTable<V> {
    /// Keeps what is in memory within its bounds, and goes on with what has been begun. Called between blocks.
    pub(crate) fn make_room(&mut self) -> Result<()> {
        if self.frozen.as_ref().is_some_and(|frozen| frozen.writing.is_done()) {
            self.settle()?;
        }
        let memory = self.place.memory();
        if self.young.byte_len() > memory / 2 {
            self.settle()?;
            self.freeze(Box::new(|_| true));
        }
        let frozen = self.frozen.as_ref().map_or(0, Frozen::byte_len);
        if self.settled.table.len() > 0 && self.young.byte_len() + frozen + self.settled.byte_len() > memory {
            self.settled.clear();
        }
        self.rewrite_some()
    }

    /// Begins to write the young generation.
    pub(super) fn freeze(&mut self, keep: Keep<V>) {
        let Generation { table, at, heap, dirty } = std::mem::take(&mut self.young);
        if dirty == 0 {
            self.settled = Generation { table, at, heap, dirty };
            return;
        }
        self.young.table = std::mem::take(&mut self.spare);
        let table = Arc::new(table);
        let writing = write(&self.place, &table, self.sequence, &self.codec, keep);
        self.sequence += 1;
        let moved = vec![NOT_MOVED; at.len()];
        self.frozen = Some(Frozen { table, at, heap, moved, writing });
    }

    /// Waits for the generation that is being written, and looks for its entries in their run from then on.
    pub(super) fn settle(&mut self) -> Result<()> {
        let Some(Frozen { table, mut at, heap, moved, writing }) = self.frozen.take() else { return Ok(()) };
        let (run, offsets) = writing.wait()?;
        let first = match &run {
            Some(run) => self.runs.open(&run.file, run.bytes)?,
            None => 0,
        };
        let entries = table.entries();
        for (place, entry) in entries.iter().enumerate() {
            if let Some(ahead) = entries.get(place + AHEAD) {
                self.index[self.group(ahead.value.hash)].prefetch(ahead.value.hash);
            }
            let Cached { hash, stored_bytes, dirty, ref value, .. } = entry.value;
            if !dirty {
                continue;
            }
            let (offset, bytes) = offsets[place];
            let written = (offset, bytes) != UNWRITTEN;
            let new = if written { address(first, offset) } else { NOWHERE };
            let key = KeyRef { hash, bytes: entry.key.as_slice() };
            self.replace(key, (at[place], stored_bytes), (new, bytes))?;
            at[place] = new;
            match moved[place] {
                NOT_MOVED if !written && value.is_some() => self.len -= 1,
                NOT_MOVED => {}
                young => {
                    self.young.at[young as usize] = new;
                    self.young.table.value_mut(young as usize).stored_bytes = bytes;
                }
            }
        }
        if let Some(run) = run {
            self.runs.add(run, first);
        }
        self.keep_settled(table, at, heap, &offsets);
        self.plan_rewrite()
    }

    /// A key's entry is no longer at the first address but at the second.
    fn replace(&mut self, key: KeyRef<'_>, from: (Address, u32), to: (Address, u32)) -> Result<()> {
        let group = self.group(key.hash);
        let mut from = from;
        if from.0 != NOWHERE && self.rewrite.is_some() && !self.index[group].contains(key.hash, from.0) {
            // It has been copied since it was read.
            from = self.find_stored(key)?.unwrap_or((NOWHERE, 0));
        }
        let index = &mut self.index[group];
        match (from.0, to.0) {
            (NOWHERE, NOWHERE) => {}
            (NOWHERE, to) => index.insert(key.hash, to),
            (from, NOWHERE) => drop(index.remove(key.hash, from)),
            (from, to) => drop(index.relocate(key.hash, from, to)),
        }
        self.runs.dies(from.0, from.1);
        self.runs.lives(to.0, to.1);
        Ok(())
    }

    /// Keeps what has been written, as far as there is room.
    fn keep_settled(&mut self, table: Arc<DenseTable<Cached<V>>>, at: Vec<Address>, heap: usize, offsets: &[(u64, u32)]) {
        let Ok(mut table) = Arc::try_unwrap(table) else { return };
        let clean = |entry: &mut Cached<V>, place: usize| {
            if entry.dirty {
                let written = offsets[place] != UNWRITTEN;
                (entry.dirty, entry.stored, entry.stored_bytes) = (false, written, offsets[place].1);
                if !written {
                    entry.value = None;
                }
            }
            entry.changes = 0;
        };
        let size = Generation::<V>::bytes_of(table.len(), heap);
        let half = self.place.memory() / 2;
        if size + self.settled.byte_len() <= half && self.settled.table.len() > 0 {
            for (place, &address) in at.iter().enumerate().take(table.len()) {
                let entry = table.entry_mut(place);
                clean(&mut entry.value, place);
                let key = KeyRef { hash: entry.value.hash, bytes: entry.key.as_slice() };
                match self.settled.table.find(key) {
                    Some(old) => {
                        self.settled.at[old] = address;
                        let old = self.settled.table.value_mut(old);
                        self.settled.heap = self.settled.heap - old.heap as usize + entry.value.heap as usize;
                        *old = entry.value.clone();
                    }
                    None => drop(self.settled.add(key, entry.value.clone(), address)),
                }
            }
            table.clear();
            self.spare = table;
        } else {
            (0..table.len()).for_each(|place| clean(table.value_mut(place), place));
            let settled = Generation { table, at, heap, dirty: 0 };
            self.spare = std::mem::replace(&mut self.settled, settled).table;
            self.spare.clear();
        }
    }

    /// Sets the state aside as of now, without the changes for which `keep` is false when they are written.
    pub(crate) fn snapshot(&mut self, keep: impl Fn(&V) -> bool + Send + 'static) -> Result<DeferredState> {
        self.check()?;
        self.settle()?;
        if self.young.dirty > 0 {
            self.freeze(Box::new(keep));
        }
        let mut runs: Vec<Arc<Run>> = self.runs.list.iter().map(|listed| listed.run.clone()).collect();
        let (label, groups) = (self.place.label.clone(), self.place.groups.clone());
        let writing = self.frozen.as_ref().map(|frozen| frozen.writing.clone());
        Ok(Box::new(move |sink| {
            if let Some(writing) = writing {
                runs.extend(writing.wait()?.0);
            }
            for group in groups {
                for run in &runs {
                    if let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) {
                        sink(label.section(run, place))?;
                    }
                }
            }
            Ok(())
        }))
    }
}
