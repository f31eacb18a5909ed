//! The interval join by hand, against a naive model, and restored.

use super::TimeBound;
use crate::process::OutputTag;
use crate::testing::{Emitted, OperatorDriver, Step, check_restore, instance, key_group};
use crate::{DataStream, Env, IntervalContext};
use proptest::prelude::*;
use std::time::Duration;

/// A key and a number.
type Row = (u32, u64);
type Pair = (u64, u64);

fn bound(offset: i64) -> TimeBound {
    let duration = Duration::from_millis(offset.unsigned_abs());
    if offset < 0 { TimeBound::before(duration) } else { TimeBound::after(duration) }
}

/// Pairs of numbers; late left records on port 1, late right ones on port 2.
fn pairs(lower: TimeBound, upper: TimeBound) -> DataStream<Pair> {
    let env = Env::default();
    let left = env.from_collection(Vec::<Row>::new()).key_by(|r| r.0);
    let right = env.from_collection(Vec::<Row>::new()).key_by(|r| r.0);
    let (late_left, late_right) = (OutputTag::new("late left"), OutputTag::new("late right"));
    let join = left.interval_join(&right).between(lower, upper).late_left(&late_left).late_right(&late_right);
    let joined = join.join(|l, r| (l.1, r.1));
    joined.side_output(&late_left);
    joined.side_output(&late_right);
    joined
}

fn drive(lower: TimeBound, upper: TimeBound) -> OperatorDriver {
    OperatorDriver::of(&pairs(lower, upper), 0, 1).unwrap()
}

fn pair(left: u64, right: u64, time: i64) -> Emitted<Pair> {
    Emitted::Record { port: 0, record: (left, right), time }
}

/// Brings a record whose number is its time, of one key.
fn at(driver: &mut OperatorDriver, input: usize, times: &[i64]) {
    driver.push(input, times.iter().map(|t| ((7u32, *t as u64), *t)).collect()).unwrap();
}

#[test]
fn pairs_come_with_the_later_record_and_have_the_later_time() {
    let mut driver = drive(bound(-2), bound(3));
    at(&mut driver, 0, &[10, 20]);
    at(&mut driver, 1, &[8, 13, 14, 7]);
    assert_eq!(driver.drain(), [pair(10, 8, 10), pair(10, 13, 13)]);
    driver.watermark(9).unwrap();
    // Partners in the order of time, then of arrival.
    at(&mut driver, 0, &[11, 15]);
    assert_eq!(driver.drain(), [Emitted::Watermark(9), pair(11, 13, 13), pair(11, 14, 14), pair(15, 13, 15), pair(15, 14, 15)]);
    driver.push(1, vec![((8u32, 15u64), 15), ((7, 15), 15)]).unwrap();
    assert_eq!(driver.drain(), [pair(15, 15, 15)]);
    driver.end(2).unwrap();
    assert_eq!(driver.drain::<Pair>(), [Emitted::Watermark(i64::MAX)]);
}

#[test]
fn each_end_is_open_or_closed() {
    let met = |lower: TimeBound, upper: TimeBound, right_first: bool| {
        let mut driver = drive(lower, upper);
        if right_first {
            at(&mut driver, 1, &[94, 95, 96, 104, 105, 106]);
            at(&mut driver, 0, &[100]);
        } else {
            at(&mut driver, 0, &[100]);
            at(&mut driver, 1, &[94, 95, 96, 104, 105, 106]);
        }
        let right = |emitted| if let Emitted::Record { record: (_, right), .. } = emitted { right } else { 0 };
        driver.drain::<Pair>().into_iter().map(right).collect::<Vec<_>>()
    };
    for right_first in [false, true] {
        assert_eq!(met(bound(-5), bound(5), right_first), [95, 96, 104, 105]);
        assert_eq!(met(bound(-5).exclusive(), bound(5), right_first), [96, 104, 105]);
        assert_eq!(met(bound(-5), bound(5).exclusive(), right_first), [95, 96, 104]);
        assert_eq!(met(bound(-5).exclusive(), bound(5).exclusive(), right_first), [96, 104]);
        assert_eq!(met(bound(4), bound(6), right_first), [104, 105, 106]);
        assert_eq!(met(bound(-6), bound(-5), right_first), [94, 95]);
    }
}

