//! Text formats as tables: schema, splits, readers.

use super::super::format::{CsvOptions, Format, JsonOptions, TextOptions};
use super::super::parquet::in_parallel;
use super::super::predicate::ColumnPredicate;
use super::super::{BatchReader, Split, file_error};
use super::blocks::Blocks;
use super::csv::{CsvDecoder, head, widen};
use super::decode::RecordBatches;
use super::json::{self, JsonDecoder};
use super::lines::{self, LineReader, TextReader};
use super::quotes::record_ranges;
use crate::{Error, Result};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use fluvial_memory::Reservation;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a split.
pub(super) const SPLIT_BYTES: u64 = 8 << 20;

/// Opened files of a text format.
pub(in crate::io) struct TextInput {
    shared: Arc<Shared>,
}

struct Shared {
    files: Arc<[PathBuf]>,
    kind: Kind,
    schema: SchemaRef,
    opened: Vec<OpenedText>,
}

enum Kind {
    Csv(CsvOptions),
    Json,
    Text(TextOptions),
}

/// Where records of a file begin, and its columns.
struct OpenedText {
    body: u64,
    length: u64,
    /// CSV: fields of the file's records, typed as the table's columns.
    fields: Vec<FieldRef>,
    /// CSV: index among `fields` of each column of the table.
    columns: Vec<usize>,
}

/// A planned read of text.
pub(in crate::io) struct TextScan {
    shared: Arc<Shared>,
    /// Columns that are decoded, each once.
    decoded: Vec<usize>,
    filter: Filter,
    batch_rows: usize,
}

/// Applies predicates to decoded batches and drops what only they needed.
#[derive(Clone)]
pub(super) struct Filter {
    /// Their columns are indices in the decoded batch.
    predicates: Arc<[ColumnPredicate]>,
    /// Indices in the decoded batch of the columns that remain.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Filter {
    pub(super) fn apply(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let mut keep: Option<BooleanArray> = None;
        for predicate in self.predicates.iter() {
            let one = predicate.evaluate(batch.column(predicate.column))?;
            keep = Some(match keep {
                Some(keep) => BooleanArray::new(keep.values() & one.values(), None),
                None => one,
            });
        }
        let columns = self.columns.iter().map(|c| batch.column(*c).clone()).collect();
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        Ok(match keep {
            Some(keep) => filter_record_batch(&batch, &keep)?,
            None => batch,
        })
    }
}

impl TextInput {
    pub(in crate::io) fn open(files: Arc<[PathBuf]>, format: &Format) -> Result<Self> {
        let lengths = in_parallel(&files, |path| Ok(path.metadata().map_err(|e| file_error(path, e))?.len()))?;
        let plain = |lengths: Vec<u64>| -> Vec<OpenedText> {
            lengths.into_iter().map(|length| OpenedText { body: 0, length, fields: Vec::new(), columns: Vec::new() }).collect()
        };
        let (kind, schema, opened) = match format {
            Format::Csv(csv) => {
                let (schema, opened) = open_csv(&files, &lengths, csv)?;
                (Kind::Csv(csv.clone()), schema, opened)
            }
            Format::JsonLines(json) => (Kind::Json, json_schema(&files, json)?, plain(lengths)),
            Format::Text(text) => (Kind::Text(text.clone()), lines::schema(), plain(lengths)),
            Format::Parquet => return Err(Error::Plan("Parquet is not a text format".into())),
        };
        Ok(Self { shared: Arc::new(Shared { files, kind, schema, opened }) })
    }

    pub(in crate::io) fn schema(&self) -> &SchemaRef {
        &self.shared.schema
    }

    pub(in crate::io) fn plan(
        &self,
        projection: Vec<usize>,
        schema: SchemaRef,
        predicates: Vec<ColumnPredicate>,
        batch_rows: usize,
    ) -> Result<(TextScan, Vec<Split>)> {
        let shared = &self.shared;
        let mut splits = Vec::new();
        for (file, (path, opened)) in shared.files.iter().zip(&shared.opened).enumerate() {
            let csv = match &shared.kind {
                Kind::Csv(csv) => Some(csv),
                _ => None,
            };
            splits.extend(file_splits(file, path, opened.body..opened.length, csv)?);
        }
        let mut decoded = Vec::new();
        let mut place = |column: usize| {
            decoded.iter().position(|c| *c == column).unwrap_or_else(|| {
                decoded.push(column);
                decoded.len() - 1
            })
        };
        let columns = projection.into_iter().map(&mut place).collect();
        let predicates = predicates.into_iter().map(|p| ColumnPredicate { column: place(p.column), ..p }).collect();
        let filter = Filter { predicates, columns, schema };
        Ok((TextScan { shared: shared.clone(), decoded, filter, batch_rows }, splits))
    }
}

