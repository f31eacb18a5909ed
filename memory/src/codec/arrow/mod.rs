//! Arrow record batches to rows and back.
//!
//! The payload of a row, all numbers little endian and nothing aligned:
//!
//! ```text
//! | null bits            | one field after another, each at the same place in every row      | variable bytes      |
//! | a bit a nullable     | fixed width: the value as it lies in Arrow's buffer               | of the fields that  |
//! | field, 1 is null,    | decimal128 of precision up to 18: 8 bytes                         | have any, in order  |
//! | to whole bytes       | bool: a byte                                                      |                     |
//! |                      | variable: where its bytes end (u32, from the start of the payload)|                     |
//! ```
//!
//! A variable field starts where the one before it ends, so four bytes give both offset and length. The fields of a
//! struct lie in the row like columns of their own. Lists, maps and unions are variable fields; [`block`] describes
//! their bytes. Dictionaries and runs are looked through and built anew when rows are decoded. A column of the key that
//! can be rebuilt from the key bytes is not repeated in the payload. Bytes of a null are zero or absent.
//!
//! Both directions go column by column: the type is matched once a column, and the loop over the rows is inside. Rows are
//! written some hundreds at a time, so that they stay in the nearest cache while all columns pass over them. The trade-off
//! against `arrow-row`: fields are addressable and integers need no transformation, but rows do not compare; the key in
//! front does.

mod block;
mod gather;
mod layout;
mod scatter;
mod unblock;

use crate::keys::columns::{KeyEncoder, Rows, too_large};
use crate::{Error, KeyWidth, Result, RowBatch, RowShape};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use layout::{Layout, Node};
use scatter::Job;
use std::ops::Range;

#[cfg(target_endian = "big")]
compile_error!("rows hold values as they lie in Arrow's buffers, and are little endian");

/// Turns record batches of one schema into rows `[key][payload]` and back.
///
/// ```
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
/// use fluvial_memory::{KeyColumn, KeyEncoder, RowBatch, RowCodec};
/// use std::sync::Arc;
///
/// let id: ArrayRef = Arc::new(Int64Array::from(vec![7, 3]));
/// let name: ArrayRef = Arc::new(StringArray::from(vec![Some("seven"), None]));
/// let batch = RecordBatch::try_from_iter([("id", id), ("name", name)]).unwrap();
///
/// let key = KeyEncoder::new(&[KeyColumn::of(batch.schema().field(0))])?;
/// let mut codec = RowCodec::new(batch.schema(), Some((key, vec![0])))?;
/// let mut rows = RowBatch::new(codec.shape());
/// codec.encode(&batch, &mut rows)?;
/// assert!(rows.key(1) < rows.key(0));
/// assert_eq!(codec.decode(&rows)?, batch);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
#[derive(Debug)]
pub struct RowCodec {
    schema: SchemaRef,
    key: Option<Key>,
    layout: Layout,
    shape: RowShape,
    scratch: Scratch,
}

/// The key in front of each row.
#[derive(Clone, Debug)]
struct Key {
    encoder: KeyEncoder,
    /// The schema's columns that it is made of.
    columns: Vec<usize>,
    /// A key that stands for rows that are missing when columns are decoded.
    default: Vec<u8>,
}

/// Buffers that outlive a batch.
#[derive(Clone, Debug, Default)]
struct Scratch {
    /// Whether each row's key contains a null; empty where none does.
    key_nulls: Vec<bool>,
    lengths: Vec<u32>,
    key_lengths: Vec<u32>,
    starts: Vec<u32>,
    cursors: Vec<u32>,
    /// Rows by target, and where each target's rows start.
    selection: Vec<u32>,
    bounds: Vec<usize>,
}

/// A clone has the same layout and buffers of its own.
impl Clone for RowCodec {
    fn clone(&self) -> Self {
        Self {
            schema: self.schema.clone(),
            key: self.key.clone(),
            layout: self.layout.clone(),
            shape: self.shape,
            scratch: Scratch::default(),
        }
    }
}

impl RowCodec {
    /// A codec for batches of this schema, with a key of these columns in front of each row.
    ///
    /// # Errors
    /// If the key's columns are not those of the schema; for types that cannot be in a row.
    pub fn new(schema: SchemaRef, key: Option<(KeyEncoder, Vec<usize>)>) -> Result<Self> {
        Self::with(schema, key, true)
    }

