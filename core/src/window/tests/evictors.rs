//! Each kind of evictor, before and after the function.

use super::*;
use crate::window::{
    CountEvictor, CountTrigger, DeltaEvictor, Evictor, EvictorContext, Global, TimeEvictor, Tumbling, WindowRecords,
};

/// The global window with a result after every two records.
fn evicted(evictor: impl Evictor<Record, GlobalWindow> + Clone) -> Rig<Windowed<u8, GlobalWindow, Vec<u64>>> {
    Rig::new(move |keyed| keyed.window(Global).trigger(CountTrigger::of(2)).evictor(evictor.clone()).aggregate(Numbers))
}

#[test]
fn the_last_ones_are_kept() {
    let records: Vec<_> = (1..=6).map(|n| (1, n, 0)).collect();
    let mut rig = evicted(CountEvictor::of(3));
    assert_eq!(rig.gives(&records), ["1 [1, 2] @max", "1 [2, 3, 4] @max", "1 [4, 5, 6] @max"]);
    let mut rig = evicted(CountEvictor::of(1).after());
    assert_eq!(rig.gives(&records), ["1 [1, 2] @max", "1 [2, 3, 4] @max", "1 [4, 5, 6] @max"]);
    let mut rig = evicted(CountEvictor::of(0).after());
    assert_eq!(rig.gives(&records), ["1 [1, 2] @max", "1 [3, 4] @max", "1 [5, 6] @max"]);
}

#[test]
fn the_latest_ones_are_kept() {
    let records = [(1, 1, 0), (1, 2, 30), (1, 3, 20), (1, 4, 39)];
    let mut rig = evicted(TimeEvictor::of(ms(20)));
    assert_eq!(rig.gives(&records), ["1 [2] @max", "1 [2, 3, 4] @max"]);
    let mut rig = evicted(TimeEvictor::of(ms(10)).after());
    assert_eq!(rig.gives(&records), ["1 [1, 2] @max", "1 [2, 3, 4] @max"]);
    assert_eq!(rig.gives(&[(1, 5, 0), (1, 6, 40)]), ["1 [2, 4, 5, 6] @max"]);
    // Without event times all stay.
    let mut rig = evicted(TimeEvictor::of(ms(10)));
    assert_eq!(rig.gives(&[(1, 1, i64::MIN), (1, 2, i64::MIN)]), ["1 [1, 2] @max"]);
}

#[test]
fn those_near_the_last_one_are_kept() {
    let far = |record: &Record, last: &Record| record.1.abs_diff(last.1) as f64;
    let records = [(1, 10, 0), (1, 14, 0), (1, 8, 0), (1, 11, 0)];
    let mut rig = evicted(DeltaEvictor::of(3.0, far));
    assert_eq!(rig.gives(&records), ["1 [14] @max", "1 [11] @max"]);
    let mut rig = evicted(DeltaEvictor::of(5.0, far).after());
    assert_eq!(rig.gives(&records), ["1 [10, 14] @max", "1 [10, 14, 8, 11] @max"]);
}

#[test]
fn reductions_see_what_is_left() {
    let mut rig =
        Rig::new(|keyed| keyed.window(Tumbling::of(ms(10))).evictor(CountEvictor::of(2)).reduce(|a, b| (a.0, a.1 + b.1)));
    rig.push(&[(1, 1, 0), (1, 2, 0), (1, 3, 0)]);
    assert_eq!(rig.end(), ["1 [0,10) (1, 5) @9", "-- max"]);
    // Nothing is left: no reduction, an aggregation of nothing.
    let mut rig =
        Rig::new(|keyed| keyed.window(Tumbling::of(ms(10))).evictor(CountEvictor::of(0)).reduce(|a, b| (a.0, a.1 + b.1)));
    rig.push(&[(1, 1, 0)]);
    assert_eq!(rig.end(), ["-- max"]);
    let mut rig = Rig::new(|keyed| keyed.window(Tumbling::of(ms(10))).evictor(CountEvictor::of(0)).aggregate(Numbers));
    rig.push(&[(1, 1, 0)]);
    assert_eq!(rig.end(), ["1 [0,10) [] @9", "-- max"]);
}

/// Sets aside odd numbers before, and the ones that it has been told of by the window's start after.
#[derive(Clone)]
struct Odd;

impl Evictor<Record, TimeWindow> for Odd {
    fn evict_before(&self, records: &mut WindowRecords<Record>, _context: EvictorContext<'_, TimeWindow>) {
        records.retain(|record, _| record.1 % 2 == 0);
    }
    fn evict_after(&self, records: &mut WindowRecords<Record>, context: EvictorContext<'_, TimeWindow>) {
        assert_eq!(context.watermark, i64::MIN);
        records.retain(|_, time| time > context.window.start);
    }
}

#[test]
fn evictors_of_the_programs_own_see_the_window() {
    let mut rig =
        Rig::new(|keyed| keyed.window(Tumbling::of(ms(10))).trigger(CountTrigger::of(2)).evictor(Odd).aggregate(Numbers));
    assert_eq!(rig.gives(&[(1, 2, 10), (1, 3, 11), (1, 4, 12), (1, 6, 13)]), ["1 [10,20) [2] @19", "1 [10,20) [4, 6] @19"]);
}
