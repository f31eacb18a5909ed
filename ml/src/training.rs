//! The data that a bulk learner goes over again and again.

use crate::Result;
use crate::error::data;
use crate::vector::{Block, DenseRows, Pages, Row, Rows, check_width, too_many};
use fluvial_memory::{HeapCharge, Reservation, SEGMENT_SIZE};
use std::borrow::Cow;

/// A part of the data of a [`BulkLearner`](crate::BulkLearner).
///
/// In a job it lies in managed memory: dense rows and labels in pages of the pool; sparse rows in ordinary memory, for which the pool is
/// charged. Elsewhere it is a [`Block`] that somebody has.
///
/// ```
/// use fluvial_ml::{Block, DenseRows, Rows, TrainingData};
/// let rows = Rows::Dense(DenseRows::from_values(2, vec![0.0, 1.0, 2.0, 3.0])?);
/// let block = Block::new(rows, vec![1.0, -1.0])?;
/// let data = TrainingData::from(&block);
/// assert_eq!((data.len(), data.width(), data.row(1).get(0), data.label(1)), (2, 2, 2.0, -1.0));
/// # Ok::<(), fluvial_ml::Error>(())
/// ```
pub struct TrainingData<'a>(Kept<'a>);

enum Kept<'a> {
    Block(Cow<'a, Block>),
    /// No labels, or as many as rows.
    Pages {
        rows: Pages,
        labels: Pages,
    },
}

impl<'a> From<&'a Block> for TrainingData<'a> {
    fn from(block: &'a Block) -> Self {
        Self(Kept::Block(Cow::Borrowed(block)))
    }
}

impl TrainingData<'_> {
    /// How many records there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Block(block) => block.len(),
            Kept::Pages { rows, .. } => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Features a record.
    pub fn width(&self) -> usize {
        match &self.0 {
            Kept::Block(block) => block.rows.width(),
            Kept::Pages { rows, .. } => rows.width(),
        }
    }

    /// The features of record `i`.
    ///
    /// # Panics
    /// There is no such record.
    #[inline]
    pub fn row(&self, i: usize) -> Row<'_> {
        match &self.0 {
            Kept::Block(block) => block.rows.row(i),
            Kept::Pages { rows, .. } => Row::Dense(rows.row(i)),
        }
    }

    /// The features of all records, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.len()).map(|i| self.row(i))
    }

    /// The label of record `i`; not a number where there are no labels.
    #[inline]
    pub fn label(&self, i: usize) -> f64 {
        match &self.0 {
            Kept::Block(block) => block.label(i),
            Kept::Pages { labels, .. } if i < labels.len() => labels.row(i)[0],
            Kept::Pages { .. } => f64::NAN,
        }
    }

    /// A copy of the records from place `start` to place `end`.
    fn block(&self, start: usize, end: usize) -> Block {
        match &self.0 {
            Kept::Block(block) => block.slice(start, end),
            Kept::Pages { rows, labels } => {
                let values = (start..end).flat_map(|i| rows.row(i)).copied().collect();
                let dense = DenseRows::from_values(rows.width(), values);
                let labels = (start..end.min(labels.len())).map(|i| labels.row(i)[0]).collect();
                Block { rows: Rows::Dense(dense.unwrap_or_else(|_| unreachable!("whole rows"))), labels }
            }
        }
    }

    /// Of dense rows the values, in pieces of whole rows that lie one after another.
    pub(crate) fn dense(&self) -> Option<Box<dyn Iterator<Item = &[f64]> + '_>> {
        match &self.0 {
            Kept::Block(block) => match &block.rows {
                Rows::Dense(rows) => Some(Box::new(std::iter::once(rows.values()))),
                Rows::Sparse(_) => None,
            },
            Kept::Pages { rows, .. } => Some(Box::new(rows.chunks())),
        }
    }
}

/// Training data that blocks are added to.
pub(crate) struct Gathering {
    memory: Reservation,
    data: Option<TrainingData<'static>>,
    /// Sparse blocks that are still to be put together.
    pieces: Vec<Block>,
    charges: Vec<HeapCharge>,
    /// Bytes of the charges that are not taken.
    free: usize,
}

/// Bytes that the pool is charged at a time.
const CHARGE: usize = 8 * SEGMENT_SIZE;

/// Bytes of a block of what has been gathered, about.
const BLOCK: usize = 1 << 20;

impl Gathering {
    pub fn new(memory: Reservation) -> Self {
        Self { memory, data: None, pieces: Vec::new(), charges: Vec::new(), free: 0 }
    }

