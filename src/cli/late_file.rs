use fluvial_core::{Error, Result};
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file that is there under its name once the job has ended well, else not at all. It is begun before anything runs: whoever
/// names a file that cannot be written hears of it at once.
pub struct LateFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl LateFile {
    pub fn create(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = if path.is_dir() {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"))
        } else {
            let readable = Permissions::from_mode(0o666);
            tempfile::Builder::new().prefix(".late.").suffix(".tmp").permissions(readable).tempfile_in(folder)
        };
        let file = file.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound if !folder.exists() => failed(path, "the folder does not exist"),
            kind => failed(path, kind),
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Gives the file its content and its name.
    pub fn write(mut self, content: &[u8]) -> Result<()> {
        self.file.write_all(content).map_err(|e| failed(&self.path, e))?;
        self.file.persist(&self.path).map_err(|e| failed(&self.path, e.error)).map(drop)
    }
}

fn failed(path: &Path, message: impl ToString) -> Error {
    Error::File { path: path.to_owned(), message: message.to_string() }
}
