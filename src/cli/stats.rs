use fluvial_core::{Error, JobReport, Result};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The file of `--stats`: there under its name once the job has ended well, else not at all.
pub struct StatsFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl StatsFile {
    pub fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = if path.is_dir() {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"))
        } else {
            tempfile::Builder::new().prefix(".stats.").suffix(".tmp").tempfile_in(folder)
        };
        let file = file.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound if !folder.exists() => failed(path, "the folder does not exist"),
            kind => failed(path, kind),
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes a report as JSON.
    pub fn write(mut self, report: &JobReport) -> Result<()> {
        let json = serde_json::to_string_pretty(report).map_err(|e| failed(&self.path, e))?;
        writeln!(self.file, "{json}").map_err(|e| failed(&self.path, e))?;
        self.file.persist(&self.path).map_err(|e| failed(&self.path, e.error)).map(drop)
    }
}

fn failed(path: &Path, message: impl ToString) -> Error {
    Error::File { path: path.to_owned(), message: message.to_string() }
}
