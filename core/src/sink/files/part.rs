//! One file in the making.

use super::Settings;
use crate::io::{
    CsvOptions, ParquetFile, PendingFile, RowGroupEncoder, SealedFile, WriteOptions, encode_csv, file_error, rename_new,
};
use crate::table::Rows;
use crate::{Data, Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use fluvial_memory::{HeapCharge, Reservation};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER: usize = 64 << 10;

/// Records gathered before they become columns.
const ROWS: usize = 1024;

/// Appends a record to text, with the end of its line.
pub(super) type LineFn<T> = fn(&T, &mut Vec<u8>) -> std::result::Result<(), String>;

/// What the files hold.
pub(super) enum Form<T> {
    Lines(LineFn<T>, &'static str),
    Csv(CsvOptions, Columns),
    Parquet(WriteOptions, Columns),
}

/// The columns of a record type.
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    /// Whether a record is the value of the only column.
    pub(super) single: bool,
}

impl Columns {
    fn rows(&self) -> Result<Rows> {
        Rows::new(self.schema.clone(), self.single)
    }
}

impl<T> Form<T> {
    pub(super) fn extension(&self) -> &'static str {
        match self {
            Self::Lines(_, extension) => extension,
            Self::Csv(options, _) if options.delimiter == b'\t' => "tsv",
            Self::Csv(..) => "csv",
            Self::Parquet(..) => "parquet",
        }
    }
}

/// A complete file that is still hidden, as state: what a checkpoint needs to give it its name. Paths are relative to the
/// sink's folder, so that the folder may be moved in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingPart {
    /// The bucket's folder.
    pub(crate) bucket: String,
    /// The name it has.
    pub(crate) hidden: String,
    /// The name it will have.
    pub(crate) name: String,
}

impl PendingPart {
    pub(super) fn new(bucket: &str, worker: usize, number: u64, extension: &str) -> Self {
        let stem = format!("part-{worker}-{number}");
        Self { bucket: bucket.to_owned(), hidden: format!(".{stem}.inprogress"), name: format!("{stem}.{extension}") }
    }

    pub(super) fn target(&self, folder: &Path) -> PathBuf {
        folder.join(&self.bucket).join(&self.name)
    }

    /// Gives the file its name, unless somebody has: idempotent, from any process. Whoever calls it syncs the folder.
    ///
    /// # Errors
    /// [`Error::File`] if the file is under neither name, or another one has taken its.
    pub(super) fn recover(&self, folder: &Path) -> Result<()> {
        let target = self.target(folder);
        let hidden = folder.join(&self.bucket).join(&self.hidden);
        match rename_new(&hidden, &target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && target.exists() => Ok(()),
            Err(error) => {
                Err(file_error(&target, format!("a file of the checkpoint cannot be taken from {}: {error}", hidden.display())))
            }
        }
    }
}

/// A file that records are appended to. Dropped, it is removed.
pub(super) struct Part<T> {
    pub(super) id: PendingPart,
    target: PathBuf,
    encoder: Encoder<T>,
    records: u64,
    /// When it is rolled, whatever its size: processing time, in milliseconds.
    pub(super) deadline: i64,
    /// When records last began to come for it, in steps of the sink.
    pub(super) last_used: u64,
}

enum Encoder<T> {
    Lines { out: Text, line: LineFn<T> },
    Csv { out: Text, rows: Rows, options: CsvOptions },
    Parquet { file: ParquetFile, encoder: RowGroupEncoder, rows: Rows, groups: u64 },
}

/// A file of text, written in large pieces.
struct Text {
    file: PendingFile,
    buffer: Vec<u8>,
    written: u64,
    _held: Option<HeapCharge>,
}

impl Text {
    fn new(file: PendingFile, memory: &Reservation) -> Self {
        Self { file, buffer: Vec::with_capacity(BUFFER), written: 0, _held: memory.charge_heap(BUFFER) }
    }

    fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl<T: Data> Part<T> {
    pub(super) fn new(
        id: PendingPart,
        target: PathBuf,
        file: PendingFile,
        settings: &Settings<T>,
        memory: &Reservation,
    ) -> Result<Self> {
        let encoder = match &settings.form {
            Form::Lines(line, _) => Encoder::Lines { out: Text::new(file, memory), line: *line },
            Form::Csv(options, columns) => {
                let mut out = Text::new(file, memory);
                encode_csv(options, &RecordBatch::new_empty(columns.schema.clone()), &mut out.buffer)?;
                Encoder::Csv { out, rows: columns.rows()?, options: options.clone() }
            }
            Form::Parquet(options, columns) => {
                let file = ParquetFile::over(file, &target, columns.schema.clone(), options)?;
                Encoder::Parquet { encoder: file.encoder(memory), file, rows: columns.rows()?, groups: 0 }
            }
        };
        Ok(Self { id, target, encoder, records: 0, deadline: i64::MAX, last_used: 0 })
    }

    /// Appends a record; returns the file's size, which of columns is known every 1024 records and roughly.
    #[inline]
    pub(super) fn append(&mut self, record: &T) -> Result<u64> {
        self.records += 1;
        match &mut self.encoder {
            Encoder::Lines { out, line } => {
                if let Err(reason) = line(record, &mut out.buffer) {
                    return Err(file_error(&self.target, format!("record {}: {reason}", self.records)));
                }
                if out.buffer.len() >= BUFFER {
                    out.write().map_err(|e| file_error(&self.target, e))?;
                }
                Ok(out.bytes())
            }
            Encoder::Csv { rows, .. } | Encoder::Parquet { rows, .. } => {
                if let Err(reason) = rows.append(record) {
                    return Err(file_error(&self.target, format!("record {}: {reason}", self.records)));
                }
                if rows.len() < ROWS { Ok(0) } else { self.encode() }
            }
        }
    }

    /// Encodes the rows gathered; returns the file's size.
    fn encode(&mut self) -> Result<u64> {
        match &mut self.encoder {
            Encoder::Lines { out, .. } => Ok(out.bytes()),
            Encoder::Csv { out, rows, options } => {
                if rows.len() > 0 {
                    encode_csv(options, &rows.finish()?, &mut out.buffer)
                        .map_err(|e| Error::Plan(format!("writing {}: {e}", self.target.display())))?;
                }
                if out.buffer.len() >= BUFFER {
                    out.write().map_err(|e| file_error(&self.target, e))?;
                }
                Ok(out.bytes())
            }
            Encoder::Parquet { file, encoder, rows, groups } => {
                if rows.len() > 0 {
                    encoder.write(&rows.finish()?)?;
                }
                if encoder.is_full()
                    && let Some(group) = encoder.close()?
                {
                    file.append(*groups, group)?;
                    *groups += 1;
                }
                Ok(file.bytes_written() + encoder.encoded_bytes() as u64)
            }
        }
    }

    /// Completes the file, which stays hidden.
    pub(super) fn seal(mut self) -> Result<(PendingPart, SealedFile)> {
        self.encode()?;
        let sealed = match self.encoder {
            Encoder::Lines { mut out, .. } | Encoder::Csv { mut out, .. } => {
                out.write().map_err(|e| file_error(&self.target, e))?;
                out.file.seal()?
            }
            Encoder::Parquet { file, mut encoder, groups, .. } => {
                if let Some(group) = encoder.close()? {
                    file.append(groups, group)?;
                }
                file.seal()?
            }
        };
        tracing::debug!(path = %self.target.display(), records = self.records, "complete");
        Ok((self.id, sealed))
    }
}
