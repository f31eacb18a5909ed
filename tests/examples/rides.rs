//! Rides that are long, end before they start, or do not end.

use crate::in_all_ways;
use crate::taxi_long_rides::{LongRide, Ride, ends, long_rides, per_ten_minutes, rides, small};
use std::collections::{BTreeMap, BTreeSet};

const LONG: i64 = 2 * 3_600_000;

/// Ride, `S` or `E`, minutes.
fn long(events: &[(u64, char, i64)]) -> Vec<(u64, i64)> {
    let at = |minutes: i64| format!("2013-01-01 {:02}:{:02}:00", minutes / 60, minutes % 60);
    let kind = |kind| if kind == 'S' { "START" } else { "END" };
    let lines: Vec<_> = events.iter().map(|(id, k, minutes)| format!("{id},{},{}", kind(*k), at(*minutes))).collect();
    let midnight = Ride::parse("0,START,2013-01-01 00:00:00").unwrap().time;
    let found = in_all_ways(|env| long_rides(&rides(&env.from_collection(lines.clone()))).collect());
    found.into_iter().map(|ride| (ride.id, (ride.started - midnight) / 60_000)).collect()
}

#[test]
fn rides_of_more_than_two_hours_are_long() {
    let events = [(1, 'S', 0), (2, 'S', 5), (3, 'S', 7), (2, 'E', 125), (3, 'E', 128), (1, 'E', 200)];
    assert_eq!(long(&events), [(1, 0), (3, 7)], "two hours exactly are not more");
}

#[test]
fn an_end_may_come_before_its_start() {
    assert_eq!(long(&[(1, 'E', 1), (1, 'S', 1), (2, 'S', 2), (2, 'E', 3)]), []);
}

#[test]
fn a_ride_without_an_end_is_long() {
    assert_eq!(long(&[(1, 'S', 0), (2, 'S', 1), (2, 'E', 2)]), [(1, 0)]);
    assert_eq!(long(&[(7, 'E', 2)]), [], "and one without a start is forgotten");
}

#[test]
fn a_line_that_is_no_ride_is_named() {
    let wrong = ["x,START,2013-01-01 00:00:00", "1,STOP,2013-01-01 00:00:00", "1,END,yesterday", "1,END"];
    let errors = wrong.map(|line| Ride::parse(line).unwrap_err());
    let expected = ["ride: invalid digit", "`STOP`, expected START or END", "time: ", "no time"];
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn generated_rides_by_a_naive_count() {
    let events: Vec<Ride> = small().iter().map(|line| Ride::parse(line).unwrap()).collect();
    let of = |starts: bool| events.iter().filter(move |r| r.starts == starts).map(|r| (r.id, r.time));
    let ended: BTreeMap<u64, i64> = of(false).collect();
    let naive: BTreeSet<_> = of(true)
        .filter(|(id, started)| ended.get(id).is_none_or(|end| end - started > LONG))
        .map(|(id, started)| LongRide { id, started })
        .collect();
    assert!(naive.len() > 50 && naive.len() < 450);
    assert_eq!(in_all_ways(|env| long_rides(&rides(&env.from_collection(small()))).collect()), Vec::from_iter(naive));

    let counts = in_all_ways(|env| per_ten_minutes(&rides(&env.from_collection(small()))).collect());
    assert_eq!(counts.iter().filter(|w| w.key).map(|w| w.value).collect::<Vec<_>>(), [20; 25]);
    assert_eq!(counts.iter().filter(|w| !w.key).map(|w| w.value).sum::<u64>(), ended.len() as u64);
    let ends = in_all_ways(|env| ends(&rides(&env.from_collection(small()))).collect());
    assert_eq!(ends.iter().filter(|e| **e == (true, false)).count(), 500 - ended.len());
    assert_eq!(ends.len(), 500);
}
