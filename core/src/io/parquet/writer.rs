//! Writing Parquet with several workers.
//!
//! Each worker encodes whole row groups by itself ([`RowGroupEncoder`]); a finished one is a list of compressed pages,
//! appended to the one file under a short lock. **Row groups are written as they come and listed in order**: the format
//! finds a row group by the offsets in the footer, so the order of the table is the order of the footer's list, wherever
//! the bytes lie. No worker ever waits for another, and nothing piles up in memory, however uneven the parts of a
//! globally sorted table are.

use super::super::file_error;
use super::super::output::{Compression, PendingFile, SealedFile, TableWriter, WriteOptions, Written, check_columns};
use super::dictionary::worthwhile;
use super::{guarded, message};
use crate::{Error, Position, Result};
use ::parquet::arrow::ArrowSchemaConverter;
use ::parquet::arrow::add_encoded_arrow_schema_to_metadata;
use ::parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use ::parquet::basic;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataWriter};
use ::parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::types::{ColumnPath, TypePtr};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use fluvial_memory::{HeapCharge, Reservation};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Least encoded bytes of a row group that is closed early because the pool has no more memory.
const LEAST_GROUP: usize = 1 << 20;

/// A Parquet file that several workers write. Clones are the same file; dropped before [`ParquetFile::finish`], it leaves
/// nothing behind.
///
/// ```
/// use arrow_array::{Int64Array, RecordBatch};
/// use fluvial_core::io::{ParquetFile, WriteOptions};
/// use fluvial_memory::MemoryManager;
/// use std::sync::Arc;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("numbers.parquet");
/// let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _)])?;
/// let memory = MemoryManager::new(16 << 20)?.reserve("write", 0)?;
/// let file = ParquetFile::create(&path, batch.schema(), &WriteOptions::default())?;
/// let mut encoder = file.encoder(&memory);
/// encoder.write(&batch)?;
/// if let Some(group) = encoder.close()? {
///     file.append(0, group)?;
/// }
/// assert_eq!(file.finish()?.rows, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ParquetFile {
    shared: Arc<FileShared>,
}

struct FileShared {
    path: PathBuf,
    schema: SchemaRef,
    columns: TypePtr,
    compression: basic::Compression,
    row_group_bytes: usize,
    state: Mutex<Option<FileState>>,
}

struct FileState {
    writer: SerializedFileWriter<File>,
    /// Removes the file when it is dropped.
    pending: PendingFile,
    /// Place in the table of each row group written, in the order of writing.
    places: Vec<(u64, u64)>,
    rows: u64,
}

/// Encodes row groups of a [`ParquetFile`], one after the other.
pub struct RowGroupEncoder {
    file: Arc<FileShared>,
    charge: Reservation,
    /// Makes column writers; the columns that have a dictionary in the current row group.
    factory: Option<ArrowRowGroupWriterFactory>,
    dictionaries: Vec<bool>,
    columns: Vec<ArrowColumnWriter>,
    rows: u64,
    /// Rows of the row group before, or a guess.
    rows_before: u64,
    encoded: usize,
    held: Option<HeapCharge>,
    refused: bool,
}

/// A row group ready to be appended; holds its memory until it is.
pub struct EncodedRowGroup {
    columns: Vec<ArrowColumnChunk>,
    rows: u64,
    bytes: usize,
    _held: Option<HeapCharge>,
}

impl ParquetFile {
    /// Starts a file that will be at `path`.
    ///
    /// # Errors
    /// [`Error::File`] if the folder is not there or not writable; [`Error::Plan`] if Parquet has no form for a column.
    pub fn create(path: &Path, schema: SchemaRef, options: &WriteOptions) -> Result<Self> {
        Self::over(PendingFile::create(path, options.sync)?, path, schema, options)
    }

