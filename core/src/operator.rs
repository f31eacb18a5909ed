//! The operator trait: what an operator may do and when. Operators know nothing of the substrate; the harness in
//! `runtime` drives them, holds their capabilities, their stashes and their permits.

use crate::state::StoredSection;
use crate::{Batch, Result};
use fluvial_memory::{MemoryManager, Progress, Waker};
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// A runtime operator: one instance a worker.
///
/// The order of calls: `open`, `restore` if there is something to restore, then `process`, `on_watermark`, `on_timer`,
/// `snapshot` as they come, `end_input` once an input, `finish` until it says [`Progress::Done`]. `abort` may come at any
/// time and is the last call. After [`Progress::More`] or [`Progress::Waiting`] the harness calls [`Operator::resume`] until
/// it says `Done` before it brings another batch; what the operator has been given it has taken.
pub trait Operator {
    /// Called once on the worker's thread.
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Takes a batch of an input. An operator that is not ready for it copies it into its own (spillable) memory.
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress>;

    /// Inside a loop: takes a batch that is kept to be given once more in the next superstep. An operator that need not own the
    /// records looks at them here, and they are not copied.
    fn replay(&mut self, input: usize, batch: &Batch, out: &mut dyn Output) -> Result<Progress> {
        self.process(input, batch.duplicate(), out)
    }

    /// Goes on with what `process`, `end_input` or `on_watermark` left undone; `Done` if there is nothing.
    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let _ = out;
        Ok(Progress::Done)
    }

    /// An input has ended.
    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        let _ = (input, out);
        Ok(Progress::Done)
    }

    /// Inside a loop: no more records of this superstep will come on any input.
    fn end_superstep(&mut self, superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        let _ = (superstep, out);
        Ok(Progress::Done)
    }

    /// Inside a loop, for an operation that begins anew in each superstep, after `finish` has said `Done`: makes itself ready for
    /// another superstep, in which what came on inputs that are `constant` is there already: it will not come again, only their
    /// ends. False: it cannot, and another operator takes its place; once an operator with constant inputs has said true, it always
    /// does.
    fn begin_again(&mut self, constant: &[bool]) -> Result<bool> {
        let _ = constant;
        Ok(false)
    }

    /// Event time has advanced: only records later than `watermark` follow.
    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        let _ = (watermark, out);
        Ok(Progress::Done)
    }

    /// A processing-time timer set with [`Output::set_timer`] is due; `now` in milliseconds UTC, by the job's clock. Timers
    /// that are left when all inputs have ended are due then, in order, `now` being the time they were set for; none can be
    /// set any more. It is also called once after [`Operator::restore`], to set timers for what was taken back.
    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        let _ = (now, out);
        Ok(Progress::Done)
    }

    /// All inputs have ended and everything is processed: emit what remains.
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let _ = out;
        Ok(Progress::Done)
    }

    /// The barrier of `epoch` has passed all inputs. Returns the state as of now, to be written in the background.
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        let _ = epoch;
        Ok(Snapshot::default())
    }

    /// Why the operator can give no snapshot now, if it cannot: the checkpoint is not complete then, and the job goes on.
    fn refuses_snapshot(&self) -> Option<String> {
        None
    }

    /// Takes back state that [`Operator::snapshot`] gave, of the key groups that this instance owns now.
    fn restore(&mut self, state: Restored) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// The checkpoint of `epoch` is complete everywhere: commit what was pre-committed.
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        let _ = epoch;
        Ok(())
    }

    /// The checkpoint of `epoch` will not complete.
    fn checkpoint_aborted(&mut self, epoch: u64) -> Result<()> {
        let _ = epoch;
        Ok(())
    }

    /// Whether the operator has something to commit when the job ends. Then it stays after it has finished, and
    /// `checkpoint_complete` (or `abort`) is called once all operators of all processes have; others are dropped at once.
    fn commits(&self) -> bool {
        false
    }

    /// What the operator still holds back may be as early as just after this: event time behind it does not pass it, however
    /// far the input's watermark is. Looked at after every call.
    fn held_watermark(&self) -> i64 {
        i64::MAX
    }

    /// Whether the operator has work under way beside its calls, with nothing of them left undone: async I/O, say. Then a call
    /// of its waker leads to [`Operator::resume`] also without an earlier [`Progress::More`] or [`Progress::Waiting`].
    fn has_background_work(&self) -> bool {
        false
    }

    /// Of a timestamp assigner: only records later than this follow from this instance.
    fn watermark(&self) -> i64 {
        i64::MIN
    }

    /// Of a timestamp assigner: whether it should not hold back event time, because it sees no records at present.
    fn idle(&self) -> bool {
        false
    }

    /// The job has failed or was cancelled: release everything, leave nothing half-written.
    fn abort(&mut self) {}
}

/// A runtime source: one instance a worker.
pub trait Source {
    /// Called once on the worker's thread.
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        let _ = context;
        Ok(())
    }

    /// Emits about one batch. `More`: call again; `Waiting`: the waker will be called, or a timer set with
    /// [`Output::set_timer`] is due first; `Done`: the source has ended here.
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress>;

    /// Called in place of [`Source::poll`] where the outputs have no room: that nothing is read from here to the next poll is
    /// not for want of records.
    fn held_up(&mut self) {}

    /// After [`Progress::Waiting`]: when the source is to be polled again even if nothing wakes it. If that is very soon the
    /// worker does not sleep until then, so that a record which is due leaves within microseconds.
    fn wake_at(&self) -> Option<Instant> {
        None
    }

    /// This instance's watermark: only records later than it follow. `i64::MIN` where the source has no event time.
    fn watermark(&self) -> i64 {
        i64::MIN
    }

    /// Whether the source has nothing to say at present and should not hold back event time.
    fn idle(&self) -> bool {
        false
    }

    /// Called with the smallest watermark of the active instances, for alignment of fast splits.
    fn on_global_watermark(&mut self, watermark: i64) {
        let _ = watermark;
    }

    /// The position as of now, as state.
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        let _ = epoch;
        Ok(Snapshot::default())
    }

    /// Continues from positions that [`Source::snapshot`] gave.
    fn restore(&mut self, state: Restored) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// The checkpoint of `epoch` is complete everywhere.
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        let _ = epoch;
        Ok(())
    }

    /// Drain: emit what was taken, take no more.
    fn stop(&mut self) {}

    /// The job has failed or was cancelled.
    fn abort(&mut self) {}
}

