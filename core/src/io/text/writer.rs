//! Writing CSV, JSON lines and text.

use super::super::file_error;
use super::super::format::CsvOptions;
use super::super::output::{PendingFile, TableWriter, WriteOptions, Written, check_columns};
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_json::LineDelimitedWriter;
use arrow_schema::{ArrowError, DataType, SchemaRef};
use fluvial_memory::{HeapCharge, Reservation};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// The end of all text writers: a buffered pending file, and what went into it.
struct Sink {
    out: io::BufWriter<PendingFile>,
    _held: Option<HeapCharge>,
}

impl Sink {
    fn create(path: &Path, options: &WriteOptions, charge: &Reservation) -> Result<Self> {
        let held = charge.charge_heap(BUFFER);
        Ok(Self { out: io::BufWriter::with_capacity(BUFFER, PendingFile::create(path, options.sync)?), _held: held })
    }

    fn finish(self, path: PathBuf, rows: u64) -> Result<Written> {
        let pending = self.out.into_inner().map_err(|e| file_error(&path, e.error()))?;
        let bytes = pending.commit()?;
        Ok(Written { rows, bytes, path })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        // The writers of the arrow crates flush after every batch; the file is only of use when it is complete.
        Ok(())
    }
}

pub(super) fn failed(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(message, _) | ArrowError::CsvError(message) => file_error(path, message),
        other => Error::Plan(format!("writing {}: {other}", path.display())),
    }
}

/// CSV as these options have it.
pub(super) fn csv_builder(csv: &CsvOptions) -> arrow_csv::WriterBuilder {
    let builder = arrow_csv::WriterBuilder::new()
        .with_header(csv.header)
        .with_delimiter(csv.delimiter)
        .with_quote(csv.quote)
        .with_null(csv.nulls.first().cloned().unwrap_or_default());
    match csv.escape {
        Some(escape) => builder.with_escape(escape).with_double_quote(false),
        None => builder,
    }
}

/// Appends a batch to `out` as CSV without a header, or the header alone if there are no rows.
pub(crate) fn encode_csv(csv: &CsvOptions, batch: &RecordBatch, out: &mut Vec<u8>) -> std::result::Result<(), ArrowError> {
    if batch.num_rows() == 0 {
        return csv_builder(csv).build(out).write(batch);
    }
    csv_builder(&CsvOptions { header: false, ..csv.clone() }).build(out).write(batch)
}

/// Writes CSV.
pub(in crate::io) struct CsvTable {
    path: PathBuf,
    schema: SchemaRef,
    writer: arrow_csv::Writer<Sink>,
    rows: u64,
}

impl CsvTable {
    pub(in crate::io) fn create(
        path: &Path,
        csv: &CsvOptions,
        schema: SchemaRef,
        options: &WriteOptions,
        charge: &Reservation,
    ) -> Result<Self> {
        if let Some(nested) = schema.fields().iter().find(|f| f.data_type().is_nested()) {
            let (name, data_type) = (nested.name(), nested.data_type());
            return Err(Error::Plan(format!("writing {}: CSV has no form for column `{name}` ({data_type})", path.display())));
        }
        let builder = csv_builder(csv);
        let mut writer = builder.build(Sink::create(path, options, charge)?);
        // The header, also if no batch follows.
        writer.write(&RecordBatch::new_empty(schema.clone())).map_err(|e| failed(path, e))?;
        Ok(Self { path: path.to_owned(), schema, writer, rows: 0 })
    }
}

impl TableWriter for CsvTable {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        check_columns(&self.path, &self.schema, batch)?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(|e| failed(&self.path, e))
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        self.writer.into_inner().finish(self.path, self.rows)
    }
}

/// Writes JSON lines; nulls are left out.
pub(in crate::io) struct JsonTable {
    path: PathBuf,
    schema: SchemaRef,
    writer: LineDelimitedWriter<Sink>,
    rows: u64,
}

impl JsonTable {
    pub(in crate::io) fn create(path: &Path, schema: SchemaRef, options: &WriteOptions, charge: &Reservation) -> Result<Self> {
        let writer = LineDelimitedWriter::new(Sink::create(path, options, charge)?);
        Ok(Self { path: path.to_owned(), schema, writer, rows: 0 })
    }
}

impl TableWriter for JsonTable {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        check_columns(&self.path, &self.schema, batch)?;
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(|e| failed(&self.path, e))
    }

    fn finish(mut self: Box<Self>) -> Result<Written> {
        self.writer.finish().map_err(|e| failed(&self.path, e))?;
        self.writer.into_inner().finish(self.path, self.rows)
    }
}

/// Writes the values of one string column, a line each.
pub(in crate::io) struct TextTable {
    path: PathBuf,
    schema: SchemaRef,
    sink: Sink,
    rows: u64,
}

impl TextTable {
    pub(in crate::io) fn create(path: &Path, schema: SchemaRef, options: &WriteOptions, charge: &Reservation) -> Result<Self> {
        match schema.fields().as_ref() {
            [one] if *one.data_type() == DataType::Utf8 => {}
            fields => {
                return Err(Error::Plan(format!(
                    "writing {}: text holds one column of strings, found {} columns{}",
                    path.display(),
                    fields.len(),
                    fields.first().map(|f| format!(", the first {}", f.data_type())).unwrap_or_default()
                )));
            }
        }
        Ok(Self { path: path.to_owned(), schema, sink: Sink::create(path, options, charge)?, rows: 0 })
    }
}

impl TableWriter for TextTable {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        check_columns(&self.path, &self.schema, batch)?;
        let lines = batch.column(0).as_string::<i32>();
        for row in 0..lines.len() {
            let line = if lines.is_null(row) { "" } else { lines.value(row) };
            let written = self.sink.write_all(line.as_bytes()).and_then(|()| self.sink.write_all(b"\n"));
            written.map_err(|e| file_error(&self.path, e))?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Written> {
        self.sink.finish(self.path, self.rows)
    }
}
