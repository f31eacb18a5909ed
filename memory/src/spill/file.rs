use super::io::Counters;
use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What offsets, lengths and addresses are multiples of, so that any file can bypass the page cache.
pub(super) const ALIGNMENT: usize = 4096;

/// An open, already unlinked spill file; its space is free once the last owner drops it.
#[derive(Debug)]
pub(super) struct SpillFile {
    file: File,
    /// Where it was created; for messages.
    path: PathBuf,
    /// Where the next block goes.
    end: AtomicU64,
    open: Arc<AtomicUsize>,
    /// What counts the bytes moved.
    counters: Vec<Arc<Counters>>,
}

impl SpillFile {
    /// Creates `path` and unlinks it. `open` counts the files that are open. With `direct`, the page cache is bypassed
    /// where the file system can do that. All of `counters` count it.
    pub(super) fn create(path: PathBuf, direct: bool, open: &Arc<AtomicUsize>, counters: Vec<Arc<Counters>>) -> Result<Self> {
        match create(&path, direct).and_then(|file| std::fs::remove_file(&path).map(|()| file)) {
            Ok(file) => {
                for c in &counters {
                    c.files.fetch_add(1, Relaxed);
                }
                Ok(Self::adopt(file, path, open, counters))
            }
            Err(source) => Err(Error::Spill { path, offset: 0, action: "create", source }),
        }
    }

    /// An open file as a spill file.
    pub(super) fn adopt(file: File, path: PathBuf, open: &Arc<AtomicUsize>, counters: Vec<Arc<Counters>>) -> Self {
        open.fetch_add(1, Relaxed);
        Self { file, path, end: 0.into(), open: open.clone(), counters }
    }

    /// Notes bytes written to it.
    pub(super) fn written(&self, bytes: u64) {
        for c in &self.counters {
            c.written.fetch_add(bytes, Relaxed);
        }
    }

    /// Notes bytes read from it.
    pub(super) fn was_read(&self, bytes: u64) {
        for c in &self.counters {
            c.read.fetch_add(bytes, Relaxed);
        }
    }

    /// Sets `length` bytes aside, rounded up to whole pages; gives where they begin. Callable from several threads at once.
    pub(super) fn claim(&self, length: usize) -> u64 {
        self.end.fetch_add(length.next_multiple_of(ALIGNMENT) as u64, Relaxed)
    }

    /// Writes whole pages where they were claimed.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        debug_assert!(bytes.len().is_multiple_of(ALIGNMENT) && bytes.as_ptr().addr().is_multiple_of(ALIGNMENT));
        self.file.write_all_at(bytes, offset).map_err(|source| self.error(offset, "write", source))
    }

    /// Fills `bytes` from `offset`.
    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|source| self.error(offset, "read", source))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn corrupt(&self, offset: u64, what: String) -> Error {
        Error::Corrupt { path: self.path.clone(), offset, what }
    }

    fn error(&self, offset: u64, action: &'static str, source: io::Error) -> Error {
        Error::Spill { path: self.path.clone(), offset, action, source }
    }

    #[cfg(test)]
    pub(super) fn handle(&self) -> &File {
        &self.file
    }
}

#[cfg(target_os = "linux")]
fn create(path: &Path, direct: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if direct {
        match File::options().read(true).write(true).create_new(true).custom_flags(libc::O_DIRECT).open(path) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                // Not on this file system; some leave the file there all the same.
                let _ = std::fs::remove_file(path);
            }
            done => return done,
        }
    }
    File::options().read(true).write(true).create_new(true).open(path)
}

#[cfg(not(target_os = "linux"))]
fn create(path: &Path, _direct: bool) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).open(path)
}

/// Heap memory that starts at a page, for files that bypass the page cache.
#[derive(Debug, Default)]
pub(super) struct AlignedBuffer {
    bytes: Vec<u8>,
}

impl AlignedBuffer {
    /// At least `length` bytes, in whole pages; contents are whatever was there.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        let length = length.next_multiple_of(ALIGNMENT);
        if self.bytes.len() < length + ALIGNMENT {
            self.bytes = vec![0; length + ALIGNMENT];
        }
        let start = self.bytes.as_ptr().align_offset(ALIGNMENT);
        &mut self.bytes[start..start + length]
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
    }
}
