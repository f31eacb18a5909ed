use super::partitioned::Partitioned;
use super::solution_set::{Shared, missing};
use fluvial_core::{Data, Result, TaskContext, Waker};
use fluvial_memory::NormalizedKey;

/// What an operator on the solution set does at the end of a round, in a loop without supersteps.
///
/// Partitions of the solution set that are on disk are brought back when nothing else is to be done, a group at a time, round and round: so each is
/// brought back about as often as in a loop of supersteps, for all that has come for it since. Who changes the set waits for those who ask for its
/// records to bring partitions back.
pub(super) struct Round {
    /// Of the operator; there is none in a loop of supersteps, where all is done at the end of one.
    waker: Option<Waker>,
    /// Whether the waker is called when the initial solution is there.
    registered: bool,
    /// Whether something has come since the end of the last round.
    fresh: bool,
    /// The group of partitions that is brought back, and the last one that was.
    chosen: Option<usize>,
    last: usize,
    /// Whether this is who changes the set; and the visits of the others that it has seen.
    changes: bool,
    seen: u64,
}

impl Round {
    pub(super) fn new(asynchronous: bool, changes: bool, context: &TaskContext) -> Self {
        let waker = asynchronous.then(|| context.waker.clone());
        Self { waker, registered: false, fresh: false, chosen: None, last: 0, changes, seen: 0 }
    }

    pub(super) fn is_asynchronous(&self) -> bool {
        self.waker.is_some()
    }

    /// Something has come. Whether the initial solution is not there yet: then it must wait.
    pub(super) fn comes<S: Data, K: NormalizedKey + 'static, F: Fn(&S) -> K + 'static>(
        &mut self,
        set: &Shared<S, K, F>,
    ) -> Result<bool> {
        self.fresh = true;
        let Some(waker) = &self.waker else { return Ok(false) };
        let mut set = set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        if !set.is_complete() && !std::mem::replace(&mut self.registered, true) {
            set.wake_when_complete(waker);
        }
        Ok(!set.is_complete())
    }

    /// The round ends, or the superstep. Whether something can be done with what waits.
    pub(super) fn ends<S: Data, K: NormalizedKey + 'static, F: Fn(&S) -> K + 'static, T: Data>(
        &mut self,
        set: &Shared<S, K, F>,
        waiting: &Partitioned<T>,
    ) -> Result<bool> {
        if self.waker.is_none() {
            return Ok(true);
        }
        let fresh = std::mem::replace(&mut self.fresh, false);
        if waiting.len() == 0 {
            return Ok(true);
        }
        let mut set = set.borrow_mut();
        let set = set.as_mut().ok_or_else(missing)?;
        if !set.is_complete() {
            return Ok(false);
        }
        let others = std::mem::replace(&mut self.seen, set.visits()) != set.visits();
        self.chosen = if fresh || self.changes && others { None } else { waiting.next_after(self.last) };
        if let Some(chosen) = self.chosen {
            self.last = chosen;
            if !self.changes {
                set.visited();
            }
        }
        Ok(true)
    }

    /// Whether what waits for this group of partitions is to be done now.
    pub(super) fn takes(&self, group: usize, resident: bool) -> bool {
        self.waker.is_none() || resident || self.chosen == Some(group)
    }

    /// All that could be done has been. What still waits has another round.
    pub(super) fn is_over<T: Data>(&self, waiting: &Partitioned<T>) {
        if let Some(waker) = self.waker.as_ref().filter(|_| waiting.len() > 0) {
            waker();
        }
    }
}
