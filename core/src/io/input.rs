//! Inputs: opened once, planned once, read in splits.

use super::parquet::{ParquetInput, ParquetScan};
use super::predicate::ColumnPredicate;
use super::text::{TextInput, TextScan};
use super::{Format, file_error};
use crate::{Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use fluvial_memory::Reservation;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows in a batch unless [`ScanOptions::batch_rows`] says otherwise.
const BATCH_ROWS: usize = 8192;

/// Files that form one table.
pub struct TableInput {
    pub(super) files: Arc<[PathBuf]>,
    pub(super) bytes: u64,
    kind: Kind,
}

enum Kind {
    Parquet(ParquetInput),
    Text(TextInput),
}

/// Which columns and rows a scan yields, and how.
#[derive(Clone, Debug, Default)]
pub struct ScanOptions {
    /// Columns by index, in the order wanted; all if `None`.
    pub projection: Option<Vec<usize>>,
    /// Only rows that match all of these. Their columns need not be in the projection.
    pub predicates: Vec<ColumnPredicate>,
    /// Most rows in a batch; 8192 if zero. Wide tables get fewer, so that a batch stays near 4 MiB.
    pub batch_rows: usize,
}

/// A planned read of an input: its splits, and readers for them. Shared by all workers.
pub struct Scan {
    schema: SchemaRef,
    splits: Vec<Split>,
    kind: ScanKind,
}

enum ScanKind {
    Parquet(ParquetScan),
    Text(TextScan),
}

/// A part of an input that is read on its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Split {
    /// Index of the file.
    pub file: usize,
    /// The row group (Parquet).
    pub row_group: usize,
    /// Parquet: rows of the row group. Else: bytes of the file; a record belongs to the range in which it starts.
    pub range: Range<u64>,
    /// About how many bytes of the file are read for it.
    pub bytes: u64,
    /// Records that were read before: the reader drops this many first. See [`BatchReader::position`].
    pub skip: u64,
}

/// Reads one split.
pub trait BatchReader: Send {
    /// The next batch, of the scan's schema; never empty; `None` at the end.
    ///
    /// # Errors
    /// [`Error::File`] that names the file and the place in it.
    fn next(&mut self) -> Result<Option<RecordBatch>>;

    /// Records given so far, those of [`Split::skip`] included: the same split with this as its `skip` goes on here.
    fn position(&self) -> u64;
}

/// A number that tells these splits, of files of these names, from others: a position in them means nothing in others. See
/// [`TableParts::fingerprint`](crate::TableParts::fingerprint).
///
/// # Errors
/// None that splits of this crate give.
pub fn fingerprint(files: &[PathBuf], splits: &[Split]) -> Result<u64> {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for name in files.iter().filter_map(|file| file.file_name()) {
        hash.update(name.as_encoded_bytes());
        hash.update(&[0]);
    }
    let splits = serde_json::to_vec(splits).map_err(|e| Error::Plan(format!("the splits of an input: {e}")))?;
    hash.update(&splits);
    Ok(hash.digest())
}

impl TableInput {
    /// Opens `files`, all of `format`: reads their metadata (or infers it from their first records), several at once,
    /// and brings their schemas together. Columns are matched by name; the first file gives the order.
    ///
    /// # Errors
    /// [`Error::File`] if a file cannot be read, or if its columns are not those of the first: names the file, the column
    /// and both types.
    pub fn open(files: &[PathBuf], format: &Format) -> Result<Self> {
        if files.is_empty() {
            return Err(Error::Plan("no input files".into()));
        }
        let mut bytes = 0;
        for file in files {
            bytes += file.metadata().map_err(|e| file_error(file, e))?.len();
        }
        let files: Arc<[PathBuf]> = files.into();
        let kind = match format {
            Format::Parquet => Kind::Parquet(ParquetInput::open(files.clone())?),
            Format::Csv(_) | Format::JsonLines(_) | Format::Text(_) => Kind::Text(TextInput::open(files.clone(), format)?),
        };
        Ok(Self { files, bytes, kind })
    }

    /// Columns and types.
    pub fn schema(&self) -> &SchemaRef {
        match &self.kind {
            Kind::Parquet(input) => input.schema(),
            Kind::Text(input) => input.schema(),
        }
    }

    /// The files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Number of rows, where the format knows it without reading everything.
    pub fn rows(&self) -> Option<u64> {
        match &self.kind {
            Kind::Parquet(input) => Some(input.rows()),
            Kind::Text(_) => None,
        }
    }

    /// Size of the files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Decides what is read: prunes by statistics and page indexes, and cuts the rest into splits.
    ///
    /// # Errors
    /// [`Error::Plan`] for a column that is not there or a predicate whose value does not fit its column;
    /// [`Error::File`] if an index cannot be read.
    pub fn plan(&self, options: &ScanOptions) -> Result<Scan> {
        let input = self.schema();
        let projection = match &options.projection {
            Some(columns) => columns.clone(),
            None => (0..input.fields().len()).collect(),
        };
        if let Some(missing) = projection.iter().find(|c| **c >= input.fields().len()) {
            return Err(Error::Plan(format!("column {missing} of {} is not there", input.fields().len())));
        }
        let fields: Vec<_> = projection.iter().map(|c| input.fields()[*c].clone()).collect();
        let schema = Arc::new(Schema::new(fields));
        let predicates: Vec<_> = options.predicates.iter().map(|p| p.bind(input)).collect::<Result<_>>()?;
        let batch_rows = if options.batch_rows == 0 { BATCH_ROWS } else { options.batch_rows };
        Ok(match &self.kind {
            Kind::Parquet(input) => {
                let (scan, splits) = input.plan(projection, schema.clone(), predicates, batch_rows)?;
                Scan { schema, splits, kind: ScanKind::Parquet(scan) }
            }
            Kind::Text(input) => {
                let (scan, splits) = input.plan(projection, schema.clone(), predicates, batch_rows)?;
                Scan { schema, splits, kind: ScanKind::Text(scan) }
            }
        })
    }
}

impl Scan {
    /// Columns of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The parts to read, in the order of the files.
    pub fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    /// A reader of one split; its buffers are charged to `charge`.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be opened.
    pub fn open(&self, split: &Split, charge: &Reservation) -> Result<Box<dyn BatchReader>> {
        let reader: Box<dyn BatchReader> = match &self.kind {
            ScanKind::Parquet(scan) => scan.open(split, charge)?,
            ScanKind::Text(scan) => scan.open(split, charge)?,
        };
        Ok(match split.skip {
            0 => reader,
            skip => Box::new(Skipping { reader, left: skip }),
        })
    }
}

/// Drops the records that were given before.
struct Skipping {
    reader: Box<dyn BatchReader>,
    left: u64,
}

impl BatchReader for Skipping {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.reader.next()? {
            let rows = batch.num_rows() as u64;
            if self.left >= rows {
                self.left -= rows;
                continue;
            }
            let first = std::mem::take(&mut self.left) as usize;
            return Ok(Some(batch.slice(first, batch.num_rows() - first)));
        }
        Ok(None)
    }

    fn position(&self) -> u64 {
        self.reader.position()
    }
}
