//! Key encoding, Arrow batches to rows and back, typed records to rows and back: nanoseconds a row on one core, over batches of 8192 rows shaped like
//! TPC-H's lineitem (16 columns, about 130 bytes a row).

use arrow_array::*;
use arrow_schema::{DataType, Field, Schema};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fluvial_memory::hash::{hash_bytes, remix};
use fluvial_memory::{KeyColumn, KeyEncoder, Keys, NormalizedKey, RowBatch, RowCodec, TypedRows};
use std::hint::black_box;
use std::sync::Arc;

/// As the command has it; glibc gives freed arrays back to the system and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROWS: usize = 8192;

fn lineitem() -> RecordBatch {
    let random = |i: usize, level| remix(i as u64, level);
    let money = |level, below: u64| -> ArrayRef {
        let values = Decimal128Array::from_iter_values((0..ROWS).map(|i| i128::from(random(i, level) % below)));
        Arc::new(values.with_precision_and_scale(15, 2).unwrap())
    };
    let int = |level, below: u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..ROWS).map(|i| (random(i, level) % below) as i64)))
    };
    let date = |level| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values((0..ROWS).map(|i| 8000 + (random(i, level) % 2500) as i32)))
    };
    let pick = |level, of: &[&str]| -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| of[(random(i, level) % of.len() as u64) as usize])))
    };
    let words = "carefully final deposits detect slyly agai across the furiously regular ideas sleep blithely";
    let comment = (0..ROWS).map(|i| {
        let (start, len) = (random(i, 30) as usize % 40, 10 + random(i, 31) as usize % 34);
        &words[start..start + len]
    });
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("l_orderkey", Arc::new(Int64Array::from_iter_values((0..ROWS).map(|i| i as i64 / 4)))),
        ("l_partkey", int(1, 2_000_000)),
        ("l_suppkey", int(2, 100_000)),
        ("l_linenumber", Arc::new(Int32Array::from_iter_values((0..ROWS).map(|i| i as i32 % 4 + 1)))),
        ("l_quantity", money(3, 5000)),
        ("l_extendedprice", money(4, 10_000_000)),
        ("l_discount", money(5, 11)),
        ("l_tax", money(6, 9)),
        ("l_returnflag", pick(7, &["N", "R", "A"])),
        ("l_linestatus", pick(8, &["O", "F"])),
        ("l_shipdate", date(9)),
        ("l_commitdate", date(10)),
        ("l_receiptdate", date(11)),
        ("l_shipinstruct", pick(12, &["DELIVER IN PERSON", "COLLECT COD", "NONE", "TAKE BACK RETURN"])),
        ("l_shipmode", pick(13, &["REG AIR", "AIR", "RAIL", "SHIP", "TRUCK", "MAIL", "FOB"])),
        ("l_comment", Arc::new(StringArray::from_iter_values(comment))),
    ];
    let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), false)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
}

fn key(batch: &RecordBatch, columns: &[usize]) -> (KeyEncoder, Vec<usize>) {
    let schema = batch.schema();
    let parts: Vec<KeyColumn> = columns.iter().map(|&column| KeyColumn::of(schema.field(column))).collect();
    (KeyEncoder::new(&parts).unwrap(), columns.to_vec())
}

