//! Aggregates over columns against a naive model: every function over every type, directly and pre-aggregated, in memory
//! and spilling.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::i256;
use arrow_schema::{DataType, IntervalUnit, TimeUnit};
use fluvial_memory::{Error, KeyWidth, MemoryManager, Progress, RowBatch, RowShape, SEGMENT_SIZE, SpillConfig, SpillManager};
use fluvial_operators::aggregate::{
    AggregateFunction as F, ColumnAggregate, ColumnAggregates, Combine, CombineOptions, HashAggregate,
};
use half::f16;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What stands for NaN in columns of floats; greater than all other numbers of the tests.
const NAN: i64 = 99;

/// A column whose values have the order of the numbers they are made from.
fn column(data_type: &DataType, numbers: &[Option<i64>]) -> ArrayRef {
    fn of<T: ArrowPrimitiveType>(data_type: &DataType, numbers: &[Option<i64>], f: impl Fn(i64) -> T::Native) -> ArrayRef {
        let array: PrimitiveArray<T> = numbers.iter().map(|n| n.map(&f)).collect();
        Arc::new(array.with_data_type(data_type.clone()))
    }
    let float = |n: i64| if n == NAN { f64::NAN } else { n as f64 / 4.0 };
    let bytes = |n: i64| format!("{:03}", n + 500).repeat(if n % 7 == 0 { 20 } else { 1 });
    let strings = || numbers.iter().map(|n| n.map(bytes));
    let binaries = || numbers.iter().map(|n| n.map(|n| bytes(n).into_bytes()));
    let dt = data_type;
    match dt {
        DataType::Boolean => Arc::new(numbers.iter().map(|n| n.map(|n| n > 0)).collect::<BooleanArray>()),
        DataType::Int8 => of::<Int8Type>(dt, numbers, |n| n as i8),
        DataType::Int16 => of::<Int16Type>(dt, numbers, |n| n as i16),
        DataType::Int32 => of::<Int32Type>(dt, numbers, |n| n as i32),
        DataType::Int64 => of::<Int64Type>(dt, numbers, |n| n),
        DataType::UInt8 => of::<UInt8Type>(dt, numbers, |n| (n + 100) as u8),
        DataType::UInt16 => of::<UInt16Type>(dt, numbers, |n| (n + 100) as u16),
        DataType::UInt32 => of::<UInt32Type>(dt, numbers, |n| (n + 100) as u32),
        DataType::UInt64 => of::<UInt64Type>(dt, numbers, |n| (n + 100) as u64),
        DataType::Float16 => of::<Float16Type>(dt, numbers, |n| f16::from_f64(float(n))),
        DataType::Float32 => of::<Float32Type>(dt, numbers, |n| float(n) as f32),
        DataType::Float64 => of::<Float64Type>(dt, numbers, float),
        DataType::Date32 => of::<Date32Type>(dt, numbers, |n| n as i32),
        DataType::Date64 => of::<Date64Type>(dt, numbers, |n| n),
        DataType::Time32(_) => of::<Time32SecondType>(dt, numbers, |n| n as i32 + 200),
        DataType::Time64(_) => of::<Time64NanosecondType>(dt, numbers, |n| n + 200),
        DataType::Timestamp(..) => of::<TimestampMicrosecondType>(dt, numbers, |n| n),
        DataType::Duration(_) => of::<DurationMillisecondType>(dt, numbers, |n| n),
        DataType::Interval(_) => of::<IntervalYearMonthType>(dt, numbers, |n| n as i32),
        DataType::Decimal32(..) => of::<Decimal32Type>(dt, numbers, |n| n as i32),
        DataType::Decimal64(..) => of::<Decimal64Type>(dt, numbers, |n| n),
        DataType::Decimal128(..) => of::<Decimal128Type>(dt, numbers, i128::from),
        DataType::Decimal256(..) => of::<Decimal256Type>(dt, numbers, |n| i256::from_i128(n.into())),
        DataType::Utf8 => Arc::new(strings().collect::<StringArray>()),
        DataType::LargeUtf8 => Arc::new(strings().collect::<LargeStringArray>()),
        DataType::Utf8View => Arc::new(strings().collect::<StringViewArray>()),
        DataType::Binary => Arc::new(binaries().collect::<BinaryArray>()),
        DataType::LargeBinary => Arc::new(binaries().collect::<LargeBinaryArray>()),
        DataType::BinaryView => Arc::new(binaries().collect::<BinaryViewArray>()),
        DataType::FixedSizeBinary(2) => {
            let values = numbers.iter().map(|n| n.map(|n| ((n + 500) as u16).to_be_bytes()));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 2).unwrap())
        }
        DataType::Dictionary(_, _) => {
            let strings: Vec<_> = strings().collect();
            Arc::new(strings.iter().map(|s| s.as_deref()).collect::<DictionaryArray<Int32Type>>())
        }
        other => unreachable!("{other}"),
    }
}

