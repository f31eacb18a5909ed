//! `--metrics`: a table of the operators on standard error, once a second and at the end.

use fluvial_core::{Env, Metrics, MetricsSnapshot, OperatorMetrics, OperatorRates, Result, format_bytes};
use indicatif::HumanCount;
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often the table is printed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest name of an operator; the rest is cut off.
const NAME: usize = 40;

/// Runs a job and says what its operators do: rates over each interval, and sums at the end, however it ends.
pub fn show<T>(env: &Env, run: impl FnOnce() -> Result<T>) -> Result<T> {
    if env.config().process != 0 {
        return run();
    }
    let metrics = env.metrics();
    let result = std::thread::scope(|scope| {
        let (done, finished) = channel::<()>();
        let metrics = &metrics;
        scope.spawn(move || {
            let mut last = MetricsSnapshot::default();
            while finished.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                last = tick(metrics, &last);
            }
        });
        let result = run();
        drop(done);
        result
    });
    let whole = metrics.snapshot();
    if !whole.operators.is_empty() {
        say(&table(&whole, &whole.rates_since(&MetricsSnapshot::default()), Figures::Sums));
    }
    result
}

fn tick(metrics: &Metrics, last: &MetricsSnapshot) -> MetricsSnapshot {
    let now = metrics.snapshot();
    if now.running {
        say(&table(&now, &now.rates_since(last), Figures::Rates));
    }
    now
}

fn say(text: &str) {
    // Nobody is left to be told of a standard error that is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// What stands in the columns of records and bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Figures {
    Rates,
    Sums,
}

const COLUMNS: [&str; 13] = [
    "operator",
    "records in",
    "records out",
    "bytes in",
    "bytes out",
    "busy",
    "back-pressured",
    "idle",
    "lag",
    "late",
    "dropped",
    "in flight",
    "state",
];
/// Columns from here on are left out where no operator has anything to say.
const OPTIONAL: usize = 8;

fn table(snapshot: &MetricsSnapshot, rates: &[OperatorRates], figures: Figures) -> String {
    let rows: Vec<_> = snapshot.operators.iter().zip(rates).map(|(o, r)| row(snapshot, o, r, figures)).collect();
    let shown: Vec<usize> = (0..COLUMNS.len()).filter(|&c| c < OPTIONAL || rows.iter().any(|row| !row[c].is_empty())).collect();
    let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).chain([COLUMNS[c].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = shown.iter().map(|&c| width(c)).collect();
    let what = if figures == Figures::Rates { "a second" } else { "in all" };
    let mut text = format!("metrics of `{}` after {:.1} s, {what}\n", snapshot.job, snapshot.seconds);
    let header = COLUMNS.map(str::to_owned);
    for row in std::iter::once(&header).chain(&rows) {
        let cells = shown.iter().zip(&widths).map(|(&c, &width)| match c {
            0 => format!("{:<width$}", row[c]),
            _ => format!("{:>width$}", row[c]),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push_str(&keeping(snapshot));
    text
}

/// A line about checkpoints and restarts; none where there was neither.
fn keeping(snapshot: &MetricsSnapshot) -> String {
    let stats = &snapshot.checkpoints;
    if stats.completed + stats.failed + snapshot.restarts == 0 {
        return String::new();
    }
    let last = stats.latest.as_ref().map_or_else(String::new, |last| {
        format!(
            "; the last took {:.0} ms, {} of {} new, aligned in {:.0} ms",
            last.duration_ms,
            format_bytes(last.new_bytes),
            format_bytes(last.bytes),
            last.alignment_ms
        )
    });
    let (completed, failed, restarts) = (stats.completed, stats.failed, snapshot.restarts);
    format!("checkpoints: {completed} complete, {failed} failed{last}; restarts: {restarts}\n")
}

fn row(snapshot: &MetricsSnapshot, operator: &OperatorMetrics, rates: &OperatorRates, figures: Figures) -> [String; 13] {
    let count = |n: u64| HumanCount(n).to_string();
    let some = |n: u64, text: fn(u64) -> String| if n == 0 { String::new() } else { text(n) };
    let share = |part: f64| format!("{:.0}%", part * 100.0);
    let total = operator.total();
    let [records_in, records_out, bytes_in, bytes_out] = match figures {
        Figures::Rates => [rates.records_in, rates.records_out, rates.bytes_in, rates.bytes_out].map(|x| x as u64),
        Figures::Sums => [total.records_in, total.records_out, total.bytes_in, total.bytes_out],
    };
    let name: String = operator.name.chars().take(NAME).collect();
    [
        name,
        count(records_in),
        count(records_out),
        format_bytes(bytes_in),
        format_bytes(bytes_out),
        share(rates.busy),
        share(rates.backpressured),
        share(rates.idle),
        snapshot.lag_seconds(total.watermark).map(|lag| format!("{lag:.1} s")).unwrap_or_default(),
        some(operator.late_records, |n| HumanCount(n).to_string()),
        some(operator.dropped_records, |n| HumanCount(n).to_string()),
        some(operator.in_flight_bytes, format_bytes),
        some(operator.state_bytes, format_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_core::{CheckpointReport, CheckpointStats, WorkerMetrics};

    #[test]
    fn a_table_lines_up_and_leaves_out_what_nobody_has() {
        let worker = WorkerMetrics { records_in: 12_345, busy_seconds: 1.0, idle_seconds: 1.0, ..WorkerMetrics::default() };
        let operator =
            |name: &str| OperatorMetrics { name: name.into(), workers: vec![worker.clone()], ..OperatorMetrics::default() };
        let mut snapshot = MetricsSnapshot { job: "j".into(), seconds: 2.0, ..MetricsSnapshot::default() };
        snapshot.operators = vec![operator("sort"), OperatorMetrics { late_records: 3, ..operator(&"x".repeat(99)) }];
        let text = table(&snapshot, &snapshot.rates_since(&MetricsSnapshot::default()), Figures::Sums);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "metrics of `j` after 2.0 s, in all");
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(words, ["sort", "12,345", "0", "0", "B", "0", "B", "50%", "0%", "50%"]);
        assert!(lines[1].ends_with("late") && lines[3].ends_with('3'), "{text}");
        assert_eq!(lines[1].len(), lines[3].len());
        let last = CheckpointReport { duration_ms: 20.0, bytes: 4096, new_bytes: 1024, ..CheckpointReport::default() };
        snapshot.checkpoints = CheckpointStats { completed: 7, failed: 1, latest: Some(last), ..CheckpointStats::default() };
        let rates = table(&snapshot, &snapshot.rates_since(&MetricsSnapshot::default()), Figures::Rates);
        let line = "checkpoints: 7 complete, 1 failed; the last took 20 ms, 1 KiB of 4 KiB new, aligned in 0 ms; restarts: 0\n";
        assert!(rates.ends_with(line), "{rates}");
        assert!(rates.contains("6,172") && rates.contains("a second"), "{rates}");
    }
}
