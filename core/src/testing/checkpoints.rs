//! Jobs with checkpoints in memory, that fail and go on from them.

use crate::runtime::{
    CheckpointStore, Checkpointing, Completion, JobControl, Mesh, RestoredInstance, RunConfig, SaveDone, SnapshotPart,
};
use crate::state::Backend;
use crate::{Clock, Env, Error, OperatorContext, Restored, Result, StateSection};
use fluvial_memory::hash::group_owner;
use fluvial_memory::{MemoryManager, SpillConfig, SpillManager};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(30);

/// One instance's state at the end of an epoch.
struct Part {
    node: usize,
    epoch: u64,
    /// Whether it stands for all later epochs too.
    ended: bool,
    watermark: i64,
    sections: Vec<StateSection>,
}

/// What checkpoints of a job there are, over its restarts.
#[derive(Clone, Default)]
pub(crate) struct Checkpoints {
    parts: Arc<Mutex<Vec<Part>>>,
    completed: Arc<Mutex<Vec<u64>>>,
}

impl Checkpoints {
    /// The last complete one.
    pub(crate) fn last(&self) -> Option<u64> {
        self.completed.lock().unwrap().last().copied()
    }
}

/// Keeps the checkpoints of one run.
struct Store {
    kept: Checkpoints,
    from: Option<u64>,
    /// Whether the checkpoint of an epoch can be completed.
    completes: Box<dyn Fn(u64) -> bool + Send + Sync>,
    told: Mutex<Sender<u64>>,
}

impl CheckpointStore for Store {
    fn first_epoch(&self) -> u64 {
        self.from.map_or(0, |epoch| epoch + 1)
    }

    fn load(&self, context: &OperatorContext) -> Result<Option<RestoredInstance>> {
        let Some(epoch) = self.from else { return Ok(None) };
        let parts = self.kept.parts.lock().unwrap();
        let of_epoch = |p: &&Part| p.node == context.node && (p.epoch == epoch || p.ended && p.epoch < epoch);
        let mine = |s: &&StateSection| s.key_group.is_none_or(|group| group_owner(group, context.workers) == context.worker);
        let sections = parts.iter().filter(of_epoch).flat_map(|p| &p.sections).filter(mine).cloned().collect();
        let watermark = parts.iter().filter(of_epoch).map(|p| p.watermark).min().unwrap_or(i64::MIN);
        Ok(Some(RestoredInstance { state: Restored { epoch, sections }, watermark, ended: false }))
    }

    fn save(&self, part: SnapshotPart, done: SaveDone) {
        let SnapshotPart { node, epoch, ended, watermark, snapshot, .. } = part;
        done(snapshot.into_sections().map(|sections| {
            self.kept.parts.lock().unwrap().push(Part { node, epoch, ended, watermark, sections });
        }));
    }

    fn complete(&self, Completion { epoch, .. }: Completion, done: SaveDone) {
        let completes = (self.completes)(epoch);
        if completes {
            self.kept.completed.lock().unwrap().push(epoch);
        }
        let _ = self.told.lock().unwrap().send(epoch);
        done(if completes { Ok(()) } else { Err(Error::User("this checkpoint fails".into())) });
    }
}

/// A running job, as tests see it.
pub(crate) struct Run<'a> {
    pub(crate) control: JobControl,
    decided: &'a Receiver<u64>,
}

impl Run<'_> {
    /// Sends a barrier and waits until its checkpoint is complete, or is not going to be.
    pub(crate) fn checkpoint(&self) {
        self.control.trigger_epoch();
        self.decided.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("no checkpoint: {error}"));
    }

    /// Fails the job.
    pub(crate) fn fail(&self) {
        self.control.abort(Error::User("a failure".into()));
    }
}

/// Runs all there is in an environment, in streaming mode, from the last complete checkpoint if there is one. `meanwhile` may
/// ask for checkpoints, and fail the job.
pub(crate) fn run_from(
    kept: &Checkpoints,
    env: &Env,
    workers: usize,
    completes: impl Fn(u64) -> bool + Send + Sync + 'static,
    meanwhile: impl FnOnce(&Run<'_>),
) -> Result<()> {
    let memory = MemoryManager::new(64 << 20)?;
    let pot = memory.reserve("job", 0)?;
    let spill = SpillManager::new(SpillConfig::default())?;
    let plan = env.graph().clone().lower("job", &spill, &pot, (&Clock::system(), true), (&Backend::Memory, true)).plan;
    // Little waits behind barriers, so that checkpoints come quickly.
    let mesh = Mesh::start(RunConfig { stash_bytes: 64 << 10, ..RunConfig::new(workers, memory.clone()) })?;
    let from = kept.last();
    // Nothing of a run that failed later is left.
    kept.parts.lock().unwrap().retain(|part| from.is_some_and(|from| part.epoch <= from));
    let (told, decided) = channel();
    let store = Store { kept: kept.clone(), from, completes: Box::new(completes), told: Mutex::new(told) };
    let job = mesh.submit_with(&plan, Some(Checkpointing::new(Arc::new(store))))?;
    meanwhile(&Run { control: job.control(), decided: &decided });
    job.wait().map(drop)
}
