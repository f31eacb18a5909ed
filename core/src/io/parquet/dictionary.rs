//! Whether a column is worth a dictionary.
//!
//! The parquet crate begins every column with a dictionary and gives up when it has grown to a megabyte. For columns of
//! many distinct values that is the most expensive part of writing: every value is hashed and looked up in a table
//! larger than the cache, for a file that gets no smaller. So each row group looks at its first batch: the number of
//! distinct values in it is counted (linear counting: Whang et al., "A linear-time probabilistic counting algorithm",
//! TODS 1990), from that the number in a row group is estimated, and from that the size with and without a dictionary.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use fluvial_memory::hash::hash_bytes;

/// Rows that tell enough.
const SAMPLE: usize = 8192;

/// Fewer rows tell too little: a dictionary does no harm to so few.
const LEAST_SAMPLE: usize = 512;

/// Bits of the counting bitmap.
const BITS: usize = 1 << 16;

/// A dictionary must save this much: it costs time to build, and to look up when it is read.
const WORTH: f64 = 0.6;

/// Whether to start `column` with a dictionary in a row group of about `rows` rows that begins with this batch.
pub(super) fn worthwhile(column: &ArrayRef, rows: u64) -> bool {
    let sample = column.slice(0, column.len().min(SAMPLE));
    let Some((distinct, width)) = distinct(&sample) else { return true };
    let present = (sample.len() - sample.null_count()) as f64;
    if present < LEAST_SAMPLE as f64 {
        return true;
    }
    let population = population(present, distinct);
    let rows = (rows as f64).max(present);
    let entries = expected(population, rows);
    let plain = rows * width;
    entries * width + rows * entries.log2().max(1.0).ceil() / 8.0 < WORTH * plain
}

/// About how many distinct values there are, and the bytes of one; `None` for types that are not counted.
fn distinct(column: &ArrayRef) -> Option<(f64, f64)> {
    let mut seen = vec![0u64; BITS / 64];
    let mut see = |bytes: &[u8]| {
        let bit = hash_bytes(bytes) as usize % BITS;
        seen[bit / 64] |= 1 << (bit % 64);
    };
    let present = |row: &usize| column.is_valid(*row);
    let width = match column.data_type() {
        DataType::Utf8 => {
            let strings = column.as_string::<i32>();
            (0..column.len()).filter(present).for_each(|row| see(strings.value(row).as_bytes()));
            4.0 + strings.value_offsets().last().zip(strings.value_offsets().first()).map_or(0, |(l, f)| l - f) as f64
                / column.len() as f64
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            (0..column.len()).filter(present).for_each(|row| see(values.value(row)));
            4.0 + values.value_offsets().last().zip(values.value_offsets().first()).map_or(0, |(l, f)| l - f) as f64
                / column.len() as f64
        }
        fixed => {
            let width = fixed.primitive_width()?;
            let data = column.to_data();
            let values = data.buffers().first()?.as_slice().get(data.offset() * width..)?;
            values.chunks_exact(width).enumerate().take(column.len()).filter(|(row, _)| present(row)).for_each(|(_, v)| see(v));
            // What is stored: short integers in four bytes, decimals by their precision.
            match fixed {
                DataType::Decimal128(precision, _) | DataType::Decimal64(precision, _) if *precision <= 18 => 8.0,
                _ => width.max(4) as f64,
            }
        }
    };
    let ones: u32 = seen.iter().map(|w| w.count_ones()).sum();
    let bits = BITS as f64;
    Some((-bits * (1.0 - f64::from(ones) / bits).ln(), width))
}

/// Distinct values expected among `rows` drawn from `population` equally likely ones.
fn expected(population: f64, rows: f64) -> f64 {
    population * -(-rows / population).exp_m1()
}

/// How many equally likely values there are, if `rows` of them showed `distinct`: the inverse of [`expected`].
fn population(rows: f64, distinct: f64) -> f64 {
    let (mut low, mut high) = (distinct.max(1.0), 1e12);
    if expected(high, rows) <= distinct {
        return high;
    }
    for _ in 0..60 {
        let middle = (low * high).sqrt();
        if expected(middle, rows) < distinct { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int64Array, StringArray};
    use std::sync::Arc;

    fn scattered(count: u64, of: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |i| hash_bytes(&i.to_le_bytes()) % of)
    }

    #[test]
    fn few_values_get_a_dictionary_and_many_do_not() {
        for (of, expected) in [(7, true), (1000, true), (10_000, true), (200_000, false), (1 << 50, false)] {
            let numbers: ArrayRef = Arc::new(scattered(8192, of).map(|v| v as i64).collect::<Int64Array>());
            assert_eq!(worthwhile(&numbers, 100_000), expected, "{of}");
            let strings: ArrayRef = Arc::new(scattered(8192, of).map(|v| Some(format!("value {v}"))).collect::<StringArray>());
            assert_eq!(worthwhile(&strings, 100_000), expected, "{of}");
            assert_eq!(worthwhile(&strings.slice(5000, 3000), 100_000), expected, "{of}");
        }
        // Runs of equal values.
        let runs: ArrayRef = Arc::new((0..8192i64).map(|i| i / 100).collect::<Int64Array>());
        assert!(worthwhile(&runs, 100_000));
        let nothing: ArrayRef = Arc::new(StringArray::new_null(1000));
        assert!(worthwhile(&nothing, 100_000));
    }

    #[test]
    fn distinct_values_are_counted_well() {
        for of in [10, 1000, 5000, 1 << 40] {
            let values: Vec<u64> = scattered(8192, of).collect();
            let exact = values.iter().collect::<std::collections::HashSet<_>>().len() as f64;
            let numbers: ArrayRef = Arc::new(values.iter().map(|v| *v as i64).collect::<Int64Array>());
            let (counted, _) = distinct(&numbers).unwrap();
            assert!((counted - exact).abs() < 0.03 * exact + 1.0, "{counted} {exact}");
        }
    }
}