#[test]
fn records_at_the_watermark_or_behind_are_late_and_not_joined() {
    let mut driver = drive(bound(-10), bound(10));
    at(&mut driver, 1, &[30]);
    driver.watermark(25).unwrap();
    at(&mut driver, 0, &[24, 25, 26]);
    at(&mut driver, 1, &[20, 25, 27]);
    assert_eq!(driver.side::<Row>(1), [((7, 24), 24), ((7, 25), 25)]);
    assert_eq!(driver.side::<Row>(2), [((7, 20), 20), ((7, 25), 25)]);
    assert_eq!(driver.drain(), [Emitted::Watermark(25), pair(26, 30, 30), pair(26, 27, 27)]);
}

#[test]
fn state_goes_as_time_passes() {
    // A left record waits 5 for partners, a right one 3.
    let mut driver = drive(bound(-3), bound(5));
    let held = |driver: &mut OperatorDriver| driver.snapshot().unwrap().iter().map(|s| s.bytes.len()).sum::<usize>();
    assert_eq!(held(&mut driver), 0);
    driver.push(0, (0..50u32).map(|key| ((key, 1u64), 100)).collect()).unwrap();
    driver.watermark(104).unwrap();
    let all = held(&mut driver);
    driver.watermark(105).unwrap();
    assert!(all > 0 && held(&mut driver) == 0);
    // A key's deadline is put off for what came after it was set.
    at(&mut driver, 0, &[110]);
    at(&mut driver, 1, &[112, 120]);
    at(&mut driver, 0, &[117]);
    driver.watermark(115).unwrap();
    assert!(held(&mut driver) > 0);
    driver.watermark(122).unwrap();
    assert!(held(&mut driver) > 0);
    driver.watermark(123).unwrap();
    assert_eq!(held(&mut driver), 0);
    // Partners of this one lie behind the watermark all: it does not stay.
    let mut past = drive(bound(-10), bound(-5));
    past.watermark(100).unwrap();
    at(&mut past, 0, &[104]);
    assert_eq!(held(&mut past), 0);
}

#[test]
fn what_is_gone_goes_when_its_key_is_next_seen() {
    let mut driver = drive(bound(0), bound(1000));
    // The deadline is 1000 after the first.
    at(&mut driver, 0, &[1]);
    at(&mut driver, 1, &(2..200).collect::<Vec<_>>());
    driver.watermark(500).unwrap();
    let before = driver.snapshot().unwrap()[0].bytes.len();
    at(&mut driver, 1, &[501]);
    let after = driver.snapshot().unwrap()[0].bytes.len();
    assert!(after * 10 < before, "{before} bytes, then {after}");
}

#[test]
fn functions_see_times_and_emit_what_they_like() {
    let env = Env::default();
    let rows = || env.from_collection(Vec::<Row>::new()).key_by(|r| r.0);
    let even = OutputTag::<u64>::new("even");
    let tag = even.clone();
    let joined = rows().interval_join(&rows()).between(bound(-5), bound(5)).process(
        move |left, right, context: &mut IntervalContext<'_, u32, (u32, i64, i64, i64)>| {
            if right.1 % 2 == 0 {
                context.side(&tag, left.1);
            } else {
                context.emit((context.key(), context.left_time(), context.right_time(), context.watermark()));
            }
            Ok(())
        },
    );
    joined.side_output(&even);
    let mut driver = OperatorDriver::of(&joined, 0, 1).unwrap();
    driver.watermark(1).unwrap();
    at(&mut driver, 0, &[10]);
    at(&mut driver, 1, &[7, 8]);
    assert_eq!(driver.side::<u64>(1), [(10, 10)]);
    let emitted = Emitted::Record { port: 0, record: (7u32, 10i64, 7i64, 1i64), time: 10 };
    assert_eq!(driver.drain(), [Emitted::Watermark(1), emitted]);
}