fn types() -> Vec<DataType> {
    vec![
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal32(7, 2),
        DataType::Decimal64(15, 2),
        DataType::Decimal128(15, 2),
        DataType::Decimal128(30, 4),
        DataType::Decimal256(60, 3),
        DataType::Duration(TimeUnit::Millisecond),
        DataType::Date32,
        DataType::Date64,
        DataType::Time32(TimeUnit::Second),
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into())),
        DataType::Interval(IntervalUnit::YearMonth),
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
        DataType::FixedSizeBinary(2),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    ]
}

/// What a value adds to a sum, and the unit of averages.
fn addend(data_type: &DataType, n: i64) -> f64 {
    match data_type {
        DataType::Boolean => f64::from(u8::from(n > 0)),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => (n + 100) as f64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            if n == NAN {
                f64::NAN
            } else {
                n as f64 / 4.0
            }
        }
        _ => n as f64,
    }
}

fn unit(data_type: &DataType) -> f64 {
    match data_type {
        DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => {
            10f64.powi(i32::from(*s))
        }
        _ => 1.0,
    }
}

/// A value of an array of sums or means, in the units of the input.
fn float(array: &dyn Array, i: usize) -> Option<f64> {
    if array.is_null(i) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Int64 => array.as_primitive::<Int64Type>().value(i) as f64,
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(i) as f64,
        DataType::Float64 => array.as_primitive::<Float64Type>().value(i),
        DataType::Duration(_) => array.as_primitive::<DurationMillisecondType>().value(i) as f64,
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value(i) as f64,
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value(i).to_i128().unwrap() as f64,
        other => unreachable!("{other}"),
    })
}

fn close(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// How rows reach the final aggregation.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Combined { small: usize },
}

fn aggregate(
    aggregates: &ColumnAggregates,
    segments: usize,
    way: Way,
    batches: &[(RowBatch, Vec<ArrayRef>)],
) -> (Vec<Vec<u8>>, Vec<ArrayRef>) {
    let memory = MemoryManager::new(segments * SEGMENT_SIZE).unwrap();
    let combiners = MemoryManager::new(1 << 20).unwrap();
    let spill = SpillManager::new(SpillConfig::default()).unwrap();
    let key = batches.first().map_or(KeyWidth::Variable, |b| b.0.shape().key);
    let reservation = memory.reserve("groups", 33).unwrap();
    let mut groups = HashAggregate::new(reservation, spill, key, aggregates.clone(), Default::default(), None).unwrap();
    match way {
        Way::Direct => {
            for (keys, columns) in batches {
                assert_eq!(groups.update_batch(keys, columns).unwrap(), Progress::Done);
            }
        }
        Way::Combined { small } => {
            let mut options = CombineOptions::default();
            (options.small_bytes, options.large_bytes) = (small, Some(2 * small));
            let mut combine = Combine::new(combiners.reserve("combine", 0).unwrap(), key, aggregates.clone(), options);
            let mut partials = RowBatch::new(combine.shape());
            let mut drain = |combine: &mut Combine<ColumnAggregates>| loop {
                let progress = combine.pull(&mut partials, 100);
                assert_eq!(groups.push(&partials).unwrap(), Progress::Done);
                if progress == Progress::Done {
                    break;
                }
            };
            for (keys, columns) in batches {
                if combine.update_batch(keys, columns).unwrap() == Progress::More {
                    drain(&mut combine);
                }
            }
            combine.end();
            drain(&mut combine);
        }
    }
    groups.end().unwrap();
    let mut all = RowBatch::new(groups.shape());
    let mut out = RowBatch::new(groups.shape());
    loop {
        let progress = groups.pull(&mut out, 1000).unwrap();
        out.iter().for_each(|row| all.push_row(row));
        if progress == Progress::Done {
            break;
        }
    }
    drop(groups);
    assert_eq!(memory.available(), memory.budget());
    let keys = (0..all.len()).map(|i| all.key(i).to_vec()).collect();
    (keys, aggregates.finish(&all).unwrap())
}

