//! The cross product: every row of one side beside every row of the other.
//!
//! One side is buffered, in memory and beyond it on disk; the other one streams past it in blocks, so that what is on
//! disk is read once a block and not once a row.

use crate::join::{JoinKind, JoinedBatch, MINIMUM_SEGMENTS, Side, Spool, SpoolContext, SpoolReader, SpoolStep, Spooled, Stash};
use fluvial_memory::{Error, Progress, Reservation, Result, RowBatch, RowShape, SEGMENT_SIZE, SpillManager, Waker};

/// Bytes of early rows taken as one block.
const BLOCK_BYTES: usize = 256 * 1024;

/// Bytes beyond which a batch of results is full.
const MAX_BYTES: usize = 1 << 20;

/// What a cross product is told.
#[derive(Clone, Debug)]
pub struct CrossOptions {
    /// The side that is kept: the smaller one.
    pub buffered: Side,
    /// Shape of the left rows.
    pub left: RowShape,
    /// Shape of the right rows.
    pub right: RowShape,
    /// Name for messages and spill files.
    pub operator: String,
    /// Schemas of the left and the right rows as their codecs describe them, for the headers of spill files.
    pub schemas: [String; 2],
}

/// The cross product of two inputs. Keys, where rows have any, are of no importance.
///
/// Rows of the streamed side that come before the buffered side has ended are put aside. After each push to the streamed
/// side, pull until [`Progress::Done`].
///
/// ```
/// use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager};
/// use fluvial_operators::{Cross, CrossOptions, MINIMUM_JOIN_SEGMENTS, Side};
///
/// let memory = MemoryManager::new(4 << 20)?;
/// let shape = RowShape::fixed(0, 1);
/// let options = CrossOptions {
///     buffered: Side::Right,
///     left: shape,
///     right: shape,
///     operator: "cross".into(),
///     schemas: Default::default(),
/// };
/// let mut out = options.batch();
/// let spill = SpillManager::new(SpillConfig::default())?;
/// let mut cross = Cross::new(memory.reserve("cross", MINIMUM_JOIN_SEGMENTS)?, spill, options, None)?;
/// let mut rows = RowBatch::new(shape);
/// rows.push(b"", b"a");
/// rows.push(b"", b"b");
/// cross.push(Side::Right, &rows)?;
/// cross.push(Side::Left, &rows)?;
/// cross.end(Side::Right)?;
/// cross.end(Side::Left)?;
/// assert_eq!(cross.pull(&mut out, 100)?, Progress::Done);
/// assert_eq!(out.len(), 4);
/// # Ok::<(), fluvial_memory::Error>(())
/// ```
pub struct Cross {
    buffered: Side,
    waker: Option<Waker>,
    filling: Option<Spool>,
    buffer: Option<Spooled>,
    early_filling: Option<Spool>,
    early: Option<(Spooled, SpoolReader)>,
    /// Streamed rows that came last, and those that are being crossed.
    incoming: RowBatch,
    block: RowBatch,
    /// Where the block stands among the buffered rows; the buffered row at hand, and the block's next row beside it.
    reader: Option<SpoolReader>,
    row: Vec<u8>,
    at: usize,
    contexts: [SpoolContext; 2],
    ended: [bool; 2],
}

impl CrossOptions {
    /// An empty batch for the results.
    pub fn batch(&self) -> JoinedBatch {
        JoinedBatch::new(JoinKind::Inner, self.left, self.right)
    }
}

impl Cross {
    /// A cross product within this reservation.
    ///
    /// # Errors
    /// [`Error::BudgetTooSmall`] if the reservation has fewer than [`MINIMUM_SEGMENTS`] segments.
    pub fn new(reservation: Reservation, spill: SpillManager, options: CrossOptions, waker: Option<Waker>) -> Result<Self> {
        if reservation.held() < MINIMUM_SEGMENTS {
            return Err(Error::BudgetTooSmall {
                operator: options.operator,
                needed: MINIMUM_SEGMENTS * SEGMENT_SIZE,
                available: reservation.held() * SEGMENT_SIZE,
                budget: reservation.limit() * SEGMENT_SIZE,
            });
        }
        let stash = Stash::new(&reservation, 2);
        let [left, right] = options.schemas;
        let context = |shape, schema| SpoolContext {
            reservation: reservation.clone(),
            spill: spill.clone(),
            waker: waker.clone(),
            operator: options.operator.clone(),
            schema,
            shape,
            stash: stash.clone(),
            most: usize::MAX,
        };
        let contexts = [context(options.left, left), context(options.right, right)];
        let streamed = contexts[options.buffered.other().index()].shape;
        Ok(Self {
            buffered: options.buffered,
            filling: Some(Spool::new(contexts[options.buffered.index()].clone())),
            buffer: None,
            early_filling: None,
            early: None,
            incoming: RowBatch::new(streamed),
            block: RowBatch::new(streamed),
            reader: None,
            row: Vec::new(),
            at: 0,
            contexts,
            ended: [false; 2],
            waker,
        })
    }

    /// Takes a batch of `side`.
    ///
    /// # Errors
    /// Of spill files.
    pub fn push(&mut self, side: Side, batch: &RowBatch) -> Result<Progress> {
        let spool = if side == self.buffered {
            self.filling.as_mut()
        } else if self.buffer.is_none() {
            let context = &self.contexts[side.index()];
            Some(self.early_filling.get_or_insert_with(|| Spool::new(context.clone())))
        } else {
            None
        };
        let Some(spool) = spool else {
            batch.iter().for_each(|row| self.incoming.push_row(row));
            return Ok(Progress::More);
        };
        for row in batch.iter() {
            spool.push(row)?;
        }
        Ok(if self.waker.is_some() && !spool.ready() { Progress::Waiting } else { Progress::Done })
    }