/// Where an operator's results go.
pub trait Output {
    /// Sends a batch on an output port. The harness distributes it along the port's edges.
    fn send(&mut self, port: usize, batch: Batch) -> Result<()>;

    /// Whether the port's edges would rather not be sent more now: no permits are left. An operator that multiplies
    /// data looks at it between batches and returns [`Progress::More`].
    fn congested(&self, port: usize) -> bool;

    /// The superstep that the operator works on, inside a bulk or delta loop.
    fn superstep(&self) -> u64 {
        0
    }

    /// Asks for [`Operator::on_timer`], or [`Source::poll`], at a processing time, milliseconds UTC by the job's clock.
    fn set_timer(&mut self, at: i64);
}

/// What an operator instance may know of its surroundings.
#[derive(Clone)]
pub struct OperatorContext {
    /// Stable id of the graph's node.
    pub node: usize,
    /// The node's name, for messages and memory accounting.
    pub name: String,
    /// This worker among all workers of all processes.
    pub worker: usize,
    /// Number of workers in all processes.
    pub workers: usize,
    /// This worker among the workers of this process.
    pub local_worker: usize,
    /// Number of workers in this process.
    pub local_workers: usize,
    /// This process.
    pub process: usize,
    /// Number of processes.
    pub processes: usize,
    /// The process's pool.
    pub memory: MemoryManager,
    /// Makes the worker call this operator again soon; from any thread.
    pub waker: Waker,
    /// Values shared by the instances of one node in one process.
    pub shared: Arc<Shared>,
}

/// Values shared by the instances of one node in one process: a queue of splits, the runs of a sort, a result.
#[derive(Default)]
pub struct Shared {
    values: std::sync::Mutex<std::collections::HashMap<(usize, std::any::TypeId), Arc<dyn Any + Send + Sync>>>,
}

impl OperatorContext {
    /// The key groups whose state this instance owns.
    pub fn key_groups(&self) -> std::ops::Range<u16> {
        fluvial_memory::hash::owned_groups(self.worker, self.workers)
    }

    /// The value of type `T` that all instances of this node in this process share; made by the first that asks.
    pub fn shared<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.shared.values.lock().unwrap_or_else(|e| e.into_inner());
        let value = values.entry((self.node, std::any::TypeId::of::<T>())).or_insert_with(|| Arc::new(make())).clone();
        value.downcast().unwrap_or_else(|_| unreachable!("stored under its own type"))
    }
}

/// State handed out at a barrier: sections of bytes, each of a key group or of the whole instance.
#[derive(Default)]
pub struct Snapshot {
    /// The sections that are encoded already.
    pub sections: Vec<StateSection>,
    /// State as of the barrier that is still to be encoded, on any thread: copy-on-write state costs the pipeline nothing but
    /// the switch.
    pub deferred: Vec<DeferredState>,
}

/// Encodes state that was set aside at a barrier, section by section, so that no more than one of them is there as bytes.
pub type DeferredState = Box<dyn FnOnce(&mut SectionSink<'_>) -> Result<()> + Send>;

/// Takes the sections of a snapshot.
pub type SectionSink<'a> = dyn FnMut(StateSection) -> Result<()> + 'a;

impl Snapshot {
    /// Hands all of the state, encoded, to `sink`.
    ///
    /// # Errors
    /// A value that its type's serde implementation cannot serialize; what `sink` says.
    pub fn encode(self, sink: &mut SectionSink<'_>) -> Result<()> {
        self.sections.into_iter().try_for_each(&mut *sink)?;
        self.deferred.into_iter().try_for_each(|encode| encode(sink))
    }

    /// All of the state, encoded.
    ///
    /// # Errors
    /// As [`Snapshot::encode`].
    pub fn into_sections(self) -> Result<Vec<StateSection>> {
        let mut sections = Vec::new();
        self.encode(&mut |section| {
            sections.push(section);
            Ok(())
        })?;
        Ok(sections)
    }
}

/// One piece of state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateSection {
    /// The state's name within the operator.
    pub name: String,
    /// The key group it belongs to; `None` for state that belongs to the instance.
    pub key_group: Option<u16>,
    /// Schema of the records in `bytes`, as its codec describes it.
    pub schema: String,
    /// What the keys of the records are; empty where there are none, or where nobody said.
    pub keys: String,
    /// The records.
    pub bytes: Vec<u8>,
    /// Where they lie, in place of `bytes`, for state that is kept on disk. Only operators that keep state there get it back so.
    pub stored: Option<StoredSection>,
}

impl StateSection {
    /// Bytes of the records, wherever they are.
    pub fn byte_len(&self) -> u64 {
        self.stored.as_ref().map_or(self.bytes.len() as u64, StoredSection::byte_len)
    }
}

/// State to take back.
pub struct Restored {
    /// The epoch it was taken at.
    pub epoch: u64,
    /// Sections of the key groups that this instance owns, and all sections without a key group of all former instances.
    pub sections: Vec<StateSection>,
}
