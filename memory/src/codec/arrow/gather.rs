//! Rows to columns. Everything read is checked: rows may come from a damaged file.

use super::RowCodec;
use super::layout::{Leaf, Node, Slot, Variable, value_type};
use super::unblock::Builder;
use crate::keys::columns::Gather;
use crate::{Error, KeyWidth, Result};
use arrow_array::{Array, ArrayRef, StructArray, new_null_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_schema::DataType;
use std::sync::Arc;

/// Some columns of rows, see [`RowCodec::decode_columns`].
pub(super) fn columns(codec: &RowCodec, rows: &[&[u8]], columns: &[usize], missing: Option<&[bool]>) -> Result<Vec<ArrayRef>> {
    let is_missing = |row: usize| missing.is_some_and(|missing| missing[row]);
    // A missing row reads as this one: no null, every value zero or empty.
    let mut empty = vec![0; codec.layout.fixed];
    let end = (codec.layout.fixed as u32).to_le_bytes();
    codec.layout.columns.iter().for_each(|node| write_ends(node, &end, &mut empty));

    let mut keys = Vec::with_capacity(if codec.key.is_some() { rows.len() } else { 0 });
    let mut payloads = Vec::with_capacity(rows.len());
    for (i, &row) in rows.iter().enumerate() {
        if is_missing(i) {
            keys.extend(codec.key.iter().map(|key| &key.default[..]));
            payloads.push(&empty[..]);
            continue;
        }
        let (key, payload) = split(codec.shape.key, row).ok_or_else(|| too_short(codec, row, i))?;
        if payload.len() < codec.layout.fixed {
            return Err(too_short(codec, row, i));
        }
        if codec.key.is_some() {
            keys.push(key);
        }
        payloads.push(payload);
    }

    let mut from_key = Vec::new();
    if let Some(key) = &codec.key {
        let mut wanted = vec![false; key.columns.len()];
        for &column in columns {
            if let Node::Key(part) = codec.layout.columns[column] {
                wanted[part] = true;
            }
        }
        from_key = key.encoder.decode_some(&keys, &wanted)?;
    }
    let missing = missing.filter(|missing| missing.contains(&true));
    let present = missing.map(|missing| NullBuffer::new(BooleanBuffer::collect_bool(missing.len(), |row| !missing[row])));
    let reader = Reader { payloads: &payloads, fixed: codec.layout.fixed };
    let column = |&column: &usize| match &codec.layout.columns[column] {
        Node::Key(part) => {
            let array = from_key[*part].clone().unwrap_or_else(|| unreachable!("every part that a column needs was asked for"));
            with_nulls(array, present.as_ref())
        }
        node => reader.node(node, present.as_ref()),
    };
    columns.iter().map(column).collect()
}

#[inline]
fn split(key: KeyWidth, row: &[u8]) -> Option<(&[u8], &[u8])> {
    match key {
        KeyWidth::Fixed(width) => row.split_at_checked(width),
        KeyWidth::Variable => {
            let (length, rest) = row.split_first_chunk()?;
            rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        }
    }
}

fn write_ends(node: &Node, end: &[u8; 4], row: &mut [u8]) {
    match node {
        Node::Key(_) => {}
        Node::Leaf(Leaf { slot: Slot::Bytes(v) | Slot::Nested(v, _), .. }) => row[v.at..v.at + 4].copy_from_slice(end),
        Node::Leaf(_) => {}
        Node::Struct { children, .. } => children.iter().for_each(|child| write_ends(child, end, row)),
    }
}

#[cold]
fn too_short(codec: &RowCodec, row: &[u8], index: usize) -> Error {
    let what = format!(
        "expected at least {} bytes of payload behind the key in row {index}, found {} bytes in all",
        codec.layout.fixed,
        row.len()
    );
    Error::Codec { type_name: "record batch".to_owned(), what }
}

/// The array with nulls also where rows are missing.
fn with_nulls(array: ArrayRef, present: Option<&NullBuffer>) -> Result<ArrayRef> {
    let Some(present) = present else { return Ok(array) };
    match array.data_type() {
        DataType::Null => Ok(array),
        // No null buffer of their own: missing rows are taken from a null.
        DataType::Union(..) | DataType::RunEndEncoded(..) => {
            let rows: arrow_array::UInt32Array =
                present.iter().enumerate().map(|(row, here)| here.then_some(row as u32)).collect();
            take(&array, &rows)
        }
        _ => {
            let nulls = NullBuffer::union(array.nulls(), Some(present));
            let data = array.to_data().into_builder().nulls(nulls).build();
            data.map(arrow_array::make_array).map_err(|error| fail("record batch", error.to_string()))
        }
    }
}

fn take(array: &ArrayRef, rows: &arrow_array::UInt32Array) -> Result<ArrayRef> {
    arrow_select::take::take(array, rows, None).map_err(|error| fail(&array.data_type().to_string(), error.to_string()))
}

struct Reader<'a> {
    payloads: &'a [&'a [u8]],
    fixed: usize,
}

