//! Gathered values to arrays: what decoding keys and decoding rows have in common.

use super::source::{ByteValues, Source, Values, with_bytes};
use crate::hash::hash_bytes;
use crate::{Error, Result};
use arrow_array::builder::make_view;
use arrow_array::types::{
    ArrowDictionaryKeyType, BinaryViewType, ByteArrayType, ByteViewType, GenericBinaryType, GenericStringType, Int8Type,
    Int16Type, Int32Type, Int64Type, StringViewType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, GenericByteArray, GenericByteViewArray, PrimitiveArray, UInt32Array, make_array,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_data::{ArrayData, MAX_INLINE_VIEW_LEN};
use arrow_schema::DataType;
use std::sync::Arc;

/// Arrays of gathered values.
pub(crate) struct Gather;

impl Gather {
    pub fn null(data_type: &DataType, len: usize) -> Result<ArrayRef> {
        Ok(make_array(ArrayData::new_null(data_type, len)))
    }

    pub fn bools(values: &[bool], nulls: Option<NullBuffer>) -> ArrayRef {
        let bits = BooleanBuffer::collect_bool(values.len(), |i| values[i]);
        Arc::new(arrow_array::BooleanArray::new(bits, nulls))
    }

    /// An array whose values lie in `values` one after another.
    pub fn fixed(data_type: &DataType, len: usize, values: Buffer, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let data = ArrayData::builder(data_type.clone()).len(len).add_buffer(values).nulls(nulls).build();
        data.map(make_array).map_err(|error| fail(data_type, error))
    }

    /// An array of strings or byte strings, large or not or views, of what `value` says of each row. Checks UTF-8.
    pub fn bytes<'a>(
        data_type: &DataType,
        len: usize,
        nulls: Option<NullBuffer>,
        value: impl Fn(usize) -> &'a [u8],
    ) -> Result<ArrayRef> {
        Ok(match data_type {
            DataType::Utf8 => Arc::new(byte_array::<GenericStringType<i32>>(len, nulls, value)?),
            DataType::LargeUtf8 => Arc::new(byte_array::<GenericStringType<i64>>(len, nulls, value)?),
            DataType::Binary => Arc::new(byte_array::<GenericBinaryType<i32>>(len, nulls, value)?),
            DataType::LargeBinary => Arc::new(byte_array::<GenericBinaryType<i64>>(len, nulls, value)?),
            DataType::Utf8View => Arc::new(view_array::<StringViewType>(len, nulls, value)?),
            DataType::BinaryView => Arc::new(view_array::<BinaryViewType>(len, nulls, value)?),
            other => return Err(Error::Unsupported(format!("{other} is no type of strings or bytes"))),
        })
    }

    /// The array itself, or as the dictionary or the runs that `data_type` asks for.
    pub fn repeated(data_type: &DataType, values: ArrayRef, column: &str) -> Result<ArrayRef> {
        match data_type {
            DataType::Dictionary(key, _) => Self::dictionary(key, values, column),
            DataType::RunEndEncoded(ends, _) => Self::runs(data_type, ends.data_type(), values, column),
            _ => Ok(values),
        }
    }

    fn runs(data_type: &DataType, ends_type: &DataType, values: ArrayRef, column: &str) -> Result<ArrayRef> {
        let (numbers, _) = distinct(&values)?;
        let len = values.len();
        let lasts: Vec<u32> =
            (0..len).filter(|&row| row + 1 == len || numbers[row] != numbers[row + 1]).map(|row| row as u32).collect();
        let too_many = || Error::Codec {
            type_name: format!("run-end column {column}"),
            what: format!("expected at most as many rows in a batch as {ends_type} can number, found {len}"),
        };
        let ends = match ends_type {
            DataType::Int16 => {
                i16::try_from(len).map_err(|_| too_many())?;
                Buffer::from_vec(lasts.iter().map(|&last| (last + 1) as i16).collect())
            }
            DataType::Int32 => {
                i32::try_from(len).map_err(|_| too_many())?;
                Buffer::from_vec(lasts.iter().map(|&last| (last + 1) as i32).collect())
            }
            _ => Buffer::from_vec(lasts.iter().map(|&last| i64::from(last) + 1).collect()),
        };
        let ends = Self::fixed(ends_type, lasts.len(), ends, None)?;
        let values = take(&values, lasts)?;
        let data = ArrayData::builder(data_type.clone()).len(len).child_data(vec![ends.to_data(), values.to_data()]).build();
        data.map(make_array).map_err(|error| fail(data_type, error))
    }

    /// A dictionary of the distinct values of an array.
    ///
    /// # Errors
    /// If there are more of them than the key type can number.
    pub fn dictionary(key: &DataType, values: ArrayRef, column: &str) -> Result<ArrayRef> {
        let (keys, firsts) = distinct(&values)?;
        let values = match firsts {
            Some(firsts) => take(&values, firsts)?,
            None => values,
        };
        match key {
            DataType::Int8 => dictionary::<Int8Type>(keys, values, column),
            DataType::Int16 => dictionary::<Int16Type>(keys, values, column),
            DataType::Int32 => dictionary::<Int32Type>(keys, values, column),
            DataType::Int64 => dictionary::<Int64Type>(keys, values, column),
            DataType::UInt8 => dictionary::<UInt8Type>(keys, values, column),
            DataType::UInt16 => dictionary::<UInt16Type>(keys, values, column),
            DataType::UInt32 => dictionary::<UInt32Type>(keys, values, column),
            DataType::UInt64 => dictionary::<UInt64Type>(keys, values, column),
            other => Err(Error::Unsupported(format!("column `{column}`: dictionary keys of type {other}"))),
        }
    }
}

