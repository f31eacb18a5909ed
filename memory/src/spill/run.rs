use super::file::SpillFile;
use super::manager::ManagerShared;
use super::reader::RunReader;
use crate::{Reservation, Result, RowShape, Waker};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One block of a run, as its index has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Rows in it.
    pub rows: u32,
    /// Bytes of its payload: the rows, and their lengths where rows vary.
    pub bytes: u32,
    /// Number in the run of its first row.
    pub first_row: u64,
    /// Where it lies in the file.
    pub(super) offset: u64,
    /// Bytes of its payload in the file.
    pub(super) stored: u32,
    pub(super) compressed: bool,
}

/// Rows written to a spill file, immutable. The file is gone when the last clone is dropped.
#[derive(Clone)]
pub struct Run {
    pub(super) shared: Arc<RunShared>,
}

pub(super) struct RunShared {
    pub(super) file: Arc<SpillFile>,
    /// Keeps the I/O threads.
    pub(super) manager: Arc<ManagerShared>,
    pub(super) shape: RowShape,
    pub(super) blocks: Vec<Block>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) max_row: usize,
}

impl Run {
    /// Rows in it.
    pub fn rows(&self) -> u64 {
        self.shared.rows
    }

    /// Bytes of the rows, without lengths and before compression.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes
    }

    /// Length of the longest row in bytes.
    pub fn max_row(&self) -> usize {
        self.shared.max_row
    }

    /// The rows' shape.
    pub fn shape(&self) -> RowShape {
        self.shared.shape
    }

    /// Its blocks in order.
    pub fn blocks(&self) -> &[Block] {
        &self.shared.blocks
    }

    /// Reads a range of blocks, with two buffers of the longest block if the reservation has them, or one.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`](crate::Error::RecordTooLarge) if the reservation cannot give one such buffer.
    pub fn reader(&self, blocks: Range<usize>, reservation: &Reservation, waker: Option<Waker>) -> Result<RunReader> {
        RunReader::new(self.clone(), blocks, reservation, waker)
    }

    /// Segments that one buffer of a reader of these blocks takes.
    pub fn buffer_segments(&self, blocks: Range<usize>) -> usize {
        super::reader::buffer_segments(&self.shared.blocks[blocks])
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("file", &self.shared.file.path())
            .field("rows", &self.rows())
            .field("bytes", &self.bytes())
            .field("blocks", &self.blocks().len())
            .finish()
    }
}
