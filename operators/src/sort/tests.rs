//! Sorts against the standard library's, in memory and far below the size of their input.

use super::*;
use fluvial_memory::{
    Compression, KeyWidth, MemoryManager, Progress, Reservation, RowBatch, RowShape, SEGMENT_SIZE, SpillConfig, SpillManager,
    Waker,
};
use proptest::prelude::*;
use std::sync::Arc;

struct Fixture {
    memory: MemoryManager,
    spill: SpillManager,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new(segments: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = SpillConfig { directory: directory.path().to_owned(), compression: Compression::None, ..Default::default() };
        Self {
            memory: MemoryManager::new(segments * SEGMENT_SIZE).unwrap(),
            spill: SpillManager::new(config).unwrap(),
            _directory: directory,
        }
    }

    fn reserve(&self) -> Reservation {
        self.memory.reserve("sort", ExternalSort::MINIMUM_SEGMENTS).unwrap()
    }

    fn sort(&self, reservation: &Reservation, shape: RowShape) -> ExternalSort {
        ExternalSort::new(reservation, &self.spill, SortOptions::new(shape), None).unwrap()
    }
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(2).wrapping_add(1) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

fn push_all(sort: &mut ExternalSort, shape: RowShape, rows: &[(Vec<u8>, Vec<u8>)]) {
    for part in rows.chunks(1000) {
        let mut batch = RowBatch::new(shape);
        part.iter().for_each(|(key, payload)| batch.push(key, payload));
        assert_eq!(sort.push(&batch).unwrap(), Progress::Done);
    }
}

fn read(mut reader: MergeReader, shape: RowShape) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut out, mut rows) = (RowBatch::new(shape), Vec::new());
    loop {
        out.clear();
        let progress = reader.pull(&mut out, 777, 1 << 16).unwrap();
        rows.extend((0..out.len()).map(|i| (out.key(i).to_vec(), out.payload(i).to_vec())));
        match progress {
            Progress::More => {}
            Progress::Done => return rows,
            Progress::Waiting => panic!("nobody to wake"),
        }
    }
}

/// Compares without printing megabytes.
fn assert_same(found: &[(Vec<u8>, Vec<u8>)], expected: &[(Vec<u8>, Vec<u8>)]) {
    assert_eq!(found.len(), expected.len());
    let differs = found.iter().zip(expected).position(|(f, e)| f != e);
    assert!(differs.is_none(), "row {differs:?} differs: {:?}", differs.map(|i| (&found[i].0, &expected[i].0)));
}

/// Keys of all sorts, with long common prefixes and many duplicates.
fn key(width: Option<usize>) -> BoxedStrategy<Vec<u8>> {
    let byte = prop_oneof![3 => 0u8..2, 1 => any::<u8>()];
    match width {
        Some(width) => prop::collection::vec(byte, width).boxed(),
        None => prop_oneof![
            prop::collection::vec(byte, 0..24),
            prop::collection::vec(0u8..2, 0..6).prop_map(|end| [&b"the same sixteen bytes"[..], &end].concat()),
        ]
        .boxed(),
    }
}

