//! Operators in a large pool of which others hold all but the operator's minimum: from the start, or since its first rows.
//! What is sized by the budget must fit the minimum all the same.

use fluvial_memory::{
    Extent, KeyWidth, MemoryManager, Progress, Reservation, RowBatch, RowShape, SEGMENT_SIZE, SpillConfig, SpillManager,
};
use fluvial_operators::aggregate::{Distinct, HashAggregate, HashAggregateOptions};
use fluvial_operators::{
    Cross, CrossOptions, HashJoin, JoinKind, JoinOptions, JoinedBatch, MINIMUM_JOIN_SEGMENTS, Side, SortMergeJoin,
};

const ROWS: u64 = 12_000;

/// All that is left in the pool.
struct Hog {
    _reservation: Reservation,
    _extents: Vec<Extent>,
}

impl Hog {
    fn new(memory: &MemoryManager) -> Self {
        let reservation = memory.reserve("hog", 0).unwrap();
        let extents = std::iter::from_fn(|| reservation.alloc()).collect();
        Self { _reservation: reservation, _extents: extents }
    }
}

/// Runs `operator` with each number of segments in the pool, and with the hog early and late. It is given its reservation and
/// what makes the hog come.
fn beside_a_hog(minimum: usize, operator: impl Fn(Reservation, SpillManager, &mut dyn FnMut())) {
    for segments in [600, 1100, 4096] {
        for early in [true, false] {
            let memory = MemoryManager::new(segments * SEGMENT_SIZE).unwrap();
            let reservation = memory.reserve("operator", minimum).unwrap();
            let mut hog = early.then(|| Hog::new(&memory));
            operator(reservation, SpillManager::new(SpillConfig::default()).unwrap(), &mut || {
                hog.get_or_insert_with(|| Hog::new(&memory));
            });
        }
    }
}

/// Numbers as keys in an order of their own, each with some payload.
fn batches(shape: RowShape, numbers: impl Iterator<Item = u64>) -> Vec<RowBatch> {
    let numbers: Vec<u64> = numbers.collect();
    let batch = |numbers: &[u64]| {
        let mut rows = RowBatch::new(shape);
        numbers.iter().for_each(|n| rows.push(&n.to_be_bytes(), &[*n as u8; 300]));
        rows
    };
    numbers.chunks(500).map(batch).collect()
}

const SHAPE: RowShape = RowShape { key: KeyWidth::Fixed(8), row: Some(308) };

/// How many rows come until there is no more for now.
fn pull_all(mut pull: impl FnMut() -> (Progress, usize)) -> u64 {
    let mut rows = 0;
    loop {
        let (progress, pulled) = pull();
        rows += pulled as u64;
        if progress != Progress::More {
            return rows;
        }
    }
}

#[test]
fn aggregation() {
    beside_a_hog(HashAggregate::<Distinct>::MINIMUM_SEGMENTS, |reservation, spill, hog| {
        let options = HashAggregateOptions::default();
        let mut distinct = HashAggregate::new(reservation, spill, KeyWidth::Variable, Distinct, options, None).unwrap();
        for part in 0..48 {
            let mut rows = RowBatch::new(distinct.shape());
            for i in 0..500 {
                let number = (part * 500 + i) % ROWS;
                rows.push(&[&number.to_be_bytes()[..], &[7; 300]].concat(), &[]);
            }
            assert_eq!(distinct.push(&rows).unwrap(), Progress::Done);
            hog();
        }
        distinct.end().unwrap();
        let mut out = RowBatch::new(distinct.shape());
        let groups = pull_all(|| (distinct.pull(&mut out, 1000).unwrap(), out.len()));
        assert_eq!(groups, ROWS);
    });
}