    /// As [`RowCodec::new`], with the columns of the key also in the payload, which then is complete without the key.
    pub fn with_whole_payload(schema: SchemaRef, key: Option<(KeyEncoder, Vec<usize>)>) -> Result<Self> {
        Self::with(schema, key, false)
    }

    fn with(schema: SchemaRef, key: Option<(KeyEncoder, Vec<usize>)>, elide: bool) -> Result<Self> {
        let key = key.map(|(encoder, columns)| Key::new(&schema, encoder, columns)).transpose()?;
        let mut rebuilt = vec![None; schema.fields().len()];
        if let (Some(key), true) = (&key, elide) {
            for (i, &column) in key.columns.iter().enumerate() {
                if key.encoder.is_lossless(i) {
                    rebuilt[column] = Some(i);
                }
            }
        }
        let layout = Layout::new(schema.fields(), &rebuilt)?;
        let width = key.as_ref().map_or(KeyWidth::Fixed(0), |key| key.encoder.width());
        let row = match width {
            KeyWidth::Fixed(key) if !layout.variable => Some(key + layout.fixed),
            _ => None,
        };
        Ok(Self { schema, key, layout, shape: RowShape { key: width, row }, scratch: Scratch::default() })
    }

    /// The shape of the rows.
    pub fn shape(&self) -> RowShape {
        self.shape
    }

    /// The schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The key's encoder, if rows have keys.
    pub fn key(&self) -> Option<&KeyEncoder> {
        self.key.as_ref().map(|key| &key.encoder)
    }

    /// A text that two codecs share exactly if their rows are of one form; for the headers of files of rows.
    pub fn description(&self) -> String {
        let key: Vec<_> = self.key.iter().flat_map(|key| key.columns.iter().zip(key.encoder.columns())).collect();
        let elided = self.layout.columns.iter().any(|node| matches!(node, Node::Key { .. }));
        format!("arrow rows 1; columns {:?}; key {key:?}; key columns elided: {elided}", self.schema.fields())
    }

    /// Appends the rows of a batch to `out`.
    ///
    /// # Errors
    /// If the batch has other columns than the schema, or values that their type does not allow; `out` is then as before.
    pub fn encode(&mut self, batch: &RecordBatch, out: &mut RowBatch) -> Result<()> {
        self.encode_range(batch, 0..batch.num_rows(), out)
    }

    /// Appends some of the rows of a batch to `out`.
    ///
    /// # Errors
    /// As [`RowCodec::encode`].
    ///
    /// # Panics
    /// If the range is not within the batch.
    pub fn encode_range(&mut self, batch: &RecordBatch, rows: Range<usize>, out: &mut RowBatch) -> Result<()> {
        assert!(rows.start <= rows.end && rows.end <= batch.num_rows(), "rows {rows:?} of {}", batch.num_rows());
        self.encode_rows(batch, |encoding, scratch| encoding.append(&Rows::Range(rows), scratch, out))
    }

    /// Appends the rows of a batch with these numbers to `out`, in this order.
    ///
    /// # Errors
    /// As [`RowCodec::encode`].
    ///
    /// # Panics
    /// If the batch has no row of such a number.
    pub fn encode_selection(&mut self, batch: &RecordBatch, rows: &[u32], out: &mut RowBatch) -> Result<()> {
        assert!(rows.iter().all(|&row| (row as usize) < batch.num_rows()), "a row beyond {}", batch.num_rows());
        self.encode_rows(batch, |encoding, scratch| encoding.append(&Rows::Selection(rows.into()), scratch, out))
    }

