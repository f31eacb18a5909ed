//! The environment: where a program's jobs are built and run.

use crate::checkpoint::{Checkpoints, JobStore, Part, SharedStats};
use crate::control::ControlSocket;
use crate::graph::{Graph, GraphDescription, Lowered, Node, NodeId, OperatorStats};
use crate::metrics::{Metrics, MetricsServer};
use crate::report::{JobReport, Monitor, peak_resident};
use crate::restart::{RestartReport, Restarts};
use crate::runtime::{Checkpointing, JobControl, Mesh, RunConfig};
use crate::state::Backend;
use crate::{Config, Error, Result};
use fluvial_memory::{Compression, MemoryManager, SpillConfig, SpillManager};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Builds and runs jobs. Cheap to clone; clones are the same environment.
///
/// Streams and tables are made from it; nothing runs until [`Env::execute`], or until a result is asked for (`collect`,
/// `count`).
///
/// ```
/// use fluvial_core::Env;
/// let env = Env::default();
/// let squares = env.sequence(1..=4).map(|x| x * x).collect()?;
/// assert_eq!(squares.iter().sum::<u64>(), 30);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Env {
    shared: Arc<EnvShared>,
}

struct EnvShared {
    config: Config,
    graph: Mutex<Graph>,
    /// Sinks that no `execute` has run yet.
    pending: Mutex<Vec<NodeId>>,
    /// Started by the first job. Held while a job runs: jobs of one environment run one after another.
    session: Mutex<Option<Session>>,
    monitor: Monitor,
    metrics: Metrics,
    metrics_server: Mutex<Option<MetricsServer>>,
    last_report: Mutex<Option<JobReport>>,
    /// The job that runs now.
    running: Mutex<Option<JobControl>>,
    /// How often the processes of this program have been started again: meshes of different generations do not mix.
    generation: AtomicU64,
}

/// Names the environment variable with the generation of a process that has been started again. Its jobs continue from their
/// last checkpoints, if there are some.
pub(crate) const GENERATION: &str = "FLUVIAL_GENERATION";

/// What the jobs of an environment share.
pub(crate) struct Session {
    pub(crate) memory: MemoryManager,
    pub(crate) spill: SpillManager,
    pub(crate) mesh: Mesh,
}

impl Session {
    fn start(config: &Config, generation: u64) -> Result<Self> {
        config.interrupt.check()?;
        let memory = MemoryManager::new(config.memory)?;
        let compression = if config.compress_spill { Compression::Lz4 } else { Compression::None };
        let spill =
            SpillManager::new(SpillConfig { directory: config.spill_dir.clone(), compression, ..SpillConfig::default() })?;
        let mut run = RunConfig::new(config.threads, memory.clone());
        run.addresses = config.hosts.clone();
        run.process = config.process;
        run.interrupt = config.interrupt.clone();
        run.clock = config.clock.clone();
        run.stop_after = config.stop_after;
        run.barrier_interval = config.barrier_interval;
        run.generation = generation;
        Ok(Self { memory, spill, mesh: Mesh::start(run)? })
    }
}

