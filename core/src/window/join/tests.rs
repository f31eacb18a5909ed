//! Window joins by hand, against a naive model, and restored.

use super::{CoGroupContext, JoinSide};
use crate::process::OutputTag;
use crate::stream::{KeyFn, KeyedStream};
use crate::testing::{Emitted, OperatorDriver, Step, check_restore, instance, key_group};
use crate::window::{CountTrigger, Session, Sliding, TimeTrigger, TimeWindow, Tumbling, WindowAssigner};
use crate::{Clock, Config, DataStream, Env};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// A key and a number.
type Row = (u32, u64);
type Keyed = KeyedStream<Row, KeyFn<fn(&Row) -> u32, u32>>;
type Pair = (u64, u64);
/// A window of a key and the numbers of both sides.
type Group = (u32, TimeWindow, Vec<u64>, Vec<u64>);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn keyed(env: &Env) -> Keyed {
    let key: fn(&Row) -> u32 = |row| row.0;
    KeyedStream { stream: env.from_collection(Vec::<Row>::new()), selector: KeyFn::new(key) }
}

/// The groups of these windows, `general`: by the operator for windows of any kind. Late left records on port 1, late right
/// ones on port 2.
fn groups<A>(assigner: A, lateness: u64, general: bool) -> DataStream<Group>
where
    A: WindowAssigner<JoinSide<Row, Row>, Window = TimeWindow, Trigger = TimeTrigger>,
{
    let env = Env::default();
    let (left, right) = (OutputTag::new("late left"), OutputTag::new("late right"));
    let join = keyed(&env).window_join(&keyed(&env), assigner).allowed_lateness(ms(lateness)).late_left(&left).late_right(&right);
    let join = if general { join.trigger(TimeTrigger::event_time()) } else { join };
    let groups = join.co_group(|left, right, context: &mut CoGroupContext<'_, u32, TimeWindow, Group>| {
        let numbers = |rows: &[Row]| rows.iter().map(|r| r.1).collect();
        context.emit((context.key(), *context.window(), numbers(left), numbers(right)));
        Ok(())
    });
    groups.side_output(&left);
    groups.side_output(&right);
    groups
}

fn drive<U: crate::Data>(stream: &DataStream<U>) -> OperatorDriver {
    OperatorDriver::of(stream, 0, 1).unwrap()
}

/// Brings a record whose number is its time, of one key.
fn at(driver: &mut OperatorDriver, input: usize, times: &[i64]) {
    driver.push(input, times.iter().map(|t| ((7u32, *t as u64), *t)).collect()).unwrap();
}

fn group(start: i64, end: i64, left: &[u64], right: &[u64]) -> Emitted<Group> {
    let record = (7, TimeWindow { start, end }, left.to_vec(), right.to_vec());
    Emitted::Record { port: 0, record, time: end - 1 }
}

#[test]
fn pairs_of_a_tumbling_window_come_at_its_end_with_its_last_instant() {
    let env = Env::default();
    let joined = keyed(&env).window_join(&keyed(&env), Tumbling::of(ms(10))).join(|l, r| (l.1, r.1));
    let mut driver = drive(&joined);
    at(&mut driver, 0, &[3, 12]);
    at(&mut driver, 1, &[9, 1, 15]);
    driver.push(1, vec![((8u32, 3u64), 3)]).unwrap();
    driver.watermark(8).unwrap();
    driver.watermark(9).unwrap();
    at(&mut driver, 0, &[11]);
    driver.end(2).unwrap();
    let pair = |left, right, time| Emitted::Record { port: 0, record: (left, right), time };
    let first = [Emitted::Watermark(8), pair(3u64, 9u64, 9), pair(3, 1, 9), Emitted::Watermark(9)];
    let second = [pair(12, 15, 19), pair(11, 15, 19), Emitted::Watermark(i64::MAX)];
    assert_eq!(driver.drain::<Pair>(), [first.as_slice(), &second].concat());
}

