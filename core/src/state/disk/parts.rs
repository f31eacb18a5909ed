use super::backend::TablePlace;
use super::generation::Writing;
use super::run::{Run, RunLabel, RunWriter};
use crate::codec::RecordCodec;
use crate::operator::DeferredState;
use crate::runtime::guard;
use crate::state::dense::DenseTable;
use crate::state::key::KeyRef;
use crate::state::section::{self, RawEntry};
use crate::stream::Data;
use crate::{Error, Result};
use fluvial_memory::hash::{KEY_GROUPS, hash_bytes, key_group};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Parts of one level that become one of the next.
const FAN_IN: usize = 16;

/// Where partial values go: accumulators that are added to without a look at what there was before, and merged when somebody
/// wants the whole. So nothing is read as long as records come.
pub(crate) struct PartStore<V> {
    place: TablePlace,
    codec: RecordCodec<V>,
    /// Of the next part.
    sequence: u64,
    /// What is being written.
    writing: Option<Arc<Writing>>,
}

/// The parts of one whole, in the order in which they came.
#[derive(Default)]
pub(crate) struct Parts {
    list: Vec<Part>,
}

struct Part {
    level: u32,
    written: Arc<Writing>,
}

impl Parts {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Merges a later value of a key into an earlier one.
pub(crate) type Merge<V> = Arc<dyn Fn(&mut V, V) + Send + Sync>;

impl<V: Data> PartStore<V> {
    pub(crate) fn new(place: TablePlace, codec: RecordCodec<V>) -> Self {
        Self { place, codec, sequence: 1, writing: None }
    }

    /// Bytes that may be held in memory.
    pub(crate) fn memory(&self) -> usize {
        self.place.memory()
    }

    /// The key groups.
    pub(crate) fn groups(&self) -> std::ops::Range<u16> {
        self.place.groups.clone()
    }

    /// Waits for the part that is being written.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.writing.take().map_or(Ok(()), |writing| writing.wait().map(drop))
    }

    /// Adds a table of values as a part, to be written in the background.
    pub(crate) fn write<A: Data>(
        &mut self,
        parts: &mut Parts,
        table: DenseTable<A>,
        wrap: impl Fn(&A) -> V + Send + 'static,
        merge: &Merge<V>,
    ) {
        let codec = self.codec.clone();
        let written = self.order(move |label, run| {
            // The places of each key group.
            let mut groups: Vec<Vec<u32>> = vec![Vec::new(); usize::from(KEY_GROUPS)];
            for (place, entry) in table.entries().iter().enumerate() {
                groups[usize::from(key_group(hash_bytes(entry.key.as_slice())))].push(place as u32);
            }
            let mut bytes = Vec::new();
            for (group, places) in (0..KEY_GROUPS).zip(groups).filter(|(_, places)| !places.is_empty()) {
                bytes.clear();
                for place in places {
                    let entry = &table.entries()[place as usize];
                    section::append(&codec, entry.key.as_slice(), &wrap(&entry.value), &mut bytes)?;
                }
                run.add(label, group, &bytes)?;
            }
            Ok(())
        });
        self.writing = Some(written.clone());
        parts.list.push(Part { level: 0, written });
        self.combine(parts, merge);
    }

    fn order(&mut self, write: impl FnOnce(&RunLabel, &mut RunWriter) -> Result<()> + Send + 'static) -> Arc<Writing> {
        let written = Arc::new(Writing::default());
        let (told, label, path, sequence) = (written.clone(), self.place.label.clone(), self.place.path(), self.sequence);
        self.sequence += 1;
        self.place.background(move || {
            let result = guard(move || finished(write, &label, path, sequence));
            let result = result.unwrap_or_else(|panic| Err(Error::User(format!("panicked: {panic}"))));
            told.set(result.map(|run| (Some(run), Arc::default())).map_err(|error| error.to_string()));
        });
        written
    }

    /// Makes parts of one level one, as often as there are enough: so a whole of which many parts come, one with each checkpoint,
    /// say, is never of many, and each value is written a few times.
    fn combine(&mut self, parts: &mut Parts, merge: &Merge<V>) {
        while let Some(first) = parts.list.len().checked_sub(FAN_IN)
            && parts.list[first..].iter().all(|part| part.level == parts.list[first].level)
        {
            let level = parts.list[first].level + 1;
            self.combine_from(parts, first, level, merge, |_| ());
        }
    }

