//! Real data gives the figures that are known of it, in batch and streaming mode.
//!
//! With `FLUVIAL_DATA` set to a folder that has `streams/taxi`, `streams/wikipedia` and `streams/weblogs` in it.

#[allow(dead_code)]
#[path = "../examples/taxi_long_rides.rs"]
mod taxi_long_rides;

use chrono::DateTime;
use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A data set, decompressed: its folder and path. `None` without the data.
fn data(name: &str) -> Option<(TempDir, String)> {
    let path = PathBuf::from(std::env::var_os("FLUVIAL_DATA")?).join("streams").join(name);
    let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = Vec::new();
    match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_end(&mut text).unwrap(),
        _ => zstd::Decoder::new(file).unwrap().read_to_end(&mut text).unwrap(),
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(path.file_stem().unwrap());
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    Some((folder, file))
}

/// Runs a job in both modes, by one worker and by several.
fn in_both_modes(test: impl Fn(&Env)) {
    for mode in [Mode::Batch, Mode::Streaming] {
        for threads in [1, 3] {
            test(&Env::new(Config { mode, threads, ..Config::default() }));
        }
    }
}

/// No record of any operator of the last job was late.
fn none_late(env: &Env) {
    let report = env.last_report().unwrap();
    assert!(report.operators.iter().all(|o| o.late_records == 0), "{:?}", report.operators);
}

#[test]
fn taxi_rides() {
    let Some((_folder, path)) = data("taxi/nycTaxiRides-100k.gz") else { return };
    in_both_modes(|env| {
        let rides = taxi_long_rides::rides(&env.read_text(&[&path]).unwrap());
        let mut windows = taxi_long_rides::per_ten_minutes(&rides).collect().unwrap();
        none_late(env);
        windows.sort();
        let counts = |starts| windows.iter().filter(move |w| w.key == starts).map(|w| w.value);
        let starts = [2497, 4720, 5372, 5351, 5542, 5517, 5578, 5454, 5410, 5244, 2865];
        assert_eq!(counts(true).collect::<Vec<_>>(), starts);
        assert_eq!((counts(true).sum::<u64>(), counts(false).sum::<u64>()), (53_550, 46_450));
        assert_eq!(windows.iter().map(|w| w.window.start).min(), Some(1_356_998_400_000), "midnight");

        let mut ends = BTreeMap::new();
        taxi_long_rides::ends(&rides).collect().unwrap().into_iter().for_each(|e| *ends.entry(e).or_default() += 1);
        assert_eq!(ends, BTreeMap::from([((true, true), 46_450), ((true, false), 7_100)]));

        // Less than two hours of rides: only those without an end are long.
        let long = taxi_long_rides::long_rides(&rides).collect().unwrap();
        assert_eq!(long.iter().map(|ride| ride.id).collect::<BTreeSet<_>>().len(), 7_100);
        assert_eq!(long.len(), 7_100);
    });
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Edit {
    time: String,
    channel: String,
    added: i64,
}

#[test]
fn wikipedia_edits_by_channel_and_hour() {
    let Some((_folder, path)) = data("wikipedia/wikiticker-2015-09-12-sampled.json.gz") else { return };
    in_both_modes(|env| {
        let edits = env.read_records::<Edit>(&[&path]).unwrap().try_map(|edit| {
            DateTime::parse_from_rfc3339(&edit.time).map(|time| (edit.channel, time.timestamp_millis(), edit.added))
        });
        let times = WatermarkStrategy::monotonous().with_timestamps(|edit: &(String, i64, i64)| edit.1);
        let hours = edits
            .assign_timestamps_and_watermarks(times)
            .key_by_ref(|edit| edit.0.as_str())
            .window(Tumbling::of(Duration::from_secs(3600)))
            .fold((0u64, 0i64), |(edits, added), edit| {
                *edits += 1;
                *added += edit.2;
            });
        let hours = hours.collect().unwrap();
        none_late(env);
        let mut channels = BTreeMap::<&str, u64>::new();
        let mut of_day = [0u64; 24];
        for Windowed { key, window, value } in &hours {
            *channels.entry(key).or_default() += value.0;
            of_day[(window.start / 3_600_000 % 24) as usize] += value.0;
        }
        assert_eq!(channels.len(), 51);
        let known = [("#en.wikipedia", 11_549), ("#vi.wikipedia", 9_747), ("#de.wikipedia", 2_523)];
        assert!(known.iter().all(|(channel, edits)| channels[channel] == *edits), "{channels:?}");
        // Counted by a program of a few lines without this engine.
        let by_hour = [
            268, 1144, 1102, 815, 824, 1260, 2120, 2237, 1622, 1704, 1792, 1624, 1709, 2073, 1873, 1965, 1959, 2300, 2170, 2013,
            1832, 1766, 1590, 1482,
        ];
        assert_eq!(of_day, by_hour);
        assert_eq!(hours.iter().map(|h| h.value.0).sum::<u64>(), 39_244);
        assert_eq!(hours.iter().map(|h| h.value.1).sum::<i64>(), 9_385_573);
    });
}

/// Client, time and status of a line of an access log.
fn request(line: &str) -> Option<(String, i64, u16)> {
    let (client, rest) = line.split_once(' ')?;
    let (time, rest) = rest.split_once('[')?.1.split_once("] \"")?;
    let status = rest.split_once("\" ")?.1.split(' ').next()?.parse().ok()?;
    let time = DateTime::parse_from_str(time, "%d/%b/%Y:%H:%M:%S %z").ok()?;
    Some((client.to_owned(), time.timestamp_millis(), status))
}

#[test]
fn web_log_by_status() {
    let Some((_folder, path)) = data("weblogs/apache_logs_10k.log.zst") else { return };
    in_both_modes(|env| {
        // Lines of a minute are in no order.
        let times = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(60))
            .with_timestamps(|request: &(String, i64, u16)| request.1);
        let requests = env
            .read_text(&[&path])
            .unwrap()
            .try_map(|line| request(&line).ok_or_else(|| format!("`{line}`: not a line of an access log")))
            .assign_timestamps_and_watermarks(times);
        let hours = requests.key_by(|request| request.2).window(Tumbling::of(Duration::from_secs(3600)));
        let hours = hours.fold(0u64, |count, _| *count += 1).collect().unwrap();
        none_late(env);
        let mut counts = BTreeMap::<u16, u64>::new();
        hours.iter().for_each(|hour| *counts.entry(hour.key).or_default() += hour.value);
        let known = [(200, 9126), (206, 45), (301, 164), (304, 445), (403, 2), (404, 213), (416, 2), (500, 3)];
        assert_eq!(counts, BTreeMap::from(known));
        let clients = requests.key_by_ref(|request| request.0.as_str()).window(Global).trigger(EndOfStreamTrigger);
        assert_eq!(clients.fold(0u64, |count, _| *count += 1).collect().unwrap().len(), 1_753);
    });
}
