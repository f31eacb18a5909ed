//! Nested values back to arrays. Everything read is checked: blocks may come from a damaged file.

use super::block::{Block, Kind};
use crate::keys::columns::Gather;
use crate::{Error, Result};
use arrow_array::{Array, ArrayRef, StructArray, make_array};
use arrow_buffer::{BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, UnionMode};
use std::sync::Arc;

/// An array in the making.
pub(super) struct Builder<'a> {
    block: &'a Block,
    len: usize,
    /// One an element, kept where the block has null bits or a null was appended.
    valid: Option<Vec<bool>>,
    node: Node<'a>,
}

enum Node<'a> {
    Null,
    Fixed(MutableBuffer, usize),
    Bytes(Vec<usize>, Vec<u8>),
    Struct(Vec<Builder<'a>>),
    /// Ends of the lists in the child.
    List(Vec<usize>, Box<Builder<'a>>),
    FixedList(usize, Box<Builder<'a>>),
    /// Type ids, place of each element in its child, children by type id.
    Union(Vec<i8>, Vec<i32>, Vec<(i8, Builder<'a>)>),
    /// The values of the elements that are not null.
    Repeated(Box<Builder<'a>>),
}

impl<'a> Builder<'a> {
    pub fn new(block: &'a Block) -> Self {
        let node = match &block.kind {
            Kind::Null => Node::Null,
            Kind::Bool => Node::Fixed(MutableBuffer::new(0), 1),
            Kind::Fixed(width) => Node::Fixed(MutableBuffer::new(0), *width),
            Kind::Bytes => Node::Bytes(vec![0], Vec::new()),
            Kind::Struct(children) => Node::Struct(children.iter().map(Self::new).collect()),
            Kind::List(child) => Node::List(vec![0], Box::new(Self::new(child))),
            Kind::FixedList(size, child) => Node::FixedList(*size, Box::new(Self::new(child))),
            Kind::Union(children) => {
                Node::Union(vec![], vec![], children.iter().map(|(id, child)| (*id, Self::new(child))).collect())
            }
            Kind::Repeated(child) => Node::Repeated(Box::new(Self::new(child))),
        };
        Self { block, len: 0, valid: None, node }
    }

    /// Appends the outermost block of one element.
    pub fn append_row(&mut self, input: &[u8]) -> Result<()> {
        let mut rest = input;
        self.append(1, true, &mut rest)?;
        if rest.is_empty() { Ok(()) } else { Err(self.fail(format!("{} bytes follow a value", rest.len()))) }
    }

    /// Appends elements that are null, or what stands in their place under a null further up.
    pub fn append_nulls(&mut self, n: usize) {
        self.valid.get_or_insert_with(|| vec![true; self.len]).resize(self.len + n, false);
        match &mut self.node {
            Node::Null | Node::Repeated(_) => {}
            Node::Fixed(values, width) => values.extend_zeros(n * *width),
            Node::Bytes(ends, bytes) => ends.resize(self.len + n + 1, bytes.len()),
            Node::Struct(children) => children.iter_mut().for_each(|child| child.append_nulls(n)),
            Node::List(ends, child) => ends.resize(self.len + n + 1, child.len),
            Node::FixedList(size, child) => child.append_nulls(n * *size),
            Node::Union(ids, offsets, children) => {
                if let Some((id, child)) = children.first_mut() {
                    ids.resize(self.len + n, *id);
                    offsets.extend((child.len..child.len + n).map(|at| at as i32));
                    child.append_nulls(n);
                }
            }
        }
        self.len += n;
    }

    /// Appends the block of `n` elements at the front of `input`, and moves `input` behind it. A `bare` block has no
    /// null bits.
    fn append(&mut self, n: usize, bare: bool, input: &mut &[u8]) -> Result<()> {
        let mut nulls = 0;
        if self.block.nullable && !bare {
            let bits = self.take(n.div_ceil(8), input)?;
            let valid = self.valid.get_or_insert_with(|| vec![true; self.len]);
            valid.extend((0..n).map(|i| bits[i / 8] >> (i % 8) & 1 == 0));
            nulls = valid[self.len..].iter().filter(|valid| !**valid).count();
        } else if let Some(valid) = &mut self.valid {
            valid.resize(self.len + n, true);
        }
        let name = &self.block.data_type;
        match &mut self.node {
            Node::Null => {}
            Node::Fixed(values, width) => values.extend_from_slice(take(name, n.saturating_mul(*width), input)?),
            Node::Bytes(ends, bytes) => {
                let lengths = take(name, n.saturating_mul(4), input)?;
                for length in lengths.as_chunks().0 {
                    ends.push(ends[ends.len() - 1] + u32::from_le_bytes(*length) as usize);
                }
                bytes.extend_from_slice(take(name, ends[ends.len() - 1] - bytes.len(), input)?);
            }
            Node::Struct(children) => children.iter_mut().try_for_each(|child| child.append(n, false, input))?,
            Node::List(ends, child) => {
                let lengths = take(name, n.saturating_mul(4), input)?;
                for length in lengths.as_chunks().0 {
                    ends.push(ends[ends.len() - 1] + u32::from_le_bytes(*length) as usize);
                }
                child.append(ends[ends.len() - 1] - child.len, false, input)?;
            }
            Node::FixedList(size, child) => child.append(n.saturating_mul(*size), false, input)?,
            Node::Union(ids, offsets, children) => {
                let new = take(name, n, input)?;
                let before = ids.len();
                for &id in new {
                    let id = id as i8;
                    let Some((_, child)) = children.iter_mut().find(|(known, _)| *known == id) else {
                        return Err(fail(name, format!("expected a type id of the union, found {id}")));
                    };
                    let pending = ids[before..].iter().filter(|other| **other == id).count();
                    offsets.push((child.len + pending) as i32);
                    ids.push(id);
                }
                for (id, child) in children {
                    child.append(ids[before..].iter().filter(|other| *other == id).count(), false, input)?;
                }
            }
            Node::Repeated(child) => child.append(n - nulls, true, input)?,
        }
        self.len += n;
        Ok(())
    }

    fn take<'b>(&self, n: usize, input: &mut &'b [u8]) -> Result<&'b [u8]> {
        take(&self.block.data_type, n, input)
    }

    #[cold]
    fn fail(&self, what: String) -> Error {
        fail(&self.block.data_type, what)
    }

    /// The array. `column` is the name of the row's column, for messages.
    pub fn finish(self, column: &str) -> Result<ArrayRef> {
        let Self { block, len, valid, node } = self;
        let data_type = &block.data_type;
        let nulls =
            valid.as_deref().map(|valid| NullBuffer::new(BooleanBuffer::from(valid))).filter(|nulls| nulls.null_count() > 0);
        let data = ArrayData::builder(data_type.clone()).len(len);
        let data = match node {
            Node::Null => return Gather::null(data_type, len),
            Node::Fixed(values, _) if matches!(block.kind, Kind::Bool) => {
                let values: Vec<bool> = values.as_slice().iter().map(|&b| b != 0).collect();
                return Ok(Gather::bools(&values, nulls));
            }
            Node::Fixed(values, _) => return Gather::fixed(data_type, len, values.into(), nulls),
            Node::Bytes(ends, bytes) => {
                return Gather::bytes(data_type, len, nulls, |row| &bytes[ends[row]..ends[row + 1]]);
            }
            Node::Repeated(child) => {
                let values = child.finish(column)?;
                let values = match valid {
                    Some(valid) => spread(&values, &valid)?,
                    None => values,
                };
                return Gather::repeated(data_type, values, column);
            }
            Node::Struct(children) => {
                let DataType::Struct(fields) = data_type else { return Err(fail(data_type, "expected a struct".to_owned())) };
                let children = children.into_iter().map(|child| child.finish(column)).collect::<Result<_>>()?;
                let array = StructArray::try_new_with_length(fields.clone(), children, nulls, len);
                return Ok(Arc::new(array.map_err(|error| fail(data_type, error.to_string()))?));
            }
            Node::List(ends, child) => {
                let large = matches!(data_type, DataType::LargeList(_) | DataType::LargeListView(_));
                if !large && child.len > i32::MAX as usize {
                    let what = format!("expected at most {} elements in a column of a batch, found {}", i32::MAX, child.len);
                    return Err(fail(data_type, what));
                }
                let view = matches!(data_type, DataType::ListView(_) | DataType::LargeListView(_));
                let starts = if view { &ends[..len] } else { &ends[..] };
                let mut data = data.nulls(nulls).add_buffer(numbers(starts.iter().copied(), large));
                if view {
                    data = data.add_buffer(numbers(ends.windows(2).map(|w| w[1] - w[0]), large));
                }
                data.add_child_data(child.finish(column)?.to_data())
            }
            Node::FixedList(_, child) => data.nulls(nulls).add_child_data(child.finish(column)?.to_data()),
            Node::Union(ids, offsets, children) => {
                let children: Vec<ArrayRef> =
                    children.into_iter().map(|(_, child)| child.finish(column)).collect::<Result<_>>()?;
                union(block, data.add_buffer(Buffer::from_vec(ids.clone())), &ids, offsets, children)?
            }
        };
        data.build().map(make_array).map_err(|error| fail(data_type, error.to_string()))
    }
}

/// Children of a dense union are as long as they have elements, those of a sparse one as long as the union.
fn union(
    block: &Block,
    data: arrow_data::ArrayDataBuilder,
    ids: &[i8],
    offsets: Vec<i32>,
    children: Vec<ArrayRef>,
) -> Result<arrow_data::ArrayDataBuilder> {
    if let DataType::Union(_, UnionMode::Dense) = block.data_type {
        let children = children.iter().map(|child| child.to_data()).collect();
        return Ok(data.add_buffer(Buffer::from_vec(offsets)).child_data(children));
    }
    let Kind::Union(blocks) = &block.kind else { return Ok(data) };
    let mut sparse = Vec::with_capacity(children.len());
    for ((id, _), child) in blocks.iter().zip(&children) {
        let own: Vec<bool> = ids.iter().map(|other| other == id).collect();
        sparse.push(spread(child, &own)?.to_data());
    }
    Ok(data.child_data(sparse))
}

/// An array of as many elements as `here`, the elements of `values` where it is true and nulls elsewhere; where there is
/// no null, any element.
fn spread(values: &ArrayRef, here: &[bool]) -> Result<ArrayRef> {
    let mut next = 0u32;
    let rows: arrow_array::UInt32Array = here
        .iter()
        .map(|&here| {
            next += u32::from(here);
            here.then(|| next - 1)
        })
        .collect();
    arrow_select::take::take(values, &rows, None).map_err(|error| fail(values.data_type(), error.to_string()))
}

fn numbers(values: impl Iterator<Item = usize>, large: bool) -> Buffer {
    if large { values.map(|v| v as i64).collect::<Vec<_>>().into() } else { values.map(|v| v as i32).collect::<Vec<_>>().into() }
}

#[inline]
fn take<'a>(data_type: &DataType, n: usize, input: &mut &'a [u8]) -> Result<&'a [u8]> {
    match input.split_at_checked(n) {
        Some((head, rest)) => {
            *input = rest;
            Ok(head)
        }
        None => Err(fail(data_type, format!("expected {n} bytes, found {}", input.len()))),
    }
}

#[cold]
fn fail(data_type: &DataType, what: String) -> Error {
    Error::Codec { type_name: data_type.to_string(), what }
}