impl Default for Env {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Env {
    /// An environment with this configuration. Nothing is started before the first job.
    pub fn new(config: Config) -> Self {
        let shared = EnvShared {
            config,
            graph: Mutex::default(),
            pending: Mutex::default(),
            session: Mutex::default(),
            monitor: Monitor::default(),
            metrics: Metrics::default(),
            metrics_server: Mutex::default(),
            last_report: Mutex::default(),
            running: Mutex::default(),
            generation: std::env::var(GENERATION).ok().and_then(|g| g.parse().ok()).unwrap_or(0).into(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// How its jobs run.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Runs all sinks that were added since the last call, as one job.
    ///
    /// # Errors
    /// The first error of any operator; everything is stopped and nothing half-written is left.
    pub fn execute(&self, name: &str) -> Result<JobReport> {
        self.execute_controlled(name, |_| {})
    }

    /// As [`Env::execute`]; says how the job is controlled when it has started.
    pub(crate) fn execute_controlled(&self, name: &str, started_as: impl FnOnce(JobControl)) -> Result<JobReport> {
        let pending = std::mem::take(&mut *lock(&self.shared.pending));
        self.run_controlled(name, &pending, started_as)
    }

    /// What the next [`Env::execute`] will run.
    pub fn explain(&self) -> GraphDescription {
        self.graph().upstream_of(&lock(&self.shared.pending)).describe()
    }

    /// What the last job that ended well did.
    pub fn last_report(&self) -> Option<JobReport> {
        lock(&self.shared.last_report).clone()
    }

    /// A view of the running job for another thread.
    pub fn monitor(&self) -> Monitor {
        self.shared.monitor.clone()
    }

    /// What the running job does, by operator and worker, and what it did once it has ended. For any thread.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics.clone()
    }

    /// Takes a savepoint of the running job and waits until it is complete: a checkpoint that belongs to who asked for it, in a
    /// folder of its own (or at a URL), from which this job, or a changed one, can begin ([`RestoreFrom::At`](crate::RestoreFrom)).
    /// For any thread of the first process.
    ///
    /// # Errors
    /// [`Error::Plan`] if no job runs, it keeps no checkpoints, or this is not the first process; [`Error::Checkpoint`] if the
    /// savepoint could not be completed: the job goes on then.
    pub fn savepoint(&self, to: &str, then: AfterSavepoint) -> Result<()> {
        let job = lock(&self.shared.running).clone();
        let job = job.ok_or_else(|| Error::Plan("no job is running of which a savepoint could be taken".into()))?;
        let waiter = match then {
            AfterSavepoint::GoOn => job.savepoint(to, false)?,
            AfterSavepoint::Stop => job.savepoint(to, true)?,
            AfterSavepoint::Drain => job.drain_to(to)?,
        };
        match waiter.recv() {
            Ok(result) => result.map_err(|problem| Error::Checkpoint(format!("savepoint {to}: {problem}"))),
            Err(_) => Err(Error::Checkpoint(format!("savepoint {to}: the job ended before it was complete"))),
        }
    }

    /// Serves the metrics of this process over HTTP, if [`Config::metrics_addr`] says so, and gives the address: as
    /// configured, with the port that was taken for port 0. The first job does it too; whoever wants to know of an address
    /// that cannot be used before that, or the port, asks here. Ends with [`Env::close`].
    ///
    /// # Errors
    /// [`Error::Plan`](crate::Error::Plan) if the address is in use or not of this host.
    pub fn serve_metrics(&self) -> Result<Option<SocketAddr>> {
        let Some(address) = self.config().metrics_addr else { return Ok(None) };
        let mut server = lock(&self.shared.metrics_server);
        if let Some(server) = &*server {
            return Ok(Some(server.address()));
        }
        let started = MetricsServer::start(address, self.metrics())?;
        Ok(Some(server.insert(started).address()))
    }

    pub(crate) fn describe(&self, root: NodeId) -> GraphDescription {
        self.graph().upstream_of(&[root]).describe()
    }

    /// Runs what the given nodes need.
    pub(crate) fn run(&self, name: &str, roots: &[NodeId]) -> Result<JobReport> {
        self.run_controlled(name, roots, |_| {})
    }

    /// As [`Env::run`]; says how the job is controlled when it has started.
    pub(crate) fn run_controlled(&self, name: &str, roots: &[NodeId], started_as: impl FnOnce(JobControl)) -> Result<JobReport> {
        let called = Instant::now();
        let graph = self.graph().upstream_of(roots);
        self.config().check()?;
        let streaming = graph.is_streaming(self.config().mode)?;
        graph.check_sides()?;
        graph.check_loops()?;
        if self.config().checkpoints.is_some() {
            graph.check_checkpoints_of_loops()?;
        }
        graph.check_memory(name, self.config())?;
        // A bounded job that iterates goes on from the end of a superstep; what would have to begin anew before and behind
        // the loop has nothing then, or refuses.
        let iterates = graph.iterates();
        let kept = iterates || streaming && !graph.has_blocking();
        let checkpoints = self.config().checkpoints.as_ref().filter(|_| kept);
        if checkpoints.is_some() && !iterates {
            graph.check_checkpoints()?;
        }
        let stats = SharedStats::default();
        let mut restarts = Restarts::new(&self.config().restart);
        let mut restarted: Vec<RestartReport> = Vec::new();
        let mut started_as = Some(started_as);
        let mut started = lock(&self.shared.session);
        let folder = checkpoints.filter(|_| self.config().process == 0).map(Checkpoints::place).transpose()?;
        let folder = folder.as_ref().and_then(|place| place.folder());
        let _control = folder.map(|folder| ControlSocket::open(folder, self.clone())).transpose()?;
        loop {
            let began = Instant::now();
            let session = self.started(&mut started)?;
            self.shared.metrics.keep(&stats, restarted.len());
            let again = !restarted.is_empty() || self.shared.generation.load(Relaxed) > 0;
            let checkpointed = checkpoints.map(|settings| Checkpointed { settings, again, stats: &stats });
            let tell = |job: JobControl, from: Option<u64>| {
                if let Some(last) = restarted.last_mut() {
                    last.checkpoint = from;
                }
                if let Some(started_as) = started_as.take() {
                    started_as(job);
                }
            };
            let error = match self.attempt(name, graph.clone(), streaming, session, checkpointed, (called, tell)) {
                Ok(report) => {
                    let report = JobReport { checkpoints: stats.get(), restarts: restarted, ..report };
                    *lock(&self.shared.last_report) = Some(report.clone());
                    return Ok(report);
                }
                Err(error) => error,
            };
            let relaunch = match &error {
                // The other processes can be started again with this job, if it was their first.
                Error::Peer { .. } => match &self.config().relaunch {
                    Some(relaunch) if lock(&self.shared.last_report).is_none() => Some(relaunch),
                    _ => return Err(error),
                },
                _ => None,
            };
            let Some(delay) = restarts.after(&error, began, Instant::now()) else { return Err(error) };
            tracing::warn!(job = name, %error, ?delay, "the job failed and is started again");
            if let Some(relaunch) = relaunch {
                // Its threads end before the processes of the next generation meet.
                drop(started.take());
                self.config().interrupt.sleep(delay)?;
                let generation = self.shared.generation.fetch_add(1, Relaxed) + 1;
                relaunch.start(generation)?;
            } else {
                self.config().interrupt.sleep(delay)?;
            }
            restarted.push(RestartReport { cause: error.to_string(), delay_seconds: delay.as_secs_f64(), checkpoint: None });
        }
    }

    /// Runs a job once.
    fn attempt(
        &self,
        name: &str,
        graph: Graph,
        streaming: bool,
        session: &Session,
        checkpointed: Option<Checkpointed<'_>>,
        (called, started_as): (Instant, impl FnOnce(JobControl, Option<u64>)),
    ) -> Result<JobReport> {
        // All at once, so that no operator that takes more than its minimum leaves another without.
        let segments = graph.nodes.iter().map(|n| n.memory).sum::<usize>() * self.config().threads;
        let pot = session.memory.reserve_within(PATIENCE, &format!("job {name}"), segments)?;
        let backend = self.state_backend(checkpointed.as_ref(), streaming)?;
        let lowered =
            graph.lower(name, &session.spill, &pot, (&self.config().clock, streaming), (&backend, checkpointed.is_some()));
        if let Some(disk) = backend.disk() {
            disk.identify(lowered.identities.iter().map(|node| node.uid.clone()));
        }
        self.shared.monitor.watch(&lowered.metrics, &session.spill);
        let before = session.spill.stats();
        let store = checkpointed.map(|c| c.open(name, &lowered, self.config(), backend)).transpose()?;
        let from = store.as_ref().and_then(|open| open.store.restored());
        let job = session.mesh.submit_with(&lowered.plan, store.as_ref().map(OpenStore::checkpointing))?;
        let _running = Running::of(&self.shared, job.control());
        started_as(job.control(), from);
        self.shared.metrics.watch(name, job.counters(), &lowered.metrics, &self.config().clock);
        let run = self.shared.metrics.publish_while(|| job.wait())?;
        let after = session.spill.stats();
        let first_part = lowered.metrics.iter().filter_map(|m| m.first_part.get()).min();
        let usage = session.memory.usage();
        let sinks = run.nodes.iter().zip(&lowered.plan.nodes).filter(|(_, planned)| planned.outputs == 0);
        let spills = lowered.spills.iter().map(SpillManager::stats);
        let operators = run.nodes.iter().zip(&lowered.metrics).zip(spills).map(|((node, metrics), spill)| OperatorStats {
            name: node.name.clone(),
            records_in: node.records_in + metrics.rows_read.load(Relaxed),
            records_out: node.records_out,
            bytes_in: node.bytes_in + metrics.bytes_read.load(Relaxed),
            bytes_out: node.bytes_out,
            busy_seconds: node.busy_nanos as f64 / 1e9,
            backpressured_seconds: node.blocked_nanos as f64 / 1e9,
            idle_seconds: node.idle_nanos as f64 / 1e9,
            late_records: metrics.late_records.load(Relaxed),
            dropped_records: metrics.dropped_records.load(Relaxed),
            spilled_bytes: spill.bytes_written,
            spill_files: spill.files,
            merge_passes: metrics.merge_passes.load(Relaxed),
            memory_peak: usage.iter().filter(|u| u.operator == node.name).map(|u| u.peak as u64).max().unwrap_or(0),
        });
        Ok(JobReport {
            job: name.to_owned(),
            seconds: run.elapsed.as_secs_f64(),
            records_in: lowered.metrics.iter().map(|m| m.rows_read.load(Relaxed)).sum(),
            records_out: sinks.map(|(node, _)| node.records_in).sum(),
            first_part_seconds: first_part.map(|read| read.duration_since(called).as_secs_f64()),
            memory: session.memory.budget() as u64,
            pool_peak: session.memory.peak() as u64,
            peak_resident: peak_resident(),
            spilled_bytes: after.bytes_written - before.bytes_written,
            spill_files: after.files - before.files,
            merge_passes: lowered.metrics.iter().map(|m| m.merge_passes.load(Relaxed)).sum(),
            suspended: run.suspended,
            operators: operators.collect(),
            ..JobReport::default()
        })
    }

    /// Where a run of a job keeps the state of keys.
    fn state_backend(&self, checkpointed: Option<&Checkpointed<'_>>, streaming: bool) -> Result<Backend> {
        let config = self.config();
        if !streaming {
            return Ok(Backend::Memory);
        }
        let place = checkpointed.map(|c| c.settings.place()).transpose()?;
        config.state_backend.start(place.as_ref().and_then(|place| place.folder()), &config.spill_dir)
    }

    fn started<'a>(&self, session: &'a mut Option<Session>) -> Result<&'a mut Session> {
        match session {
            Some(session) => Ok(session),
            none => {
                // Before other processes are waited for.
                self.serve_metrics()?;
                Ok(none.insert(Session::start(&self.shared.config, self.shared.generation.load(Relaxed))?))
            }
        }
    }

