//! Rows put aside: in memory while there is some, then in a spill file, given back in the order they came.
//!
//! A stash of single segments, shared by the spools of an operator and held from its start, lends them their buffers
//! when the pool has nothing: going to disk never needs memory that is not there.

use fluvial_memory::{
    Error, Extent, Reservation, Result, RowCursor, RowPages, RowShape, Run, RunReader, RunWriter, SpillManager, Step, Waker,
};
use std::sync::{Arc, Mutex, MutexGuard};

/// Segments put by for the buffers of spools.
#[derive(Clone)]
pub(crate) struct Stash {
    reservation: Reservation,
    size: usize,
    segments: Arc<Mutex<Vec<Extent>>>,
}

impl Stash {
    /// A stash of `size` segments.
    pub(crate) fn new(reservation: &Reservation, size: usize) -> Self {
        let stash = Self { reservation: reservation.clone(), size, segments: Arc::default() };
        stash.refill();
        stash
    }

    fn take(&self) -> Option<Extent> {
        self.lock().pop()
    }

    /// Takes back from the pool what was lent.
    fn refill(&self) {
        let mut segments = self.lock();
        let missing = self.size.saturating_sub(segments.len());
        segments.extend((0..missing).map_while(|_| self.reservation.alloc()));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Extent>> {
        // A panic leaves the vector as it was or without what was taken.
        self.segments.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What a spool writes its file with.
#[derive(Clone)]
pub(crate) struct SpoolContext {
    pub reservation: Reservation,
    pub spill: SpillManager,
    pub waker: Option<Waker>,
    pub operator: String,
    pub schema: String,
    pub shape: RowShape,
    pub stash: Stash,
    /// Segments of rows that a spool keeps in memory at the most.
    pub most: usize,
}

/// Takes rows.
pub(crate) struct Spool {
    context: SpoolContext,
    pages: RowPages,
    writer: Option<RunWriter>,
}

impl Spool {
    pub(crate) fn new(context: SpoolContext) -> Self {
        let pages = RowPages::new(&context.reservation, context.shape);
        Self { context, pages, writer: None }
    }

    pub(crate) fn push(&mut self, row: &[u8]) -> Result<()> {
        if self.writer.is_none() {
            if self.pages.segments() <= self.context.most && self.pages.append(row).is_some() {
                return Ok(());
            }
            self.spill()?;
        }
        match &mut self.writer {
            Some(writer) => writer.push(row),
            None => Ok(()),
        }
    }

    /// Segments that [`Spool::spill`] would give back.
    pub(crate) fn segments(&self) -> usize {
        self.pages.segments()
    }

    /// Whether a row can be pushed without waiting for a write.
    pub(crate) fn ready(&self) -> bool {
        self.writer.as_ref().is_none_or(RunWriter::ready)
    }

    /// Writes what is in memory to the file, where later rows go too.
    pub(crate) fn spill(&mut self) -> Result<()> {
        let SpoolContext { reservation, spill, waker, operator, schema, shape, stash, .. } = &self.context;
        if self.writer.is_none() {
            let large = reservation.alloc_extent(spill.block_segments(reservation));
            let writer = match large.or_else(|| stash.take()) {
                Some(buffer) => spill.writer_with(operator, *shape, schema, reservation, vec![buffer], waker.clone())?,
                None => spill.writer(operator, *shape, schema, reservation, waker.clone())?,
            };
            self.writer = Some(writer);
        }
        if let Some(writer) = &mut self.writer {
            for row in self.pages.iter() {
                writer.push(row)?;
            }
        }
        self.pages.clear();
        self.context.stash.refill();
        Ok(())
    }

    /// Ends the taking. A reader can be opened then, as often as wanted.
    pub(crate) fn seal(self) -> Result<Spooled> {
        let run = self.writer.map(RunWriter::finish).transpose()?;
        self.context.stash.refill();
        Ok(Spooled { context: self.context, pages: self.pages, run })
    }
}

/// The rows of a sealed spool.
pub(crate) struct Spooled {
    context: SpoolContext,
    pages: RowPages,
    run: Option<Run>,
}

impl Spooled {
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.run.as_ref().map_or(0, Run::bytes)
    }

    pub(crate) fn reader(&self) -> Result<SpoolReader> {
        let file = self.run.as_ref().map(|run| self.file_reader(run)).transpose()?;
        Ok(SpoolReader { cursor: RowCursor::default(), file })
    }

    fn file_reader(&self, run: &Run) -> Result<RunReader> {
        let SpoolContext { reservation, waker, stash, .. } = &self.context;
        let blocks = 0..run.blocks().len();
        stash.refill();
        match run.reader(blocks.clone(), reservation, waker.clone()) {
            Err(error @ Error::RecordTooLarge { .. }) => match stash.take() {
                Some(buffer) if buffer.segments() >= run.buffer_segments(blocks.clone()) => {
                    Ok(RunReader::with_buffers(run.clone(), blocks, vec![buffer], waker.clone()))
                }
                _ => Err(error),
            },
            reader => reader,
        }
    }
}

/// A position in the rows of a [`Spooled`].
pub(crate) struct SpoolReader {
    cursor: RowCursor,
    file: Option<RunReader>,
}

/// A step of a [`SpoolReader`].
pub(crate) enum SpoolStep<'a> {
    Row(&'a [u8]),
    Waiting,
    End,
}

impl SpoolReader {
    /// The next row of `rows`, which must be those that gave this reader.
    pub(crate) fn next<'a>(&'a mut self, rows: &'a Spooled) -> Result<SpoolStep<'a>> {
        if let Some((_, row)) = rows.pages.advance(&mut self.cursor) {
            return Ok(SpoolStep::Row(row));
        }
        let Some(file) = &mut self.file else { return Ok(SpoolStep::End) };
        Ok(match file.advance()? {
            Step::Row => SpoolStep::Row(file.row()),
            Step::Waiting => SpoolStep::Waiting,
            Step::End => SpoolStep::End,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::{MemoryManager, SEGMENT_SIZE, SpillConfig};

    #[test]
    fn rows_come_back_in_order_from_memory_and_from_disk() {
        let directory = tempfile::tempdir().unwrap();
        let spill = SpillManager::new(SpillConfig { directory: directory.path().into(), ..SpillConfig::default() }).unwrap();
        for budget in [8, 64] {
            let manager = MemoryManager::new(budget * SEGMENT_SIZE).unwrap();
            let reservation = manager.reserve("test", 8).unwrap();
            let context = SpoolContext {
                stash: Stash::new(&reservation, 2),
                most: usize::MAX,
                reservation,
                spill: spill.clone(),
                waker: None,
                operator: "test".into(),
                schema: String::new(),
                shape: RowShape::VARIABLE,
            };
            let mut spool = Spool::new(context);
            for i in 0..60_000u32 {
                spool.push(&i.to_le_bytes()).unwrap();
            }
            let rows = spool.seal().unwrap();
            assert_eq!(rows.bytes_on_disk() > 0, budget == 8);
            for _ in 0..2 {
                let mut reader = rows.reader().unwrap();
                let mut seen = 0u32;
                while let SpoolStep::Row(row) = reader.next(&rows).unwrap() {
                    assert_eq!(row, seen.to_le_bytes());
                    seen += 1;
                }
                assert_eq!(seen, 60_000);
            }
        }
    }
}