/// Says where two columns differ, if they do.
fn same(found: &ArrayRef, expected: &ArrayRef, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for i in 0..found.len() {
        assert_eq!(&found.slice(i, 1), &expected.slice(i, 1), "{what}: row {i}");
    }
}

fn check(data_type: &DataType, rows: &[(u64, Option<i64>)], segments: usize, way: Way, batch: usize, wide_keys: bool) {
    let nullable = rows.iter().any(|r| r.1.is_none());
    let functions = [F::Sum, F::Avg, F::Min, F::Max, F::Count, F::First];
    let mut wanted: Vec<ColumnAggregate> = functions
        .iter()
        .map(|&f| ColumnAggregate::new(f, 0, data_type.clone(), "v"))
        .filter(|a| a.output_type().is_ok() && ColumnAggregates::new(std::slice::from_ref(a)).is_ok())
        .map(|a| if nullable { a } else { a.not_null() })
        .collect();
    wanted.push(ColumnAggregate::count_star());
    let aggregates = ColumnAggregates::new(&wanted).unwrap();
    let shape = RowShape { key: if wide_keys { KeyWidth::Variable } else { KeyWidth::Fixed(8) }, row: None };
    let batches: Vec<_> = rows
        .chunks(batch)
        .map(|rows| {
            let mut keys = RowBatch::new(shape);
            rows.iter().for_each(|(key, _)| keys.push(&key.to_be_bytes(), b"payload"));
            // A slice, so that offsets count.
            let mut numbers = vec![Some(1), None];
            numbers.extend(rows.iter().map(|r| r.1));
            (keys, vec![column(data_type, &numbers).slice(2, rows.len())])
        })
        .collect();
    let (keys, results) = aggregate(&aggregates, segments, way, &batches);

    let mut model = BTreeMap::<u64, Vec<Option<i64>>>::new();
    rows.iter().for_each(|(key, n)| model.entry(*key).or_default().push(*n));
    assert_eq!(keys.len(), model.len());
    let values = |key: &Vec<u8>| -> Vec<i64> {
        model[&u64::from_be_bytes(key.as_slice().try_into().unwrap())].iter().flatten().copied().collect()
    };
    let plain = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    for (a, result) in wanted.iter().zip(&results) {
        assert_eq!(result.data_type(), &a.output_type().unwrap(), "{a}");
        let picked = |f: fn(Vec<i64>) -> Option<i64>| column(plain, &keys.iter().map(|k| f(values(k))).collect::<Vec<_>>());
        let sums = keys.iter().map(|k| values(k).iter().map(|&n| addend(data_type, n)).reduce(|a, b| a + b));
        match a.function {
            F::Sum => sums.enumerate().for_each(|(i, sum)| assert!(close(float(result, i), sum), "{a} of {data_type}")),
            F::Avg => sums.enumerate().for_each(|(i, sum)| {
                let mean = sum.map(|sum| sum / unit(data_type) / values(&keys[i]).len() as f64);
                assert!(close(float(result, i), mean), "{a} of {data_type}: {:?}, not {mean:?}", float(result, i));
            }),
            F::Min => same(result, &picked(|v| v.into_iter().min()), &format!("{a} of {data_type}")),
            F::Max => same(result, &picked(|v| v.into_iter().max()), &format!("{a} of {data_type}")),
            F::Count => {
                let counts: Int64Array = keys.iter().map(|k| Some(values(k).len() as i64)).collect();
                assert_eq!(result.as_primitive::<Int64Type>(), &counts);
            }
            F::CountStar => {
                let count = |k: &Vec<u8>| model[&u64::from_be_bytes(k.as_slice().try_into().unwrap())].len() as i64;
                assert_eq!(result.as_primitive::<Int64Type>(), &keys.iter().map(|k| Some(count(k))).collect::<Int64Array>());
            }
            F::First => keys.iter().enumerate().for_each(|(i, k)| {
                let values = values(k);
                assert_eq!(result.is_null(i), values.is_empty());
                let same = |n| column(plain, &[Some(n)]).to_data() == result.slice(i, 1).to_data();
                assert!(values.is_empty() || values.into_iter().any(same), "{a} of {data_type}");
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_function_over_every_type(
        data_type in prop::sample::select(types()),
        rows in prop::collection::vec((0u64..300, prop::option::weighted(0.8, prop_oneof![9 => -90i64..90, 1 => Just(NAN)])), 1..4000),
        nulls in any::<bool>(),
        clustered in any::<bool>(),
        batch in prop_oneof![Just(100usize), Just(3000)],
        way in prop_oneof![Just(Way::Direct), Just(Way::Combined { small: 1 << 16 }), Just(Way::Combined { small: 1 << 19 })],
        wide_keys in any::<bool>(),
    ) {
        let mut rows = rows;
        if !nulls {
            rows.retain(|r| r.1.is_some());
        }
        if clustered {
            rows.sort_by_key(|r| r.0);
        }
        prop_assume!(!rows.is_empty());
        check(&data_type, &rows, 100, way, batch, wide_keys);
    }
}

#[test]
fn spilling_and_recursion() {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        fluvial_memory::hash::remix(state, 0)
    };
    let rows: Vec<_> = (0..200_000)
        .map(|_| {
            let n = next();
            (n % 80_000, (n >> 40).is_multiple_of(5).then_some((n >> 50) as i64 % 90))
        })
        .collect();
    for data_type in [DataType::Decimal128(15, 2), DataType::Utf8] {
        for way in [Way::Direct, Way::Combined { small: 1 << 16 }] {
            check(&data_type, &rows, 33, way, 5000, false);
        }
    }
}

#[test]
fn overflows_name_the_column() {
    let one = |f, data_type, values: ArrayRef| {
        let aggregates = ColumnAggregates::new(&[ColumnAggregate::new(f, 0, data_type, "l_quantity")]).unwrap();
        let memory = MemoryManager::new(4 << 20).unwrap();
        let spill = SpillManager::new(SpillConfig::default()).unwrap();
        let reservation = memory.reserve("groups", 33).unwrap();
        let mut groups =
            HashAggregate::new(reservation, spill, KeyWidth::Fixed(0), aggregates.clone(), Default::default(), None).unwrap();
        let mut keys = RowBatch::new(RowShape::fixed(0, 0));
        (0..values.len()).for_each(|_| keys.push(&[], &[]));
        groups.update_batch(&keys, &[values])?;
        groups.end()?;
        let mut states = RowBatch::new(groups.shape());
        assert_eq!(groups.pull(&mut states, 10)?, Progress::Done);
        aggregates.finish(&states)
    };
    let max: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 5, -5]));
    assert_eq!(one(F::Sum, DataType::Int64, max).unwrap()[0].as_primitive::<Int64Type>().value(0), i64::MAX);
    let over: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, 1]));
    let error = one(F::Sum, DataType::Int64, over).unwrap_err();
    assert!(matches!(error, Error::Overflow { .. }));
    assert_eq!(error.to_string(), "sum(l_quantity) does not fit Int64");
    let over: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 1]));
    assert_eq!(one(F::Sum, DataType::UInt64, over).unwrap_err().to_string(), "sum(l_quantity) does not fit UInt64");
    let decimals = Decimal128Array::from(vec![10i128.pow(38) - 1; 2]).with_precision_and_scale(38, 0).unwrap();
    let error = one(F::Sum, DataType::Decimal128(38, 0), Arc::new(decimals)).unwrap_err();
    assert_eq!(error.to_string(), "sum(l_quantity) does not fit Decimal128(38, 0)");
    let decimals = Decimal128Array::from(vec![i128::MAX; 2]).with_precision_and_scale(38, 0).unwrap();
    assert!(one(F::Sum, DataType::Decimal128(38, 0), Arc::new(decimals)).is_err());
}

