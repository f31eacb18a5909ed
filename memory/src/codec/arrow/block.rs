//! Nested values: what a list, map or union is in the variable bytes of a row.
//!
//! A value is a *block* of one element; the elements of a list are again a block, of as many elements as the list has.
//! A block is columnar, so that a list of numbers is one copy. For `n` elements of a type:
//!
//! | type | block |
//! |---|---|
//! | any that can be null | `n` bits, 1 is null, to whole bytes; then as follows |
//! | null | nothing |
//! | bool | `n` bytes |
//! | fixed width | `n` values |
//! | strings, bytes | `n` lengths (u32), then all bytes |
//! | struct | a block of `n` for each field |
//! | list, list view, map | `n` lengths (u32), then one block of all elements |
//! | fixed-size list | one block of `n * size` elements |
//! | union | `n` type ids (i8), then for each field a block of the elements that have its id |
//! | dictionary, runs | a block of the values, of as many elements as are not null |
//!
//! How many elements a block has is known from outside. In a row the outermost block has one element and no null bits:
//! the row's own say it; a null row has no bytes.

use crate::keys::columns::{ByteValues, Rows, Source, Values, fixed_width, for_each_row, too_large, with_bytes};
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, OffsetSizeTrait, downcast_dictionary_array};
use arrow_buffer::{ArrowNativeType, NullBuffer};
use arrow_schema::{DataType, Field};

/// A type in the shape of its blocks.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub data_type: DataType,
    /// Whether the block starts with null bits.
    pub nullable: bool,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool,
    Fixed(usize),
    Bytes,
    Struct(Vec<Block>),
    List(Box<Block>),
    FixedList(usize, Box<Block>),
    /// Type ids and fields.
    Union(Vec<(i8, Block)>),
    /// Dictionaries and runs.
    Repeated(Box<Block>),
}

impl Block {
    /// The outermost block of a type: the nulls are elsewhere.
    pub fn new(data_type: &DataType) -> Result<Self> {
        let child = |field: &Field| Self::of(field).map(Box::new);
        let kind = match data_type {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Bool,
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Kind::Bytes,
            DataType::Struct(fields) => Kind::Struct(fields.iter().map(|field| Self::of(field)).collect::<Result<_>>()?),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::Map(field, _) => Kind::List(child(field)?),
            DataType::FixedSizeList(field, size) => Kind::FixedList(*size as usize, child(field)?),
            DataType::Union(fields, _) => {
                Kind::Union(fields.iter().map(|(id, field)| Ok((id, Self::of(field)?))).collect::<Result<_>>()?)
            }
            DataType::Dictionary(_, values) => Kind::Repeated(Box::new(Self::new(values)?)),
            DataType::RunEndEncoded(_, values) => Kind::Repeated(Box::new(Self::new(values.data_type())?)),
            other => match fixed_width(other) {
                Some(width) => Kind::Fixed(width),
                None => return Err(Error::Unsupported(format!("type {other} cannot be in a row"))),
            },
        };
        Ok(Self { data_type: data_type.clone(), nullable: matches!(kind, Kind::Repeated(_)), kind })
    }

    /// Whether the outermost block of a value may have no bytes.
    pub fn can_be_empty(&self) -> bool {
        let inner = |child: &Self| !child.nullable && child.can_be_empty();
        match &self.kind {
            Kind::Null => true,
            Kind::Fixed(width) => *width == 0,
            Kind::Bool | Kind::Bytes | Kind::List(_) | Kind::Union(_) => false,
            Kind::Struct(children) => children.iter().all(inner),
            Kind::FixedList(size, child) => *size == 0 || inner(child),
            Kind::Repeated(child) => child.can_be_empty(),
        }
    }

    fn of(field: &Field) -> Result<Self> {
        let block = Self::new(field.data_type())?;
        let nullable = match block.kind {
            Kind::Null | Kind::Union(_) => false,
            Kind::Repeated(_) => true,
            _ => field.is_nullable(),
        };
        Ok(Self { nullable, ..block })
    }
}

/// An array in the shape of its blocks.
pub(super) struct Tree<'a> {
    block: &'a Block,
    nulls: Option<NullBuffer>,
    node: Node<'a>,
}

