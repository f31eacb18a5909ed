//! Barriers: who has passed which, what is stored for them, and when a checkpoint is complete.
//!
//! Epoch `e` ends with barrier `e + 1`. An instance that has passed it hands over its state and, once that is stored,
//! counts as having acknowledged `e`; one that has ended counts for all epochs from then on. Process 0 adds up, and has the
//! store complete the checkpoints one after the other. When everything has ended everywhere, what was stored for the ended
//! instances is the last checkpoint; only then sinks commit.

use crate::{OperatorContext, Restored, Result, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where snapshots go and where they come from.
///
/// The harness hands a snapshot over with a callback; a store that writes in the background calls it when the bytes are
/// safe. A checkpoint is complete once every instance's part is, and the store has said so in process 0.
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
    fn load(&self, context: &OperatorContext) -> Result<Option<RestoredInstance>> {
        let _ = context;
        Ok(None)
    }

    /// The barrier that ends `epoch` is about to set out. In every process, before any source passes it.
    fn begin(&self, epoch: u64, barrier: &Barrier) {
        let _ = (epoch, barrier);
    }

    /// Takes a part of the checkpoint of its epoch. `done` is called when it is safe, from any thread.
    fn save(&self, part: SnapshotPart, done: SaveDone);

    /// What this process tells process 0 of an epoch of which all its parts are safe; `None`: of the end of the job, when
    /// all parts are those of instances that have ended.
    fn contribution(&self, epoch: Option<u64>) -> String {
        let _ = epoch;
        String::new()
    }

    /// All parts of all processes are safe: makes the checkpoint one, and calls `done`, from any thread. Called in process 0
    /// only, in the order of the epochs. Where it fails the checkpoint counts as aborted, and the job goes on.
    fn complete(&self, completion: Completion, done: SaveDone) {
        let _ = completion;
        done(Ok(()));
    }

    /// Whether a checkpoint is complete is known. In every process.
    fn decided(&self, epoch: u64, complete: bool) {
        let _ = (epoch, complete);
    }
}

/// Called when a part is stored, or not.
pub type SaveDone = Box<dyn FnOnce(Result<()>) + Send>;

/// What a barrier is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Barrier {
    /// An ordinary checkpoint.
    Checkpoint,
    /// A checkpoint that its owner keeps.
    Savepoint {
        /// Where it goes, as the store understands it.
        to: String,
        /// Whether the job ends with it: nothing is read after the barrier.
        stop: bool,
    },
}

/// A checkpoint whose parts are all safe.
#[derive(Clone, Debug)]
pub struct Completion {
    /// The epoch that ended.
    pub epoch: u64,
    /// Whether everything has ended: no other will follow.
    pub last: bool,
    /// For the last one: where it goes, if its owner keeps it.
    pub savepoint: Option<String>,
    /// What each process said of it.
    pub contributions: Vec<String>,
}

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
    /// What the instance has announced: only records later than this follow from it. `i64::MAX` where it has ended.
    pub watermark: i64,
    /// What the barrier cost the instance.
    pub cost: BarrierCost,
    /// Its state.
    pub snapshot: Snapshot,
}

/// What a barrier costs an instance.
#[derive(Clone, Copy, Debug, Default)]
pub struct BarrierCost {
    /// Setting the state aside: the pipeline stands still.
    pub snapshot: Duration,
    /// From the first batch that came behind the barrier on one input to the barrier on the last.
    pub alignment: Duration,
    /// Bytes of the batches that waited for it.
    pub aligned_bytes: u64,
}

/// What an instance begins with.
pub struct RestoredInstance {
    /// Its state.
    pub state: Restored,
    /// Event time as of the checkpoint: the earliest that a former instance of the node had announced.
    pub watermark: i64,
    /// Whether it had ended: it has nothing to say any more.
    pub ended: bool,
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

/// The count of process 0 over all processes.
pub(super) struct Agreement {
    /// The next epoch to be decided.
    next: u64,
    /// What the processes that have passed an epoch say of it, by process.
    passed: BTreeMap<u64, BTreeMap<usize, String>>,
    /// Epochs that will not be complete, and why.
    damaged: BTreeMap<u64, String>,
    /// What the processes of which everything has ended say of that.
    finished: BTreeMap<usize, String>,
    /// Checkpoints in a row that were not complete.
    failures: usize,
}

impl Agreement {
    pub(super) fn new(first: u64) -> Self {
        let (passed, damaged, finished) = Default::default();
        Self { next: first, passed, damaged, finished, failures: 0 }
    }