    /// As [`ParquetFile::create`], over a file that has its hidden name already.
    pub(crate) fn over(pending: PendingFile, path: &Path, schema: SchemaRef, options: &WriteOptions) -> Result<Self> {
        let plan = |e: ParquetError| Error::Plan(format!("{}: {}", path.display(), message(&e)));
        let compression = compression(options.compression)?;
        let mut properties = properties(compression).build();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let columns = ArrowSchemaConverter::new().convert(&schema).map_err(plan)?.root_schema_ptr();
        let out = pending.file().try_clone().map_err(|e| file_error(path, e))?;
        let writer =
            SerializedFileWriter::new(out, columns.clone(), Arc::new(properties)).map_err(|e| file_error(path, message(&e)))?;
        ArrowRowGroupWriterFactory::new(&writer, schema.clone()).create_column_writers(0).map_err(plan)?;
        let shared = FileShared {
            path: path.to_owned(),
            schema,
            columns,
            compression,
            row_group_bytes: options.row_group_bytes.max(1),
            state: Mutex::new(Some(FileState { writer, pending, places: Vec::new(), rows: 0 })),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// An encoder for one worker; what it buffers is charged to `charge`.
    pub fn encoder(&self, charge: &Reservation) -> RowGroupEncoder {
        RowGroupEncoder {
            file: self.shared.clone(),
            charge: charge.clone(),
            factory: None,
            dictionaries: Vec::new(),
            columns: Vec::new(),
            rows: 0,
            rows_before: 100_000,
            encoded: 0,
            held: None,
            refused: false,
        }
    }

    /// Appends a row group that stands at `order` among the row groups of the table. Numbers need not come in order nor
    /// without gaps; row groups with the same number stay in the order of their appending. Where no order is wanted, any
    /// number will do. Never waits for another row group.
    ///
    /// # Errors
    /// [`Error::File`] if the disk is full or the file cannot be written.
    pub fn append(&self, order: u64, group: EncodedRowGroup) -> Result<()> {
        self.append_place((0, order), group)
    }

    /// Appends a row group of a globally ordered table: ranges in order, within a range by sequence.
    ///
    /// # Errors
    /// As [`ParquetFile::append`].
    pub fn append_at(&self, position: Position, group: EncodedRowGroup) -> Result<()> {
        self.append_place((position.range, position.sequence), group)
    }

    fn append_place(&self, place: (u64, u64), group: EncodedRowGroup) -> Result<()> {
        let path = &self.shared.path;
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.as_mut().ok_or_else(|| file_error(path, "appended to after it was finished"))?;
        guarded(path, String::new, || {
            let mut writer = state.writer.next_row_group()?;
            for column in group.columns {
                column.append_to_row_group(&mut writer)?;
            }
            writer.close()?;
            Ok(())
        })?;
        state.places.push(place);
        state.rows += group.rows;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes_written(&self) -> u64 {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map_or(0, |s| s.writer.bytes_written() as u64)
    }

    /// Writes the footer and gives the file its name.
    ///
    /// # Errors
    /// [`Error::File`], also if it was finished before.
    pub fn finish(&self) -> Result<Written> {
        let (pending, rows) = self.end()?;
        Ok(Written { rows, bytes: pending.commit()?, path: self.shared.path.clone() })
    }

    /// Writes the footer; the file stays hidden.
    ///
    /// # Errors
    /// As [`ParquetFile::finish`].
    pub(crate) fn seal(&self) -> Result<SealedFile> {
        self.end()?.0.seal()
    }

    fn end(&self) -> Result<(PendingFile, u64)> {
        let path = &self.shared.path;
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).take();
        let FileState { pending, mut writer, places, rows } = state.ok_or_else(|| file_error(path, "finished twice"))?;
        guarded(path, String::new, || {
            let metadata = writer.finish()?;
            drop(writer);
            if places.is_sorted() { Ok(()) } else { reorder(pending.file(), metadata, &places) }
        })?;
        Ok((pending, rows))
    }
}

/// Writes the footer anew with the row groups listed by their places.
fn reorder(mut file: &File, metadata: ParquetMetaData, places: &[(u64, u64)]) -> ParquetResult<()> {
    let mut tail = [0; 4];
    let end = file.metadata()?.len() - 8;
    file.read_exact_at(&mut tail, end)?;
    let footer = end - u64::from(u32::from_le_bytes(tail));
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|at| places[*at]);
    let mut builder = metadata.into_builder().set_page_index(None);
    let groups = builder.take_row_groups();
    let listed = order
        .iter()
        .enumerate()
        .map(|(ordinal, at)| groups[*at].clone().into_builder().set_ordinal(ordinal as i32).build())
        .collect::<ParquetResult<Vec<_>>>()?;
    let metadata = builder.set_row_groups(listed).build();
    file.set_len(footer)?;
    file.seek(SeekFrom::Start(footer))?;
    ParquetMetaDataWriter::new(file, &metadata).finish()
}

impl RowGroupEncoder {
    /// Encodes a batch. Look at [`RowGroupEncoder::is_full`] afterwards.
    ///
    /// # Errors
    /// [`Error::Plan`] if the batch's columns are not the file's; [`Error::File`] if a value cannot be encoded.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let file = &self.file;
        check_columns(&file.path, &file.schema, batch)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.columns.is_empty() {
            self.columns = self.begin(batch)?;
        }
        let (file, columns) = (&self.file, &mut self.columns);
        guarded(&file.path, String::new, || {
            let mut writers = columns.iter_mut();
            for (field, column) in file.schema.fields().iter().zip(batch.columns()) {
                for leaf in compute_leaves(field, column)? {
                    if let Some(writer) = writers.next() {
                        writer.write(&leaf)?;
                    }
                }
            }
            Ok(())
        })?;
        self.rows += batch.num_rows() as u64;
        self.encoded = self.columns.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum();
        self.account();
        Ok(())
    }

