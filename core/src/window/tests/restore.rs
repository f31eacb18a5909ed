//! State of windows in snapshots: restored into other numbers of instances, and exact output goes on.

use super::*;
use crate::testing::{Step, check_restore, instance, key_group};
use crate::window::{
    ContinuousTrigger, CountEvictor, CountTrigger, ProcessWindowFunction, Session, Sliding, TimeTrigger, Tumbling, WindowContext,
    WindowStates, WindowValueState,
};
use crate::{Result, ValueState};

/// Records, out of order, of eight keys; watermarks and clocks in between.
fn script() -> Vec<Step> {
    let mut script = Vec::new();
    for step in 0..8i64 {
        let records = (0..24u64).map(|n| {
            let key = (n * 7 + step as u64) % 8;
            let time = step * 20 + (n as i64 * 13) % 37 - 5;
            ((key as u8, step as u64 * 100 + n), time)
        });
        script.push(Step::keyed(0, records.collect(), |record: &Record| key_group(&record.0)));
        script.push(if step % 3 == 2 { Step::Timer(step * 20) } else { Step::Watermark(step * 20 - 7) });
    }
    script
}

fn check<U: Data + Debug>(build: impl Fn(&Keyed) -> DataStream<U>) {
    let stream = build(&keyed(&Clock::manual(0)));
    check_restore::<U>(|context| instance(&stream, context), &script()).unwrap();
}

#[test]
fn windows_and_their_timers() {
    check(|keyed| keyed.window(Tumbling::of(ms(30))).trigger(TimeTrigger::event_time()).aggregate(Numbers));
    check(|keyed| {
        keyed.window(Sliding::of(ms(30), ms(10))).allowed_lateness(ms(9)).evictor(CountEvictor::of(3)).aggregate(Numbers)
    });
}

#[test]
fn triggers() {
    check(|keyed| keyed.window(Tumbling::of(ms(50))).trigger(CountTrigger::of(3)).aggregate(Numbers));
    check(|keyed| keyed.window(Tumbling::of(ms(50))).trigger(ContinuousTrigger::event_time(ms(12))).aggregate(Numbers));
    check(|keyed| keyed.count_window(5).aggregate(Numbers));
}

#[test]
fn sessions() {
    check(|keyed| keyed.window(Session::with_gap(ms(9))).aggregate(Numbers));
    check(|keyed| keyed.window(Session::by(|r: &Record| ms(r.1 % 30))).aggregate(Numbers));
    check(|keyed| keyed.window(Session::with_gap(ms(9))).allowed_lateness(ms(11)).aggregate(Numbers));
}

#[test]
fn processing_time() {
    check(|keyed| keyed.window(Tumbling::of(ms(10)).processing_time()).aggregate(Numbers));
    check(|keyed| keyed.window(Session::with_gap(ms(10)).processing_time()).aggregate(Numbers));
}

/// Counts the firings of its window and its key.
struct Firings {
    window: WindowValueState<TimeWindow, u32>,
    key: ValueState<u32>,
}

impl ProcessWindowFunction<u8, Record, TimeWindow> for Firings {
    type Output = (u8, usize, u32, u32);
    fn process(&mut self, records: &[Record], context: &mut WindowContext<'_, u8, TimeWindow, Self::Output>) -> Result<()> {
        let (window, key) = (self.window.get().unwrap_or(0) + 1, self.key.get().unwrap_or(0) + 1);
        self.window.set(window);
        self.key.set(key);
        context.emit((context.key(), records.len(), window, key));
        Ok(())
    }
}

#[test]
fn state_of_functions() {
    check(|keyed| {
        let windows = keyed.window(Tumbling::of(ms(40))).trigger(CountTrigger::of(2));
        windows.process(|states: &mut WindowStates<TimeWindow>| {
            Ok(Firings { window: states.of_window("window")?, key: states.of_key().value("key")? })
        })
    });
}
