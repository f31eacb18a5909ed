use super::join::rows_of;
use super::{OUTPUT_ROWS, RowFormat, least};
use crate::graph::TaskContext;
use crate::{Batch, Operator, Output, Progress, Result};
use fluvial_operators::{Cross, CrossOptions, JoinedBatch, Side};

/// Every left record beside every right one: the right input comes whole to each worker and is kept.
pub(crate) struct CrossOperator<L, R, M> {
    cross: Cross,
    left: L,
    right: R,
    /// Makes the result of joined rows.
    make: M,
    joined: JoinedBatch,
}

impl<L: RowFormat, R: RowFormat, M: FnMut(&JoinedBatch, &L, &R) -> Result<Batch>> CrossOperator<L, R, M> {
    pub(crate) fn open(left: L, right: R, make: M, context: &TaskContext) -> Result<Self> {
        let options = CrossOptions {
            buffered: Side::Right,
            left: left.shape(),
            right: right.shape(),
            operator: context.name.clone(),
            schemas: [left.schema(), right.schema()],
        };
        let joined = options.batch();
        let reservation = context.reserve(least::CROSS)?;
        let cross = Cross::new(reservation, context.spill.clone(), options, Some(context.waker.clone()))?;
        Ok(Self { cross, left, right, make, joined })
    }

    /// Emits what there is.
    fn pull(&mut self, out: &mut dyn Output) -> Result<Progress> {
        loop {
            let progress = self.cross.pull(&mut self.joined, OUTPUT_ROWS)?;
            if !self.joined.is_empty() {
                out.send(0, (self.make)(&self.joined, &self.left, &self.right)?)?;
            }
            if progress != Progress::More || out.congested(0) {
                return Ok(progress);
            }
        }
    }
}

impl<L, R, M> Operator for CrossOperator<L, R, M>
where
    L: RowFormat,
    R: RowFormat,
    M: FnMut(&JoinedBatch, &L, &R) -> Result<Batch> + 'static,
{
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let (side, rows) = match input {
            0 => (Side::Left, rows_of(&mut self.left, batch)?),
            _ => (Side::Right, rows_of(&mut self.right, batch)?),
        };
        match self.cross.push(side, &rows)? {
            Progress::More => self.pull(out),
            other => Ok(other),
        }
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.pull(out)
    }

    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        match self.cross.end(if input == 0 { Side::Left } else { Side::Right })? {
            Progress::More => self.pull(out),
            other => Ok(other),
        }
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.pull(out)
    }
}
