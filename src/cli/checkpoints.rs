//! `fluvial checkpoints`, `fluvial savepoint`: what a job keeps, and asking it for more.

use super::args::{CheckpointList, SavepointRequest};
use super::output;
use super::table::TablePrinter;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use fluvial_core::{AfterSavepoint, CheckpointInfo, Error, Result, format_bytes, request_savepoint};
use std::io::{self, BufWriter};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Lists the checkpoints of a job.
pub fn list(args: &CheckpointList) -> Result<()> {
    let infos = CheckpointInfo::list(&args.folder)?;
    if infos.is_empty() {
        return Err(Error::File { path: args.folder.as_str().into(), message: "no checkpoints".to_owned() });
    }
    if args.json {
        let lines: Vec<String> = infos.iter().map(json).collect();
        return output::print(format_args!("{}\n", lines.join("\n")));
    }
    let millis = |ms: f64| format!("{ms:.1} ms");
    let rows = infos.iter().map(|info| {
        let report = &info.report;
        let kind = if info.damage.is_some() {
            "damaged"
        } else if info.last {
            "last"
        } else {
            "checkpoint"
        };
        [
            report.id.to_string(),
            kind.to_owned(),
            time(report.triggered),
            millis(report.duration_ms),
            millis(report.snapshot_ms),
            millis(report.writing_ms),
            format_bytes(report.bytes),
            format_bytes(report.new_bytes),
            millis(report.alignment_ms),
            format_bytes(report.aligned_bytes),
            info.damage.clone().unwrap_or_default(),
        ]
    });
    let columns =
        ["id", "kind", "triggered", "duration", "stood still", "writing", "size", "new", "alignment", "aligned", "damage"];
    show(&columns, rows.collect())
}

/// Prints rows of text.
pub fn show<const N: usize>(columns: &[&str; N], rows: Vec<[String; N]>) -> Result<()> {
    let column = |i: usize| -> (&str, ArrayRef) {
        (columns[i], Arc::new(rows.iter().map(|row| Some(row[i].as_str())).collect::<StringArray>()))
    };
    let batch = RecordBatch::try_from_iter((0..N).map(column))?;
    let mut table = TablePrinter::new(BufWriter::new(io::stdout().lock()), &batch.schema());
    if !output::written(table.print(&batch)?)? {
        return Ok(());
    }
    output::written(table.finish()).map(drop)
}

/// Something as one line of JSON.
pub fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| unreachable!("text and numbers serialize: {e}"))
}

fn time(milliseconds: i64) -> String {
    let since = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// Has a running job take a savepoint.
pub fn savepoint(args: &SavepointRequest) -> Result<()> {
    let then = match (args.stop, args.drain) {
        (_, true) => AfterSavepoint::Drain,
        (true, false) => AfterSavepoint::Stop,
        (false, false) => AfterSavepoint::GoOn,
    };
    // The job may have been started elsewhere.
    let to = if args.to.contains("://") {
        args.to.clone()
    } else {
        let absolute = std::path::absolute(&args.to);
        absolute.map_or_else(|_| args.to.clone(), |path| path.display().to_string())
    };
    request_savepoint(&args.folder, &to, then)?;
    output::print(format_args!("{to}\n"))
}
