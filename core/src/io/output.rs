//! Outputs: a file comes into being complete or not at all.

use super::parquet::ParquetTable;
use super::text::{CsvTable, JsonTable, TextTable};
use super::{Format, file_error};
use crate::{Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use fluvial_memory::Reservation;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use tempfile::{NamedTempFile, TempPath};

/// How files are written.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Parquet: compression of pages.
    pub compression: Compression,
    /// Parquet: encoded bytes after which a row group is closed. What is being encoded is in memory, once a worker.
    pub row_group_bytes: usize,
    /// Wait until the file is on the disk before it gets its name, so that it survives a crash of the machine.
    pub sync: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { compression: Compression::Snappy, row_group_bytes: 8 << 20, sync: false }
    }
}

/// Compression of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// Snappy: fast, the usual choice.
    Snappy,
    /// LZ4 in its raw form: about as Snappy.
    Lz4,
    /// Zstandard with a level from 1 to 22: smaller, slower.
    Zstd(i32),
    /// Gzip with a level from 0 to 9.
    Gzip(u32),
    /// Brotli with a level from 0 to 11.
    Brotli(u32),
}

impl FromStr for Compression {
    type Err = Error;

    /// A name, with a level after a colon where there are levels.
    ///
    /// ```
    /// use fluvial_core::io::Compression;
    /// assert_eq!("snappy".parse::<Compression>()?, Compression::Snappy);
    /// assert_eq!("zstd:7".parse::<Compression>()?, Compression::Zstd(7));
    /// assert!("zstd:99".parse::<Compression>().is_err());
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn from_str(text: &str) -> Result<Self> {
        let unknown =
            || Error::Plan(format!("compression `{text}`: expected none, snappy, lz4, zstd[:1-22], gzip[:0-9] or brotli[:0-11]"));
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u32>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, level) {
            ("none" | "uncompressed", None) => Ok(Self::None),
            ("snappy", None) => Ok(Self::Snappy),
            ("lz4", None) => Ok(Self::Lz4),
            ("zstd", level) if (1..=22).contains(&level.unwrap_or(3)) => Ok(Self::Zstd(level.unwrap_or(3) as i32)),
            ("gzip", level) if level.unwrap_or(6) <= 9 => Ok(Self::Gzip(level.unwrap_or(6))),
            ("brotli", level) if level.unwrap_or(1) <= 11 => Ok(Self::Brotli(level.unwrap_or(1))),
            _ => Err(unknown()),
        }
    }
}

/// A complete output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Records in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its name.
    pub path: PathBuf,
}

/// Writes batches to a file. Dropped before [`TableWriter::finish`] it leaves nothing behind.
pub trait TableWriter: Send {
    /// Appends a batch.
    ///
    /// # Errors
    /// [`Error::File`] if the disk is full or the file cannot be written; [`Error::Plan`] if the columns are not the
    /// writer's.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Completes the file and gives it its name, replacing what had it.
    ///
    /// # Errors
    /// [`Error::File`].
    fn finish(self: Box<Self>) -> Result<Written>;
}

/// A writer of one file at `path` in `format`. Its buffers are charged to `charge`.
///
/// # Errors
/// [`Error::File`] if the folder is not there or not writable; [`Error::Plan`] if the format cannot hold such columns.
pub fn create(
    path: &Path,
    format: &Format,
    schema: SchemaRef,
    options: &WriteOptions,
    charge: &Reservation,
) -> Result<Box<dyn TableWriter>> {
    match format {
        Format::Parquet => Ok(Box::new(ParquetTable::create(path, schema, options, charge)?)),
        Format::Csv(csv) => Ok(Box::new(CsvTable::create(path, csv, schema, options, charge)?)),
        Format::JsonLines(_) => Ok(Box::new(JsonTable::create(path, schema, options, charge)?)),
        Format::Text(_) => Ok(Box::new(TextTable::create(path, schema, options, charge)?)),
    }
}

/// A file under a hidden name beside its target. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct PendingFile {
    file: NamedTempFile,
    target: PathBuf,
    sync: bool,
}

