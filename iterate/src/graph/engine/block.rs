//! Blocks: what edges are kept in, raw or laid out. In memory while the graph's share of the budget allows, else in spill files.
//!
//! All blocks of a graph have one length, a power of two, so a position among edges is a block and a place in it. Blocks that go to disk are
//! rows of that length in a run of the worker that wrote them, each a block of the file; they are read again and again, so they go through
//! the page cache.

use fluvial_core::{Error, Result};
use fluvial_memory::{Extent, KeyWidth, Reservation, RowShape, Run, RunReader, RunWriter, SEGMENT_SIZE, SpillManager, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The most segments of a block.
const MOST: usize = 8;

/// How much of the budget edges may take: the rest is for values of vertices. Shared by all workers of a process.
pub(crate) struct Ledger {
    limit: AtomicUsize,
    taken: AtomicUsize,
}

impl Ledger {
    /// Of a budget of so many segments, before it is known how many vertices there are: five eighths.
    pub(crate) fn new(budget: usize) -> Self {
        Self { limit: AtomicUsize::new(budget / 8 * 5), taken: AtomicUsize::new(0) }
    }

    /// From here on `limit` segments.
    pub(crate) fn limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    fn take(&self, segments: usize) -> bool {
        self.taken.fetch_add(segments, Relaxed) + segments <= self.limit.load(Relaxed) || {
            self.taken.fetch_sub(segments, Relaxed);
            false
        }
    }
}

/// A block in memory.
pub(crate) struct Block {
    extent: Extent,
    ledger: Option<Arc<Ledger>>,
}

impl Block {
    /// As numbers of 4 bytes.
    #[inline]
    pub(crate) fn small(&self) -> &[u32] {
        bytemuck::cast_slice(&self.extent)
    }

    /// As numbers of 8 bytes.
    #[inline]
    pub(crate) fn large(&self) -> &[u64] {
        self.extent.u64s()
    }

    #[inline]
    pub(crate) fn large_mut(&mut self) -> &mut [u64] {
        self.extent.as_u64s()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger {
            ledger.taken.fetch_sub(self.extent.segments(), Relaxed);
        }
    }
}

/// Where a block lies.
pub(crate) enum Place {
    /// In memory.
    Memory(Block),
    /// In a run that is still being written: its row.
    Pending(usize),
    /// In a run: its row.
    Disk(Arc<Run>, usize),
}

/// Makes the blocks of one worker.
pub(crate) struct BlockMaker {
    pub(crate) reservation: Reservation,
    spill: SpillManager,
    ledger: Arc<Ledger>,
    segments: usize,
    writer: Option<RunWriter>,
}

impl BlockMaker {
    pub(crate) fn new(spill: &SpillManager, reservation: Reservation, ledger: Arc<Ledger>) -> Self {
        let segments = block_segments(&reservation);
        Self { reservation, spill: spill.clone(), ledger, segments, writer: None }
    }

    /// Bytes of a block.
    pub(crate) fn bytes(&self) -> usize {
        self.segments * SEGMENT_SIZE
    }

    /// A block to be filled and kept, if the graph's share allows.
    pub(crate) fn fresh(&self) -> Option<Block> {
        if !self.ledger.take(self.segments) {
            return None;
        }
        let extent = self.reservation.alloc_extent(self.segments);
        if extent.is_none() {
            self.ledger.taken.fetch_sub(self.segments, Relaxed);
        }
        Some(Block { extent: extent?, ledger: Some(self.ledger.clone()) })
    }

    /// A block to work with, beyond the graph's share if need be.
    ///
    /// # Errors
    /// The pool has not so much.
    pub(crate) fn scratch(&self) -> Result<Block> {
        match self.reservation.alloc_extent(self.segments) {
            Some(extent) => Ok(Block { extent, ledger: None }),
            None => Err(too_small(&self.reservation, self.bytes())),
        }
    }

    /// Keeps a full block, where it is if another one can be had, and gives the next one to fill; else writes it and gives it back.
    ///
    /// # Errors
    /// Of writing.
    pub(crate) fn keep(&mut self, mut block: Block) -> Result<(Place, Block)> {
        if block.ledger.is_none() && self.ledger.take(self.segments) {
            block.ledger = Some(self.ledger.clone());
        }
        if block.ledger.is_some()
            && let Some(next) = self.fresh().or_else(|| self.scratch().ok())
        {
            return Ok((Place::Memory(block), next));
        }
        Ok((self.write(&block)?, block))
    }

    /// Keeps the last block.
    ///
    /// # Errors
    /// Of writing.
    pub(crate) fn keep_last(&mut self, mut block: Block) -> Result<Place> {
        if block.ledger.is_none() && self.ledger.take(self.segments) {
            block.ledger = Some(self.ledger.clone());
        }
        if block.ledger.is_some() { Ok(Place::Memory(block)) } else { self.write(&block) }
    }

    fn write(&mut self, block: &Block) -> Result<Place> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let shape = RowShape { key: KeyWidth::Fixed(0), row: Some(self.segments * SEGMENT_SIZE) };
                // A buffer that no row fits in: each becomes a block of its own, and goes through the page cache.
                let buffer = match self.reservation.alloc() {
                    Some(buffer) => buffer,
                    None => return Err(too_small(&self.reservation, SEGMENT_SIZE)),
                };
                let name = self.reservation.operator().to_owned();
                none.insert(self.spill.writer_with(&name, shape, "blocks of edges", &self.reservation, vec![buffer], None)?)
            }
        };
        let row = writer.rows() as usize;
        writer.push(&block.extent)?;
        Ok(Place::Pending(row))
    }

    /// Ends what was written: pending places become places on disk.
    ///
    /// # Errors
    /// Of writing.
    pub(crate) fn settle<'a>(&mut self, places: impl Iterator<Item = &'a mut Place>) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let run = Arc::new(writer.finish()?);
        for place in places {
            if let Place::Pending(row) = place {
                *place = Place::Disk(run.clone(), *row);
            }
        }
        Ok(())
    }
}

