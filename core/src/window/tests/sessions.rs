//! Sessions, by the operator made for them and by the general one.

use super::*;
use crate::window::{Session, TimeTrigger};

type Numbered = Windowed<u8, TimeWindow, Vec<u64>>;

/// By the session operator and by the general one.
fn both(gap: u64) -> [Rig<Numbered>; 2] {
    let own = Rig::new(|keyed| keyed.window(Session::with_gap(ms(gap))).late_output(&late()).aggregate(Numbers).heard());
    let general = Rig::new(|keyed| {
        let windows = keyed.window(Session::with_gap(ms(gap))).late_output(&late());
        windows.trigger(TimeTrigger::event_time()).aggregate(Numbers).heard()
    });
    [own, general]
}

impl<U: Data> DataStream<U> {
    /// With somebody who listens to late records.
    fn heard(self) -> Self {
        let _late = self.side_output(&late());
        self
    }
}

#[test]
fn a_session_lasts_until_there_was_nothing_for_a_gap() {
    for mut rig in both(10) {
        assert!(rig.gives(&[(1, 1, 0), (2, 2, 3), (1, 3, 8), (1, 4, 40)]).is_empty());
        assert_eq!(rig.watermark(11), ["-- 11"]);
        assert_eq!(rig.watermark(12), ["2 [3,13) [2] @12", "-- 12"]);
        assert_eq!(rig.watermark(17), ["1 [0,18) [1, 3] @17", "-- 17"]);
        assert_eq!(rig.end(), ["1 [40,50) [4] @49", "-- max"]);
    }
}

#[test]
fn a_record_exactly_a_gap_later_begins_another_session() {
    for mut rig in both(10) {
        rig.push(&[(1, 1, 0), (1, 2, 9), (1, 3, 19)]);
        assert_eq!(rig.watermark(28), ["1 [0,19) [1, 2] @18", "1 [19,29) [3] @28", "-- 28"]);
    }
}

#[test]
fn a_record_between_sessions_makes_them_one() {
    for mut rig in both(10) {
        rig.push(&[(1, 1, 0), (1, 2, 17), (1, 3, 36), (1, 4, 100)]);
        rig.push(&[(1, 5, 9)]);
        rig.push(&[(1, 6, 26)]);
        rig.push(&[(1, 7, 30)]);
        assert_eq!(rig.watermark(45), ["1 [0,46) [1, 2, 5, 6, 3, 7] @45", "-- 45"]);
        assert_eq!(rig.end(), ["1 [100,110) [4] @109", "-- max"]);
    }
}

#[test]
fn records_before_a_session_begin_it_earlier_or_begin_another() {
    for mut rig in both(10) {
        rig.push(&[(1, 1, 100), (1, 2, 95), (1, 3, 50), (1, 4, 20), (1, 5, 59)]);
        assert_eq!(rig.watermark(29), ["1 [20,30) [4] @29", "-- 29"]);
        assert_eq!(rig.end(), ["1 [50,69) [3, 5] @68", "1 [95,110) [1, 2] @109", "-- max"]);
    }
}

#[test]
fn a_late_record_that_a_live_session_takes_is_not_late() {
    for mut rig in both(10) {
        rig.push(&[(1, 1, 20)]);
        assert_eq!(rig.watermark(24), ["-- 24"]);
        // Alone they would be; of another key they are.
        rig.push(&[(1, 2, 12), (1, 3, 9), (2, 4, 14), (2, 5, 15), (2, 6, 16)]);
        assert_eq!(rig.late(), [((2, 4), 14), ((2, 5), 15)]);
        assert_eq!(rig.end(), ["2 [16,26) [6] @25", "1 [9,30) [1, 2, 3] @29", "-- max"]);
    }
}

#[test]
fn a_session_that_has_fired_is_over() {
    for mut rig in both(10) {
        rig.push(&[(1, 1, 0)]);
        assert_eq!(rig.watermark(9), ["1 [0,10) [1] @9", "-- 9"]);
        rig.push(&[(1, 3, -1), (1, 2, 5)]);
        assert_eq!(rig.late(), [((1, 3), -1)]);
        assert_eq!(rig.end(), ["1 [5,15) [2] @14", "-- max"]);
    }
}

#[test]
fn gaps_of_each_record() {
    for general in [false, true] {
        let mut rig: Rig<Numbered> = Rig::new(|keyed| {
            let windows = keyed.window(Session::by(|record: &Record| ms(record.1)));
            if general { windows.trigger(TimeTrigger::event_time()).aggregate(Numbers) } else { windows.aggregate(Numbers) }
        });
        // The second ends before the first does; the last is as short as can be.
        rig.push(&[(1, 50, 0), (1, 5, 10), (1, 10, 51), (2, 0, 7), (1, 20, 60)]);
        assert_eq!(rig.watermark(49), ["2 [7,8) [0] @7", "1 [0,50) [50, 5] @49", "-- 49"]);
        assert_eq!(rig.end(), ["1 [51,80) [10, 20] @79", "-- max"]);
    }
}

#[test]
fn sessions_of_processing_time() {
    let mut rig: Rig<Numbered> = Rig::new(|keyed| keyed.window(Session::with_gap(ms(10)).processing_time()).aggregate(Numbers));
    rig.push(&[(1, 1, 0)]);
    assert!(rig.clock(9).is_empty());
    rig.push(&[(1, 2, 0)]);
    assert!(rig.clock(18).is_empty());
    assert_eq!(rig.clock(19), ["1 [0,19) [1, 2] @18"]);
    rig.push(&[(1, 3, 0)]);
    assert_eq!(rig.end(), ["-- max", "1 [19,29) [3] @28"]);
}

#[test]
fn a_fold_keeps_records_until_sessions_fire() {
    let mut rig = Rig::new(|keyed| {
        keyed.window(Session::with_gap(ms(10))).fold(String::new(), |text, record| *text += &record.1.to_string())
    });
    rig.push(&[(1, 1, 0), (1, 2, 15), (1, 3, 8)]);
    assert_eq!(rig.end(), ["1 [0,25) \"123\" @24", "-- max"]);
}

#[test]
fn a_session_at_the_end_of_time_fires_once() {
    for mut rig in both(1000) {
        rig.push(&[(1, 1, i64::MAX - 5), (1, 2, i64::MAX - 500)]);
        let given = rig.end();
        let expected = format!("1 [{},{}) [1, 2] @{}", i64::MAX - 500, i64::MAX, i64::MAX - 1);
        assert_eq!(given, [expected, "-- max".to_owned()]);
    }
}
