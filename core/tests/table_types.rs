//! Tables over every type of column: sorts, groupings, distinct rows and joins by it against a plain model, and nested
//! columns that travel along.

mod budgets;

use arrow::compute::{cast, concat_batches, take, take_record_batch};
use arrow::util::display::array_value_to_string;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, IntervalMonthDayNano};
use arrow_array::*;
use arrow_schema::DataType::{self, *};
use arrow_schema::{Field, IntervalUnit, TimeUnit};
use budgets::sorted;
use fluvial_core::{Config, Env, JoinType, Table};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// All types that can be a key.
fn types() -> Vec<DataType> {
    let zone = || Some("+01:00".into());
    let mut types = vec![Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16, Float32, Float64];
    types.extend([Decimal32(7, 2), Decimal64(15, 0), Decimal128(20, 5), Decimal256(50, 3)]);
    types.extend([Utf8, LargeUtf8, Utf8View, Binary, LargeBinary, BinaryView, FixedSizeBinary(8)]);
    types.extend([Date32, Date64, Time32(TimeUnit::Second), Time32(TimeUnit::Millisecond)]);
    types.extend([Time64(TimeUnit::Microsecond), Time64(TimeUnit::Nanosecond)]);
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        types.extend([Timestamp(unit, None), Timestamp(unit, zone()), Duration(unit)]);
    }
    types.extend([IntervalUnit::YearMonth, IntervalUnit::DayTime, IntervalUnit::MonthDayNano].map(Interval));
    types.push(Dictionary(Box::new(Int32), Box::new(Utf8)));
    types
}

/// Texts and bytes have numbers of one width, so that they order as the numbers do.
fn text(v: i64) -> String {
    format!("{:03}", v + 500)
}

/// A column of a type that has the order of these numbers from 0 to 60 (true is all but 0).
fn column(data_type: &DataType, numbers: &[Option<i64>]) -> ArrayRef {
    let ints: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
    let texts = || -> ArrayRef { Arc::new(numbers.iter().map(|v| v.map(text)).collect::<StringArray>()) };
    let array: ArrayRef = match data_type {
        Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView | Dictionary(..) => cast(&texts(), data_type).unwrap(),
        FixedSizeBinary(8) => {
            let bytes = numbers.iter().map(|v| v.map(i64::to_be_bytes));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, 8).unwrap())
        }
        Date32 | Time32(_) => cast(&cast(&ints, &Int32).unwrap(), data_type).unwrap(),
        Float16 => cast(&cast(&ints, &Float32).unwrap(), data_type).unwrap(),
        Interval(IntervalUnit::YearMonth) => {
            Arc::new(numbers.iter().map(|v| v.map(|v| v as i32)).collect::<IntervalYearMonthArray>())
        }
        Interval(IntervalUnit::DayTime) => {
            let interval = |v| arrow::datatypes::IntervalDayTime::new(v as i32 / 7, v as i32 % 7);
            Arc::new(numbers.iter().map(|v| v.map(interval)).collect::<IntervalDayTimeArray>())
        }
        Interval(IntervalUnit::MonthDayNano) => {
            let interval = |v| IntervalMonthDayNano::new(v as i32 / 9, v as i32 / 3 % 3, v % 3);
            Arc::new(numbers.iter().map(|v| v.map(interval)).collect::<IntervalMonthDayNanoArray>())
        }
        other => cast(&ints, other).unwrap(),
    };
    assert_eq!(array.data_type(), data_type);
    assert_eq!(array.logical_null_count(), numbers.iter().filter(|v| v.is_none()).count());
    array
}

/// What tells numbers apart in a column of this type.
fn rank(data_type: &DataType, v: Option<i64>) -> Option<i64> {
    v.map(|v| if *data_type == Boolean { i64::from(v != 0) } else { v })
}

/// Columns `id`, `k` and `v` of the type, and of nested ones: a list, a structure.
fn rows(data_type: &DataType, keys: &[Option<i64>], values: &[Option<i64>]) -> RecordBatch {
    let ids: ArrayRef = Arc::new((0..keys.len() as i64).collect::<Int64Array>());
    let (k, v) = (column(data_type, keys), column(data_type, values));
    let lists = keys.iter().zip(values).map(|(k, v)| k.map(|k| vec![Some(k), *v]));
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists));
    let fields = vec![Field::new("of", data_type.clone(), true), Field::new("list", list.data_type().clone(), true)];
    let nested: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![v.clone(), list.clone()], None));
    let columns = [("id", ids), ("k", k), ("v", v), ("list", list), ("nested", nested)];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, n != "id"))).unwrap()
}

fn table(env: &Env, rows: &RecordBatch) -> Table {
    let batches = (0..rows.num_rows()).step_by(23).map(|at| rows.slice(at, 23.min(rows.num_rows() - at)));
    env.from_batches(rows.schema(), batches.collect()).unwrap()
}

fn whole(table: &Table) -> RecordBatch {
    concat_batches(table.schema(), &table.collect().unwrap()).unwrap()
}