impl PendingFile {
    pub(crate) fn create(target: &Path, sync: bool) -> Result<Self> {
        let name = target.file_name().ok_or_else(|| file_error(target, "not a file name"))?;
        if target.is_dir() {
            return Err(file_error(target, "is a directory"));
        }
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let file = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(".tmp")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|e| file_error(target, creation_failed(folder, &e)))?;
        Ok(Self { file, target: target.to_owned(), sync })
    }

    /// A file that is called `hidden` until it is complete; `None` if there is one of that name or of the target's.
    pub(crate) fn create_as(target: &Path, hidden: &str, sync: bool) -> Result<Option<Self>> {
        let folder = target.parent().unwrap_or(Path::new("."));
        let file =
            tempfile::Builder::new().prefix(hidden).rand_bytes(0).permissions(Permissions::from_mode(0o666)).tempfile_in(folder);
        match file {
            // Whoever has the hidden name is the only one who may take the target's, so nobody does in between.
            Ok(file) => Ok((!target.exists()).then(|| Self { file, target: target.to_owned(), sync })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(file_error(target, creation_failed(folder, &error))),
        }
    }

    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Completes the file, which stays hidden.
    pub(crate) fn seal(self) -> Result<SealedFile> {
        let Self { file, target, sync } = self;
        let bytes = file.as_file().metadata().map_err(|e| file_error(&target, e))?.len();
        if sync {
            file.as_file().sync_all().map_err(|e| file_error(&target, e))?;
        }
        Ok(SealedFile { hidden: file.into_temp_path(), target, bytes, sync })
    }

    /// Gives the file its name; returns its size.
    pub(super) fn commit(self) -> Result<u64> {
        self.seal()?.commit()
    }
}

/// A complete file that is still hidden. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct SealedFile {
    hidden: TempPath,
    target: PathBuf,
    bytes: u64,
    sync: bool,
}

impl SealedFile {
    /// Gives the file its name; returns its size.
    pub(crate) fn commit(self) -> Result<u64> {
        let target = self.target;
        self.hidden.persist(&target).map_err(|e| file_error(&target, e.error))?;
        if self.sync {
            sync_name(&target)?;
        }
        Ok(self.bytes)
    }

    /// Gives the file its name unless there is a file of that name already. That it has it survives a crash of the machine
    /// only after [`sync_folder`]. A file that fails to get its name is removed, or left hidden if `promised`: somebody
    /// else may give it its name.
    pub(crate) fn commit_new(self, promised: bool) -> Result<()> {
        self.hidden.persist_noclobber(&self.target).map_err(|failed| {
            if promised {
                // Where even that fails the file is gone; the error below is the one to show.
                let _ = failed.path.keep();
            }
            file_error(&self.target, failed.error)
        })
    }

    /// Leaves the file where it is, hidden.
    pub(crate) fn keep(self) -> Result<()> {
        self.hidden.keep().map(drop).map_err(|e| file_error(&self.target, e.error))
    }
}

/// Gives a file another name, unless there is a file of that name already.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    let error = match TempPath::try_from_path(from)?.persist_noclobber(to) {
        Ok(()) => return Ok(()),
        Err(failed) => {
            // It is not ours to remove.
            let _ = failed.path.keep();
            failed.error
        }
    };
    // Where the system cannot rename so, the file has both names for a moment: the end of it, perhaps.
    if error.kind() == io::ErrorKind::AlreadyExists
        && let (Ok(from_file), Ok(to_file)) = (from.metadata(), to.metadata())
        && (from_file.dev(), from_file.ino()) == (to_file.dev(), to_file.ino())
    {
        return std::fs::remove_file(from);
    }
    Err(error)
}

/// Waits until the name of a file is on the disk.
fn sync_name(path: &Path) -> Result<()> {
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Waits until the names of the files in a folder are on the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| file_error(folder, format!("cannot be synced: {e}")))
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Whether a batch has the columns of a table, nullability aside.
pub(super) fn check_columns(path: &Path, schema: &SchemaRef, batch: &RecordBatch) -> Result<()> {
    let found = batch.schema_ref();
    let mismatch = |m: String| Err(Error::Plan(format!("writing {}: {m}", path.display())));
    if found.fields().len() != schema.fields().len() {
        return mismatch(format!("expected {} columns, found {}", schema.fields().len(), found.fields().len()));
    }
    for (expected, found) in schema.fields().iter().zip(found.fields()) {
        if expected.data_type() != found.data_type() {
            let (name, expected, found) = (expected.name(), expected.data_type(), found.data_type());
            return mismatch(format!("column `{name}`: expected {expected}, found {found}"));
        }
    }
    Ok(())
}

/// Why a file cannot be made in a folder, without the temporary name that the tempfile crate adds.
fn creation_failed(folder: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if !folder.exists() => "the folder does not exist".into(),
        kind => format!("cannot write to this folder: {kind}"),
    }
}