#[test]
fn what_cannot_be_is_an_error_that_says_so() {
    let empty = pairs(bound(5).exclusive(), bound(6).exclusive());
    let error = OperatorDriver::of(&empty, 0, 1).err().unwrap().to_string();
    assert!(error.contains("+5 ms (exclusive)") && error.contains("+6 ms"), "{error}");
    let error = drive(bound(0), bound(1)).push_plain(0, vec![(1u32, 2u64)]).unwrap_err().to_string();
    assert!(error.contains("assign_timestamps_and_watermarks"), "{error}");
}

#[test]
fn state_is_restored_into_other_numbers_of_instances() {
    for (lower, upper) in [(-10, 10), (3, 30), (-25, -4)] {
        let stream = pairs(bound(lower), bound(upper));
        let mut script = Vec::new();
        for step in 0..6i64 {
            for input in 0..2 {
                let row = |i: i64| (((i % 7) as u32, (step * 100 + i) as u64), step * 8 + i * 5 % 17 + i64::from(input == 1) * 3);
                script.push(Step::keyed(input, (0..25).map(row).collect(), |r: &Row| key_group(&r.0)));
            }
            script.push(Step::Watermark(step * 8 + 2));
        }
        check_restore::<Pair>(|context| instance(&stream, context), &script).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Event {
    Records { input: usize, records: Vec<(u32, i64)> },
    Watermark(i64),
}

/// Records with times relative to a watermark that only grows.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let records = prop::collection::vec((0u32..4, -6i64..40), 1..8);
    let come = (0usize..2, records).prop_map(|(input, records)| Event::Records { input, records });
    let advance = (0i64..25).prop_map(Event::Watermark);
    prop::collection::vec(prop_oneof![4 => come, 1 => advance], 0..80).prop_map(|mut events| {
        let mut watermark = -100;
        for event in &mut events {
            match event {
                Event::Records { records, .. } => records.iter_mut().for_each(|r| r.1 += watermark),
                Event::Watermark(step) => {
                    watermark += *step;
                    *step = watermark;
                }
            }
        }
        events
    })
}

/// Number, key and time of a record.
type Known = (u64, u32, i64);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_pair_comes_once(
        lower in -30i64..30,
        length in 0i64..40,
        (open_lower, open_upper) in (any::<bool>(), any::<bool>()),
        congested in any::<bool>(),
        events in events(),
    ) {
        let open = |bound: TimeBound, open: bool| if open { bound.exclusive() } else { bound };
        let upper = lower + length + 2;
        let mut driver = drive(open(bound(lower), open_lower), open(bound(upper), open_upper));
        driver.congest(congested);
        let meets = |left: &Known, right: &Known| {
            let apart = right.2 - left.2;
            let below = if open_lower { lower < apart } else { lower <= apart };
            let above = if open_upper { apart < upper } else { apart <= upper };
            left.1 == right.1 && below && above
        };
        let mut known: [Vec<Known>; 2] = Default::default();
        let mut late: [Vec<(Row, i64)>; 2] = Default::default();
        let mut watermark = i64::MIN;
        let mut number = 0;
        for event in events {
            let mut expected = Vec::new();
            match event {
                Event::Watermark(to) => {
                    watermark = to;
                    driver.watermark(to).unwrap();
                }
                Event::Records { input, records } => {
                    let mut rows = Vec::new();
                    for (key, time) in records {
                        number += 1;
                        rows.push(((key, number), time));
                        if time <= watermark {
                            late[input].push(((key, number), time));
                            continue;
                        }
                        let new = (number, key, time);
                        for other in &known[1 - input] {
                            let (left, right) = if input == 0 { (&new, other) } else { (other, &new) };
                            if meets(left, right) {
                                expected.push(((left.0, right.0), time.max(other.2)));
                            }
                        }
                        known[input].push(new);
                    }
                    driver.push(input, rows).unwrap();
                }
            }
            let mut got = driver.side::<Pair>(0);
            got.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(driver.side::<Row>(1), std::mem::take(&mut late[0]));
            prop_assert_eq!(driver.side::<Row>(2), std::mem::take(&mut late[1]));
        }
        driver.watermark(i64::MAX).unwrap();
        prop_assert!(driver.snapshot().unwrap().is_empty());
    }
}
