use super::*;
use crate::KeyColumn;
use crate::codec::testing::{Random, all_types, array_of, key_types, same};
use arrow_array::*;
use arrow_schema::{DataType, Field, Schema};
use proptest::prelude::*;
use std::sync::Arc;

/// A schema of random types, and a batch of it cut out of a longer one.
fn batch(types: &[(DataType, bool)], rows: usize, seed: u64) -> RecordBatch {
    let fields: Vec<Field> = types
        .iter()
        .enumerate()
        .map(|(i, (data_type, nullable))| Field::new(format!("c{i}"), data_type.clone(), *nullable))
        .collect();
    let columns = types.iter().enumerate().map(|(i, (data_type, nullable))| {
        let nullable = *nullable || *data_type == DataType::Null;
        array_of(data_type, nullable, rows + 5, seed + i as u64).slice(3, rows)
    });
    let fields: Vec<Field> =
        fields.into_iter().map(|f| if *f.data_type() == DataType::Null { f.with_nullable(true) } else { f }).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns.collect(), &options).unwrap()
}

fn types(of: Vec<DataType>) -> impl Strategy<Value = Vec<(DataType, bool)>> {
    prop::collection::vec((prop::sample::select(of), any::<bool>()), 0..6)
}

fn check_same(a: &RecordBatch, b: &RecordBatch) -> std::result::Result<(), TestCaseError> {
    prop_assert_eq!(a.schema(), b.schema());
    prop_assert_eq!(a.num_rows(), b.num_rows());
    for (a, b) in a.columns().iter().zip(b.columns()) {
        prop_assert!(same(a, b), "{:?}\nis not\n{:?}", a, b);
    }
    Ok(())
}

fn key_of(batch: &RecordBatch, columns: &[usize], options: u64) -> Option<(KeyEncoder, Vec<usize>)> {
    let schema = batch.schema();
    let parts: Vec<KeyColumn> = columns
        .iter()
        .enumerate()
        .map(|(i, &column)| KeyColumn {
            descending: options >> (2 * i) & 1 == 1,
            nulls_first: options >> (2 * i) & 2 == 2,
            // The nulls of a dictionary may be in its values, whatever the field says.
            nullable: schema.field(column).is_nullable() || batch.column(column).logical_null_count() > 0,
            ..KeyColumn::of(schema.field(column))
        })
        .collect();
    (!columns.is_empty()).then(|| (KeyEncoder::new(&parts).unwrap(), columns.to_vec()))
}

