//! Late records: dropped, set aside, or taken for a while.

use super::*;
use crate::window::{CountEvictor, PurgingTrigger, Session, Sliding, TimeTrigger, Tumbling};

type Numbered = Windowed<u8, TimeWindow, Vec<u64>>;

/// Windows of 10 ms with this lateness, by the operator made for them and by the general one.
fn both(lateness: u64) -> [Rig<Numbered>; 2] {
    let windows = move |keyed: &Keyed| keyed.window(Tumbling::of(ms(10))).allowed_lateness(ms(lateness)).late_output(&late());
    let own = Rig::new(|keyed| heard(windows(keyed).aggregate(Numbers)));
    [own, Rig::new(|keyed| heard(windows(keyed).trigger(TimeTrigger::event_time()).aggregate(Numbers)))]
}

/// With somebody who listens to late records.
fn heard<U: Data>(stream: DataStream<U>) -> DataStream<U> {
    let _late = stream.side_output(&late());
    stream
}

#[test]
fn records_of_windows_that_have_fired_are_late() {
    for mut rig in both(0) {
        rig.push(&[(1, 1, 5)]);
        assert_eq!(rig.watermark(8), ["-- 8"]);
        // Behind the watermark, but the window is still there.
        rig.push(&[(1, 2, 0)]);
        assert_eq!(rig.watermark(9), ["1 [0,10) [1, 2] @9", "-- 9"]);
        rig.push(&[(1, 3, 9), (2, 4, 0), (1, 5, 10)]);
        assert_eq!(rig.late(), [((1, 3), 9), ((2, 4), 0)]);
        assert_eq!(rig.end(), ["1 [10,20) [5] @19", "-- max"]);
    }
}

#[test]
fn windows_fire_again_until_their_lateness_is_over() {
    for mut rig in both(5) {
        rig.push(&[(1, 1, 5)]);
        assert_eq!(rig.watermark(9), ["1 [0,10) [1] @9", "-- 9"]);
        rig.push(&[(1, 2, 3)]);
        assert_eq!(rig.given(), ["1 [0,10) [1, 2] @9"]);
        assert_eq!(rig.watermark(13), ["-- 13"]);
        // A key that had nothing.
        assert_eq!(rig.gives(&[(2, 3, 0)]), ["2 [0,10) [3] @9"]);
        assert_eq!(rig.watermark(14), ["-- 14"]);
        assert!(rig.gives(&[(1, 4, 9)]).is_empty());
        assert_eq!(rig.late(), [((1, 4), 9)]);
        assert_eq!(rig.end(), ["-- max"]);
    }
}

#[test]
fn each_late_record_fires_on_its_own() {
    let mut rig: Rig<Numbered> = Rig::new(|keyed| {
        let windows = keyed.window(Tumbling::of(ms(10))).allowed_lateness(ms(5));
        windows.trigger(TimeTrigger::event_time()).aggregate(Numbers)
    });
    rig.watermark(9);
    assert_eq!(rig.gives(&[(1, 1, 3), (1, 2, 4)]), ["1 [0,10) [1] @9", "1 [0,10) [1, 2] @9"]);
    // Purging, they come alone.
    let mut rig: Rig<Numbered> = Rig::new(|keyed| {
        let windows = keyed.window(Tumbling::of(ms(10))).allowed_lateness(ms(5));
        windows.trigger(PurgingTrigger::of(TimeTrigger::event_time())).aggregate(Numbers)
    });
    rig.push(&[(1, 0, 0)]);
    assert_eq!(rig.watermark(9), ["1 [0,10) [0] @9", "-- 9"]);
    assert_eq!(rig.gives(&[(1, 1, 3), (1, 2, 4)]), ["1 [0,10) [1] @9", "1 [0,10) [2] @9"]);
}

#[test]
fn a_record_is_late_when_all_its_windows_are_over() {
    for general in [false, true] {
        let mut rig: Rig<Numbered> = Rig::new(|keyed| {
            let windows = keyed.window(Sliding::of(ms(10), ms(5))).late_output(&late());
            heard(if general {
                windows.trigger(TimeTrigger::event_time()).aggregate(Numbers)
            } else {
                windows.aggregate(Numbers)
            })
        });
        rig.watermark(9);
        rig.push(&[(1, 1, 4), (1, 2, 5)]);
        assert_eq!(rig.late(), [((1, 1), 4)]);
        assert_eq!(rig.end(), ["1 [5,15) [2] @14", "-- max"]);
    }
}

#[test]
fn sessions_that_have_fired_take_late_records_and_merge() {
    let mut rig: Rig<Numbered> = Rig::new(|keyed| {
        let windows = keyed.window(Session::with_gap(ms(10))).allowed_lateness(ms(10)).late_output(&late());
        heard(windows.aggregate(Numbers))
    });
    rig.push(&[(1, 1, 0), (1, 2, 25)]);
    assert_eq!(rig.watermark(12), ["1 [0,10) [1] @9", "-- 12"]);
    // Extends it: it fires again, with its new end not before that.
    rig.push(&[(1, 3, 4)]);
    assert_eq!(rig.watermark(13), ["1 [0,14) [1, 3] @13", "-- 13"]);
    // Inside: at once.
    assert_eq!(rig.gives(&[(1, 4, 3)]), ["1 [0,14) [1, 3, 4] @13"]);
    // Joins it with the one that has not fired.
    assert!(rig.gives(&[(1, 5, 13), (1, 6, 20)]).is_empty());
    assert_eq!(rig.watermark(33), ["-- 33"]);
    assert_eq!(rig.watermark(34), ["1 [0,35) [1, 3, 4, 5, 2, 6] @34", "-- 34"]);
    assert_eq!(rig.watermark(44), ["-- 44"]);
    rig.push(&[(1, 7, 20)]);
    assert_eq!(rig.late(), [((1, 7), 20)]);
    assert_eq!(rig.end(), ["-- max"]);
}

#[test]
fn an_evictor_does_not_change_what_is_late() {
    let mut rig: Rig<Numbered> = Rig::new(|keyed| {
        let windows = keyed.window(Tumbling::of(ms(10))).allowed_lateness(ms(5)).late_output(&late());
        heard(windows.evictor(CountEvictor::of(2)).aggregate(Numbers))
    });
    rig.push(&[(1, 1, 0), (1, 2, 0), (1, 3, 0)]);
    assert_eq!(rig.watermark(13), ["1 [0,10) [2, 3] @9", "-- 13"]);
    assert_eq!(rig.gives(&[(1, 4, 0)]), ["1 [0,10) [3, 4] @9"]);
    rig.watermark(14);
    rig.push(&[(1, 5, 0)]);
    assert_eq!(rig.late(), [((1, 5), 0)]);
}
