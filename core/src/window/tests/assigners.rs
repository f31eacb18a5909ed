//! Each kind of windows, by the operator made for it and by the general one.

use super::*;
use crate::window::{Global, Sliding, TimeTrigger, Tumbling, WindowAssigner};
use crate::{CountTrigger, EndOfStreamTrigger, PurgingTrigger, TimeDomain};

type Numbered = Windowed<u8, TimeWindow, Vec<u64>>;

/// By the operator that the builder chooses, and by the general one.
fn both(assigner: impl WindowAssigner<Record, Window = TimeWindow>) -> [Rig<Numbered>; 2] {
    let own = Rig::new(|keyed| keyed.window(assigner.clone()).aggregate(Numbers));
    let trigger = match assigner.domain() {
        TimeDomain::EventTime => TimeTrigger::event_time(),
        TimeDomain::ProcessingTime => TimeTrigger::processing_time(),
    };
    [own, Rig::new(move |keyed| keyed.window(assigner.clone()).trigger(trigger).aggregate(Numbers))]
}

#[test]
fn tumbling_windows_fire_at_their_end() {
    for mut rig in both(Tumbling::of(ms(10))) {
        assert!(rig.gives(&[(1, 4, 9), (2, 3, 0), (2, 5, 9), (2, 6, 10), (1, 7, -1)]).is_empty());
        assert_eq!(rig.watermark(-2), ["-- -2"]);
        assert_eq!(rig.watermark(8), ["1 [-10,0) [7] @-1", "-- 8"]);
        assert_eq!(rig.watermark(9), ["1 [0,10) [4] @9", "2 [0,10) [3, 5] @9", "-- 9"]);
        assert_eq!(rig.watermark(18), ["-- 18"]);
        assert_eq!(rig.end(), ["2 [10,20) [6] @19", "-- max"]);
    }
}

#[test]
fn windows_that_are_due_at_once_fire_in_the_order_of_time_then_key() {
    // The operator of aligned windows gives the keys of a window as they came.
    let [_, mut rig] = both(Tumbling::of(ms(10)));
    let records: Vec<_> = (0..20).rev().flat_map(|key| [(key, 1, 25), (key, 2, 5)]).collect();
    rig.push(&records);
    let of = |n: u64, start: i64| move |key| format!("{key} [{start},{}) [{n}] @{}", start + 10, start + 9);
    let expected: Vec<String> = (0..20).map(of(2, 0)).chain((0..20).map(of(1, 20))).collect();
    assert_eq!(rig.end(), [expected, vec!["-- max".to_owned()]].concat());
}

#[test]
fn offsets_move_windows() {
    for mut rig in both(Tumbling::of(ms(10)).offset_back(ms(3))) {
        rig.push(&[(1, 1, 6), (1, 2, 7), (1, 3, -4)]);
        assert_eq!(rig.end(), ["1 [-13,-3) [3] @-4", "1 [-3,7) [1] @6", "1 [7,17) [2] @16", "-- max"]);
    }
}

#[test]
fn sliding_windows_overlap() {
    for mut rig in both(Sliding::of(ms(10), ms(5))) {
        rig.push(&[(1, 1, 3), (1, 2, 7), (1, 3, 12)]);
        assert_eq!(rig.watermark(4), ["1 [-5,5) [1] @4", "-- 4"]);
        assert_eq!(rig.watermark(14), ["1 [0,10) [1, 2] @9", "1 [5,15) [2, 3] @14", "-- 14"]);
        assert_eq!(rig.end(), ["1 [10,20) [3] @19", "-- max"]);
    }
}

#[test]
fn sliding_windows_may_leave_gaps() {
    for mut rig in both(Sliding::of(ms(5), ms(10))) {
        rig.push(&[(1, 1, 4), (1, 2, 5), (1, 3, 9), (1, 4, 10)]);
        assert_eq!(rig.end(), ["1 [0,5) [1] @4", "1 [10,15) [4] @14", "-- max"]);
    }
}

#[test]
fn processing_time_windows_take_the_records_of_their_last_instant() {
    for mut rig in both(Tumbling::of(ms(10)).processing_time()) {
        assert!(rig.gives(&[(1, 1, 777)]).is_empty());
        assert!(rig.clock(9).is_empty());
        assert!(rig.gives(&[(1, 2, i64::MIN)]).is_empty());
        assert_eq!(rig.clock(10), ["1 [0,10) [1, 2] @9"]);
        rig.push(&[(1, 3, 0), (2, 4, 0)]);
        rig.clock(31);
        rig.push(&[(2, 5, 0)]);
        rig.push(&[(1, 6, 0)]);
        assert_eq!(rig.end(), ["-- max", "1 [30,40) [6] @39", "2 [30,40) [5] @39"]);
    }
}

