//! The mesh: worker threads (and sockets) that outlive one job.

use super::build::build;
use super::failure::{guard, install_hook};
use super::job::{Job, JobOptions, NodeReport, Topology};
use super::permit::EdgeBudget;
use super::plan::Plan;
use super::time::Time;
use crate::{Error, Result};
use fluvial_memory::MemoryManager;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::{AllocatorBuilder, Hooks, WorkerGuards, initialize_from};
use timely::worker::{Config as WorkerConfig, Worker};

/// How the mesh is made and how its jobs are run.
#[derive(Clone)]
pub struct RunConfig {
    /// Worker threads of each process.
    pub threads: usize,
    /// This process among all.
    pub process: usize,
    /// Address (`host:port`) of every process, in order; empty or one for a single process.
    pub addresses: Vec<String>,
    /// Counts restarts: processes of different generations do not talk to each other.
    pub generation: u64,
    /// The process's pool.
    pub memory: MemoryManager,
    /// What may be in flight on one edge to one receiving worker.
    pub edge_budget: EdgeBudget,
    /// Whether batches behind a barrier wait until it has passed all inputs; otherwise state is at-least-once.
    pub exactly_once: bool,
    /// Bytes that operators may hold back behind barriers before sources stop sending.
    pub stash_bytes: usize,
}

impl RunConfig {
    /// One process of `threads` workers, exactly once, with the default budgets.
    pub fn new(threads: usize, memory: MemoryManager) -> Self {
        Self {
            threads,
            process: 0,
            addresses: Vec::new(),
            generation: 0,
            memory,
            edge_budget: EdgeBudget::default(),
            exactly_once: true,
            stash_bytes: 16 << 20,
        }
    }
}

/// What a job did.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// From the start of the workers' part to the end of the last one's.
    pub elapsed: Duration,
    /// One entry a node, of this process's instances.
    pub nodes: Vec<NodeReport>,
}

enum Command {
    Run(Arc<Job>),
    Shutdown,
}

/// Worker threads, ready to run one job after the other.
///
/// Every process calls [`Mesh::run`] with the same plans in the same order.
pub struct Mesh {
    config: RunConfig,
    topology: Topology,
    workers: Vec<WorkerHandle>,
    guards: Option<WorkerGuards<()>>,
    shared: Arc<MeshShared>,
    running: Mutex<()>,
}

struct WorkerHandle {
    commands: Sender<Command>,
    thread: std::thread::Thread,
}

/// What the workers tell the thread that runs a job.
pub(super) struct MeshShared {
    state: Mutex<MeshState>,
    changed: Condvar,
}

#[derive(Default)]
struct MeshState {
    /// Workers that have left the current job's dataflow.
    done: usize,
    job: Option<Arc<Job>>,
    /// Why the mesh can run no more jobs.
    broken: Option<String>,
}

impl MeshShared {
    fn lock(&self) -> MutexGuard<'_, MeshState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Mesh {
    /// Starts the workers and, with more than one process, waits for the others.
    ///
    /// # Errors
    /// [`Error::Plan`] for a configuration that makes no sense, [`Error::Peer`] where another process cannot be reached.
    pub fn start(config: RunConfig) -> Result<Self> {
        install_hook();
        if config.threads == 0 {
            return Err(Error::Plan("a mesh needs at least one worker thread".into()));
        }
        let topology = Topology { process: config.process, processes: config.addresses.len().max(1), threads: config.threads };
        let hooks = Hooks::default();
        let builders = ProcessBuilder::new_typed_vector(config.threads, hooks.refill.clone(), None);
        let builders = builders.into_iter().map(AllocatorBuilder::Process).collect();
        let shared = Arc::new(MeshShared { state: Mutex::default(), changed: Condvar::new() });
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..config.threads).map(|_| channel()).unzip();
        let receivers: Mutex<Vec<Option<Receiver<Command>>>> = Mutex::new(receivers.into_iter().map(Some).collect());
        let for_workers = shared.clone();
        let threads = config.threads;
        let guards = initialize_from(builders, Box::new(()), move |allocator| {
            let index = allocator.index() % threads;
            let commands = receivers.lock().unwrap_or_else(|e| e.into_inner())[index].take();
            let shared = for_workers.clone();
            let result = guard(|| {
                let worker = Worker::new(WorkerConfig::default(), allocator, Some(Instant::now()));
                work(worker, &commands.expect("each worker starts once"), &shared);
            });
            if let Err(message) = result {
                broken(&shared, message);
            }
        });
        let guards = guards.map_err(|e| Error::Plan(format!("worker threads could not be started: {e}")))?;
        let handle = |(commands, guard): (Sender<Command>, &std::thread::JoinHandle<()>)| WorkerHandle {
            commands,
            thread: guard.thread().clone(),
        };
        let workers = senders.into_iter().zip(guards.guards()).map(handle).collect();
        Ok(Self { config, topology, workers, guards: Some(guards), shared, running: Mutex::new(()) })
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// The first error of any operator in any process; nothing of the job runs any more then.
    pub fn run(&self, plan: &Plan) -> Result<RunReport> {
        self.submit(plan)?.wait()
    }

