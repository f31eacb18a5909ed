//! Random arrays of every type, for the tests of keys and codecs.

use crate::hash::remix;
use arrow_array::builder::*;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{Buffer, IntervalDayTime, IntervalMonthDayNano, NullBuffer, OffsetBuffer, ScalarBuffer, i256};
use arrow_data::ArrayData;
use arrow_schema::*;
use half::f16;
use std::sync::Arc;

/// A small generator, so that an array is a function of its seed.
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        remix(self.0, 3)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// A number that is often small or at the edge.
    fn number(&mut self) -> i128 {
        match self.below(4) {
            0 => self.below(3) as i128 - 1,
            1 => [i64::MIN, i64::MAX, i64::from(i32::MIN), i64::from(i32::MAX)][self.below(4)].into(),
            2 => i128::from(self.next()) << 64 | i128::from(self.next()),
            _ => i128::from(self.next() as i64),
        }
    }

    fn float(&mut self) -> f64 {
        match self.below(4) {
            0 => [0.0, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(0x7FF8 << 48)][self.below(4)],
            1 => self.below(3) as f64 - 1.0,
            _ => (self.next() as i64) as f64 * 2f64.powi(self.below(200) as i32 - 100),
        }
    }

    fn text(&mut self) -> String {
        let letters = ["\0", "a", "ab", "\u{1}", "ß", "\u{10FFFF}", "a longer piece of text"];
        (0..self.below(4)).map(|_| letters[self.below(letters.len())]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let letters: [&[u8]; 6] = [&[0], &[0, 0xFF], &[0xFF], &[1], b"abc", b"thirteen bytes"];
        (0..self.below(4)).flat_map(|_| letters[self.below(letters.len())].to_vec()).collect()
    }
}

fn dictionary(key: DataType, value: DataType) -> DataType {
    DataType::Dictionary(Box::new(key), Box::new(value))
}

/// Every type that can be a key.
pub(crate) fn key_types() -> Vec<DataType> {
    use DataType::*;
    let zone = || Some("Europe/Vienna".into());
    vec![
        Null,
        Boolean,
        Int8,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
        Float16,
        Float32,
        Float64,
        Decimal32(7, 2),
        Decimal64(16, 2),
        Decimal128(15, 2),
        Decimal128(38, 2),
        Decimal256(50, 3),
        Date32,
        Date64,
        Time32(TimeUnit::Second),
        Time64(TimeUnit::Nanosecond),
        Timestamp(TimeUnit::Second, None),
        Timestamp(TimeUnit::Microsecond, zone()),
        Duration(TimeUnit::Millisecond),
        Interval(IntervalUnit::YearMonth),
        Interval(IntervalUnit::DayTime),
        Interval(IntervalUnit::MonthDayNano),
        Utf8,
        LargeUtf8,
        Utf8View,
        Binary,
        LargeBinary,
        BinaryView,
        FixedSizeBinary(3),
        dictionary(Int8, Utf8),
        dictionary(UInt32, Int64),
        dictionary(Int16, Boolean),
        dictionary(Int32, Utf8View),
        dictionary(UInt64, Decimal128(10, 0)),
        dictionary(UInt16, FixedSizeBinary(5)),
    ]
}

/// Types that cannot be keys, and all others.
pub(crate) fn all_types() -> Vec<DataType> {
    use DataType::*;
    let item = |data_type: DataType, nullable| Arc::new(Field::new("item", data_type, nullable));
    let list = |data_type| List(item(data_type, true));
    let pair = || Fields::from(vec![Field::new("a", Int32, true), Field::new("b", Utf8, false)]);
    let entries = Fields::from(vec![Field::new("keys", Utf8, false), Field::new("values", Int64, true)]);
    let variants = || {
        let fields = [Field::new("i", Int32, true), Field::new("s", Utf8, true), Field::new("l", list(Int16), true)];
        UnionFields::try_new([1, 4, 7], fields).unwrap()
    };
    let mut types = key_types();
    types.extend([
        list(Int32),
        List(item(Int64, false)),
        list(Utf8),
        list(Boolean),
        list(list(Utf8View)),
        list(dictionary(Int8, Utf8)),
        list(Null),
        list(Decimal128(12, 2)),
        LargeList(item(Struct(pair()), true)),
        FixedSizeList(item(Float32, true), 3),
        FixedSizeList(item(Utf8, false), 2),
        list(FixedSizeList(item(Binary, true), 2)),
        ListView(item(Int32, true)),
        LargeListView(item(Utf8, true)),
        Struct(pair()),
        Struct(Fields::from(vec![Field::new("p", Struct(pair()), true), Field::new("l", list(Struct(pair())), true)])),
        Struct(Fields::from(vec![
            Field::new("d", dictionary(Int8, Utf8), true),
            Field::new("u", Union(variants(), UnionMode::Dense), true),
        ])),
        Map(Arc::new(Field::new("entries", Struct(entries), false)), false),
        Union(variants(), UnionMode::Dense),
        Union(variants(), UnionMode::Sparse),
        list(Union(variants(), UnionMode::Dense)),
        FixedSizeBinary(0),
        dictionary(Int32, list(Int32)),
        RunEndEncoded(Arc::new(Field::new("run_ends", Int32, false)), Arc::new(Field::new("values", Utf8, true))),
        RunEndEncoded(Arc::new(Field::new("run_ends", Int16, false)), Arc::new(Field::new("values", Int64, true))),
    ]);
    types
}

