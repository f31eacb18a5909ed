//! Lines of text: for typed jobs as string slices out of large blocks, for tables as a column.

use super::super::format::TextOptions;
use super::super::{BatchReader, file_error};
use super::blocks::{Blocks, newlines_before};
use crate::Result;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use memchr::memchr;
use std::iter::FusedIterator;
use std::sync::Arc;

/// Bytes of text in a batch of a table, about.
const BATCH_BYTES: usize = 1 << 20;

/// Gives the text of a split in blocks of whole lines, without a copy and without an allocation per line.
///
/// ```
/// use fluvial_core::io::{Format, RecordInput, lines};
/// use fluvial_memory::MemoryManager;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("t.txt");
/// std::fs::write(&path, "to be\nor not\nto be\n")?;
/// let memory = MemoryManager::new(1 << 20)?.reserve("text", 0)?;
/// let input = RecordInput::open(&[path.clone()], &Format::Text(Default::default()))?;
/// let mut words = 0;
/// for split in input.splits()? {
///     let mut reader = input.lines(&split, &memory)?;
///     while let Some(block) = reader.next_block()? {
///         words += lines(block).map(|line| line.split(' ').count()).sum::<usize>();
///     }
/// }
/// assert_eq!(words, 6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LineReader {
    blocks: Blocks,
    lossy: bool,
    replaced: String,
}

impl LineReader {
    pub(super) fn new(blocks: Blocks, options: &TextOptions) -> Self {
        Self { blocks, lossy: options.lossy, replaced: String::new() }
    }

    /// The next block of whole lines, about 256 KiB; `None` at the end of the split.
    ///
    /// # Errors
    /// [`crate::Error::File`] if the file cannot be read or is not UTF-8; names the line and the byte.
    pub fn next_block(&mut self) -> Result<Option<&str>> {
        if !self.blocks.advance()? {
            return Ok(None);
        }
        match std::str::from_utf8(self.blocks.block()) {
            Ok(text) => Ok(Some(text)),
            Err(_) if self.lossy => {
                self.replaced.clear();
                self.replaced.push_str(&String::from_utf8_lossy(self.blocks.block()));
                Ok(Some(&self.replaced))
            }
            Err(error) => {
                let byte = self.blocks.offset() + error.valid_up_to() as u64;
                let line = newlines_before(self.blocks.path(), byte) + 1;
                Err(file_error(self.blocks.path(), format!("line {line}, byte {byte}: not UTF-8")))
            }
        }
    }

    /// The number, from 1, of the line of the file that holds byte `at` of the current block: for messages, since it is counted
    /// from the file's first line.
    ///
    /// ```
    /// # use fluvial_core::io::{Format, RecordInput};
    /// # use fluvial_memory::MemoryManager;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("t.txt");
    /// std::fs::write(&path, "to be\nor not\nto be\n")?;
    /// let memory = MemoryManager::new(1 << 20)?.reserve("text", 0)?;
    /// let input = RecordInput::open(&[path.clone()], &Format::Text(Default::default()))?;
    /// let mut reader = input.lines(&input.splits()?[0], &memory)?;
    /// let at = reader.next_block()?.unwrap().find("not").unwrap();
    /// assert_eq!(reader.line_number(at), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn line_number(&self, at: usize) -> u64 {
        newlines_before(self.blocks.path(), self.blocks.offset() + at as u64) + 1
    }

    /// Calls `each` with every block of the split.
    ///
    /// # Errors
    /// Those of [`LineReader::next_block`] and of `each`.
    pub fn for_each_block(&mut self, mut each: impl FnMut(&str) -> Result<()>) -> Result<()> {
        while let Some(block) = self.next_block()? {
            each(block)?;
        }
        Ok(())
    }
}

/// The lines of a block, without their ends (`\n` or `\r\n`).
///
/// ```
/// use fluvial_core::io::lines;
/// assert_eq!(lines("a\r\nb\n\nc").collect::<Vec<_>>(), ["a", "b", "", "c"]);
/// ```
pub fn lines(block: &str) -> Lines<'_> {
    Lines { rest: block }
}

/// Iterator of [`lines`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a str,
}

impl<'a> Lines<'a> {
    /// What is left of the block.
    pub fn remainder(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let line = match memchr(b'\n', self.rest.as_bytes()) {
            Some(newline) => {
                let line = &self.rest[..newline];
                self.rest = &self.rest[newline + 1..];
                line
            }
            None => std::mem::take(&mut self.rest),
        };
        // By the byte: `strip_suffix` would compare by a call.
        match line.as_bytes().last() {
            Some(b'\r') => Some(&line[..line.len() - 1]),
            _ => Some(line),
        }
    }
}

impl FusedIterator for Lines<'_> {}

/// The schema of text.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8, false)]))
}

/// Text as batches of one column.
pub(super) struct TextReader {
    lines: LineReader,
    batch_rows: usize,
    /// What is left of the current block.
    rest: String,
    at: usize,
    given: u64,
}

impl TextReader {
    pub(super) fn new(lines: LineReader, batch_rows: usize) -> Self {
        Self { lines, batch_rows, rest: String::new(), at: 0, given: 0 }
    }
}

impl BatchReader for TextReader {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        let mut values: Vec<u8> = Vec::new();
        let mut offsets: Vec<i32> = vec![0];
        while offsets.len() <= self.batch_rows && (offsets.len() == 1 || values.len() < BATCH_BYTES) {
            if self.at == self.rest.len() {
                self.at = 0;
                self.rest.clear();
                match self.lines.next_block()? {
                    Some(block) => self.rest.push_str(block),
                    None => break,
                }
            }
            let mut lines = lines(&self.rest[self.at..]);
            for line in lines.by_ref().take(self.batch_rows + 1 - offsets.len()) {
                values.extend_from_slice(line.as_bytes());
                offsets.push(values.len() as i32);
            }
            self.at = self.rest.len() - lines.rest.len();
        }
        let rows = offsets.len() - 1;
        if rows == 0 {
            return Ok(None);
        }
        self.given += rows as u64;
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let column: ArrayRef = Arc::new(StringArray::try_new(offsets, values.into(), None)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(Some(RecordBatch::try_new_with_options(schema(), vec![column], &options)?))
    }

    fn position(&self) -> u64 {
        self.given
    }
}
