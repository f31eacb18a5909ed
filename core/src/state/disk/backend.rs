use super::run::{RunLabel, RunWriter};
use crate::checkpoint::SectionKind;
use crate::codec::RecordCodec;
use crate::state::section;
use crate::stream::Data;
use crate::{Error, Result};
use fluvial_memory::{SpillConfig, SpillManager};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Where jobs keep the state of keys while they run: part of a [`Config`](crate::Config).
///
/// Both give the same results, and continue from each other's checkpoints and savepoints.
///
/// ```
/// use fluvial_core::{Config, Env, Mode, StateBackend};
///
/// let state_backend = StateBackend::Disk { memory: 4 << 20, folder: None };
/// let env = Env::new(Config { state_backend, mode: Mode::Streaming, ..Config::default() });
/// let sums = env.sequence(0..10_000).key_by(|n| n % 1000).rolling_reduce(|a, b| a + b);
/// assert_eq!(sums.collect()?.len(), 10_000);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StateBackend {
    /// As values on the heap: the fastest, for state that fits in memory.
    #[default]
    Memory,
    /// In files, for state that does not. Checkpoints write what has changed since the last one.
    ///
    /// Beside `memory` an index takes 11 to 21 bytes a key. Timers stay on the heap, as do states of instances.
    Disk {
        /// Bytes that each process may hold of values that were read or changed last; its states share it evenly.
        memory: usize,
        /// Where the files of the live state go. Default: beside the checkpoints, if they are in a folder (they can be linked to
        /// then, not copied), else where spill files go.
        folder: Option<PathBuf>,
    },
}

/// Least memory of state on disk, for each process.
const LEAST: usize = 64 << 10;

impl StateBackend {
    /// # Errors
    /// [`Error::Plan`] that names the setting, what it is and what it may be.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Disk { memory, .. } if *memory < LEAST => {
                Err(Error::Plan(format!("state memory: {memory} bytes given, at least {LEAST} are needed")))
            }
            _ => Ok(()),
        }
    }

    /// Starts it for a job that keeps its checkpoints in this folder, if in any.
    ///
    /// # Errors
    /// The folder of its files cannot be made.
    pub(crate) fn start(&self, checkpoints: Option<&Path>, spill: &Path) -> Result<Backend> {
        let Self::Disk { memory, folder } = self else { return Ok(Backend::Memory) };
        let beside = checkpoints.map(|folder| folder.join(LIVE));
        let folder = folder.clone().or(beside).unwrap_or_else(|| spill.to_owned());
        Ok(Backend::Disk(Arc::new(DiskBackend::start(*memory, folder)?)))
    }
}

/// The folder of live state within one of checkpoints.
const LIVE: &str = "live";

/// A running state backend. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) enum Backend {
    #[default]
    Memory,
    Disk(Arc<DiskBackend>),
}

impl Backend {
    pub(crate) fn disk(&self) -> Option<&Arc<DiskBackend>> {
        match self {
            Self::Memory => None,
            Self::Disk(disk) => Some(disk),
        }
    }
}

/// What the tables of a job in one process share.
pub(crate) struct DiskBackend {
    memory: usize,
    tables: AtomicUsize,
    background: Background,
    /// Names files, and removes those of processes that are gone.
    files: SpillManager,
    /// Uids by node.
    uids: OnceLock<Vec<String>>,
    /// Node, worker and name of each state that is kept here.
    kept: Mutex<HashSet<(usize, usize, String)>>,
}

impl DiskBackend {
    fn start(memory: usize, folder: PathBuf) -> Result<Self> {
        let files = SpillManager::new(SpillConfig { directory: folder, io_threads: 1, ..SpillConfig::default() })?;
        let background = Background::start()?;
        Ok(Self { memory, tables: 0.into(), files, uids: OnceLock::new(), kept: Mutex::default(), background })
    }

    /// Says who the nodes are across runs.
    pub(crate) fn identify(&self, uids: impl Iterator<Item = String>) {
        // Said once a job.
        let _ = self.uids.set(uids.collect());
    }

    /// Whether an instance keeps this state on disk: it takes it back as files then.
    pub(crate) fn keeps(&self, node: usize, worker: usize, state: &str) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.contains(&(node, worker, state.to_owned()))
    }
}

/// Where an instance's state is kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StateScope {
    pub(crate) groups: Range<u16>,
    pub(crate) node: usize,
    pub(crate) worker: usize,
    pub(crate) backend: Backend,
}

impl StateScope {
    /// A place for a state of this name on disk, if that is where state is kept.
    pub(crate) fn disk<V: Data>(&self, state: &str, codec: &RecordCodec<V>, kind: SectionKind) -> Option<TablePlace> {
        let backend = self.backend.disk()?.clone();
        backend.tables.fetch_add(1, Relaxed);
        let mut kept = backend.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert((self.node, self.worker, state.to_owned()));
        drop(kept);
        let operator = backend.uids.get().and_then(|uids| uids.get(self.node).cloned()).unwrap_or_else(|| self.node.to_string());
        let label = RunLabel {
            operator,
            worker: self.worker,
            state: state.to_owned(),
            schema: section::schema(codec),
            keys: codec.keys().as_str().to_owned(),
            kind,
        };
        Some(TablePlace { backend, label: Arc::new(label), groups: self.groups.clone() })
    }
}

/// Where one table keeps its entries.
pub(crate) struct TablePlace {
    backend: Arc<DiskBackend>,
    pub(super) label: Arc<RunLabel>,
    pub(crate) groups: Range<u16>,
}

impl TablePlace {
    /// Bytes that the table may hold in memory: all tables of the process have the same.
    #[inline]
    pub(crate) fn memory(&self) -> usize {
        self.backend.memory / self.backend.tables.load(Relaxed).max(1)
    }

    /// A path for a new run.
    pub(super) fn path(&self) -> PathBuf {
        self.backend.files.scratch(&format!("{}-{}", self.label.state, self.label.worker))
    }

    pub(super) fn writer(&self, sequence: u64) -> Result<RunWriter> {
        RunWriter::create(self.path(), sequence)
    }

    /// Has something done beside the workers, in the order in which it is asked for.
    pub(super) fn background(&self, job: impl FnOnce() + Send + 'static) {
        self.backend.background.order(Box::new(job));
    }
}

impl Drop for TablePlace {
    fn drop(&mut self) {
        self.backend.tables.fetch_sub(1, Relaxed);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that writes runs.
struct Background {
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    fn start() -> Result<Self> {
        let (jobs, orders) = channel::<Job>();
        let thread = std::thread::Builder::new().name("state".into()).spawn(move || orders.into_iter().for_each(|job| job()));
        let thread = thread.map_err(|e| Error::User(format!("the thread that writes state could not be started: {e}")))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Some(thread) })
    }

    fn order(&self, job: Job) {
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            // It takes orders until this is dropped.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.take() {
            // What it panicked of, its table has been told.
            let _ = thread.join();
        }
    }
}
