//! What the workers of one process share while a job runs: its failure, its gates, its counters, its epochs.

use super::control::{Failure, MeshShared, Message};
use super::counters::JobCounters;
use super::credit::CreditReturn;
use super::epochs::{CheckpointStore, Epochs, SnapshotPart};
use super::idle::{Status, Statuses};
use super::permit::{EdgeBudget, Gate};
use super::plan::Plan;
use super::wake::Wake;
use crate::{Clock, Error, Result, Shared};
use fluvial_memory::MemoryManager;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Which workers there are, and which of them are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    pub process: usize,
    pub processes: usize,
    pub threads: usize,
}

impl Topology {
    pub(super) fn workers(&self) -> usize {
        self.processes * self.threads
    }
    pub(super) fn is_local(&self, worker: usize) -> bool {
        worker / self.threads == self.process
    }
}

/// What a node's instances did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeReport {
    /// The node's id.
    pub id: usize,
    /// The node's name.
    pub name: String,
    /// Records that it was given.
    pub records_in: u64,
    /// Records that it sent, before they were multiplied by edges.
    pub records_out: u64,
    /// Batches that it was given.
    pub batches_in: u64,
    /// Batches that it sent.
    pub batches_out: u64,
    /// Bytes of those records as they lie in memory, roughly: without what typed records point to.
    pub bytes_in: u64,
    /// Bytes that it sent, to all edges and workers together.
    pub bytes_out: u64,
    /// Time that its instances spent working, nanoseconds, summed over the workers.
    pub busy_nanos: u64,
    /// Time that they were held up by outputs without room, nanoseconds, summed over the workers.
    pub blocked_nanos: u64,
    /// The rest of the time, nanoseconds, summed over the workers.
    pub idle_nanos: u64,
}

impl NodeReport {
    /// Adds what another process reports of the same node.
    pub(super) fn add(&mut self, other: &Self) {
        self.records_in += other.records_in;
        self.records_out += other.records_out;
        self.batches_in += other.batches_in;
        self.batches_out += other.batches_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.busy_nanos += other.busy_nanos;
        self.blocked_nanos += other.blocked_nanos;
        self.idle_nanos += other.idle_nanos;
    }
}

/// How a job is to be run.
#[derive(Clone)]
pub(super) struct JobOptions {
    /// When the job takes no more input, milliseconds UTC by its clock.
    pub stop_at: Option<i64>,
    pub barrier_interval: Option<Duration>,
    pub edge_budget: EdgeBudget,
    pub exactly_once: bool,
    pub stash_bytes: usize,
    pub clock: Clock,
    pub checkpoints: Option<Arc<dyn CheckpointStore>>,
}