#[test]
fn hash_join() {
    for early_probe in [false, true] {
        beside_a_hog(MINIMUM_JOIN_SEGMENTS, |reservation, spill, hog| {
            let mut join = HashJoin::new(reservation, spill, JoinOptions::new(JoinKind::Full, SHAPE, SHAPE), None).unwrap();
            let mut out = JoinedBatch::new(JoinKind::Full, SHAPE, SHAPE);
            let mut pairs = 0;
            let mut drain = |join: &mut HashJoin| pairs += pull_all(|| (join.pull(&mut out, 1000).unwrap(), out.len()));
            let sides = if early_probe { [Side::Left, Side::Right] } else { [Side::Right, Side::Left] };
            for side in sides {
                let from = if side == Side::Left { 0 } else { ROWS / 2 };
                for rows in batches(SHAPE, (from..from + ROWS).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))) {
                    join.push(side, &rows, None).unwrap();
                    drain(&mut join);
                    hog();
                }
                join.end(side).unwrap();
                drain(&mut join);
            }
            assert!(join.is_finished());
            assert_eq!(pairs, ROWS + ROWS / 2);
        });
    }
}

/// One key, with more rows on both sides than fit.
#[test]
fn a_key_that_does_not_fit() {
    const MANY: u64 = 6000;
    beside_a_hog(MINIMUM_JOIN_SEGMENTS, |reservation, spill, hog| {
        let options = JoinOptions::new(JoinKind::LeftSemi, SHAPE, SHAPE);
        let options = JoinOptions { build: Side::Left, ..options };
        let mut join = HashJoin::new(reservation, spill, options, None).unwrap();
        let mut out = JoinedBatch::new(JoinKind::LeftSemi, SHAPE, SHAPE);
        let mut found = 0;
        for side in [Side::Left, Side::Right] {
            for rows in batches(SHAPE, (0..MANY).map(|_| 7)) {
                join.push(side, &rows, None).unwrap();
                hog();
                found += pull_all(|| (join.pull(&mut out, 1000).unwrap(), out.len()));
            }
            join.end(side).unwrap();
            found += pull_all(|| (join.pull(&mut out, 1000).unwrap(), out.len()));
        }
        assert_eq!(found, MANY);
    });
}

#[test]
fn merge_join() {
    beside_a_hog(MINIMUM_JOIN_SEGMENTS, |reservation, spill, hog| {
        let options = JoinOptions::new(JoinKind::Inner, SHAPE, SHAPE);
        let mut join = SortMergeJoin::new(reservation, spill, options, None).unwrap();
        let mut out = JoinedBatch::new(JoinKind::Inner, SHAPE, SHAPE);
        // Ten left rows of each of two keys, thousands of right ones.
        let mut left = batches(SHAPE, [1, 2].into_iter().flat_map(|k| (0..10).map(move |_| k))).into_iter();
        let mut right = batches(SHAPE, [1, 2].into_iter().flat_map(|k| (0..4000).map(move |_| k))).into_iter();
        let mut pairs = 0;
        loop {
            let progress = join.pull(&mut out, 1000).unwrap();
            pairs += out.len();
            hog();
            match (progress, join.wants()) {
                (Progress::More, _) => {}
                (_, Some(side)) => {
                    let rows = if side == Side::Left { left.next() } else { right.next() };
                    match rows {
                        Some(rows) => drop(join.push(side, &rows, None).unwrap()),
                        None => drop(join.end(side).unwrap()),
                    }
                }
                (_, None) => break,
            }
        }
        assert!(join.is_finished());
        assert_eq!(pairs, 2 * 10 * 4000);
    });
}

#[test]
fn cross() {
    beside_a_hog(MINIMUM_JOIN_SEGMENTS, |reservation, spill, hog| {
        let options = CrossOptions {
            buffered: Side::Right,
            left: SHAPE,
            right: SHAPE,
            operator: "cross".into(),
            schemas: Default::default(),
        };
        let mut out = options.batch();
        let mut cross = Cross::new(reservation, spill, options, None).unwrap();
        let mut pairs = 0;
        for (side, count) in [(Side::Left, 3), (Side::Right, ROWS)] {
            for rows in batches(SHAPE, 0..count) {
                cross.push(side, &rows).unwrap();
                hog();
            }
            cross.end(side).unwrap();
            pairs += pull_all(|| (cross.pull(&mut out, 1000).unwrap(), out.len()));
        }
        assert_eq!(pairs, 3 * ROWS);
    });
}
