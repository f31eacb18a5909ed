//! Where the fields of a schema lie in a row.

use super::block::Block;
use crate::Result;
use crate::keys::columns::fixed_width;
use arrow_schema::{DataType, Field, Fields};

/// Where the columns of a schema lie in the payload.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub columns: Vec<Node>,
    /// Bytes of null bits and fields.
    pub fixed: usize,
    /// Whether there are variable bytes behind them.
    pub variable: bool,
}

/// A column, or a field of a struct.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Leaf(Leaf),
    /// A struct: only its null bit is its own.
    Struct {
        leaf: Leaf,
        children: Vec<Node>,
    },
    /// Rebuilt from this column of the key.
    Key(usize),
}

/// What lies in the row of one field.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub name: String,
    pub data_type: DataType,
    /// The number of its null bit.
    pub null_bit: Option<usize>,
    pub slot: Slot,
}

#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// Nothing: a null column, a struct.
    None,
    Bool {
        at: usize,
    },
    Fixed {
        at: usize,
        width: usize,
    },
    /// A 16-byte decimal in 8 bytes.
    Narrow {
        at: usize,
    },
    Bytes(Variable),
    Nested(Variable, Block),
}

/// Where the end of a field's variable bytes is written, and that of the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variable {
    pub at: usize,
    pub previous: Option<usize>,
}

impl Layout {
    /// `rebuilt` says of each column whether it comes from the key, and from which column of it.
    pub fn new(fields: &Fields, rebuilt: &[Option<usize>]) -> Result<Self> {
        let stored = fields.iter().zip(rebuilt).filter(|(_, key)| key.is_none());
        let bits: usize = stored.map(|(field, _)| null_bits(field)).sum();
        let mut builder = Builder { bit: 0, at: bits.div_ceil(8), last: None };
        let columns = fields.iter().zip(rebuilt).map(|(field, key)| match key {
            Some(key) => Ok(Node::Key(*key)),
            None => builder.node(field),
        });
        let columns = columns.collect::<Result<_>>()?;
        Ok(Self { columns, fixed: builder.at, variable: builder.last.is_some() })
    }
}

fn has_null_bit(field: &Field) -> bool {
    match field.data_type() {
        // A union has no nulls of its own, and those of its fields are in its block.
        DataType::Union(..) | DataType::Null => false,
        // Their values may be null whatever the field says.
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => true,
        _ => field.is_nullable(),
    }
}

fn null_bits(field: &Field) -> usize {
    let own = usize::from(has_null_bit(field));
    match field.data_type() {
        DataType::Struct(fields) => own + fields.iter().map(|field| null_bits(field)).sum::<usize>(),
        _ => own,
    }
}

struct Builder {
    bit: usize,
    at: usize,
    last: Option<usize>,
}

impl Builder {
    fn node(&mut self, field: &Field) -> Result<Node> {
        let null_bit = has_null_bit(field).then_some(self.bit);
        self.bit += usize::from(null_bit.is_some());
        let leaf = |slot| Leaf { name: field.name().clone(), data_type: field.data_type().clone(), null_bit, slot };
        if let DataType::Struct(fields) = field.data_type() {
            let children = fields.iter().map(|field| self.node(field)).collect::<Result<_>>()?;
            return Ok(Node::Struct { leaf: leaf(Slot::None), children });
        }
        let slot = match value_type(field.data_type()) {
            DataType::Null => Slot::None,
            DataType::Boolean => Slot::Bool { at: self.place(1) },
            DataType::Decimal128(precision, _) if *precision <= 18 => Slot::Narrow { at: self.place(8) },
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Slot::Bytes(self.variable()),
            other => match fixed_width(other) {
                Some(width) => Slot::Fixed { at: self.place(width), width },
                // The block of a dictionary of nested values holds the dictionary's own nulls and values.
                None => Slot::Nested(self.variable(), Block::new(field.data_type())?),
            },
        };
        Ok(Node::Leaf(leaf(slot)))
    }

    fn place(&mut self, width: usize) -> usize {
        self.at += width;
        self.at - width
    }

    fn variable(&mut self) -> Variable {
        let variable = Variable { at: self.place(4), previous: self.last };
        self.last = Some(variable.at);
        variable
    }
}

/// The type of the values that dictionaries and runs stand for.
pub(super) fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        DataType::RunEndEncoded(_, values) => values.data_type(),
        other => other,
    }
}
