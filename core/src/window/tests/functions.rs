//! What functions over windows see, emit and keep.

use super::*;
use crate::window::{
    CountTrigger, ProcessWindowFunction, Session, TimeTrigger, Tumbling, WindowContext, WindowStates, WindowValueState,
};
use crate::{Result, ValueState};

/// Says what it sees: numbers, key, window, times; how often the window and the key have fired.
struct Seen {
    of_window: WindowValueState<TimeWindow, u32>,
    of_key: ValueState<u32>,
}

impl Seen {
    fn make(states: &mut WindowStates<TimeWindow>) -> Result<Self> {
        Ok(Self { of_window: states.of_window("times")?, of_key: states.of_key().value("times of key")? })
    }
}

impl ProcessWindowFunction<u8, Record, TimeWindow> for Seen {
    type Output = String;

    fn process(&mut self, records: &[Record], context: &mut WindowContext<'_, u8, TimeWindow, String>) -> Result<()> {
        let numbers: Vec<u64> = records.iter().map(|r| r.1).collect();
        let window = self.of_window.get().unwrap_or(0) + 1;
        self.of_window.set(window);
        let key = self.of_key.get().unwrap_or(0) + 1;
        self.of_key.set(key);
        let (start, now) = (context.window().start, context.processing_time());
        context.emit(format!("{} from {start}: {numbers:?} for {window} and {key} at {now}", context.key()));
        Ok(())
    }

    fn clear(&mut self, context: &mut WindowContext<'_, u8, TimeWindow, String>) -> Result<()> {
        let line = format!("{} from {} is over after {:?}", context.key(), context.window().start, self.of_window.get());
        context.side(&OutputTag::new("over"), line);
        Ok(())
    }
}

#[test]
fn functions_see_all_records_and_have_state_of_windows_and_keys() {
    let over = OutputTag::<String>::new("over");
    let mut rig: Rig<String> = Rig::new(|keyed| {
        let windows = keyed.window(Tumbling::of(ms(10))).allowed_lateness(ms(5));
        let seen = windows.process(Seen::make);
        seen.side_output(&over);
        seen
    });
    rig.clock(7);
    rig.push(&[(1, 1, 5), (2, 2, 5), (1, 3, 5), (1, 4, 15)]);
    let over = |rig: &mut Rig<String>| rig.driver.side::<String>(1).into_iter().map(|o| o.0).collect::<Vec<_>>();
    rig.driver.watermark(9).unwrap();
    assert!(over(&mut rig).is_empty());
    assert_eq!(rig.given(), ["1 from 0: [1, 3] for 1 and 1 at 7 @9", "2 from 0: [2] for 1 and 1 at 7 @9", "-- 9"]);
    assert_eq!(rig.gives(&[(1, 5, 0)]), ["1 from 0: [1, 3, 5] for 2 and 2 at 7 @9"]);
    rig.driver.watermark(14).unwrap();
    assert_eq!(over(&mut rig), ["1 from 0 is over after Some(2)", "2 from 0 is over after Some(1)"]);
    rig.driver.watermark(19).unwrap();
    assert!(over(&mut rig).is_empty());
    assert_eq!(rig.given(), ["-- 14", "1 from 10: [4] for 1 and 3 at 7 @19", "-- 19"]);
}

#[test]
fn a_function_may_follow_an_aggregation_or_a_reduction() {
    let mut rig: Rig<String> = Rig::new(|keyed| keyed.window(Tumbling::of(ms(10))).aggregate_then(Numbers, |_| Ok(Told)));
    rig.push(&[(1, 1, 0), (1, 2, 5)]);
    assert_eq!(rig.end(), ["1: [[1, 2]] @9", "-- max"]);
    let mut rig: Rig<String> =
        Rig::new(|keyed| keyed.window(Session::with_gap(ms(10))).reduce_then(|a, b| (a.0, a.1 + b.1), |_| Ok(Told)));
    rig.push(&[(1, 1, 0), (1, 2, 15), (1, 3, 9)]);
    assert_eq!(rig.end(), ["1: [(1, 6)] @24", "-- max"]);
}

/// Says what it is given.
struct Told;

impl<V: Debug + 'static> ProcessWindowFunction<u8, V, TimeWindow> for Told {
    type Output = String;
    fn process(&mut self, values: &[V], context: &mut WindowContext<'_, u8, TimeWindow, String>) -> Result<()> {
        context.emit(format!("{}: {values:?}", context.key()));
        Ok(())
    }
}

#[test]
fn closures_are_functions_too() {
    let mut rig: Rig<String> = Rig::new(|keyed| {
        keyed.window(Tumbling::of(ms(10))).trigger(CountTrigger::of(2)).process_with(|states| {
            let seen = states.of_key().value::<usize>("seen")?;
            Ok(move |records: &[Record], context: &mut WindowContext<'_, u8, TimeWindow, String>| {
                let before = seen.get().unwrap_or(0);
                seen.set(records.len());
                context.emit(format!("{before} {}", records.len()));
                Ok(())
            })
        })
    });
    let records: Vec<_> = (0..4).map(|n| (1, n, 0)).collect();
    assert_eq!(rig.gives(&records), ["0 2 @9", "2 4 @9"]);
}

#[test]
fn windows_that_merge_have_no_state_of_their_own() {
    let clock = Clock::manual(0);
    let stream = keyed(&clock).window(Session::with_gap(ms(10))).process(Seen::make);
    let error = OperatorDriver::of(&stream, 0, 1).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("merge"), "{error}");
}

#[test]
fn errors_of_functions_fail_the_job() {
    let mut rig: Rig<String> = Rig::new(|keyed| {
        let windows = keyed.window(Tumbling::of(ms(10))).trigger(TimeTrigger::event_time());
        windows.process_with(|_| {
            Ok(|_: &[Record], _: &mut WindowContext<'_, u8, TimeWindow, String>| Err(crate::Error::User("no".into())))
        })
    });
    rig.push(&[(1, 1, 0)]);
    assert_eq!(rig.driver.watermark(9).unwrap_err().to_string(), "no");
}