/// Segments of a block under a reservation's budget: at most 1/256 of it, at least one.
pub(crate) fn block_segments(reservation: &Reservation) -> usize {
    let most = (reservation.limit() / 256).clamp(1, MOST);
    1 << most.ilog2()
}

/// # Errors
/// Always: so many bytes more were needed.
pub(crate) fn too_small(reservation: &Reservation, needed: usize) -> Error {
    let available = reservation.limit().saturating_sub(reservation.used()) * SEGMENT_SIZE;
    fluvial_memory::Error::BudgetTooSmall {
        operator: reservation.operator().to_owned(),
        needed,
        available,
        budget: reservation.limit() * SEGMENT_SIZE,
    }
    .into()
}

/// Reads blocks wherever they lie; those on disk with read-ahead while they are asked for in order.
pub(crate) struct BlockReader {
    reservation: Reservation,
    open: Option<Open>,
}

/// A run that is being read, and the row at hand.
struct Open {
    run: Arc<Run>,
    /// The row that comes next, and where read-ahead ends.
    next: usize,
    end: usize,
    /// Whether the row before that is at hand.
    at_hand: bool,
    reader: RunReader,
}

impl BlockReader {
    pub(crate) fn new(reservation: &Reservation) -> Self {
        Self { reservation: reservation.clone(), open: None }
    }

    /// The bytes of a block; up to `ahead` rows after it will be asked for next, most likely.
    ///
    /// # Errors
    /// Of reading.
    pub(crate) fn bytes<'a>(&'a mut self, place: &'a Place, ahead: usize) -> Result<&'a [u8]> {
        match place {
            Place::Memory(block) => Ok(&block.extent),
            Place::Disk(run, row) => self.row(run, *row, ahead),
            Place::Pending(row) => Err(Error::Plan(format!("block {row} is read before it is written"))),
        }
    }

    fn row(&mut self, run: &Arc<Run>, row: usize, ahead: usize) -> Result<&[u8]> {
        let open = match self.open.take().filter(|open| Arc::ptr_eq(&open.run, run) && open.reaches(row)) {
            Some(open) => open,
            None => {
                let rows = row..(row + 1 + ahead).min(run.blocks().len());
                let reader = run.reader(rows.clone(), &self.reservation, None)?;
                Open { run: run.clone(), next: row, end: rows.end, at_hand: false, reader }
            }
        };
        let open = self.open.insert(open);
        if open.next == row {
            if open.reader.advance_block()? != Step::Row {
                return Err(Error::Plan(format!("block {row} of edges is not in its file")));
            }
            (open.next, open.at_hand) = (row + 1, true);
        }
        Ok(open.reader.row())
    }
}

impl Open {
    /// Whether the row is at hand or the next one.
    fn reaches(&self, row: usize) -> bool {
        (row == self.next && row < self.end) || (self.at_hand && row + 1 == self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::{MemoryManager, SpillConfig};
    use proptest::prelude::*;

    proptest! {
        /// Whatever of them is in memory: blocks are what they were, in order and out of order.
        #[test]
        fn blocks_come_back(
            blocks in 1usize..60,
            budget in 4usize..80,
            asked in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        ) {
            let memory = MemoryManager::new((budget + 4) * SEGMENT_SIZE).unwrap();
            let reservation = memory.reserve("test", 4).unwrap();
            let spill = SpillManager::new(SpillConfig { io_threads: 1, ..SpillConfig::default() }).unwrap();
            let mut maker = BlockMaker::new(&spill, reservation.clone(), Arc::new(Ledger::new(budget)));
            let mut places = Vec::new();
            let mut block = maker.scratch().unwrap();
            for number in 0..blocks {
                block.large_mut().fill(number as u64);
                let (place, next) = maker.keep(block).unwrap();
                places.push(place);
                block = next;
            }
            drop(block);
            maker.settle(places.iter_mut()).unwrap();
            let on_disk = places.iter().filter(|p| matches!(p, Place::Disk(..))).count();
            prop_assert!(blocks <= budget * 5 / 8 || on_disk > 0);
            let mut reader = BlockReader::new(&reservation);
            for number in (0..blocks).chain(asked.iter().map(|a| a.index(blocks))) {
                let bytes = reader.bytes(&places[number], 3).unwrap();
                prop_assert!(bytemuck::cast_slice::<u8, u64>(bytes).iter().all(|n| *n == number as u64));
            }
        }
    }
}
