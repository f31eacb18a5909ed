//! All kinds under all strategies against a naive model, in memory and with budgets that force spilling, recursion and
//! block-nested joins.

use super::*;
use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SEGMENT_SIZE, SpillConfig, SpillManager};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A row of a side: key (or null) and a number that tells it from all others.
type Row = (Option<u64>, u32);
/// A row of the result.
type Pair = (Option<Row>, Option<Row>);

fn spill() -> SpillManager {
    static SPILL: OnceLock<SpillManager> = OnceLock::new();
    SPILL.get_or_init(|| SpillManager::new(SpillConfig::default()).unwrap()).clone()
}

/// How rows of the tests are laid out.
#[derive(Clone, Copy, Debug)]
struct Layout {
    shape: RowShape,
    /// Bytes of payload after the row's number.
    padding: usize,
}

const FIXED: Layout = Layout { shape: RowShape { key: fluvial_memory::KeyWidth::Fixed(8), row: Some(12) }, padding: 0 };
const WIDE: Layout = Layout { shape: RowShape { key: fluvial_memory::KeyWidth::Fixed(8), row: Some(112) }, padding: 100 };
const VARIABLE: Layout = Layout { shape: RowShape::VARIABLE, padding: 30 };

impl Layout {
    fn batch(self, rows: &[Row]) -> (RowBatch, Vec<bool>) {
        let mut batch = RowBatch::new(self.shape);
        for &(key, number) in rows {
            let mut payload = number.to_le_bytes().to_vec();
            payload.resize(4 + self.padding, 7);
            let key = key.unwrap_or(0).to_be_bytes();
            if self.shape.row.is_some() {
                batch.push(&key, &payload);
            } else {
                // Keys of different lengths.
                let skip = key.iter().take_while(|&&b| b == 0).count().min(7);
                batch.push(&key[skip..], &payload[..4 + number as usize % (self.padding + 1)]);
            }
        }
        (batch, rows.iter().map(|row| row.0.is_none()).collect())
    }

    fn number(self, batch: &RowBatch, i: usize) -> u32 {
        u32::from_le_bytes(batch.payload(i)[..4].try_into().unwrap())
    }
}

fn model(kind: JoinKind, left: &[Row], right: &[Row]) -> Vec<Pair> {
    let mut by_key: BTreeMap<u64, Vec<Row>> = BTreeMap::new();
    for &row in right {
        if let Some(key) = row.0 {
            by_key.entry(key).or_default().push(row);
        }
    }
    let mut left_keys = std::collections::BTreeSet::new();
    let mut out = Vec::new();
    for &row in left {
        let partners = row.0.and_then(|key| by_key.get(&key)).map_or(&[][..], Vec::as_slice);
        left_keys.extend(row.0);
        match kind {
            JoinKind::LeftSemi if !partners.is_empty() => out.push((Some(row), None)),
            JoinKind::LeftAnti if partners.is_empty() => out.push((Some(row), None)),
            kind if kind.pairs() => {
                out.extend(partners.iter().map(|&partner| (Some(row), Some(partner))));
                if partners.is_empty() && kind.keeps_unmatched(Side::Left) {
                    out.push((Some(row), None));
                }
            }
            _ => {}
        }
    }
    for &row in right {
        let partner = row.0.is_some_and(|key| left_keys.contains(&key));
        let keep = match kind {
            JoinKind::RightSemi => partner,
            kind => !partner && kind.keeps_unmatched(Side::Right),
        };
        if keep {
            out.push((None, Some(row)));
        }
    }
    out.sort_unstable();
    out
}

/// Reads results back; looks rows up by number.
fn collect(out: &JoinedBatch, layout: Layout, left: &[Row], right: &[Row], results: &mut Vec<Pair>) {
    for i in 0..out.len() {
        let one = |batch: &RowBatch, missing: &Option<Vec<bool>>, rows: &[Row]| {
            if batch.is_empty() || missing.as_ref().is_some_and(|m| m[i]) {
                return None;
            }
            let number = layout.number(batch, i);
            Some(rows[number as usize])
        };
        let pair = (one(&out.left, &out.left_missing, left), one(&out.right, &out.right_missing, right));
        results.push(pair);
    }
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    kind: JoinKind,
    build: Side,
    segments: usize,
    layout: Layout,
    /// Which side is pushed first: the build side, the probe side, or both in turn.
    order: u8,
    batch: usize,
    max_rows: usize,
    waker: bool,
}

