//! Fire alarms out of sensor readings.
//!
//! A room burns when two of its sensors read 60 degrees or more within 30 seconds: one alone may be broken. It is clear when
//! none has for a minute. Both are decided by timers, in the order of event time, so readings may come in any order.
//!
//!     cargo run --release --example fire_detection -- readings.csv
//!     cargo run --release --example fire_detection -- --small
//!
//! with columns `room`, `sensor`, `celsius` and `time` (milliseconds); CSV, JSON lines or Parquet.

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const HOT: f64 = 60.0;
const SENSORS: usize = 2;
/// Milliseconds.
const WITHIN: i64 = 30_000;
/// Milliseconds.
const CLEAR: i64 = 60_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reading {
    pub room: String,
    pub sensor: u32,
    pub celsius: f64,
    pub time: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Message {
    Fire { room: String, at: i64, sensors: Vec<u32> },
    Clear { room: String, at: i64, burnt: Duration },
}

/// What is known of a room.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Room {
    /// Hot readings, as long as they matter.
    hot: BTreeMap<i64, BTreeSet<u32>>,
    on_fire_since: Option<i64>,
}

impl Room {
    /// What is to be said at `now`, when everything up to then is known.
    fn look(&mut self, room: String, now: i64) -> Option<Message> {
        let recent = self.hot.range(now.saturating_sub(WITHIN)..=now);
        let sensors: BTreeSet<u32> = recent.flat_map(|(_, sensors)| sensors).copied().collect();
        let quiet = self.hot.range(now.saturating_sub(CLEAR) + 1..=now).next().is_none();
        self.hot = self.hot.split_off(&now.saturating_sub(CLEAR));
        match self.on_fire_since {
            None if sensors.len() >= SENSORS => {
                self.on_fire_since = Some(now);
                Some(Message::Fire { room, at: now, sensors: sensors.into_iter().collect() })
            }
            Some(since) if quiet => {
                self.on_fire_since = None;
                Some(Message::Clear { room, at: now, burnt: Duration::from_millis(now.abs_diff(since)) })
            }
            _ => None,
        }
    }
}

struct FireDetection {
    room: ValueState<Room>,
}

impl KeyedProcessFunction<String, Reading> for FireDetection {
    type Output = Message;

    fn process(&mut self, reading: Reading, context: &mut KeyedContext<'_, String, Message>) -> Result<()> {
        if reading.celsius >= HOT {
            self.room.update(|room| room.hot.entry(reading.time).or_default().insert(reading.sensor));
            context.set_event_timer(reading.time);
            context.set_event_timer(reading.time.saturating_add(CLEAR));
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, String, Message>) -> Result<()> {
        let Some(mut room) = self.room.take() else { return Ok(()) };
        if let Some(message) = room.look(context.key(), timer.time) {
            context.emit(message);
        }
        // Rooms that are cool cost nothing.
        if room.on_fire_since.is_some() || room.hot.range(timer.time.saturating_sub(CLEAR) + 1..).next().is_some() {
            self.room.set(room);
        }
        Ok(())
    }
}

pub fn messages(readings: &DataStream<Reading>) -> DataStream<Message> {
    let times = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(10)).with_timestamps(|r: &Reading| r.time);
    readings
        .assign_timestamps_and_watermarks(times)
        .key_by_ref(|reading| reading.room.as_str())
        .process(|state| Ok(FireDetection { room: state.value("room")? }))
}

fn main() -> Result<()> {
    let env = Env::default();
    let files: Vec<String> = std::env::args().skip(1).filter(|a| a != "--small").collect();
    let readings = if files.is_empty() { env.generate(SMALL, small) } else { env.read_records(&files)? };
    messages(&readings).print();
    env.execute("fire_detection").map(drop)
}

/// Ten minutes of 12 sensors.
pub const SMALL: u64 = 12 * 120;

/// Every sensor reads every five seconds. The kitchen burns for the fourth and fifth minute, and a sensor of the cellar is
/// broken.
pub fn small(n: u64) -> Reading {
    let (sensor, time) = ((n % 12) as u32, (n / 12 * 5_000 + n % 12 * 300) as i64);
    let (room, burns) = match sensor / 4 {
        0 => ("kitchen", (180_000..300_000).contains(&time) && sensor != 3),
        1 => ("cellar", sensor == 5),
        _ => ("attic", false),
    };
    let celsius = if burns { 300.0 } else { 18.0 + (n * 7 % 50) as f64 / 10.0 };
    Reading { room: room.into(), sensor, celsius, time }
}