#[test]
fn a_record_belongs_to_all_its_sliding_windows() {
    let mut driver = drive(&groups(Sliding::of(ms(10), ms(5)), 0, false));
    at(&mut driver, 0, &[7]);
    at(&mut driver, 1, &[3, 12]);
    driver.watermark(20).unwrap();
    let expected = [group(-5, 5, &[], &[3]), group(0, 10, &[7], &[3]), group(5, 15, &[7], &[12]), group(10, 20, &[], &[12])];
    assert_eq!(driver.drain(), [expected.as_slice(), &[Emitted::Watermark(20)]].concat());
}

#[test]
fn sessions_merge_over_both_sides() {
    let mut driver = drive(&groups(Session::with_gap(ms(10)), 0, false));
    at(&mut driver, 0, &[1, 30]);
    at(&mut driver, 1, &[18]);
    driver.watermark(9).unwrap();
    assert_eq!(driver.drain::<Group>(), [Emitted::Watermark(9)]);
    // Bridges the first and the second; the left record at 30 stays apart.
    at(&mut driver, 1, &[10]);
    driver.watermark(27).unwrap();
    assert_eq!(driver.drain(), [group(1, 28, &[1], &[18, 10]), Emitted::Watermark(27)]);
    driver.end(2).unwrap();
    assert_eq!(driver.drain(), [group(30, 40, &[30], &[]), Emitted::Watermark(i64::MAX)]);
}

#[test]
fn late_records_fire_again_while_allowed_and_then_go_to_the_output_of_their_side() {
    let check = |mut driver: OperatorDriver| {
        at(&mut driver, 0, &[3]);
        driver.watermark(9).unwrap();
        at(&mut driver, 1, &[4]);
        assert_eq!(driver.drain(), [group(0, 10, &[3], &[]), Emitted::Watermark(9), group(0, 10, &[3], &[4])]);
        driver.watermark(14).unwrap();
        at(&mut driver, 1, &[5, 12]);
        at(&mut driver, 0, &[6]);
        assert_eq!(driver.side::<Row>(1), [((7, 6), 6)]);
        assert_eq!(driver.side::<Row>(2), [((7, 5), 5)]);
        driver.end(2).unwrap();
        assert_eq!(driver.drain(), [Emitted::Watermark(14), group(10, 20, &[], &[12]), Emitted::Watermark(i64::MAX)]);
        assert!(driver.snapshot().unwrap().is_empty(), "state is left");
    };
    for general in [false, true] {
        check(drive(&groups(Tumbling::of(ms(10)), 5, general)));
    }
}

#[test]
fn a_trigger_of_its_own_sees_both_sides() {
    let env = Env::default();
    let join = keyed(&env).window_join(&keyed(&env), Tumbling::of(ms(10))).trigger(CountTrigger::of(2));
    let mut driver = drive(&join.join(|l, r| (l.1, r.1)));
    at(&mut driver, 0, &[1]);
    at(&mut driver, 1, &[2]);
    assert_eq!(driver.side::<Pair>(0), [((1, 2), 9)]);
}

#[test]
fn windows_of_processing_time_go_by_the_clock_and_end_with_both_inputs() {
    let clock = Clock::manual(3);
    let env = Env::new(Config { clock: clock.clone(), ..Config::default() });
    let joined = keyed(&env).window_join(&keyed(&env), Tumbling::of(ms(10)).processing_time()).join(|l, r| (l.1, r.1));
    let mut driver = drive(&joined);
    driver.push_plain(0, vec![(7u32, 1u64)]).unwrap();
    driver.end_input(0).unwrap();
    driver.push_plain(1, vec![(7u32, 2u64)]).unwrap();
    clock.advance_to(10);
    driver.timer(10).unwrap();
    assert_eq!(driver.side::<Pair>(0), [((1, 2), 9)]);
}

