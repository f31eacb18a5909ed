//! Flow control: what is in flight on one edge to one worker, and who waits for it to become less.

use super::wake::Wake;
use crate::{Batch, Records};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// How much may be in flight on one edge to one receiving worker. What an operator emits in one call may exceed it by
/// that call's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeBudget {
    /// Bytes of the batches' records.
    Bytes(usize),
    /// Number of batches.
    Batches(usize),
}

impl Default for EdgeBudget {
    fn default() -> Self {
        Self::Bytes(1 << 20)
    }
}

impl EdgeBudget {
    /// What each of `processes` may have in flight.
    pub(super) fn share(self, processes: usize) -> i64 {
        match self {
            Self::Bytes(n) | Self::Batches(n) => (n / processes).max(1) as i64,
        }
    }

    /// What a batch of so many bytes costs.
    pub(super) fn cost(self, bytes: usize) -> i64 {
        match self {
            Self::Bytes(_) => bytes.max(64) as i64,
            Self::Batches(_) => 1,
        }
    }
}

/// The budget of one edge and one receiving worker, or this process's share of it. Senders take more than there is when they must (what one call emits,
/// what a barrier flushes), but call no operator while a gate of theirs is full.
pub(super) struct Gate {
    used: AtomicI64,
    limit: i64,
    has_waiters: AtomicBool,
    waiters: Mutex<Vec<Wake>>,
}

impl Gate {
    pub(super) fn new(budget: EdgeBudget, processes: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicI64::new(0),
            limit: budget.share(processes),
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::new(Vec::new()),
        })
    }

    #[inline]
    pub(super) fn full(&self) -> bool {
        self.used.load(SeqCst) >= self.limit
    }

    /// What is in flight.
    pub(super) fn used(&self) -> u64 {
        self.used.load(SeqCst).max(0) as u64
    }

    pub(super) fn take(&self, cost: i64) {
        self.used.fetch_add(cost, SeqCst);
    }

    /// Gives back `cost`. Waiting senders are woken when half of the budget is free, so that they find work for a while.
    pub(super) fn put(&self, cost: i64) {
        let used = self.used.fetch_sub(cost, SeqCst) - cost;
        if used <= self.limit / 2 && self.has_waiters.load(SeqCst) {
            let waiters = std::mem::take(&mut *self.lock(false));
            waiters.iter().for_each(Wake::wake);
        }
    }

    fn lock(&self, has_waiters: bool) -> std::sync::MutexGuard<'_, Vec<Wake>> {
        let guard = self.waiters.lock().unwrap_or_else(|e| e.into_inner());
        self.has_waiters.store(has_waiters, SeqCst);
        guard
    }

    /// Asks to be woken when there is room. False if there is room now.
    pub(super) fn wait(&self, wake: &Wake) -> bool {
        if !self.full() {
            return false;
        }
        let mut waiters = self.lock(true);
        if !waiters.iter().any(|w| w.same(wake)) {
            waiters.push(wake.clone());
        }
        drop(waiters);
        // What was given back between the two looks at `used` may have missed us.
        if self.used.load(SeqCst) <= self.limit / 2 {
            wake.wake();
        }
        true
    }
}

/// What one batch has taken of its gate, given back when the receiver is done with it.
pub(super) enum Permit {
    /// The edge has no budget, or the batch has left it.
    None,
    /// Sender and receiver share the gate.
    Local(Arc<Gate>, i64),
    /// The sender's gate is in another process.
    Remote(Arc<super::credit::CreditReturn>, i64),
}

impl Permit {
    /// Bytes of the batch that it was taken for. Measuring columns is not free: where the permit knows, it is not done again.
    pub(super) fn bytes(&self, budget: EdgeBudget, batch: &Batch) -> u64 {
        match (self, budget, &batch.records) {
            (Self::Local(_, cost) | Self::Remote(_, cost), EdgeBudget::Bytes(_), Records::Table(_)) => *cost as u64,
            _ => batch.byte_len() as u64,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self {
            Self::None => {}
            Self::Local(gate, cost) => gate.put(*cost),
            Self::Remote(credit, cost) => credit.put(*cost),
        }
    }
}
