//! The NEXMark queries as typed jobs against plain loops over the same events.

use fluvial::nexmark::{Event, Generator, model, queries};
use fluvial::{Clock, Config, DataStream, Env, Mode};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

const EVENTS: u64 = 200_000;

/// One way to run a query.
#[derive(Clone, Copy, Debug)]
struct Run {
    mode: Mode,
    threads: usize,
    disorder: Duration,
}

fn runs() -> Vec<Run> {
    let disorder = Duration::from_millis(300);
    vec![
        Run { mode: Mode::Streaming, threads: 1, disorder: Duration::ZERO },
        Run { mode: Mode::Streaming, threads: 2, disorder },
        Run { mode: Mode::Streaming, threads: 3, disorder: Duration::ZERO },
        Run { mode: Mode::Batch, threads: 2, disorder },
    ]
}

fn generator(run: Run) -> Generator {
    Generator::new(EVENTS).with_disorder(run.disorder)
}

/// The rows of a query.
fn rows<R: fluvial::Data>(run: Run, query: impl Fn(&DataStream<Event>) -> DataStream<R>) -> Vec<R> {
    let config = Config { mode: run.mode, threads: run.threads, memory: 64 << 20, clock: Clock::manual(0), ..Config::default() };
    let env = Env::new(config);
    let generator = generator(run);
    let events = env.generator(move |n| generator.event(n)).count(EVENTS).stream();
    let timed = events.assign_timestamps_and_watermarks(queries::watermarks(run.disorder));
    query(&timed).collect().unwrap()
}

/// Compares all rows, in any order.
fn check<R: fluvial::Data + Ord + Debug>(
    query: impl Fn(&DataStream<Event>) -> DataStream<R>,
    model: impl Fn(&[Event]) -> Vec<R>,
) {
    for run in runs() {
        let events: Vec<Event> = generator(run).events(0, 1).collect();
        let (mut found, mut expected) = (rows(run, &query), model(&events));
        found.sort();
        expected.sort();
        assert!(!expected.is_empty());
        same(run, &found, &expected);
    }
}

/// Compares the last row of each key.
fn check_last<K: Ord, R: fluvial::Data + Ord + Debug>(
    query: impl Fn(&DataStream<Event>) -> DataStream<R>,
    model: impl Fn(&[Event]) -> Vec<R>,
    key: impl Fn(&R) -> K,
) {
    for run in runs() {
        let events: Vec<Event> = generator(run).events(0, 1).collect();
        let last: BTreeMap<K, R> = rows(run, &query).into_iter().map(|row| (key(&row), row)).collect();
        let (mut found, mut expected) = (last.into_values().collect::<Vec<_>>(), model(&events));
        found.sort();
        expected.sort();
        assert!(!expected.is_empty());
        same(run, &found, &expected);
    }
}

fn same<R: PartialEq + Debug>(run: Run, found: &[R], expected: &[R]) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(at) = differs {
        panic!("{run:?}: row {at} is {:?}, expected {:?}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "{run:?}: number of rows");
}

#[test]
fn q0_to_q2_pass_convert_and_select() {
    for run in runs() {
        assert_eq!(rows(run, queries::q0).len() as u64, EVENTS);
    }
    check(queries::q1, model::q1);
    check(queries::q2, model::q2);
}

#[test]
fn q3_joins_auctions_with_their_sellers() {
    check(queries::q3, model::q3);
}

#[test]
fn q4_averages_closing_prices_by_category() {
    check_last(queries::q4, model::q4, |row| row.category);
}

#[test]
fn q5_finds_the_hottest_auctions() {
    check(queries::q5, model::q5);
}

#[test]
fn q6_averages_a_sellers_last_closing_prices() {
    check_last(queries::q6, model::q6, |row| row.seller);
}

#[test]
fn q7_finds_the_highest_bids() {
    check(queries::q7, model::q7);
}

#[test]
fn q8_finds_persons_who_sell_at_once() {
    check(queries::q8, model::q8);
}

#[test]
fn q11_counts_bids_by_session() {
    check(queries::q11, model::q11);
}

#[test]
fn q12_counts_bids_by_the_clock() {
    check(queries::q12, |events| model::q12(events, |_| 0));
}
