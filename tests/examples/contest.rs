//! Winners by two kinds of time.

use crate::game_contest::{Score, by_event_time, by_processing_time, small};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most points of a minute, by a naive count.
fn naive(scores: &[Score], time: impl Fn(&Score) -> i64) -> BTreeMap<i64, (u64, String)> {
    let mut points = BTreeMap::<(i64, &str), u64>::new();
    scores.iter().for_each(|s| *points.entry((time(s) / 60_000 * 60_000, &s.player)).or_default() += s.points);
    let mut winners = BTreeMap::<i64, (u64, String)>::new();
    for ((round, player), points) in points {
        let best = winners.entry(round).or_default();
        *best = best.clone().max((points, player.to_owned()));
    }
    winners
}

#[test]
fn the_same_scores_have_other_winners_by_processing_time() {
    let event_time = by_event_time(small(), Duration::from_secs(40)).unwrap();
    let processing_time = by_processing_time(small()).unwrap();
    assert_eq!(event_time, naive(&small(), |s| s.made));
    assert_eq!(processing_time, naive(&small(), |s| s.came));
    assert_eq!(event_time[&60_000].1, "cid");
    assert_eq!(processing_time[&60_000].1, "ann");
}

#[test]
fn without_scores_nobody_wins() {
    assert!(by_event_time(Vec::new(), Duration::ZERO).unwrap().is_empty());
    assert!(by_processing_time(Vec::new()).unwrap().is_empty());
}
