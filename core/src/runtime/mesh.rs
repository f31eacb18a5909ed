//! The mesh: worker threads (and sockets) that outlive one job.

use super::build::build;
use super::control::{self, Failure, MeshShared, Message};
use super::counters::JobCounters;
use super::epochs::CheckpointStore;
use super::failure::{guard, install_hook, watch_peer};
use super::instance::activations;
use super::interrupt::{Interrupt, Watched};
use super::job::{Job, JobOptions, NodeReport, Topology};
use super::lockstep_head::iterating;
use super::network;
use super::permit::EdgeBudget;
use super::plan::Plan;
use super::schedule::BarrierPolicy;
use super::time::Time;
use crate::{Clock, Error, Result};
use fluvial_memory::MemoryManager;
use std::any::Any;
use std::cell::Cell;
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
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
    /// How long to wait for the other processes at the start.
    pub connect_timeout: Duration,
    /// The process's pool.
    pub memory: MemoryManager,
    /// What may be in flight on one edge to one receiving worker.
    pub edge_budget: EdgeBudget,
    /// Whether batches behind a barrier wait until it has passed all inputs; otherwise state is at-least-once.
    pub exactly_once: bool,
    /// Bytes that the operators of this process may hold back behind barriers before sources stop sending. More of it
    /// lets sources run on for longer; the next barrier waits for all of it.
    pub stash_bytes: usize,
    /// What processing-time timers go by.
    pub clock: Clock,
    /// How long jobs take input, by the clock; then they drain.
    pub stop_after: Option<Duration>,
    /// How often a barrier goes through jobs, whether somebody keeps snapshots or not; never before the last one has passed.
    pub barrier_interval: Option<Duration>,
    /// Ends the wait for other processes, and every job.
    pub interrupt: Interrupt,
}

impl RunConfig {
    /// One process of `threads` workers, exactly once, with the default budgets.
    pub fn new(threads: usize, memory: MemoryManager) -> Self {
        Self {
            threads,
            process: 0,
            addresses: Vec::new(),
            generation: 0,
            connect_timeout: Duration::from_secs(30),
            memory,
            edge_budget: EdgeBudget::default(),
            exactly_once: true,
            stash_bytes: threads << 20,
            clock: Clock::system(),
            stop_after: None,
            barrier_interval: None,
            interrupt: Interrupt::default(),
        }
    }
}

/// How a job keeps its state.
#[derive(Clone)]
pub struct Checkpointing {
    /// Where state goes and comes from.
    pub store: Arc<dyn CheckpointStore>,
    /// When.
    pub barriers: BarrierPolicy,
    /// Whether batches behind a barrier wait until it has passed all inputs; otherwise state is at-least-once.
    pub exactly_once: bool,
}

impl Checkpointing {
    /// Exactly once, when somebody asks for it.
    pub fn new(store: Arc<dyn CheckpointStore>) -> Self {
        Self { store, barriers: BarrierPolicy::default(), exactly_once: true }
    }
}

/// What a job did.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// Where its state is, if it ended with a savepoint before the end of its input.
    pub suspended: Option<String>,
    /// From the start of the workers' part to the end of the last one's.
    pub elapsed: Duration,
    /// One entry a node, summed over all processes.
    pub nodes: Vec<NodeReport>,
}

enum Command {
    Run(Arc<Job>),
    Shutdown,
}

/// Worker threads, ready to run one job after the other.
///
/// Every process calls [`Mesh::run`] with the same plans in the same order. Dropping the mesh ends and joins its threads;
/// with more than one process it waits for the others to drop theirs.
pub struct Mesh {
    config: RunConfig,
    shared: Arc<MeshShared>,
    workers: Vec<WorkerHandle>,
    guards: Option<WorkerGuards<()>>,
    /// To end the network threads when a peer is gone.
    sockets: Vec<TcpStream>,
    /// The number of the next job; held while one runs.
    next: Mutex<u64>,
}

