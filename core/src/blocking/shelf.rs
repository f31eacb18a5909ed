use super::{GroupedRows, Grouping, RowFormat};
use crate::graph::TaskContext;
use crate::{Batch, Position, Progress, Result};
use fluvial_memory::RowBatch;
use std::collections::VecDeque;

/// Batches that wait, in memory and beyond it on disk, until something else is known; they come back as they came, in the
/// same order.
///
/// What is kept of each batch beside its rows (its length and its position) is not charged to the reservation: it is some
/// bytes for a thousand records.
pub(crate) struct Shelf<F> {
    format: F,
    filling: Option<Grouping>,
    heads: VecDeque<Head>,
    rows: Option<GroupedRows>,
}

struct Head {
    rows: usize,
    position: Option<Position>,
    event_times: Option<Vec<i64>>,
}

impl<F: RowFormat> Shelf<F> {
    /// `format` has an empty key, so that rows keep their order.
    pub(crate) fn open(format: F, context: &TaskContext) -> Result<Self> {
        let filling = Some(Grouping::open(&format, context)?);
        Ok(Self { format, filling, heads: VecDeque::new(), rows: None })
    }

    pub(crate) fn push(&mut self, mut batch: Batch) -> Result<Progress> {
        let event_times = batch.event_times.take();
        self.heads.push_back(Head { rows: batch.len(), position: batch.position, event_times });
        match &mut self.filling {
            Some(filling) if !batch.is_empty() => filling.push(&mut self.format, batch),
            _ => Ok(Progress::Done),
        }
    }

    /// Goes on with what a push left undone.
    pub(crate) fn resume(&mut self) -> Result<Progress> {
        self.filling.as_mut().map_or(Ok(Progress::Done), Grouping::resume)
    }

    /// No more batches come. Once it is `Done`, they can be taken.
    pub(crate) fn close(&mut self) -> Result<Progress> {
        if let Some(filling) = &mut self.filling {
            let progress = filling.finish()?;
            if progress != Progress::Done {
                return Ok(progress);
            }
        }
        if let Some(filling) = self.filling.take() {
            self.rows = Some(filling.into_rows()?);
        }
        Ok(Progress::Done)
    }

    /// The next batch of a closed shelf.
    pub(crate) fn take(&mut self) -> Result<Option<Batch>> {
        let (Some(head), Some(rows)) = (self.heads.pop_front(), &mut self.rows) else { return Ok(None) };
        let mut taken = RowBatch::new(self.format.shape());
        while taken.len() < head.rows {
            match rows.peek()? {
                Some(row) => taken.push_row(row),
                None => break,
            }
            rows.advance();
        }
        let mut batch = self.format.decode(&taken)?;
        batch.position = head.position;
        batch.event_times = head.event_times;
        Ok(Some(batch))
    }
}
