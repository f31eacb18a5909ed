use super::store::{BatchStore, StoreCursor, Stored};
use crate::graph::TaskContext;
use crate::runtime::{BatchCodec, FeedbackQueue};
use crate::{Batch, Result};
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches that are held beside the pool: a loop in which little waits does without it.
const AT_HAND: usize = 16;

/// What has come back to the head of a loop without supersteps and has not been sent on: in managed memory, or on disk where that has no room.
/// Nothing waits for room in it: a loop that waited for itself would stand still.
pub(crate) struct SpillingQueue {
    /// The oldest batches, then those that are being read, then those that have come since.
    at_hand: VecDeque<Batch>,
    old: BatchStore,
    cursor: StoreCursor,
    new: BatchStore,
    /// Batches in each of the two.
    left: (usize, usize),
}

impl SpillingQueue {
    /// Of batches that this codec serializes; reserves twice [`STORE_SEGMENTS`](super::STORE_SEGMENTS).
    pub(crate) fn open(codec: Option<Arc<dyn BatchCodec>>, context: &TaskContext) -> Result<Self> {
        Ok(Self {
            at_hand: VecDeque::new(),
            old: BatchStore::open(context, codec.clone())?,
            cursor: StoreCursor::waiting(),
            new: BatchStore::open(context, codec)?,
            left: (0, 0),
        })
    }

    /// What has come since is what is read next.
    fn turn(&mut self) -> Result<()> {
        self.old.clear();
        std::mem::swap(&mut self.old, &mut self.new);
        self.left = (self.left.1, 0);
        self.cursor = StoreCursor::waiting();
        self.old.close_now()
    }

    /// The next batch of those that are not at hand.
    fn pop_stored(&mut self) -> Result<Option<Batch>> {
        if self.left.0 == 0 {
            if self.left.1 == 0 {
                return Ok(None);
            }
            self.turn()?;
        }
        match self.old.take(&mut self.cursor)? {
            Stored::Batch(batch) => {
                self.left.0 -= 1;
                if self.left == (0, 0) {
                    self.old.clear();
                }
                Ok(Some(batch))
            }
            Stored::Waiting | Stored::End => Ok(None),
        }
    }
}

impl FeedbackQueue for SpillingQueue {
    fn push(&mut self, batch: Batch) -> Result<()> {
        if self.left == (0, 0) && self.at_hand.len() < AT_HAND {
            self.at_hand.push_back(batch);
            return Ok(());
        }
        self.left.1 += 1;
        // If the disk is behind, the next one waits for it.
        self.new.push(batch).map(drop)
    }

    fn pop(&mut self) -> Result<Option<Batch>> {
        match self.at_hand.pop_front() {
            Some(batch) => Ok(Some(batch)),
            None => self.pop_stored(),
        }
    }

    fn len(&self) -> usize {
        self.at_hand.len() + self.left.0 + self.left.1
    }

    fn visit(&mut self, each: &mut dyn FnMut(&Batch) -> Result<()>) -> Result<()> {
        self.at_hand.iter().try_for_each(&mut *each)?;
        // Each goes to the end of the queue, and so all the way round.
        for _ in 0..self.left.0 + self.left.1 {
            let Some(batch) = self.pop_stored()? else { break };
            each(&batch)?;
            self.left.1 += 1;
            self.new.push(batch)?;
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.at_hand.clear();
        self.old.clear();
        self.new.clear();
        self.left = (0, 0);
    }
}