#[test]
fn errors_of_functions_fail_the_operator() {
    let env = Env::default();
    for assigner in [Sliding::of(ms(10), ms(10)), Sliding::of(ms(10), ms(5))] {
        let failing = keyed(&env).window_join(&keyed(&env), assigner).process(
            |_, right, _: &mut CoGroupContext<'_, u32, TimeWindow, u64>| Err(crate::Error::User(format!("no {}", right.1))),
        );
        let mut driver = drive(&failing);
        at(&mut driver, 0, &[1]);
        at(&mut driver, 1, &[2]);
        assert_eq!(driver.watermark(100).unwrap_err().to_string(), "no 2");
    }
}

#[test]
fn state_is_restored_into_other_numbers_of_instances() {
    let mut script = Vec::new();
    for step in 0..6i64 {
        for input in 0..2 {
            let row = |i: i64| (((i % 7) as u32, (step * 100 + i) as u64), step * 8 + i * 5 % 17 + i64::from(input == 1) * 3);
            script.push(Step::keyed(input, (0..20).map(row).collect(), |r: &Row| key_group(&r.0)));
        }
        script.push(Step::Watermark(step * 8 + 2));
    }
    let check = |stream: DataStream<Group>| check_restore::<Group>(|context| instance(&stream, context), &script).unwrap();
    check(groups(Tumbling::of(ms(10)), 0, false));
    check(groups(Tumbling::of(ms(10)), 15, false));
    check(groups(Sliding::of(ms(10), ms(4)), 5, false));
    check(groups(Session::with_gap(ms(2)), 3, false));
}

/// What is in each window of a key.
#[derive(Default)]
struct Model {
    open: BTreeMap<(TimeWindow, u32), (Vec<u64>, Vec<u64>)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn groups_equal_a_naive_model(
        size in 1u64..30,
        slide in 1u64..30,
        lateness in 0u64..20,
        general in any::<bool>(),
        events in prop::collection::vec((0usize..3, 0u32..4, -20i64..40), 0..120),
    ) {
        // Every record has a window.
        let slide = slide.min(size);
        let mut driver = drive(&groups(Sliding::of(ms(size), ms(slide)), lateness, general));
        let (size, slide, lateness) = (size as i64, slide as i64, lateness as i64);
        let mut model = Model::default();
        let mut late: [Vec<(Row, i64)>; 2] = Default::default();
        let mut watermark = -100i64;
        driver.watermark(watermark).unwrap();
        for (number, (what, key, offset)) in events.into_iter().enumerate() {
            let number = number as u64;
            let mut expected: Vec<(Group, i64)> = Vec::new();
            if what == 2 {
                let to = watermark + offset.max(0);
                for ((window, key), (left, right)) in &model.open {
                    if window.end - 1 > watermark && window.end - 1 <= to {
                        expected.push(((*key, *window, left.clone(), right.clone()), window.end - 1));
                    }
                }
                watermark = to;
                driver.watermark(to).unwrap();
            } else {
                let time = watermark + offset;
                driver.push(what, vec![((key, number), time)]).unwrap();
                let starts: Vec<i64> = (time - size + 1..=time).filter(|start| start.rem_euclid(slide) == 0).collect();
                let mut taken = starts.is_empty();
                for start in starts {
                    let window = TimeWindow { start, end: start + size };
                    if window.end - 1 + lateness <= watermark {
                        continue;
                    }
                    taken = true;
                    let (left, right) = model.open.entry((window, key)).or_default();
                    if what == 0 { left.push(number) } else { right.push(number) }
                    if window.end - 1 <= watermark {
                        expected.push(((key, window, left.clone(), right.clone()), window.end - 1));
                    }
                }
                if !taken {
                    late[what].push(((key, number), time));
                }
            }
            let mut got = driver.side::<Group>(0);
            got.sort();
            expected.sort();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(driver.side::<Row>(1), std::mem::take(&mut late[0]));
            prop_assert_eq!(driver.side::<Row>(2), std::mem::take(&mut late[1]));
        }
    }
}