#[test]
fn signs_of_zero_and_nan_at_the_end() {
    let values: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::NEG_INFINITY, 0.0, -0.0, f64::INFINITY]));
    let of = |function| ColumnAggregate::new(function, 0, DataType::Float64, "v").not_null();
    let aggregates = ColumnAggregates::new(&[of(F::Min), of(F::Max)]).unwrap();
    let mut keys = RowBatch::new(RowShape::fixed(1, 0));
    [0u8, 1, 2, 2, 1].iter().for_each(|key| keys.push(&[*key], &[]));
    let (keys, results) = aggregate(&aggregates, 64, Way::Direct, &[(keys, vec![values])]);
    let value = |column: usize, key: u8| {
        results[column].as_primitive::<Float64Type>().value(keys.iter().position(|k| k == &[key]).unwrap())
    };
    assert!(value(0, 0).is_nan() && value(1, 0).is_nan());
    assert_eq!((value(0, 1), value(1, 1)), (f64::NEG_INFINITY, f64::INFINITY));
    assert_eq!((value(0, 2), value(1, 2)), (0.0, 0.0));
}

#[test]
fn no_rows_at_all() {
    let aggregates = ColumnAggregates::new(&[
        ColumnAggregate::new(F::Sum, 0, DataType::Int64, "a"),
        ColumnAggregate::new(F::Max, 1, DataType::Utf8, "b"),
        ColumnAggregate::count_star(),
    ])
    .unwrap();
    let results = aggregates.finish_empty();
    assert!(results[0].is_null(0) && results[1].is_null(0));
    assert_eq!(results[2].as_primitive::<Int64Type>().value(0), 0);
    let (keys, results) = aggregate(&aggregates, 64, Way::Direct, &[]);
    assert!(keys.is_empty() && results.iter().all(|r| r.is_empty()));
}

