//! Least, greatest and first strings and binaries, which lie behind the part of a state that has a fixed width.

use super::ColumnAggregates;
use super::function::{Kind, Pick};
use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryType, BinaryViewType, LargeBinaryType, LargeUtf8Type, StringViewType, Utf8Type};
use arrow_array::{Array, ArrayRef, BinaryViewArray, FixedSizeBinaryArray, GenericByteArray, StringViewArray};
use arrow_schema::DataType;

/// The values behind a state's fixed part, one after another.
struct Picks<'a>(&'a [u8]);

impl<'a> Iterator for Picks<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        self.0 = rest;
        Some(value)
    }
}

fn put(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

impl ColumnAggregates {
    /// For each aggregate that keeps bytes: whether those in `other` are to replace those in `state`.
    pub(super) fn choices<'a>(&'a self, state: &'a [u8], other: &'a [u8]) -> impl Iterator<Item = bool> + 'a {
        let pairs = Picks(&state[self.fixed..]).zip(Picks(&other[self.fixed..]));
        self.picked.iter().zip(pairs).map(move |(&i, (old, new))| {
            let plan = &self.plans[i];
            plan.is_flagged(other)
                && (!plan.is_flagged(state)
                    || match plan.kind {
                        Kind::PickBytes(Pick::Least) => new < old,
                        Kind::PickBytes(Pick::Greatest) => new > old,
                        _ => false,
                    })
        })
    }

    /// Appends the better bytes of both to `out`.
    pub(super) fn merge_picks(&self, state: &[u8], other: &[u8], out: &mut Vec<u8>) {
        let pairs = Picks(&state[self.fixed..]).zip(Picks(&other[self.fixed..]));
        for (better, (old, new)) in self.choices(state, other).zip(pairs) {
            put(if better { new } else { old }, out);
        }
    }

    /// The columns whose bytes lie behind the fixed part, among those that [`ColumnAggregates::columns`] gave.
    pub(in crate::aggregate) fn byte_columns<'a>(&self, columns: &'a [Option<ArrayRef>]) -> Vec<Bytes<'a>> {
        self.picked.iter().filter_map(|&i| Bytes::of(columns[i].as_ref()?)).collect()
    }

    /// Appends the state of a row: its bytes behind a fixed part that is still that of no rows.
    pub(in crate::aggregate) fn put_row(&self, columns: &[Bytes<'_>], row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.initial[..self.fixed]);
        columns.iter().for_each(|column| put(column.value(row).unwrap_or_default(), out));
    }

    /// The bytes that an aggregate keeps in a state.
    pub(super) fn picked<'a>(&self, plan: usize, state: &'a [u8]) -> &'a [u8] {
        let at = self.picked.iter().position(|&p| p == plan).unwrap_or(0);
        Picks(&state[self.fixed..]).nth(at).unwrap_or_default()
    }
}

/// A column of byte strings.
pub(in crate::aggregate) enum Bytes<'a> {
    Utf8(&'a GenericByteArray<Utf8Type>),
    LargeUtf8(&'a GenericByteArray<LargeUtf8Type>),
    Binary(&'a GenericByteArray<BinaryType>),
    LargeBinary(&'a GenericByteArray<LargeBinaryType>),
    Utf8View(&'a StringViewArray),
    BinaryView(&'a BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
}

impl<'a> Bytes<'a> {
    pub(super) fn of(column: &'a ArrayRef) -> Option<Self> {
        Some(match column.data_type() {
            DataType::Utf8 => Self::Utf8(column.as_bytes()),
            DataType::LargeUtf8 => Self::LargeUtf8(column.as_bytes()),
            DataType::Binary => Self::Binary(column.as_bytes()),
            DataType::LargeBinary => Self::LargeBinary(column.as_bytes()),
            DataType::Utf8View => Self::Utf8View(column.as_byte_view::<StringViewType>()),
            DataType::BinaryView => Self::BinaryView(column.as_byte_view::<BinaryViewType>()),
            DataType::FixedSizeBinary(_) => Self::Fixed(column.as_fixed_size_binary()),
            _ => return None,
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Utf8(a) => a,
            Self::LargeUtf8(a) => a,
            Self::Binary(a) => a,
            Self::LargeBinary(a) => a,
            Self::Utf8View(a) => a,
            Self::BinaryView(a) => a,
            Self::Fixed(a) => a,
        }
    }

    /// The value of a row, if there is one.
    pub(super) fn value(&self, row: usize) -> Option<&'a [u8]> {
        if self.array().is_null(row) {
            return None;
        }
        Some(match self {
            Self::Utf8(a) => a.value(row).as_bytes(),
            Self::LargeUtf8(a) => a.value(row).as_bytes(),
            Self::Binary(a) => a.value(row),
            Self::LargeBinary(a) => a.value(row),
            Self::Utf8View(a) => a.value(row).as_bytes(),
            Self::BinaryView(a) => a.value(row),
            Self::Fixed(a) => a.value(row),
        })
    }
}