impl TextScan {
    pub(in crate::io) fn open(&self, split: &Split, charge: &Reservation) -> Result<Box<dyn BatchReader>> {
        let shared = &self.shared;
        let (Some(path), Some(opened)) = (shared.files.get(split.file), shared.opened.get(split.file)) else {
            return Err(Error::Plan(format!("a split of file {} is not of this scan", split.file)));
        };
        let range = split.range.clone();
        let blocks = Blocks::open(path, range.clone(), range.start == opened.body, Some(charge))?;
        let (filter, rows) = (self.filter.clone(), self.batch_rows);
        Ok(match &shared.kind {
            Kind::Csv(csv) => {
                let columns = self.decoded.iter().map(|c| opened.columns[*c]).collect();
                let decoder = CsvDecoder::new(path, range, csv, opened.fields.clone(), columns)?;
                Box::new(RecordBatches::new(decoder, blocks, rows, filter))
            }
            Kind::Json => {
                let fields: Vec<FieldRef> = self.decoded.iter().map(|c| shared.schema.fields()[*c].clone()).collect();
                let decoder = JsonDecoder::new(path, range, Arc::new(Schema::new(fields)))?;
                Box::new(RecordBatches::new(decoder, blocks, rows, filter))
            }
            Kind::Text(text) => {
                let reader = TextReader::new(LineReader::new(blocks, text), rows);
                Box::new(TextBatches { reader, filter, copies: self.decoded.len(), given: 0 })
            }
        })
    }
}

/// Text with predicates on its line.
struct TextBatches {
    reader: TextReader,
    filter: Filter,
    copies: usize,
    given: u64,
}

impl BatchReader for TextBatches {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(batch) = self.reader.next()? {
            let batch = self.filter.apply(batch.project(&vec![0; self.copies])?)?;
            if batch.num_rows() > 0 {
                self.given += batch.num_rows() as u64;
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    fn position(&self) -> u64 {
        self.given
    }
}

/// Cuts a file into splits.
pub(super) fn file_splits(file: usize, path: &Path, body: Range<u64>, csv: Option<&CsvOptions>) -> Result<Vec<Split>> {
    let ranges = match csv {
        Some(csv) => record_ranges(path, body, csv, SPLIT_BYTES)?,
        None => {
            let parts = (body.end - body.start).div_ceil(SPLIT_BYTES).max(1);
            let at = |part: u64| body.start + (body.end - body.start) * part / parts;
            (0..parts).map(|part| at(part)..at(part + 1)).collect()
        }
    };
    let ranges = ranges.into_iter().filter(|r| !r.is_empty());
    Ok(ranges.map(|range| Split { file, row_group: 0, bytes: range.end - range.start, range, skip: 0 }).collect())
}

fn json_schema(files: &[PathBuf], json: &JsonOptions) -> Result<SchemaRef> {
    if let Some(schema) = &json.schema {
        return Ok(schema.clone());
    }
    let schemas = in_parallel(files, |path| json::infer(path, json))?;
    let schema = schemas.into_iter().reduce(|a, b| json::union(&a, &b)).unwrap_or_else(Schema::empty);
    Ok(json::settled(schema))
}

fn open_csv(files: &[PathBuf], lengths: &[u64], csv: &CsvOptions) -> Result<(SchemaRef, Vec<OpenedText>)> {
    let heads = in_parallel(files, |path| head(path, csv))?;
    let first = &heads[0];
    for (head, path) in heads.iter().zip(files).skip(1) {
        if let Some(missing) = first.names.iter().find(|n| !head.names.contains(n)) {
            return Err(file_error(path, format!("column `{missing}` is missing; {} has it", files[0].display())));
        }
        if let Some(extra) = head.names.iter().find(|n| !first.names.contains(n)) {
            return Err(file_error(path, format!("column `{extra}` is not in {}", files[0].display())));
        }
    }
    let schema = match &csv.schema {
        Some(schema) => {
            if !csv.header && schema.fields().len() != first.names.len() && lengths[0] > 0 {
                let (expected, found) = (schema.fields().len(), first.names.len());
                return Err(file_error(&files[0], format!("expected {expected} fields, found {found}")));
            }
            schema.clone()
        }
        None => {
            let fields: Vec<Field> = first
                .names
                .iter()
                .map(|name| {
                    let types = heads.iter().filter_map(|h| h.names.iter().position(|n| n == name).map(|at| &h.types[at]));
                    let data_type = types.fold(DataType::Null, |a, b| widen(&a, b));
                    Field::new(name, if data_type == DataType::Null { DataType::Utf8 } else { data_type }, true)
                })
                .collect();
            Arc::new(Schema::new(fields))
        }
    };
    let mut opened = Vec::with_capacity(files.len());
    for ((head, path), length) in heads.into_iter().zip(files).zip(lengths) {
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(at, field)| match csv.header {
                true => head
                    .names
                    .iter()
                    .position(|n| n == field.name())
                    .ok_or_else(|| file_error(path, format!("column `{}` is not in the header", field.name()))),
                false => Ok(at),
            })
            .collect::<Result<Vec<usize>>>()?;
        let mut fields: Vec<FieldRef> = head.names.iter().map(|name| Arc::new(Field::new(name, DataType::Utf8, true))).collect();
        for (field, at) in schema.fields().iter().zip(&columns) {
            if let Some(slot) = fields.get_mut(*at) {
                *slot = field.clone();
            }
        }
        opened.push(OpenedText { body: head.body, length: *length, fields, columns });
    }
    Ok((schema, opened))
}
