use super::block::{self, HEAD};
use super::file::SpillFile;
use super::io::{Done, Job, Mailbox};
use super::manager::ManagerShared;
use super::run::{Block, Run, RunShared};
use crate::{Extent, Progress, Reservation, Result, RowShape, SEGMENT_SIZE, Waker};
use std::fmt;
use std::sync::Arc;

/// Blocks being written at a time.
const IN_FLIGHT: usize = 2;

/// Appends rows to a new run.
pub struct RunWriter {
    manager: Arc<ManagerShared>,
    file: Arc<SpillFile>,
    shape: RowShape,
    reservation: Reservation,
    answers: Arc<Mailbox>,
    /// The block being filled; `None` while every buffer is being written.
    current: Option<Extent>,
    /// Buffers that are free; of those that come back, so many are kept, the current one included.
    spare: Vec<Extent>,
    keep: usize,
    /// Bytes of `current` that are filled, the head's room included.
    filled: usize,
    /// Rows in `current`.
    rows_here: u32,
    segments: usize,
    in_flight: usize,
    blocks: Vec<Block>,
    rows: u64,
    bytes: u64,
    max_row: usize,
}

impl RunWriter {
    pub(super) fn new(
        manager: Arc<ManagerShared>,
        file: SpillFile,
        shape: RowShape,
        reservation: &Reservation,
        mut buffers: Vec<Extent>,
        waker: Option<Waker>,
    ) -> Self {
        let keep = buffers.len();
        let first = buffers.pop().expect("a writer has a buffer");
        Self {
            manager,
            file: Arc::new(file),
            shape,
            reservation: reservation.clone(),
            answers: Mailbox::new(waker),
            segments: first.segments(),
            current: Some(first),
            spare: buffers,
            keep,
            filled: HEAD,
            rows_here: 0,
            in_flight: 0,
            blocks: Vec::new(),
            rows: 0,
            bytes: 0,
            max_row: 0,
        }
    }

    /// Appends a row of any length.
    ///
    /// Without a waker it waits when write-behind is full. With one, ask [`RunWriter::ready`] between batches of rows
    /// and answer [`Progress::Waiting`] when it says no; a row pushed all the same waits for a buffer too.
    ///
    /// # Errors
    /// Of this write or of an earlier one.
    #[inline]
    pub fn push(&mut self, row: &[u8]) -> Result<()> {
        self.push_parts(row, &[])
    }

    /// Appends a row given in two parts.
    ///
    /// # Errors
    /// As [`RunWriter::push`].
    #[inline]
    pub fn push_parts(&mut self, front: &[u8], back: &[u8]) -> Result<()> {
        let length = front.len() + back.len();
        let prefix = if self.shape.row.is_some() { 0 } else { 4 };
        debug_assert!(self.shape.row.is_none_or(|width| width == length));
        if self.current.as_ref().is_none_or(|current| self.filled + prefix + length > current.len()) {
            self.turn(prefix + length)?;
        }
        let Some(current) = self.current.as_mut().filter(|current| self.filled + prefix + length <= current.len()) else {
            return self.push_long(front, back);
        };
        let room = &mut current[self.filled..self.filled + prefix + length];
        if prefix > 0 {
            room[..4].copy_from_slice(&(length as u32).to_le_bytes());
        }
        room[prefix..prefix + front.len()].copy_from_slice(front);
        room[prefix + front.len()..].copy_from_slice(back);
        self.filled += prefix + length;
        self.rows_here += 1;
        self.count(length);
        Ok(())
    }