/// Whether two arrays have the same type and values. Encodings of repetition may differ.
pub(crate) fn same(a: &ArrayRef, b: &ArrayRef) -> bool {
    use arrow_cast::display::{ArrayFormatter, FormatOptions};
    fn repeats(data_type: &DataType) -> bool {
        match data_type {
            DataType::Dictionary(..) | DataType::RunEndEncoded(..) | DataType::Union(..) => true,
            DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) | DataType::Map(f, _) => {
                repeats(f.data_type())
            }
            DataType::ListView(_) | DataType::LargeListView(_) => true,
            DataType::Struct(fields) => fields.iter().any(|f| repeats(f.data_type())),
            _ => false,
        }
    }
    let text = |array: &ArrayRef| -> Vec<String> {
        let options = FormatOptions::new().with_null("NULL");
        let format = ArrayFormatter::try_new(array, &options).unwrap();
        (0..array.len()).map(|i| format.value(i).to_string()).collect()
    };
    a.data_type() == b.data_type()
        && if repeats(a.data_type()) { a.len() == b.len() && text(a) == text(b) } else { a.to_data() == b.to_data() }
}

/// A random array.
pub(crate) fn array_of(data_type: &DataType, nullable: bool, len: usize, seed: u64) -> ArrayRef {
    array(data_type, nullable, len, &mut Random(seed))
}

fn nulls(nullable: bool, len: usize, random: &mut Random) -> Option<NullBuffer> {
    let share = random.below(4);
    (nullable && share > 0).then(|| NullBuffer::from_iter((0..len).map(|_| random.below(4) >= share)))
}

