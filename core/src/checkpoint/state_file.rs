//! Files of sections of state: see the README of this folder for the bytes.

use super::place::{Place, PlaceFile};
use crate::io::file_error;
use crate::{Error, Result, StateSection};
use fluvial_memory::Codec;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: [u8; 8] = *b"FLUVSTAT";
/// The version of files whose sections are each all of a state and key group.
const WHOLE: u32 = 1;
/// The version of files whose sections say what they are to earlier ones.
const RUNS: u32 = 2;
const HEADER: u64 = 16;
const TRAILER: u64 = 32;
/// The key group of a section that belongs to an instance.
const NO_GROUP: u16 = u16::MAX;

/// What a section is to others of the same state and key group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// All there is.
    #[default]
    Whole,
    /// What has changed since sections of lower sequence: an entry takes the place of earlier ones of its key.
    Changes,
    /// A part: all entries of all parts count.
    Part,
}

impl SectionKind {
    fn byte(self) -> u8 {
        self as u8
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Whole, Self::Changes, Self::Part].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// What a file has where: at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// Names and schemas; sections refer to them by their place.
    pub(crate) strings: Vec<String>,
    pub(crate) sections: Vec<Stored>,
}

/// A section in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) operator: u32,
    pub(crate) state: u32,
    pub(crate) schema: u32,
    pub(crate) keys: u32,
    /// The worker whose instance it is of.
    pub(crate) worker: u32,
    group: u16,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
    /// The order of changes and parts.
    pub(crate) sequence: u64,
    kind: u8,
}

impl Stored {
    pub(crate) fn key_group(&self) -> Option<u16> {
        (self.group != NO_GROUP).then_some(self.group)
    }

    pub(crate) fn kind(&self) -> SectionKind {
        SectionKind::of(self.kind).unwrap_or_default()
    }
}

/// The index of files of the first version.
#[derive(Serialize, Deserialize)]
struct WholeIndex {
    strings: Vec<String>,
    sections: Vec<WholeSection>,
}

#[derive(Serialize, Deserialize)]
struct WholeSection {
    operator: u32,
    state: u32,
    schema: u32,
    keys: u32,
    worker: u32,
    group: u16,
    offset: u64,
    bytes: u64,
    checksum: u64,
}

impl From<WholeIndex> for Index {
    fn from(index: WholeIndex) -> Self {
        let section = |section| {
            let WholeSection { operator, state, schema, keys, worker, group, offset, bytes, checksum } = section;
            Stored { operator, state, schema, keys, worker, group, offset, bytes, checksum, sequence: 0, kind: 0 }
        };
        Self { strings: index.strings, sections: index.sections.into_iter().map(section).collect() }
    }
}

impl From<&Index> for WholeIndex {
    fn from(index: &Index) -> Self {
        let section = |section: &Stored| {
            let Stored { operator, state, schema, keys, worker, group, offset, bytes, checksum, .. } = *section;
            WholeSection { operator, state, schema, keys, worker, group, offset, bytes, checksum }
        };
        Self { strings: index.strings.clone(), sections: index.sections.iter().map(section).collect() }
    }
}

/// What there is to know of a section beside its bytes.
#[derive(Clone, Copy)]
pub(crate) struct SectionHead<'a> {
    /// The uid.
    pub(crate) operator: &'a str,
    pub(crate) worker: usize,
    pub(crate) state: &'a str,
    pub(crate) schema: &'a str,
    pub(crate) keys: &'a str,
    pub(crate) key_group: Option<u16>,
    pub(crate) sequence: u64,
    pub(crate) kind: SectionKind,
}

/// A finished file, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    /// Relative to the folder of the manifest.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// XXH3 of all of it, 64 bits, seed 0, as 16 hexadecimal digits.
    pub(crate) checksum: String,
}

pub(crate) fn hex(checksum: u64) -> String {
    format!("{checksum:016x}")
}

/// Writes a file, section by section.
pub(crate) struct StateFileWriter {
    file: Box<dyn PlaceFile>,
    version: u32,
    offset: u64,
    hash: Box<Xxh3>,
    index: Index,
    known: HashMap<String, u32>,
}

