//! Barriers: who has passed which, what is stored for them, and when a checkpoint is complete.
//!
//! Epoch `e` ends with barrier `e + 1`. An instance that has passed it hands over its state and, once that is stored,
//! counts as having acknowledged `e`; one that has ended counts for all epochs from then on. Process 0 adds up.

use crate::{Error, OperatorContext, Restored, Result, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// Where snapshots go and where they come from.
///
/// The harness hands a snapshot over with a callback; a store that writes in the background calls it when the bytes are
/// safe. A checkpoint is complete once every instance's part is.
pub trait CheckpointStore: Send + Sync {
    /// The epoch that the job begins with: 0, or one more than that of the checkpoint it is restored from. The same in
    /// every process.
    fn first_epoch(&self) -> u64 {
        0
    }

    /// The state that an instance takes back; asked once, after it was opened.
    ///
    /// # Errors
    /// What makes the checkpoint unreadable; the job fails with it.
    fn load(&self, context: &OperatorContext) -> Result<Option<Restored>> {
        let _ = context;
        Ok(None)
    }

    /// Takes a part of the checkpoint of its epoch. `done` is called when it is safe, from any thread.
    fn save(&self, part: SnapshotPart, done: SaveDone);

    /// All parts of all processes are safe: makes the checkpoint one. Called in process 0 only.
    ///
    /// # Errors
    /// Why the checkpoint cannot be completed; it then counts as aborted, and the job goes on.
    fn complete(&self, epoch: u64) -> Result<()> {
        let _ = epoch;
        Ok(())
    }
}

/// Called when a part is stored, or not.
pub type SaveDone = Box<dyn FnOnce(Result<()>) + Send>;

/// What one instance contributes to a checkpoint.
pub struct SnapshotPart {
    /// The node.
    pub node: usize,
    /// The node's name.
    pub name: String,
    /// The worker among all workers.
    pub worker: usize,
    /// The epoch that ended.
    pub epoch: u64,
    /// Whether the instance has ended: this part then also stands for all later epochs.
    pub ended: bool,
    /// Its state.
    pub snapshot: Snapshot,
}

/// The count of one process.
pub(super) struct Epochs {
    instances: usize,
    /// Instances that have acknowledged an epoch.
    acknowledged: BTreeMap<u64, usize>,
    /// Instances that have ended in an epoch.
    ended: BTreeMap<u64, usize>,
    /// Epochs of which a part could not be stored.
    damaged: BTreeMap<u64, String>,
    /// The first epoch that process 0 has not been told of.
    next: u64,
}

impl Epochs {
    pub(super) fn new(instances: usize, first: u64) -> Self {
        Self { instances, acknowledged: BTreeMap::new(), ended: BTreeMap::new(), damaged: BTreeMap::new(), next: first }
    }

    /// An instance has passed the barrier that ends `epoch`, or has ended in it.
    pub(super) fn acknowledge(&mut self, epoch: u64, ended: bool, stored: Result<()>) {
        if let Err(error) = stored {
            self.damaged.entry(epoch).or_insert_with(|| error.to_string());
        }
        let counts = if ended { &mut self.ended } else { &mut self.acknowledged };
        *counts.entry(epoch).or_default() += 1;
    }

    /// The next epoch, before barrier `requested`, that all instances of this process have passed; with what went wrong.
    pub(super) fn next_passed(&mut self, requested: u64) -> Option<(u64, Option<String>)> {
        let epoch = self.next;
        let ended: usize = self.ended.range(..=epoch).map(|(_, n)| n).sum();
        let passed = self.acknowledged.get(&epoch).copied().unwrap_or(0) + ended;
        if epoch >= requested || passed < self.instances {
            return None;
        }
        self.next += 1;
        self.acknowledged.remove(&epoch);
        Some((epoch, self.damaged.remove(&epoch)))
    }
}

/// The count of process 0 over all processes, for one job after the other.
#[derive(Default)]
pub(super) struct Agreement {
    job: u64,
    /// Epochs decided so far.
    decided: u64,
    passed: BTreeMap<u64, usize>,
    damaged: BTreeSet<u64>,
}

impl Agreement {
    /// A process has passed `epoch`.
    pub(super) fn passed(&mut self, job: u64, epoch: u64, problem: Option<String>) {
        if job != self.job {
            *self = Self { job, ..Self::default() };
        }
        if let Some(problem) = problem {
            tracing::warn!(epoch, problem, "a part of a checkpoint could not be stored");
            self.damaged.insert(epoch);
        }
        *self.passed.entry(epoch).or_default() += 1;
    }

    /// The next epoch that all processes have passed, and whether all its parts are stored.
    pub(super) fn next(&mut self, job: u64, first: u64, processes: usize) -> Option<(u64, bool)> {
        let epoch = first + self.decided;
        if job != self.job || self.passed.get(&epoch).is_none_or(|n| *n < processes) {
            return None;
        }
        self.decided += 1;
        self.passed.remove(&epoch);
        Some((epoch, !self.damaged.remove(&epoch)))
    }
}

/// The store's word on a checkpoint whose parts are all there.
pub(super) fn completed(store: Option<&dyn CheckpointStore>, epoch: u64) -> bool {
    let result = store.map_or(Ok(()), |store| store.complete(epoch));
    result.map_err(|error: Error| tracing::warn!(epoch, %error, "a checkpoint could not be completed")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_has_ended_counts_for_all_later_epochs() {
        let mut epochs = Epochs::new(2, 0);
        epochs.acknowledge(0, false, Ok(()));
        assert_eq!(epochs.next_passed(2), None);
        epochs.acknowledge(0, true, Ok(()));
        assert_eq!(epochs.next_passed(0), None);
        assert_eq!(epochs.next_passed(2), Some((0, None)));
        assert_eq!(epochs.next_passed(2), None);
        epochs.acknowledge(1, false, Err(Error::User("disk".into())));
        assert_eq!(epochs.next_passed(2), Some((1, Some("disk".into()))));
    }
}