fn picked(rows: &RecordBatch, indices: &[usize]) -> RecordBatch {
    take_record_batch(rows, &indices.iter().map(|i| *i as u64).collect::<UInt64Array>()).unwrap()
}

/// A column as texts, whatever its encoding.
fn texts(column: &dyn Array) -> Vec<Option<String>> {
    (0..column.len()).map(|i| (!column.is_null(i)).then(|| array_value_to_string(column, i).unwrap())).collect()
}

fn longs(column: &dyn Array) -> Vec<Option<i64>> {
    column.as_primitive::<Int64Type>().iter().collect()
}

fn check_orders(env: &Env, rows: &RecordBatch, ranks: &[Option<i64>]) {
    let table = table(env, rows);
    let mut order: Vec<usize> = (0..ranks.len()).collect();
    order.sort_by_key(|&i| (ranks[i].is_none(), ranks[i], i));
    assert_eq!(whole(&table.sort("k, id").unwrap()), picked(rows, &order));
    assert_eq!(whole(&table.top("k, id", 50).unwrap()), picked(rows, &order[..50.min(order.len())]));
    order.sort_by_key(|&i| (ranks[i].is_some(), std::cmp::Reverse(ranks[i]), i));
    assert_eq!(whole(&table.sort("k desc nulls first, id").unwrap()), picked(rows, &order));
    order.sort_by_key(|&i| (ranks[i].is_none(), std::cmp::Reverse(ranks[i]), std::cmp::Reverse(i)));
    assert_eq!(whole(&table.sort("k desc, id desc").unwrap()), picked(rows, &order));
}

fn check_groups(env: &Env, rows: &RecordBatch, ranks: &[Option<i64>], values: &[Option<i64>]) {
    let table = table(env, rows);
    let data_type = rows.column(1).data_type();
    let numeric = data_type.is_numeric() || *data_type == Boolean;
    let mut groups: BTreeMap<Option<i64>, Vec<usize>> = BTreeMap::new();
    ranks.iter().enumerate().for_each(|(i, r)| groups.entry(*r).or_default().push(i));
    let keys = texts(rows.column(1));
    let shown = texts(rows.column(2));

    let distinct = whole(&table.select("k").unwrap().distinct().unwrap());
    assert_eq!(sorted(texts(distinct.column(0))), sorted(groups.values().map(|g| keys[g[0]].clone()).collect()));

    let mut aggregates = "count(*) as n, count(v) as c, count(distinct v) as d, min(v) as low, max(v) as high".to_owned();
    if numeric {
        aggregates.push_str(", sum(v) as total, avg(v) as mean");
    } else if !matches!(data_type, Duration(_)) {
        let error = table.group_by("k").unwrap().aggregate("sum(v)").err().unwrap().to_string();
        assert!(error.contains("sum(v)") && error.contains(&data_type.to_string()), "{error}");
    }
    for by in ["k", ""] {
        let result = whole(&table.group_by(by).unwrap().aggregate(&aggregates).unwrap());
        let all = BTreeMap::from([(None, (0..ranks.len()).collect::<Vec<_>>())]);
        let model = if by.is_empty() { &all } else { &groups };
        let column = |name: &str| result.column_by_name(name).unwrap().clone();
        let (n, c, d) = (longs(&column("n")), longs(&column("c")), longs(&column("d")));
        let (low, high) = (texts(&column("low")), texts(&column("high")));
        let of = if by.is_empty() { vec![None] } else { texts(&column("k")) };
        assert_eq!(of.len(), model.len());
        for (row, key) in of.iter().enumerate() {
            let group = model.values().find(|g| by.is_empty() || keys[g[0]] == *key).unwrap();
            let some: Vec<usize> = group.iter().copied().filter(|&i| values[i].is_some()).collect();
            let numbers = || some.iter().filter_map(|&i| rank(data_type, values[i]));
            let what = format!("{data_type}, group {key:?} by `{by}`");
            let distinct = numbers().collect::<BTreeSet<_>>().len() as i64;
            assert_eq!([n[row], c[row], d[row]], [group.len() as i64, some.len() as i64, distinct].map(Some), "{what}");
            let of_value = |v: Option<i64>| {
                v.and_then(|v| shown[*some.iter().find(|&&i| rank(data_type, values[i]) == Some(v)).unwrap()].clone())
            };
            assert_eq!((low[row].clone(), high[row].clone()), (of_value(numbers().min()), of_value(numbers().max())), "{what}");
            if numeric {
                let number = |name: &str| {
                    let column = cast(&column(name), &Float64).unwrap();
                    column.is_valid(row).then(|| column.as_primitive::<Float64Type>().value(row))
                };
                let sum = (!some.is_empty()).then(|| numbers().sum::<i64>() as f64);
                assert_eq!(number("total"), sum, "{what}");
                let mean = sum.map(|s| s / some.len() as f64);
                assert!(number("mean").zip(mean).map_or(mean.is_none(), |(a, b)| (a - b).abs() < 1e-9), "{what}");
            }
        }
    }
}

