//! Large blocks of whole lines out of a byte range of a file.

use super::super::file_error;
use crate::Result;
use fluvial_memory::{HeapCharge, Reservation};
use memchr::{memchr, memchr_iter, memrchr};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a block, unless a line is longer: what stays in a core's cache between reading and parsing.
const BLOCK: usize = 256 << 10;

/// Longest line. A file without newlines that is larger than this is not one of lines.
const LONGEST: usize = 1 << 30;

/// What some programs put at the start of a file to say that it is UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the lines that start in a range of a file, several at a time.
pub(super) struct Blocks {
    path: PathBuf,
    file: File,
    /// Lines that start here or later are not of the range.
    end: u64,
    /// Position in the file of the first byte of the buffer.
    base: u64,
    buffer: Vec<u8>,
    filled: usize,
    /// The block in the buffer.
    block: Range<usize>,
    /// Whether the first line has been found.
    aligned: bool,
    done: bool,
    charge: Option<Reservation>,
    held: Option<HeapCharge>,
}

impl Blocks {
    /// The lines that start in `range`. `exact` if one is known to start at its first byte.
    pub(super) fn open(path: &Path, range: Range<u64>, exact: bool, charge: Option<&Reservation>) -> Result<Self> {
        let file = File::open(path).map_err(|e| file_error(path, e))?;
        let exact = exact || range.start == 0;
        Ok(Self {
            path: path.to_owned(),
            file,
            end: range.end,
            // A line starts after a newline, so the byte before the range decides whether one starts at its first.
            base: if exact { range.start } else { range.start - 1 },
            buffer: Vec::new(),
            filled: 0,
            block: 0..0,
            aligned: exact,
            done: range.is_empty(),
            held: charge.and_then(|c| c.charge_heap(BLOCK)),
            charge: charge.cloned(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The current block: whole lines, of which only the last of the file may lack its newline.
    pub(super) fn block(&self) -> &[u8] {
        &self.buffer[self.block.clone()]
    }

    /// Position of the block in the file.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.block.start as u64
    }

    /// Moves to the next block; `false` at the end of the range.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.done {
            self.block = 0..0;
            self.held = None;
            return Ok(false);
        }
        self.buffer.copy_within(self.block.end..self.filled, 0);
        self.base += self.block.end as u64;
        self.filled -= self.block.end;
        self.block = 0..0;
        // Bytes that were searched for a newline before.
        let mut seen = 0;
        loop {
            let ended = self.fill()?;
            if !self.align(ended) {
                if self.done {
                    return Ok(false);
                }
                continue;
            }
            if self.base + self.block.start as u64 >= self.end {
                self.done = true;
                self.block = 0..0;
                return Ok(false);
            }
            // The last line of the range is the one that holds its last byte.
            let last = usize::try_from(self.end - 1 - self.base).unwrap_or(usize::MAX);
            let filled = &self.buffer[..self.filled];
            let cut = match (last < self.filled).then(|| memchr(b'\n', &filled[last.max(seen)..])).flatten() {
                Some(newline) => {
                    self.done = true;
                    Some(last.max(seen) + newline + 1)
                }
                None => memrchr(b'\n', &filled[seen.max(self.block.start)..]).map(|n| seen.max(self.block.start) + n + 1),
            };
            match cut {
                Some(cut) => {
                    self.block.end = cut;
                    return Ok(true);
                }
                None if ended => {
                    self.done = true;
                    self.block.end = self.filled;
                    return Ok(!self.block.is_empty());
                }
                None => seen = self.filled,
            }
        }
    }

    /// Fills the buffer, a larger one if it is full of one line. Returns whether the file has ended.
    fn fill(&mut self) -> Result<bool> {
        if self.filled == self.buffer.len() {
            let larger = (self.buffer.len() * 2).max(BLOCK);
            if larger > LONGEST {
                return Err(file_error(&self.path, format!("byte {}: a line of more than {LONGEST} bytes", self.base)));
            }
            if larger > BLOCK {
                self.held = None;
                self.held = self.charge.as_ref().and_then(|c| c.charge_heap(larger));
            }
            self.buffer.resize(larger, 0);
        }
        while self.filled < self.buffer.len() {
            match self.file.read_at(&mut self.buffer[self.filled..], self.base + self.filled as u64) {
                Ok(0) => return Ok(true),
                Ok(read) => self.filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(file_error(&self.path, format!("byte {}: {e}", self.base + self.filled as u64))),
            }
        }
        Ok(false)
    }

    /// Finds the first line of the range; `false` if it is not in the buffer.
    fn align(&mut self, ended: bool) -> bool {
        if self.aligned {
            if self.base == 0 && self.buffer[..self.filled].starts_with(BYTE_ORDER_MARK) {
                self.block.start = BYTE_ORDER_MARK.len();
            }
            return true;
        }
        match memchr(b'\n', &self.buffer[..self.filled]) {
            Some(newline) => {
                self.aligned = true;
                self.block = newline + 1..newline + 1;
                true
            }
            None => {
                self.base += self.filled as u64;
                self.filled = 0;
                self.done = ended || self.base >= self.end;
                false
            }
        }
    }
}

/// The blocks as one stream of bytes.
pub(super) struct Bytes {
    pub(super) blocks: Blocks,
    at: usize,
    failed: Option<crate::Error>,
}

impl Bytes {
    pub(super) fn new(blocks: Blocks) -> Self {
        Self { blocks, at: 0, failed: None }
    }

