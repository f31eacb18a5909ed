//! Each kind of trigger.

use super::*;
use crate::window::{
    ContinuousTrigger, CountTrigger, DeltaTrigger, EndOfStreamTrigger, Global, NeverTrigger, PurgingTrigger, Session,
    TimeTrigger, Trigger, TriggerContext, TriggerResult, Tumbling, Window,
};

type Numbered = Windowed<u8, TimeWindow, Vec<u64>>;

/// Tumbling windows of 100 ms.
fn tumbling<G: Trigger<Record, TimeWindow>>(trigger: G) -> Rig<Numbered> {
    Rig::new(move |keyed| keyed.window(Tumbling::of(ms(100))).trigger(trigger.clone()).aggregate(Numbers))
}

#[test]
fn a_count_fires_early_and_leaves_the_rest_unseen() {
    let mut rig = tumbling(CountTrigger::of(2));
    assert_eq!(rig.gives(&[(1, 1, 5), (2, 2, 6), (1, 3, 7), (1, 4, 8)]), ["1 [0,100) [1, 3] @99"]);
    assert_eq!(rig.gives(&[(1, 5, 99)]), ["1 [0,100) [1, 3, 4, 5] @99"]);
    rig.push(&[(1, 6, 100)]);
    assert_eq!(rig.end(), ["-- max"]);
}

#[test]
fn a_purging_trigger_forgets_what_was_given() {
    let mut rig = tumbling(PurgingTrigger::of(CountTrigger::of(2)));
    let records: Vec<_> = (1..=5).map(|n| (1, n, 0)).collect();
    assert_eq!(rig.gives(&records), ["1 [0,100) [1, 2] @99", "1 [0,100) [3, 4] @99"]);
    assert_eq!(rig.end(), ["-- max"]);
    let mut rig = tumbling(PurgingTrigger::of(TimeTrigger::event_time()));
    rig.push(&[(1, 1, 0)]);
    assert_eq!(rig.end(), ["1 [0,100) [1] @99", "-- max"]);
}

#[test]
fn continuous_event_time_fires_at_multiples_and_at_the_end() {
    let mut rig = tumbling(ContinuousTrigger::event_time(ms(30)));
    rig.push(&[(1, 1, 5)]);
    assert_eq!(rig.watermark(29), ["-- 29"]);
    assert_eq!(rig.watermark(31), ["1 [0,100) [1] @99", "-- 31"]);
    rig.push(&[(1, 2, 40)]);
    // At 60 and 90.
    assert_eq!(rig.watermark(95), ["1 [0,100) [1, 2] @99", "1 [0,100) [1, 2] @99", "-- 95"]);
    assert_eq!(rig.watermark(99), ["1 [0,100) [1, 2] @99", "-- 99"]);
    rig.push(&[(1, 3, 205)]);
    // The next multiple, and then only the end: nothing comes in between.
    assert_eq!(rig.end(), ["1 [200,300) [3] @299", "1 [200,300) [3] @299", "-- max"]);
}

#[test]
fn continuous_event_time_in_the_global_window_ends_with_the_stream() {
    let mut rig = Rig::new(|keyed| keyed.window(Global).trigger(ContinuousTrigger::event_time(ms(10))).aggregate(Numbers));
    rig.push(&[(1, 1, 5)]);
    assert_eq!(rig.watermark(25), ["1 [1] @max", "1 [1] @max", "-- 25"]);
    rig.push(&[(1, 2, 26)]);
    assert_eq!(rig.end(), ["1 [1, 2] @max", "1 [1, 2] @max", "-- max"]);
}

#[test]
fn continuous_processing_time() {
    let mut rig: Rig<Numbered> = Rig::new(|keyed| {
        let windows = keyed.window(Tumbling::of(ms(100)).processing_time());
        windows.trigger(ContinuousTrigger::processing_time(ms(40))).aggregate(Numbers)
    });
    rig.clock(10);
    rig.push(&[(1, 1, 0)]);
    assert!(rig.clock(40).is_empty());
    assert_eq!(rig.clock(41), ["1 [0,100) [1] @99"]);
    rig.push(&[(1, 2, 0)]);
    assert_eq!(rig.clock(81), ["1 [0,100) [1, 2] @99"]);
    assert_eq!(rig.clock(100), ["1 [0,100) [1, 2] @99"]);
    rig.push(&[(1, 3, 0)]);
    assert_eq!(rig.end(), ["-- max", "1 [100,200) [3] @199", "1 [100,200) [3] @199"]);
}

#[test]
fn continuous_processing_time_over_event_time_windows() {
    let mut rig = tumbling(ContinuousTrigger::processing_time(ms(40)));
    rig.push(&[(1, 1, 5)]);
    assert_eq!(rig.clock(41), ["1 [0,100) [1] @99"]);
    assert_eq!(rig.clock(500), vec!["1 [0,100) [1] @99"; 11]);
    assert_eq!(rig.watermark(99), ["-- 99"]);
    assert!(rig.clock(5000).is_empty());
    assert_eq!(rig.end(), ["-- max"]);
}

#[test]
fn a_delta_fires_with_what_is_far_from_the_last() {
    let far = |last: &Record, record: &Record| record.1.abs_diff(last.1) as f64;
    let mut rig = tumbling(DeltaTrigger::of(10.0, far));
    assert!(rig.gives(&[(1, 50, 0), (1, 60, 1), (2, 0, 0)]).is_empty());
    assert_eq!(
        rig.gives(&[(1, 61, 2), (1, 55, 3), (1, 50, 4)]),
        ["1 [0,100) [50, 60, 61] @99", "1 [0,100) [50, 60, 61, 55, 50] @99"]
    );
}

