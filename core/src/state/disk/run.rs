use crate::checkpoint::{Place, PlaceFile, SectionHead, SectionKind, StateFile, StateFileWriter, Stored};
use crate::io::file_error;
use crate::{Result, StateSection};
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use xxhash_rust::xxh3::xxh3_64;

/// Copied at a time where a run cannot be linked.
const STEP: usize = 1 << 20;

/// A file that is being written or read. One of the live state is removed with its last user.
pub(super) struct RunFile {
    path: PathBuf,
    file: File,
    own: bool,
}

impl RunFile {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::options().create_new(true).read(true).write(true).open(&path).map_err(|e| file_error(&path, e))?;
        Ok(Self { path, file, own: true })
    }

    /// Fills a buffer from an offset on, as far as the file goes. Gives how many bytes that were.
    #[inline]
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(format!("{} bytes from byte {offset} on: {error}", buffer.len()))),
            }
        }
        Ok(filled)
    }

    /// Reads a range.
    pub(super) fn read_range(&self, offset: u64, bytes: u64, into: &mut Vec<u8>) -> Result<()> {
        into.resize(bytes as usize, 0);
        let found = self.read(offset, into)?;
        if found as u64 != bytes {
            return Err(self.error(format!("expected {bytes} bytes from byte {offset} on, found {found}")));
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(super) fn len(&self) -> Result<u64> {
        self.file.metadata().map(|found| found.len()).map_err(|e| self.error(e))
    }

    /// Has the system read a range into its cache, without waiting for it.
    pub(super) fn ask_for(&self, offset: u64, bytes: usize) {
        // SAFETY: it gets a descriptor that is open as long as `self` is, and numbers; it is advice, so its answer is of no use.
        unsafe {
            libc::posix_fadvise(self.file.as_raw_fd(), offset as i64, bytes as i64, libc::POSIX_FADV_WILLNEED);
        }
    }

    pub(super) fn error(&self, message: impl fmt::Display) -> crate::Error {
        file_error(&self.path, message)
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        if self.own {
            // Its folder goes with the process, and with it what could not be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A file of the live state while it is written: not synced, since a crash loses the live state anyway.
struct RunBytes(Arc<RunFile>);

impl PlaceFile for RunBytes {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        (&self.0.file).write_all(bytes).map_err(|e| self.0.error(e))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// What the sections of a table's runs say of themselves.
pub(crate) struct RunLabel {
    /// The operator's uid.
    pub(super) operator: String,
    pub(super) worker: usize,
    pub(super) state: String,
    pub(super) schema: String,
    pub(super) keys: String,
    pub(super) kind: SectionKind,
}

impl RunLabel {
    /// A section of a run as state that is handed over, or taken back.
    pub(super) fn section(&self, run: &Arc<Run>, place: usize) -> StateSection {
        StateSection {
            name: self.state.clone(),
            key_group: run.sections[place].key_group(),
            schema: self.schema.clone(),
            keys: self.keys.clone(),
            bytes: Vec::new(),
            stored: Some(StoredSection { run: run.clone(), place }),
        }
    }
}

/// Writes a run, section by section. What is written can be read before it is finished.
pub(crate) struct RunWriter {
    pub(super) file: Arc<RunFile>,
    writer: StateFileWriter,
    sequence: u64,
    sections: Vec<Stored>,
}

impl RunWriter {
    pub(super) fn create(path: PathBuf, sequence: u64) -> Result<Self> {
        let file = Arc::new(RunFile::create(path)?);
        let writer = StateFileWriter::run(Box::new(RunBytes(file.clone())))?;
        Ok(Self { file, writer, sequence, sections: Vec::new() })
    }

    /// Where the next section will begin.
    pub(super) fn offset(&self) -> u64 {
        self.writer.offset()
    }

    /// Adds a section of a key group.
    pub(super) fn add(&mut self, label: &RunLabel, group: u16, bytes: &[u8]) -> Result<()> {
        let head = SectionHead {
            operator: &label.operator,
            worker: label.worker,
            state: &label.state,
            schema: &label.schema,
            keys: &label.keys,
            key_group: Some(group),
            sequence: self.sequence,
            kind: label.kind,
        };
        self.sections.push(self.writer.put(head, bytes)?);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Run> {
        let (bytes, checksum) = self.writer.finish()?;
        let checksum = format!("{checksum:016x}");
        Ok(Run { file: self.file, bytes, checksum, sequence: self.sequence, sections: self.sections, linked: Mutex::default() })
    }
}

/// A file of sections that never changes: part of the live state of one table, and linked to by checkpoints.
pub struct Run {
    pub(super) file: Arc<RunFile>,
    pub(crate) bytes: u64,
    /// XXH3 of all of it, as manifests have it.
    pub(crate) checksum: String,
    pub(super) sequence: u64,
    pub(super) sections: Vec<Stored>,
    /// Where it is in the job's place of checkpoints, once it is.
    linked: Mutex<Option<String>>,
}

impl Run {
    /// A file of a checkpoint as a run. `linked`: its path, if it lies in the job's own place.
    pub(crate) fn adopt(path: PathBuf, index: &StateFile, bytes: u64, checksum: &str, linked: Option<String>) -> Result<Self> {
        let file = File::open(&path).map_err(|e| file_error(&path, e))?;
        let sections = index.index.sections.clone();
        let sequence = sections.iter().map(|s| s.sequence).max().unwrap_or(0);
        let file = Arc::new(RunFile { path, file, own: false });
        Ok(Self { file, bytes, checksum: checksum.to_owned(), sequence, sections, linked: Mutex::new(linked) })
    }

    /// Reads a section.
    ///
    /// # Errors
    /// It cannot be read, or has not its checksum: with the file's name and where it lies.
    pub(super) fn read(&self, place: usize, into: &mut Vec<u8>) -> Result<()> {
        let section = &self.sections[place];
        self.file.read_range(section.offset, section.bytes, into)?;
        if xxh3_64(into) != section.checksum {
            let at = format!("{} bytes from byte {} on", section.bytes, section.offset);
            return Err(self.file.error(format!("damaged: {at} have not the checksum {:016x}", section.checksum)));
        }
        Ok(())
    }

    /// A run without entries.
    #[cfg(test)]
    pub(crate) fn of_nothing(path: &std::path::Path) -> Arc<Self> {
        Arc::new(RunWriter::create(path.to_owned(), 1).and_then(RunWriter::finish).expect("a new file can be written"))
    }

    /// Has the run in a place of checkpoints, at this path if it is not there yet. Gives where it is, and whether it is new.
    ///
    /// # Errors
    /// It cannot be made safe, or copied.
    pub(crate) fn link(&self, place: &dyn Place, path: &str) -> Result<(String, bool)> {
        let mut linked = self.linked.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(path) = &*linked {
            return Ok((path.clone(), false));
        }
        if place.folder().is_some() {
            self.file.file.sync_all().map_err(|e| self.file.error(e))?;
        }
        if !place.link(&self.file.path, path)? {
            let mut copy = place.create(path)?;
            let mut buffer = Vec::new();
            let mut at = 0;
            while at < self.bytes {
                let step = (self.bytes - at).min(STEP as u64);
                self.file.read_range(at, step, &mut buffer)?;
                copy.write(&buffer)?;
                at += step;
            }
            copy.finish()?;
        }
        *linked = Some(path.to_owned());
        Ok((path.to_owned(), true))
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("path", &self.file.path).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// A section of state that lies in a file.
#[derive(Clone, Debug)]
pub struct StoredSection {
    pub(crate) run: Arc<Run>,
    pub(super) place: usize,
}

impl StoredSection {
    pub(crate) fn new(run: Arc<Run>, place: usize) -> Self {
        Self { run, place }
    }

    pub(super) fn entry(&self) -> &Stored {
        &self.run.sections[self.place]
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.entry().sequence
    }

    pub(crate) fn kind(&self) -> SectionKind {
        self.entry().kind()
    }

    /// Bytes of its records.
    pub fn byte_len(&self) -> u64 {
        self.entry().bytes
    }
}

impl PartialEq for StoredSection {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.run, &other.run) && self.place == other.place
    }
}

impl Eq for StoredSection {}

/// A section with its records in memory, and what it is to others.
///
/// # Errors
/// It lies in a file that cannot be read.
pub(crate) fn loaded(mut section: StateSection) -> Result<(u64, SectionKind, StateSection)> {
    match section.stored.take() {
        None => Ok((0, SectionKind::Whole, section)),
        Some(stored) => {
            stored.run.read(stored.place, &mut section.bytes)?;
            Ok((stored.sequence(), stored.kind(), section))
        }
    }
}
