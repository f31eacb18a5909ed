//! Taxi rides that take longer than two hours, told when the two hours are over, not when the ride is.
//!
//! Every ride starts, and most of them end; the two events may come in any order. A ride that has no end by the end of the
//! input counts as a long one. `--count` tells instead how many rides there are.
//!
//!     cargo run --release --example taxi_long_rides -- rides.csv
//!     cargo run --release --example taxi_long_rides -- --count rides.csv
//!     cargo run --release --example taxi_long_rides -- --small
//!
//! with lines of ride, `START` or `END`, and time (what follows is not looked at): `6,START,2013-01-01 00:00:00`.

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use chrono::{DateTime, NaiveDateTime};
use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds.
const LONG: i64 = 2 * 3_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ride {
    pub id: u64,
    /// Starts; otherwise it ends.
    pub starts: bool,
    pub time: i64,
}

impl Ride {
    pub fn parse(line: &str) -> std::result::Result<Self, String> {
        let mut fields = line.split(',');
        let mut next = |what| fields.next().ok_or_else(|| format!("`{line}`: no {what}"));
        let id = next("ride")?.parse().map_err(|e| format!("`{line}`: ride: {e}"))?;
        let starts = match next("kind")? {
            "START" => true,
            "END" => false,
            other => return Err(format!("`{line}`: `{other}`, expected START or END")),
        };
        let time = NaiveDateTime::parse_from_str(next("time")?, "%Y-%m-%d %H:%M:%S");
        Ok(Self { id, starts, time: time.map_err(|e| format!("`{line}`: time: {e}"))?.and_utc().timestamp_millis() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LongRide {
    pub id: u64,
    pub started: i64,
}

/// What is known of a ride whose other event is still to come.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Known {
    Started(i64),
    /// Its start comes later: a little later, by event time it cannot be far.
    Ended(i64),
    Reported,
}

struct LongRides {
    known: ValueState<Known>,
}

impl KeyedProcessFunction<u64, Ride> for LongRides {
    type Output = LongRide;

    fn process(&mut self, ride: Ride, context: &mut KeyedContext<'_, u64, LongRide>) -> Result<()> {
        let (started, ended) = match (self.known.take(), ride.starts) {
            (None, true) => {
                context.set_event_timer(ride.time.saturating_add(LONG));
                self.known.set(Known::Started(ride.time));
                return Ok(());
            }
            (None, false) => {
                context.set_event_timer(ride.time);
                self.known.set(Known::Ended(ride.time));
                return Ok(());
            }
            (Some(Known::Started(started)), false) => {
                context.delete_event_timer(started.saturating_add(LONG));
                (started, ride.time)
            }
            (Some(Known::Ended(ended)), true) => {
                context.delete_event_timer(ended);
                (ride.time, ended)
            }
            (Some(Known::Reported), false) => return Ok(()),
            // The same event once more.
            (Some(known), _) => {
                self.known.set(known);
                return Ok(());
            }
        };
        if ended.saturating_sub(started) > LONG {
            context.emit_at(LongRide { id: ride.id, started }, started.saturating_add(LONG));
        }
        Ok(())
    }

    fn on_timer(&mut self, _timer: Timer, context: &mut KeyedContext<'_, u64, LongRide>) -> Result<()> {
        // An end whose start did not come is forgotten.
        if let Some(Known::Started(started)) = self.known.take() {
            context.emit(LongRide { id: context.key(), started });
            self.known.set(Known::Reported);
        }
        Ok(())
    }
}

pub fn rides(lines: &DataStream<String>) -> DataStream<Ride> {
    let times = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(60)).with_timestamps(|r: &Ride| r.time);
    lines.try_map(|line| Ride::parse(&line)).assign_timestamps_and_watermarks(times)
}

pub fn long_rides(rides: &DataStream<Ride>) -> DataStream<LongRide> {
    rides.key_by(|ride| ride.id).process(|state| Ok(LongRides { known: state.value("known")? }))
}

/// How many rides start (`true`) and end in each 10 minutes.
pub fn per_ten_minutes(rides: &DataStream<Ride>) -> DataStream<Windowed<bool, TimeWindow, u64>> {
    rides.key_by(|ride| ride.starts).window(Tumbling::of(Duration::from_secs(600))).fold(0, |count, _| *count += 1)
}

/// Whether each ride has a start, and an end.
pub fn ends(rides: &DataStream<Ride>) -> DataStream<(bool, bool)> {
    let all = rides.key_by(|ride| ride.id).window(Global).trigger(EndOfStreamTrigger);
    let ends = all.fold((false, false), |ends, ride| if ride.starts { ends.0 = true } else { ends.1 = true });
    ends.map(|ride| ride.value)
}

fn main() -> Result<()> {
    let env = Env::default();
    let (options, files): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let lines = if files.is_empty() { env.from_collection(small()) } else { env.read_text(&files)? };
    let rides = rides(&lines);
    let clock = |time| DateTime::from_timestamp_millis(time).unwrap_or_default().format("%F %T");
    if !options.contains(&"--count".into()) {
        long_rides(&rides).map(move |ride| format!("ride {} since {}", ride.id, clock(ride.started))).print();
        return env.execute("taxi_long_rides").map(drop);
    }
    let mut windows = per_ten_minutes(&rides).collect()?;
    windows.sort_by_key(|w| (!w.key, w.window));
    for Windowed { key: starts, window, value } in windows {
        println!("{}  {value:>6} rides {}", clock(window.start), if starts { "start" } else { "end" });
    }
    let mut outcomes = BTreeMap::<_, u64>::new();
    ends(&rides).collect()?.into_iter().for_each(|ends| *outcomes.entry(ends).or_default() += 1);
    let rides = |ends| outcomes.get(&ends).unwrap_or(&0);
    println!("{} rides are complete, {} open", rides((true, true)), rides((true, false)));
    Ok(())
}

/// Rides that start every half a minute and last up to three hours; every tenth does not end.
pub fn small() -> Vec<String> {
    let mut events: Vec<(i64, String)> = Vec::new();
    for id in 0..500i64 {
        let start = 1_356_998_400_000 + id * 30_000;
        let end = (id % 10 != 0).then_some(start + 1_000 + id * 7_919 % 180 * 60_000);
        for (kind, time) in [("START", Some(start)), ("END", end)] {
            let Some(time) = time.and_then(DateTime::from_timestamp_millis) else { continue };
            // Some events come up to 59 seconds late.
            let arrives = time.timestamp_millis() + id * 31 % 60 * 1_000;
            events.push((arrives, format!("{id},{kind},{}", time.format("%F %T"))));
        }
    }
    events.sort();
    events.into_iter().map(|(_, line)| line).collect()
}
