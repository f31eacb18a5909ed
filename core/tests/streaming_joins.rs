//! Joins on time as jobs: random disorder within the declared bound, one to three workers, both modes, against naive models.

use fluvial_core::{
    CoGroupContext, Config, DataStream, Env, Mode, OutputTag, Session, Sliding, TimeBound, TimeWindow, Tumbling,
    WatermarkStrategy,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// Key, number, time.
type Row = (u32, u64, i64);

/// The disorder that the sources declare.
const BOUND: i64 = 20;

fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// Records that come at most the bound behind the latest before them.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0u32..6, 0i64..6, 0..=BOUND), 0..150).prop_map(|steps| {
        let mut now = 0;
        let row = |(number, (key, step, behind)): (usize, (u32, i64, i64))| {
            now += step;
            (key, number as u64, now - behind)
        };
        steps.into_iter().enumerate().map(row).collect()
    })
}

fn environments() -> impl Iterator<Item = (Env, String)> {
    let all = (1..=3).flat_map(|threads| [Mode::Batch, Mode::Streaming].map(|mode| (threads, mode)));
    all.map(|(threads, mode)| {
        let config = Config { threads, mode, memory: 64 << 20, ..Config::default() };
        (Env::new(config), format!("{threads} workers, {mode:?}"))
    })
}

fn timed(env: &Env, rows: &[Row]) -> DataStream<Row> {
    let strategy = WatermarkStrategy::bounded_out_of_orderness(ms(BOUND)).with_timestamps(|row: &Row| row.2);
    env.from_collection(rows.to_vec()).assign_timestamps_and_watermarks(strategy)
}

fn sorted<T: Ord>(mut records: Vec<T>) -> Vec<T> {
    records.sort();
    records
}

type Group = (u32, TimeWindow, Vec<u64>, Vec<u64>);

fn group(left: &[Row], right: &[Row], context: &mut CoGroupContext<'_, u32, TimeWindow, Group>) -> fluvial_core::Result<()> {
    let numbers = |rows: &[Row]| sorted(rows.iter().map(|r| r.1).collect());
    context.emit((context.key(), *context.window(), numbers(left), numbers(right)));
    Ok(())
}

/// Windows by key, with the numbers of both sides.
#[derive(Default)]
struct Model(BTreeMap<(u32, TimeWindow), (Vec<u64>, Vec<u64>)>);

impl Model {
    /// Of aligned windows: those that hold a time.
    fn aligned(left: &[Row], right: &[Row], size: i64, slide: i64) -> Vec<Group> {
        let mut model = Self::default();
        for (right, (key, number, time)) in sides(left, right) {
            for start in (time - size + 1..=time).filter(|start| start.rem_euclid(slide) == 0) {
                model.add(key, TimeWindow { start, end: start + size }, number, right);
            }
        }
        model.groups()
    }

    fn sessions(left: &[Row], right: &[Row], gap: i64) -> Vec<Group> {
        let mut all: Vec<_> = sides(left, right).collect();
        all.sort_by_key(|(_, (key, _, time))| (*key, *time));
        let mut model = Self::default();
        for run in all.chunk_by(|a, b| a.1.0 == b.1.0 && b.1.2 - a.1.2 < gap) {
            let window = TimeWindow { start: run[0].1.2, end: run[run.len() - 1].1.2 + gap };
            run.iter().for_each(|(right, (key, number, _))| model.add(*key, window, *number, *right));
        }
        model.groups()
    }

    fn add(&mut self, key: u32, window: TimeWindow, number: u64, right: bool) {
        let (left_numbers, right_numbers) = self.0.entry((key, window)).or_default();
        if right { right_numbers.push(number) } else { left_numbers.push(number) }
    }

    fn groups(self) -> Vec<Group> {
        let groups = self.0.into_iter();
        sorted(groups.map(|((key, window), (left, right))| (key, window, sorted(left), sorted(right))).collect())
    }
}

/// All records, and whether they are of the right side.
fn sides(left: &[Row], right: &[Row]) -> impl Iterator<Item = (bool, Row)> {
    let left = left.to_vec().into_iter().map(|row| (false, row));
    left.chain(right.to_vec().into_iter().map(|row| (true, row)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn interval_joins(left in rows(), right in rows(), before in 0i64..40, after in 0i64..40) {
        let pairs = left.iter().flat_map(|l| right.iter().map(move |r| (l, r)));
        let near = |(l, r): &(&Row, &Row)| l.0 == r.0 && -before <= r.2 - l.2 && r.2 - l.2 < after;
        let expected = sorted(pairs.filter(near).map(|(l, r)| (l.1, r.1)).collect::<Vec<_>>());
        // Something is in the interval.
        prop_assume!(before + after > 0);
        for (env, what) in environments() {
            let (late_left, late_right) = (OutputTag::new("left"), OutputTag::new("right"));
            let joined = timed(&env, &left)
                .key_by(|r| r.0)
                .interval_join(&timed(&env, &right).key_by(|r| r.0))
                .between(TimeBound::before(ms(before)), TimeBound::after(ms(after)).exclusive())
                .late_left(&late_left)
                .late_right(&late_right)
                .join(|l, r| (l.1, r.1));
            prop_assert_eq!(sorted(joined.collect().unwrap()), &expected[..], "{}", what);
        }
    }

    #[test]
    fn window_joins(left in rows(), right in rows(), size in 1i64..60, slide in 1i64..60) {
        let tumbling = Model::aligned(&left, &right, size, size);
        let sliding = Model::aligned(&left, &right, size, slide);
        let sessions = Model::sessions(&left, &right, size);
        let pair = |(_, _, left, right): &Group| {
            left.iter().flat_map(|l| right.iter().map(|r| (*l, *r))).collect::<Vec<_>>()
        };
        let pairs = sorted(tumbling.iter().flat_map(pair).collect::<Vec<_>>());
        for (env, what) in environments() {
            let (left, right) = (timed(&env, &left).key_by(|r| r.0), timed(&env, &right).key_by(|r| r.0));
            let joined = left.window_join(&right, Tumbling::of(ms(size))).join(|l, r| (l.1, r.1));
            prop_assert_eq!(sorted(joined.collect().unwrap()), &pairs[..], "{}", what);
            let groups = left.window_join(&right, Tumbling::of(ms(size))).co_group(group);
            prop_assert_eq!(sorted(groups.collect().unwrap()), &tumbling[..], "tumbling, {}", what);
            let groups = left.window_join(&right, Sliding::of(ms(size), ms(slide))).co_group(group);
            prop_assert_eq!(sorted(groups.collect().unwrap()), &sliding[..], "sliding, {}", what);
            let groups = left.window_join(&right, Session::with_gap(ms(size))).co_group(group);
            prop_assert_eq!(sorted(groups.collect().unwrap()), &sessions[..], "sessions, {}", what);
        }
    }
}
