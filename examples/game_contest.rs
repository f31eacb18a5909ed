//! Why event time: the same scores have other winners by the clock of whoever receives them.
//!
//! Players score points all minute long, and whoever has most of a minute wins it. A phone in a tunnel keeps its scores and
//! sends them when it is out again. By event time they count for the minute in which they were made; by processing time for
//! the one in which they came.
//!
//!     cargo run --release --example game_contest -- scores.csv
//!     cargo run --release --example game_contest -- --small
//!
//! with columns `player`, `points`, `made` and `came` (milliseconds), in the order in which they came.

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

const ROUND: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Score {
    pub player: String,
    pub points: u64,
    /// When it was made: its event time.
    pub made: i64,
    /// When it came.
    pub came: i64,
}

/// Winner and points by round, which is known by its start.
pub type Winners = BTreeMap<i64, (u64, String)>;

fn winners(rounds: Vec<Windowed<String, TimeWindow, u64>>) -> Winners {
    let mut winners = Winners::new();
    for Windowed { key, window, value } in rounds {
        let best = winners.entry(window.start).or_default();
        *best = std::mem::take(best).max((value, key));
    }
    winners
}

/// Who wins by event time, if no score comes later than `tunnel`.
pub fn by_event_time(scores: Vec<Score>, tunnel: Duration) -> Result<Winners> {
    let times = WatermarkStrategy::bounded_out_of_orderness(tunnel).with_timestamps(|score: &Score| score.made);
    let rounds = Env::default()
        .from_collection(scores)
        .assign_timestamps_and_watermarks(times)
        .key_by_ref(|score| score.player.as_str())
        .window(Tumbling::of(ROUND))
        .fold(0, |points, score| *points += score.points);
    rounds.collect().map(winners)
}

/// Who wins by processing time. So that a day of scores takes no day, the clock is driven by hand: to the time at which the
/// next score came, once the one before it is counted.
pub fn by_processing_time(scores: Vec<Score>) -> Result<Winners> {
    let clock = Clock::manual(scores.first().map_or(0, |score| score.came));
    let env = Env::new(Config { clock: clock.clone(), ..Config::default() });
    let (sender, stream) = env.channel::<Score>(1);
    let (counts, counted) = mpsc::channel();
    let rounds = stream.key_by_ref(|score| score.player.as_str()).window(Tumbling::of(ROUND).processing_time()).fold(
        0,
        move |points, score| {
            *points += score.points;
            // Nobody listens once the driver has given up.
            let _ = counts.send(());
        },
    );
    std::thread::spawn(move || {
        for score in scores {
            clock.advance_to(score.came);
            if sender.send_blocking(score).is_err() || counted.recv().is_err() {
                return;
            }
        }
    });
    rounds.collect().map(winners)
}

fn main() -> Result<()> {
    let files: Vec<String> = std::env::args().skip(1).filter(|a| a != "--small").collect();
    let mut scores = if files.is_empty() { small() } else { Env::default().read_records::<Score>(&files)?.collect()? };
    scores.sort_by_key(|score| score.came);
    let tunnel = scores.iter().map(|score| score.came.saturating_sub(score.made)).max().unwrap_or(0).max(0);
    let event_time = by_event_time(scores.clone(), Duration::from_millis(tunnel as u64))?;
    let processing_time = by_processing_time(scores)?;
    println!("round      by event time         by processing time");
    let rounds: std::collections::BTreeSet<_> = event_time.keys().chain(processing_time.keys()).collect();
    for round in rounds {
        let show = |winners: &Winners| winners.get(round).map_or("nobody".into(), |(points, who)| format!("{who} ({points})"));
        println!("{:>4} s     {:<20}  {}", round / 1000, show(&event_time), show(&processing_time));
    }
    Ok(())
}

/// Three minutes of three players. The second minute's best is in a tunnel from its first half a minute on.
pub fn small() -> Vec<Score> {
    let scores = (0..180u64).map(|second| {
        let (player, points) = [("ann", 3), ("bob", 2), ("cid", 4)][second as usize % 3];
        let made = second as i64 * 1_000;
        let in_tunnel = player == "cid" && (90..130).contains(&second);
        Score { player: player.into(), points, made, came: if in_tunnel { 130_000 } else { made + 50 } }
    });
    let mut scores: Vec<Score> = scores.collect();
    scores.sort_by_key(|score| score.came);
    scores
}
