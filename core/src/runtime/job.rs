//! What the workers of one process share while a job runs: its failure, its gates, its counters, its epochs.

use super::control::{Failure, MeshShared, Message};
use super::counters::JobCounters;
use super::credit::CreditReturn;
use super::epochs::{Agreement, Barrier, CheckpointStore, Completion, Epochs, Fates, SnapshotPart};
use super::idle::{Status, Statuses};
use super::permit::{EdgeBudget, Gate};
use super::plan::{NodeKind, Plan};
use super::schedule::BarrierPolicy;
use super::wake::Wake;
use crate::{Clock, Error, Result, Shared};
use fluvial_memory::MemoryManager;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
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
    pub barriers: BarrierPolicy,
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
    /// By node: the head of the loop of common supersteps in which it lies.
    pub lockstep: Vec<Option<usize>>,
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
    /// Heads of loops of common supersteps, of this process, that take records from outside, and those of loops that go on.
    pub loops: (AtomicUsize, AtomicUsize),
    /// The barrier that sources are to pass: the epoch after it.
    requested: AtomicU64,
    fates: Mutex<Fates>,
    epochs: Mutex<Epochs>,
    /// In process 0: what all processes say of epochs.
    agreement: Mutex<Agreement>,
    /// In process 0: one barrier sets out at a time, and one checkpoint is handed to be completed.
    turns: (Mutex<()>, Mutex<()>),
    /// Sources that are in this epoch or a later one read no more: the job is to end with the savepoint before it.
    hold_from: AtomicU64,
    /// The epoch of that savepoint, and where it goes.
    suspension: Mutex<Option<(u64, String)>>,
    /// Whether that savepoint is complete.
    suspended: AtomicBool,
    /// Where the last checkpoint of a job that drains goes, if its owner keeps it.
    last_savepoint: Mutex<Option<String>>,
    /// In process 0: who waits for which savepoint; `u64::MAX` is the last one.
    waiting: Mutex<BTreeMap<u64, Waiter>>,
    pub first_epoch: u64,
    pub shared: Arc<Shared>,
    aborted: AtomicBool,
    stopping: AtomicBool,
    failure: Mutex<Option<Error>>,
    wakes: Mutex<Vec<Wake>>,
    /// Harness instances of this process that have finished; when all have, everywhere, sinks commit.
    finished: Mutex<usize>,
    /// In process 0: all of them have, everywhere.
    over: AtomicBool,
    committed: AtomicBool,
}

