//! Reading CSV into columns.

use super::super::file_error;
use super::super::format::CsvOptions;
use super::blocks::{Blocks, Bytes, newlines_before};
use super::decode::{Decoded, Decoder};
use crate::{Error, Result};
use ::csv::{ByteRecord, Reader, ReaderBuilder};
use arrow_array::RecordBatch;
use arrow_csv::reader as arrow;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use regex::Regex;
use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the beginning of a CSV file says.
pub(super) struct Head {
    /// Names of the columns, in the order of the file.
    pub(super) names: Vec<String>,
    /// Inferred types; `Null` where no value was seen.
    pub(super) types: Vec<DataType>,
    /// First byte after the header.
    pub(super) body: u64,
}

/// Reads the header and, unless types are given, infers them from the first records.
pub(super) fn head(path: &Path, csv: &CsvOptions) -> Result<Head> {
    let failed = |e: ::csv::Error| file_error(path, csv_message(&e, 0));
    let open = || File::open(path).map_err(|e| file_error(path, e));
    let mut reader = builder(csv).from_reader(BufReader::new(open()?));
    let mut first = ByteRecord::new();
    let found = reader.read_byte_record(&mut first).map_err(failed)?;
    let (names, body) = if csv.header {
        if !found {
            return Err(file_error(path, "expected a header, found an empty file"));
        }
        (header(path, &first)?, reader.position().byte())
    } else {
        ((1..=first.len()).map(|i| format!("column_{i}")).collect(), 0)
    };
    let types = match csv.schema {
        Some(_) => vec![DataType::Null; names.len()],
        None => {
            let format = format(csv)?.with_header(csv.header);
            let inferred = format.infer_schema(BufReader::new(open()?), Some(csv.infer_records));
            let (schema, _) = inferred.map_err(|e| file_error(path, format!("inferring types: {e}")))?;
            schema.fields().iter().map(|f| f.data_type().clone()).collect()
        }
    };
    Ok(Head { names, types, body })
}

fn header(path: &Path, record: &ByteRecord) -> Result<Vec<String>> {
    let mut seen = HashSet::new();
    record
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let name = std::str::from_utf8(name)
                .map_err(|_| file_error(path, format!("line 1: the name of column {} is not UTF-8", i + 1)))?;
            if !seen.insert(name) {
                return Err(file_error(path, format!("line 1: the header names column `{name}` twice")));
            }
            Ok(name.to_owned())
        })
        .collect()
}

/// The type that holds values of both.
pub(super) fn widen(a: &DataType, b: &DataType) -> DataType {
    use DataType::{Date32, Float64, Int64, Null, Timestamp, Utf8};
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Int64, Float64) | (Float64, Int64) => Float64,
        (Date32, Timestamp(unit, zone)) | (Timestamp(unit, zone), Date32) => Timestamp(*unit, zone.clone()),
        (Timestamp(a, None), Timestamp(b, None)) => Timestamp(finer(*a, *b), None),
        _ => Utf8,
    }
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let rank = |unit: TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// A reader of records as the csv crate splits them, without any check of their number of fields.
pub(super) fn builder(csv: &CsvOptions) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(csv.delimiter).quote(csv.quote).escape(csv.escape);
    builder
}

/// What the csv crate found wrong, with line numbers of the whole file.
pub(super) fn csv_message(error: &::csv::Error, lines_before: u64) -> String {
    match error.kind() {
        ::csv::ErrorKind::Utf8 { pos, err } => {
            let line = pos.as_ref().map_or(0, ::csv::Position::line) + lines_before;
            format!("line {line}, field {}: not UTF-8", err.field() + 1)
        }
        ::csv::ErrorKind::Deserialize { pos, err } => {
            let line = pos.as_ref().map_or(0, ::csv::Position::line) + lines_before;
            match err.field() {
                Some(field) => format!("line {line}, field {}: {}", field + 1, err.kind()),
                None => format!("line {line}: {}", err.kind()),
            }
        }
        _ => error.to_string(),
    }
}

fn format(csv: &CsvOptions) -> Result<arrow::Format> {
    let mut format = arrow::Format::default().with_delimiter(csv.delimiter).with_quote(csv.quote);
    if let Some(escape) = csv.escape {
        format = format.with_escape(escape);
    }
    if let Some(nulls) = nulls(csv)? {
        format = format.with_null_regex(nulls);
    }
    Ok(format)
}

