//! Windows in jobs: random disorder within the bound, several workers, both modes, against naive models.

use super::ms;
use crate::config::Mode;
use crate::window::{Session, Sliding, TimeTrigger, TimeWindow, Tumbling};
use crate::{Config, Env, WatermarkStrategy};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Event = (u8, u64, i64);
type Rows = Vec<(u8, i64, i64, u64)>;

/// Which windows.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tumbling { size: u64, offset: u64 },
    Sliding { size: u64, slide: u64 },
    Session { gap: u64 },
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (1u64..60, 0u64..70).prop_map(|(size, offset)| Kind::Tumbling { size, offset }),
        (1u64..60, 1u64..60).prop_map(|(size, slide)| Kind::Sliding { size, slide }),
        (1u64..60).prop_map(|gap| Kind::Session { gap }),
    ]
}

/// Sums by key and window, as a job.
fn job(events: &[Event], kind: Kind, general: bool, threads: usize, mode: Mode) -> Rows {
    let env = Env::new(Config { threads, mode, memory: 64 << 20, ..Config::default() });
    let strategy = WatermarkStrategy::bounded_out_of_orderness(ms(30)).with_timestamps(|event: &Event| event.2);
    let keyed = env.from_collection(events.to_vec()).assign_timestamps_and_watermarks(strategy).key_by(|event| event.0);
    let sum = |sum: Event, event: Event| (sum.0, sum.1 + event.1, sum.2);
    macro_rules! sums {
        ($assigner:expr) => {{
            let windows = keyed.window($assigner);
            if general { windows.trigger(TimeTrigger::event_time()).reduce(sum) } else { windows.reduce(sum) }
        }};
    }
    let sums = match kind {
        Kind::Tumbling { size, offset } => sums!(Tumbling::of(ms(size)).offset(ms(offset))),
        Kind::Sliding { size, slide } => sums!(Sliding::of(ms(size), ms(slide))),
        Kind::Session { gap } => sums!(Session::with_gap(ms(gap))),
    };
    let rows = sums.collect().unwrap();
    let mut rows: Rows = rows.into_iter().map(|w| (w.key, w.window.start, w.window.end, w.value.1)).collect();
    rows.sort_unstable();
    rows
}

/// The same, naively.
fn model(events: &[Event], kind: Kind) -> Rows {
    let mut sums: BTreeMap<(u8, TimeWindow), u64> = BTreeMap::new();
    let mut add = |key: u8, start: i64, end: i64, n: u64| *sums.entry((key, TimeWindow { start, end })).or_default() += n;
    match kind {
        Kind::Tumbling { size, offset } => {
            let (size, offset) = (size as i64, offset as i64);
            for (key, n, time) in events {
                let start = (time - offset).div_euclid(size) * size + offset;
                add(*key, start, start + size, *n);
            }
        }
        Kind::Sliding { size, slide } => {
            let (size, slide) = (size as i64, slide as i64);
            for (key, n, time) in events {
                for start in (time - size + 1..=*time).filter(|start| start.rem_euclid(slide) == 0) {
                    add(*key, start, start + size, *n);
                }
            }
        }
        Kind::Session { gap } => {
            let mut sorted = events.to_vec();
            sorted.sort_unstable_by_key(|event| (event.0, event.2));
            let mut open: Option<(u8, i64, i64, u64)> = None;
            for (key, n, time) in sorted {
                match &mut open {
                    Some((of, _, end, sum)) if *of == key && time < *end => (*end, *sum) = (time + gap as i64, *sum + n),
                    _ => {
                        if let Some((key, start, end, sum)) = open.replace((key, time, time + gap as i64, n)) {
                            add(key, start, end, sum);
                        }
                    }
                }
            }
            if let Some((key, start, end, sum)) = open {
                add(key, start, end, sum);
            }
        }
    }
    sums.into_iter().map(|((key, window), n)| (key, window.start, window.end, n)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn both_modes_equal_a_model(
        steps in proptest::collection::vec((0u8..6, 0u64..100, 0i64..12, 0i64..30), 0..300),
        kind in kinds(),
        general in any::<bool>(),
        threads in 1usize..=3,
    ) {
        // Each record lies at most 30 ms behind the latest one before it.
        let mut latest = -500;
        let events: Vec<Event> = steps.into_iter().map(|(key, n, ahead, behind)| {
            latest += ahead;
            (key, n, latest - behind)
        }).collect();
        let expected = model(&events, kind);
        for mode in [Mode::Batch, Mode::Streaming] {
            prop_assert_eq!(&job(&events, kind, general, threads, mode), &expected, "{:?}", mode);
        }
    }
}
