//! Keys with very many rows, records of many megabytes, joins that are left early.

use super::*;
use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SEGMENT_SIZE, SpillConfig, SpillManager};

const SHAPE: RowShape = RowShape { key: fluvial_memory::KeyWidth::Fixed(8), row: Some(12) };
const LEAST: usize = MINIMUM_SEGMENTS * SEGMENT_SIZE;

fn batches(keys: impl Iterator<Item = u64>) -> impl Iterator<Item = RowBatch> {
    let mut keys = keys.enumerate().peekable();
    std::iter::from_fn(move || {
        keys.peek()?;
        let mut batch = RowBatch::new(SHAPE);
        for (i, key) in keys.by_ref().take(8192) {
            batch.push(&key.to_be_bytes(), &(i as u32).to_le_bytes());
        }
        Some(batch)
    })
}

struct Run {
    memory: MemoryManager,
    join: HashJoin,
    out: JoinedBatch,
    rows: u64,
}

impl Run {
    fn new(kind: JoinKind, build: Side, output: JoinOutput, budget: usize) -> Self {
        let memory = MemoryManager::new(budget).unwrap();
        let options = JoinOptions { build, output, ..JoinOptions::new(kind, SHAPE, SHAPE) };
        let spill = SpillManager::new(SpillConfig::default()).unwrap();
        let join = HashJoin::new(memory.reserve("join", MINIMUM_SEGMENTS).unwrap(), spill, options, None).unwrap();
        Self { memory, join, out: JoinedBatch::new(kind, SHAPE, SHAPE), rows: 0 }
    }

    fn feed(&mut self, side: Side, keys: impl Iterator<Item = u64>) {
        for batch in batches(keys) {
            self.join.push(side, &batch, None).unwrap();
            self.drain(u64::MAX);
        }
        self.join.end(side).unwrap();
        self.drain(u64::MAX);
    }

    /// Pulls until there is nothing, or `limit` rows have come.
    fn drain(&mut self, limit: u64) {
        while self.rows < limit {
            let progress = self.join.pull(&mut self.out, 8192).unwrap();
            self.rows += self.out.len() as u64;
            if progress == Progress::Done {
                break;
            }
        }
    }
}

const MANY: u64 = 3_000_000;

fn one_key(rows: u64) -> impl Iterator<Item = u64> {
    (0..rows).map(|_| 42)
}

#[test]
fn a_key_with_three_million_rows_on_both_sides_is_counted_at_once() {
    for kind in [JoinKind::Inner, JoinKind::Full, JoinKind::LeftSemi, JoinKind::RightAnti] {
        let mut run = Run::new(kind, Side::Right, JoinOutput::CountOnly, LEAST);
        run.feed(Side::Right, one_key(MANY).chain([7]));
        run.feed(Side::Left, one_key(MANY).chain([8, 9]));
        let expected = match kind {
            JoinKind::Inner => 9_000_000_000_000,
            JoinKind::Full => 9_000_000_000_003,
            JoinKind::LeftSemi => 3_000_000,
            _ => 1,
        };
        assert_eq!(run.join.count(), expected, "{kind:?}");
        assert_eq!(run.join.stats().spilled_bytes, 0);
    }
}

#[test]
fn a_key_with_three_million_rows_on_both_sides_in_semi_and_anti_joins() {
    for (kind, build, expected) in
        [(JoinKind::LeftSemi, Side::Right, MANY), (JoinKind::LeftAnti, Side::Left, 1), (JoinKind::RightSemi, Side::Right, MANY)]
    {
        let mut run = Run::new(kind, build, JoinOutput::Rows, LEAST);
        let extra = |side| [7 + u64::from(side == Side::Left)];
        run.feed(build, one_key(MANY).chain(extra(build)));
        run.feed(build.other(), one_key(MANY).chain(extra(build.other())));
        assert_eq!(run.rows, expected, "{kind:?} {:?}", run.join.stats());
        assert!(run.join.is_finished());
    }
}

#[test]
fn a_join_that_is_left_early_gives_everything_back() {
    let mut run = Run::new(JoinKind::Inner, Side::Right, JoinOutput::Rows, LEAST);
    for side in [Side::Right, Side::Left] {
        for batch in batches(one_key(MANY)) {
            run.join.push(side, &batch, None).unwrap();
            run.drain(100_000);
        }
        run.join.end(side).unwrap();
    }
    run.drain(100_000);
    assert!(run.rows >= 100_000);
    assert!(run.join.stats().spilled_bytes > 0 && !run.join.is_finished());
    let Run { memory, join, .. } = run;
    drop(join);
    assert_eq!(memory.available(), memory.budget());
}