fn hash_join(setup: Setup, left: &[Row], right: &[Row], count: bool) -> (Vec<Pair>, u128, JoinStats) {
    let Setup { kind, build, segments, layout, order, batch, max_rows, waker } = setup;
    let memory = MemoryManager::new(segments * SEGMENT_SIZE).unwrap();
    let output = if count { JoinOutput::CountOnly } else { JoinOutput::Rows };
    let options = JoinOptions { build, output, ..JoinOptions::new(kind, layout.shape, layout.shape) };
    let mut out = JoinedBatch::new(kind, layout.shape, layout.shape);
    let bell = std::sync::Arc::new((std::sync::Mutex::new(0u64), std::sync::Condvar::new()));
    let ring = bell.clone();
    let waker = waker.then(|| -> fluvial_memory::Waker {
        std::sync::Arc::new(move || {
            *ring.0.lock().unwrap() += 1;
            ring.1.notify_all();
        })
    });
    let reservation = memory.reserve("join", MINIMUM_SEGMENTS).unwrap();
    let mut join = HashJoin::new(reservation, spill(), options, waker).unwrap();
    let mut results = Vec::new();
    let drain = |join: &mut HashJoin, out: &mut JoinedBatch, results: &mut Vec<Pair>| loop {
        let rung = *bell.0.lock().unwrap();
        let progress = join.pull(out, max_rows).unwrap();
        collect(out, layout, left, right, results);
        match progress {
            Progress::Done => break,
            Progress::More => {}
            Progress::Waiting => {
                let guard = bell.0.lock().unwrap();
                let waited = bell.1.wait_timeout_while(guard, std::time::Duration::from_secs(20), |now| *now == rung);
                assert!(!waited.unwrap().1.timed_out(), "the waker is called");
            }
        }
    };
    let mut chunks: Vec<(Side, &[Row])> = Vec::new();
    let side = |side: Side| match side {
        Side::Left => left,
        Side::Right => right,
    };
    let (first, second) = (side(build).chunks(batch), side(build.other()).chunks(batch));
    match order {
        0 => {
            chunks.extend(first.map(|c| (build, c)).chain([(build, &[][..])]));
            chunks.extend(second.map(|c| (build.other(), c)).chain([(build.other(), &[][..])]));
        }
        1 => {
            chunks.extend(second.map(|c| (build.other(), c)).chain([(build.other(), &[][..])]));
            chunks.extend(first.map(|c| (build, c)).chain([(build, &[][..])]));
        }
        _ => {
            let mut first = first.map(|c| (build, c)).chain([(build, &[][..])]);
            let mut second = second.map(|c| (build.other(), c)).chain([(build.other(), &[][..])]);
            loop {
                let (a, b) = (first.next(), second.next());
                if a.is_none() && b.is_none() {
                    break;
                }
                chunks.extend(a.into_iter().chain(b));
            }
        }
    }
    for (side, rows) in chunks {
        if rows.is_empty() {
            join.end(side).unwrap();
        } else {
            let (rows, nulls) = layout.batch(rows);
            join.push(side, &rows, Some(&nulls)).unwrap();
        }
        drain(&mut join, &mut out, &mut results);
    }
    assert!(join.is_finished());
    results.sort_unstable();
    let (count, stats) = (join.count(), join.stats());
    drop(join);
    assert_eq!(memory.available(), memory.budget());
    (results, count, stats)
}

/// Sorts both sides by key bytes and merges them.
fn merge_join(setup: Setup, left: &[Row], right: &[Row], count: bool) -> (Vec<Pair>, u128) {
    let Setup { kind, segments, layout, order, batch, max_rows, .. } = setup;
    let memory = MemoryManager::new(segments * SEGMENT_SIZE).unwrap();
    let output = if count { JoinOutput::CountOnly } else { JoinOutput::Rows };
    let options = JoinOptions { output, ..JoinOptions::new(kind, layout.shape, layout.shape) };
    let mut out = JoinedBatch::new(kind, layout.shape, layout.shape);
    let reservation = memory.reserve("join", MINIMUM_SEGMENTS).unwrap();
    let mut join = SortMergeJoin::new(reservation, spill(), options, None).unwrap();
    let sorted = |rows: &[Row]| {
        let mut rows = rows.to_vec();
        let key = |row: &Row| row.0.map(|key| layout.batch(&[(Some(key), 0)]).0.key(0).to_vec());
        rows.sort_by_cached_key(key);
        rows
    };
    let (sorted_left, sorted_right) = (sorted(left), sorted(right));
    let mut rest = [sorted_left.chunks(batch), sorted_right.chunks(batch)];
    let mut results = Vec::new();
    let mut feed = |join: &mut SortMergeJoin, side: Side| match rest[side as usize].next() {
        Some(rows) => {
            let (rows, nulls) = layout.batch(rows);
            join.push(side, &rows, Some(&nulls)).unwrap();
            true
        }
        None => {
            join.end(side).unwrap();
            false
        }
    };
    // Everything of one side at once, or each side as it is wanted.
    if order < 2 {
        while feed(&mut join, if order == 0 { Side::Left } else { Side::Right }) {}
    }
    while !join.is_finished() {
        let progress = join.pull(&mut out, max_rows).unwrap();
        collect(&out, layout, left, right, &mut results);
        if let (Progress::Done, Some(side)) = (progress, join.wants()) {
            feed(&mut join, side);
        }
    }
    results.sort_unstable();
    let count = join.count();
    drop(join);
    assert_eq!(memory.available(), memory.budget());
    (results, count)
}

fn rows(keys: impl IntoIterator<Item = Option<u64>>) -> Vec<Row> {
    keys.into_iter().enumerate().map(|(i, key)| (key, i as u32)).collect()
}