fn array(data_type: &DataType, nullable: bool, len: usize, random: &mut Random) -> ArrayRef {
    use DataType::*;
    let nulls = nulls(nullable, len, random);
    macro_rules! fixed {
        ($value:expr) => {{
            let values: Vec<_> = (0..len).map(|_| $value).collect();
            let data = ArrayData::builder(data_type.clone()).len(len).nulls(nulls).add_buffer(Buffer::from_vec(values));
            make_array(data.build().unwrap())
        }};
    }
    macro_rules! built {
        ($builder:expr, $value:expr) => {{
            let mut builder = $builder;
            for i in 0..len {
                match &nulls {
                    Some(nulls) if nulls.is_null(i) => builder.append_null(),
                    _ => builder.append_value($value),
                }
            }
            Arc::new(builder.finish())
        }};
    }
    match data_type {
        Null => Arc::new(NullArray::new(len)),
        Boolean => built!(BooleanBuilder::new(), random.below(2) == 1),
        Int8 | UInt8 => fixed!(random.number() as i8),
        Int16 | UInt16 => fixed!(random.number() as i16),
        Int32 | UInt32 | Date32 | Time32(_) | Interval(IntervalUnit::YearMonth) => fixed!(random.number() as i32),
        Int64 | UInt64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) => fixed!(random.number() as i64),
        Float16 => fixed!(f16::from_f64(random.float()) + f16::ZERO),
        Float32 => fixed!(random.float() as f32 + 0.0),
        Float64 => fixed!(random.float() + 0.0),
        Decimal32(p, _) => fixed!((random.number() % 10i128.pow((*p).into())) as i32),
        Decimal64(p, _) => fixed!((random.number() % 10i128.pow((*p).into())) as i64),
        Decimal128(p, _) => fixed!(random.number() % 10i128.pow((*p).into())),
        Decimal256(..) => fixed!(i256::from_i128(random.number()).wrapping_mul(i256::from_i128(random.below(1000) as i128))),
        Interval(IntervalUnit::DayTime) => fixed!(IntervalDayTime::new(random.number() as i32, random.number() as i32)),
        Interval(IntervalUnit::MonthDayNano) => {
            fixed!(IntervalMonthDayNano::new(random.number() as i32, random.number() as i32, random.number() as i64))
        }
        Utf8 => built!(StringBuilder::new(), random.text()),
        LargeUtf8 => built!(LargeStringBuilder::new(), random.text()),
        Utf8View => built!(StringViewBuilder::new(), random.text()),
        Binary => built!(BinaryBuilder::new(), random.bytes()),
        LargeBinary => built!(LargeBinaryBuilder::new(), random.bytes()),
        BinaryView => built!(BinaryViewBuilder::new(), random.bytes()),
        FixedSizeBinary(width) => {
            let values: Vec<u8> = (0..len * *width as usize).map(|_| random.below(3) as u8).collect();
            Arc::new(FixedSizeBinaryArray::try_new_with_len(*width, values.into(), nulls, len).unwrap())
        }
        Dictionary(key, value) => {
            let values = array(value, nullable, 5, random);
            macro_rules! keys {
                ($type:ty) => {{
                    let keys: PrimitiveArray<$type> =
                        (0..len).map(|i| nulls.as_ref().is_none_or(|n| n.is_valid(i)).then(|| random.below(5) as _)).collect();
                    Arc::new(DictionaryArray::new(keys, values))
                }};
            }
            match **key {
                Int8 => keys!(Int8Type),
                Int16 => keys!(Int16Type),
                Int32 => keys!(Int32Type),
                UInt16 => keys!(UInt16Type),
                UInt32 => keys!(UInt32Type),
                _ => keys!(UInt64Type),
            }
        }
        List(field) => {
            let lengths: Vec<usize> = (0..len).map(|_| random.below(4)).collect();
            let child = array(field.data_type(), field.is_nullable(), lengths.iter().sum(), random);
            Arc::new(ListArray::new(field.clone(), OffsetBuffer::from_lengths(lengths), child, nulls))
        }
        LargeList(field) => {
            let lengths: Vec<usize> = (0..len).map(|_| random.below(4)).collect();
            let child = array(field.data_type(), field.is_nullable(), lengths.iter().sum(), random);
            Arc::new(LargeListArray::new(field.clone(), OffsetBuffer::from_lengths(lengths), child, nulls))
        }
        ListView(field) => {
            let child = array(field.data_type(), field.is_nullable(), 9, random);
            let offsets: ScalarBuffer<i32> = (0..len).map(|_| random.below(6) as i32).collect();
            let sizes: ScalarBuffer<i32> = (0..len).map(|_| random.below(4) as i32).collect();
            Arc::new(ListViewArray::new(field.clone(), offsets, sizes, child, nulls))
        }
        LargeListView(field) => {
            let child = array(field.data_type(), field.is_nullable(), 9, random);
            let offsets: ScalarBuffer<i64> = (0..len).map(|_| random.below(6) as i64).collect();
            let sizes: ScalarBuffer<i64> = (0..len).map(|_| random.below(4) as i64).collect();
            Arc::new(LargeListViewArray::new(field.clone(), offsets, sizes, child, nulls))
        }
        FixedSizeList(field, size) => {
            let child = array(field.data_type(), field.is_nullable(), len * *size as usize, random);
            Arc::new(FixedSizeListArray::new(field.clone(), *size, child, nulls))
        }
        Struct(fields) => {
            let children = fields.iter().map(|f| array(f.data_type(), f.is_nullable(), len, random)).collect();
            Arc::new(StructArray::new(fields.clone(), children, nulls))
        }
        Map(field, ordered) => {
            let lengths: Vec<usize> = (0..len).map(|_| random.below(4)).collect();
            let entries = array(field.data_type(), false, lengths.iter().sum(), random);
            let entries = entries.as_any().downcast_ref::<StructArray>().unwrap().clone();
            Arc::new(MapArray::new(field.clone(), OffsetBuffer::from_lengths(lengths), entries, nulls, *ordered))
        }
        Union(fields, mode) => {
            let ids: Vec<i8> = fields.iter().map(|(id, _)| id).collect();
            let types: Vec<i8> = (0..len).map(|_| ids[random.below(ids.len())]).collect();
            let children = fields.iter().map(|(_, f)| array(f.data_type(), f.is_nullable(), len, random)).collect();
            let offsets = (*mode == UnionMode::Dense).then(|| (0..len as i32).collect());
            Arc::new(UnionArray::try_new(fields.clone(), types.into(), offsets, children).unwrap())
        }
        RunEndEncoded(ends, values) => {
            let mut run_ends = vec![];
            let mut end = 0;
            while end < len {
                end += 1 + random.below(3);
                run_ends.push(end as i32);
            }
            let values = array(values.data_type(), nullable, run_ends.len(), random);
            if ends.data_type() == &Int16 {
                let ends = run_ends.into_iter().map(|end| end as i16).collect::<Int16Array>();
                Arc::new(RunArray::<Int16Type>::try_new(&ends, &values).unwrap().slice(0, len))
            } else {
                Arc::new(RunArray::<Int32Type>::try_new(&Int32Array::from(run_ends), &values).unwrap().slice(0, len))
            }
        }
    }
}