    /// Says that `side` has no more rows.
    ///
    /// # Errors
    /// None today.
    pub fn end(&mut self, side: Side) -> Result<Progress> {
        self.ended[side.index()] = true;
        Ok(Progress::More)
    }

    /// Whether both sides have ended and all results are out.
    pub fn is_finished(&self) -> bool {
        self.ended == [true; 2]
            && self.buffer.is_some()
            && self.early.is_none()
            && self.block.is_empty()
            && self.incoming.is_empty()
    }

    /// Replaces the rows of `out` by the next results, at most `max_rows` of them. [`Progress::Done`]: nothing is left to
    /// do until there is more input.
    ///
    /// # Errors
    /// Of spill files.
    pub fn pull(&mut self, out: &mut JoinedBatch, max_rows: usize) -> Result<Progress> {
        out.clear();
        if self.buffer.is_none() {
            if !self.ended[self.buffered.index()] {
                let spools = self.filling.iter().chain(&self.early_filling);
                let behind = self.waker.is_some() && !spools.fold(true, |ready, spool| ready & spool.ready());
                return Ok(if behind { Progress::Waiting } else { Progress::Done });
            }
            self.seal()?;
        }
        loop {
            if self.block.is_empty() {
                match self.next_block()? {
                    Progress::More => {}
                    other => return Ok(other),
                }
            }
            while self.at < self.block.len() {
                if out.len() >= max_rows.max(1) || out.byte_len() >= MAX_BYTES {
                    return Ok(Progress::More);
                }
                out.push_pair(self.buffered, &self.row, self.block.row(self.at));
                self.at += 1;
            }
            let Some(buffer) = &self.buffer else { return Ok(Progress::Done) };
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => none.insert(buffer.reader()?),
            };
            match reader.next(buffer)? {
                SpoolStep::Row(row) => {
                    self.row.clear();
                    self.row.extend_from_slice(row);
                    self.at = 0;
                }
                SpoolStep::Waiting => return Ok(Progress::Waiting),
                SpoolStep::End => {
                    self.block.clear();
                    self.reader = None;
                }
            }
        }
    }

    /// The buffered side has ended. It goes to disk if it leaves no room to read what came early.
    fn seal(&mut self) -> Result<()> {
        if let Some(early) = self.early_filling.take() {
            let rows = early.seal()?;
            let reader = match (rows.reader(), &mut self.filling) {
                (Err(Error::RecordTooLarge { .. }), Some(filling)) => {
                    filling.spill()?;
                    rows.reader()
                }
                (reader, _) => reader,
            }?;
            self.early = Some((rows, reader));
        }
        if let Some(spool) = self.filling.take() {
            self.buffer = Some(spool.seal()?);
        }
        Ok(())
    }

    /// `More` if there is a block now, `Done` if there are no streamed rows.
    fn next_block(&mut self) -> Result<Progress> {
        while let Some((rows, reader)) = &mut self.early {
            match reader.next(rows)? {
                SpoolStep::Row(row) => self.block.push_row(row),
                SpoolStep::Waiting if self.block.is_empty() => return Ok(Progress::Waiting),
                SpoolStep::Waiting => break,
                SpoolStep::End => self.early = None,
            }
            if self.block.byte_len() >= BLOCK_BYTES {
                break;
            }
        }
        if self.block.is_empty() {
            std::mem::swap(&mut self.block, &mut self.incoming);
        }
        self.at = self.block.len();
        Ok(if self.block.is_empty() { Progress::Done } else { Progress::More })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_memory::{MemoryManager, SpillConfig};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_row_meets_every_row_once(
            left in 0usize..300,
            right in 0usize..300,
            width in prop::sample::select(&[8usize, 12_000][..]),
            buffered in prop::sample::select(&[Side::Left, Side::Right][..]),
            early in any::<bool>(),
            max_rows in 1usize..500,
        ) {
            let memory = MemoryManager::new(MINIMUM_SEGMENTS * SEGMENT_SIZE).unwrap();
            let shape = RowShape::fixed(0, width);
            let options = CrossOptions { buffered, left: shape, right: shape, operator: "cross".into(), schemas: Default::default() };
            let mut out = options.batch();
            let spill = SpillManager::new(SpillConfig::default()).unwrap();
            let reservation = memory.reserve("cross", MINIMUM_SEGMENTS).unwrap();
            let mut cross = Cross::new(reservation, spill, options, None).unwrap();
            let mut seen = vec![0u8; left * right];
            let mut drain = |cross: &mut Cross| loop {
                let progress = cross.pull(&mut out, max_rows).unwrap();
                for i in 0..out.len() {
                    let number = |row: &[u8]| u32::from_le_bytes(row[..4].try_into().unwrap()) as usize;
                    seen[number(out.left.row(i)) * right + number(out.right.row(i))] += 1;
                }
                if progress == Progress::Done {
                    break;
                }
            };
            let rows = |side| if side == Side::Left { left } else { right };
            let mut order = [buffered, buffered.other()];
            if early {
                order.reverse();
            }
            for side in order {
                for chunk in (0..rows(side) as u32).collect::<Vec<_>>().chunks(70) {
                    let mut batch = RowBatch::new(shape);
                    for number in chunk {
                        let mut row = number.to_le_bytes().to_vec();
                        row.resize(width, 0);
                        batch.push_row(&row);
                    }
                    cross.push(side, &batch).unwrap();
                    drain(&mut cross);
                }
                cross.end(side).unwrap();
                drain(&mut cross);
            }
            prop_assert!(cross.is_finished());
            prop_assert!(seen.iter().all(|&n| n == 1));
        }
    }
}
