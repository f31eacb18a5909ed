//! Records of CSV and JSON lines as values of any serde type, and text as lines, for typed jobs.

use super::super::format::{CsvOptions, Format};
use super::super::{Split, file_error};
use super::blocks::{Blocks, Bytes, newlines_before};
use super::csv::{builder, csv_message, head};
use super::input::file_splits;
use super::json::{json_message, split_lines};
use super::lines::LineReader;
use crate::{Error, Result};
use csv::{ByteRecord, Position, Reader};
use fluvial_memory::Reservation;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

/// Files of records: opened once, read in splits by any thread.
///
/// ```
/// use fluvial_core::io::{CsvOptions, Format, RecordInput};
/// use fluvial_memory::MemoryManager;
/// #[derive(serde::Deserialize, Debug, PartialEq)]
/// struct City {
///     name: String,
///     people: Option<u32>,
/// }
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("cities.csv");
/// std::fs::write(&path, "people,name\n3700000,Berlin\n,Atlantis\n")?;
/// let memory = MemoryManager::new(1 << 20)?.reserve("cities", 0)?;
/// let input = RecordInput::open(&[path.clone()], &Format::Csv(CsvOptions::default()))?;
/// let mut cities: Vec<City> = Vec::new();
/// for split in input.splits()? {
///     let mut reader = input.records(&split, &memory)?;
///     while reader.read(&mut cities, 1024)? > 0 {}
/// }
/// assert_eq!(cities[0], City { name: "Berlin".into(), people: Some(3_700_000) });
/// assert_eq!(cities[1].people, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordInput {
    files: Arc<[PathBuf]>,
    format: Format,
    opened: Vec<OpenedRecords>,
}

struct OpenedRecords {
    body: u64,
    length: u64,
    header: ByteRecord,
}

/// Reads the records of one split.
pub struct RecordReader<T> {
    kind: Kind,
    given: u64,
    skip: u64,
    record: PhantomData<fn() -> T>,
}

enum Kind {
    Csv(Box<CsvRecords>),
    Json { blocks: Blocks, at: usize },
}

struct CsvRecords {
    reader: Reader<Bytes>,
    record: ByteRecord,
    header: ByteRecord,
    path: PathBuf,
    /// First byte of the split, from which the parser counts lines.
    start: u64,
    /// Fields that stand for null, beside the empty one.
    nulls: Vec<String>,
}

impl RecordInput {
    /// Opens `files`; of CSV the headers are read.
    ///
    /// # Errors
    /// [`Error::File`] if a file cannot be read or has no header where it should; [`Error::Plan`] for Parquet.
    pub fn open(files: &[PathBuf], format: &Format) -> Result<Self> {
        let mut opened = Vec::with_capacity(files.len());
        for path in files {
            let length = path.metadata().map_err(|e| file_error(path, e))?.len();
            let (body, header) = match format {
                Format::Csv(csv) => {
                    let named = csv.schema.is_some() && !csv.header;
                    // Types are the caller's: nothing to infer.
                    let head = head(path, &CsvOptions { infer_records: 0, ..csv.clone() })?;
                    let names = match (&csv.schema, named) {
                        (Some(schema), true) => schema.fields().iter().map(|f| f.name().clone()).collect(),
                        _ => head.names,
                    };
                    (head.body, ByteRecord::from(names))
                }
                Format::JsonLines(_) | Format::Text(_) => (0, ByteRecord::new()),
                Format::Parquet => return Err(Error::Plan(format!("{}: Parquet has no typed records", path.display()))),
            };
            opened.push(OpenedRecords { body, length, header });
        }
        Ok(Self { files: files.into(), format: format.clone(), opened })
    }

    /// The files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Size of the files.
    pub fn bytes(&self) -> u64 {
        self.opened.iter().map(|o| o.length).sum()
    }

    /// The parts to read, in the order of the files. Large CSV files are passed over once to find them.
    ///
    /// # Errors
    /// [`Error::File`] if a file cannot be read.
    pub fn splits(&self) -> Result<Vec<Split>> {
        let csv = match &self.format {
            Format::Csv(csv) => Some(csv),
            _ => None,
        };
        let mut splits = Vec::new();
        for (file, (path, opened)) in self.files.iter().zip(&self.opened).enumerate() {
            splits.extend(file_splits(file, path, opened.body..opened.length, csv)?);
        }
        Ok(splits)
    }

    fn blocks(&self, split: &Split, charge: &Reservation) -> Result<Blocks> {
        let (Some(path), Some(opened)) = (self.files.get(split.file), self.opened.get(split.file)) else {
            return Err(Error::Plan(format!("a split of file {} is not of this input", split.file)));
        };
        Blocks::open(path, split.range.clone(), split.range.start == opened.body, Some(charge))
    }