/// Recognizes null tokens; `None` for the empty field alone.
fn nulls(csv: &CsvOptions) -> Result<Option<Regex>> {
    if csv.nulls.iter().all(String::is_empty) {
        return Ok(None);
    }
    let tokens: Vec<String> = csv.nulls.iter().map(|n| regex::escape(n)).collect();
    let pattern = format!(r"\A(?:{})\z", tokens.join("|"));
    Regex::new(&pattern).map(Some).map_err(|e| Error::Plan(format!("null tokens: {e}")))
}

/// Decodes records of one file.
pub(super) struct CsvDecoder {
    path: PathBuf,
    range: Range<u64>,
    csv: CsvOptions,
    /// The fields of a record, in the order of the file.
    fields: SchemaRef,
    columns: Vec<usize>,
    decoder: arrow::Decoder,
}

impl CsvDecoder {
    /// A decoder of `columns` (indices in the file) of records whose fields are `fields`.
    pub(super) fn new(
        path: &Path,
        range: Range<u64>,
        csv: &CsvOptions,
        fields: Vec<FieldRef>,
        columns: Vec<usize>,
    ) -> Result<Self> {
        let fields = Arc::new(Schema::new(fields));
        let decoder = decoder(csv, &fields, Some(columns.clone()), 1)?;
        Ok(Self { path: path.to_owned(), range, csv: csv.clone(), fields, columns, decoder })
    }

    /// What is wrong with a record.
    fn check(&self, record: &ByteRecord, singles: &mut [arrow::Decoder]) -> Option<String> {
        if record.len() != self.fields.fields().len() {
            return Some(format!("expected {} fields, found {}", self.fields.fields().len(), record.len()));
        }
        for (column, single) in self.columns.iter().zip(singles) {
            let (field, value) = (self.fields.field(*column), &record[*column]);
            let Ok(text) = std::str::from_utf8(value) else {
                return Some(format!("column `{}`: not UTF-8", field.name()));
            };
            // The field again, quoted, as a record of its own.
            let quote = char::from(self.csv.quote);
            let quoted = format!("{quote}{}{quote}\n", text.replace(quote, &format!("{quote}{quote}")));
            let decoded = single.decode(quoted.as_bytes()).and_then(|_| single.flush());
            if decoded.is_err() {
                let (name, expected) = (field.name(), field.data_type());
                let shown: String = text.chars().take(60).collect();
                return Some(format!("column `{name}`: expected {expected}, found {shown:?}"));
            }
        }
        // What is not read must be UTF-8 all the same: records are checked as a whole.
        let invalid = record.iter().position(|f| std::str::from_utf8(f).is_err())?;
        Some(format!("column `{}`: not UTF-8", self.fields.field(invalid).name()))
    }
}

fn decoder(csv: &CsvOptions, fields: &SchemaRef, columns: Option<Vec<usize>>, rows: usize) -> Result<arrow::Decoder> {
    let mut builder = arrow::ReaderBuilder::new(fields.clone()).with_format(format(csv)?).with_batch_size(rows);
    if let Some(columns) = columns {
        builder = builder.with_projection(columns);
    }
    Ok(builder.build_decoder())
}

impl Decoder for CsvDecoder {
    fn restart(&mut self, rows: usize) -> Decoded<()> {
        self.decoder = decoder(&self.csv, &self.fields, Some(self.columns.clone()), rows)
            .map_err(|e| ArrowError::CsvError(e.to_string()))?;
        Ok(())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<usize> {
        self.decoder.decode(bytes)
    }

    fn flush(&mut self) -> Decoded<Option<RecordBatch>> {
        self.decoder.flush()
    }

    fn diagnose(&self, given: u64) -> Option<String> {
        let blocks = Blocks::open(&self.path, self.range.clone(), false, None).ok()?;
        let mut reader: Reader<Bytes> = builder(&self.csv).from_reader(Bytes::new(blocks));
        let mut singles: Vec<arrow::Decoder> = self
            .columns
            .iter()
            .map(|c| {
                let field = Field::clone(self.fields.field(*c));
                let unescaped = CsvOptions { escape: None, ..self.csv.clone() };
                decoder(&unescaped, &Arc::new(Schema::new(vec![field])), None, 1)
            })
            .collect::<Result<_>>()
            .ok()?;
        let mut record = ByteRecord::new();
        let mut at = 0;
        while reader.read_byte_record(&mut record).ok()? {
            if at >= given
                && let Some(message) = self.check(&record, &mut singles)
            {
                let before = newlines_before(&self.path, self.range.start);
                let line = record.position().map_or(1, ::csv::Position::line) + before;
                return Some(format!("line {line}, {message}"));
            }
            at += 1;
        }
        None
    }
}