#[test]
fn a_key_with_three_million_rows_meets_a_few() {
    for build in [Side::Left, Side::Right] {
        let mut run = Run::new(JoinKind::Full, build, JoinOutput::Rows, LEAST);
        let keys = |side: Side| one_key(if side == Side::Left { MANY } else { 3 }).chain([side as u64]);
        run.feed(build, keys(build));
        run.feed(build.other(), keys(build.other()));
        assert_eq!(run.rows, 3 * MANY + 2, "{:?}", run.join.stats());
    }
}

#[test]
fn four_hundred_thousand_duplicates_among_a_million() {
    let keys = || (0..1_000_000u64).map(|i| if i % 5 < 2 { 42 } else { 1000 + i });
    for build in [Side::Left, Side::Right] {
        let mut run = Run::new(JoinKind::Inner, build, JoinOutput::Rows, LEAST);
        let few = || (0..100_000u64).map(|i| 1000 + i * 10).chain([42, 42]);
        let of = |side| if side == Side::Left { Box::new(keys()) as Box<dyn Iterator<Item = u64>> } else { Box::new(few()) };
        run.feed(build, of(build));
        run.feed(build.other(), of(build.other()));
        // Every tenth key above 1000 is 1000 + i with i a multiple of 10, of which none is in the heavy 2 of 5: i % 5 = 0.
        assert_eq!(run.rows, 2 * 400_000, "{:?}", run.join.stats());
    }
    let mut run = Run::new(JoinKind::Full, Side::Right, JoinOutput::CountOnly, LEAST);
    run.feed(Side::Right, keys());
    run.feed(Side::Left, keys());
    assert_eq!(run.join.count(), 400_000 * 400_000 + 600_000, "{:?}", run.join.stats());
}

#[test]
fn records_of_ten_megabytes_under_64_mib() {
    let (shape, kind) = (RowShape::VARIABLE, JoinKind::Left);
    let memory = MemoryManager::new(64 << 20).unwrap();
    let spill = SpillManager::new(SpillConfig::default()).unwrap();
    let options = JoinOptions::new(kind, shape, shape);
    let mut join = HashJoin::new(memory.reserve("join", MINIMUM_SEGMENTS).unwrap(), spill, options, None).unwrap();
    let mut out = JoinedBatch::new(kind, shape, shape);
    let mut seen = vec![0; 12];
    let mut drain = |join: &mut HashJoin| loop {
        let progress = join.pull(&mut out, 100).unwrap();
        for i in 0..out.len() {
            let key = out.left.key(i)[0] as usize;
            seen[key] += 1;
            assert_eq!(out.left.payload(i).len(), 10 << 20);
            let missing = out.right_missing.as_ref().unwrap()[i];
            assert_eq!(missing, key >= 9);
            assert!(missing || out.right.payload(i)[5 << 20] == key as u8);
        }
        if progress == Progress::Done {
            break;
        }
    };
    for (side, rows) in [(Side::Right, 9u8), (Side::Left, 12)] {
        for key in 0..rows {
            let mut batch = RowBatch::new(shape);
            batch.push(&[key], &vec![key; 10 << 20]);
            join.push(side, &batch, None).unwrap();
            drain(&mut join);
        }
        join.end(side).unwrap();
        drain(&mut join);
    }
    assert!(join.stats().spilled_bytes > 0);
    drop(join);
    assert_eq!(seen, [1; 12]);
    assert_eq!(memory.available(), memory.budget());
}

#[test]
fn less_than_the_minimum_is_an_error_that_says_so() {
    let memory = MemoryManager::new(1 << 20).unwrap();
    let spill = SpillManager::new(SpillConfig::default()).unwrap();
    let options = JoinOptions::new(JoinKind::Inner, SHAPE, SHAPE);
    let Err(error) = HashJoin::new(memory.reserve("join", 8).unwrap(), spill, options, None) else { panic!("too little") };
    assert!(error.to_string().contains("at least 1081344 bytes"), "{error}");
}