proptest! {
    #[test]
    fn batches_come_back(types in types(all_types()), rows in 0usize..600, seed: u32) {
        let batch = batch(&types, rows, seed.into());
        let mut codec = RowCodec::new(batch.schema(), None).unwrap();
        let mut out = RowBatch::new(codec.shape());
        codec.encode(&batch, &mut out).unwrap();
        prop_assert_eq!(out.len(), rows);
        if let Some(width) = codec.shape().row {
            prop_assert!(out.iter().all(|row| row.len() == width));
        }
        check_same(&codec.decode(&out).unwrap(), &batch)?;
    }

    #[test]
    fn batches_with_keys_come_back(types in types(key_types()), rows in 0usize..300, seed: u32, options: u64, whole: bool) {
        let batch = batch(&types, rows, seed.into());
        let columns: Vec<usize> = (0..types.len()).rev().filter(|i| seed >> i & 1 == 1).collect();
        let key = key_of(&batch, &columns, options);
        let make = if whole { RowCodec::with_whole_payload } else { RowCodec::new };
        let mut codec = make(batch.schema(), key.clone()).unwrap();
        let mut out = RowBatch::new(codec.shape());
        let middle = rows / 2;
        codec.encode_range(&batch, 0..middle, &mut out).unwrap();
        codec.encode_range(&batch, middle..rows, &mut out).unwrap();
        check_same(&codec.decode(&out).unwrap(), &batch)?;
        if let Some((encoder, columns)) = key {
            let columns: Vec<ArrayRef> = columns.iter().map(|&c| batch.column(c).clone()).collect();
            let mut keys = crate::Keys::default();
            encoder.encode(&columns, 0..rows, &mut keys).unwrap();
            for row in 0..rows {
                prop_assert_eq!(out.key(row), keys.key(row));
            }
            prop_assert_eq!(codec.key_nulls(), keys.null_mask());
        }
    }

    #[test]
    fn rows_go_where_they_are_sent(types in types(all_types()), rows in 0usize..300, targets in 1usize..5, seed: u32) {
        let batch = batch(&types, rows, seed.into());
        let mut random = Random::new(seed.into());
        let targets_of: Vec<u32> = (0..rows).map(|_| random.below(targets) as u32).collect();
        let mut codec = RowCodec::new(batch.schema(), None).unwrap();
        let mut outs = vec![RowBatch::new(codec.shape()); targets];
        codec.encode_partitioned(&batch, &targets_of, &mut outs).unwrap();
        let mut expected = vec![RowBatch::new(codec.shape()); targets];
        for row in 0..rows {
            codec.encode_range(&batch, row..row + 1, &mut expected[targets_of[row] as usize]).unwrap();
        }
        for (target, (out, expected)) in outs.iter().zip(&expected).enumerate() {
            prop_assert_eq!(out.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
            let selected: Vec<u32> = (0..rows as u32).filter(|&row| targets_of[row as usize] == target as u32).collect();
            let mut again = RowBatch::new(codec.shape());
            codec.encode_selection(&batch, &selected, &mut again).unwrap();
            prop_assert_eq!(out.parts(), again.parts());
        }
    }

    #[test]
    fn missing_rows_are_null(types in types(all_types()), rows in 0usize..100, seed: u32, keyed in 0usize..3) {
        let batch = batch(&types, rows, seed.into());
        let columns: Vec<usize> = (0..types.len()).filter(|&i| key_types().contains(&types[i].0)).take(keyed).collect();
        let mut codec = RowCodec::new(batch.schema(), key_of(&batch, &columns, 0)).unwrap();
        let mut out = RowBatch::new(codec.shape());
        codec.encode(&batch, &mut out).unwrap();
        let mut random = Random::new(seed.into());
        let missing: Vec<bool> = (0..rows).map(|_| random.below(2) == 0).collect();
        let rows: Vec<&[u8]> = out.iter().zip(&missing).map(|(row, &missing)| if missing { &[][..] } else { row }).collect();
        let wanted: Vec<usize> = (0..types.len()).rev().collect();
        let arrays = codec.decode_columns(&rows, &wanted, Some(&missing)).unwrap();
        for (array, &column) in arrays.iter().zip(&wanted) {
            let present: BooleanArray = missing.iter().map(|missing| Some(!missing)).collect();
            let filter = |array: &ArrayRef| arrow_select::filter::filter(array, &present).unwrap();
            prop_assert!(same(&filter(array), &filter(batch.column(column))), "{:?}\nis not\n{:?}", array, batch.column(column));
            let nulls = array.logical_nulls();
            prop_assert!(missing.iter().enumerate().all(|(i, &missing)| !missing || nulls.as_ref().is_some_and(|n| n.is_null(i))
                || matches!(array.data_type(), DataType::Union(..))), "{:?}", array);
        }
    }

    #[test]
    fn damaged_rows_do_not_panic(types in types(all_types()), rows in 1usize..20, seed: u32, damage: Vec<(u16, u8)>, cut in 0usize..40) {
        let batch = batch(&types, rows, seed.into());
        let mut codec = RowCodec::new(batch.schema(), None).unwrap();
        let mut out = RowBatch::new(codec.shape());
        codec.encode(&batch, &mut out).unwrap();
        let mut rows: Vec<Vec<u8>> = out.iter().map(<[u8]>::to_vec).collect();
        for (at, byte) in damage {
            let count = rows.len();
            let row = &mut rows[at as usize % count];
            if !row.is_empty() {
                let at = at as usize / count % row.len();
                row[at] = byte;
            }
        }
        let last = rows.len() - 1;
        let keep = rows[last].len().saturating_sub(cut);
        rows[last].truncate(keep);
        let rows: Vec<&[u8]> = rows.iter().map(|row| &row[..]).collect();
        let _ = codec.decode_rows(&rows);
    }
}

#[test]
fn lineitem_without_its_key_is_compact() {
    let money = DataType::Decimal128(15, 2);
    let fields = [
        ("l_orderkey", DataType::Int64),
        ("l_partkey", DataType::Int64),
        ("l_suppkey", DataType::Int64),
        ("l_linenumber", DataType::Int32),
        ("l_quantity", money.clone()),
        ("l_extendedprice", money.clone()),
        ("l_discount", money.clone()),
        ("l_tax", money),
        ("l_returnflag", DataType::Utf8View),
        ("l_linestatus", DataType::Utf8View),
        ("l_shipdate", DataType::Date32),
        ("l_commitdate", DataType::Date32),
        ("l_receiptdate", DataType::Date32),
        ("l_shipinstruct", DataType::Utf8View),
        ("l_shipmode", DataType::Utf8View),
        ("l_comment", DataType::Utf8View),
    ];
    let schema = Arc::new(Schema::new(fields.map(|(name, data_type)| Field::new(name, data_type, false)).to_vec()));
    let columns = vec![10, 0, 3];
    let key: Vec<KeyColumn> = columns.iter().map(|&column| KeyColumn::of(schema.field(column))).collect();
    let codec = RowCodec::new(schema, Some((KeyEncoder::new(&key).unwrap(), columns))).unwrap();
    // Two i64, four decimals, two dates, five ends of strings; the rest is the key's 16 bytes.
    assert_eq!(codec.layout.fixed, 2 * 8 + 4 * 8 + 2 * 4 + 5 * 4);
    assert_eq!(codec.shape().key, KeyWidth::Fixed(16));
}

#[test]
fn decimals_beyond_their_precision_are_errors() {
    let array = Decimal128Array::from(vec![1, i128::MAX]).with_precision_and_scale(38, 2).unwrap();
    let array = array.into_data().into_builder().data_type(DataType::Decimal128(15, 2)).build().unwrap();
    let batch = RecordBatch::try_from_iter([("price", make_array(array))]).unwrap();
    let mut codec = RowCodec::new(batch.schema(), None).unwrap();
    let mut out = RowBatch::new(codec.shape());
    let error = codec.encode(&batch, &mut out).unwrap_err().to_string();
    assert!(error.contains("price") && error.contains("Decimal128(15, 2)"), "{error}");
    assert!(out.is_empty() && out.byte_len() == 0);
}

#[test]
fn wrong_batches_are_errors() {
    let mut codec = RowCodec::new(batch(&[(DataType::Int64, true)], 2, 1).schema(), None).unwrap();
    let mut out = RowBatch::new(codec.shape());
    let other = batch(&[(DataType::Utf8, true)], 2, 1);
    let error = codec.encode(&other, &mut out).unwrap_err().to_string();
    assert!(error.contains("expected Int64, found Utf8"), "{error}");
    let error = codec.decode_rows(&[&[0, 1, 2]]).unwrap_err().to_string();
    assert!(error.contains("expected at least 9 bytes") && error.contains("row 0"), "{error}");
}