/// Is told how a savepoint went.
type Waiter = Sender<std::result::Result<(), String>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Job {
    pub(super) fn new(id: u64, mesh: Arc<MeshShared>, plan: Plan, options: JobOptions, memory: MemoryManager) -> Self {
        let topology = mesh.topology;
        let heads = plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::IterationHead(_))).count() * topology.threads;
        let gates_of = |_| (0..topology.workers()).map(|_| Gate::new(options.edge_budget, topology.processes)).collect();
        let first_epoch = options.checkpoints.as_ref().map_or(0, |store| store.first_epoch());
        let gates: Vec<Vec<Vec<Arc<Gate>>>> = plan.nodes.iter().map(|n| n.inputs.iter().map(gates_of).collect()).collect();
        Self {
            id,
            mesh,
            in_loop: plan.in_loop(),
            lockstep: plan.lockstep(),
            counters: Arc::new(JobCounters::new(id, &plan, topology, options.edge_budget, &gates)),
            stash: Gate::new(EdgeBudget::Bytes(options.stash_bytes), 1),
            statuses: Statuses::default(),
            rounds: Rounds::default(),
            loops: (heads.into(), 0.into()),
            requested: AtomicU64::new(first_epoch),
            fates: Mutex::default(),
            agreement: Mutex::new(Agreement::new(first_epoch)),
            turns: Default::default(),
            hold_from: AtomicU64::new(u64::MAX),
            suspension: Mutex::default(),
            suspended: AtomicBool::new(false),
            last_savepoint: Mutex::default(),
            waiting: Mutex::default(),
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
            over: AtomicBool::new(false),
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

    /// Whether the job ends with a savepoint that is complete.
    pub(super) fn suspended(&self) -> bool {
        self.suspended.load(SeqCst)
    }

    /// Whether sources that are in this epoch are to read nothing.
    #[inline]
    pub(super) fn holds(&self, epoch: u64) -> bool {
        epoch >= self.hold_from.load(SeqCst)
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

    /// Whether a barrier is of use: before a loop begins, operators without state may hold records.
    pub(super) fn takes_barriers(&self) -> bool {
        self.loops.0.load(SeqCst) == 0 || self.loops.1.load(SeqCst) > 0
    }

    /// Asks for a barrier in all processes.
    pub(super) fn trigger(&self) {
        self.mesh.send(0, Message::Trigger { job: self.id });
    }

    /// In process 0: sends a barrier out. Gives the epoch that it ends.
    pub(super) fn send_barrier(self: &Arc<Self>, barrier: &Barrier) -> u64 {
        self.send_awaited(barrier, None)
    }

    fn send_awaited(self: &Arc<Self>, barrier: &Barrier, waiter: Option<Waiter>) -> u64 {
        let _turn = lock(&self.turns.0);
        let epoch = self.requested() + 1;
        lock(&self.waiting).extend(waiter.map(|waiter| (epoch - 1, waiter)));
        self.mesh.broadcast(&Message::Barrier { job: self.id, epoch, barrier: barrier.clone() });
        self.barrier(epoch, barrier);
        epoch - 1
    }

    /// In process 0: takes a savepoint. What is received says how it went; if nothing is, the job has ended before.
    pub(super) fn savepoint(self: &Arc<Self>, to: String, stop: bool) -> Receiver<std::result::Result<(), String>> {
        let (sender, receiver) = channel();
        self.send_awaited(&Barrier::Savepoint { to, stop }, Some(sender));
        receiver
    }

    /// In process 0: drains the job, whose last checkpoint is a savepoint.
    pub(super) fn drain_to(self: &Arc<Self>, to: String) -> Receiver<std::result::Result<(), String>> {
        let (sender, receiver) = channel();
        lock(&self.waiting).insert(u64::MAX, sender);
        *lock(&self.last_savepoint) = Some(to);
        self.stop_everywhere();
        receiver
    }

    /// Sources are to pass all barriers up to this one.
    pub(super) fn barrier(self: &Arc<Self>, epoch: u64, barrier: &Barrier) {
        if let Some(store) = &self.options.checkpoints {
            store.begin(epoch - 1, barrier);
        }
        if let Barrier::Savepoint { to, stop: true } = barrier {
            *lock(&self.suspension) = Some((epoch - 1, to.clone()));
            self.hold_from.fetch_min(epoch, SeqCst);
        }
        self.requested.fetch_max(epoch, SeqCst);
        self.wake_all();
        // Instances that have ended may have been all that was missing.
        self.report_passed();
    }

    /// In process 0: the checkpoint of `epoch` takes too long. It is dropped when it gets there.
    pub(super) fn expire(&self, epoch: u64, after: Duration) {
        let why = format!("it was not complete after {} s", after.as_secs_f64());
        lock(&self.agreement).expire(epoch, why);
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

    /// An instance passes the end of an epoch and can hand nothing over.
    pub(super) fn refuse(&self, epoch: u64, why: String) {
        lock(&self.epochs).acknowledge(epoch, false, Err(Error::Checkpoint(why)));
        self.report_passed();
    }

    fn report_passed(&self) {
        loop {
            let passed = lock(&self.epochs).next_passed(self.requested());
            let Some((epoch, problem)) = passed else { return };
            let said = problem.map_or_else(|| Ok(self.contribution(Some(epoch))), Err);
            self.mesh.send(0, Message::Passed { job: self.id, epoch, said });
        }
    }

    fn contribution(&self, epoch: Option<u64>) -> String {
        self.options.checkpoints.as_ref().map(|store| store.contribution(epoch)).unwrap_or_default()
    }

    /// In process 0: another process, or this one, has passed the end of `epoch`.
    pub(super) fn process_passed(self: &Arc<Self>, process: usize, epoch: u64, said: std::result::Result<String, String>) {
        lock(&self.agreement).passed(process, epoch, said);
        let _turn = lock(&self.turns.1);
        loop {
            let next = lock(&self.agreement).next(self.topology.processes);
            // Barriers may be sent until the job is gone, but nothing comes after its last checkpoint.
            let Some((epoch, said)) = next.filter(|_| !self.over.load(SeqCst)) else { return };
            let job = self.clone();
            let done = move |stored: Result<()>| job.conclude(epoch, stored.map_err(|error| error.to_string()));
            match (said, &self.options.checkpoints) {
                (Ok(contributions), Some(store)) => {
                    store.complete(Completion { epoch, last: false, savepoint: None, contributions }, Box::new(done));
                }
                (Ok(_), None) => self.conclude(epoch, Ok(())),
                (Err(problem), _) => self.conclude(epoch, Err(problem)),
            }
        }
    }

    /// In process 0: it is known what becomes of the checkpoint of `epoch`.
    fn conclude(&self, epoch: u64, result: std::result::Result<(), String>) {
        if let Err(problem) = &result {
            tracing::warn!(epoch, problem, "a checkpoint could not be completed");
        }
        let failures = lock(&self.agreement).decided(result.is_ok());
        self.mesh.broadcast(&Message::Decided { job: self.id, epoch, complete: result.is_ok() });
        if let Err(problem) = &result
            && failures > self.options.barriers.tolerated
        {
            let message = format!(
                "{failures} in a row could not be completed, {} tolerated; the last one: {problem}",
                match self.options.barriers.tolerated {
                    0 => "none is".to_owned(),
                    1 => "one is".to_owned(),
                    n => format!("{n} are"),
                }
            );
            self.fail(Error::Checkpoint(message), true);
        }
        self.decided(epoch, result.is_ok());
        if let Some(waiter) = lock(&self.waiting).remove(&epoch) {
            // Whoever waited may have given up.
            let _ = waiter.send(result);
        }
        self.mesh.news();
    }

    /// The fate of a checkpoint is known.
    pub(super) fn decided(&self, epoch: u64, complete: bool) {
        if let Some(store) = &self.options.checkpoints {
            store.decided(epoch, complete);
        }
        lock(&self.fates).insert(epoch, complete);
        let suspension = lock(&self.suspension).take_if(|(at, _)| *at == epoch);
        match suspension {
            Some((_, savepoint)) if complete => {
                // Harnesses tell their operators of the savepoint before they let go of them.
                self.suspended.store(true, SeqCst);
                self.fail(Error::Suspended { savepoint }, false);
            }
            Some(_) => self.hold_from.store(u64::MAX, SeqCst),
            None => {}
        }
        self.wake_all();
    }

    /// Whether the checkpoint of `epoch` is complete, once that is known.
    pub(super) fn fate(&self, epoch: u64) -> Option<bool> {
        lock(&self.fates).get(epoch)
    }

    /// The first fate that is known from `epoch` on.
    pub(super) fn fate_from(&self, epoch: u64) -> Option<(u64, bool)> {
        lock(&self.fates).from(epoch)
    }

    /// The last epoch whose checkpoint is complete.
    pub(super) fn completed(&self) -> Option<u64> {
        lock(&self.fates).completed()
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
            self.mesh.send(0, Message::Finished { job: self.id, said: self.contribution(None) });
        }
    }

    /// In process 0: all instances of a process have finished. Once all have everywhere, the last checkpoint is written, and
    /// then sinks commit: whoever dies meanwhile finds in it what is still to be committed.
    pub(super) fn process_finished(self: &Arc<Self>, process: usize, said: String) {
        let Some(contributions) = lock(&self.agreement).finished(process, said, self.topology.processes) else { return };
        let _turn = lock(&self.turns.1);
        self.over.store(true, SeqCst);
        let savepoint = lock(&self.last_savepoint).take();
        let job = self.clone();
        let done = move |stored: Result<()>| {
            let waiter = lock(&job.waiting).remove(&u64::MAX);
            let said = stored.as_ref().map(drop).map_err(ToString::to_string);
            match stored {
                Ok(()) => {
                    job.mesh.broadcast(&Message::Commit { job: job.id });
                    job.commit();
                }
                Err(error) => job.fail(Error::Checkpoint(format!("the last one could not be completed: {error}")), true),
            }
            if let Some(waiter) = waiter {
                let _ = waiter.send(said);
            }
        };
        match &self.options.checkpoints {
            Some(store) => {
                store.complete(Completion { epoch: self.requested(), last: true, savepoint, contributions }, Box::new(done));
            }
            None => done(Ok(())),
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

/// What the heads of a loop on all workers tell each other beside the data, by node and round. Of a streaming loop that is
/// about to end: how many batches each sent in a round. Of a loop of common supersteps that is about to begin: the epoch that
/// each could begin in.
#[derive(Default)]
pub(super) struct Rounds(Mutex<HashMap<(usize, u64), Round>>);

#[derive(Clone, Copy, Default)]
struct Round {
    heads: usize,
    sum: u64,
    largest: u64,
}

impl Rounds {
    fn ended(&self, node: usize, round: u64, sent: u64) -> usize {
        let mut rounds = lock(&self.0);
        let entry = rounds.entry((node, round)).or_default();
        *entry = Round { heads: entry.heads + 1, sum: entry.sum + sent, largest: entry.largest.max(sent) };
        entry.heads
    }

    /// Once all `workers` heads have ended the round: what they sent in it.
    pub(super) fn sent(&self, node: usize, round: u64, workers: usize) -> Option<u64> {
        lock(&self.0).get(&(node, round)).filter(|round| round.heads == workers).map(|round| round.sum)
    }

    /// Once all `workers` heads have said something in the round: the largest of it.
    pub(super) fn latest(&self, node: usize, round: u64, workers: usize) -> Option<u64> {
        lock(&self.0).get(&(node, round)).filter(|round| round.heads == workers).map(|round| round.largest)
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
