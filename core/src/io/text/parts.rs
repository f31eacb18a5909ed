//! One CSV, JSON lines or text file written by several workers.
//!
//! Text has to lie in the file in its order, and a worker may be far ahead of another. So each worker encodes into a
//! file of its own without a name and notes where in the table each piece stands; at the end the pieces are copied in
//! order into the file. The trade-off: the bytes are written twice, but nothing waits and nothing is held in memory.

use super::super::file_error;
use super::super::format::{CsvOptions, Format};
use super::super::output::{PendingFile, WriteOptions, Written, check_columns};
use super::writer::{csv_builder, failed};
use crate::{Error, Position, Result};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_json::LineDelimitedWriter;
use arrow_schema::{DataType, SchemaRef};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// A file in the making, shared by workers. Dropped before [`TextFile::finish`] it leaves nothing behind.
#[derive(Clone)]
pub struct TextFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    format: Format,
    schema: SchemaRef,
    state: Mutex<Option<State>>,
}

struct State {
    pending: PendingFile,
    parts: Vec<(File, Vec<Piece>)>,
    rows: u64,
}

/// Bytes of a worker's file.
struct Piece {
    position: Option<Position>,
    start: u64,
    end: u64,
}

/// Encodes batches for a [`TextFile`].
pub struct TextEncoder {
    shared: Arc<Shared>,
    file: File,
    buffer: Vec<u8>,
    written: u64,
    pieces: Vec<Piece>,
    rows: u64,
}

impl TextFile {
    /// Starts a file that will be at `path`; the format is one of the text formats.
    ///
    /// # Errors
    /// [`Error::File`] if the folder is not there or not writable; [`Error::Plan`] if the format has no form for a column.
    pub fn create(path: &Path, format: &Format, schema: SchemaRef, options: &WriteOptions) -> Result<Self> {
        match format {
            Format::Csv(_) => {
                if let Some(nested) = schema.fields().iter().find(|f| f.data_type().is_nested()) {
                    let (name, data_type) = (nested.name(), nested.data_type());
                    let path = path.display();
                    return Err(Error::Plan(format!("writing {path}: CSV has no form for column `{name}` ({data_type})")));
                }
            }
            Format::Text(_) if schema.fields().len() != 1 || *schema.field(0).data_type() != DataType::Utf8 => {
                let found = schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect::<Vec<_>>();
                let (path, found) = (path.display(), found.join(", "));
                return Err(Error::Plan(format!("writing {path}: text holds one column of strings, found {found}")));
            }
            Format::Text(_) | Format::JsonLines(_) => {}
            Format::Parquet => return Err(Error::Plan(format!("{}: Parquet is not a text format", path.display()))),
        }
        let pending = PendingFile::create(path, options.sync)?;
        let state = Mutex::new(Some(State { pending, parts: Vec::new(), rows: 0 }));
        Ok(Self { shared: Arc::new(Shared { path: path.to_owned(), format: format.clone(), schema, state }) })
    }

    /// An encoder for one worker.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot have a file beside the target.
    pub fn encoder(&self) -> Result<TextEncoder> {
        let path = &self.shared.path;
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::tempfile_in(folder).map_err(|e| file_error(path, e))?;
        Ok(TextEncoder { shared: self.shared.clone(), file, buffer: Vec::new(), written: 0, pieces: Vec::new(), rows: 0 })
    }

    /// Puts the pieces of all closed encoders together and gives the file its name.
    ///
    /// # Errors
    /// [`Error::File`] if the disk is full or the file cannot be written, also if it was finished before.
    pub fn finish(&self) -> Result<Written> {
        let path = &self.shared.path;
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).take();
        let State { pending, parts, rows } = state.ok_or_else(|| file_error(path, "finished twice"))?;
        let mut order: Vec<(Option<Position>, usize, &Piece)> = Vec::new();
        for (part, (_, pieces)) in parts.iter().enumerate() {
            order.extend(pieces.iter().map(|piece| (piece.position, part, piece)));
        }
        // Stable: pieces without a position stay in their order, worker by worker.
        order.sort_by_key(|(position, part, _)| (*position, *part));
        let mut out = pending.file();
        let copied = || -> io::Result<()> {
            out.write_all(&self.shared.header()?)?;
            for (_, part, piece) in order {
                let mut file = &parts[part].0;
                file.seek(SeekFrom::Start(piece.start))?;
                io::copy(&mut file.take(piece.end - piece.start), &mut out)?;
            }
            Ok(())
        };
        copied().map_err(|e| file_error(path, e))?;
        let bytes = pending.commit()?;
        Ok(Written { rows, bytes, path: path.clone() })
    }
}

impl Shared {
    fn header(&self) -> io::Result<Vec<u8>> {
        let mut header = Vec::new();
        if let Format::Csv(csv) = &self.format {
            let empty = RecordBatch::new_empty(self.schema.clone());
            csv_builder(csv).build(&mut header).write(&empty).map_err(io::Error::other)?;
        }
        Ok(header)
    }

    fn encode(&self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        match &self.format {
            Format::Csv(csv) => {
                let plain = CsvOptions { header: false, ..csv.clone() };
                csv_builder(&plain).build(out).write(batch).map_err(|e| failed(&self.path, e))
            }
            Format::JsonLines(_) => {
                let mut writer = LineDelimitedWriter::new(out);
                writer.write(batch).and_then(|()| writer.finish()).map_err(|e| failed(&self.path, e))
            }
            Format::Text(_) => {
                for line in batch.column(0).as_string::<i32>() {
                    out.extend_from_slice(line.unwrap_or_default().as_bytes());
                    out.push(b'\n');
                }
                Ok(())
            }
            Format::Parquet => Err(Error::Plan("Parquet is not a text format".into())),
        }
    }
}

impl TextEncoder {
    /// Encodes a batch that stands at a position in the table, if it has an order.
    ///
    /// # Errors
    /// [`Error::Plan`] if the columns are not the file's; [`Error::File`] if the disk is full.
    pub fn write(&mut self, batch: &RecordBatch, position: Option<Position>) -> Result<()> {
        check_columns(&self.shared.path, &self.shared.schema, batch)?;
        let start = self.written + self.buffer.len() as u64;
        if batch.num_rows() > 0 {
            self.shared.encode(batch, &mut self.buffer)?;
        }
        let end = self.written + self.buffer.len() as u64;
        self.rows += batch.num_rows() as u64;
        match self.pieces.last_mut() {
            Some(last) if last.position.map(|p| p.range) == position.map(|p| p.range) => last.end = end,
            _ => self.pieces.push(Piece { position, start, end }),
        }
        if self.buffer.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|e| file_error(&self.shared.path, e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Hands what was encoded to the file.
    ///
    /// # Errors
    /// [`Error::File`] if the disk is full.
    pub fn close(mut self) -> Result<()> {
        self.flush()?;
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = state.as_mut().ok_or_else(|| file_error(&self.shared.path, "closed after the file was finished"))?;
        state.rows += self.rows;
        state.parts.push((self.file, self.pieces));
        Ok(())
    }
}
