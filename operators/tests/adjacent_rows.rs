//! Short rows that are sorted where they lie.

use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SEGMENT_SIZE};
use fluvial_operators::AdjacentRows;
use proptest::prelude::*;

fn key(row: &[u8]) -> u64 {
    u64::from_be_bytes(*row.first_chunk().unwrap())
}

fn keys() -> impl Strategy<Value = Vec<u64>> {
    let key = prop_oneof![any::<u64>(), 0u64..50, (0u64..1 << 20), Just(7), (0u64..3).prop_map(|n| n << 40)];
    prop_oneof![prop::collection::vec(key, 0..400), prop::collection::vec(0u64..1 << 20, 30_000..60_000)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rows_come_out_as_from_a_stable_sort(keys in keys(), payload in prop_oneof![Just(8usize), 4usize..40], most in 1usize..3000) {
        let reservation = MemoryManager::new(64 << 20).unwrap().reserve("sort", 0).unwrap();
        let shape = RowShape::fixed(8, payload);
        let mut sort = AdjacentRows::new(&reservation, shape).unwrap();
        for (piece, keys) in keys.chunks(1000).enumerate() {
            let mut rows = RowBatch::new(shape);
            for (i, key) in keys.iter().enumerate() {
                let mut bytes = vec![0; payload];
                bytes[..4].copy_from_slice(&((piece * 1000 + i) as u32).to_le_bytes());
                rows.push(&key.to_be_bytes(), &bytes);
            }
            prop_assert_eq!(sort.push(&rows), keys.len());
        }
        let mut expected: Vec<(u64, u32)> = keys.iter().enumerate().map(|(i, &key)| (key, i as u32)).collect();
        expected.sort();
        let mut sorted = sort.sort().unwrap();
        let (mut out, mut found) = (RowBatch::new(shape), Vec::new());
        loop {
            out.clear();
            let progress = sorted.pull(&mut out, most, 1 << 16);
            prop_assert!(out.len() <= most);
            let row = |row: &[u8]| (key(row), u32::from_le_bytes(*row[8..].first_chunk().unwrap()));
            found.extend(out.iter().map(row));
            if progress == Progress::Done {
                break;
            }
        }
        prop_assert_eq!(found, expected);
        drop(sorted);
        prop_assert_eq!(reservation.used(), 0);
    }
}

#[test]
fn without_memory_rows_come_out_and_those_of_a_key_as_they_went_in() {
    for most in [30, 60] {
        let memory = MemoryManager::new(64 * SEGMENT_SIZE).unwrap();
        let reservation = memory.reserve("sort", 0).unwrap();
        let shape = RowShape::fixed(8, 8);
        let mut sort = AdjacentRows::new(&reservation, shape).unwrap();
        let mut rows = RowBatch::new(shape);
        let count = (most * SEGMENT_SIZE / 16) as u64;
        (0..count).for_each(|i| rows.push(&(((i % 5) << 61) | (i / 5 % 2000)).to_be_bytes(), &i.to_be_bytes()));
        let taken = sort.push(&rows);
        // Others come for memory before the rows are sorted.
        let others: Vec<_> = std::iter::from_fn(|| reservation.alloc()).skip(8).collect();
        let mut sort = *sort.sort().expect_err("there is no room for entries");
        drop(others);
        let (mut out, mut back) = (RowBatch::new(shape), Vec::new());
        while sort.take(&mut out) {
            back.extend(out.iter().map(<[u8]>::to_vec));
        }
        assert!(sort.is_empty() && taken > 0);
        let mut expected: Vec<Vec<u8>> = rows.iter().take(taken).map(<[u8]>::to_vec).collect();
        for rows in [&mut back, &mut expected] {
            rows.sort_by_key(|row| key(row));
        }
        assert!(back == expected);
        assert_eq!(reservation.used(), 0);
    }
}

#[test]
fn other_rows_are_not_for_it() {
    let reservation = MemoryManager::new(1 << 20).unwrap().reserve("sort", 0).unwrap();
    for shape in [RowShape::VARIABLE, RowShape::fixed(4, 8), RowShape::fixed(8, 100)] {
        assert!(AdjacentRows::new(&reservation, shape).is_none());
    }
}
