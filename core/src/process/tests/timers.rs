use super::{drive, main, stream};
use crate::testing::{Emitted, OperatorDriver, split_restore};
use crate::{DataStream, KeyedContext, KeyedProcessFunction, Result, TimeDomain, Timer};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Do {
    Set(i64),
    Delete(i64),
    SetProcessing(i64),
    DeleteProcessing(i64),
}
use Do::{Delete, DeleteProcessing, Set, SetProcessing};

/// Sets timers as told, and says which fire: key, time, whether of event time. A timer at a multiple of 100 below 300 sets the
/// next one.
pub(super) struct Timers;

impl KeyedProcessFunction<u32, (u32, Do)> for Timers {
    type Output = (u32, i64, bool);

    fn process(&mut self, (_, what): (u32, Do), context: &mut KeyedContext<'_, u32, Self::Output>) -> Result<()> {
        match what {
            Set(time) => context.set_event_timer(time),
            Delete(time) => context.delete_event_timer(time),
            SetProcessing(time) => context.set_processing_timer(time),
            DeleteProcessing(time) => context.delete_processing_timer(time),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, u32, Self::Output>) -> Result<()> {
        let event = timer.domain == TimeDomain::EventTime;
        assert_eq!(context.time(), event.then_some(timer.time));
        context.emit((context.key(), timer.time, event));
        if timer.time % 100 == 0 && timer.time < 300 {
            match timer.domain {
                TimeDomain::EventTime => context.set_event_timer(timer.time + 100),
                TimeDomain::ProcessingTime => context.set_processing_timer(timer.time + 100),
            }
        }
        Ok(())
    }
}

pub(super) fn timers() -> DataStream<(u32, i64, bool)> {
    stream::<(u32, Do)>().key_by(|r| r.0).process(|_| Ok(Timers))
}

fn tell(driver: &mut OperatorDriver, what: &[(u32, Do)]) {
    driver.push(0, what.iter().map(|w| (*w, 1)).collect()).unwrap();
}

fn event(key: u32, time: i64) -> Emitted<(u32, i64, bool)> {
    main((key, time, true), time)
}

fn processing(key: u32, time: i64) -> Emitted<(u32, i64, bool)> {
    main((key, time, false), i64::MIN)
}

#[test]
fn timers_fire_in_order_before_the_watermark_is_announced() {
    let mut driver = drive(&timers());
    tell(&mut driver, &[(1, Set(30)), (2, Set(20)), (1, Set(10)), (1, Set(31)), (1, Set(10))]);
    driver.watermark(9).unwrap();
    assert_eq!(driver.drain(), [Emitted::<(u32, i64, bool)>::Watermark(9)]);
    driver.watermark(30).unwrap();
    assert_eq!(driver.drain(), [event(1, 10), event(2, 20), event(1, 30), Emitted::Watermark(30)]);
    driver.end(1).unwrap();
    assert_eq!(driver.drain(), [event(1, 31), Emitted::Watermark(i64::MAX)]);
}

#[test]
fn timers_at_the_same_time_all_fire() {
    let mut driver = drive(&timers());
    let keys: Vec<_> = (0..500).map(|key| (key, Set(5))).collect();
    tell(&mut driver, &keys);
    driver.congest(true);
    driver.watermark(5).unwrap();
    let mut fired = driver.drain::<(u32, i64, bool)>();
    assert_eq!(fired.pop(), Some(Emitted::Watermark(5)));
    fired.sort_by_key(|e| if let Emitted::Record { record, .. } = e { record.0 } else { u32::MAX });
    assert_eq!(fired, (0..500).map(|key| event(key, 5)).collect::<Vec<_>>());
}

#[test]
fn deleted_timers_do_not_fire() {
    let mut driver = drive(&timers());
    tell(&mut driver, &[(1, Set(10)), (2, Set(10)), (1, Set(11)), (1, Delete(10)), (1, Delete(12)), (2, Delete(11))]);
    driver.watermark(50).unwrap();
    assert_eq!(driver.drain(), [event(2, 10), event(1, 11), Emitted::Watermark(50)]);
}

#[test]
fn a_timer_that_a_timer_sets_fires_with_the_same_watermark_if_it_is_due() {
    let mut driver = drive(&timers());
    tell(&mut driver, &[(1, Set(100)), (2, Set(150))]);
    driver.watermark(250).unwrap();
    assert_eq!(driver.drain(), [event(1, 100), event(2, 150), event(1, 200), Emitted::Watermark(250)]);
    driver.watermark(300).unwrap();
    assert_eq!(driver.drain(), [event(1, 300), Emitted::Watermark(300)]);
}

#[test]
fn a_timer_below_the_watermark_fires_at_its_next_advance() {
    let mut driver = drive(&timers());
    driver.watermark(50).unwrap();
    tell(&mut driver, &[(1, Set(20))]);
    assert_eq!(driver.drain(), [Emitted::<(u32, i64, bool)>::Watermark(50)]);
    driver.watermark(51).unwrap();
    assert_eq!(driver.drain(), [event(1, 20), Emitted::Watermark(51)]);
}

#[test]
fn processing_timers_fire_when_the_clock_reaches_them() {
    let mut driver = drive(&timers());
    tell(&mut driver, &[(1, SetProcessing(1030)), (1, SetProcessing(1020)), (2, SetProcessing(1010))]);
    assert_eq!(driver.next_timer(), Some(1010));
    tell(&mut driver, &[(2, DeleteProcessing(1010))]);
    driver.timer(1010).unwrap();
    assert_eq!(driver.drain::<(u32, i64, bool)>(), []);
    assert_eq!(driver.next_timer(), Some(1020));
    driver.timer(1029).unwrap();
    assert_eq!(driver.drain(), [processing(1, 1020)]);
    driver.timer(1030).unwrap();
    assert_eq!(driver.drain(), [processing(1, 1030)]);
    assert_eq!(driver.next_timer(), None);
}

#[test]
fn processing_time_ends_with_the_input() {
    let mut driver = drive(&timers());
    tell(&mut driver, &[(1, SetProcessing(500)), (2, SetProcessing(200)), (1, SetProcessing(100))]);
    driver.timer(150).unwrap();
    assert_eq!(driver.drain(), [processing(1, 100)]);
    // What is set still fires, in its order; the timer at 300, which the ones at 200 would set, does not.
    driver.end(1).unwrap();
    let mut ended = driver.drain::<(u32, i64, bool)>();
    assert_eq!(ended.remove(0), Emitted::Watermark(i64::MAX));
    ended[..2].sort_by_key(|e| if let Emitted::Record { record, .. } = e { record.0 } else { u32::MAX });
    assert_eq!(ended, [processing(1, 200), processing(2, 200), processing(1, 500)]);
}

#[test]
fn restored_processing_timers_are_asked_for_at_once() {
    let mut driver = drive(&timers());
    tell(&mut driver, &[(1, SetProcessing(1020)), (2, SetProcessing(1010)), (3, Set(7))]);
    let sections = driver.snapshot().unwrap();
    let mut restored = drive(&timers());
    restored.restore(split_restore(sections, 1).pop().unwrap()).unwrap();
    assert_eq!(restored.next_timer(), Some(1010));
    restored.timer(1020).unwrap();
    restored.watermark(8).unwrap();
    assert_eq!(restored.drain(), [processing(2, 1010), processing(1, 1020), event(3, 7), Emitted::Watermark(8)]);
}
