//! Cuts what is read into blocks of whole lines.

use crate::chain::{BoxCollector, Context};
use crate::io;
use memchr::{memchr_iter, memrchr};

/// Some lines of text, all of them whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TextBlock {
    /// The split (a file, a connection) that they belong to.
    pub(super) split: u32,
    /// Where the text begins in its split, in bytes.
    offset: u64,
    text: String,
    /// Bytes of the text that were pushed.
    pushed: usize,
}

impl TextBlock {
    /// Pushes at most `most` lines; says how many.
    pub(super) fn push(&mut self, most: usize, next: &mut BoxCollector<String>, context: &mut Context<'_>) -> usize {
        let mut lines = io::lines(&self.text[self.pushed..]);
        let mut count = 0;
        for line in lines.by_ref().take(most) {
            next.push(line.to_owned(), context);
            count += 1;
        }
        self.pushed = self.text.len() - lines.remainder().len();
        count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pushed == self.text.len()
    }

    /// The byte of the split up to which lines were pushed.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.pushed as u64
    }
}

/// Collects bytes until there are whole lines.
pub(super) struct LineCutter {
    split: u32,
    /// Longest line that is taken, in bytes.
    longest: usize,
    buffer: Vec<u8>,
    /// Where the buffer begins in its split.
    offset: u64,
    /// Number of the line at the buffer's begin, from 1.
    line: u64,
    /// Bytes that are known to hold no newline.
    searched: usize,
}

impl LineCutter {
    /// For a split that is read from a byte on, where line number `line` begins.
    pub(super) fn new(split: u32, longest: usize, offset: u64, line: u64) -> Self {
        Self { split, longest, buffer: Vec::new(), offset, line, searched: 0 }
    }

    /// Where what is read goes: at its end.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The byte up to which the split was read.
    pub(super) fn read_to(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Takes the whole lines out of the buffer, if there are any.
    ///
    /// # Errors
    /// Line and byte of what is too long or not UTF-8.
    pub(super) fn cut(&mut self) -> Result<Option<TextBlock>, String> {
        if self.offset == 0 && self.buffer.starts_with(io::BYTE_ORDER_MARK) {
            self.offset = io::BYTE_ORDER_MARK.len() as u64;
            self.buffer.drain(..io::BYTE_ORDER_MARK.len());
        }
        match memrchr(b'\n', &self.buffer[self.searched..]) {
            Some(newline) => {
                // The buffer stays with the reader: it is much larger than the lines that come at a time.
                let end = self.searched + newline + 1;
                let block = self.buffer[..end].to_vec();
                self.buffer.drain(..end);
                self.searched = self.buffer.len();
                self.check_length(self.buffer.len(), self.line + newlines(&block), self.offset + block.len() as u64)?;
                self.block(block).map(Some)
            }
            None => {
                self.searched = self.buffer.len();
                self.check_length(self.buffer.len(), self.line, self.offset)?;
                Ok(None)
            }
        }
    }

    /// The last line, which has no newline, if there is one: the split has ended.
    ///
    /// # Errors
    /// As those of [`LineCutter::cut`].
    pub(super) fn rest(&mut self) -> Result<Option<TextBlock>, String> {
        self.searched = 0;
        let rest = std::mem::take(&mut self.buffer);
        if rest.is_empty() { Ok(None) } else { self.block(rest).map(Some) }
    }

    /// The split goes on with a new line somewhere else.
    pub(super) fn discard(&mut self) -> usize {
        self.searched = 0;
        std::mem::take(&mut self.buffer).len()
    }

    fn check_length(&self, length: usize, line: u64, offset: u64) -> Result<(), String> {
        if length > self.longest {
            return Err(format!("line {line}, byte {offset}: a line of more than {} bytes", self.longest));
        }
        Ok(())
    }

    fn block(&mut self, bytes: Vec<u8>) -> Result<TextBlock, String> {
        if bytes.len() > self.longest {
            let (mut begin, mut line) = (0, self.line);
            for newline in memchr_iter(b'\n', &bytes).chain([bytes.len()]) {
                self.check_length(newline - begin, line, self.offset + begin as u64)?;
                (begin, line) = (newline + 1, line + 1);
            }
        }
        let offset = self.offset;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let bytes = error.as_bytes();
            let line = self.line + newlines(&bytes[..valid]);
            format!("line {line}, byte {}: not UTF-8 (0x{:02x})", offset + valid as u64, bytes[valid])
        })?;
        self.line += newlines(text.as_bytes());
        self.offset += text.len() as u64;
        Ok(TextBlock { split: self.split, offset, text, pushed: 0 })
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces; the lines with the byte after each, or the error.
    fn cut(bytes: &[u8], piece: usize, longest: usize) -> Result<(Vec<String>, u64), String> {
        let mut cutter = LineCutter::new(0, longest, 0, 1);
        let (mut lines, mut end) = (Vec::new(), 0);
        let mut take = |block: Option<TextBlock>| {
            let Some(mut block) = block else { return };
            lines.extend(io::lines(&block.text).map(str::to_owned));
            block.pushed = block.text.len();
            end = block.position();
        };
        for piece in bytes.chunks(piece) {
            cutter.buffer().extend_from_slice(piece);
            take(cutter.cut()?);
        }
        take(cutter.rest()?);
        Ok((lines, end))
    }

    #[test]
    fn what_is_wrong_is_named_by_line_and_byte() {
        for piece in 1..20 {
            let error = cut(b"one\ntwo\nth\xffee\n", piece, 100).unwrap_err();
            assert_eq!(error, "line 3, byte 10: not UTF-8 (0xff)");
            let error = cut(b"one\ntwo\nthirty-three\nfour\n", piece, 5).unwrap_err();
            assert_eq!(error, "line 3, byte 8: a line of more than 5 bytes");
            let error = cut(b"one\ntwo\nthirty-three", piece, 5).unwrap_err();
            assert_eq!(error, "line 3, byte 8: a line of more than 5 bytes");
        }
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_line() {
        assert_eq!(cut(b"\xef\xbb\xbfa\r\n\nb", 100, 100), Ok((vec!["a".into(), "".into(), "b".into()], 8)));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_come(text in "[a-c\nä]{0,60}", piece in 1usize..20) {
            let (lines, end) = cut(text.as_bytes(), piece, 100).unwrap();
            prop_assert_eq!(lines, text.lines().map(str::to_owned).collect::<Vec<_>>());
            prop_assert_eq!(end, text.len() as u64);
        }
    }
}
