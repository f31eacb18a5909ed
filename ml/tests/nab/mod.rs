//! The scoring rule of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015), standard profile: early detections within a window of
//! an anomaly count most, false ones cost, one threshold for all series.

use fluvial_ml::{MovingParams, MovingStatistics, OnlineLearner, Row};
use std::collections::BTreeMap;

const FALSE_POSITIVE: f64 = 0.11;

/// A series: scores by time, and the windows of its anomalies as ranges of rows.
struct Series {
    scores: Vec<f64>,
    windows: Vec<(usize, usize)>,
}

/// The files of a tar archive.
fn files(archive: &[u8]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut at = 0;
    while at + 512 <= archive.len() && archive[at] != 0 {
        let text = |range: std::ops::Range<usize>| {
            String::from_utf8_lossy(&archive[at + range.start..at + range.end]).trim_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap();
        if archive[at + 156] == b'0' {
            files.insert(text(0..100), String::from_utf8_lossy(&archive[at + 512..at + 512 + size]).into_owned());
        }
        at += 512 + size.next_multiple_of(512);
    }
    files
}

fn series(content: &str, windows: &[(String, String)]) -> Series {
    let mut detector = MovingStatistics::new(1, MovingParams::default()).unwrap();
    let (mut times, mut scores) = (Vec::new(), Vec::new());
    for line in content.lines().skip(1) {
        let (time, value) = line.split_once(',').unwrap();
        times.push(time.to_owned());
        scores.push(detector.test_then_train(Row::Dense(&[value.trim().parse().unwrap()]), f64::NAN).score);
    }
    let place = |window: &(String, String)| {
        // Labels have microseconds, which are zero.
        let (from, to) = (window.0.trim_end_matches(".000000"), window.1.trim_end_matches(".000000"));
        (times.iter().position(|t| t == from).unwrap(), times.iter().rposition(|t| t == to).unwrap())
    };
    Series { windows: windows.iter().map(place).collect(), scores }
}

fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// What a detection at each row is worth, and the window that the row is in.
fn worth(series: &Series) -> Vec<(f64, Option<usize>)> {
    let count = series.scores.len();
    (0..count)
        .map(|row| {
            if let Some(w) = series.windows.iter().position(|(from, to)| (*from..=*to).contains(&row)) {
                let (from, to) = series.windows[w];
                let position = -((to - row + 1) as f64) / (to - from + 1) as f64;
                return (sigmoid(position) / sigmoid(-1.0), Some(w));
            }
            match series.windows.iter().rfind(|(_, to)| *to < row) {
                Some((from, to)) => (FALSE_POSITIVE * sigmoid((row - to) as f64 / (to - from) as f64), None),
                None => (-FALSE_POSITIVE, None),
            }
        })
        .collect()
}

/// The score at the best threshold: 0 for a detector that says nothing, 100 for a perfect one.
pub fn standard_score(archive: &[u8], windows: &[u8]) -> f64 {
    let windows: BTreeMap<String, Vec<(String, String)>> = serde_json::from_slice(windows).unwrap();
    let files = files(archive);
    let all: Vec<Series> = windows.iter().map(|(name, windows)| series(&files[&format!("data/{name}")], windows)).collect();
    // Rows of all series by score, from the highest: each adds its worth, in a window only what is more than that so far.
    let mut rows: Vec<(f64, usize, f64, Option<usize>)> = Vec::new();
    for (s, series) in all.iter().enumerate() {
        let count = series.scores.len();
        let probation = (0.15 * count.min(5000) as f64) as usize;
        for (row, (worth, window)) in worth(series).into_iter().enumerate().skip(probation) {
            rows.push((series.scores[row], s, worth, window));
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total_windows: usize = all.iter().map(|s| s.windows.len()).sum();
    let mut score = -(total_windows as f64);
    let mut best = score;
    let mut found: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    for (i, (at, s, worth, window)) in rows.iter().enumerate() {
        match window {
            None => score += worth,
            Some(window) => {
                // The first detection also takes back what missing the window costs.
                let so_far = found.entry((*s, *window)).or_insert(-1.0);
                score += (worth - *so_far).max(0.0);
                *so_far = so_far.max(*worth);
            }
        }
        // Rows of equal score are above a threshold together.
        if rows.get(i + 1).is_none_or(|next| next.0 < *at) {
            best = best.max(score);
        }
    }
    100.0 * (best + total_windows as f64) / (2.0 * total_windows as f64)
}
