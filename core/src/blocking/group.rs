use super::{RowFormat, least, sort_reservation};
use crate::graph::TaskContext;
use crate::{Batch, Progress, Records, Result};
use fluvial_memory::{Reservation, RowBatch, RowShape};
use fluvial_operators::{AdjacentRows, ExternalSort, KeyRange, MergeReader, SortOptions, SortedRows, SortedSet};

/// Rows read from sorted runs at a time.
const READ_ROWS: usize = 1024;
const READ_BYTES: usize = 256 << 10;

/// Collects the rows of one worker and gives them back grouped by key, the keys in order; rows of one key in the order in
/// which they came. Spills like any sort; short rows are sorted by what needs no entries for them while they all fit in memory.
pub(crate) struct Grouping {
    sort: ExternalSort,
    reservation: Reservation,
    shape: RowShape,
    rows: RowBatch,
    /// What holds the rows as long as they fit, in memory that nobody has been promised.
    adjacent: Option<AdjacentRows>,
    /// On their way from there to the sort.
    leaving: Option<Box<AdjacentRows>>,
    /// What became of rows that fit.
    sorted: Option<Box<SortedRows>>,
}

impl Grouping {
    pub(crate) fn open(format: &impl RowFormat, context: &TaskContext) -> Result<Self> {
        let reservation = sort_reservation(context, least::GROUPING)?;
        let shape = format.shape();
        let options = SortOptions { shape, schema: format.schema() };
        let sort = ExternalSort::new(&reservation, &context.spill, options, Some(context.waker.clone()))?;
        let adjacent = AdjacentRows::new(&context.memory.reserve(&context.name, 0)?, shape);
        Ok(Self { sort, reservation, shape, rows: RowBatch::new(shape), adjacent, leaving: None, sorted: None })
    }

    /// Takes a batch, as rows or as what `format` encodes.
    pub(crate) fn push(&mut self, format: &mut impl RowFormat, batch: Batch) -> Result<Progress> {
        let rows = match batch.records {
            Records::Rows(rows) => rows,
            _ => {
                let mut rows = std::mem::replace(&mut self.rows, RowBatch::new(self.shape));
                rows.clear();
                format.encode(batch, &mut rows)?;
                rows
            }
        };
        let Some(mut adjacent) = self.adjacent.take() else {
            let progress = self.sort.push(&rows)?;
            self.rows = rows;
            return Ok(progress);
        };
        let taken = adjacent.push(&rows);
        if taken == rows.len() {
            self.adjacent = Some(adjacent);
            self.rows = rows;
            return Ok(Progress::Done);
        }
        // What is left of the batch comes after what has been collected.
        self.rows.clear();
        (taken..rows.len()).for_each(|i| self.rows.push_row(rows.row(i)));
        self.leaving = Some(Box::new(adjacent));
        self.leave()
    }

    /// Gives the sort the rows that do not stay where they were collected, and those of the batch in hand.
    fn leave(&mut self) -> Result<Progress> {
        let mut rows = RowBatch::new(self.shape);
        while let Some(leaving) = &mut self.leaving {
            let progress = if leaving.take(&mut rows) {
                self.sort.push(&rows)?
            } else {
                self.leaving = None;
                let last = std::mem::replace(&mut self.rows, RowBatch::new(self.shape));
                self.sort.push(&last)?
            };
            if progress != Progress::Done {
                return Ok(progress);
            }
        }
        Ok(Progress::Done)
    }

    pub(crate) fn resume(&mut self) -> Result<Progress> {
        match self.sort.resume()? {
            Progress::Done if self.leaving.is_some() => self.leave(),
            other => Ok(other),
        }
    }

    pub(crate) fn finish(&mut self) -> Result<Progress> {
        match self.adjacent.take().map(AdjacentRows::sort) {
            Some(Ok(sorted)) => self.sorted = Some(Box::new(sorted)),
            Some(Err(rows)) => {
                self.rows.clear();
                self.leaving = Some(rows);
            }
            None => {}
        }
        if self.sorted.is_some() {
            return Ok(Progress::Done);
        }
        match self.resume()? {
            Progress::Done => Ok(self.sort.finish()?),
            other => Ok(other),
        }
    }

    /// The sorted rows, once `finish` has said `Done`. Reading them waits for the disk where it must: a user's function that
    /// takes an iterator cannot be interrupted.
    pub(crate) fn into_rows(self) -> Result<GroupedRows> {
        let reader = match self.sorted {
            Some(sorted) => Reader::Adjacent(sorted),
            None => {
                let set = SortedSet::new(vec![self.sort.into_runs()?]);
                Reader::Merge(Box::new(set.merge(KeyRange::ALL, &self.reservation, None)))
            }
        };
        Ok(GroupedRows { reader, shape: self.shape, rows: RowBatch::new(self.shape), at: 0, ended: false })
    }
}

enum Reader {
    Merge(Box<MergeReader>),
    Adjacent(Box<SortedRows>),
}

/// A position in sorted rows.
pub(crate) struct GroupedRows {
    reader: Reader,
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
            let progress = match &mut self.reader {
                Reader::Merge(reader) => reader.pull(&mut self.rows, READ_ROWS, READ_BYTES)?,
                Reader::Adjacent(rows) => rows.pull(&mut self.rows, READ_ROWS, READ_BYTES),
            };
            self.ended = progress == Progress::Done;
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