    /// Appends each row of a batch to that of `outs` which `targets` says, keeping the order within each.
    ///
    /// # Errors
    /// As [`RowCodec::encode`], but the first of `outs` may have their rows already.
    ///
    /// # Panics
    /// If there are not as many targets as rows, or a target is not below the number of `outs`.
    pub fn encode_partitioned<T: Copy + Into<u32>>(
        &mut self,
        batch: &RecordBatch,
        targets: &[T],
        outs: &mut [RowBatch],
    ) -> Result<()> {
        assert_eq!(targets.len(), batch.num_rows(), "a target a row");
        self.encode_rows(batch, |encoding, scratch| {
            let (mut selection, mut bounds) = (std::mem::take(&mut scratch.selection), std::mem::take(&mut scratch.bounds));
            group(targets, outs.len(), &mut selection, &mut bounds);
            let result = outs.iter_mut().enumerate().try_for_each(|(target, out)| {
                let rows = &selection[bounds[target]..bounds[target + 1]];
                if rows.is_empty() { Ok(()) } else { encoding.append(&Rows::Selection(rows.into()), scratch, out) }
            });
            (scratch.selection, scratch.bounds) = (selection, bounds);
            result
        })
    }

    /// Whether the key of each row of the batch that was encoded last contains a null; empty where none does. Such a row
    /// matches nothing in a join.
    pub fn key_nulls(&self) -> &[bool] {
        &self.scratch.key_nulls
    }

    fn encode_rows(&mut self, batch: &RecordBatch, append: impl FnOnce(&Encoding<'_>, &mut Scratch) -> Result<()>) -> Result<()> {
        let mut jobs = Vec::with_capacity(self.layout.columns.len());
        if batch.num_columns() != self.layout.columns.len() {
            return Err(mismatch(format!("expected {} columns, found {}", self.layout.columns.len(), batch.num_columns())));
        }
        for ((node, field), array) in self.layout.columns.iter().zip(self.schema.fields()).zip(batch.columns()) {
            if array.data_type() != field.data_type() {
                let (name, expected, found) = (field.name(), field.data_type(), array.data_type());
                return Err(mismatch(format!("column `{name}`: expected {expected}, found {found}")));
            }
            Job::collect(node, array, &mut jobs)?;
        }
        let key_columns: Vec<ArrayRef>;
        let mut key = None;
        if let Some(of) = &self.key {
            key_columns = of.columns.iter().map(|&column| batch.column(column).clone()).collect();
            let sources = of.encoder.sources(&key_columns)?;
            of.encoder.nulls(&sources, &Rows::Range(0..batch.num_rows()), &mut self.scratch.key_nulls);
            key = Some((&of.encoder, sources));
        }
        append(&Encoding { jobs, key, layout: &self.layout }, &mut self.scratch)
    }

    /// The batch that rows were made of.
    ///
    /// # Errors
    /// If the bytes are no rows of this codec.
    pub fn decode(&self, rows: &RowBatch) -> Result<RecordBatch> {
        let rows: Vec<&[u8]> = rows.iter().collect();
        self.decode_rows(&rows)
    }

    /// The batch that rows were made of; each a whole row, key and payload.
    ///
    /// # Errors
    /// As [`RowCodec::decode`].
    pub fn decode_rows(&self, rows: &[&[u8]]) -> Result<RecordBatch> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = self.decode_columns(rows, &all, None)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|error| mismatch(error.to_string()))
    }

    /// Some columns of rows; each a whole row, key and payload. Where `missing` says so the row is not looked at and
    /// every column is null, also one whose field is not nullable: the result of an outer join.
    ///
    /// # Errors
    /// As [`RowCodec::decode`].
    ///
    /// # Panics
    /// If the schema has no column of such a number, or `missing` does not have an entry a row.
    pub fn decode_columns(&self, rows: &[&[u8]], columns: &[usize], missing: Option<&[bool]>) -> Result<Vec<ArrayRef>> {
        gather::columns(self, rows, columns, missing)
    }
}

impl Key {
    fn new(schema: &SchemaRef, encoder: KeyEncoder, columns: Vec<usize>) -> Result<Self> {
        if encoder.columns().len() != columns.len() {
            let (expected, found) = (encoder.columns().len(), columns.len());
            return Err(Error::Unsupported(format!("a key of {expected} columns is given {found} columns")));
        }
        for (part, &column) in encoder.columns().zip(&columns) {
            match schema.fields().get(column) {
                Some(field) if field.data_type() == &part.data_type => {}
                Some(field) => {
                    let (name, expected, found) = (&part.name, &part.data_type, field.data_type());
                    return Err(Error::Unsupported(format!("key column `{name}`: expected {expected}, found {found}")));
                }
                None => return Err(Error::Unsupported(format!("there is no column {column} for key column `{}`", part.name))),
            }
        }
        let default = encoder.default_key();
        Ok(Self { encoder, columns, default })
    }
}

