//! Arrays as the loops see them: the type resolved, offsets applied, dictionaries looked through.

use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, BinaryViewType, ByteViewType, GenericBinaryType, GenericStringType, RunEndIndexType, StringViewType,
};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, GenericByteViewArray, RunArray, downcast_dictionary_array, downcast_run_array,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::DataType;
use std::borrow::Cow;
use std::ops::Range;

/// The rows of a batch that a loop goes over.
#[derive(Clone, Debug)]
pub(crate) enum Rows<'a> {
    Range(Range<usize>),
    Selection(Cow<'a, [u32]>),
}

impl Rows<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Selection(rows) => rows.len(),
        }
    }

    /// The part of these rows from `at`, `len` long.
    pub fn slice(&self, at: usize, len: usize) -> Rows<'_> {
        match self {
            Self::Range(range) => Rows::Range(range.start + at..range.start + at + len),
            Self::Selection(rows) => Rows::Selection(Cow::Borrowed(&rows[at..at + len])),
        }
    }

    /// The same rows seen through an index.
    pub fn through(&self, index: &[u32]) -> Rows<'static> {
        Rows::Selection(Cow::Owned(match self {
            Self::Range(range) => index[range.clone()].to_vec(),
            Self::Selection(rows) => rows.iter().map(|&row| index[row as usize]).collect(),
        }))
    }

    /// Whether any of these rows is null.
    pub fn any_null(&self, nulls: &NullBuffer) -> bool {
        match self {
            Self::Range(range) => nulls.slice(range.start, range.len()).null_count() > 0,
            Self::Selection(rows) => rows.iter().any(|&row| nulls.is_null(row as usize)),
        }
    }
}

/// The values of an array, without its nulls.
#[derive(Clone, Debug)]
pub(crate) enum Values<'a> {
    /// No value at all.
    Null,
    Bool(BooleanBuffer),
    /// Values of one width, one after another.
    Fixed(Buffer),
    Bytes32(&'a [i32], &'a [u8]),
    Bytes64(&'a [i64], &'a [u8]),
    Utf8View(&'a GenericByteViewArray<StringViewType>),
    BinaryView(&'a GenericByteViewArray<BinaryViewType>),
    /// Anything else.
    Nested,
}

/// An array prepared for the loops.
#[derive(Clone, Debug)]
pub(crate) struct Source<'a> {
    pub values: Values<'a>,
    /// For a dictionary or runs: the value of each row. Null rows point at an arbitrary one.
    pub index: Option<Vec<u32>>,
    /// The logical nulls; absent if there are none.
    pub nulls: Option<NullBuffer>,
}

impl<'a> Source<'a> {
    pub fn of(array: &'a ArrayRef) -> Result<Self> {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let (values, index) = match array.data_type() {
            DataType::Dictionary(..) => downcast_dictionary_array!(
                array => (Self::values(array.values())?, Some(index(array)?)),
                other => return Err(Error::Unsupported(format!("dictionary type {other}")))
            ),
            DataType::RunEndEncoded(..) => downcast_run_array!(
                array => (Self::values(array.values())?, Some(runs(array)?)),
                other => return Err(Error::Unsupported(format!("run-end type {other}")))
            ),
            _ => (Self::values(array)?, None),
        };
        // Without values every row is null, and no row may be looked at.
        let values = match &index {
            Some(_) if nulls.as_ref().is_some_and(|nulls| nulls.null_count() == nulls.len()) => Values::Null,
            _ => values,
        };
        Ok(Self { values, index, nulls })
    }

    fn values(array: &'a ArrayRef) -> Result<Values<'a>> {
        Ok(match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().values().clone()),
            DataType::Utf8 => {
                let array = array.as_bytes::<GenericStringType<i32>>();
                Values::Bytes32(array.value_offsets(), array.value_data())
            }
            DataType::Binary => {
                let array = array.as_bytes::<GenericBinaryType<i32>>();
                Values::Bytes32(array.value_offsets(), array.value_data())
            }
            DataType::LargeUtf8 => {
                let array = array.as_bytes::<GenericStringType<i64>>();
                Values::Bytes64(array.value_offsets(), array.value_data())
            }
            DataType::LargeBinary => {
                let array = array.as_bytes::<GenericBinaryType<i64>>();
                Values::Bytes64(array.value_offsets(), array.value_data())
            }
            DataType::Utf8View => Values::Utf8View(array.as_byte_view()),
            DataType::BinaryView => Values::BinaryView(array.as_byte_view()),
            data_type => match fixed_width(data_type) {
                Some(width) => {
                    let data = array.to_data();
                    let values = &data.buffers()[0];
                    Values::Fixed(values.slice_with_length(data.offset() * width, data.len() * width))
                }
                None => Values::Nested,
            },
        })
    }

    /// The rows of the values: `rows` itself, but for a dictionary or runs.
    pub fn rows<'r>(&self, rows: &'r Rows<'r>) -> Cow<'r, Rows<'r>> {
        match &self.index {
            Some(index) => Cow::Owned(rows.through(index)),
            None => Cow::Borrowed(rows),
        }
    }

    /// The nulls, if any of these rows is null.
    pub fn nulls_in(&self, rows: &Rows<'_>) -> Option<&NullBuffer> {
        self.nulls.as_ref().filter(|nulls| rows.any_null(nulls))
    }
}

