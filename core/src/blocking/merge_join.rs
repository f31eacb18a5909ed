use super::join::rows_of;
use super::{OUTPUT_ROWS, RowFormat, least, sort_reservation};
use crate::graph::TaskContext;
use crate::{Batch, Error, Operator, Output, Progress, Result, Waker};
use fluvial_memory::{Reservation, RowBatch};
use fluvial_operators::{ExternalSort, JoinOptions, JoinOutput, JoinedBatch, KeyRange, MergeReader, Side, SortMergeJoin};
use fluvial_operators::{SortOptions, SortedSet};

/// Bytes of sorted rows that are handed to the join at a time.
const FEED_BYTES: usize = 256 << 10;

/// Joins two streams by sorting both and walking them together; input 0 is the left one.
pub(crate) struct MergeJoinOperator<L, R, M> {
    left: L,
    right: R,
    make: M,
    sorts: [Sorted; 2],
    join: SortMergeJoin,
    joined: JoinedBatch,
    /// Sorted rows on their way into the join.
    rows: [RowBatch; 2],
    nulls: Vec<bool>,
    counts: bool,
    done: bool,
    waker: Waker,
}

/// One side: while it is sorted, and when it is.
enum Sorted {
    Sorting(Box<ExternalSort>, Reservation),
    Merging(Box<MergeReader>),
    Ended,
}

impl<L: RowFormat, R: RowFormat, M> MergeJoinOperator<L, R, M>
where
    M: FnMut(&JoinedBatch, &L, &R) -> Result<Batch>,
{
    /// With [`JoinOutput::CountOnly`] the result is one `u128` a worker.
    pub(crate) fn open(mut options: JoinOptions, left: L, right: R, make: M, context: &TaskContext) -> Result<Self> {
        options.operator = context.name.clone();
        options.left_schema = left.schema();
        options.right_schema = right.schema();
        let sort = |shape, schema: &str| -> Result<Sorted> {
            let reservation = sort_reservation(context, least::SORT)?;
            let options = SortOptions { shape, schema: schema.to_owned() };
            let sort = ExternalSort::new(&reservation, &context.spill, options, Some(context.waker.clone()))?;
            Ok(Sorted::Sorting(Box::new(sort), reservation))
        };
        let sorts = [sort(options.left, &options.left_schema)?, sort(options.right, &options.right_schema)?];
        let joined = JoinedBatch::new(options.kind, options.left, options.right);
        let rows = [RowBatch::new(options.left), RowBatch::new(options.right)];
        let counts = options.output == JoinOutput::CountOnly;
        let reservation = context.reserve(least::JOIN)?;
        let join = SortMergeJoin::new(reservation, context.spill.clone(), options, Some(context.waker.clone()))?;
        let waker = context.waker.clone();
        Ok(Self { left, right, make, sorts, join, joined, rows, nulls: Vec::new(), counts, done: false, waker })
    }

    /// Ends both sorts, so that their rows can be read in order.
    fn seal(&mut self) -> Result<Progress> {
        for sorted in &mut self.sorts {
            let Sorted::Sorting(sort, _) = sorted else { continue };
            match sort.finish()? {
                Progress::Done => {}
                other => return Ok(other),
            }
            if let Sorted::Sorting(sort, reservation) = std::mem::replace(sorted, Sorted::Ended) {
                let set = SortedSet::new(vec![sort.into_runs()?]);
                *sorted = Sorted::Merging(Box::new(set.merge(KeyRange::ALL, &reservation, Some(self.waker.clone()))));
            }
        }
        Ok(Progress::Done)
    }

    /// Gives the join the next rows of a side. `Waiting` while they come from the disk.
    fn feed(&mut self, side: Side) -> Result<Progress> {
        let (sorted, rows) = (&mut self.sorts[side as usize], &mut self.rows[side as usize]);
        rows.clear();
        let progress = match sorted {
            Sorted::Merging(reader) => reader.pull(rows, OUTPUT_ROWS, FEED_BYTES)?,
            Sorted::Sorting(..) | Sorted::Ended => Progress::Done,
        };
        self.nulls.clear();
        match side {
            Side::Left => self.left.null_keys(rows, &mut self.nulls)?,
            Side::Right => self.right.null_keys(rows, &mut self.nulls)?,
        }
        let nulls = self.nulls.contains(&true).then_some(self.nulls.as_slice());
        if !rows.is_empty() {
            self.join.push(side, rows, nulls)?;
        }
        if progress == Progress::Done {
            *sorted = Sorted::Ended;
            self.join.end(side)?;
        }
        Ok(if rows.is_empty() { progress } else { Progress::More })
    }
}

impl<L: RowFormat, R: RowFormat, M> Operator for MergeJoinOperator<L, R, M>
where
    M: FnMut(&JoinedBatch, &L, &R) -> Result<Batch> + 'static,
{
    fn process(&mut self, input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
        let rows = match input {
            0 => rows_of(&mut self.left, batch)?,
            1 => rows_of(&mut self.right, batch)?,
            other => return Err(Error::Plan(format!("a join has two inputs, got input {other}"))),
        };
        match &mut self.sorts[input] {
            Sorted::Sorting(sort, _) => Ok(sort.push(&rows)?),
            Sorted::Merging(_) | Sorted::Ended => unreachable!("records come before the end of the input"),
        }
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        for sorted in &mut self.sorts {
            if let Sorted::Sorting(sort, _) = sorted
                && sort.resume()? == Progress::Waiting
            {
                return Ok(Progress::Waiting);
            }
        }
        Ok(Progress::Done)
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if self.done {
            return Ok(Progress::Done);
        }
        match self.seal()? {
            Progress::Done => {}
            other => return Ok(other),
        }
        loop {
            let progress = self.join.pull(&mut self.joined, OUTPUT_ROWS)?;
            if !self.joined.is_empty() {
                out.send(0, (self.make)(&self.joined, &self.left, &self.right)?)?;
            }
            if progress == Progress::Waiting {
                return Ok(Progress::Waiting);
            }
            if progress == Progress::Done {
                match self.join.wants() {
                    Some(side) if !self.join.is_finished() => {
                        if self.feed(side)? == Progress::Waiting {
                            return Ok(Progress::Waiting);
                        }
                    }
                    _ => break,
                }
            }
            if out.congested(0) {
                return Ok(Progress::More);
            }
        }
        self.done = true;
        if self.counts {
            out.send(0, Batch::typed(vec![self.join.count()]))?;
        }
        Ok(Progress::Done)
    }
}