    /// The error behind an `io::Error` that [`Read::read`] gave.
    pub(super) fn take_error(&mut self) -> Option<crate::Error> {
        self.failed.take()
    }
}

impl Read for Bytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.blocks.block().len() {
            self.at = 0;
            match self.blocks.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) => {
                    let message = error.to_string();
                    self.failed = Some(error);
                    return Err(io::Error::other(message));
                }
            }
        }
        let block = &self.blocks.block()[self.at..];
        let count = block.len().min(out.len());
        out[..count].copy_from_slice(&block[..count]);
        self.at += count;
        Ok(count)
    }
}

/// Newlines before a position of a file: one less than the number of the line that starts there. For messages only, so
/// what cannot be read counts as nothing.
pub(crate) fn newlines_before(path: &Path, position: u64) -> u64 {
    let Ok(file) = File::open(path) else { return 0 };
    let mut buffer = vec![0; BLOCK];
    let (mut at, mut count) = (0, 0);
    while at < position {
        let wanted = usize::try_from(position - at).map_or(BLOCK, |left| left.min(BLOCK));
        match file.read_at(&mut buffer[..wanted], at) {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                count += memchr_iter(b'\n', &buffer[..read]).count() as u64;
                at += read as u64;
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(path: &Path, range: Range<u64>) -> Vec<u8> {
        let mut blocks = Blocks::open(path, range, false, None).unwrap();
        let mut all = Vec::new();
        while blocks.advance().unwrap() {
            assert!(!blocks.block().is_empty());
            all.extend_from_slice(blocks.block());
        }
        assert!(!blocks.advance().unwrap());
        all
    }

    proptest! {
        #[test]
        fn ranges_partition_the_lines(
            lines in prop::collection::vec(prop_oneof![8 => 0..30usize, 1 => 200_000..600_000usize], 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            newline in any::<bool>(),
        ) {
            let mut text: Vec<u8> = lines.iter().enumerate().flat_map(|(i, n)| {
                std::iter::repeat_n(b'a' + (i % 26) as u8, *n).chain([b'\n'])
            }).collect();
            if !newline {
                text.pop();
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.txt");
            std::fs::write(&path, &text).unwrap();
            let mut cuts: Vec<u64> = cuts.iter().map(|c| c.index(text.len() + 1) as u64).collect();
            cuts.extend([0, text.len() as u64]);
            cuts.sort_unstable();
            let mut all = Vec::new();
            for cut in cuts.windows(2) {
                let lines = read(&path, cut[0]..cut[1]);
                prop_assert!(lines.is_empty() || lines.last() == Some(&b'\n') || lines.len() + all.len() == text.len());
                all.extend(lines);
            }
            prop_assert!(all == text);
        }
    }
}