fn take(values: &ArrayRef, rows: Vec<u32>) -> Result<ArrayRef> {
    arrow_select::take::take(values, &UInt32Array::from(rows), None).map_err(|error| fail(values.data_type(), error))
}

fn byte_array<'a, T: ByteArrayType>(
    len: usize,
    nulls: Option<NullBuffer>,
    value: impl Fn(usize) -> &'a [u8],
) -> Result<GenericByteArray<T>> {
    let total: usize = (0..len).map(|row| value(row).len()).sum();
    if T::Offset::from_usize(total).is_none() {
        let what = format!("expected at most {} bytes in a column of a batch, found {total}", i32::MAX);
        return Err(Error::Codec { type_name: T::DATA_TYPE.to_string(), what });
    }
    let mut bytes = Vec::with_capacity(total);
    let mut offsets = Vec::with_capacity(len + 1);
    offsets.push(T::Offset::default());
    for row in 0..len {
        bytes.extend_from_slice(value(row));
        offsets.push(T::Offset::usize_as(bytes.len()));
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    GenericByteArray::try_new(offsets, Buffer::from_vec(bytes), nulls).map_err(|error| fail(&T::DATA_TYPE, error))
}

fn view_array<'a, T: ByteViewType>(
    len: usize,
    nulls: Option<NullBuffer>,
    value: impl Fn(usize) -> &'a [u8],
) -> Result<GenericByteViewArray<T>> {
    // Offsets in views are 32 bits; a batch that needs more gets a further block.
    let mut blocks = Vec::new();
    let mut block: Vec<u8> = Vec::new();
    let mut views = Vec::with_capacity(len);
    for row in 0..len {
        let bytes = value(row);
        if block.len() + bytes.len() > i32::MAX as usize {
            blocks.push(Buffer::from_vec(std::mem::take(&mut block)));
        }
        views.push(make_view(bytes, blocks.len() as u32, block.len() as u32));
        if bytes.len() > MAX_INLINE_VIEW_LEN as usize {
            block.extend_from_slice(bytes);
        }
    }
    blocks.push(Buffer::from_vec(block));
    GenericByteViewArray::try_new(ScalarBuffer::from(views), blocks, nulls).map_err(|error| fail(&T::DATA_TYPE, error))
}

fn dictionary<K: ArrowDictionaryKeyType>(keys: Vec<Option<u32>>, values: ArrayRef, column: &str) -> Result<ArrayRef> {
    let count = values.len();
    if count > 0 && K::Native::from_usize(count - 1).is_none() {
        return Err(Error::Codec {
            type_name: format!("dictionary column {column}"),
            what: format!("expected at most as many distinct values in a batch as {} can number, found {count}", K::DATA_TYPE),
        });
    }
    let keys: PrimitiveArray<K> = keys.into_iter().map(|key| K::Native::from_usize(key? as usize)).collect();
    let array = DictionaryArray::try_new(keys, values).map_err(|error| fail(&K::DATA_TYPE, error))?;
    Ok(Arc::new(array))
}

/// For each row the number of its value among the distinct ones, and a row of each; nothing for values that are not plain
/// bytes, which count as distinct.
type Distinct = (Vec<Option<u32>>, Option<Vec<u32>>);

fn distinct(array: &ArrayRef) -> Result<Distinct> {
    let source = Source::of(array)?;
    let valid = |row| source.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let len = array.len();
    let numbers = match &source.values {
        Values::Fixed(values) => {
            let width = values.len() / len.max(1);
            number(len, valid, |row| &values[row * width..(row + 1) * width])
        }
        Values::Bool(values) => number(len, valid, |row| if values.value(row) { &[1] } else { &[0] }),
        values => with_bytes!(values, bytes => number(len, valid, |row| bytes.bytes(row)), {
            return Ok(((0..len).map(|row| valid(row).then_some(row as u32)).collect(), None));
        }),
    };
    Ok((numbers.0, Some(numbers.1)))
}

fn number<'a>(len: usize, valid: impl Fn(usize) -> bool, value: impl Fn(usize) -> &'a [u8]) -> (Vec<Option<u32>>, Vec<u32>) {
    let mut table = hashbrown::HashTable::<u32>::new();
    let mut firsts = Vec::new();
    let numbers = (0..len).map(|row| {
        valid(row).then(|| {
            let bytes = value(row);
            let entry = table.entry(
                hash_bytes(bytes),
                |&number| value(firsts[number as usize] as usize) == bytes,
                |&number| hash_bytes(value(firsts[number as usize] as usize)),
            );
            let number = *entry.or_insert(firsts.len() as u32).get();
            if number as usize == firsts.len() {
                firsts.push(row as u32);
            }
            number
        })
    });
    (numbers.collect(), firsts)
}

#[cold]
fn fail(data_type: &DataType, error: impl std::fmt::Display) -> Error {
    Error::Codec { type_name: data_type.to_string(), what: error.to_string() }
}