fn input() -> impl Strategy<Value = (Option<usize>, Vec<Vec<u8>>)> {
    let width = prop_oneof![Just(None), (0usize..40).prop_map(Some), Just(Some(16))];
    width.prop_flat_map(|width| (Just(width), prop::collection::vec(key(width), 0..4000)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn equals_the_stable_sort(
        (width, keys) in input(),
        payload in 0usize..120,
        segments in prop_oneof![Just(16usize), Just(33), Just(4096)],
        workers in 1usize..4,
        order in 0..3,
        target in 1u64..200_000,
    ) {
        let shape = RowShape { key: width.map_or(KeyWidth::Variable, KeyWidth::Fixed), row: width.map(|w| w + 4 + payload) };
        let mut rows: Vec<_> = keys.into_iter().enumerate().map(|(i, key)| {
            (key, [&(i as u32).to_le_bytes()[..], &vec![i as u8; payload]].concat())
        }).collect();
        match order { 0 => {}, 1 => rows.sort(), _ => { rows.sort(); rows.reverse() } }
        let fixture = Fixture::new(segments * workers);
        let share = rows.len().div_ceil(workers).max(1);
        let mut runs = Vec::new();
        for part in rows.chunks(share) {
            let reservation = fixture.reserve();
            let mut sort = fixture.sort(&reservation, shape);
            push_all(&mut sort, shape, part);
            runs.push(sort.into_runs().unwrap());
        }
        let set = SortedSet::new(runs);
        prop_assert_eq!(set.rows(), rows.len() as u64);
        let ranges = set.ranges(target);
        prop_assert!(ranges.windows(2).all(|w| w[0].to == Some(w[1].from) && w[0].from < w[1].from));
        let reservation = fixture.memory.reserve("merge", 0).unwrap();
        let found: Vec<_> = ranges.iter().flat_map(|&range| read(set.merge(range, &reservation, None), shape)).collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        assert_same(&found, &rows);
        prop_assert_eq!(reservation.used(), 0);
    }

    #[test]
    fn top_k_is_the_front_of_the_sort((width, keys) in input(), k in prop_oneof![0u64..20, 0u64..5000], segments in prop_oneof![Just(16usize), Just(4096)]) {
        let shape = RowShape { key: width.map_or(KeyWidth::Variable, KeyWidth::Fixed), row: width.map(|w| w + 100) };
        let mut rows: Vec<_> = keys.into_iter().enumerate().map(|(i, key)| {
            (key, [&(i as u32).to_le_bytes()[..], &[7; 96]].concat())
        }).collect();
        let fixture = Fixture::new(segments);
        let reservation = fixture.reserve();
        let mut top = TopK::new(&reservation, &fixture.spill, SortOptions::new(shape), k, None).unwrap();
        for part in rows.chunks(500) {
            let mut batch = RowBatch::new(shape);
            part.iter().for_each(|(key, payload)| batch.push(key, payload));
            prop_assert_eq!(top.push(&batch).unwrap(), Progress::Done);
        }
        let set = SortedSet::new(vec![top.into_runs().unwrap()]);
        let mut found = read(set.merge(KeyRange::ALL, &reservation, None), shape);
        found.truncate(k as usize);
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.truncate(k as usize);
        assert_same(&found, &rows);
    }
}

#[test]
fn a_million_rows_of_one_and_other_keys_in_33_segments() {
    let fixture = Fixture::new(33);
    let shape = RowShape::fixed(8, 8);
    let mut next = random(1);
    let rows: Vec<_> = (0..1_000_000u64)
        .map(|i| {
            let key = if next() % 10 < 4 { 1 << 40 } else { next() >> 20 };
            (key.to_be_bytes().to_vec(), i.to_be_bytes().to_vec())
        })
        .collect();
    let reservation = fixture.reserve();
    let mut sort = fixture.sort(&reservation, shape);
    push_all(&mut sort, shape, &rows);
    let set = SortedSet::new(vec![sort.into_runs().unwrap()]);
    let found: Vec<_> = set.ranges(4 << 20).iter().flat_map(|&range| read(set.merge(range, &reservation, None), shape)).collect();
    let mut expected = rows;
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_same(&found, &expected);
    assert!(set.stats().merges > 0 && set.stats().rows == 1_000_000);
    assert!(fixture.memory.peak() <= fixture.memory.budget());
    drop(set);
    assert_eq!(fixture.spill.stats().open_files, 0);
}

#[test]
fn rows_of_ten_megabytes_under_64_mebibytes_with_two_sorts() {
    let fixture = Fixture::new(2048);
    let shape = RowShape::VARIABLE;
    let mut next = random(2);
    let reservations = [fixture.reserve(), fixture.reserve()];
    let mut sorts: Vec<_> = reservations.iter().map(|r| fixture.sort(r, shape)).collect();
    let mut expected = Vec::new();
    for i in 0..24u8 {
        let key = next().to_be_bytes().to_vec();
        let payload = vec![i; 10_000_000];
        push_all(&mut sorts[usize::from(i % 2)], shape, &[(key.clone(), payload)]);
        expected.push((key, i));
    }
    let set = SortedSet::new(sorts.into_iter().map(|sort| sort.into_runs().unwrap()).collect());
    expected.sort();
    let ranges = set.ranges(80_000_000);
    assert!(ranges.len() > 1);
    // Two threads merge ranges side by side and wait for each other's memory.
    let queue = std::sync::Mutex::new(ranges.iter().enumerate());
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = reservations
            .iter()
            .map(|reservation| {
                scope.spawn(|| {
                    let mut parts = Vec::new();
                    while let Some((number, &range)) = { queue.lock().unwrap().next() } {
                        let rows = read(set.merge(range, reservation, None), shape);
                        parts.extend(
                            rows.into_iter().map(|(key, payload)| (number, key, payload[payload.len() - 1], payload.len())),
                        );
                    }
                    parts
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect::<Vec<_>>()
    });
    let mut parts = parts;
    parts.sort_by_key(|part| part.0);
    assert!(parts.iter().all(|part| part.3 == 10_000_000));
    let found: Vec<_> = parts.into_iter().map(|(_, key, i, _)| (key, i)).collect();
    assert_eq!(found, expected);
    assert!(fixture.memory.peak() <= fixture.memory.budget());
}

#[test]
fn presorted_and_reversed_input() {
    let shape = RowShape::fixed(8, 40);
    for reversed in [false, true] {
        let fixture = Fixture::new(256);
        let reservation = fixture.reserve();
        let mut sort = fixture.sort(&reservation, shape);
        let mut rows: Vec<_> = (0..200_000u64).map(|i| ((i / 3).to_be_bytes().to_vec(), [i as u8; 40].to_vec())).collect();
        if reversed {
            rows.reverse();
        }
        push_all(&mut sort, shape, &rows);
        let set = SortedSet::new(vec![sort.into_runs().unwrap()]);
        let found = read(set.merge(KeyRange::ALL, &reservation, None), shape);
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        assert_same(&found, &rows);
    }
}

#[test]
fn with_a_waker_every_call_returns_soon() {
    let fixture = Fixture::new(64);
    let reservation = fixture.reserve();
    let shape = RowShape::fixed(8, 92);
    let (sender, woken) = std::sync::mpsc::sync_channel(1);
    let waker: Waker = Arc::new(move || {
        let _ = sender.try_send(());
    });
    let mut sort = ExternalSort::new(&reservation, &fixture.spill, SortOptions::new(shape), Some(waker.clone())).unwrap();
    let mut next = random(3);
    let mut keys = Vec::new();
    let wait = |progress: Progress| {
        if progress == Progress::Waiting {
            woken.recv().unwrap();
        }
        progress == Progress::Done
    };
    for _ in 0..100 {
        let mut batch = RowBatch::new(shape);
        for _ in 0..2000 {
            keys.push(next());
            batch.push(&keys[keys.len() - 1].to_be_bytes(), &[1; 92]);
        }
        let mut done = wait(sort.push(&batch).unwrap());
        while !done {
            done = wait(sort.resume().unwrap());
        }
    }
    while !wait(sort.finish().unwrap()) {}
    let set = SortedSet::new(vec![sort.into_runs().unwrap()]);
    let mut reader = set.merge(KeyRange::ALL, &reservation, Some(waker));
    let mut out = RowBatch::new(shape);
    while !wait(reader.pull(&mut out, usize::MAX, usize::MAX).unwrap()) {}
    keys.sort();
    assert_eq!(out.len(), keys.len());
    assert!(keys.iter().enumerate().all(|(i, key)| out.key(i) == key.to_be_bytes()));
}

#[test]
fn a_sort_gives_way_to_pressure() {
    let fixture = Fixture::new(128);
    let reservation = fixture.reserve();
    let shape = RowShape::fixed(8, 92);
    let mut sort = fixture.sort(&reservation, shape);
    let rows: Vec<_> =
        (0..25_000u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec(), vec![0; 92])).collect();
    push_all(&mut sort, shape, &rows);
    assert_eq!(sort.stats().runs, 0);
    let other = fixture.memory.reserve("other", 0).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| other.alloc()).collect();
    assert!(reservation.pressure() > 0);
    push_all(&mut sort, shape, &rows[..1]);
    assert_eq!(sort.stats().runs, 1);
    assert!(other.alloc().is_some());
    drop(held);
}

/// All that others left in the pool.
fn hog(memory: &MemoryManager) -> (Reservation, Vec<fluvial_memory::Extent>) {
    let reservation = memory.reserve("hog", 0).unwrap();
    let extents = std::iter::from_fn(|| reservation.alloc()).collect();
    (reservation, extents)
}

/// The budget is large, but others have it: from the start, or as soon as the sort has seen it.
#[test]
fn the_minimum_suffices_whatever_the_budget() {
    let shape = RowShape::VARIABLE;
    let mut random = random(5);
    let rows: Vec<_> =
        (0..12_000u32).map(|i| (random().to_be_bytes().to_vec(), [&i.to_le_bytes()[..], &vec![i as u8; 300]].concat())).collect();
    let mut expected = rows.clone();
    expected.sort();
    for minimum in [ExternalSort::MINIMUM_SEGMENTS, ExternalSort::FULL_BLOCK_SEGMENTS] {
        for early in [true, false] {
            let fixture = Fixture::new(4096);
            let reservation = fixture.memory.reserve("sort", minimum).unwrap();
            let before = early.then(|| hog(&fixture.memory));
            let mut sort = fixture.sort(&reservation, shape);
            push_all(&mut sort, shape, &rows[..1]);
            let after = (!early).then(|| hog(&fixture.memory));
            push_all(&mut sort, shape, &rows[1..]);
            let set = SortedSet::new(vec![sort.into_runs().unwrap()]);
            assert!(set.stats().runs > 1);
            assert_same(&read(set.merge(KeyRange::ALL, &reservation, None), shape), &expected);
            drop((before, after));
        }
    }
}