pub(super) struct Job {
    /// Number of the job among those of its mesh.
    pub id: u64,
    pub mesh: Arc<MeshShared>,
    pub plan: Arc<Plan>,
    pub in_loop: Vec<bool>,
    pub topology: Topology,
    pub options: JobOptions,
    pub memory: MemoryManager,
    /// By node, input and receiving worker.
    pub gates: Vec<Vec<Vec<Arc<Gate>>>>,
    pub counters: Arc<JobCounters>,
    /// What operators hold back behind barriers; sources wait for it.
    pub stash: Arc<Gate>,
    pub statuses: Statuses,
    pub rounds: Rounds,
    /// The barrier that sources are to pass: the epoch after it.
    requested: AtomicU64,
    /// Epochs whose checkpoints are complete (true) or will not be.
    fates: Mutex<BTreeMap<u64, bool>>,
    epochs: Mutex<Epochs>,
    pub first_epoch: u64,
    pub shared: Arc<Shared>,
    aborted: AtomicBool,
    stopping: AtomicBool,
    failure: Mutex<Option<Error>>,
    wakes: Mutex<Vec<Wake>>,
    /// Harness instances of this process that have finished; when all have, everywhere, sinks commit.
    finished: Mutex<usize>,
    committed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Job {
    pub(super) fn new(id: u64, mesh: Arc<MeshShared>, plan: Plan, options: JobOptions, memory: MemoryManager) -> Self {
        let topology = mesh.topology;
        let gates_of = |_| (0..topology.workers()).map(|_| Gate::new(options.edge_budget, topology.processes)).collect();
        let first_epoch = options.checkpoints.as_ref().map_or(0, |store| store.first_epoch());
        let gates: Vec<Vec<Vec<Arc<Gate>>>> = plan.nodes.iter().map(|n| n.inputs.iter().map(gates_of).collect()).collect();
        Self {
            id,
            mesh,
            in_loop: plan.in_loop(),
            counters: Arc::new(JobCounters::new(id, &plan, topology, options.edge_budget, &gates)),
            stash: Gate::new(EdgeBudget::Bytes(options.stash_bytes), 1),
            statuses: Statuses::default(),
            rounds: Rounds::default(),
            requested: AtomicU64::new(first_epoch),
            fates: Mutex::default(),
            epochs: Mutex::new(Epochs::new(plan.nodes.len() * topology.threads, first_epoch)),
            first_epoch,
            plan: Arc::new(plan),
            topology,
            options,
            memory,
            gates,
            shared: Arc::default(),
            aborted: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            failure: Mutex::new(None),
            wakes: Mutex::default(),
            finished: Mutex::new(0),
            committed: AtomicBool::new(false),
        }
    }

    /// Where a receiver's credit goes, one entry a process.
    pub(super) fn credits(&self, node: usize, input: usize, worker: usize) -> Vec<Arc<CreditReturn>> {
        let credit = |process| {
            let (mesh, job) = (self.mesh.clone(), self.id);
            let send = move |amount| mesh.send(process, Message::Credit { job, node, input, worker, amount });
            Arc::new(CreditReturn::new(self.options.edge_budget.share(self.topology.processes) / 4, Box::new(send)))
        };
        if self.topology.processes == 1 { Vec::new() } else { (0..self.topology.processes).map(credit).collect() }
    }

    /// A harness says how it is woken.
    pub(super) fn register(&self, wake: Wake) {
        lock(&self.wakes).push(wake);
    }

    pub(super) fn wake_all(&self) {
        lock(&self.wakes).iter().for_each(Wake::wake);
    }

    #[inline]
    pub(super) fn aborted(&self) -> bool {
        self.aborted.load(SeqCst)
    }

    /// Ends the job with this error, unless another came first. `here`: the other processes do not know of it yet.
    pub(super) fn fail(&self, error: Error, here: bool) {
        {
            let mut failure = lock(&self.failure);
            if failure.is_some() {
                return;
            }
            if here {
                self.mesh.broadcast(&Message::Failed { job: self.id, failure: Failure::of(&error) });
            }
            *failure = Some(error);
        }
        self.aborted.store(true, SeqCst);
        self.wake_all();
        self.mesh.news();
    }

    pub(super) fn take_failure(&self) -> Option<Error> {
        lock(&self.failure).take()
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).as_ref().map(Failure::of)
    }

    #[inline]
    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Has all processes drain.
    pub(super) fn stop_everywhere(&self) {
        self.mesh.broadcast(&Message::Stop { job: self.id });
        self.stop();
    }