    /// Starts a job. Jobs run one at a time: a second one waits for the first.
    ///
    /// # Errors
    /// [`Error::Plan`] if the plan is not sound.
    pub fn submit(&self, plan: &Plan) -> Result<RunningJob<'_>> {
        plan.validate()?;
        let turn = self.running.lock().unwrap_or_else(|e| e.into_inner());
        let options = JobOptions {
            edge_budget: self.config.edge_budget,
            exactly_once: self.config.exactly_once,
            stash_bytes: self.config.stash_bytes,
        };
        let job = Arc::new_cyclic(|this: &std::sync::Weak<Job>| {
            let this = this.clone();
            let all_finished = Box::new(move || {
                if let Some(job) = this.upgrade() {
                    job.commit();
                }
            });
            Job::new(Arc::new(plan.clone()), self.topology, options, self.config.memory.clone(), Box::new(|_| {}), all_finished)
        });
        {
            let mut state = self.shared.lock();
            if let Some(message) = &state.broken {
                return Err(Error::User(message.clone()));
            }
            state.done = 0;
            state.job = Some(job.clone());
        }
        for worker in &self.workers {
            // A worker that is gone has said why.
            let _ = worker.commands.send(Command::Run(job.clone()));
            worker.thread.unpark();
        }
        Ok(RunningJob { mesh: self, job, start: Instant::now(), _turn: turn })
    }

    /// Number of workers in all processes.
    pub fn workers(&self) -> usize {
        self.topology.workers()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Shutdown);
            worker.thread.unpark();
        }
        if let Some(guards) = self.guards.take() {
            // Panics of network threads have been reported.
            let _ = guard(|| guards.join());
        }
    }
}

/// A job that the mesh is running.
pub struct RunningJob<'a> {
    mesh: &'a Mesh,
    job: Arc<Job>,
    start: Instant,
    _turn: MutexGuard<'a, ()>,
}

impl RunningJob<'_> {
    /// How others control the job while this thread waits for it.
    pub fn control(&self) -> JobControl {
        JobControl { job: self.job.clone() }
    }

    /// Waits for the job's end.
    ///
    /// # Errors
    /// As [`Mesh::run`].
    pub fn wait(self) -> Result<RunReport> {
        let mut state = self.mesh.shared.lock();
        while state.done < self.mesh.topology.threads && state.broken.is_none() {
            state = self.mesh.shared.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        let broken = state.broken.clone();
        state.job = None;
        drop(state);
        if let Some(error) = self.job.take_failure() {
            return Err(error);
        }
        if let Some(message) = broken {
            return Err(Error::User(message));
        }
        Ok(RunReport { elapsed: self.start.elapsed(), nodes: self.job.report() })
    }
}

/// Controls a running job, from any thread.
#[derive(Clone)]
pub struct JobControl {
    job: Arc<Job>,
}

impl JobControl {
    /// Drains the job: sources take no more, what they took is processed, and the job ends well.
    pub fn stop(&self) {
        self.job.stop();
    }

    /// Ends the job at once, with this error.
    pub fn abort(&self, error: Error) {
        self.job.fail(error, true);
    }

    /// What the nodes' instances in this process did so far.
    pub fn progress(&self) -> Vec<NodeReport> {
        self.job.report()
    }
}

fn broken(shared: &MeshShared, message: String) {
    let job = {
        let mut state = shared.lock();
        state.broken.get_or_insert(message);
        state.job.clone()
    };
    if let Some(job) = job {
        job.fail(Error::Interrupted, false);
    }
    shared.changed.notify_all();
}

/// A worker's life: takes commands, steps what runs, parks when there is nothing to do.
fn work(mut worker: Worker, commands: &Receiver<Command>, shared: &MeshShared) {
    let mut current: Option<usize> = None;
    loop {
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Run(job) => {
                    current = Some(worker.next_dataflow_index());
                    worker.dataflow_named::<Time, _, _>(&job.plan.name.clone(), |scope| build(&job, scope));
                }
                Command::Shutdown => return,
            }
        }
        worker.step_or_park(None);
        if current.is_some_and(|index| !worker.installed_dataflows().contains(&index)) {
            current = None;
            shared.lock().done += 1;
            shared.changed.notify_all();
        }
    }
}