    /// A process has passed `epoch`.
    pub(super) fn passed(&mut self, process: usize, epoch: u64, said: std::result::Result<String, String>) {
        let said = said.unwrap_or_else(|problem| {
            self.damaged.entry(epoch).or_insert(problem);
            String::new()
        });
        self.passed.entry(epoch).or_default().insert(process, said);
    }

    /// The checkpoint of `epoch` takes too long.
    pub(super) fn expire(&mut self, epoch: u64, why: String) {
        if epoch >= self.next {
            self.damaged.entry(epoch).or_insert(why);
        }
    }

    /// The next epoch that all processes have passed: what they say of it, or why its checkpoint will not be complete.
    pub(super) fn next(&mut self, processes: usize) -> Option<(u64, std::result::Result<Vec<String>, String>)> {
        let epoch = self.next;
        self.passed.get(&epoch).filter(|said| said.len() == processes)?;
        self.next += 1;
        let said = self.passed.remove(&epoch)?.into_values().collect();
        Some((epoch, self.damaged.remove(&epoch).map_or(Ok(said), Err)))
    }

    /// A process has finished; once all have, what they say.
    pub(super) fn finished(&mut self, process: usize, said: String, processes: usize) -> Option<Vec<String>> {
        self.finished.insert(process, said);
        (self.finished.len() == processes).then(|| std::mem::take(&mut self.finished).into_values().collect())
    }

    /// Counts a decision; gives how many in a row were not complete.
    pub(super) fn decided(&mut self, complete: bool) -> usize {
        self.failures = if complete { 0 } else { self.failures + 1 };
        self.failures
    }
}

/// The fates of checkpoints that instances may still be told of.
#[derive(Default)]
pub(super) struct Fates {
    known: BTreeMap<u64, bool>,
    completed: Option<u64>,
}

/// Fates that are remembered. An instance hears of one before it passes the barrier after the next; one that has ended and
/// commits at the job's end may miss some that are long past, and then commits with the next.
const REMEMBERED: usize = 64;

impl Fates {
    pub(super) fn insert(&mut self, epoch: u64, complete: bool) {
        self.known.insert(epoch, complete);
        if complete {
            self.completed = self.completed.max(Some(epoch));
        }
        if self.known.len() > REMEMBERED {
            self.known.pop_first();
        }
    }

    /// Whether the checkpoint of `epoch` is complete, once that is known.
    pub(super) fn get(&self, epoch: u64) -> Option<bool> {
        self.known.get(&epoch).copied()
    }

    /// The first fate known from `epoch` on.
    pub(super) fn from(&self, epoch: u64) -> Option<(u64, bool)> {
        self.known.range(epoch..).next().map(|(epoch, complete)| (*epoch, *complete))
    }

    /// The last epoch whose checkpoint is complete.
    pub(super) fn completed(&self) -> Option<u64> {
        self.completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn epochs_are_decided_in_their_order_once_all_have_passed() {
        let mut agreement = Agreement::new(3);
        agreement.passed(1, 4, Ok("b4".into()));
        agreement.passed(0, 4, Err("disk full".into()));
        assert_eq!(agreement.next(2), None);
        agreement.passed(1, 3, Ok("b3".into()));
        assert_eq!(agreement.next(2), None);
        agreement.passed(0, 3, Ok("a3".into()));
        assert_eq!(agreement.next(2), Some((3, Ok(vec!["a3".into(), "b3".into()]))));
        assert_eq!(agreement.next(2), Some((4, Err("disk full".into()))));
        assert_eq!(agreement.next(2), None);
        agreement.expire(4, "late".into());
        agreement.expire(5, "late".into());
        (0..2).for_each(|process| agreement.passed(process, 5, Ok(String::new())));
        assert_eq!(agreement.next(2), Some((5, Err("late".into()))));
        assert_eq!([false, false, true, false].map(|complete| agreement.decided(complete)), [1, 2, 0, 1]);
        assert_eq!(agreement.finished(1, "b".into(), 2), None);
        assert_eq!(agreement.finished(0, "a".into(), 2), Some(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn fates_of_long_ago_are_forgotten() {
        let mut fates = Fates::default();
        (0..1000).for_each(|epoch| fates.insert(epoch, epoch % 2 == 0));
        assert_eq!((fates.get(0), fates.get(999), fates.completed()), (None, Some(false), Some(998)));
        assert_eq!(fates.from(0), Some((1000 - REMEMBERED as u64, true)));
        assert_eq!(fates.from(1000), None);
    }

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