fn check_joins(env: &Env, rows: &RecordBatch, ranks: &[Option<i64>]) {
    let left = table(env, rows);
    // A part of the rows, so that some match nothing.
    let few = rows.slice(0, rows.num_rows() / 3);
    let right = ["id", "k", "v", "list", "nested"].iter().fold(table(env, &few), |t, c| t.rename(c, &format!("r{c}")).unwrap());
    for kind in [JoinType::Inner, JoinType::Full, JoinType::Anti] {
        let mut pairs: Vec<(Option<i64>, Option<i64>)> = Vec::new();
        for l in 0..ranks.len() {
            let before = pairs.len();
            let matching = (0..few.num_rows()).filter(|&r| ranks[l].is_some() && ranks[l] == ranks[r]);
            pairs.extend(matching.map(|r| (Some(l as i64), Some(r as i64))));
            if pairs.len() == before && kind != JoinType::Inner {
                pairs.push((Some(l as i64), None));
            }
        }
        match kind {
            JoinType::Anti => pairs.retain(|p| p.1.is_none()),
            // Every right row is a left one too: only those without a key match nothing.
            JoinType::Full => pairs.extend((0..few.num_rows()).filter(|&r| ranks[r].is_none()).map(|r| (None, Some(r as i64)))),
            _ => {}
        }
        let found = whole(&left.join(&right, "k = rk").unwrap().kind(kind).all().unwrap());
        let lefts = longs(found.column(0));
        let rights = if kind == JoinType::Anti { vec![None; lefts.len()] } else { longs(found.column(5)) };
        assert_eq!(sorted(lefts.iter().copied().zip(rights.iter().copied()).collect()), sorted(pairs), "{kind:?}");
        // What travels with a row is the row's.
        for (c, column) in found.columns().iter().enumerate() {
            let ids = if c < 5 { &lefts } else { &rights };
            let indices: UInt64Array = ids.iter().map(|id| id.map(|id| id as u64)).collect();
            assert_eq!(column.to_data(), take(rows.column(c % 5), &indices, None).unwrap().to_data(), "{kind:?}, column {c}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, ..ProptestConfig::default() })]

    #[test]
    fn every_type(
        keys in prop::collection::vec(prop::option::weighted(0.9, 0i64..20), 90),
        values in prop::collection::vec(prop::option::weighted(0.8, 0i64..60), 90),
    ) {
        for threads in 1..=3 {
            let env = Env::new(Config { threads, memory: (5 << 20) * threads, ..Config::default() });
            for data_type in types() {
                let rows = rows(&data_type, &keys, &values);
                let ranks: Vec<_> = keys.iter().map(|k| rank(&data_type, *k)).collect();
                check_orders(&env, &rows, &ranks);
                check_groups(&env, &rows, &ranks, &values);
                check_joins(&env, &rows, &ranks);
            }
        }
    }
}

#[test]
fn floats_have_one_zero_and_one_nan_which_is_last() {
    let values = [f64::NAN, 1.0, -0.0, f64::INFINITY, 0.0, -f64::NAN, f64::NEG_INFINITY];
    for threads in 1..=3 {
        let env = Env::new(Config { threads, memory: (5 << 20) * threads, ..Config::default() });
        let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
        let t = table(&env, &RecordBatch::try_from_iter([("x", column)]).unwrap());
        let sorted = whole(&t.sort("x").unwrap());
        let sorted: Vec<f64> = sorted.column(0).as_primitive::<Float64Type>().values().to_vec();
        assert_eq!(sorted[..5], [f64::NEG_INFINITY, 0.0, 0.0, 1.0, f64::INFINITY]);
        assert!(sorted[5..].iter().all(|x| x.is_nan()));
        assert_eq!(t.distinct().unwrap().count().unwrap(), 5);
        let right = t.rename("x", "y").unwrap();
        assert_eq!(t.join(&right, "x = y").unwrap().count().unwrap(), 4 + 4 + 1 + 1 + 1);
        let all = whole(&t.group_by("").unwrap().aggregate("count(distinct x) as d, max(x) as m").unwrap());
        assert_eq!(longs(all.column(0)), [Some(5)]);
        assert!(all.column(1).as_primitive::<Float64Type>().value(0).is_nan());
    }
}

#[test]
fn nested_columns_are_no_keys() {
    let rows = rows(&Int32, &[Some(1), None], &[None, Some(2)]);
    let env = Env::default();
    let t = table(&env, &rows);
    let errors = [
        t.sort("list").err(),
        t.group_by("nested").and_then(|g| g.aggregate("count(*)")).err(),
        t.group_by("k").and_then(|g| g.aggregate("count(distinct list)")).err(),
        t.distinct().err(),
        t.partition_by_hash("nested").err(),
        t.join(&t, "list = list").err(),
    ];
    for error in errors {
        let error = error.unwrap().to_string();
        assert!(error.contains("`list`") || error.contains("`nested`"), "{error}");
    }
}