struct WorkerHandle {
    commands: Sender<Command>,
    thread: std::thread::Thread,
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
        let shared = Arc::new(MeshShared::new(topology));
        let (builders, others, sockets) = allocators(&config, &shared)?;
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..config.threads).map(|_| channel()).unzip();
        let receivers: Mutex<Vec<Option<Receiver<Command>>>> = Mutex::new(receivers.into_iter().map(Some).collect());
        let for_workers = shared.clone();
        let guards = initialize_from(builders, others, move |allocator| {
            let shared = &for_workers;
            let commands =
                receivers.lock().unwrap_or_else(|e| e.into_inner())[allocator.index() % shared.topology.threads].take();
            let commands = commands.expect("each worker starts once");
            let mut worker = Worker::new(WorkerConfig::default(), allocator, Some(Instant::now()));
            if let Err(message) = guard(|| work(&mut worker, &commands, shared)) {
                shared.broken(None, &message);
            }
            // Operators that are still there abort. Queues to a lost peer panic once more.
            let _ = guard(|| drop(worker));
        });
        let guards = guards.map_err(|e| Error::Plan(format!("worker threads could not be started: {e}")))?;
        let handle = |(commands, guard): (Sender<Command>, &std::thread::JoinHandle<()>)| WorkerHandle {
            commands,
            thread: guard.thread().clone(),
        };
        let workers = senders.into_iter().zip(guards.guards()).map(handle).collect();
        Ok(Self { config, shared, workers, guards: Some(guards), sockets, next: Mutex::new(0) })
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
    /// [`Error::Plan`] if the plan is not sound or not that of the other processes, [`Error::Peer`] if one of them is gone.
    pub fn submit(&self, plan: &Plan) -> Result<RunningJob<'_>> {
        self.submit_with(plan, None)
    }

    /// Starts a job that keeps its state somewhere, and begins with the state that is there.
    ///
    /// # Errors
    /// As [`Mesh::submit`].
    pub fn submit_with(&self, plan: &Plan, checkpointing: Option<Checkpointing>) -> Result<RunningJob<'_>> {
        plan.validate()?;
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        let options = JobOptions {
            stop_at: self.config.stop_after.map(|after| later(&self.config.clock, after)),
            barriers: match &checkpointing {
                Some(checkpointing) => checkpointing.barriers,
                None => BarrierPolicy { interval: self.config.barrier_interval, ..BarrierPolicy::default() },
            },
            edge_budget: self.config.edge_budget,
            exactly_once: self.config.exactly_once && checkpointing.as_ref().is_none_or(|c| c.exactly_once),
            stash_bytes: self.config.stash_bytes,
            clock: self.config.clock.clone(),
            checkpoints: checkpointing.map(|c| c.store),
        };
        let job = Arc::new(Job::new(*next, self.shared.clone(), plan.clone(), options, self.config.memory.clone()));
        *next += 1;
        if let Some(error) = self.shared.breakage() {
            return Err(error);
        }
        self.shared.begin(&job);
        let watched = self.config.interrupt.watch(JobControl { job: job.clone() });
        if let Err(error) = self.shared.meet(&job, &self.config.interrupt) {
            self.shared.end();
            return Err(error);
        }
        for worker in &self.workers {
            // A worker that is gone has said why.
            let _ = worker.commands.send(Command::Run(job.clone()));
            worker.thread.unpark();
        }
        Ok(RunningJob { mesh: self, job, start: Instant::now(), over: false, _watched: watched, _turn: next })
    }

    /// Number of workers in all processes.
    pub fn workers(&self) -> usize {
        self.shared.topology.workers()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shared.broadcast(&Message::Leaving);
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Shutdown);
            worker.thread.unpark();
        }
        if self.shared.breakage().is_some() {
            // What the network threads wait for will not come.
            self.sockets.iter().for_each(|s| drop(s.shutdown(Shutdown::Both)));
        }
        if let Some(guards) = self.guards.take() {
            // Panics of network threads have been reported.
            let _ = guard(|| guards.join());
        }
    }
}

/// A job that the mesh is running. Dropped before its end, it is aborted.
pub struct RunningJob<'a> {
    mesh: &'a Mesh,
    job: Arc<Job>,
    start: Instant,
    over: bool,
    _watched: Watched,
    _turn: MutexGuard<'a, u64>,
}

impl RunningJob<'_> {
    /// How others control the job while this thread waits for it.
    pub fn control(&self) -> JobControl {
        JobControl { job: self.job.clone() }
    }

    /// What the instances of this process count.
    pub(crate) fn counters(&self) -> Arc<JobCounters> {
        self.job.counters.clone()
    }

    /// Waits for the job's end.
    ///
    /// # Errors
    /// As [`Mesh::run`].
    pub fn wait(mut self) -> Result<RunReport> {
        self.conclude()
    }

    fn conclude(&mut self) -> Result<RunReport> {
        self.over = true;
        let shared = &self.mesh.shared;
        let outcomes = shared.conclude(&self.job);
        self.job.counters.end();
        shared.end();
        let outcomes = outcomes?;
        // All processes name the same error: that of the first process that has one.
        let mut suspended = None;
        if let Some(process) = outcomes.iter().position(|o| o.failure.is_some()) {
            let ours = if process == shared.topology.process { self.job.take_failure() } else { None };
            let theirs = || outcomes[process].failure.clone().map_or(Error::Interrupted, Failure::into_error);
            match ours.unwrap_or_else(theirs) {
                Error::Suspended { savepoint } => suspended = Some(savepoint),
                error => return Err(error),
            }
        }
        let mut outcomes = outcomes.into_iter();
        let mut nodes = outcomes.next().map(|o| o.nodes).unwrap_or_default();
        for outcome in outcomes {
            nodes.iter_mut().zip(outcome.nodes).for_each(|(sum, more)| sum.add(&more));
        }
        Ok(RunReport { suspended, elapsed: self.start.elapsed(), nodes })
    }
}

