//! Windows in jobs with barriers: one that reaches one source much later than another changes no result.

use super::ms;
use crate::testing::{FAST, SLOW, check_late_barriers};
use crate::window::{CoGroupContext, Session, Sliding, TimeTrigger, TimeWindow, Tumbling, WindowContext};
use crate::{Data, DataStream, KeyFn, KeyedStream, Result, WatermarkStrategy};
use std::fmt::Debug;

const KEYS: u64 = 7;
/// Size of windows, in milliseconds.
const SIZE: u64 = 500;
/// Event time passes a number a millisecond, with a pause of the same length after so many.
const PAUSE: u64 = 1_000;

type Keyed = KeyedStream<u64, KeyFn<fn(&u64) -> u64, u64>>;

fn keyed(stream: &DataStream<u64>, key: fn(&u64) -> u64) -> Keyed {
    let time = |n: &u64| (n + n / PAUSE * PAUSE) as i64;
    stream.assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(time)).key_by(key)
}

/// A job on both streams together, that gives so many windows a key.
fn check<U: Data + Debug>(windows: u64, build: impl Fn(&Keyed) -> DataStream<U>) {
    let key: fn(&u64) -> u64 = |n| n % KEYS;
    // Each with watermarks of its own: event time waits for the slower one.
    check_late_barriers(windows * KEYS, |slow, fast| build(&keyed(slow, key).stream.union(&keyed(fast, key).stream).key_by(key)));
}

#[test]
fn tumbling() {
    check(FAST / SIZE, |keyed| keyed.window(Tumbling::of(ms(SIZE))).reduce(|a, b| a + b));
}

#[test]
fn sliding() {
    // A burst of so many milliseconds is seen by every window that begins in it, or less than its size before.
    let slide = SIZE / 2;
    check(FAST / PAUSE * ((PAUSE + SIZE) / slide - 1), |keyed| {
        keyed.window(Sliding::of(ms(SIZE), ms(slide))).reduce(|a, b| a + b)
    });
}

#[test]
fn sessions() {
    check(FAST / PAUSE, |keyed| keyed.window(Session::with_gap(ms(PAUSE / 2))).reduce(|a, b| a + b));
}

#[test]
fn windows_of_all_their_records() {
    check(FAST / SIZE, |keyed| {
        let windows = keyed.window(Tumbling::of(ms(SIZE))).trigger(TimeTrigger::event_time());
        windows.process_with(|_| {
            Ok(|numbers: &[u64], context: &mut WindowContext<'_, u64, TimeWindow, Vec<u64>>| {
                let mut numbers = numbers.to_vec();
                numbers.sort();
                context.emit(numbers);
                Ok(())
            })
        })
    });
}

#[test]
fn window_joins() {
    let key: fn(&u64) -> u64 = |n| *n;
    check_late_barriers(SLOW, |slow, fast| {
        keyed(slow, key).window_join(&keyed(fast, key), Tumbling::of(ms(SIZE))).join(|slow, fast| (*slow, *fast))
    });
}

type Group = (u64, i64, Vec<u64>, Vec<u64>);

fn group(slow: &[u64], fast: &[u64], context: &mut CoGroupContext<'_, u64, TimeWindow, Group>) -> Result<()> {
    let sorted = |numbers: &[u64]| {
        let mut numbers = numbers.to_vec();
        numbers.sort();
        numbers
    };
    context.emit((context.key(), context.window().start, sorted(slow), sorted(fast)));
    Ok(())
}

#[test]
fn groups_of_two_streams() {
    let key: fn(&u64) -> u64 = |n| n % KEYS;
    check_late_barriers(FAST / SIZE * KEYS, |slow, fast| {
        keyed(slow, key).window_join(&keyed(fast, key), Tumbling::of(ms(SIZE))).co_group(group)
    });
}