    /// Column writers of a row group that begins with `batch`.
    fn begin(&mut self, batch: &RecordBatch) -> Result<Vec<ArrowColumnWriter>> {
        let dictionaries: Vec<bool> = batch.columns().iter().map(|c| worthwhile(c, self.rows_before)).collect();
        let file = &self.file;
        guarded(&file.path, String::new, || {
            let factory = match &mut self.factory {
                Some(factory) if dictionaries == self.dictionaries => factory,
                factory => {
                    // The crate derives column writers from a file writer; this one stands in for the real one, with
                    // the properties of this row group.
                    let mut properties = properties(file.compression);
                    for (field, _) in file.schema.fields().iter().zip(&dictionaries).filter(|(_, worth)| !**worth) {
                        let path = ColumnPath::from(vec![field.name().clone()]);
                        properties = properties.set_column_dictionary_enabled(path, false);
                    }
                    let writer = SerializedFileWriter::new(io::sink(), file.columns.clone(), Arc::new(properties.build()))?;
                    self.dictionaries = dictionaries;
                    factory.insert(ArrowRowGroupWriterFactory::new(&writer, file.schema.clone()))
                }
            };
            factory.create_column_writers(0)
        })
    }

    /// Charges what is buffered now.
    fn account(&mut self) {
        let resident: usize = self.columns.iter().map(ArrowColumnWriter::memory_size).sum();
        let held = self.held.as_ref().map_or(0, HeapCharge::bytes);
        if resident > held {
            // A little ahead, so that not every batch asks.
            let wanted = resident + (1 << 20);
            self.held = None;
            self.held = self.charge.charge_heap(wanted).or_else(|| self.charge.charge_heap(resident));
            self.refused = self.held.is_none();
            if self.refused {
                self.held = self.charge.charge_heap(held);
            }
        }
    }

    /// Rows in the row group so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the row group so far, roughly.
    pub fn encoded_bytes(&self) -> usize {
        self.encoded
    }

    /// Whether the row group has the bytes that one should have (or the pool has no memory for a larger one): time to
    /// [`RowGroupEncoder::close`] it.
    pub fn is_full(&self) -> bool {
        self.encoded >= self.file.row_group_bytes || (self.refused && self.encoded >= LEAST_GROUP.min(self.file.row_group_bytes))
    }

    /// Ends the row group; `None` if it has no rows. The encoder can go on with the next one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn close(&mut self) -> Result<Option<EncodedRowGroup>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let columns = std::mem::take(&mut self.columns);
        self.rows_before = self.rows;
        let (rows, held) = (std::mem::take(&mut self.rows), self.held.take());
        self.encoded = 0;
        self.refused = false;
        let columns = guarded(&self.file.path, String::new, || {
            columns.into_iter().map(ArrowColumnWriter::close).collect::<ParquetResult<Vec<_>>>()
        })?;
        let bytes = columns.iter().map(|c| c.close().bytes_written as usize).sum();
        Ok(Some(EncodedRowGroup { columns, rows, bytes, _held: held }))
    }
}

impl EncodedRowGroup {
    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its size in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn properties(compression: basic::Compression) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(compression)
        .set_created_by(concat!("fluvial ", env!("CARGO_PKG_VERSION")).to_owned())
}

fn compression(compression: Compression) -> Result<basic::Compression> {
    let level = |e: ParquetError| Error::Plan(format!("compression {compression:?}: {e}"));
    Ok(match compression {
        Compression::None => basic::Compression::UNCOMPRESSED,
        Compression::Snappy => basic::Compression::SNAPPY,
        Compression::Lz4 => basic::Compression::LZ4_RAW,
        Compression::Zstd(l) => basic::Compression::ZSTD(basic::ZstdLevel::try_new(l).map_err(level)?),
        Compression::Gzip(l) => basic::Compression::GZIP(basic::GzipLevel::try_new(l).map_err(level)?),
        Compression::Brotli(l) => basic::Compression::BROTLI(basic::BrotliLevel::try_new(l).map_err(level)?),
    })
}

/// One writer of a Parquet file.
pub(in crate::io) struct ParquetTable {
    file: ParquetFile,
    encoder: RowGroupEncoder,
    groups: u64,
}

impl ParquetTable {
    pub(in crate::io) fn create(path: &Path, schema: SchemaRef, options: &WriteOptions, charge: &Reservation) -> Result<Self> {
        let file = ParquetFile::create(path, schema, options)?;
        Ok(Self { encoder: file.encoder(charge), file, groups: 0 })
    }

    fn end_group(&mut self) -> Result<()> {
        if let Some(group) = self.encoder.close()? {
            self.file.append(self.groups, group)?;
            self.groups += 1;
        }
        Ok(())
    }
}

impl TableWriter for ParquetTable {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.encoder.write(batch)?;
        if self.encoder.is_full() { self.end_group() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<Written> {
        self.end_group()?;
        self.file.finish()
    }
}
