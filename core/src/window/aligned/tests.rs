//! Aligned windows against a naive model, by hand and restored.

use super::Windows;
use crate::graph::{Body, OperatorFactory};
use crate::process::{OutputTag, Outputs};
use crate::state::KeyRef;
use crate::testing::{Emitted, OperatorDriver, Step, check_restore, key_group};
use crate::window::{TimeWindow, Windowed};
use crate::{Aggregator, DataStream, Env};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The numbers of a window: what was added to it, how often, is seen at once.
#[derive(Clone)]
struct Numbers;

impl Aggregator<(u32, u64)> for Numbers {
    type Accumulator = Vec<u64>;
    type Output = Vec<u64>;
    fn create(&self) -> Vec<u64> {
        Vec::new()
    }
    fn add(&self, numbers: &mut Vec<u64>, record: (u32, u64)) {
        numbers.push(record.1);
    }
    fn merge(&self, numbers: &mut Vec<u64>, other: Vec<u64>) {
        numbers.extend(other);
    }
    fn finish(&self, mut numbers: Vec<u64>) -> Vec<u64> {
        numbers.sort_unstable();
        numbers
    }
}

type Result_ = Windowed<u32, TimeWindow, Vec<u64>>;

fn late() -> OutputTag<(u32, u64)> {
    OutputTag::new("late")
}

fn emit(key: KeyRef<'_>, window: TimeWindow, value: Vec<u64>, outputs: &mut Outputs<Result_>) {
    outputs.push(Windowed { key: key.decode(), window, value }, window.max_timestamp());
}

/// The stream of windows over records of (key, number).
fn stream(windows: Windows) -> DataStream<Result_> {
    let env = Env::default();
    let keyed = env.from_collection([(0u32, 0u64)]).key_by(|r| r.0);
    let selector = keyed.selector.clone();
    let make: OperatorFactory =
        Arc::new(move |context| Ok(super::operator(windows, (selector.clone(), Numbers), emit, Some(late()), true, context)));
    let node = keyed.stream.after("windows", String::new(), Body::Operator(make));
    let stream = DataStream::new(&env, env.add(node));
    stream.side_output(&late());
    stream
}

/// What the operator must give.
struct Model {
    windows: Windows,
    watermark: i64,
    /// Records of each window and key.
    open: BTreeMap<(TimeWindow, u32), Vec<u64>>,
}

impl Model {
    fn windows_of(&self, time: i64) -> Vec<TimeWindow> {
        let Windows { size, slide, offset, .. } = self.windows;
        let last = time - (time - offset).rem_euclid(slide);
        let starts = (0..).map(|k| last - k * slide).take_while(|start| time < start + size);
        starts.map(|start| TimeWindow { start, end: start + size }).collect()
    }

    fn push(&mut self, (key, number): (u32, u64), time: i64, results: &mut Vec<(Result_, i64)>, late: &mut Vec<(u32, u64)>) {
        let windows = self.windows_of(time);
        let in_time = windows.iter().filter(|w| w.end - 1 + self.windows.lateness > self.watermark);
        if !windows.is_empty() && in_time.clone().count() == 0 {
            late.push((key, number));
        }
        for window in in_time.copied().collect::<Vec<_>>() {
            let numbers = self.open.entry((window, key)).or_default();
            numbers.push(number);
            numbers.sort_unstable();
            if window.end - 1 <= self.watermark {
                results.push((Windowed { key, window, value: numbers.clone() }, window.end - 1));
            }
        }
    }

    fn advance(&mut self, watermark: i64, results: &mut Vec<(Result_, i64)>) {
        for ((window, key), numbers) in &self.open {
            if window.end - 1 > self.watermark && window.end - 1 <= watermark {
                results.push((Windowed { key: *key, window: *window, value: numbers.clone() }, window.end - 1));
            }
        }
        self.watermark = watermark;
    }
}

fn records(driver: &mut OperatorDriver) -> Vec<(Result_, i64)> {
    let records = driver.drain::<Result_>().into_iter().filter_map(|emitted| match emitted {
        Emitted::Record { record, time, .. } => Some((record, time)),
        Emitted::Watermark(_) => None,
    });
    let mut records: Vec<_> = records.collect();
    records.sort();
    records
}

