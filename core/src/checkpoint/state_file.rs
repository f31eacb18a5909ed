//! Files of sections of state: see the README of this folder for the bytes.

use super::place::{Place, PlaceFile};
use crate::io::file_error;
use crate::{Error, Result, StateSection};
use fluvial_memory::Codec;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: [u8; 8] = *b"FLUVSTAT";
/// The version of the bytes that this code writes, and the only one that it reads.
pub(crate) const VERSION: u32 = 1;
const HEADER: u64 = 16;
const TRAILER: u64 = 32;
/// The key group of a section that belongs to an instance.
const NO_GROUP: u16 = u16::MAX;

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
    checksum: u64,
}

impl Stored {
    pub(crate) fn key_group(&self) -> Option<u16> {
        (self.group != NO_GROUP).then_some(self.group)
    }
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
    offset: u64,
    hash: Box<Xxh3>,
    index: Index,
    known: HashMap<String, u32>,
}

impl StateFileWriter {
    pub(crate) fn create(place: &dyn Place, path: &str) -> Result<Self> {
        let file = place.create(path)?;
        let mut writer = Self { file, offset: 0, hash: Box::default(), index: Index::default(), known: HashMap::new() };
        writer.write(&MAGIC)?;
        writer.write(&VERSION.to_le_bytes())?;
        writer.write(&[0; 4])?;
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

    /// Adds a section of an operator's instance.
    pub(crate) fn add(&mut self, operator: &str, worker: usize, section: &StateSection) -> Result<()> {
        let stored = Stored {
            operator: self.string(operator),
            state: self.string(&section.name),
            schema: self.string(&section.schema),
            keys: self.string(&section.keys),
            worker: worker as u32,
            group: section.key_group.unwrap_or(NO_GROUP),
            offset: self.offset,
            bytes: section.bytes.len() as u64,
            checksum: xxh3_64(&section.bytes),
        };
        self.index.sections.push(stored);
        self.write(&section.bytes)
    }

    /// Ends the file and makes it safe. Gives its length and checksum.
    pub(crate) fn finish(mut self) -> Result<(u64, u64)> {
        let mut index = Vec::new();
        Codec::<Index>::new()?.encode(&self.index, &mut index)?;
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
        if version != VERSION {
            return Err(wrong(format!("has version {version} of the format, expected {VERSION}")));
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
        let index: Index = Codec::new()?.decode(&index).map_err(|e| wrong(format!("its index: {e}")))?;
        let outside = |s: &Stored| {
            let strings = [s.operator, s.state, s.schema, s.keys];
            s.offset < HEADER
                || s.offset.checked_add(s.bytes).is_none_or(|end| end > at)
                || strings.iter().any(|place| *place as usize >= index.strings.len())
        };
        if let Some(number) = index.sections.iter().position(outside) {
            return Err(wrong(format!("section {number} of its index lies outside of it")));
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
        Ok(StateSection {
            name: self.text(stored.state).to_owned(),
            key_group: stored.key_group(),
            schema: self.text(stored.schema).to_owned(),
            keys: self.text(stored.keys).to_owned(),
            bytes,
        })
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
