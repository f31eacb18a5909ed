use super::*;
use crate::NormalizedKey;
use crate::codec::testing::{array_of, key_types};
use arrow_array::*;
use arrow_row::{RowConverter, SortField};
use proptest::prelude::*;
use std::sync::Arc;

fn key_column() -> impl Strategy<Value = KeyColumn> {
    (prop::sample::select(key_types()), any::<[bool; 3]>()).prop_map(|(data_type, [descending, nulls_first, nullable])| {
        KeyColumn { descending, nulls_first, nullable, ..KeyColumn::new("k", data_type) }
    })
}

/// Columns for these keys, sliced, with nulls where they may be.
fn columns(key: &[KeyColumn], rows: usize, seed: u64) -> Vec<ArrayRef> {
    let column = |(i, k): (usize, &KeyColumn)| array_of(&k.data_type, k.nullable, rows + 3, seed + i as u64).slice(2, rows);
    key.iter().enumerate().map(column).collect()
}

proptest! {
    /// The order of the keys is that of arrow's own row format, which knows the same options.
    #[test]
    fn order_is_that_of_arrow_row(key in prop::collection::vec(key_column(), 1..4), seed: u64, rows in 0usize..40) {
        let columns = columns(&key, rows, seed >> 8);
        let fields = key.iter().map(|k| {
            let options = arrow_schema::SortOptions { descending: k.descending, nulls_first: k.nulls_first };
            SortField::new_with_options(k.data_type.clone(), options)
        });
        let oracle = RowConverter::new(fields.collect()).unwrap().convert_columns(&columns).unwrap();
        let mut keys = Keys::default();
        KeyEncoder::new(&key).unwrap().encode(&columns, 0..rows, &mut keys).unwrap();
        for a in 0..rows {
            for b in 0..rows {
                prop_assert_eq!(keys.key(a).cmp(keys.key(b)), oracle.row(a).cmp(&oracle.row(b)), "{} {}: {:?}", a, b, columns);
            }
        }
    }

    #[test]
    fn decodes_to_the_same_columns(key in prop::collection::vec(key_column(), 1..4), seed: u64, rows in 0usize..40, skip in 0usize..3) {
        let columns = columns(&key, rows, seed >> 8);
        let skip = skip.min(rows);
        let encoder = KeyEncoder::new(&key).unwrap();
        let mut keys = Keys::default();
        encoder.encode(&columns, skip..rows, &mut keys).unwrap();
        let back = encoder.decode(keys.iter()).unwrap();
        for (i, (back, column)) in back.iter().zip(&columns).enumerate() {
            let column = column.slice(skip, rows - skip);
            prop_assert_eq!(back.data_type(), column.data_type());
            prop_assert!(crate::codec::testing::same(back, &column), "{:?} {:?}", back, column);
            let null = column.logical_nulls();
            for row in 0..rows - skip {
                let null = null.as_ref().is_some_and(|nulls| nulls.is_null(row));
                prop_assert!(!null || keys.has_null(row));
                prop_assert!(i > 0 || keys.has_null(row) == encoder.has_null(keys.key(row)).unwrap());
            }
        }
        let mut hashes = Vec::new();
        keys.hashes(&mut hashes);
        prop_assert_eq!(hashes, keys.iter().map(hash_bytes).collect::<Vec<_>>());
    }

    #[test]
    fn bytes_are_those_of_typed_keys(values: Vec<(i64, Option<i32>, String, Option<Vec<u8>>)>, floats: Vec<f64>) {
        let key = [
            KeyColumn { nullable: false, ..KeyColumn::new("a", DataType::Int64) },
            KeyColumn::new("b", DataType::Int32),
            KeyColumn { nullable: false, descending: true, ..KeyColumn::new("c", DataType::Utf8View) },
            KeyColumn { nulls_first: true, ..KeyColumn::new("d", DataType::LargeBinary) },
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(values.iter().map(|v| v.0).collect::<PrimitiveArray<types::Int64Type>>()),
            Arc::new(values.iter().map(|v| v.1).collect::<Int32Array>()),
            Arc::new(StringViewArray::from_iter_values(values.iter().map(|v| &v.2))),
            Arc::new(values.iter().map(|v| v.3.as_deref()).collect::<LargeBinaryArray>()),
        ];
        let mut keys = Keys::default();
        KeyEncoder::new(&key).unwrap().encode(&columns, 0..values.len(), &mut keys).unwrap();
        for (value, key) in values.iter().zip(keys.iter()) {
            let mut typed = Vec::new();
            (value.0, value.1, crate::Descending(value.2.as_str()), crate::NullsFirst(value.3.clone())).encode(&mut typed);
            prop_assert_eq!(key, typed);
        }
        let column: Vec<ArrayRef> = vec![Arc::new(Float64Array::from(floats.clone()))];
        KeyEncoder::new(&[KeyColumn::new("f", DataType::Float64)]).unwrap().encode(&column, 0..floats.len(), &mut keys).unwrap();
        for (value, key) in floats.iter().zip(keys.iter()) {
            let mut typed = Vec::new();
            Some(*value).encode(&mut typed);
            prop_assert_eq!(key, typed);
        }
    }

    #[test]
    fn random_bytes_do_not_panic(key in prop::collection::vec(key_column(), 1..4), bytes: Vec<Vec<u8>>) {
        let encoder = KeyEncoder::new(&key).unwrap();
        let _ = encoder.decode(bytes.iter().map(|b| &b[..]));
        bytes.iter().for_each(|b| { let _ = encoder.has_null(b); });
    }
}

#[test]
fn lineitem_order_is_16_bytes() {
    let key = [("l_shipdate", DataType::Date32), ("l_orderkey", DataType::Int64), ("l_linenumber", DataType::Int32)]
        .map(|(name, data_type)| KeyColumn { nullable: false, ..KeyColumn::new(name, data_type) });
    assert_eq!(KeyEncoder::new(&key).unwrap().width(), KeyWidth::Fixed(16));
}

#[test]
fn nested_columns_are_refused_by_name() {
    let list = DataType::new_list(DataType::Int32, true);
    let error = KeyEncoder::new(&[KeyColumn::new("tags", list)]).unwrap_err().to_string();
    assert!(error.contains("`tags`") && error.contains("List"), "{error}");
}

#[test]
fn wrong_columns_are_errors() {
    let encoder = KeyEncoder::new(&[KeyColumn { nullable: false, ..KeyColumn::new("id", DataType::Int64) }]).unwrap();
    let mut keys = Keys::default();
    let error = |columns: Vec<ArrayRef>, keys: &mut Keys| encoder.encode(&columns, 0..1, keys).unwrap_err().to_string();
    assert!(error(vec![Arc::new(Int32Array::from(vec![1]))], &mut keys).contains("`key column id`: expected Int64, found Int32"));
    assert!(error(vec![Arc::new(Int64Array::from(vec![Some(1), None]))], &mut keys).contains("found one in row 1"));
    assert!(error(vec![], &mut keys).contains("expected 1 columns, found 0"));
}
