//! The store of one run of a job: what the runtime talks to.

use super::place::Place;
use super::restore::RestorePoint;
use super::retention::Retention;
use super::settings::Checkpoints;
use super::stats::SharedStats;
use super::writer::{Order, Writer, WriterSetup};
use crate::io::file_error;
use crate::runtime::{Barrier, CheckpointStore, Completion, RestoredInstance, SaveDone, SnapshotPart};
use crate::state::Backend;
use crate::{OperatorContext, Result};
use std::fs::File;
use std::sync::{Arc, Mutex};

/// Who an operator is, across runs.
#[derive(Clone, Debug)]
pub(crate) struct NodeIdentity {
    pub(crate) uid: String,
    /// For people.
    pub(crate) name: String,
    /// Whether the program gave the uid.
    pub(crate) named: bool,
    /// Nodes whose records it gets, other than over feedback.
    pub(crate) inputs: Vec<usize>,
}

/// Which part of the job this process is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) process: usize,
    pub(crate) workers: usize,
    pub(crate) local_workers: usize,
}

/// Keeps the state of one run of a job.
pub(crate) struct JobStore {
    nodes: Arc<[NodeIdentity]>,
    point: Option<RestorePoint>,
    first_epoch: u64,
    /// Where the job keeps state of keys.
    backend: Backend,
    writer: Writer,
    contributions: Contributions,
    /// Held by the first process: one job writes here at a time.
    lock: Mutex<Option<File>>,
}

/// What the writer has to say of epochs whose parts are all safe; `None`: of instances that have ended.
pub(super) type Contributions = Arc<Mutex<std::collections::BTreeMap<Option<u64>, String>>>;

impl JobStore {
    /// Looks at what is there, and chooses what to begin with. `again`: the job has run before, so that what it has kept
    /// since comes before what it was told to begin with.
    ///
    /// # Errors
    /// As [`RestorePoint::choose`]; another job uses the folder; it cannot be read or written.
    pub(crate) fn open(
        settings: &Checkpoints,
        again: bool,
        job: &str,
        nodes: Vec<NodeIdentity>,
        part: Part,
        stats: &SharedStats,
        backend: Backend,
    ) -> Result<Self> {
        let place = settings.place()?;
        let lock = if part.process == 0 { lock(&*place)? } else { None };
        let nodes: Arc<[NodeIdentity]> = nodes.into();
        let point = RestorePoint::choose(settings, again, &place, job, &nodes)?;
        let retention = if part.process == 0 { Some(Retention::new(&*place, settings.kept())?) } else { None };
        let contributions = Contributions::default();
        let setup = WriterSetup {
            place,
            job: job.to_owned(),
            nodes: nodes.clone(),
            part,
            exactly_once: settings.is_exactly_once(),
            retention,
            contributions: contributions.clone(),
            stats: stats.clone(),
        };
        let first_epoch = point.as_ref().map_or(0, |point| point.manifest.id + 1);
        let writer = Writer::start(setup)?;
        Ok(Self { nodes, point, first_epoch, backend, writer, contributions, lock: Mutex::new(lock) })
    }

    /// The job is over: nothing is written any more, and the folder is free.
    pub(crate) fn close(&self) {
        self.writer.close();
        drop(self.lock.lock().unwrap_or_else(|e| e.into_inner()).take());
    }

    /// The checkpoint that the job begins with.
    pub(crate) fn restored(&self) -> Option<u64> {
        self.point.as_ref().map(|point| point.manifest.id)
    }
}

/// Keeps other jobs out of a folder, until it is dropped or the process is gone.
fn lock(place: &dyn Place) -> Result<Option<File>> {
    let Some(folder) = place.folder() else { return Ok(None) };
    std::fs::create_dir_all(folder).map_err(|e| file_error(folder, e))?;
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| file_error(&path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(file_error(&path, "another job keeps its checkpoints here: give each a folder of its own"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(file_error(&path, error)),
    }
}

impl CheckpointStore for JobStore {
    fn first_epoch(&self) -> u64 {
        self.first_epoch
    }

    fn load(&self, context: &OperatorContext) -> Result<Option<RestoredInstance>> {
        let disk = self.backend.disk();
        let keeps = |state: &str| disk.is_some_and(|disk| disk.keeps(context.node, context.worker, state));
        self.point.as_ref().map_or(Ok(None), |point| point.load(&self.nodes, context, keeps))
    }

    fn begin(&self, epoch: u64, barrier: &Barrier) {
        self.writer.order(Order::Begin { epoch, barrier: barrier.clone() });
    }

    fn save(&self, part: SnapshotPart, done: SaveDone) {
        self.writer.order(Order::Part(part, done));
    }

    fn contribution(&self, epoch: Option<u64>) -> String {
        let mut contributions = self.contributions.lock().unwrap_or_else(|e| e.into_inner());
        // That of the ended instances may be asked for again.
        let said = if epoch.is_some() { contributions.remove(&epoch) } else { contributions.get(&None).cloned() };
        said.unwrap_or_default()
    }

    fn complete(&self, completion: Completion, done: SaveDone) {
        self.writer.order(Order::Complete(completion, done));
    }

    fn decided(&self, epoch: u64, complete: bool) {
        self.writer.order(Order::Decided { epoch, complete });
    }
}