fn keys(domain: u64, most: usize) -> impl Strategy<Value = Vec<Row>> {
    let key = prop_oneof![8 => (0..domain).prop_map(Some), 1 => Just(Some(domain / 2)), 1 => Just(None)];
    prop::collection::vec(key, 0..most).prop_map(rows)
}

fn setup() -> impl Strategy<Value = Setup> {
    let kind = prop::sample::select(&JoinKind::ALL[..]);
    let build = prop::sample::select(&[Side::Left, Side::Right][..]);
    let layout = prop::sample::select(&[FIXED, WIDE, VARIABLE][..]);
    let segments = prop::sample::select(&[33usize, 33, 40, 64, 400][..]);
    (kind, build, segments, layout, 0u8..3, 1usize..3000, 1usize..3000, any::<bool>()).prop_map(
        |(kind, build, segments, layout, order, batch, max_rows, waker)| Setup {
            kind,
            build,
            segments,
            layout,
            order,
            batch,
            max_rows,
            waker,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn small_joins_equal_the_model(setup in setup(), left in keys(50, 200), right in keys(50, 200)) {
        let expected = model(setup.kind, &left, &right);
        let (results, _, _) = hash_join(setup, &left, &right, false);
        prop_assert_eq!(&results, &expected);
        let (_, count, _) = hash_join(setup, &left, &right, true);
        prop_assert_eq!(count, expected.len() as u128);
        let (results, _) = merge_join(setup, &left, &right, false);
        prop_assert!(results == expected, "merge: {} results, {} expected", results.len(), expected.len());
        let (_, count) = merge_join(setup, &left, &right, true);
        prop_assert_eq!(count, expected.len() as u128);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Tens of thousands of rows: more than a MiB, so that the small budgets spill.
    #[test]
    fn joins_that_spill_equal_the_model(
        setup in setup(),
        seed in any::<u64>(),
        (left, right) in (1usize..40_000, 1usize..40_000),
        domain in prop::sample::select(&[300u64, 20_000, 1_000_000][..]),
    ) {
        let (left, right) = (random_rows(seed, left, domain), random_rows(!seed, right, domain));
        let setup = Setup { batch: setup.batch + 1000, max_rows: setup.max_rows + 500, ..setup };
        let expected = model(setup.kind, &left, &right);
        let (results, _, _) = hash_join(setup, &left, &right, false);
        prop_assert!(results == expected, "{} results, {} expected", results.len(), expected.len());
        let (_, count, _) = hash_join(setup, &left, &right, true);
        prop_assert_eq!(count, expected.len() as u128);
        let (results, _) = merge_join(setup, &left, &right, false);
        prop_assert!(results == expected, "merge: {} results, {} expected", results.len(), expected.len());
        let (_, count) = merge_join(setup, &left, &right, true);
        prop_assert_eq!(count, expected.len() as u128);
    }
}

fn random_rows(seed: u64, count: usize, domain: u64) -> Vec<Row> {
    rows((0..count as u64).map(|i| {
        let random = fluvial_memory::hash::remix(i ^ seed, 77);
        (!random.is_multiple_of(50)).then_some(random / 64 % domain)
    }))
}

const PLAIN: Setup = Setup {
    kind: JoinKind::Inner,
    build: Side::Right,
    segments: MINIMUM_SEGMENTS,
    layout: FIXED,
    order: 0,
    batch: 4096,
    max_rows: 4096,
    waker: false,
};

/// 8,000 rows of one wide key and some others under the least budget: partitioning never separates them.
#[test]
fn a_key_that_does_not_fit_is_joined_block_by_block_for_every_kind() {
    let left = rows((0..30_000u64).map(|i| Some(if i % 3 == 0 { i } else { 7 })));
    let right = rows((0..45_000u64).map(|i| Some(if i % 5000 == 0 { 7 } else { 1_000_000 + i % 2 })));
    for kind in JoinKind::ALL {
        for build in [Side::Left, Side::Right] {
            let left = if build == Side::Left { &left[..] } else { &left[..5000] };
            let setup = Setup { kind, build, layout: WIDE, ..PLAIN };
            let (results, _, stats) = hash_join(setup, left, &right, false);
            assert!(results == model(kind, left, &right), "{kind:?} {build:?}");
            // Where only keys are kept, they are few.
            assert_eq!(stats.spilled_partitions > 0 && stats.spilled_bytes > 0, kind.emits(build), "{stats:?}");
        }
    }
    // Both sides are heavy in the same key: blocks are needed for real.
    let heavy = rows((0..20_000u64).map(|i| Some(if i % 10 == 0 { i } else { 7 })));
    for kind in [JoinKind::LeftSemi, JoinKind::LeftAnti, JoinKind::RightSemi, JoinKind::RightAnti] {
        let setup = Setup { kind, layout: WIDE, build: Side::Left, ..PLAIN };
        let (results, _, stats) = hash_join(setup, &heavy, &heavy, false);
        assert!(results == model(kind, &heavy, &heavy), "{kind:?}");
        assert!(kind == JoinKind::RightSemi || kind == JoinKind::RightAnti || stats.nested_blocks > 0, "{stats:?}");
    }
}