#[test]
fn what_is_not_defined_or_not_as_planned_is_an_error() {
    let undefined = |f, data_type| ColumnAggregates::new(&[ColumnAggregate::new(f, 0, data_type, "c")]).unwrap_err().to_string();
    assert_eq!(undefined(F::Sum, DataType::Utf8), "sum(c) is not defined for columns of type Utf8");
    assert_eq!(undefined(F::Avg, DataType::Date32), "avg(c) is not defined for columns of type Date32");
    let months = DataType::Interval(IntervalUnit::MonthDayNano);
    assert!(undefined(F::Sum, months).starts_with("sum(c) is not defined"));
    let lists = DataType::new_list(DataType::Int32, true);
    assert!(undefined(F::Min, lists).starts_with("min(c) is not defined"));

    let aggregates = ColumnAggregates::new(&[ColumnAggregate::new(F::Sum, 0, DataType::Int64, "c").not_null()]).unwrap();
    let memory = MemoryManager::new(4 << 20).unwrap();
    let mut combine =
        Combine::new(memory.reserve("combine", 8).unwrap(), KeyWidth::Fixed(1), aggregates, CombineOptions::default());
    let mut keys = RowBatch::new(RowShape::fixed(1, 0));
    keys.push(b"k", &[]);
    let mut update = |columns: &[ArrayRef]| combine.update_batch(&keys, columns).unwrap_err().to_string();
    assert_eq!(update(&[]), "sum(c): column 0 wanted, the batch has 0");
    let of_i32: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    assert_eq!(update(&[of_i32]), "sum(c): 1 values of type Int64 wanted, 1 of type Int32 found");
    let null: ArrayRef = Arc::new(Int64Array::from(vec![None]));
    assert_eq!(update(&[null]), "sum(c): a null in a column that was said to have none");
}