    /// A reader of the split's records. CSV fields go to struct fields by the header's names (or, without a header, by
    /// those of the schema option or by position), to tuples by position.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be opened; [`Error::Plan`] for text, which has lines ([`RecordInput::lines`]).
    pub fn records<T: DeserializeOwned>(&self, split: &Split, charge: &Reservation) -> Result<RecordReader<T>> {
        let blocks = self.blocks(split, charge)?;
        let kind = match &self.format {
            Format::Csv(csv) => Kind::Csv(Box::new(CsvRecords {
                path: blocks.path().to_owned(),
                start: split.range.start,
                reader: builder(csv).from_reader(Bytes::new(blocks)),
                header: self.opened[split.file].header.clone(),
                record: ByteRecord::new(),
                nulls: csv.nulls.iter().filter(|n| !n.is_empty()).cloned().collect(),
            })),
            Format::JsonLines(_) => Kind::Json { blocks, at: 0 },
            other => return Err(Error::Plan(format!("{} has no typed records", other.name()))),
        };
        Ok(RecordReader { kind, given: 0, skip: split.skip, record: PhantomData })
    }

    /// A reader of the split's lines, whatever the format. [`Split::skip`] does not apply to it.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be opened.
    pub fn lines(&self, split: &Split, charge: &Reservation) -> Result<LineReader> {
        let options = match &self.format {
            Format::Text(options) => options.clone(),
            _ => Default::default(),
        };
        Ok(LineReader::new(self.blocks(split, charge)?, &options))
    }
}

impl<T: DeserializeOwned> RecordReader<T> {
    /// Appends up to `limit` records to `records`; returns how many, 0 at the end of the split.
    ///
    /// # Errors
    /// [`Error::File`] that names file, line and column of what is not such a record.
    pub fn read(&mut self, records: &mut Vec<T>, limit: usize) -> Result<usize> {
        let before = records.len();
        while records.len() - before < limit {
            let Some(record) = self.kind.next()? else { break };
            self.given += 1;
            if self.given > self.skip {
                records.push(record);
            }
        }
        Ok(records.len() - before)
    }

    /// Records given so far, skipped ones included; see [`Split::skip`].
    pub fn position(&self) -> u64 {
        self.given
    }
}

impl Kind {
    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        match self {
            Self::Csv(records) => records.next(),
            Self::Json { blocks, at } => loop {
                if let Some((offset, line)) = split_lines(&blocks.block()[*at..]).next() {
                    let offset = *at + offset;
                    *at = (offset + line.len() + 1).min(blocks.block().len());
                    let position = blocks.offset() + offset as u64;
                    return serde_json::from_slice(line)
                        .map(Some)
                        .map_err(|e| file_error(blocks.path(), json_message(blocks.path(), position, &e)));
                }
                *at = 0;
                if !blocks.advance()? {
                    return Ok(None);
                }
            },
        }
    }
}

impl CsvRecords {
    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let read = self.reader.read_byte_record(&mut self.record);
        let path = &self.path;
        if !read.map_err(|e| self.reader.get_mut().take_error().unwrap_or_else(|| file_error(path, e)))? {
            return Ok(None);
        }
        if self.record.len() != self.header.len() {
            let (expected, found) = (self.header.len(), self.record.len());
            return Err(file_error(&self.path, format!("line {}: expected {expected} fields, found {found}", self.line())));
        }
        let is_null = |field: &[u8]| self.nulls.iter().any(|n| n.as_bytes() == field);
        if !self.nulls.is_empty() && self.record.iter().any(is_null) {
            let mut plain: ByteRecord = self.record.iter().map(|f| if is_null(f) { &[][..] } else { f }).collect();
            plain.set_position(self.record.position().cloned());
            self.record = plain;
        }
        self.record.deserialize(Some(&self.header)).map(Some).map_err(|e| self.failed(&e))
    }

    fn line(&self) -> u64 {
        self.record.position().map_or(1, Position::line) + newlines_before(&self.path, self.start)
    }

    fn failed(&self, error: &csv::Error) -> Error {
        let field = match error.kind() {
            csv::ErrorKind::Deserialize { err, .. } => err.field(),
            csv::ErrorKind::Utf8 { err, .. } => Some(err.field() as u64),
            _ => None,
        };
        let name = field.and_then(|f| self.header.get(f as usize)).map(String::from_utf8_lossy);
        let name = name.map(|n| format!(" (`{n}`)")).unwrap_or_default();
        let message = csv_message(error, newlines_before(&self.path, self.start));
        file_error(&self.path, format!("{message}{name}"))
    }
}