/// A batch on its way into rows.
struct Encoding<'a> {
    jobs: Vec<Job<'a>>,
    key: Option<(&'a KeyEncoder, Vec<crate::keys::columns::Source<'a>>)>,
    layout: &'a Layout,
}

impl Encoding<'_> {
    /// Rows that pass through the nearest cache together.
    const CHUNK: usize = 256;

    fn append(&self, rows: &Rows<'_>, scratch: &mut Scratch, out: &mut RowBatch) -> Result<()> {
        let n = rows.len();
        let Scratch { lengths, key_lengths, starts, cursors, .. } = scratch;
        lengths.clear();
        lengths.resize(n, self.layout.fixed as u32);
        let blocks: Vec<_> = self.jobs.iter().map(|job| job.lengths(rows, lengths)).collect::<Result<_>>()?;

        let mut key_width = 0;
        key_lengths.clear();
        if let Some((encoder, sources)) = &self.key {
            match encoder.width() {
                KeyWidth::Fixed(width) => key_width = width,
                KeyWidth::Variable => {
                    key_lengths.resize(n, 0);
                    encoder.add_lengths(sources, rows, key_lengths);
                }
            }
        }
        let (bytes, offsets) = out.parts_mut();
        let (rows_before, bytes_before) = (offsets.len(), bytes.len());
        starts.clear();
        let mut end = bytes_before;
        for (i, &payload) in lengths.iter().enumerate() {
            starts.push(end as u32);
            end += key_width + payload as usize;
            if let Some(&length) = key_lengths.get(i) {
                end += 4 + length as usize;
            }
            offsets.push(end as u32);
        }
        if end > u32::MAX as usize {
            offsets.truncate(rows_before);
            return Err(too_large());
        }
        bytes.resize(end, 0);

        let mut at = 0;
        while at < n {
            let len = Self::CHUNK.min(n - at);
            let rows = rows.slice(at, len);
            let starts = &mut starts[at..at + len];
            if let Some((encoder, sources)) = &self.key {
                if let Some(lengths) = key_lengths.get(at..at + len) {
                    for (start, length) in starts.iter_mut().zip(lengths) {
                        bytes[*start as usize..][..4].copy_from_slice(&length.to_le_bytes());
                        *start += 4;
                    }
                }
                cursors.clear();
                cursors.extend_from_slice(starts);
                encoder.write(sources, &rows, bytes, cursors);
                match key_lengths.get(at..at + len) {
                    Some(lengths) => starts.iter_mut().zip(lengths).for_each(|(start, length)| *start += length),
                    None => starts.iter_mut().for_each(|start| *start += key_width as u32),
                }
            }
            cursors.clear();
            cursors.resize(len, self.layout.fixed as u32);
            for (job, blocks) in self.jobs.iter().zip(&blocks) {
                if let Err(error) = job.write(&rows, at, blocks.as_ref(), bytes, starts, cursors) {
                    bytes.truncate(bytes_before);
                    offsets.truncate(rows_before);
                    return Err(error);
                }
            }
            at += len;
        }
        Ok(())
    }
}

/// Sorts row numbers by target, stable: those of target `t` are `selection[bounds[t]..bounds[t + 1]]`.
fn group<T: Copy + Into<u32>>(targets: &[T], count: usize, selection: &mut Vec<u32>, bounds: &mut Vec<usize>) {
    bounds.clear();
    bounds.resize(count + 1, 0);
    // One place further than the start, so that counting up to each start leaves the bounds in place.
    for &target in targets {
        let target: u32 = target.into();
        assert!((target as usize) < count, "a target below {count}, not {target}");
        bounds[target as usize + 1] += 1;
    }
    (0..count).for_each(|target| bounds[target + 1] += bounds[target]);
    selection.clear();
    selection.resize(targets.len(), 0);
    let mut next = bounds.clone();
    for (row, &target) in targets.iter().enumerate() {
        let place = &mut next[target.into() as usize];
        selection[*place] = row as u32;
        *place += 1;
    }
}

#[cold]
fn mismatch(what: String) -> Error {
    Error::Codec { type_name: "record batch".to_owned(), what }
}

#[cfg(test)]
mod tests;
