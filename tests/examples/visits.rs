//! Sessions of an access log, against a naive count.

use crate::clickstream_sessions::{days, small, visits};
use crate::in_all_ways;
use std::collections::BTreeMap;

/// User, page and second.
fn log(clicks: &[(&str, &str, u32)]) -> Vec<String> {
    let line = |(user, page, second): &(&str, &str, u32)| {
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        format!(r#"{user} - - [17/May/2015:{hours:02}:{minutes:02}:{seconds:02} +0000] "GET {page} HTTP/1.1" 200 1 "-" "-""#)
    };
    clicks.iter().map(line).collect()
}

#[test]
fn a_visit_ends_when_there_is_no_click_for_half_an_hour() {
    let lines = log(&[("ann", "/a", 0), ("bob", "/b", 10), ("ann", "/c", 1_700), ("ann", "/d", 3_700), ("bob", "/e", 3_710)]);
    let visits = in_all_ways(|env| visits(&env.from_collection(lines.clone())).collect());
    let all: Vec<_> = visits.iter().map(|v| (v.key.as_str(), v.value.entry.as_str(), v.value.pages)).collect();
    assert_eq!(all, [("ann", "/a", 2), ("ann", "/d", 1), ("bob", "/b", 1), ("bob", "/e", 1)]);
    assert!(visits.iter().all(|v| v.window.end - v.value.to == 1_800_000 && v.window.start == v.value.from));
}

#[test]
fn the_longest_visit_of_a_day() {
    let lines = log(&[("ann", "/a", 0), ("bob", "/b", 10), ("ann", "/c", 900), ("bob", "/d", 911), ("cid", "/", 20)]);
    let days = in_all_ways(|env| {
        let days = days(&visits(&env.from_collection(lines.clone()))).collect()?;
        Ok(days.into_iter().map(|d| (d.value.visits, d.value.pages, d.value.longest.user)).collect())
    });
    assert_eq!(days, [(3, 5, "bob".to_owned())]);
}

#[test]
fn generated_clicks_by_a_naive_count() {
    let found = in_all_ways(|env| visits(&env.from_collection(small())).collect());
    let mut clicks = BTreeMap::<String, Vec<i64>>::new();
    for line in small() {
        let (user, time) = (line.split(' ').next().unwrap(), &line[line.find('[').unwrap() + 1..line.find(']').unwrap()]);
        let time = chrono::DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").unwrap();
        clicks.entry(user.to_owned()).or_default().push(time.timestamp_millis());
    }
    let mut naive = Vec::new();
    for (user, mut times) in clicks {
        times.sort();
        for visit in times.chunk_by(|a, b| b - a < 1_800_000) {
            naive.push((user.clone(), visit[0], visit.len() as u64));
        }
    }
    assert!(naive.len() > 40);
    assert_eq!(found.into_iter().map(|v| (v.key, v.window.start, v.value.pages)).collect::<Vec<_>>(), naive);
}

#[test]
fn a_line_that_is_no_click_fails_the_job_and_is_named() {
    let error = visits(&fluvial::Env::default().from_collection(["hello".to_owned()])).collect().unwrap_err();
    assert!(error.to_string().ends_with("`hello`: not a line of an access log"), "{error}");
}