impl Reader<'_> {
    /// A column, null where its bit says so or `present` says that there is no row.
    fn node(&self, node: &Node, present: Option<&NullBuffer>) -> Result<ArrayRef> {
        match node {
            Node::Leaf(leaf) => self.leaf(leaf, self.nulls(leaf, present)),
            Node::Struct { leaf, children } => {
                let DataType::Struct(fields) = &leaf.data_type else {
                    return Err(fail(&leaf.name, format!("expected a struct, found {}", leaf.data_type)));
                };
                // Where the struct is missing its fields read as not null, which fields that are never null must.
                let arrays = children.iter().map(|child| self.node(child, None)).collect::<Result<_>>()?;
                let nulls = self.nulls(leaf, present);
                let array = StructArray::try_new_with_length(fields.clone(), arrays, nulls, self.payloads.len());
                Ok(Arc::new(array.map_err(|error| fail(&leaf.name, error.to_string()))?))
            }
            Node::Key(_) => Err(fail("record batch", "expected a column of the payload, found one of the key".to_owned())),
        }
    }

    fn nulls(&self, leaf: &Leaf, present: Option<&NullBuffer>) -> Option<NullBuffer> {
        let Some(bit) = leaf.null_bit else { return present.cloned() };
        let (byte, mask) = (bit / 8, 1u8 << (bit % 8));
        // Most columns have no null, which this finds out without building bits.
        if self.payloads.iter().fold(0, |any, payload| any | payload[byte]) & mask == 0 {
            return present.cloned();
        }
        let valid = BooleanBuffer::collect_bool(self.payloads.len(), |row| self.payloads[row][byte] & mask == 0);
        NullBuffer::union(Some(&NullBuffer::new(valid)), present)
    }

    fn leaf(&self, leaf: &Leaf, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let len = self.payloads.len();
        let data_type = value_type(&leaf.data_type);
        let array = match &leaf.slot {
            Slot::None => return Ok(new_null_array(&leaf.data_type, len)),
            Slot::Bool { at } => {
                let bits = BooleanBuffer::collect_bool(len, |row| self.payloads[row][*at] != 0);
                Arc::new(arrow_array::BooleanArray::new(bits, nulls))
            }
            Slot::Fixed { at, width } => Gather::fixed(data_type, len, self.fixed(*at, *width), nulls)?,
            Slot::Narrow { at } => {
                let values: Vec<i128> = self.values(*at).map(|bytes: &[u8; 8]| i128::from(i64::from_le_bytes(*bytes))).collect();
                Gather::fixed(data_type, len, Buffer::from_vec(values), nulls)?
            }
            Slot::Bytes(variable) => {
                let values = self.ranges(leaf, variable)?;
                Gather::bytes(data_type, len, nulls, |row| values[row])?
            }
            Slot::Nested(variable, block) => {
                let values = self.ranges(leaf, variable)?;
                let mut builder = Builder::new(block);
                for (row, value) in values.into_iter().enumerate() {
                    // Without bytes there is no value, even if only something further up is null.
                    let absent = value.is_empty() && !block.can_be_empty();
                    if absent || nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                        builder.append_nulls(1);
                    } else {
                        builder.append_row(value)?;
                    }
                }
                return builder.finish(&leaf.name);
            }
        };
        Gather::repeated(&leaf.data_type, array, &leaf.name)
    }

    #[inline(always)]
    fn values<const N: usize>(&self, at: usize) -> impl Iterator<Item = &[u8; N]> {
        self.payloads.iter().map(move |payload| match payload[at..].first_chunk() {
            Some(bytes) => bytes,
            None => unreachable!("payloads are at least as long as all fields"),
        })
    }

    fn fixed(&self, at: usize, width: usize) -> Buffer {
        match width {
            1 => Buffer::from_vec(self.values(at).map(|[b]| *b).collect::<Vec<_>>()),
            2 => Buffer::from_vec(self.values(at).map(|bytes| u16::from_le_bytes(*bytes)).collect::<Vec<_>>()),
            4 => Buffer::from_vec(self.values(at).map(|bytes| u32::from_le_bytes(*bytes)).collect::<Vec<_>>()),
            8 => Buffer::from_vec(self.values(at).map(|bytes| u64::from_le_bytes(*bytes)).collect::<Vec<_>>()),
            16 => Buffer::from_vec(self.values(at).map(|bytes| i128::from_le_bytes(*bytes)).collect::<Vec<_>>()),
            width => {
                let mut values = MutableBuffer::with_capacity(width * self.payloads.len());
                self.payloads.iter().for_each(|payload| values.extend_from_slice(&payload[at..at + width]));
                values.into()
            }
        }
    }

    /// The variable bytes of a field in each row.
    fn ranges(&self, leaf: &Leaf, variable: &Variable) -> Result<Vec<&[u8]>> {
        let end = |payload: &[u8], at: usize| match payload[at..].first_chunk() {
            Some(bytes) => u32::from_le_bytes(*bytes) as usize,
            None => unreachable!("payloads are at least as long as all fields"),
        };
        let mut ranges = Vec::with_capacity(self.payloads.len());
        for payload in self.payloads {
            let start = variable.previous.map_or(self.fixed, |at| end(payload, at));
            let end = end(payload, variable.at);
            match payload.get(start..end) {
                Some(bytes) if start >= self.fixed => ranges.push(bytes),
                _ => {
                    let row = ranges.len();
                    let (fixed, len) = (self.fixed, payload.len());
                    let what = format!("expected bytes between {fixed} and {len} in row {row}, found {start}..{end}");
                    return Err(fail(&leaf.name, what));
                }
            }
        }
        Ok(ranges)
    }
}

#[cold]
fn fail(column: &str, what: String) -> Error {
    Error::Codec { type_name: format!("column {column}"), what }
}