impl Drop for RunningJob<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.job.fail(Error::Interrupted, true);
            let _ = self.conclude();
        }
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
        self.job.stop_everywhere();
    }

    /// Sends a barrier through the job, in all processes: sources begin the next epoch, and state is taken where the one
    /// before has ended.
    pub fn trigger_epoch(&self) {
        self.job.trigger();
    }

    /// Takes a savepoint, which goes to `to`; with `stop` the job ends with it: nothing is read after the barrier, and nothing
    /// but what was read before it comes to the sinks. What is received says how it went; if nothing is, the job has ended
    /// before.
    ///
    /// # Errors
    /// [`Error::Plan`] in a process that is not the first, and where the job keeps no state.
    pub fn savepoint(&self, to: &str, stop: bool) -> Result<Receiver<std::result::Result<(), String>>> {
        self.check_savepoint()?;
        Ok(self.job.savepoint(to.to_owned(), stop))
    }

    /// Drains the job; its last checkpoint is a savepoint, which goes to `to`.
    ///
    /// # Errors
    /// As [`JobControl::savepoint`].
    pub fn drain_to(&self, to: &str) -> Result<Receiver<std::result::Result<(), String>>> {
        self.check_savepoint()?;
        Ok(self.job.drain_to(to.to_owned()))
    }

    fn check_savepoint(&self) -> Result<()> {
        if self.job.topology.process > 0 {
            return Err(Error::Plan("savepoints are taken by way of the first process".into()));
        }
        if self.job.options.checkpoints.is_none() {
            return Err(Error::Plan(format!("job `{}` keeps no checkpoints, so it has no savepoints", self.job.plan.name)));
        }
        Ok(())
    }

    /// The last epoch whose checkpoint is complete.
    pub fn completed_epoch(&self) -> Option<u64> {
        self.job.completed()
    }

    /// Ends the job at once, with this error.
    pub fn abort(&self, error: Error) {
        self.job.fail(error, true);
    }

    /// Whether the job drains where it is interrupted once.
    pub(super) fn drains(&self) -> bool {
        self.job.plan.drains
    }

    /// Whether both are of the same job.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.job, &other.job)
    }

    /// What the nodes' instances in this process did so far.
    pub fn progress(&self) -> Vec<NodeReport> {
        self.job.report()
    }
}

/// `after` from now on, milliseconds UTC.
fn later(clock: &Clock, after: Duration) -> i64 {
    clock.now().saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
}

type Allocators = (Vec<AllocatorBuilder>, Box<dyn Any + Send>, Vec<TcpStream>);

/// The channels between the workers, of this process alone or of all.
fn allocators(config: &RunConfig, shared: &Arc<MeshShared>) -> Result<Allocators> {
    let mut hooks = Hooks::default();
    if shared.topology.processes == 1 {
        let builders = ProcessBuilder::new_typed_vector(config.threads, hooks.refill, None);
        return Ok((builders.into_iter().map(AllocatorBuilder::Process).collect(), Box::new(()), Vec::new()));
    }
    let sockets = network::connect(shared.topology, config)?;
    let failed = |e: std::io::Error| Error::Plan(format!("the network threads could not be started: {e}"));
    let copies = sockets.iter().flatten().map(TcpStream::try_clone).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    hooks.refill = network::slabs(&config.memory)?;
    let watching = shared.clone();
    hooks.log_fn = Arc::new(move |thread| {
        if let Some(peer) = thread.remote {
            let shared = watching.clone();
            watch_peer(Arc::new(move |message| shared.broken(Some(peer), message)));
        }
        None
    });
    let local = ProcessBuilder::new_typed_vector(config.threads, hooks.refill.clone(), None);
    let process = shared.topology.process;
    let (builders, guard) = initialize_networking_from_sockets(local, sockets, process, config.threads, hooks).map_err(failed)?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard), copies))
}

/// Dropped with the dataflow, which the substrate does once it is complete.
struct Over(Rc<Cell<bool>>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// A worker's life: takes commands, steps what runs, parks when there is nothing to do.
fn work(worker: &mut Worker, commands: &Receiver<Command>, shared: &Arc<MeshShared>) {
    if shared.topology.processes > 1 {
        control::install(worker, shared);
    }
    let mut current: Option<Rc<Cell<bool>>> = None;
    loop {
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Run(job) => {
                    let over = Over(Rc::default());
                    current = Some(over.0.clone());
                    worker.dataflow_core::<Time, _, _, _>(&job.plan.name, None, over, |_, scope| build(&job, scope));
                }
                Command::Shutdown => {
                    // What the control dataflow still has to say.
                    worker.step();
                    return;
                }
            }
        }
        step(worker);
        if current.as_ref().is_some_and(|over| over.get()) {
            current = None;
            shared.worker_done();
        }
    }
}

/// How long a worker goes on looking while a loop iterates and nothing happens. What the operators of an empty superstep have
/// to tell each other takes a microsecond or two a time, to be woken from a park ten times as long.
const SPIN: Duration = Duration::from_micros(100);

/// Steps what has been woken, or parks until something is.
fn step(worker: &mut Worker) {
    if iterating() {
        let before = activations();
        let start = Instant::now();
        while start.elapsed() < SPIN {
            worker.step();
            if activations() != before {
                return;
            }
        }
    }
    worker.step_or_park(None);
}
