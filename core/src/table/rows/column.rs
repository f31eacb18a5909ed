use crate::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, FixedSizeListArray, LargeBinaryArray,
    LargeStringArray, RecordBatch, StringArray, StringViewArray, StructArray, make_array, new_null_array,
};
use arrow_buffer::NullBuffer;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, TimeUnit};
use half::f16;
use std::sync::Arc;

/// How dates, times and decimals are written as text: ISO 8601, and all digits.
const TEXT: FormatOptions<'static> = FormatOptions::new();

/// The column of a batch, downcast to what its values are.
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    pub(super) data_type: &'a DataType,
    nulls: Option<&'a NullBuffer>,
    pub(super) values: Values<'a>,
}

pub(super) enum Values<'a> {
    Null,
    Bool(&'a BooleanArray),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F16(&'a [f16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    Decimal {
        unscaled: Unscaled<'a>,
        scale: i8,
        text: Text<'a>,
    },
    /// Dates and times, as days or in the column's unit.
    Temporal32(&'a [i32], Text<'a>),
    Temporal64(&'a [i64], Text<'a>),
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    FixedBinary(&'a FixedSizeBinaryArray),
    Struct(Vec<Column<'a>>),
    List(Ranges<'a>, Box<Column<'a>>),
    Map(&'a [i32], Box<[Column<'a>; 2]>),
    /// What has no other form than text.
    Other(Text<'a>),
}

/// The digits of decimals.
pub(super) enum Unscaled<'a> {
    D32(&'a [i32]),
    D64(&'a [i64]),
    D128(&'a [i128]),
}

impl Unscaled<'_> {
    pub(super) fn get(&self, row: usize) -> i128 {
        match self {
            Self::D32(v) => v[row].into(),
            Self::D64(v) => v[row].into(),
            Self::D128(v) => v[row],
        }
    }
}

/// Where the elements of lists lie among the values.
pub(super) enum Ranges<'a> {
    Offsets(&'a [i32]),
    LargeOffsets(&'a [i64]),
    Fixed(usize),
}

impl Ranges<'_> {
    pub(super) fn get(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Self::Offsets(o) => o[row] as usize..o[row + 1] as usize,
            Self::LargeOffsets(o) => o[row] as usize..o[row + 1] as usize,
            Self::Fixed(len) => row * len..(row + 1) * len,
        }
    }
}

/// Writes values of a column as text; `None` if arrow knows no text for them.
pub(super) struct Text<'a>(Option<Box<ArrayFormatter<'a>>>);

impl<'a> Text<'a> {
    fn of(array: &'a dyn Array) -> Self {
        Self(ArrayFormatter::try_new(array, &TEXT).ok().map(Box::new))
    }

    pub(super) fn get(&self, row: usize) -> Option<String> {
        self.0.as_ref()?.value(row).try_to_string().ok()
    }
}

/// The batch's columns with dictionaries and runs resolved, for [`Column`]s to borrow.
pub(super) fn resolve(batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    batch.columns().iter().map(resolved).collect()
}

fn resolved(array: &ArrayRef) -> Result<ArrayRef> {
    match encoded(array.data_type()) {
        Some(plain) => resolved(&arrow_cast::cast(array, plain)?),
        None => Ok(array.clone()),
    }
}

/// The type of the values behind a dictionary or runs.
fn encoded(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Dictionary(_, values) => Some(values),
        DataType::RunEndEncoded(_, values) => Some(values.data_type()),
        _ => None,
    }
}

/// One value of a type, resolved: zero, empty, the first of what there is; `None` for unions, whose values have no one type.
pub(super) fn zero(data_type: &DataType) -> Option<ArrayRef> {
    if let Some(plain) = encoded(data_type) {
        return zero(plain);
    }
    Some(match data_type {
        DataType::Union(..) => return None,
        DataType::Struct(fields) => {
            let children = fields.iter().map(|f| zero(f.data_type())).collect::<Option<Vec<_>>>()?;
            let types = fields.iter().zip(&children).map(|(f, c)| Field::new(f.name(), c.data_type().clone(), true));
            Arc::new(StructArray::try_new_with_length(types.collect(), children, None, 1).ok()?)
        }
        DataType::FixedSizeList(item, len) => {
            let one = zero(item.data_type())?;
            let copies = vec![one.as_ref(); usize::try_from(*len).ok()?];
            let values = if copies.is_empty() { one.slice(0, 0) } else { arrow_select::concat::concat(&copies).ok()? };
            let item = Field::new(item.name(), values.data_type().clone(), true);
            Arc::new(FixedSizeListArray::try_new_with_length(Arc::new(item), *len, values, None, 1).ok()?)
        }
        // A null is stored as zeros.
        plain => make_array(new_null_array(plain, 1).to_data().into_builder().nulls(None).build().ok()?),
    })
}

impl<'a> Column<'a> {
    pub(super) fn new(name: &'a str, array: &'a dyn Array) -> Self {
        Self { name, data_type: array.data_type(), nulls: array.nulls(), values: Values::of(array) }
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self.nulls {
            Some(nulls) => nulls.is_null(row),
            None => matches!(self.values, Values::Null),
        }
    }
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array) -> Self {
        let text = || Text::of(array);
        match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int8 => Self::I8(array.as_primitive::<Int8Type>().values()),
            DataType::Int16 => Self::I16(array.as_primitive::<Int16Type>().values()),
            DataType::Int32 => Self::I32(array.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Self::I64(array.as_primitive::<Int64Type>().values()),
            DataType::UInt8 => Self::U8(array.as_primitive::<UInt8Type>().values()),
            DataType::UInt16 => Self::U16(array.as_primitive::<UInt16Type>().values()),
            DataType::UInt32 => Self::U32(array.as_primitive::<UInt32Type>().values()),
            DataType::UInt64 => Self::U64(array.as_primitive::<UInt64Type>().values()),
            DataType::Float16 => Self::F16(array.as_primitive::<Float16Type>().values()),
            DataType::Float32 => Self::F32(array.as_primitive::<Float32Type>().values()),
            DataType::Float64 => Self::F64(array.as_primitive::<Float64Type>().values()),
            DataType::Decimal32(_, scale) => {
                let unscaled = Unscaled::D32(array.as_primitive::<Decimal32Type>().values());
                Self::Decimal { unscaled, scale: *scale, text: text() }
            }
            DataType::Decimal64(_, scale) => {
                let unscaled = Unscaled::D64(array.as_primitive::<Decimal64Type>().values());
                Self::Decimal { unscaled, scale: *scale, text: text() }
            }
            DataType::Decimal128(_, scale) => {
                let unscaled = Unscaled::D128(array.as_primitive::<Decimal128Type>().values());
                Self::Decimal { unscaled, scale: *scale, text: text() }
            }
            DataType::Date32 => Self::Temporal32(array.as_primitive::<Date32Type>().values(), text()),
            DataType::Date64 => Self::Temporal64(array.as_primitive::<Date64Type>().values(), text()),
            DataType::Time32(TimeUnit::Second) => Self::Temporal32(array.as_primitive::<Time32SecondType>().values(), text()),
            DataType::Time32(_) => Self::Temporal32(array.as_primitive::<Time32MillisecondType>().values(), text()),
            DataType::Time64(TimeUnit::Microsecond) => {
                Self::Temporal64(array.as_primitive::<Time64MicrosecondType>().values(), text())
            }
            DataType::Time64(_) => Self::Temporal64(array.as_primitive::<Time64NanosecondType>().values(), text()),
            DataType::Timestamp(unit, _) => Self::Temporal64(
                match unit {
                    TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values(),
                    TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values(),
                    TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values(),
                    TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values(),
                },
                text(),
            ),
            DataType::Duration(unit) => Self::Temporal64(
                match unit {
                    TimeUnit::Second => array.as_primitive::<DurationSecondType>().values(),
                    TimeUnit::Millisecond => array.as_primitive::<DurationMillisecondType>().values(),
                    TimeUnit::Microsecond => array.as_primitive::<DurationMicrosecondType>().values(),
                    TimeUnit::Nanosecond => array.as_primitive::<DurationNanosecondType>().values(),
                },
                text(),
            ),
            DataType::Utf8 => Self::Utf8(array.as_string()),
            DataType::LargeUtf8 => Self::LargeUtf8(array.as_string()),
            DataType::Utf8View => Self::Utf8View(array.as_string_view()),
            DataType::Binary => Self::Binary(array.as_binary()),
            DataType::LargeBinary => Self::LargeBinary(array.as_binary()),
            DataType::BinaryView => Self::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Self::FixedBinary(array.as_fixed_size_binary()),
            DataType::Struct(fields) => {
                let children = fields.iter().zip(array.as_struct().columns());
                Self::Struct(children.map(|(f, c)| Column::new(f.name(), c.as_ref())).collect())
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                Self::List(Ranges::Offsets(list.value_offsets()), Box::new(Column::new(item.name(), list.values().as_ref())))
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                Self::List(Ranges::LargeOffsets(list.value_offsets()), Box::new(Column::new(item.name(), list.values().as_ref())))
            }
            DataType::FixedSizeList(item, len) => {
                let values = array.as_fixed_size_list().values();
                Self::List(Ranges::Fixed(*len as usize), Box::new(Column::new(item.name(), values.as_ref())))
            }
            DataType::Map(_, _) => {
                let map = array.as_map();
                let entries = [Column::new("key", map.keys().as_ref()), Column::new("value", map.values().as_ref())];
                Self::Map(map.value_offsets(), Box::new(entries))
            }
            _ => Self::Other(text()),
        }
    }
}
