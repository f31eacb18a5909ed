//! The job under torture: windows, timers, an interval join, async I/O, all over one source of events.
//!
//! Its results are a set that depends on the events alone. None is late, since disorder stays within the bound that the
//! source declares; sums do not depend on their order; running totals are taken in the order of event time; the answer to a
//! request is a function of the request, whatever time it takes. So all runs must give the same rows.

use crate::random::mix;
use fluvial::TimeBound;
use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Milliseconds of event time that an event may come late.
const DISORDER: u64 = 200;
const KEYS: u64 = 40;
/// Milliseconds of event time of which the timers below give a sum.
const SPAN: i64 = 250;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Event {
    key: u64,
    number: u64,
    /// Milliseconds.
    time: i64,
}

/// One a millisecond, more or less.
pub fn event(number: u64) -> Event {
    let chance = mix(number);
    Event { key: chance % KEYS, number, time: (number + DISORDER - (chance >> 32) % DISORDER) as i64 }
}

/// What a result is about, and its amount: counted twice it would be larger.
pub type Row = (String, u64);

/// Number of records of a span of time, and of all before it.
struct Totals {
    spans: MapState<i64, u64>,
    total: ValueState<u64>,
}

impl KeyedProcessFunction<u64, Event> for Totals {
    type Output = Row;

    fn process(&mut self, event: Event, context: &mut KeyedContext<'_, u64, Row>) -> Result<()> {
        let span = event.time.div_euclid(SPAN);
        self.spans.insert(span, self.spans.get(&span).unwrap_or(0) + 1);
        context.set_event_timer((span + 1) * SPAN);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, u64, Row>) -> Result<()> {
        let span = timer.time / SPAN - 1;
        let count = self.spans.remove(&span).unwrap_or(0);
        let total = self.total.get().unwrap_or(0) + count;
        self.total.set(total);
        context.emit((format!("total/{}/{span}", context.key()), total));
        Ok(())
    }
}

fn window(name: &'static str) -> impl Fn(Windowed<u64, TimeWindow, u64>) -> Row + Clone + Send + Sync + 'static {
    move |w| (format!("{name}/{}/{}/{}", w.key, w.window.start, w.window.end), w.value)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Asks a service that takes some time.
async fn ask((id, amount): Row) -> Row {
    let answer = mix(amount);
    tokio::time::sleep(Duration::from_micros(answer % 3_000)).await;
    (format!("asked/{id}"), amount)
}

/// All results of these events.
pub fn rows(events: &DataStream<Event>) -> DataStream<Row> {
    let times = WatermarkStrategy::bounded_out_of_orderness(ms(DISORDER)).with_timestamps(|e: &Event| e.time);
    let events = events.assign_timestamps_and_watermarks(times);
    let every = |n: u64, rest: u64| events.filter(move |e| e.number % n == rest);

    let count = |count: &mut u64, _: Event| *count += 1;
    let tumbling = events.key_by(|e| e.key).window(Tumbling::of(ms(1_000))).fold(0, count);
    let sliding = events.key_by(|e| e.key).window(Sliding::of(ms(2_000), ms(500))).fold(0, count);
    let sessions = every(5, 0).key_by(|e| e.key).window(Session::with_gap(ms(150))).fold(0, count);
    let totals =
        events.key_by(|e| e.key).process(|state| Ok(Totals { spans: state.map("spans")?, total: state.value("total")? }));
    let pairs = every(3, 1)
        .key_by(|e| e.key)
        .interval_join(&every(3, 2).key_by(|e| e.key))
        .between(TimeBound::before(ms(20)), TimeBound::after(ms(20)))
        .join(|left, right| (format!("pair/{}/{}", left.number, right.number), 1));
    let tumbling = tumbling.map(window("tumbling"));
    let single = every(7, 0).map(|e| (format!("single/{}", e.number), e.key));
    let asked = tumbling.union(&single).rebalance().async_map_infallible(ask).capacity(200).stream();
    tumbling
        .union(&sliding.map(window("sliding")))
        .union(&sessions.map(window("session")))
        .union(&totals)
        .union(&pairs)
        .union(&asked)
}

/// Adds the job to its environment: `records` events, as fast as it goes or so many a second.
pub fn add(env: &Env, records: u64, rate: Option<f64>, out: &Path) -> Result<()> {
    let events = env.generator(event).count(records);
    let events = if let Some(rate) = rate { events.rate(rate) } else { events };
    let lines = rows(&events.stream()).map(|(id, amount)| format!("{id} {amount}"));
    lines.write_files(out).text().roll_at_bytes(16 << 10).transactional().add()
}