    /// Where jobs of this environment spill, and their pool.
    pub(crate) fn resources(&self) -> Result<(SpillManager, MemoryManager)> {
        self.config().check()?;
        let mut started = lock(&self.shared.session);
        let session = self.started(&mut started)?;
        Ok((session.spill.clone(), session.memory.clone()))
    }

    /// Ends the workers and leaves the mesh of processes. The next job would start them again. Dropping the environment and all
    /// streams made from it does the same.
    pub fn close(&self) {
        self.shared.monitor.forget();
        drop(lock(&self.shared.session).take());
        drop(lock(&self.shared.metrics_server).take());
    }

    pub(crate) fn graph(&self) -> MutexGuard<'_, Graph> {
        lock(&self.shared.graph)
    }

    pub(crate) fn add(&self, node: Node) -> NodeId {
        self.graph().add(node)
    }

    /// Adds a sink to the next [`Env::execute`].
    pub(crate) fn add_sink(&self, node: Node) -> NodeId {
        let id = self.add(node);
        lock(&self.shared.pending).push(id);
        id
    }
}

/// What a job does after a savepoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterSavepoint {
    /// It goes on.
    #[default]
    GoOn,
    /// It ends: nothing is read after the savepoint, and event time does not pass.
    Stop,
    /// It takes no more input, processes what it has to the end of event time (windows give their results), and ends with
    /// the savepoint.
    Drain,
}

