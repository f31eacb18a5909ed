use super::{RowFormat, least, sort_reservation};
use crate::graph::TaskContext;
use crate::{Batch, Progress, Records, Result};
use fluvial_memory::{Reservation, RowBatch, RowShape};
use fluvial_operators::{ExternalSort, KeyRange, MergeReader, SortOptions, SortedSet};

/// Rows read from sorted runs at a time.
const READ_ROWS: usize = 1024;
const READ_BYTES: usize = 256 << 10;

/// Collects the rows of one worker and gives them back grouped by key, the keys in order; rows of one key in the order in
/// which they came. Spills like any sort.
pub(crate) struct Grouping {
    sort: ExternalSort,
    reservation: Reservation,
    shape: RowShape,
    rows: RowBatch,
}

impl Grouping {
    pub(crate) fn open(format: &impl RowFormat, context: &TaskContext) -> Result<Self> {
        let reservation = sort_reservation(context, least::GROUPING)?;
        let shape = format.shape();
        let options = SortOptions { shape, schema: format.schema() };
        let sort = ExternalSort::new(&reservation, &context.spill, options, Some(context.waker.clone()))?;
        Ok(Self { sort, reservation, shape, rows: RowBatch::new(shape) })
    }

    /// Takes a batch, as rows or as what `format` encodes.
    pub(crate) fn push(&mut self, format: &mut impl RowFormat, batch: Batch) -> Result<Progress> {
        match batch.records {
            Records::Rows(rows) => Ok(self.sort.push(&rows)?),
            _ => {
                self.rows.clear();
                format.encode(batch, &mut self.rows)?;
                Ok(self.sort.push(&self.rows)?)
            }
        }
    }

    pub(crate) fn resume(&mut self) -> Result<Progress> {
        Ok(self.sort.resume()?)
    }

    pub(crate) fn finish(&mut self) -> Result<Progress> {
        Ok(self.sort.finish()?)
    }

    /// The sorted rows, once `finish` has said `Done`. Reading them waits for the disk where it must: a user's function that
    /// takes an iterator cannot be interrupted.
    pub(crate) fn into_rows(self) -> Result<GroupedRows> {
        let set = SortedSet::new(vec![self.sort.into_runs()?]);
        let reader = set.merge(KeyRange::ALL, &self.reservation, None);
        Ok(GroupedRows { reader, shape: self.shape, rows: RowBatch::new(self.shape), at: 0, ended: false })
    }
}

/// A position in sorted rows.
pub(crate) struct GroupedRows {
    reader: MergeReader,
    shape: RowShape,
    rows: RowBatch,
    at: usize,
    ended: bool,
}

impl GroupedRows {
    /// The next row, which stays the next one.
    pub(crate) fn peek(&mut self) -> Result<Option<&[u8]>> {
        while self.at == self.rows.len() {
            if self.ended {
                return Ok(None);
            }
            self.rows.clear();
            self.at = 0;
            self.ended = self.reader.pull(&mut self.rows, READ_ROWS, READ_BYTES)? == Progress::Done;
        }
        Ok(Some(self.rows.row(self.at)))
    }

    /// The key of the next row.
    pub(crate) fn peek_key(&mut self) -> Result<Option<&[u8]>> {
        let shape = self.shape;
        Ok(self.peek()?.map(|row| shape.key(row)))
    }

    /// Moves past the next row.
    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }

    /// Moves past all rows of this key.
    pub(crate) fn skip_key(&mut self, key: &[u8]) -> Result<()> {
        while self.peek_key()? == Some(key) {
            self.advance();
        }
        Ok(())
    }

    pub(crate) fn shape(&self) -> RowShape {
        self.shape
    }
}
