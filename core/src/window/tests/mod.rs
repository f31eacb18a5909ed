//! Windows driven by hand: the exact results of records, watermarks and clocks, their times and their order.

mod assigners;
mod barriers;
mod evictors;
mod functions;
mod jobs;
mod lateness;
mod restore;
mod sessions;
mod triggers;

use super::{GlobalWindow, TimeWindow, Windowed};
use crate::process::OutputTag;
use crate::stream::{Data, KeyFn, KeyedStream};
use crate::testing::{Emitted, OperatorDriver};
use crate::{Aggregator, Clock, Config, DataStream, Env};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::time::Duration;

/// A key and a number.
type Record = (u8, u64);
type Keyed = KeyedStream<Record, KeyFn<fn(&Record) -> u8, u8>>;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A keyed stream whose job goes by this clock.
fn keyed(clock: &Clock) -> Keyed {
    let env = Env::new(Config { clock: clock.clone(), ..Config::default() });
    let key: fn(&Record) -> u8 = |record| record.0;
    KeyedStream { stream: env.from_collection([(0u8, 0u64)]), selector: KeyFn::new(key) }
}

fn late() -> OutputTag<Record> {
    OutputTag::new("late")
}

/// The numbers of a window, in the order in which they were added.
#[derive(Clone)]
struct Numbers;

impl Aggregator<Record> for Numbers {
    type Accumulator = Vec<u64>;
    type Output = Vec<u64>;
    fn create(&self) -> Vec<u64> {
        Vec::new()
    }
    fn add(&self, numbers: &mut Vec<u64>, record: Record) {
        numbers.push(record.1);
    }
    fn merge(&self, numbers: &mut Vec<u64>, other: Vec<u64>) {
        numbers.extend(other);
    }
    fn finish(&self, numbers: Vec<u64>) -> Vec<u64> {
        numbers
    }
}

/// A result as a line of text.
trait Show: Data {
    fn show(&self) -> String;
}

impl<V: Data + Debug> Show for Windowed<u8, TimeWindow, V> {
    fn show(&self) -> String {
        let Windowed { key, window: TimeWindow { start, end }, value } = self;
        format!("{key} [{start},{end}) {value:?}")
    }
}

impl<V: Data + Debug> Show for Windowed<u8, GlobalWindow, V> {
    fn show(&self) -> String {
        format!("{} {:?}", self.key, self.value)
    }
}

impl<V: Data + Debug> Show for Windowed<(), TimeWindow, V> {
    fn show(&self) -> String {
        format!("[{},{}) {:?}", self.window.start, self.window.end, self.value)
    }
}

impl Show for String {
    fn show(&self) -> String {
        self.clone()
    }
}

/// An operator under test: all that it gives as text.
struct Rig<U> {
    driver: OperatorDriver,
    clock: Clock,
    result: PhantomData<U>,
}

impl<U: Show> Rig<U> {
    /// The operator of what `build` makes of a keyed stream, at processing time 0.
    fn new(build: impl Fn(&Keyed) -> DataStream<U>) -> Self {
        let clock = Clock::manual(0);
        let stream = build(&keyed(&clock));
        let driver = OperatorDriver::of(&stream, 0, 1).unwrap();
        Self { driver, clock, result: PhantomData }
    }

    /// Brings records (key, number, event time) in one batch.
    fn push(&mut self, records: &[(u8, u64, i64)]) {
        self.driver.push(0, records.iter().map(|(key, number, time)| ((*key, *number), *time)).collect()).unwrap();
    }

    /// What came out since the last look: `value @ time`, and `-- watermark` where it was announced.
    fn given(&mut self) -> Vec<String> {
        let show = |emitted: Emitted<U>| match emitted {
            Emitted::Record { record, time: i64::MAX, .. } => format!("{} @max", record.show()),
            Emitted::Record { record, time, .. } => format!("{} @{time}", record.show()),
            Emitted::Watermark(i64::MAX) => "-- max".to_owned(),
            Emitted::Watermark(watermark) => format!("-- {watermark}"),
        };
        self.driver.drain::<U>().into_iter().map(show).collect()
    }

    /// What records give at once.
    fn gives(&mut self, records: &[(u8, u64, i64)]) -> Vec<String> {
        self.push(records);
        self.given()
    }

    /// What a watermark gives.
    fn watermark(&mut self, watermark: i64) -> Vec<String> {
        self.driver.watermark(watermark).unwrap();
        self.given()
    }

    /// What the clock's advance gives.
    fn clock(&mut self, now: i64) -> Vec<String> {
        self.clock.advance_to(now);
        self.driver.timer(now).unwrap();
        self.given()
    }

    /// What the end of the input gives, in the harness's order.
    fn end(&mut self) -> Vec<String> {
        self.driver.watermark(i64::MAX).unwrap();
        self.driver.end_input(0).unwrap();
        if let Some(next) = self.driver.next_timer() {
            self.driver.timer(next).unwrap();
        }
        self.driver.finish().unwrap();
        self.given()
    }

    /// Late records.
    fn late(&mut self) -> Vec<(Record, i64)> {
        self.driver.side(1)
    }
}