    /// Sources end where they are; what was taken is processed.
    pub(super) fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.wake_all();
        self.mesh.news();
    }

    /// The epoch that sources are to be in.
    #[inline]
    pub(super) fn requested(&self) -> u64 {
        self.requested.load(SeqCst)
    }

    /// Whether the last barrier that was asked for has passed everything, in all processes.
    pub(super) fn is_between_barriers(&self) -> bool {
        let epoch = self.requested();
        epoch == self.first_epoch || self.fate(epoch - 1).is_some()
    }

    /// Asks for a barrier in all processes.
    pub(super) fn trigger(&self) {
        self.mesh.send(0, Message::Trigger { job: self.id });
    }

    /// In process 0: begins the next barrier.
    pub(super) fn next_barrier(&self) -> u64 {
        self.requested.fetch_add(1, SeqCst) + 1
    }

    /// Sources are to pass all barriers up to this one.
    pub(super) fn barrier(&self, epoch: u64) {
        self.requested.fetch_max(epoch, SeqCst);
        self.wake_all();
        // Instances that have ended may have been all that was missing.
        self.report_passed();
    }

    /// Stores what an instance hands over at the end of an epoch, and then counts it.
    pub(super) fn save(self: &Arc<Self>, part: SnapshotPart) {
        let (job, epoch, ended) = (self.clone(), part.epoch, part.ended);
        let done = move |stored| {
            lock(&job.epochs).acknowledge(epoch, ended, stored);
            job.report_passed();
            if ended {
                job.instance_finished();
            }
        };
        match &self.options.checkpoints {
            Some(store) => store.save(part, Box::new(done)),
            None => done(Ok(())),
        }
    }

    fn report_passed(&self) {
        loop {
            let Some((epoch, problem)) = lock(&self.epochs).next_passed(self.requested()) else { return };
            self.mesh.send(0, Message::Passed { job: self.id, epoch, problem });
        }
    }

    /// The fate of a checkpoint is known.
    pub(super) fn decided(&self, epoch: u64, complete: bool) {
        lock(&self.fates).insert(epoch, complete);
        self.wake_all();
    }

    /// Whether the checkpoint of `epoch` is complete, once that is known.
    pub(super) fn fate(&self, epoch: u64) -> Option<bool> {
        lock(&self.fates).get(&epoch).copied()
    }

    /// The last epoch whose checkpoint is complete.
    pub(super) fn completed(&self) -> Option<u64> {
        lock(&self.fates).iter().rfind(|(_, complete)| **complete).map(|(epoch, _)| *epoch)
    }

    /// An instance says what its watermark is.
    pub(super) fn publish(&self, node: usize, worker: usize, status: Status) {
        self.statuses.publish(node, worker, self.topology.workers(), status);
        self.mesh.broadcast(&Message::Status { job: self.id, node, worker, status });
    }

    /// The head of a streaming loop has ended a round in which it sent so many batches into the loop.
    pub(super) fn round_ended(&self, node: usize, round: u64, sent: u64) {
        self.mesh.broadcast(&Message::Round { job: self.id, node, round, sent });
        self.round_ended_elsewhere(node, round, sent);
    }

    pub(super) fn round_ended_elsewhere(&self, node: usize, round: u64, sent: u64) {
        if self.rounds.ended(node, round, sent) == self.topology.workers() {
            self.wake_all();
        }
    }

    /// One more instance has finished.
    fn instance_finished(&self) {
        let mut finished = lock(&self.finished);
        *finished += 1;
        if *finished == self.plan.nodes.len() * self.topology.threads {
            drop(finished);
            self.mesh.send(0, Message::Finished { job: self.id });
        }
    }

    /// Whether all instances of all processes have finished.
    pub(super) fn committed(&self) -> bool {
        self.committed.load(SeqCst)
    }

    pub(super) fn commit(&self) {
        self.committed.store(true, SeqCst);
        self.wake_all();
    }

    pub(super) fn report(&self) -> Vec<NodeReport> {
        self.counters.report()
    }
}

/// Rounds of streaming loops that are about to end: how many heads have ended one, and what they sent in it.
#[derive(Default)]
pub(super) struct Rounds(Mutex<HashMap<(usize, u64), (usize, u64)>>);

impl Rounds {
    fn ended(&self, node: usize, round: u64, sent: u64) -> usize {
        let mut rounds = lock(&self.0);
        let entry = rounds.entry((node, round)).or_default();
        *entry = (entry.0 + 1, entry.1 + sent);
        entry.0
    }

    /// Once all `workers` heads have ended the round: what they sent in it.
    pub(super) fn sent(&self, node: usize, round: u64, workers: usize) -> Option<u64> {
        lock(&self.0).get(&(node, round)).filter(|(ended, _)| *ended == workers).map(|(_, sent)| *sent)
    }
}

/// An error as the operator's: with its name, unless it has one.
pub(super) fn named(operator: &str, error: Error) -> Error {
    match error {
        Error::Operator { .. } | Error::Interrupted | Error::Peer { .. } => error,
        source => Error::Operator { operator: operator.to_owned(), source: Box::new(source) },
    }
}

/// Flattens what a guarded call gives.
pub(super) fn flatten<R>(result: std::result::Result<Result<R>, String>) -> Result<R> {
    result.unwrap_or_else(|panic| Err(Error::User(format!("panicked: {panic}"))))
}
