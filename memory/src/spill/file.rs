use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// An open, already unlinked spill file; its space is free once the last owner drops it.
#[derive(Debug)]
pub(super) struct SpillFile {
    file: File,
    /// Where it was created; for messages.
    path: PathBuf,
    /// Where the next block goes.
    end: AtomicU64,
    open: Arc<AtomicUsize>,
}

impl SpillFile {
    /// Creates `path` and unlinks it. `open` counts the files that are open.
    pub(super) fn create(path: PathBuf, open: &Arc<AtomicUsize>) -> Result<Self> {
        let created = File::options().read(true).write(true).create_new(true).open(&path);
        let file = created.and_then(|file| std::fs::remove_file(&path).map(|()| file));
        match file {
            Ok(file) => Ok(Self::adopt(file, path, open)),
            Err(source) => Err(Error::Spill { path, offset: 0, action: "create", source }),
        }
    }

    /// An open file as a spill file.
    pub(super) fn adopt(file: File, path: PathBuf, open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Relaxed);
        Self { file, path, end: 0.into(), open: open.clone() }
    }

    /// Appends `bytes`; gives where they lie. Callable from several threads at once.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<u64> {
        self.append_parts(&[bytes])
    }

    /// Appends several pieces as one.
    pub(super) fn append_parts(&self, parts: &[&[u8]]) -> Result<u64> {
        let length: usize = parts.iter().map(|p| p.len()).sum();
        let start = self.end.fetch_add(length as u64, Relaxed);
        let mut offset = start;
        for part in parts {
            self.file.write_all_at(part, offset).map_err(|source| self.error(offset, "write", source))?;
            offset += part.len() as u64;
        }
        Ok(start)
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

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
    }
}