#[test]
fn sliding_windows_of_processing_time() {
    for mut rig in both(Sliding::of(ms(10), ms(5)).processing_time()) {
        rig.push(&[(1, 1, 0)]);
        assert_eq!(rig.clock(5), ["1 [-5,5) [1] @4"]);
        rig.push(&[(1, 2, 0)]);
        assert_eq!(rig.clock(20), ["1 [0,10) [1, 2] @9", "1 [5,15) [2] @14"]);
        assert_eq!(rig.end(), ["-- max"]);
    }
}

#[test]
fn a_window_that_ends_beyond_time_fires_once() {
    for (assigner, end) in [(Tumbling::of(ms(100)), i64::MAX), (Tumbling::of(Duration::MAX), i64::MAX)] {
        for general in [false, true] {
            let mut rig: Rig<Numbered> = Rig::new(|keyed| {
                let windows = keyed.window(assigner).allowed_lateness(ms(1000));
                if general { windows.trigger(TimeTrigger::event_time()).aggregate(Numbers) } else { windows.aggregate(Numbers) }
            });
            rig.push(&[(1, 7, i64::MAX - 1)]);
            assert_eq!(rig.watermark(i64::MAX - 2).len(), 1, "the watermark alone");
            let given = rig.end();
            assert_eq!(given.len(), 2, "{given:?}");
            assert!(given[0].contains(&format!(",{end}) [7] @{}", end - 1)), "{given:?}");
        }
    }
}

#[test]
fn the_global_window_never_fires_by_itself() {
    let mut rig = Rig::new(|keyed| keyed.window(Global).aggregate(Numbers));
    rig.push(&[(1, 1, 0)]);
    rig.clock(1 << 40);
    assert_eq!(rig.end(), ["-- max"]);
    let mut rig = Rig::new(|keyed| keyed.window(Global).trigger(EndOfStreamTrigger).aggregate(Numbers));
    rig.push(&[(2, 1, 0), (1, 2, 5), (2, 3, -9)]);
    assert_eq!(rig.watermark(1 << 40), ["-- 1099511627776"]);
    assert_eq!(rig.end(), ["1 [2] @max", "2 [1, 3] @max", "-- max"]);
}

#[test]
fn count_windows() {
    let mut rig = Rig::new(|keyed| keyed.count_window(2).aggregate(Numbers));
    assert_eq!(rig.gives(&[(1, 1, 5), (2, 2, 5), (1, 3, 5), (1, 4, 5)]), ["1 [1, 3] @max"]);
    assert_eq!(rig.gives(&[(2, 5, 1), (1, 6, 1)]), ["2 [2, 5] @max", "1 [4, 6] @max"]);
    rig.push(&[(1, 7, 1)]);
    assert_eq!(rig.end(), ["-- max"]);
    let mut rig = Rig::new(|keyed| keyed.count_window_sliding(3, 2).aggregate(Numbers));
    let records: Vec<_> = (1..=6).map(|n| (1, n, 0)).collect();
    assert_eq!(rig.gives(&records), ["1 [1, 2] @max", "1 [2, 3, 4] @max", "1 [4, 5, 6] @max"]);
}

#[test]
fn windows_over_all_records() {
    let mut rig = Rig::new(|keyed| keyed.stream.window_all(Tumbling::of(ms(10))).aggregate(Numbers));
    rig.push(&[(1, 1, 0), (2, 2, 5), (3, 3, 10)]);
    assert_eq!(rig.end(), ["[0,10) [1, 2] @9", "[10,20) [3] @19", "-- max"]);
}

/// Two windows a record: its own ten and the hundred around it.
#[derive(Clone)]
struct TensAndHundreds;

impl WindowAssigner<Record> for TensAndHundreds {
    type Window = TimeWindow;
    type Trigger = PurgingTrigger<CountTrigger>;
    fn assign(&self, _record: &Record, time: i64, _now: i64, windows: &mut Vec<TimeWindow>) {
        for size in [100, 10] {
            let start = time - time.rem_euclid(size);
            windows.push(TimeWindow { start, end: start + size });
        }
    }
    fn default_trigger(&self) -> Self::Trigger {
        PurgingTrigger::of(CountTrigger::of(2))
    }
}

#[test]
fn windows_of_the_programs_own() {
    let mut rig = Rig::new(|keyed| keyed.window(TensAndHundreds).aggregate(Numbers));
    assert_eq!(rig.gives(&[(1, 1, 5), (1, 2, 55)]), ["1 [0,100) [1, 2] @99"]);
    assert_eq!(rig.gives(&[(1, 3, 57)]), ["1 [50,60) [2, 3] @59"]);
    assert_eq!(rig.end(), ["-- max"]);
}

#[test]
fn event_time_windows_ask_for_event_times() {
    for mut rig in both(Tumbling::of(ms(10))) {
        let error = rig.driver.push_plain(0, vec![(1u8, 1u64)]).unwrap_err().to_string();
        assert!(error.contains("assign_timestamps_and_watermarks"), "{error}");
    }
}