#[test]
fn never_and_the_end_of_the_stream() {
    let mut rig = tumbling(NeverTrigger);
    rig.push(&[(1, 1, 0)]);
    assert_eq!(rig.end(), ["-- max"]);
    // A window that has an end is gone before the stream's.
    let mut rig = tumbling(EndOfStreamTrigger);
    rig.push(&[(1, 1, 0)]);
    assert_eq!(rig.watermark(99), ["-- 99"]);
    assert_eq!(rig.end(), ["-- max"]);
}

#[test]
fn the_clock_may_fire_event_time_windows() {
    let mut rig = tumbling(TimeTrigger::processing_time());
    rig.push(&[(1, 1, 0)]);
    assert_eq!(rig.clock(100), ["1 [0,100) [1] @99"]);
    rig.push(&[(1, 2, 50)]);
    assert_eq!(rig.clock(101), ["1 [0,100) [1, 2] @99"]);
    assert_eq!(rig.end(), ["-- max"]);
}

/// Fires when the records of a window add up to a hundred, and every 20 ms after the first; tells how often it was merged.
#[derive(Clone)]
struct Sums;

impl<W: Window> Trigger<Record, W> for Sums {
    type State = (u64, Option<i64>);

    fn on_record(
        &self,
        record: &Record,
        time: i64,
        state: &mut Self::State,
        context: &mut TriggerContext<'_, W>,
    ) -> TriggerResult {
        state.0 += record.1;
        if state.1.is_none() {
            state.1 = Some(time + 20);
            context.set_event_timer(time + 20);
        }
        if state.0 >= 100 {
            state.0 -= 100;
            return TriggerResult::Fire;
        }
        TriggerResult::Continue
    }

    fn on_event_time(&self, time: i64, state: &mut Self::State, context: &mut TriggerContext<'_, W>) -> TriggerResult {
        if state.1 != Some(time) {
            return TriggerResult::Continue;
        }
        assert!(context.watermark() >= time);
        state.1 = Some(time + 20);
        context.set_event_timer(time + 20);
        TriggerResult::FireAndPurge
    }

    fn merge_state(&self, state: &mut Self::State, other: Self::State) {
        state.0 += other.0;
        state.1 = state.1.into_iter().chain(other.1).min();
    }

    fn on_merge(&self, state: &mut Self::State, context: &mut TriggerContext<'_, W>) {
        if let Some(at) = state.1 {
            context.set_event_timer(at);
        }
    }

    fn clear(&self, state: &Self::State, context: &mut TriggerContext<'_, W>) {
        if let Some(at) = state.1 {
            context.delete_event_timer(at);
        }
    }
}

#[test]
fn a_trigger_of_the_programs_own_with_state_and_timers() {
    let mut rig = tumbling(Sums);
    assert_eq!(rig.gives(&[(1, 60, 0), (2, 99, 0), (1, 50, 3)]), ["1 [0,100) [60, 50] @99"]);
    assert_eq!(rig.watermark(20), ["1 [0,100) [60, 50] @99", "2 [0,100) [99] @99", "-- 20"]);
    // Nothing is left to be given.
    assert_eq!(rig.watermark(45), ["-- 45"]);
    assert_eq!(rig.gives(&[(1, 90, 50)]), ["1 [0,100) [90] @99"]);
    assert_eq!(rig.watermark(99), ["1 [0,100) [90] @99", "-- 99"]);
}

#[test]
fn state_and_timers_of_triggers_merge_with_their_windows() {
    let mut rig: Rig<Numbered> = Rig::new(|keyed| keyed.window(Session::with_gap(ms(50))).trigger(Sums).aggregate(Numbers));
    rig.push(&[(1, 40, 0), (1, 40, 90)]);
    // The two become one with 80, and the first one's timer at 20.
    assert!(rig.gives(&[(1, 10, 45)]).is_empty());
    assert_eq!(rig.gives(&[(1, 10, 46)]), ["1 [0,140) [40, 40, 10, 10] @139"]);
    assert_eq!(rig.watermark(19), ["-- 19"]);
    assert_eq!(rig.watermark(20), ["1 [0,140) [40, 40, 10, 10] @139", "-- 20"]);
    // The second one's timer at 110 is gone: there is one every 20 from 20 on.
    rig.push(&[(1, 1, 70)]);
    assert_eq!(rig.watermark(59), ["1 [0,140) [1] @139", "-- 59"]);
    rig.push(&[(1, 2, 70)]);
    assert_eq!(rig.watermark(60), ["1 [0,140) [2] @139", "-- 60"]);
    assert_eq!(rig.end(), ["-- max"]);
}

#[test]
fn counts_merge_with_sessions() {
    let mut rig: Rig<Numbered> =
        Rig::new(|keyed| keyed.window(Session::with_gap(ms(10))).trigger(CountTrigger::of(4)).aggregate(Numbers));
    assert!(rig.gives(&[(1, 1, 0), (1, 2, 15), (1, 3, 16)]).is_empty());
    assert_eq!(rig.gives(&[(1, 4, 8)]), ["1 [0,26) [1, 2, 3, 4] @25"]);
    assert_eq!(rig.end(), ["-- max"]);
}
