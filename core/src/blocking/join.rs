use super::merge_join::MergeJoinOperator;
use super::{OUTPUT_ROWS, RowFormat, least};
use crate::graph::TaskContext;
use crate::{Batch, Error, Operator, Output, Progress, Records, Result};
use fluvial_memory::RowBatch;
use fluvial_operators::{HashJoin, JoinOptions, JoinOutput, JoinedBatch, Side};

/// Opens the operator of a join: one that sorts both sides if `merge`, else one that hashes.
pub(crate) fn open_join<L: RowFormat, R: RowFormat, M>(
    merge: bool,
    options: JoinOptions,
    left: L,
    right: R,
    make: M,
    context: &TaskContext,
) -> Result<Box<dyn Operator>>
where
    M: FnMut(&JoinedBatch, &L, &R) -> Result<Batch> + 'static,
{
    Ok(match merge {
        true => Box::new(MergeJoinOperator::open(options, left, right, make, context)?),
        false => Box::new(JoinOperator::open(options, left, right, make, context)?),
    })
}

/// Joins two streams by hash; input 0 is the left one.
struct JoinOperator<L, R, M> {
    join: HashJoin,
    left: L,
    right: R,
    /// Makes the result of joined rows.
    make: M,
    joined: JoinedBatch,
    nulls: Vec<bool>,
    counts: bool,
    done: bool,
    build: usize,
}

impl<L: RowFormat, R: RowFormat, M> JoinOperator<L, R, M>
where
    M: FnMut(&JoinedBatch, &L, &R) -> Result<Batch>,
{
    /// With [`JoinOutput::CountOnly`] the result is one `u128` a worker.
    fn open(mut options: JoinOptions, left: L, right: R, make: M, context: &TaskContext) -> Result<Self> {
        options.operator = context.name.clone();
        options.left_schema = left.schema();
        options.right_schema = right.schema();
        let joined = JoinedBatch::new(options.kind, options.left, options.right);
        let build = options.build as usize;
        let counts = options.output == JoinOutput::CountOnly;
        let reservation = context.reserve(least::JOIN)?;
        let join = HashJoin::new(reservation, context.spill.clone(), options, Some(context.waker.clone()))?;
        Ok(Self { join, left, right, make, joined, nulls: Vec::new(), counts, done: false, build })
    }

    /// Emits what there is.
    fn pull(&mut self, out: &mut dyn Output) -> Result<Progress> {
        loop {
            let progress = self.join.pull(&mut self.joined, OUTPUT_ROWS)?;
            if !self.joined.is_empty() {
                out.send(0, (self.make)(&self.joined, &self.left, &self.right)?)?;
            }
            if progress != Progress::More || out.congested(0) {
                return Ok(progress);
            }
        }
    }
}

/// A batch as rows: what came over an exchange is rows already, what came forward or by broadcast is not.
pub(super) fn rows_of(format: &mut impl RowFormat, batch: Batch) -> Result<RowBatch> {
    match batch.records {
        Records::Rows(rows) => Ok(rows),
        _ => {
            let mut rows = RowBatch::new(format.shape());
            format.encode(batch, &mut rows)?;
            Ok(rows)
        }
    }
}

impl<L: RowFormat, R: RowFormat, M> Operator for JoinOperator<L, R, M>
where
    M: FnMut(&JoinedBatch, &L, &R) -> Result<Batch> + 'static,
{
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.nulls.clear();
        let (side, rows) = match input {
            0 => {
                let rows = rows_of(&mut self.left, batch)?;
                self.left.null_keys(&rows, &mut self.nulls)?;
                (Side::Left, rows)
            }
            1 => {
                let rows = rows_of(&mut self.right, batch)?;
                self.right.null_keys(&rows, &mut self.nulls)?;
                (Side::Right, rows)
            }
            other => return Err(Error::Plan(format!("a join has two inputs, got input {other}"))),
        };
        let nulls = self.nulls.contains(&true).then_some(self.nulls.as_slice());
        match self.join.push(side, &rows, nulls)? {
            Progress::More => self.pull(out),
            other => Ok(other),
        }
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.pull(out)
    }

    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        match self.join.end(if input == 0 { Side::Left } else { Side::Right })? {
            Progress::More => self.pull(out),
            other => Ok(other),
        }
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.pull(out)?;
        if progress == Progress::Done && self.counts && !std::mem::replace(&mut self.done, true) {
            out.send(0, Batch::typed(vec![self.join.count()]))?;
        }
        Ok(progress)
    }

    fn begin_again(&mut self, constant: &[bool]) -> Result<bool> {
        Ok(constant[self.build] && !constant[1 - self.build] && !self.counts && self.join.begin_again())
    }
}