impl StateFileWriter {
    /// A file of whole sections.
    pub(crate) fn create(place: &dyn Place, path: &str) -> Result<Self> {
        Self::begin(place.create(path)?, WHOLE)
    }

    /// A file of sections of any kind.
    pub(crate) fn run(file: Box<dyn PlaceFile>) -> Result<Self> {
        Self::begin(file, RUNS)
    }

    fn begin(file: Box<dyn PlaceFile>, version: u32) -> Result<Self> {
        let mut writer = Self { file, version, offset: 0, hash: Box::default(), index: Index::default(), known: HashMap::new() };
        writer.write(&[&MAGIC[..], &version.to_le_bytes(), &[0; 4]].concat())?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.offset += bytes.len() as u64;
        self.file.write(bytes)
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(place) = self.known.get(text) {
            return *place;
        }
        let place = self.index.strings.len() as u32;
        self.index.strings.push(text.to_owned());
        self.known.insert(text.to_owned(), place);
        place
    }

    /// Adds a whole section of an operator's instance.
    pub(crate) fn add(&mut self, operator: &str, worker: usize, section: &StateSection) -> Result<()> {
        let head = SectionHead {
            operator,
            worker,
            state: &section.name,
            schema: &section.schema,
            keys: &section.keys,
            key_group: section.key_group,
            sequence: 0,
            kind: SectionKind::Whole,
        };
        self.put(head, &section.bytes).map(drop)
    }

    /// Adds a section. Gives what the index says of it.
    pub(crate) fn put(&mut self, head: SectionHead<'_>, bytes: &[u8]) -> Result<Stored> {
        let stored = Stored {
            operator: self.string(head.operator),
            state: self.string(head.state),
            schema: self.string(head.schema),
            keys: self.string(head.keys),
            worker: head.worker as u32,
            group: head.key_group.unwrap_or(NO_GROUP),
            offset: self.offset,
            bytes: bytes.len() as u64,
            checksum: xxh3_64(bytes),
            sequence: head.sequence,
            kind: head.kind.byte(),
        };
        self.index.sections.push(stored);
        self.write(bytes)?;
        Ok(stored)
    }

    /// Bytes written so far: where the next section will lie.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Ends the file and makes it safe. Gives its length and checksum.
    pub(crate) fn finish(mut self) -> Result<(u64, u64)> {
        let mut index = Vec::new();
        if self.version == WHOLE {
            Codec::<WholeIndex>::new()?.encode(&WholeIndex::from(&self.index), &mut index)?;
        } else {
            Codec::<Index>::new()?.encode(&self.index, &mut index)?;
        }
        let at = self.offset;
        self.write(&index)?;
        let words = [at, index.len() as u64, xxh3_64(&index)].map(u64::to_le_bytes);
        self.write(words.as_flattened())?;
        self.write(&MAGIC)?;
        self.file.finish()?;
        Ok((self.offset, self.hash.digest()))
    }
}

/// Reads a file that is complete.
pub(crate) struct StateFile {
    pub(crate) path: String,
    pub(crate) index: Index,
}