#[derive(Clone, Debug)]
enum Event {
    Record { key: u32, time: i64 },
    Watermark(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let record = (0u32..6, -40i64..60).prop_map(|(key, jitter)| Event::Record { key, time: jitter });
    let advance = (0i64..30).prop_map(Event::Watermark);
    // Times are relative to the watermark, which only grows.
    proptest::collection::vec(prop_oneof![4 => record, 1 => advance], 0..250).prop_map(|events| {
        let mut watermark = -100;
        let absolute = |event| match event {
            Event::Record { key, time } => Event::Record { key, time: watermark + time },
            Event::Watermark(step) => {
                watermark += step;
                Event::Watermark(watermark)
            }
        };
        events.into_iter().map(absolute).collect()
    })
}

fn shapes() -> impl Strategy<Value = Windows> {
    (1i64..40, 1i64..40, -30i64..30, prop_oneof![Just(0i64), 0i64..40]).prop_map(|(size, slide, offset, lateness)| Windows {
        size,
        slide,
        offset,
        lateness,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equal_a_naive_model(windows in shapes(), events in events()) {
        let stream = stream(windows);
        let mut driver = OperatorDriver::of(&stream, 0, 1).unwrap();
        let mut model = Model { windows, watermark: i64::MIN, open: BTreeMap::new() };
        let mut expected_late = Vec::new();
        for (number, event) in events.into_iter().enumerate() {
            let mut expected = Vec::new();
            match event {
                Event::Record { key, time } => {
                    let record = (key, number as u64);
                    driver.push(0, vec![(record, time)]).unwrap();
                    model.push(record, time, &mut expected, &mut expected_late);
                }
                Event::Watermark(watermark) => {
                    driver.watermark(watermark).unwrap();
                    model.advance(watermark, &mut expected);
                }
            }
            expected.sort();
            prop_assert_eq!(records(&mut driver), expected);
        }
        driver.end(1).unwrap();
        let mut expected = Vec::new();
        model.advance(i64::MAX, &mut expected);
        expected.sort();
        prop_assert_eq!(records(&mut driver), expected);
        let late: Vec<_> = driver.side::<(u32, u64)>(1).into_iter().map(|r| r.0).collect();
        prop_assert_eq!(late, expected_late);
    }
}

proptest! {
    #[test]
    fn slices_cut_windows(size in 1i64..50, slide in 1i64..50, offset in -60i64..60, time in -500i64..500) {
        let windows = Windows { size, slide, offset, lateness: 0 };
        let all: Vec<TimeWindow> = (-900..900).map(|k| offset + k * slide).map(|s| windows.window(s)).collect();
        let of = |t: i64| all.iter().filter(|w| w.start <= t && t < w.end).copied().collect::<Vec<_>>();
        let slice = windows.slice(time);
        prop_assert!(slice.start <= time && time < slice.end);
        for t in slice.start..slice.end {
            prop_assert_eq!(of(t), of(time));
        }
        if (-400..400).contains(&time) && let (Some(first), Some(last)) = (of(time).first(), of(time).last()) {
            prop_assert_eq!(windows.first_end(slice), first.end);
            prop_assert_eq!(windows.last_window(slice), *last);
        }
    }
}

#[test]
fn state_is_restored_into_other_numbers_of_instances() {
    let shapes = [(10, 10, 0, 0), (10, 10, 3, 15), (4, 7, 0, 0), (10, 3, 0, 0), (10, 4, 1, 12), (12, 1, 0, 0)];
    for (size, slide, offset, lateness) in shapes {
        let stream = stream(Windows { size, slide, offset, lateness });
        let mut script = Vec::new();
        for step in 0..8i64 {
            let batch = (0..40).map(|i| ((i % 9, u64::from(i)), step * 5 + i64::from(i * 7 % 12))).collect();
            script.push(Step::keyed(0, batch, |r: &(u32, u64)| key_group(&r.0)));
            script.push(Step::Watermark(step * 5 - 2));
        }
        check_restore::<Result_>(|context| crate::testing::instance(&stream, context), &script).unwrap();
    }
}

#[test]
fn a_window_at_the_end_of_time_fires_once() {
    for slide in [100, 30] {
        let stream = stream(Windows { size: 100, slide, offset: 0, lateness: 1000 });
        let mut driver = OperatorDriver::of(&stream, 0, 1).unwrap();
        driver.push(0, vec![((1u32, 7u64), i64::MAX - 20)]).unwrap();
        driver.watermark(i64::MAX - 300).unwrap();
        assert!(records(&mut driver).is_empty());
        driver.end(1).unwrap();
        let last: Vec<_> = records(&mut driver).into_iter().filter(|r| r.0.window.end >= i64::MAX - 10).collect();
        assert!(!last.is_empty());
        let mut once = last.clone();
        once.dedup();
        assert_eq!(once, last);
    }
}

#[test]
fn records_without_event_time_are_an_error_that_says_what_to_do() {
    let stream = stream(Windows { size: 10, slide: 10, offset: 0, lateness: 0 });
    let mut driver = OperatorDriver::of(&stream, 0, 1).unwrap();
    let error = driver.push_plain(0, vec![(1u32, 2u64)]).unwrap_err().to_string();
    assert!(error.contains("assign_timestamps_and_watermarks"), "{error}");
}