    /// Adds the records of a block. The first one says whether the data are dense.
    ///
    /// # Errors
    /// Another width; labels here and none there; memory that the pool does not have.
    pub fn push(&mut self, block: Block) -> Result<()> {
        let width = block.rows.width();
        if block.is_empty() {
            return Ok(());
        }
        if self.data.is_none() && self.pieces.is_empty() && width > 0 && matches!(block.rows, Rows::Dense(_)) {
            self.data = Some(TrainingData(Kept::Pages { rows: Pages::new(width), labels: Pages::new(1) }));
        }
        let Some(TrainingData(Kept::Pages { rows, labels })) = &mut self.data else {
            self.charge(block.rows.byte_len() + block.labels.len() * 8)?;
            self.pieces.push(block);
            return Ok(());
        };
        check_width(width, rows.width())?;
        if rows.len() > 0 && block.labels.is_empty() != (labels.len() == 0) {
            return data("blocks with labels among blocks without");
        }
        match &block.rows {
            Rows::Dense(dense) => rows.push(dense.values(), &self.memory)?,
            sparse => {
                let mut values = vec![0.0; width];
                for row in sparse.iter() {
                    row.write_to(&mut values);
                    rows.push(&values, &self.memory)?;
                }
            }
        }
        labels.push(&block.labels, &self.memory)
    }

    fn charge(&mut self, bytes: usize) -> Result<()> {
        if self.free < bytes {
            let lacking = (bytes - self.free).max(CHARGE);
            let charge = self.memory.charge_heap(lacking).ok_or_else(|| too_many(&self.memory))?;
            self.free += charge.bytes();
            self.charges.push(charge);
        }
        self.free -= bytes;
        Ok(())
    }

    /// What has come, if anything.
    ///
    /// # Errors
    /// Blocks that do not go together.
    pub fn data(&mut self) -> Result<Option<&TrainingData<'static>>> {
        if !self.pieces.is_empty() {
            let former = match self.data.take() {
                Some(TrainingData(Kept::Block(block))) => Some(block.into_owned()),
                _ => None,
            };
            let all = Block::concat(former.into_iter().chain(self.pieces.drain(..)).collect())?;
            self.data = Some(TrainingData(Kept::Block(Cow::Owned(all))));
        }
        Ok(self.data.as_ref())
    }

    /// Gives what has come, block by block.
    ///
    /// # Errors
    /// As [`Gathering::data`]; what `f` says.
    pub fn for_each_block<E: From<crate::Error>>(
        &mut self,
        mut f: impl FnMut(Block) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let Some(data) = self.data()? else { return Ok(()) };
        let step = (BLOCK / 8 / (data.width() + 1)).max(1);
        (0..data.len()).step_by(step).try_for_each(|first| f(data.block(first, (first + step).min(data.len()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::SparseRows;
    use crate::{Drift, ServerStatistics};
    use fluvial_memory::MemoryManager;

    fn gathering(budget: usize) -> Gathering {
        Gathering::new(MemoryManager::new(budget).unwrap().reserve("learn", 0).unwrap())
    }

    fn sparse(block: &Block) -> Block {
        let mut rows = Rows::Sparse(SparseRows::new(block.rows.width()));
        block.rows.iter().for_each(|row| rows.push(row).unwrap());
        Block::new(rows, block.labels.clone()).unwrap()
    }

    #[test]
    fn what_was_gathered_is_what_came_in_either_form() {
        let whole = ServerStatistics::new(3, Drift::None).block(0..5000).unwrap();
        for form in [Block::clone, sparse] {
            for second in [Block::clone, sparse] {
                let mut gathering = gathering(64 << 20);
                let pieces = [whole.slice(0, 1), whole.slice(1, 1), whole.slice(1, 3000), whole.slice(3000, 5000)];
                gathering.push(form(&pieces[0])).unwrap();
                pieces[1..].iter().for_each(|piece| gathering.push(second(piece)).unwrap());
                let mut again = super::tests::gathering(64 << 20);
                gathering.for_each_block(|block| again.push(block)).unwrap();
                for gathering in [&mut gathering, &mut again] {
                    let data = gathering.data().unwrap().unwrap();
                    assert_eq!((data.len(), data.width()), (5000, whole.rows.width()));
                    for (i, row) in data.rows().enumerate() {
                        let mut values = vec![7.0; data.width()];
                        row.write_to(&mut values);
                        assert_eq!((Row::Dense(&values), data.label(i)), (whole.rows.row(i), whole.label(i)));
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_go_together_or_does_not_fit_is_an_error() {
        let labelled = ServerStatistics::new(3, Drift::None).block(0..1000).unwrap();
        let unlabelled = Block::new(labelled.rows.clone(), Vec::new()).unwrap();
        let narrow = Block::new(Rows::Dense(DenseRows::from_values(1, vec![1.0; 3]).unwrap()), vec![1.0; 3]).unwrap();
        for form in [Block::clone, sparse] {
            for (other, expected) in [(&unlabelled, "blocks with labels among"), (&narrow, "a row of 1 features among rows")] {
                let mut gathering = gathering(64 << 20);
                gathering.push(form(&labelled)).unwrap();
                let error = gathering.push(form(other)).and_then(|()| gathering.data().map(drop)).unwrap_err().to_string();
                assert!(error.contains(expected), "{error}");
            }
            let mut gathering = gathering(1 << 20);
            let error = (0..100).find_map(|_| gathering.push(form(&labelled)).err()).unwrap().to_string();
            assert!(error.contains("training data do not fit") && error.contains("the budget of 1 MiB"), "{error}");
        }
    }
}
