//! Reading JSON lines into columns.

use super::super::file_error;
use super::super::format::JsonOptions;
use super::blocks::{Blocks, newlines_before};
use super::csv::widen;
use super::decode::{Decoded, Decoder};
use crate::Result;
use arrow_array::RecordBatch;
use arrow_json::ReaderBuilder;
use arrow_json::reader::{Decoder as ArrowDecoder, infer_json_schema_from_iterator};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use memchr::memchr;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Infers columns from the first records of a file.
pub(super) fn infer(path: &Path, json: &JsonOptions) -> Result<Schema> {
    let length = path.metadata().map_err(|e| file_error(path, e))?.len();
    let mut blocks = Blocks::open(path, 0..length, true, None)?;
    let mut values = Vec::new();
    while values.len() < json.infer_records && blocks.advance()? {
        for (offset, line) in split_lines(blocks.block()) {
            if values.len() == json.infer_records {
                break;
            }
            let value: Value = serde_json::from_slice(line)
                .map_err(|e| file_error(path, json_message(path, blocks.offset() + offset as u64, &e)))?;
            if !value.is_object() {
                let line = newlines_before(path, blocks.offset() + offset as u64) + 1;
                return Err(file_error(path, format!("line {line}: expected a JSON object, found {}", kind(&value))));
            }
            values.push(value);
        }
    }
    let schema = infer_json_schema_from_iterator(values.into_iter().map(Ok::<_, ArrowError>))
        .map_err(|e| file_error(path, format!("inferring types: {e}")))?;
    Ok(schema)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The columns of both files; those that only one has are null in the other.
pub(super) fn union(a: &Schema, b: &Schema) -> Schema {
    let mut fields: Vec<Field> = a.fields().iter().map(|f| Field::clone(f)).collect();
    for other in b.fields() {
        match fields.iter_mut().find(|f| f.name() == other.name()) {
            Some(field) => *field = Field::new(field.name(), widen(field.data_type(), other.data_type()), true),
            None => fields.push(Field::clone(other)),
        }
    }
    Schema::new(fields)
}

/// Lines that are not blank, with their offsets.
pub(super) fn split_lines(block: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        if start >= block.len() {
            return None;
        }
        let end = memchr(b'\n', &block[start..]).map_or(block.len(), |n| start + n);
        at = end + 1;
        Some((start, &block[start..end]))
    })
    .filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// What serde found wrong with the line at `offset`.
pub(super) fn json_message(path: &Path, offset: u64, error: &serde_json::Error) -> String {
    let line = newlines_before(path, offset) + 1;
    let message = error.to_string();
    // The message ends with a place within the line.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    format!("line {line}, column {}: {message}", error.column())
}

/// Decodes records of one file.
pub(super) struct JsonDecoder {
    path: PathBuf,
    range: Range<u64>,
    schema: SchemaRef,
    decoder: ArrowDecoder,
}

impl JsonDecoder {
    pub(super) fn new(path: &Path, range: Range<u64>, schema: SchemaRef) -> Result<Self> {
        let decoder = decoder(&schema, 1)?;
        Ok(Self { path: path.to_owned(), range, schema, decoder })
    }
}

fn decoder(schema: &SchemaRef, rows: usize) -> Decoded<ArrowDecoder> {
    // Primitive values in a string column are their text, as inference promised.
    ReaderBuilder::new(schema.clone()).with_batch_size(rows).with_coerce_primitive(true).build_decoder()
}

impl Decoder for JsonDecoder {
    fn restart(&mut self, rows: usize) -> Decoded<()> {
        self.decoder = decoder(&self.schema, rows)?;
        Ok(())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<usize> {
        self.decoder.decode(bytes)
    }

    fn flush(&mut self) -> Decoded<Option<RecordBatch>> {
        self.decoder.flush()
    }

    fn diagnose(&self, given: u64) -> Option<String> {
        let mut blocks = Blocks::open(&self.path, self.range.clone(), false, None).ok()?;
        let mut single = decoder(&self.schema, 1).ok()?;
        let mut at = 0;
        while blocks.advance().ok()? {
            for (offset, line) in split_lines(blocks.block()) {
                at += 1;
                if at <= given {
                    continue;
                }
                let offset = blocks.offset() + offset as u64;
                if let Err(error) = serde_json::from_slice::<IgnoredAny>(line) {
                    return Some(json_message(&self.path, offset, &error));
                }
                if let Err(error) = single.decode(line).and_then(|_| single.flush()) {
                    let message = error.to_string();
                    let message = message.strip_prefix("Json error: ").unwrap_or(&message);
                    return Some(format!("line {}: {message}", newlines_before(&self.path, offset) + 1));
                }
            }
        }
        None
    }
}

/// Columns of which no value was seen hold strings, whatever comes.
pub(super) fn settled(schema: Schema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|f| match f.data_type() {
            DataType::Null => Field::new(f.name(), DataType::Utf8, true),
            _ => Field::clone(f),
        })
        .collect();
    Arc::new(Schema::new(fields))
}
