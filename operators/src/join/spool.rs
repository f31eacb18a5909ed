//! Rows put aside: in memory while there is some, then in a spill file, given back in the order they came.
//!
//! One spare segment is held from the start, so that going to disk never needs memory that is not there.

use fluvial_memory::{
    Extent, Reservation, Result, RowCursor, RowPages, RowShape, Run, RunReader, RunWriter, SpillManager, Step, Waker,
};

/// What a spool writes its file with.
#[derive(Clone)]
pub(crate) struct SpoolContext {
    pub reservation: Reservation,
    pub spill: SpillManager,
    pub waker: Option<Waker>,
    pub operator: String,
    pub schema: String,
    pub shape: RowShape,
}

/// Takes rows.
pub(crate) struct Spool {
    context: SpoolContext,
    pages: RowPages,
    spare: Option<Extent>,
    writer: Option<RunWriter>,
}

impl Spool {
    pub(crate) fn new(context: SpoolContext) -> Self {
        let pages = RowPages::new(&context.reservation, context.shape);
        let spare = context.reservation.alloc();
        Self { context, pages, spare, writer: None }
    }

    pub(crate) fn push(&mut self, row: &[u8]) -> Result<()> {
        if self.writer.is_none() {
            if self.pages.append(row).is_some() {
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
        let SpoolContext { reservation, spill, waker, operator, schema, shape } = &self.context;
        if self.writer.is_none() {
            let writer = match self.spare.take() {
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
        Ok(())
    }

    /// Ends the taking. A reader can be opened then, as often as wanted.
    pub(crate) fn seal(self) -> Result<Spooled> {
        let run = self.writer.map(RunWriter::finish).transpose()?;
        Ok(Spooled { pages: self.pages, run })
    }
}

/// The rows of a sealed spool.
pub(crate) struct Spooled {
    pages: RowPages,
    run: Option<Run>,
}

impl Spooled {
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        self.run.as_ref().map_or(0, Run::bytes)
    }

    pub(crate) fn reader(&self, reservation: &Reservation, waker: Option<Waker>) -> Result<SpoolReader> {
        let file = self.run.as_ref().map(|run| run.reader(0..run.blocks().len(), reservation, waker)).transpose()?;
        Ok(SpoolReader { cursor: RowCursor::default(), file })
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
            let context = SpoolContext {
                reservation: manager.reserve("test", 8).unwrap(),
                spill: spill.clone(),
                waker: None,
                operator: "test".into(),
                schema: String::new(),
                shape: RowShape::VARIABLE,
            };
            let reservation = context.reservation.clone();
            let mut spool = Spool::new(context);
            for i in 0..60_000u32 {
                spool.push(&i.to_le_bytes()).unwrap();
            }
            let rows = spool.seal().unwrap();
            assert_eq!(rows.bytes_on_disk() > 0, budget == 8);
            for _ in 0..2 {
                let mut reader = rows.reader(&reservation, None).unwrap();
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
