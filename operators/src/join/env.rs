//! What every part of a join knows: its memory, its spill files, its options, and in which form rows are kept.

use super::kind::{JoinKind, Side};
use super::spool::{SpoolContext, Stash};
use super::{JoinOptions, JoinOutput};
use fluvial_memory::{
    Error, Extent, KeyWidth, Reservation, Result, RowBatch, RowShape, Run, RunReader, RunWriter, SEGMENT_SIZE, SpillManager,
    Waker, hash,
};

/// Segments of a block beyond which one buffer must do for a reader.
const LONG_BLOCK: usize = 32;

/// The form in which the rows of a side are kept, in memory and on disk: the row, or only its key where the row is not
/// part of the result; after a count of equal rows (`u64`) where only numbers are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    shape: RowShape,
    counted: bool,
    key_only: bool,
}

impl Stored {
    fn prefix(&self) -> usize {
        if self.counted { 8 } else { 0 }
    }

    /// As a shape for pages and runs, which need only know the width.
    pub(crate) fn shape(&self) -> RowShape {
        let width = match (self.key_only, self.shape.key) {
            (true, KeyWidth::Fixed(key)) => Some(key),
            (true, KeyWidth::Variable) => None,
            (false, _) => self.shape.row,
        };
        RowShape { key: KeyWidth::Fixed(0), row: width.map(|w| w + self.prefix()) }
    }

    /// Width of the rows, if all have the same and stand for themselves.
    pub(crate) fn plain_width(&self) -> Option<usize> {
        if self.counted || self.key_only { None } else { self.shape.row }
    }

    /// Width of the stored rows, if all have the same.
    pub(crate) fn width(&self) -> Option<usize> {
        self.shape().row
    }

    /// The stored form of an incoming row.
    #[inline]
    pub(crate) fn store<'a>(&self, row: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let row = if self.key_only { &row[..self.shape.key_range(row).end] } else { row };
        if !self.counted {
            return row;
        }
        scratch.clear();
        scratch.extend_from_slice(&1u64.to_le_bytes());
        scratch.extend_from_slice(row);
        scratch
    }

    /// The key of a stored row.
    #[inline]
    pub(crate) fn key<'a>(&self, stored: &'a [u8]) -> &'a [u8] {
        self.shape.key(&stored[self.prefix()..])
    }

    /// How many rows a stored row stands for.
    #[inline]
    pub(crate) fn count(&self, stored: &[u8]) -> u64 {
        match stored.first_chunk::<8>() {
            Some(count) if self.counted => u64::from_le_bytes(*count),
            _ => 1,
        }
    }

    /// Adds to the number of rows that a stored row stands for.
    pub(crate) fn add_count(&self, stored: &mut [u8], more: u64) {
        let count = self.count(stored) + more;
        stored[..8].copy_from_slice(&count.to_le_bytes());
    }
}

/// What becomes of a further row with a key that a table has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// It is kept in the key's list.
    List,
    /// It is not needed.
    Drop,
    /// It is counted.
    Count,
}

pub(crate) struct Env {
    pub reservation: Reservation,
    pub spill: SpillManager,
    pub waker: Option<Waker>,
    pub kind: JoinKind,
    pub count_only: bool,
    operator: String,
    schemas: [String; 2],
    stash: Stash,
    stored: [Stored; 2],
}

impl Env {
    /// With a stash of so many segments for spools.
    pub(crate) fn new(
        reservation: Reservation,
        spill: SpillManager,
        options: &JoinOptions,
        waker: Option<Waker>,
        stash: usize,
    ) -> Self {
        let count_only = options.output == JoinOutput::CountOnly;
        let stored = |side: Side, shape| Stored { shape, counted: count_only, key_only: count_only || !options.kind.emits(side) };
        Self {
            stash: Stash::new(&reservation, stash),
            reservation,
            spill,
            waker,
            kind: options.kind,
            count_only,
            operator: options.operator.clone(),
            schemas: [options.left_schema.clone(), options.right_schema.clone()],
            stored: [stored(Side::Left, options.left), stored(Side::Right, options.right)],
        }
    }

    pub(crate) fn stored(&self, side: Side) -> Stored {
        self.stored[side.index()]
    }

    /// What a spool of a side's rows, of this shape, writes its file with; with at most so many segments in memory.
    pub(crate) fn spool_context(&self, side: Side, shape: RowShape, most: usize) -> SpoolContext {
        SpoolContext {
            reservation: self.reservation.clone(),
            spill: self.spill.clone(),
            waker: self.waker.clone(),
            operator: self.operator.clone(),
            schema: self.schemas[side.index()].clone(),
            shape,
            stash: self.stash.clone(),
            most,
        }
    }

    /// What becomes of further build rows with the same key.
    pub(crate) fn merge(&self, build: Side) -> Merge {
        if self.count_only {
            Merge::Count
        } else if self.kind.emits(build) {
            Merge::List
        } else {
            Merge::Drop
        }
    }

    /// The bits that partitions and directories of a level are made of.
    #[inline]
    pub(crate) fn mixed(&self, key: &[u8], level: u32) -> u64 {
        hash::remix(hash::hash_bytes(key), level)
    }

    /// The pool does not even have the minimum.
    pub(crate) fn too_small(&self) -> Error {
        Error::BudgetTooSmall {
            operator: self.operator.clone(),
            needed: super::MINIMUM_SEGMENTS * SEGMENT_SIZE,
            available: self.reservation.held() * SEGMENT_SIZE,
            budget: self.reservation.limit() * SEGMENT_SIZE,
        }
    }

    /// A batch that takes stored rows of any side.
    pub(crate) fn scratch_batch() -> RowBatch {
        RowBatch::new(RowShape { key: KeyWidth::Fixed(0), row: None })
    }

    /// A writer of stored rows with this buffer.
    pub(crate) fn writer(&self, side: Side, buffer: Extent) -> Result<RunWriter> {
        let (shape, schema) = (self.stored(side).shape(), &self.schemas[side.index()]);
        self.spill.writer_with(&self.operator, shape, schema, &self.reservation, vec![buffer], self.waker.clone())
    }

    /// A reader of a whole run. Blocks of very long rows are not read ahead: two buffers of them could be all there is.
    pub(crate) fn reader(&self, run: &Run) -> Result<RunReader> {
        let blocks = 0..run.blocks().len();
        let segments = run.buffer_segments(blocks.clone());
        if segments > LONG_BLOCK
            && let Some(buffer) = self.reservation.alloc_extent(segments)
        {
            return Ok(RunReader::with_buffers(run.clone(), blocks, vec![buffer], self.waker.clone()));
        }
        run.reader(blocks, &self.reservation, self.waker.clone())
    }
}