fn keys(c: &mut Criterion) {
    let batch = lineitem();
    let mut group = c.benchmark_group("keys");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, columns) in
        [("date32_i64_i32", vec![10, 0, 3]), ("i64", vec![0]), ("utf8", vec![14]), ("utf8_long_i64", vec![15, 0])]
    {
        let (encoder, columns) = key(&batch, &columns);
        let columns: Vec<ArrayRef> = columns.iter().map(|&column| batch.column(column).clone()).collect();
        let mut keys = Keys::default();
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| encoder.encode(black_box(&columns), 0..ROWS, &mut keys).unwrap())
        });
        group.bench_function(format!("decode/{name}"), |b| b.iter(|| encoder.decode(black_box(&keys).iter()).unwrap()));
        let mut hashes = Vec::new();
        group.bench_function(format!("hash/{name}"), |b| b.iter(|| black_box(&keys).hashes(&mut hashes)));
        group.bench_function(format!("hash_one_by_one/{name}"), |b| {
            b.iter(|| keys.iter().map(|key| hash_bytes(black_box(key))).fold(0, |a, b| a ^ b))
        });
    }
    let mut out = Vec::with_capacity(16 * ROWS);
    group.bench_function("encode/typed_u64", |b| {
        b.iter(|| {
            out.clear();
            (0..ROWS as u64).for_each(|i| black_box(i).encode(&mut out));
        })
    });
    group.bench_function("encode/typed_i32_i64_i32", |b| {
        b.iter(|| {
            out.clear();
            (0..ROWS as i64).for_each(|i| (i as i32, black_box(i), 1i32).encode(&mut out));
        })
    });
    group.finish();
}

fn rows(c: &mut Criterion) {
    let batch = lineitem();
    let mut group = c.benchmark_group("rows/lineitem");
    group.throughput(Throughput::Elements(ROWS as u64));
    let mut codec = RowCodec::new(batch.schema(), Some(key(&batch, &[10, 0, 3]))).unwrap();
    let mut rows = RowBatch::new(codec.shape());
    codec.encode(&batch, &mut rows).unwrap();
    println!("rows/lineitem: {} bytes a row", rows.byte_len() / ROWS);
    group.bench_function("encode", |b| {
        b.iter(|| {
            rows.clear();
            codec.encode(black_box(&batch), &mut rows).unwrap();
        })
    });
    for targets in [2u32, 64] {
        let of: Vec<u32> = (0..ROWS).map(|i| remix(i as u64, 3) as u32 % targets).collect();
        let mut outs = vec![RowBatch::new(codec.shape()); targets as usize];
        group.bench_function(format!("encode_partitioned/{targets}"), |b| {
            b.iter(|| {
                outs.iter_mut().for_each(RowBatch::clear);
                codec.encode_partitioned(black_box(&batch), &of, &mut outs).unwrap();
            })
        });
    }
    group.bench_function("decode", |b| {
        b.iter_batched(|| (), |_| codec.decode(black_box(&rows)).unwrap(), BatchSize::PerIteration)
    });
    let slices: Vec<&[u8]> = rows.iter().collect();
    group.bench_function("decode/2_columns", |b| b.iter(|| codec.decode_columns(black_box(&slices), &[0, 5], None).unwrap()));
    group.finish();
}

fn typed(c: &mut Criterion) {
    let mut group = c.benchmark_group("typed");
    group.throughput(Throughput::Elements(ROWS as u64));
    let pairs: Vec<(u64, u64)> = (0..ROWS as u64).map(|i| (i, remix(i, 1))).collect();
    let words: Vec<(String, u64)> = pairs.iter().map(|(i, r)| (format!("word{}", r % 100_000), *i)).collect();

    let rows = TypedRows::<(u64, u64)>::new::<u64>().unwrap();
    let mut batch = RowBatch::new(rows.shape());
    group.bench_function("push/u64_(u64,u64)", |b| {
        b.iter(|| {
            batch.clear();
            black_box(&pairs).iter().for_each(|pair| rows.push(&pair.0, pair, &mut batch).unwrap());
        })
    });
    group.bench_function("value/u64_(u64,u64)", |b| {
        b.iter(|| batch.iter().map(|row| rows.value(black_box(row)).unwrap().1).fold(0, |a, b| a ^ b))
    });

    let rows = TypedRows::<u64>::new::<&str>().unwrap();
    let mut batch = RowBatch::new(rows.shape());
    group.bench_function("push/str_u64", |b| {
        b.iter(|| {
            batch.clear();
            black_box(&words).iter().for_each(|(word, n)| rows.push(word.as_str(), n, &mut batch).unwrap());
        })
    });
    group.finish();
}

criterion_group!(benches, keys, rows, typed);
criterion_main!(benches);
