use super::run::{Run, StoredSection, loaded};
use super::runs::address;
use super::table::DiskTable;
use crate::checkpoint::SectionKind;
use crate::state::key::KeyRef;
use crate::state::section::{self, RawEntry};
use crate::stream::Data;
use crate::{Result, StateSection};
use fluvial_memory::hash::hash_bytes;
use std::collections::HashSet;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// How a table begins with what an earlier one has left.
impl<V: Data> DiskTable<V> {
    /// Takes back a section, once all are there.
    pub(crate) fn take_back(&mut self, section: &StateSection) -> Result<()> {
        self.codec.reading(section)?;
        self.given.push(section.clone());
        Ok(())
    }

    /// Takes back the sections that were given. Where they are runs of such tables, of key groups that this one has, they are used as
    /// they are; what they hold is taken over entry by entry otherwise.
    ///
    /// # Errors
    /// A key whose group this table does not have; a value of another type; a section that is damaged.
    pub(crate) fn restored(&mut self) -> Result<()> {
        let sections = std::mem::take(&mut self.given);
        let mut runs: Vec<Arc<Run>> = Vec::new();
        let mut adopted = true;
        for section in &sections {
            let same = section.schema == self.place.label.schema && section.keys == self.place.label.keys;
            match &section.stored {
                Some(stored) if same && stored.kind() == SectionKind::Changes => {
                    if !runs.iter().any(|run| Arc::ptr_eq(run, &stored.run)) {
                        runs.push(stored.run.clone());
                    }
                }
                _ => adopted = false,
            }
        }
        let handed: usize = runs.iter().map(|run| run.sections.len()).sum();
        if adopted && self.len == 0 && self.runs.list.is_empty() && handed == sections.len() {
            runs.sort_by_key(|run| run.sequence);
            self.adopt(runs)
        } else {
            self.import(sections)
        }
    }

    /// Begins with runs of an earlier table that had the same key groups.
    fn adopt(&mut self, runs: Vec<Arc<Run>>) -> Result<()> {
        for run in runs {
            self.sequence = self.sequence.max(run.sequence + 1);
            let first = self.runs.open(&run.file, run.bytes)?;
            self.runs.add(run, first);
        }
        // A key's last entry counts, so the last run is looked at first. Keys are told apart by 128 bits of hash: that two
        // of a group agree in them is less likely than that the disk lies.
        let mut seen: HashSet<u128> = HashSet::new();
        let mut bytes = Vec::new();
        for (group, at) in self.place.groups.clone().zip(0..) {
            seen.clear();
            for number in (0..self.runs.list.len()).rev() {
                let listed = &self.runs.list[number];
                let (run, first) = (listed.run.clone(), listed.first);
                let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) else { continue };
                run.read(place, &mut bytes)?;
                let base = run.sections[place].offset;
                let mut offset = 0;
                while offset < bytes.len() {
                    let cut = || run.file.error(format!("damaged: the entry at byte {} is cut off", base + offset as u64));
                    let entry = RawEntry::first(&bytes[offset..]).ok_or_else(cut)?;
                    let last = (number == 0 && seen.is_empty()) || seen.insert(xxh3_128(entry.key));
                    if last && entry.value.is_some() {
                        let address = address(first, base + offset as u64);
                        self.index[at].insert(hash_bytes(entry.key), address);
                        self.runs.lives(address, entry.bytes.len() as u32);
                        self.len += 1;
                    }
                    offset += entry.bytes.len();
                }
            }
        }
        Ok(())
    }

    /// Takes over what sections hold.
    fn import(&mut self, mut sections: Vec<StateSection>) -> Result<()> {
        sections.sort_by_key(|section| (section.key_group, section.stored.as_ref().map_or(0, StoredSection::sequence)));
        let groups = self.place.groups.clone();
        for section in sections {
            let (_, _, section) = loaded(section)?;
            let values = self.codec.reading(&section)?;
            let mut at = 0;
            let mut since = 0;
            while at < section.bytes.len() {
                let entry = RawEntry::first(&section.bytes[at..]).ok_or_else(|| section::cut_off(&section.name, at))?;
                at += entry.bytes.len();
                let key = KeyRef::new(entry.key);
                section::check_group(&section.name, key.hash, &groups)?;
                match entry.value {
                    Some(value) => self.insert(key, values.decode(value)?),
                    None => drop(self.remove(key)),
                }
                since += 1;
                if since % 64 == 0 {
                    self.make_room()?;
                }
            }
            self.make_room()?;
            self.check()?;
        }
        Ok(())
    }
}