/// Bytes of a value in an array's first buffer, for types whose values lie there one after another.
pub(crate) fn fixed_width(data_type: &DataType) -> Option<usize> {
    match data_type {
        DataType::FixedSizeBinary(width) => Some(*width as usize),
        DataType::Boolean => None,
        other => other.primitive_width(),
    }
}

fn index<K: ArrowDictionaryKeyType>(array: &DictionaryArray<K>) -> Result<Vec<u32>> {
    let keys = array.keys();
    let last = array.values().len().saturating_sub(1);
    if last > u32::MAX as usize {
        return Err(Error::Unsupported(format!("a dictionary of {} values", array.values().len())));
    }
    // Keys of null rows may be anything.
    Ok(keys.values().iter().map(|key| key.as_usize().min(last) as u32).collect())
}

fn runs<R: RunEndIndexType>(array: &RunArray<R>) -> Result<Vec<u32>> {
    let rows: Vec<R::Native> = (0..array.len()).map(R::Native::usize_as).collect();
    let index = array.get_physical_indices(&rows).map_err(|error| Error::Unsupported(error.to_string()))?;
    Ok(index.into_iter().map(|run| run as u32).collect())
}

/// The bytes of variable-length values, by row; one implementation a layout, so that loops are made for each.
pub(crate) trait ByteValues {
    fn bytes(&self, row: usize) -> &[u8];
    fn length(&self, row: usize) -> usize;
}

pub(crate) struct OffsetBytes<'a, O>(pub &'a [O], pub &'a [u8]);

impl<O: ArrowNativeType> ByteValues for OffsetBytes<'_, O> {
    #[inline(always)]
    fn bytes(&self, row: usize) -> &[u8] {
        &self.1[self.0[row].as_usize()..self.0[row + 1].as_usize()]
    }
    #[inline(always)]
    fn length(&self, row: usize) -> usize {
        self.0[row + 1].as_usize() - self.0[row].as_usize()
    }
}

impl<T: ByteViewType> ByteValues for &GenericByteViewArray<T> {
    #[inline(always)]
    fn bytes(&self, row: usize) -> &[u8] {
        self.value(row).as_ref()
    }
    #[inline(always)]
    fn length(&self, row: usize) -> usize {
        self.views()[row] as u32 as usize
    }
}

/// Runs `$body` with `$bytes` bound to the [`ByteValues`] of `$values`; `$other` for values of other kinds.
macro_rules! with_bytes {
    ($values:expr, $bytes:ident => $body:expr, $other:expr) => {
        match $values {
            $crate::keys::columns::Values::Bytes32(offsets, data) => {
                let $bytes = $crate::keys::columns::OffsetBytes(offsets, data);
                $body
            }
            $crate::keys::columns::Values::Bytes64(offsets, data) => {
                let $bytes = $crate::keys::columns::OffsetBytes(offsets, data);
                $body
            }
            $crate::keys::columns::Values::Utf8View(array) => {
                let $bytes = *array;
                $body
            }
            $crate::keys::columns::Values::BinaryView(array) => {
                let $bytes = *array;
                $body
            }
            _ => $other,
        }
    };
}
pub(crate) use with_bytes;
