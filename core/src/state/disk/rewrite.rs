use super::index::{Address, NOWHERE};
use super::run::{Run, RunWriter};
use super::runs::{address, extent};
use super::sweep::Sweeping;
use super::table::DiskTable;
use crate::Result;
use crate::state::key::KeyRef;
use crate::state::section::{self, RawEntry};
use crate::stream::Data;
use fluvial_memory::hash::hash_bytes;
use std::sync::Arc;

/// Runs that there may be before small ones become one, and how many do then.
const RUNS: (usize, usize) = (48, 32);
/// Bytes of runs that are rewritten together, at most.
const MOST: u64 = 256 << 20;
/// Bytes that are read of runs that are being rewritten with each block of keys.
const FUEL: usize = 32 << 10;
/// Garbage that is left alone whatever the state's size.
const SLACK: u64 = 256 << 10;

/// Runs whose entries, as far as they are keys' last, are being copied to a new run: a key group at a time.
///
/// The new run has a sequence below those of all changes that are written from its beginning on, and above those of all that were
/// before. So whatever is copied is replaced by what comes later, also where it has changed meanwhile. That a key has been
/// removed is copied too, unless no older run is left that could have it.
pub(super) struct Rewrite {
    /// Each with whether removals of keys can be left out.
    sources: Vec<(Arc<Run>, usize, bool)>,
    run: RunWriter,
    first: usize,
    /// The next key group, from 0.
    group: usize,
    live: u64,
}

/// An entry that is copied.
struct Copied {
    hash: u64,
    from: Address,
    to: Address,
    bytes: u32,
}

impl<V: Data> DiskTable<V> {
    /// Begins to rewrite runs, if there is too much garbage in them or too many of them. Nothing is being written now.
    pub(super) fn plan_rewrite(&mut self) -> Result<()> {
        if self.rewrite.is_some() {
            return Ok(());
        }
        let list = &self.runs.list;
        let sizes: Vec<(u64, u64)> = list.iter().map(|listed| (listed.run.bytes, self.runs.live(listed))).collect();
        let (bytes, live) = sizes.iter().fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        let mut chosen: Vec<usize> = (0..list.len()).collect();
        if bytes > 2 * live + SLACK {
            // Those with the least to copy for what is gained.
            chosen.sort_by(|a, b| (sizes[*a].1 * sizes[*b].0).cmp(&(sizes[*b].1 * sizes[*a].0)));
            let enough = (bytes / 8).max(SLACK);
            let mut taken = 0;
            let wanted = |taken: &mut u64, place: usize| {
                let goes_on = *taken < enough && (*taken == 0 || *taken + sizes[place].0 <= MOST);
                *taken += sizes[place].0;
                goes_on
            };
            let count = chosen.iter().take_while(|place| wanted(&mut taken, **place)).count();
            chosen.truncate(count);
        } else if list.len() > RUNS.0 {
            chosen.sort_by_key(|place| sizes[*place].0);
            chosen.truncate(RUNS.1);
        } else {
            return Ok(());
        }
        chosen.sort_unstable();
        let source = |(number, place): (usize, &usize)| (list[*place].run.clone(), list[*place].first, number == *place);
        let sources: Vec<_> = chosen.iter().enumerate().map(source).collect();
        let run = self.place.writer(self.sequence)?;
        self.sequence += 1;
        let first = self.runs.open(&run.file, sources.iter().map(|(run, ..)| run.bytes).sum())?;
        self.rewrite = Some(Rewrite { sources, run, first, group: 0, live: 0 });
        Ok(())
    }

    /// Goes on with a rewrite: some key groups.
    #[inline]
    pub(super) fn rewrite_some(&mut self) -> Result<()> {
        let mut read = 0;
        while self.rewrite.is_some() && read < FUEL {
            read += self.rewrite_group()?;
        }
        Ok(())
    }

    /// Ends a rewrite that has begun.
    pub(super) fn finish_rewrite(&mut self) -> Result<()> {
        while self.rewrite.is_some() {
            self.rewrite_group()?;
        }
        Ok(())
    }

