//! Visits of a website: what a user does until there has been no click for half an hour; and of every day how many there are,
//! and the longest.
//!
//!     cargo run --release --example clickstream_sessions -- access.log
//!     cargo run --release --example clickstream_sessions -- --small
//!
//! with lines in the combined format of web servers.

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use chrono::DateTime;
use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A click, or what several of a user add up to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Visit {
    pub user: String,
    pub pages: u64,
    /// First click, milliseconds.
    pub from: i64,
    /// Last click, milliseconds.
    pub to: i64,
    /// The first page.
    pub entry: String,
}

impl Visit {
    /// `user - - [17/May/2015:10:05:03 +0000] "GET /page HTTP/1.1" ...`
    fn click(line: &str) -> Option<Self> {
        let (user, rest) = line.split_once(' ')?;
        let (time, rest) = rest.split_once('[')?.1.split_once("] \"")?;
        let entry = rest.split(' ').nth(1)?.to_owned();
        let time = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").ok()?.timestamp_millis();
        Some(Self { user: user.to_owned(), pages: 1, from: time, to: time, entry })
    }

    fn and(self, other: Self) -> Self {
        let pages = self.pages + other.pages;
        let to = self.to.max(other.to);
        // Clicks of one second are in the order of their pages, so that it does not matter which comes first.
        let first = if (self.from, &self.entry) <= (other.from, &other.entry) { self } else { other };
        Self { pages, to, ..first }
    }

    fn seconds(&self) -> i64 {
        (self.to - self.from) / 1_000
    }
}

/// Visits, or what those of a day add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    pub visits: u64,
    pub pages: u64,
    pub longest: Visit,
}

impl Day {
    fn and(self, other: Self) -> Self {
        let order = |visit: &Visit| (visit.seconds(), visit.pages, visit.user.clone());
        let longest = if order(&self.longest) >= order(&other.longest) { self.longest } else { other.longest };
        Self { visits: self.visits + other.visits, pages: self.pages + other.pages, longest }
    }
}

pub fn visits(lines: &DataStream<String>) -> DataStream<Windowed<String, TimeWindow, Visit>> {
    let times = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(60)).with_timestamps(|v: &Visit| v.from);
    lines
        .try_map(|line| Visit::click(&line).ok_or_else(|| format!("`{line}`: not a line of an access log")))
        .assign_timestamps_and_watermarks(times)
        .key_by_ref(|click| click.user.as_str())
        .window(Session::with_gap(Duration::from_secs(30 * 60)))
        .reduce(Visit::and)
}

/// A visit belongs to the day on which it is known to be over.
pub fn days(visits: &DataStream<Windowed<String, TimeWindow, Visit>>) -> DataStream<Windowed<(), TimeWindow, Day>> {
    visits
        .map(|visit| Day { visits: 1, pages: visit.value.pages, longest: visit.value })
        .window_all(Tumbling::of(Duration::from_secs(24 * 3600)))
        .reduce(Day::and)
}

fn main() -> Result<()> {
    let env = Env::default();
    let files: Vec<String> = std::env::args().skip(1).filter(|a| a != "--small").collect();
    let lines = if files.is_empty() { env.from_collection(small()) } else { env.read_text(&files)? };
    let days = days(&visits(&lines)).map(|Windowed { window, value: Day { visits, pages, longest }, .. }| {
        let day = DateTime::from_timestamp_millis(window.start).unwrap_or_default().format("%F");
        let (user, entry, seconds) = (&longest.user, &longest.entry, longest.seconds());
        format!(
            "{day}: {visits} visits, {pages} pages; the longest is {user}'s from {entry} on: {} pages in {seconds} s",
            longest.pages
        )
    });
    days.print();
    env.execute("clickstream_sessions").map(drop)
}

/// Two days of 20 users, who click every few minutes and sleep in between.
pub fn small() -> Vec<String> {
    let clicks = (0..2_000i64).filter_map(|n| {
        let (user, time) = (n % 20, n * 86);
        let awake = (time / 3_600 + user) % 5 < 3;
        let at = DateTime::from_timestamp(1_431_820_800 + time, 0).filter(|_| awake)?.format("%d/%b/%Y:%H:%M:%S +0000");
        Some(format!(r#"10.0.0.{user} - - [{at}] "GET /page/{} HTTP/1.1" 200 1024 "-" "-""#, n * 7 % 30))
    });
    clicks.collect()
}
