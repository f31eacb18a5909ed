//! Positioned reads for the parquet crate.

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes fetched to parse a page header; most headers are far smaller, those with long statistics take another turn.
const HEADER: usize = 256;

/// A file read by position: cheap to clone, no shared cursor, one system call a page. (The parquet crate's own reader of
/// a `File` duplicates the descriptor and seeks for every page, and allocates as many bytes as a page header says before
/// it looks whether the file has them.)
#[derive(Clone, Debug)]
pub(super) struct FileChunks {
    file: Arc<File>,
    length: u64,
}

impl FileChunks {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), length })
    }
}

impl Length for FileChunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for FileChunks {
    type T = Cursor;

    fn get_read(&self, start: u64) -> Result<Cursor> {
        Ok(Cursor { file: self.file.clone(), offset: start, buffer: [0; HEADER], at: 0, end: 0 })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!("{length} bytes at byte {start} of a file of {} bytes", self.length)));
        }
        let mut bytes = Vec::with_capacity(length);
        let mut cursor = Positioned { file: &self.file, offset: start }.take(length as u64);
        let read = cursor.read_to_end(&mut bytes)?;
        if read != length {
            return Err(ParquetError::EOF(format!("{length} bytes at byte {start}, found {read}: the file has shrunk")));
        }
        Ok(bytes.into())
    }
}

/// A sequential reader of a file at its own position.
struct Positioned<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(out, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Reads a page header.
pub(super) struct Cursor {
    file: Arc<File>,
    offset: u64,
    buffer: [u8; HEADER],
    at: usize,
    end: usize,
}

impl Read for Cursor {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.end {
            self.end = self.file.read_at(&mut self.buffer, self.offset)?;
            self.offset += self.end as u64;
            self.at = 0;
        }
        let count = out.len().min(self.end - self.at);
        out[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
