use fluvial_core::{Error, JobReport, Result};
use std::path::Path;

/// Writes a report as JSON, under its name when it is complete.
pub fn write(path: &Path, report: &JobReport) -> Result<()> {
    let failed = |e: std::io::Error| Error::File { path: path.to_owned(), message: e.to_string() };
    let json = serde_json::to_string_pretty(report).map_err(|e| failed(e.into()))?;
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, json).and_then(|()| std::fs::rename(&temporary, path)).map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        failed(e)
    })
}