/// Notes the job that runs, until it is dropped.
struct Running<'a>(&'a EnvShared);

impl<'a> Running<'a> {
    fn of(shared: &'a EnvShared, job: JobControl) -> Self {
        *lock(&shared.running) = Some(job);
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *lock(&self.0.running) = None;
    }
}

/// How a run of a job keeps its state.
struct Checkpointed<'a> {
    settings: &'a Checkpoints,
    /// Whether the job has run before, in this process or in one that is gone.
    again: bool,
    stats: &'a SharedStats,
}

impl Checkpointed<'_> {
    fn open(&self, name: &str, lowered: &Lowered, config: &Config, backend: Backend) -> Result<OpenStore> {
        let (settings, processes) = (self.settings, config.hosts.len().max(1));
        let part = Part { process: config.process, workers: processes * config.threads, local_workers: config.threads };
        let store = JobStore::open(settings, self.again, name, lowered.identities.clone(), part, self.stats, backend)?;
        Ok(OpenStore { store: Arc::new(store), settings: settings.clone() })
    }
}

/// The store of a run, closed when the run is over.
struct OpenStore {
    store: Arc<JobStore>,
    settings: Checkpoints,
}

impl OpenStore {
    fn checkpointing(&self) -> Checkpointing {
        let (barriers, exactly_once) = (self.settings.policy(), self.settings.is_exactly_once());
        Checkpointing { store: self.store.clone(), barriers, exactly_once }
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        self.store.close();
    }
}

/// How long a job waits for memory that the one before it has not given back: blocks that are being written.
const PATIENCE: Duration = Duration::from_secs(3);

/// A panic while one of these locks is held leaves nothing half-changed: they guard single pushes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