impl StateFile {
    /// Reads what the file has.
    ///
    /// # Errors
    /// It is not there, is cut off, or its index is damaged: with its name and what was expected.
    pub(crate) fn open(place: &dyn Place, path: String) -> Result<Self> {
        let wrong = |message: String| file_error(&place.shown(&path), message);
        let length = place.length(&path)?.ok_or_else(|| wrong("no such file".into()))?;
        if length < HEADER + TRAILER {
            return Err(wrong(format!("cut off: expected at least {} bytes, found {length}", HEADER + TRAILER)));
        }
        let header = place.read_range(&path, 0..HEADER)?;
        if header[..8] != MAGIC {
            return Err(wrong("is not a file of state: it does not begin with FLUVSTAT".into()));
        }
        let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if version != WHOLE && version != RUNS {
            return Err(wrong(format!("has version {version} of the format, expected {WHOLE} or {RUNS}")));
        }
        let trailer = place.read_range(&path, length - TRAILER..length)?;
        let (words, magic) = trailer.as_chunks::<8>().0.split_at(3);
        if magic != [MAGIC] {
            return Err(wrong(format!("cut off or overwritten: its last 8 bytes, of {length}, are not FLUVSTAT")));
        }
        let [at, bytes, checksum] = [0, 1, 2].map(|i| u64::from_le_bytes(words[i]));
        if at < HEADER || at.checked_add(bytes) != Some(length - TRAILER) {
            return Err(wrong(format!(
                "its index is said to be {bytes} bytes from byte {at} on, which {length} bytes do not have"
            )));
        }
        let index = place.read_range(&path, at..at + bytes)?;
        if xxh3_64(&index) != checksum {
            return Err(wrong(format!("its index, {bytes} bytes from byte {at} on, has not the checksum {}", hex(checksum))));
        }
        let decoded = match version {
            WHOLE => Codec::<WholeIndex>::new()?.decode(&index).map(Index::from),
            _ => Codec::<Index>::new()?.decode(&index),
        };
        let index = decoded.map_err(|e| wrong(format!("its index: {e}")))?;
        let outside = |s: &Stored| {
            let strings = [s.operator, s.state, s.schema, s.keys];
            s.offset < HEADER
                || s.offset.checked_add(s.bytes).is_none_or(|end| end > at)
                || strings.iter().any(|place| *place as usize >= index.strings.len())
                || SectionKind::of(s.kind).is_none()
        };
        if let Some(number) = index.sections.iter().position(outside) {
            return Err(wrong(format!("section {number} of its index lies outside of it, or is of no known kind")));
        }
        Ok(Self { path, index })
    }

    pub(crate) fn text(&self, place: u32) -> &str {
        &self.index.strings[place as usize]
    }

    /// Reads a section of the index.
    ///
    /// # Errors
    /// Its checksum is wrong: with the file's name, the state and where it lies.
    pub(crate) fn read(&self, place: &dyn Place, stored: &Stored) -> Result<StateSection> {
        let bytes = place.read_range(&self.path, stored.offset..stored.offset + stored.bytes)?;
        if xxh3_64(&bytes) != stored.checksum {
            let (state, operator) = (self.text(stored.state), self.text(stored.operator));
            let at = format!("{} bytes from byte {} on", stored.bytes, stored.offset);
            let message = format!(
                "state `{state}` of operator `{operator}` is damaged: {at} have not the checksum {}",
                hex(stored.checksum)
            );
            return Err(file_error(&place.shown(&self.path), message));
        }
        Ok(StateSection { bytes, ..self.head(stored) })
    }

    /// A section of the index without its records.
    pub(crate) fn head(&self, stored: &Stored) -> StateSection {
        StateSection {
            name: self.text(stored.state).to_owned(),
            key_group: stored.key_group(),
            schema: self.text(stored.schema).to_owned(),
            keys: self.text(stored.keys).to_owned(),
            ..StateSection::default()
        }
    }
}

/// Compares a file with what a manifest says of it, byte by byte.
///
/// # Errors
/// With the file's name, what was expected and what was found.
pub(crate) fn verify(place: &dyn Place, path: &str, entry: &FileEntry) -> Result<()> {
    /// Read at a time.
    const STEP: u64 = 4 << 20;
    check_length(place, path, entry)?;
    let mut hash = Xxh3::default();
    let mut at = 0;
    while at < entry.bytes {
        let end = (at + STEP).min(entry.bytes);
        hash.update(&place.read_range(path, at..end)?);
        at = end;
    }
    let found = hex(hash.digest());
    if found != entry.checksum {
        let message = format!("altered: expected the checksum {}, found {found}", entry.checksum);
        return Err(file_error(&place.shown(path), message));
    }
    Ok(())
}

/// As [`verify`], of the length alone.
pub(crate) fn check_length(place: &dyn Place, path: &str, entry: &FileEntry) -> Result<()> {
    match place.length(path)? {
        Some(length) if length == entry.bytes => Ok(()),
        Some(length) => Err(file_error(&place.shown(path), format!("expected {} bytes, found {length}", entry.bytes))),
        None => Err(file_error(&place.shown(path), "no such file")),
    }
}

impl From<std::num::TryFromIntError> for Error {
    fn from(error: std::num::TryFromIntError) -> Self {
        Self::Checkpoint(error.to_string())
    }
}