enum Node<'a> {
    Leaf(Source<'a>),
    Struct(Vec<Tree<'a>>),
    /// First element and number of elements of each row.
    List(Vec<u32>, Vec<u32>, Box<Tree<'a>>),
    FixedList(u32, Box<Tree<'a>>),
    /// Each row's type id and place in the field of that id.
    Union(Vec<i8>, Vec<u32>, Vec<Tree<'a>>),
    /// The value of each row.
    Repeated(Vec<u32>, Box<Tree<'a>>),
}

impl<'a> Tree<'a> {
    /// `array` is of the block's type.
    pub fn new(block: &'a Block, array: &'a ArrayRef) -> Result<Self> {
        if array.len() > u32::MAX as usize {
            return Err(too_large());
        }
        let child = |block: &'a Block, array: &'a ArrayRef| Self::new(block, array).map(Box::new);
        let nulls = match block.kind {
            Kind::Union(_) => None,
            _ => array.logical_nulls().filter(|nulls| nulls.null_count() > 0),
        };
        let node = match (&block.kind, array.data_type()) {
            (Kind::Struct(blocks), _) => {
                let children = blocks.iter().zip(array.as_struct().columns());
                Node::Struct(children.map(|(block, array)| Self::new(block, array)).collect::<Result<_>>()?)
            }
            (Kind::List(of), DataType::List(_)) => {
                let (starts, lengths) = ranges::<i32>(array.as_list().offsets());
                Node::List(starts, lengths, child(of, array.as_list::<i32>().values())?)
            }
            (Kind::List(of), DataType::LargeList(_)) => {
                let (starts, lengths) = ranges::<i64>(array.as_list().offsets());
                Node::List(starts, lengths, child(of, array.as_list::<i64>().values())?)
            }
            (Kind::List(of), DataType::ListView(_)) => {
                let view = array.as_list_view::<i32>();
                Node::List(numbers(view.offsets()), numbers(view.sizes()), child(of, view.values())?)
            }
            (Kind::List(of), DataType::LargeListView(_)) => {
                let view = array.as_list_view::<i64>();
                Node::List(numbers(view.offsets()), numbers(view.sizes()), child(of, view.values())?)
            }
            (Kind::List(of), _) => {
                let map = array.as_map();
                let (starts, lengths) = ranges::<i32>(map.offsets());
                Node::List(starts, lengths, Box::new(Self::of_map(of, map.entries())?))
            }
            (Kind::FixedList(size, of), _) => {
                let list = array.as_fixed_size_list();
                Node::FixedList(*size as u32, child(of, list.values())?)
            }
            (Kind::Union(blocks), _) => {
                let union = array.as_union();
                let offsets = (0..array.len()).map(|row| union.value_offset(row) as u32).collect();
                let children = blocks.iter().map(|(id, block)| Self::new(block, union.child(*id))).collect::<Result<_>>()?;
                Node::Union(union.type_ids().to_vec(), offsets, children)
            }
            (Kind::Repeated(of), DataType::Dictionary(..)) => downcast_dictionary_array!(
                array => {
                    let last = array.values().len().saturating_sub(1);
                    let index = array.keys().values().iter().map(|key| key.as_usize().min(last) as u32).collect();
                    Node::Repeated(index, child(of, array.values())?)
                }
                other => return Err(Error::Unsupported(format!("dictionary type {other}")))
            ),
            (Kind::Repeated(of), DataType::RunEndEncoded(ends, _)) => {
                let rows = 0..array.len();
                macro_rules! runs {
                    ($type:ty) => {{
                        let runs = array.as_run::<$type>();
                        let index = rows.map(|row| runs.get_physical_index(row) as u32).collect();
                        Node::Repeated(index, child(of, runs.values())?)
                    }};
                }
                match ends.data_type() {
                    DataType::Int16 => runs!(Int16Type),
                    DataType::Int32 => runs!(Int32Type),
                    _ => runs!(Int64Type),
                }
            }
            _ => Node::Leaf(Source::of(array)?),
        };
        Ok(Self { block, nulls, node })
    }

    /// The entries of a map are a struct array that is not behind an `Arc`.
    fn of_map(block: &'a Block, entries: &'a arrow_array::StructArray) -> Result<Self> {
        let Kind::Struct(blocks) = &block.kind else {
            return Err(Error::Unsupported(format!("a map of {}", block.data_type)));
        };
        let children = blocks.iter().zip(entries.columns()).map(|(block, array)| Self::new(block, array));
        Ok(Self { block, nulls: entries.nulls().cloned(), node: Node::Struct(children.collect::<Result<_>>()?) })
    }

    /// Appends the block of these rows. `bare` leaves the null bits out.
    fn write(&self, rows: &Rows<'_>, bare: bool, out: &mut Vec<u8>) {
        let valid = |row: usize| self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        if self.block.nullable && !bare {
            let start = out.len();
            out.resize(start + rows.len().div_ceil(8), 0);
            for_each_row!(*rows, |i, row| out[start + i / 8] |= u8::from(!valid(row)) << (i % 8));
        }
        match &self.node {
            Node::Leaf(source) => self.write_leaf(source, rows, out),
            Node::Struct(children) => children.iter().for_each(|child| child.write(rows, false, out)),
            Node::List(starts, lengths, child) => {
                let mut elements = Elements::default();
                for_each_row!(*rows, |_, row| {
                    let length = if valid(row) { lengths[row] } else { 0 };
                    out.extend_from_slice(&length.to_le_bytes());
                    elements.push(starts[row], length);
                });
                child.write(&elements.rows(), false, out);
            }
            Node::FixedList(size, child) => {
                let mut elements = Elements::default();
                for_each_row!(*rows, |_, row| elements.push(row as u32 * size, *size));
                child.write(&elements.rows(), false, out);
            }
            Node::Union(ids, offsets, children) => {
                for_each_row!(*rows, |_, row| out.push(ids[row] as u8));
                let Kind::Union(blocks) = &self.block.kind else { return };
                for ((id, _), child) in blocks.iter().zip(children) {
                    let mut elements = Elements::default();
                    for_each_row!(*rows, |_, row| if ids[row] == *id {
                        elements.push(offsets[row], 1)
                    });
                    child.write(&elements.rows(), false, out);
                }
            }
            Node::Repeated(index, child) => {
                let mut elements = Elements::default();
                for_each_row!(*rows, |_, row| if valid(row) {
                    elements.push(index[row], 1)
                });
                child.write(&elements.rows(), true, out);
            }
        }
    }

    fn write_leaf(&self, source: &Source<'_>, rows: &Rows<'_>, out: &mut Vec<u8>) {
        match (&source.values, rows) {
            (Values::Bool(bits), _) => for_each_row!(*rows, |_, row| out.push(u8::from(bits.value(row)))),
            (Values::Fixed(values), rows) => {
                let Kind::Fixed(width) = self.block.kind else { return };
                match rows {
                    Rows::Range(range) => out.extend_from_slice(&values[range.start * width..range.end * width]),
                    Rows::Selection(rows) => {
                        rows.iter().for_each(|&row| out.extend_from_slice(&values[row as usize * width..][..width]));
                    }
                }
            }
            (values, rows) => with_bytes!(values, bytes => {
                let valid = |row: usize| source.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
                let value = |row| if valid(row) { bytes.bytes(row) } else { &[] };
                for_each_row!(*rows, |_, row| out.extend_from_slice(&(value(row).len() as u32).to_le_bytes()));
                for_each_row!(*rows, |_, row| out.extend_from_slice(value(row)));
            }, ()),
        }
    }
}

fn ranges<O: OffsetSizeTrait>(offsets: &[O]) -> (Vec<u32>, Vec<u32>) {
    offsets.windows(2).map(|w| (w[0].as_usize() as u32, (w[1] - w[0]).as_usize() as u32)).unzip()
}

fn numbers<O: OffsetSizeTrait>(values: &[O]) -> Vec<u32> {
    values.iter().map(|value| value.as_usize() as u32).collect()
}

/// Elements of a child array: a range as long as they are one.
#[derive(Default)]
struct Elements {
    start: u32,
    end: u32,
    scattered: Vec<u32>,
}

impl Elements {
    fn push(&mut self, start: u32, length: u32) {
        if length == 0 {
            return;
        }
        if self.scattered.is_empty() {
            if self.start == self.end {
                (self.start, self.end) = (start, start + length);
                return;
            }
            if start == self.end {
                self.end += length;
                return;
            }
            self.scattered.extend(self.start..self.end);
        }
        self.scattered.extend(start..start + length);
    }

    fn rows(&self) -> Rows<'_> {
        if self.scattered.is_empty() {
            Rows::Range(self.start as usize..self.end as usize)
        } else {
            Rows::Selection((&self.scattered).into())
        }
    }
}

/// The blocks of a column's rows, one after another.
pub(super) struct Blocks {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Blocks {
    pub fn with_capacity(rows: usize) -> Self {
        Self { bytes: Vec::new(), ends: Vec::with_capacity(rows) }
    }

    /// Adds the block of a row, or nothing for a null; returns its length.
    pub fn push(&mut self, row: Option<(&Tree<'_>, usize)>) -> Result<u32> {
        let before = self.bytes.len();
        if let Some((tree, row)) = row {
            tree.write(&Rows::Range(row..row + 1), true, &mut self.bytes);
        }
        self.ends.push(u32::try_from(self.bytes.len()).map_err(|_| too_large())?);
        Ok((self.bytes.len() - before) as u32)
    }
}

impl ByteValues for &Blocks {
    fn bytes(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start as usize..self.ends[row] as usize]
    }
    fn length(&self, row: usize) -> usize {
        self.bytes(row).len()
    }
}
