use super::index::NOWHERE;
use super::runs::address;
use super::table::DiskTable;
use crate::Result;
use crate::state::block::{BLOCK, KeyBlock};
use crate::state::heap::Visited;
use crate::state::key::KeyRef;
use crate::state::section::RawEntry;
use crate::state::table::Visit;
use crate::stream::Data;
use fluvial_memory::hash::{hash_bytes, key_group};

/// Going through all entries.
impl<V: Data> DiskTable<V> {
    /// Hands all entries to a function, group by group.
    ///
    /// # Errors
    /// A run that cannot be read; what the function says.
    pub(crate) fn each(&mut self, mut f: impl FnMut(&[u8], &V) -> Result<()>) -> Result<()> {
        self.check()?;
        self.finish_rewrite()?;
        let mut bytes = Vec::new();
        for (group, at) in self.place.groups.clone().zip(0..) {
            for listed in &self.runs.list {
                let run = &listed.run;
                let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) else { continue };
                run.read(place, &mut bytes)?;
                let base = run.sections[place].offset;
                let mut offset = 0;
                while let Some(entry) = RawEntry::first(&bytes[offset..]) {
                    let key = KeyRef::new(entry.key);
                    let address = address(listed.first, base + offset as u64);
                    offset += entry.bytes.len();
                    if let Some(value) = entry.value
                        && self.index[at].contains(key.hash, address)
                        && !self.shadows(key)
                    {
                        f(key.bytes, &self.codec.decode(value)?)?;
                    }
                }
            }
        }
        if let Some(frozen) = &self.frozen {
            for entry in frozen.table.entries() {
                let key = KeyRef { hash: entry.value.hash, bytes: entry.key.as_slice() };
                if let Some(value) = &entry.value.value
                    && self.young.table.find(key).is_none()
                {
                    f(key.bytes, value)?;
                }
            }
        }
        for entry in self.young.table.entries() {
            if let Some(value) = &entry.value.value {
                f(entry.key.as_slice(), value)?;
            }
        }
        Ok(())
    }

    /// As [`StateTable::visit`](crate::state::StateTable::visit).
    pub(crate) fn visit(
        &mut self,
        visit: &mut Visit,
        count: usize,
        mut f: impl FnMut(KeyRef<'_>, &mut V) -> Visited,
    ) -> Result<bool> {
        if visit.group == 0 && visit.keys.is_empty() {
            self.check()?;
            self.settle()?;
            let fresh = self.young.table.entries().iter().zip(&self.young.at);
            let fresh = fresh.filter(|(entry, at)| **at == NOWHERE && entry.value.value.is_some());
            visit.fresh = fresh.map(|(entry, _)| entry.key.clone()).collect();
            visit.fresh.sort_by_cached_key(|key| std::cmp::Reverse(key_group(hash_bytes(key.as_slice()))));
        }
        let mut block = KeyBlock::default();
        let mut left = count;
        loop {
            if visit.keys.is_empty() {
                if visit.group == self.index.len() {
                    return Ok(false);
                }
                self.keys_of(visit)?;
                visit.group += 1;
                continue;
            }
            if left == 0 {
                return Ok(true);
            }
            let keys = visit.keys.split_off(visit.keys.len().saturating_sub(BLOCK.min(left)));
            left -= keys.len();
            block.encode(keys.iter(), |key, out| out.extend_from_slice(key.as_slice()));
            self.fetch_block(&block)?;
            for i in 0..keys.len() {
                let key = block.get(i);
                let place = self.own(key);
                let Some(value) = &mut self.young.table.value_mut(place).value else { continue };
                match f(key, value) {
                    Visited::Same => {}
                    Visited::Changed => self.changes(place),
                    Visited::Done => drop(self.remove(key)),
                }
            }
        }
    }

    /// Finds the keys of a visit's next group.
    fn keys_of(&mut self, visit: &mut Visit) -> Result<()> {
        self.finish_rewrite()?;
        let (at, group) = (visit.group, self.place.groups.start + visit.group as u16);
        let mut bytes = Vec::new();
        for listed in &self.runs.list {
            let run = &listed.run;
            let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) else { continue };
            run.read(place, &mut bytes)?;
            let base = address(listed.first, run.sections[place].offset);
            let mut offset = 0;
            while let Some(entry) = RawEntry::first(&bytes[offset..]) {
                if entry.value.is_some() && self.index[at].contains(hash_bytes(entry.key), base + offset as u64) {
                    visit.keys.push(entry.key.into());
                }
                offset += entry.bytes.len();
            }
        }
        while let Some(key) = visit.fresh.pop_if(|key| key_group(hash_bytes(key.as_slice())) <= group) {
            visit.keys.push(key);
        }
        Ok(())
    }
}
