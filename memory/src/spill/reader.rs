use super::block::HEAD;
use super::io::{Done, Job, Mailbox};
use super::run::{Block, Run};
use crate::{Error, Extent, Reservation, Result, SEGMENT_SIZE, Waker};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// What [`RunReader::advance`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A row, in [`RunReader::row`].
    Row,
    /// The next block is being read; the waker is called when it is there. Only with a waker.
    Waiting,
    /// No more rows.
    End,
}

/// Reads rows of a range of blocks in order, reading ahead.
pub struct RunReader {
    run: Run,
    answers: Arc<Mailbox>,
    /// Width of every row, or 0 where each has its length before it.
    width: usize,
    /// The block being read, and its number.
    current: Option<Extent>,
    /// The row at hand within `current`.
    row: Range<usize>,
    /// Where the next row starts, and where the block's payload ends.
    next: usize,
    end: usize,
    /// Blocks asked for, in order; those that arrived with their buffers.
    asked: VecDeque<(usize, Option<Extent>)>,
    /// The first block not yet asked for, and where to stop.
    ahead: usize,
    stop: usize,
}

/// Segments that hold the longest of these blocks.
pub(super) fn buffer_segments(blocks: &[Block]) -> usize {
    let longest = blocks.iter().map(|b| b.bytes as usize).max().unwrap_or(0);
    (HEAD + longest).div_ceil(SEGMENT_SIZE)
}

impl RunReader {
    pub(super) fn new(run: Run, blocks: Range<usize>, reservation: &Reservation, waker: Option<Waker>) -> Result<Self> {
        let segments = run.buffer_segments(blocks.clone());
        let wanted = blocks.len().min(2);
        let buffers: Vec<_> = (0..wanted).map_while(|_| reservation.alloc_extent(segments)).collect();
        if buffers.is_empty() && wanted > 0 {
            return Err(Error::RecordTooLarge {
                operator: reservation.operator().to_owned(),
                record: run.max_row(),
                available: (reservation.held() - reservation.used()) * SEGMENT_SIZE,
            });
        }
        Ok(Self::with_buffers(run, blocks, buffers, waker))
    }

    /// Reads a range of blocks with the buffers given: at least one, each of at least [`Run::buffer_segments`].
    ///
    /// # Panics
    /// If a buffer is too short, or there is none for blocks to read.
    pub fn with_buffers(run: Run, blocks: Range<usize>, buffers: Vec<Extent>, waker: Option<Waker>) -> Self {
        let segments = run.buffer_segments(blocks.clone());
        assert!(buffers.iter().all(|b| b.segments() >= segments), "a buffer holds the longest block");
        assert!(!buffers.is_empty() || blocks.is_empty(), "a reader has a buffer");
        let mut reader = Self {
            answers: Mailbox::new(waker),
            width: run.shape().row.unwrap_or(0),
            current: None,
            row: 0..0,
            next: 0,
            end: 0,
            asked: VecDeque::with_capacity(buffers.len()),
            ahead: blocks.start,
            stop: blocks.end,
            run,
        };
        for buffer in buffers {
            reader.ask(buffer);
        }
        reader
    }

    /// Goes to the next row.
    ///
    /// # Errors
    /// If a block could not be read or is not what was written.
    #[inline]
    pub fn advance(&mut self) -> Result<Step> {
        if self.next == self.end {
            match self.turn()? {
                Step::Row => {}
                other => return Ok(other),
            }
        }
        self.row = if self.run.shared.shape.row.is_some() { self.next..self.next + self.width } else { self.measure()? };
        self.next = self.row.end;
        Ok(Step::Row)
    }

    /// Goes to all rows that are left of the block at hand, or else to those of the next block: [`RunReader::row`] is then
    /// all of them, one after another, each after its length (`u32`, little endian) unless all have one width.
    ///
    /// # Errors
    /// As [`RunReader::advance`].
    pub fn advance_block(&mut self) -> Result<Step> {
        if self.next == self.end {
            match self.turn()? {
                Step::Row => {}
                other => return Ok(other),
            }
        }
        self.row = self.next..self.end;
        self.next = self.end;
        Ok(Step::Row)
    }

    /// The row that the last [`RunReader::advance`] went to; valid until the next.
    ///
    /// Empty before the first and after the last.
    #[inline]
    pub fn row(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |current| &current[self.row.clone()])
    }

    /// Where the row after this one lies, given the bytes before it.
    #[inline]
    fn measure(&self) -> Result<Range<usize>> {
        let block = self.current.as_ref().map_or(&[][..], |current| &current[..self.end]);
        if let Some(prefix) = block.get(self.next..self.next + 4) {
            let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
            let start = self.next + 4;
            if length <= self.end - start {
                return Ok(start..start + length);
            }
        }
        Err(self.run.shared.file.corrupt(0, format!("a row at byte {} of its block passes the block's end", self.next - HEAD)))
    }

    /// Goes to the next block: `Row` if it is there.
    #[cold]
    fn turn(&mut self) -> Result<Step> {
        self.row = 0..0;
        if let Some(buffer) = self.current.take() {
            self.ask(buffer);
        }
        let done = self.answers.take();
        self.settle(done)?;
        loop {
            let (index, arrived) = match self.asked.front_mut() {
                None => return Ok(Step::End),
                Some((index, buffer)) => (*index, buffer.take()),
            };
            if let Some(buffer) = arrived {
                self.asked.pop_front();
                let block = &self.run.shared.blocks[index];
                (self.next, self.end) = (HEAD, HEAD + block.bytes as usize);
                if self.width > 0 && block.bytes as usize != self.width * block.rows as usize {
                    let what = format!("{} rows of {} bytes expected, {} bytes found", block.rows, self.width, block.bytes);
                    return Err(self.run.shared.file.corrupt(block.offset, what));
                }
                self.current = Some(buffer);
                return Ok(Step::Row);
            }
            if self.answers.wakes() {
                return Ok(Step::Waiting);
            }
            let done = self.answers.wait();
            self.settle(done)?;
        }
    }

    /// Asks for the next block into `buffer`; without one the buffer goes back.
    fn ask(&mut self, buffer: Extent) {
        if self.ahead < self.stop {
            let (index, run) = (self.ahead, &self.run.shared);
            let (file, answer) = (run.file.clone(), self.answers.clone());
            self.asked.push_back((index, None));
            self.ahead += 1;
            run.manager.io.submit(Job { file, index, block: run.blocks[index], write: false, buffer, answer });
        }
    }

    fn settle(&mut self, done: Vec<Done>) -> Result<()> {
        let mut outcome = Ok(());
        for Done { index, buffer, result, .. } in done {
            outcome = outcome.and(result);
            if let Some(asked) = self.asked.iter_mut().find(|asked| asked.0 == index) {
                asked.1 = Some(buffer);
            }
        }
        outcome
    }
}

impl fmt::Debug for RunReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunReader").field("run", &self.run).field("ahead", &self.ahead).finish_non_exhaustive()
    }
}