    /// Number of the block that the last row went to, or that the next one will go to if that block is full.
    pub fn block(&self) -> usize {
        if self.rows_here == 0 { self.blocks.len().saturating_sub(1) } else { self.blocks.len() }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of rows so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a row can be pushed without waiting. If not, the waker is called when it can.
    pub fn ready(&self) -> bool {
        self.current.is_some() || !self.spare.is_empty() || !self.answers.is_empty()
    }

    /// Sends what is left to disk: [`Progress::Waiting`] while blocks are being written, then [`Progress::Done`].
    ///
    /// # Errors
    /// Of any write.
    pub fn flush(&mut self) -> Result<Progress> {
        self.submit();
        self.take_answers()?;
        Ok(if self.in_flight == 0 { Progress::Done } else { Progress::Waiting })
    }

    /// Ends the run. Waits for the last blocks unless [`RunWriter::flush`] said `Done`.
    ///
    /// # Errors
    /// Of any write.
    pub fn finish(self) -> Result<Run> {
        Ok(self.finish_with_buffers()?.0)
    }

    /// As [`RunWriter::finish`]; gives the buffers back, for the next writer.
    ///
    /// # Errors
    /// Of any write.
    pub fn finish_with_buffers(mut self) -> Result<(Run, Vec<Extent>)> {
        self.submit();
        while self.in_flight > 0 {
            let done = self.answers.wait();
            self.settle(done)?;
        }
        let shared = RunShared {
            file: self.file,
            manager: self.manager,
            shape: self.shape,
            blocks: self.blocks,
            rows: self.rows,
            bytes: self.bytes,
            max_row: self.max_row,
        };
        let buffers = self.current.into_iter().chain(self.spare).collect();
        Ok((Run { shared: Arc::new(shared) }, buffers))
    }

    /// The current block is full, or missing: sends it off and finds a buffer for a row that takes `needed` bytes.
    #[cold]
    fn turn(&mut self, needed: usize) -> Result<()> {
        self.submit();
        self.take_answers()?;
        if HEAD + needed > self.segments * SEGMENT_SIZE {
            return Ok(()); // a long row, which has its own way
        }
        while self.current.is_none() {
            self.current = self.spare.pop();
            if self.current.is_some() {
                break;
            }
            // One buffer is always kept, here or in flight, so there is an answer to wait for.
            if self.in_flight < IN_FLIGHT {
                self.current = self.reservation.alloc_extent(self.segments);
            }
            if self.current.is_none() {
                let done = self.answers.wait();
                self.settle(done)?;
            }
        }
        Ok(())
    }

    /// A row that is longer than a block.
    fn push_long(&mut self, front: &[u8], back: &[u8]) -> Result<()> {
        let length = front.len() + back.len();
        let prefix: &[u8] = if self.shape.row.is_some() { &[] } else { &(length as u32).to_le_bytes() };
        let bytes = prefix.len() + length;
        let first_row = self.rows;
        let block = Block { rows: 1, bytes: bytes as u32, first_row, ..Block::default() };
        self.count(length);
        let segments = (HEAD + bytes).div_ceil(SEGMENT_SIZE);
        let buffer = if self.in_flight < IN_FLIGHT { self.reservation.alloc_extent(segments) } else { None };
        match buffer {
            Some(mut buffer) => {
                let room = &mut buffer[HEAD..HEAD + bytes];
                room[..prefix.len()].copy_from_slice(prefix);
                room[prefix.len()..prefix.len() + front.len()].copy_from_slice(front);
                room[prefix.len() + front.len()..].copy_from_slice(back);
                self.send(block, buffer);
            }
            None => {
                // No memory for a copy, so the row is written from where it lies, here and now.
                let offset = block::write_row(&self.file, prefix, front, back)?;
                self.file.written(bytes as u64);
                self.blocks.push(Block { offset, stored: block.bytes, ..block });
            }
        }
        Ok(())
    }

    #[inline]
    fn count(&mut self, length: usize) {
        self.rows += 1;
        self.bytes += length as u64;
        self.max_row = self.max_row.max(length);
    }

    /// Sends the current block off, if it has rows.
    fn submit(&mut self) {
        if self.rows_here > 0
            && let Some(buffer) = self.current.take()
        {
            let first_row = self.rows - u64::from(self.rows_here);
            let bytes = (self.filled - HEAD) as u32;
            self.send(Block { rows: self.rows_here, bytes, first_row, ..Block::default() }, buffer);
            self.filled = HEAD;
            self.rows_here = 0;
        }
    }

    fn send(&mut self, block: Block, buffer: Extent) {
        let index = self.blocks.len();
        self.blocks.push(block);
        self.in_flight += 1;
        let (file, answer) = (self.file.clone(), self.answers.clone());
        self.manager.io.submit(Job { file, index, block, write: true, buffer, answer });
    }

    fn take_answers(&mut self) -> Result<()> {
        let done = self.answers.take();
        self.settle(done)
    }

    /// Notes where blocks went. Buffers beyond those to keep go back to the reservation.
    fn settle(&mut self, done: Vec<Done>) -> Result<()> {
        let mut outcome = Ok(());
        for Done { index, block, buffer, result } in done {
            self.in_flight -= 1;
            self.blocks[index] = block;
            outcome = outcome.and(result);
            let at_hand = self.spare.len() + usize::from(self.current.is_some());
            if at_hand < self.keep && buffer.segments() == self.segments {
                self.spare.push(buffer);
            }
        }
        outcome
    }
}

impl fmt::Debug for RunWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunWriter").field("file", &self.file.path()).field("rows", &self.rows).finish_non_exhaustive()
    }
}