    /// Makes all parts one, with a change to each value.
    pub(crate) fn combine_all(&mut self, parts: &mut Parts, merge: &Merge<V>, change: impl Fn(&mut V) + Send + 'static) {
        let level = parts.list.iter().map(|part| part.level).max().unwrap_or(0);
        self.combine_from(parts, 0, level + 1, merge, change);
    }

    fn combine_from(
        &mut self,
        parts: &mut Parts,
        first: usize,
        level: u32,
        merge: &Merge<V>,
        change: impl Fn(&mut V) + Send + 'static,
    ) {
        let sources: Vec<Arc<Writing>> = parts.list.drain(first..).map(|part| part.written).collect();
        let (codec, merge, groups) = (self.codec.clone(), merge.clone(), self.groups());
        let written = self.order(move |label, run| {
            // They were ordered before, so they are there.
            let sources = runs(&sources)?;
            let mut bytes = Vec::new();
            for group in groups {
                let mut whole = merged(&sources, group, &codec, &merge)?;
                bytes.clear();
                for place in 0..whole.len() {
                    let entry = whole.entry_mut(place);
                    change(&mut entry.value);
                    section::append(&codec, entry.key.as_slice(), &entry.value, &mut bytes)?;
                }
                if !bytes.is_empty() {
                    run.add(label, group, &bytes)?;
                }
            }
            Ok(())
        });
        parts.list.push(Part { level, written });
    }

    /// The values of a key group, put together.
    ///
    /// # Errors
    /// A part that could not be written, or cannot be read.
    pub(crate) fn read(&self, parts: &Parts, group: u16, merge: &Merge<V>) -> Result<DenseTable<V>> {
        let sources: Vec<Arc<Writing>> = parts.list.iter().map(|part| part.written.clone()).collect();
        merged(&runs(&sources)?, group, &self.codec, merge)
    }

    /// The parts as of now, as state to be stored.
    pub(crate) fn snapshot<'a>(&self, wholes: impl Iterator<Item = &'a Parts>) -> DeferredState {
        let parts: Vec<Arc<Writing>> = wholes.flat_map(|parts| parts.list.iter().map(|part| part.written.clone())).collect();
        let (label, groups) = (self.place.label.clone(), self.place.groups.clone());
        Box::new(move |sink| {
            let runs = runs(&parts)?;
            for group in groups {
                for run in &runs {
                    if let Some(place) = section_of(run, group) {
                        sink(label.section(run, place))?;
                    }
                }
            }
            Ok(())
        })
    }
}

fn finished(
    write: impl FnOnce(&RunLabel, &mut RunWriter) -> Result<()>,
    label: &RunLabel,
    path: PathBuf,
    sequence: u64,
) -> Result<Arc<Run>> {
    let mut run = RunWriter::create(path, sequence)?;
    write(label, &mut run)?;
    Ok(Arc::new(run.finish()?))
}

fn runs(written: &[Arc<Writing>]) -> Result<Vec<Arc<Run>>> {
    let mut runs = BTreeMap::new();
    for (number, written) in written.iter().enumerate() {
        if let Some(run) = written.wait()?.0 {
            runs.insert(number, run);
        }
    }
    Ok(runs.into_values().collect())
}

fn section_of(run: &Run, group: u16) -> Option<usize> {
    run.sections.binary_search_by_key(&Some(group), |section| section.key_group()).ok()
}

fn merged<V: Data>(sources: &[Arc<Run>], group: u16, codec: &RecordCodec<V>, merge: &Merge<V>) -> Result<DenseTable<V>> {
    let mut whole = DenseTable::default();
    let mut bytes = Vec::new();
    for run in sources {
        let Some(place) = section_of(run, group) else { continue };
        run.read(place, &mut bytes)?;
        let mut offset = 0;
        while offset < bytes.len() {
            let base = run.sections[place].offset + offset as u64;
            let cut = || run.file.error(format!("damaged: the entry at byte {base} is cut off"));
            let entry = RawEntry::first(&bytes[offset..]).ok_or_else(cut)?;
            offset += entry.bytes.len();
            let Some(value) = entry.value else { continue };
            let (key, value) = (KeyRef::new(entry.key), codec.decode(value)?);
            match whole.find(key) {
                Some(place) => merge(whole.value_mut(place), value),
                None => drop(whole.add(key, value)),
            }
        }
    }
    Ok(whole)
}