    /// Rewrites the next key group. Gives how many bytes that took to read.
    fn rewrite_group(&mut self) -> Result<usize> {
        let Some(mut rewrite) = self.rewrite.take() else { return Ok(0) };
        let mut read = 0;
        let at = rewrite.group;
        let group = self.place.groups.start + at as u16;
        let start = rewrite.run.offset();
        let mut out = Vec::new();
        let mut copied = Vec::new();
        let mut bytes = Vec::new();
        let mut entries: Vec<(usize, u64)> = Vec::new();
        for (run, first, newest) in &rewrite.sources {
            let Ok(place) = run.sections.binary_search_by_key(&Some(group), |section| section.key_group()) else { continue };
            run.read(place, &mut bytes)?;
            read += bytes.len();
            let base = run.sections[place].offset;
            entries.clear();
            let mut offset = 0;
            while offset < bytes.len() {
                let cut = || run.file.error(format!("damaged: the entry at byte {} is cut off", base + offset as u64));
                let entry = RawEntry::first(&bytes[offset..]).ok_or_else(cut)?;
                let hash = hash_bytes(entry.key);
                self.index[at].prefetch(hash);
                entries.push((offset, hash));
                offset += entry.bytes.len();
            }
            for &(offset, hash) in &entries {
                let Some(entry) = RawEntry::first(&bytes[offset..]) else { continue };
                let from = address(*first, base + offset as u64);
                match entry.value {
                    Some(_) if self.index[at].contains(hash, from) => {
                        let to = address(rewrite.first, start + out.len() as u64);
                        copied.push(Copied { hash, from, to, bytes: entry.bytes.len() as u32 });
                        out.extend_from_slice(entry.bytes);
                    }
                    None if !newest && self.find_stored(KeyRef { hash, bytes: entry.key })?.is_none() => {
                        section::append_removed(entry.key, &mut out);
                    }
                    _ => {}
                }
            }
        }
        if !out.is_empty() {
            rewrite.run.add(&self.place.label, group, &out)?;
            rewrite.live += out.len() as u64;
        }
        for Copied { hash, from, to, bytes } in copied {
            self.index[at].relocate(hash, from, to);
            self.runs.dies(from, bytes);
            self.runs.lives(to, bytes);
        }
        rewrite.group += 1;
        if rewrite.group < self.index.len() {
            self.rewrite = Some(rewrite);
            return Ok(read);
        }
        self.end_rewrite(rewrite)?;
        Ok(read)
    }

    /// The new run takes the place of its sources.
    fn end_rewrite(&mut self, rewrite: Rewrite) -> Result<()> {
        let Rewrite { sources, run, first, live, .. } = rewrite;
        self.sweeping = Sweeping::default();
        self.refresh(&sources)?;
        for (source, first, _) in sources {
            self.runs.close(first, &source.file);
            self.runs.list.retain(|listed| !Arc::ptr_eq(&listed.run, &source));
        }
        if live == 0 {
            self.runs.close(first, &run.file);
        } else {
            self.runs.add(Arc::new(run.finish()?), first);
        }
        Ok(())
    }

    /// Has the entries in memory know where they lie now. Addresses in the sources mean nothing, and later something else.
    fn refresh(&mut self, sources: &[(Arc<Run>, usize, bool)]) -> Result<()> {
        let last = |(run, first, _): &(Arc<Run>, usize, bool)| extent(address(*first, run.bytes));
        let gone = |at: Address| at != NOWHERE && sources.iter().any(|s| (s.1..=last(s)).contains(&extent(at)));
        for place in 0..self.young.at.len() {
            if gone(self.young.at[place]) {
                let entry = &self.young.table.entries()[place];
                let (key, hash) = (entry.key.clone(), entry.value.hash);
                let at = self.address_of(KeyRef { hash, bytes: key.as_slice() })?;
                self.young.at[place] = at;
            }
        }
        for place in 0..self.settled.at.len() {
            if gone(self.settled.at[place]) {
                let entry = &self.settled.table.entries()[place];
                let (key, hash) = (entry.key.clone(), entry.value.hash);
                let at = self.address_of(KeyRef { hash, bytes: key.as_slice() })?;
                self.settled.at[place] = at;
            }
        }
        let Some(mut frozen) = self.frozen.take() else { return Ok(()) };
        let table = frozen.table.clone();
        for (place, entry) in table.entries().iter().enumerate() {
            if gone(frozen.at[place]) {
                frozen.at[place] = self.address_of(KeyRef { hash: entry.value.hash, bytes: entry.key.as_slice() })?;
            }
        }
        self.frozen = Some(frozen);
        Ok(())
    }

    /// Where a key that has an entry in the runs has it.
    fn address_of(&mut self, key: KeyRef<'_>) -> Result<Address> {
        let group = self.group(key.hash);
        let mut candidates = self.index[group].candidates(key.hash);
        let (first, second) = (candidates.next(), candidates.next());
        drop(candidates);
        match (first, second) {
            (Some(at), None) => Ok(at),
            _ => Ok(self.find_stored(key)?.map_or(NOWHERE, |(at, _)| at)),
        }
    }
}
