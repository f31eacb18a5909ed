//! What processes say to each other beside the data: that they meet, that something failed, that all is done, how much
//! was consumed. Inside a process the same news travel in shared memory ([`Job`]).
//!
//! Messages go over a dataflow of their own, on the same workers, never connected to the data. It lives as long as the
//! mesh and never makes progress: its only capability is held to the end.

use super::epochs::Barrier;
use super::idle::Status;
use super::interrupt::Interrupt;
use super::job::{Job, NodeReport, Topology};
use super::schedule::Schedule;
use super::time::Time;
use super::wake::Wake;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::worker::Worker;

/// What one process says to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// About to start job `job`, whose plan has this fingerprint.
    Meet { job: u64, fingerprint: Vec<String> },
    /// The job has failed here.
    Failed { job: u64, failure: Failure },
    /// Took back its `Meet` before all processes had met: it will not run the job.
    Withdrawn { job: u64, failure: Failure },
    /// All instances of this process have finished; what its store says of that. To process 0.
    Finished { job: u64, said: String },
    /// All instances of all processes have finished. From process 0.
    Commit { job: u64 },
    /// The job drains.
    Stop { job: u64 },
    /// The job is over here.
    Outcome { job: u64, outcome: Outcome },
    /// Somebody wants a barrier. To process 0.
    Trigger { job: u64 },
    /// Sources pass all barriers up to this one. From process 0.
    Barrier { job: u64, epoch: u64, barrier: Barrier },
    /// All instances of this process have passed the end of `epoch`: what its store says of that, or why a part could not be
    /// stored. To process 0.
    Passed { job: u64, epoch: u64, said: std::result::Result<String, String> },
    /// The checkpoint of `epoch` is complete, or will not be. From process 0.
    Decided { job: u64, epoch: u64, complete: bool },
    /// What an instance of a source says of its watermark.
    Status { job: u64, node: usize, worker: usize, status: Status },
    /// A head of a streaming loop has ended a round.
    Round { job: u64, node: usize, round: u64, sent: u64 },
    /// The receiver of this edge is done with so much.
    Credit { job: u64, node: usize, input: usize, worker: usize, amount: i64 },
    /// This process runs no more jobs.
    Leaving,
}

/// An error on its way to another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    operator: Option<String>,
    kind: FailureKind,
    message: String,
}

/// What somebody else has to know of an error beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum FailureKind {
    Interrupted,
    Suspended,
    Checkpoint,
    Other,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Operator { operator, source } => Self { operator: Some(operator.clone()), ..Self::of(source) },
            Error::Interrupted => Self { operator: None, kind: FailureKind::Interrupted, message: String::new() },
            Error::Suspended { savepoint } => Self { operator: None, kind: FailureKind::Suspended, message: savepoint.clone() },
            Error::Checkpoint(message) => Self { operator: None, kind: FailureKind::Checkpoint, message: message.clone() },
            other => Self { operator: None, kind: FailureKind::Other, message: other.to_string() },
        }
    }

    pub(super) fn into_error(self) -> Error {
        let source = match self.kind {
            FailureKind::Interrupted => Error::Interrupted,
            FailureKind::Suspended => Error::Suspended { savepoint: self.message },
            FailureKind::Checkpoint => Error::Checkpoint(self.message),
            FailureKind::Other => Error::User(self.message),
        };
        match self.operator {
            Some(operator) => Error::Operator { operator, source: Box::new(source) },
            None => source,
        }
    }
}

/// How a job ended in one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub failure: Option<Failure>,
    pub nodes: Vec<NodeReport>,
}

/// What the threads of one process share about the mesh.
pub(super) struct MeshShared {
    pub topology: Topology,
    state: Mutex<MeshState>,
    changed: Condvar,
    outbox: Mutex<Vec<(usize, Message)>>,
    outbox_wake: OnceLock<Wake>,
}

#[derive(Default)]
pub(super) struct MeshState {
    /// Local workers that have left the current job's dataflow.
    pub done: usize,
    pub job: Option<Arc<Job>>,
    /// Why the mesh can run no more jobs.
    broken: Option<Breakage>,
    /// Fingerprints of jobs to come or running, by job and process.
    meets: HashMap<(u64, usize), Vec<String>>,
    outcomes: HashMap<(u64, usize), Outcome>,
    /// The last job for which all processes have met, as seen from here.
    met: Option<u64>,
    /// Jobs that another process will not run.
    withdrawn: HashMap<u64, Failure>,
    /// Jobs that have failed elsewhere before they began here.
    failed: HashMap<u64, Failure>,
    /// Jobs that drain elsewhere and have not begun here.
    stopped: BTreeSet<u64>,
    left: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
struct Breakage {
    /// The process that is gone; `None` if it is this one that broke.
    process: Option<usize>,
    message: String,
}

impl Breakage {
    fn error(&self) -> Error {
        match self.process {
            Some(process) => Error::Peer { process, message: self.message.clone() },
            None => Error::User(format!("the runtime broke: {}", self.message)),
        }
    }
}

impl MeshShared {
    pub(super) fn new(topology: Topology) -> Self {
        Self {
            topology,
            state: Mutex::default(),
            changed: Condvar::new(),
            outbox: Mutex::default(),
            outbox_wake: OnceLock::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, MeshState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn job(&self, id: u64) -> Option<Arc<Job>> {
        self.lock().job.clone().filter(|job| job.id == id)
    }

    fn others(&self) -> impl Iterator<Item = usize> {
        let me = self.topology.process;
        (0..self.topology.processes).filter(move |p| *p != me)
    }

    /// Sends to one process; to this one too.
    pub(super) fn send(&self, process: usize, message: Message) {
        if process == self.topology.process {
            return self.receive(process, message);
        }
        self.outbox.lock().unwrap_or_else(|e| e.into_inner()).push((process, message));
        if let Some(wake) = self.outbox_wake.get() {
            wake.wake();
        }
    }

    /// Sends to all other processes.
    pub(super) fn broadcast(&self, message: &Message) {
        self.others().for_each(|process| self.send(process, message.clone()));
    }

    /// Takes a message from a process.
    fn receive(&self, from: usize, message: Message) {
        match message {
            Message::Meet { job, fingerprint } => {
                self.lock().meets.insert((job, from), fingerprint);
            }
            Message::Outcome { job, outcome } => {
                self.lock().outcomes.insert((job, from), outcome);
            }
            Message::Leaving => {
                self.lock().left.insert(from);
            }
            Message::Failed { job, failure } => {
                let running = {
                    let mut state = self.lock();
                    let running = state.job.clone().filter(|j| j.id == job);
                    if running.is_none() {
                        state.failed.insert(job, failure.clone());
                    }
                    running
                };
                if let Some(job) = running {
                    job.fail(failure.into_error(), false);
                }
            }
            Message::Withdrawn { job, failure } => {
                let met = {
                    let mut state = self.lock();
                    state.meets.remove(&(job, from));
                    state.withdrawn.insert(job, failure.clone());
                    state.met == Some(job)
                };
                if met {
                    // It did not know yet that all had met; the dataflow can not end without it.
                    self.broken(Some(from), &failure.into_error().to_string());
                }
            }
            Message::Finished { job, said } => {
                if let Some(running) = self.job(job) {
                    running.process_finished(from, said);
                }
            }
            Message::Commit { job } => {
                if let Some(job) = self.job(job) {
                    job.commit();
                }
            }
            Message::Stop { job } => {
                let running = {
                    let mut state = self.lock();
                    let running = state.job.clone().filter(|j| j.id == job);
                    if running.is_none() {
                        state.stopped.insert(job);
                    }
                    running
                };
                if let Some(job) = running {
                    job.stop();
                }
            }
            Message::Trigger { job } => {
                if let Some(running) = self.job(job) {
                    running.send_barrier(&Barrier::Checkpoint);
                }
            }
            Message::Barrier { job, epoch, barrier } => {
                if let Some(job) = self.job(job) {
                    job.barrier(epoch, &barrier);
                }
            }
            Message::Passed { job, epoch, said } => {
                if let Some(running) = self.job(job) {
                    running.process_passed(from, epoch, said);
                }
            }
            Message::Decided { job, epoch, complete } => {
                if let Some(job) = self.job(job) {
                    job.decided(epoch, complete);
                }
            }
            Message::Status { job, node, worker, status } => {
                if let Some(job) = self.job(job) {
                    job.statuses.publish(node, worker, self.topology.workers(), status);
                }
            }
            Message::Round { job, node, round, sent } => {
                if let Some(job) = self.job(job) {
                    job.round_ended_elsewhere(node, round, sent);
                }
            }
            Message::Credit { job, node, input, worker, amount } => {
                if let Some(job) = self.job(job) {
                    job.gates[node][input][worker].put(amount);
                }
            }
        }
        self.changed.notify_all();
    }

    /// A job begins here.
    pub(super) fn begin(&self, job: &Arc<Job>) {
        let (failed, stopped) = {
            let mut state = self.lock();
            state.done = 0;
            state.job = Some(job.clone());
            // What came late, of jobs that are over, goes with it.
            state.withdrawn.retain(|id, _| *id >= job.id);
            (std::mem::take(&mut state.failed).remove(&job.id), std::mem::take(&mut state.stopped).remove(&job.id))
        };
        if let Some(failure) = failed {
            job.fail(failure.into_error(), false);
        }
        if stopped {
            job.stop();
        }
    }

    /// Has those who wait look again at what they wait for.
    pub(super) fn news(&self) {
        // With the lock: a waiter has either seen what is new or is waiting by now.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// The job is over here.
    pub(super) fn end(&self) {
        self.lock().job = None;
    }

    /// One local worker has left the job's dataflow.
    pub(super) fn worker_done(&self) {
        self.lock().done += 1;
        self.changed.notify_all();
    }

    /// The mesh can run no more jobs: a peer is gone, or a worker thread has died.
    pub(super) fn broken(&self, process: Option<usize>, message: &str) {
        let job = {
            let mut state = self.lock();
            let message = message.trim_start_matches("timely communication error: ").to_owned();
            state.broken.get_or_insert(Breakage { process, message });
            state.job.clone()
        };
        if let Some(job) = job {
            // The error is made where it is reported, from `broken`.
            job.fail(Error::Interrupted, false);
        }
        self.changed.notify_all();
    }

    pub(super) fn breakage(&self) -> Option<Error> {
        self.lock().broken.as_ref().map(Breakage::error)
    }

    /// Waits until `ready` gives something, or the mesh is broken.
    fn wait<R>(&self, mut ready: impl FnMut(&mut MeshState) -> Option<R>) -> Result<R> {
        let mut state = self.lock();
        loop {
            if let Some(result) = ready(&mut state) {
                return Ok(result);
            }
            if let Some(broken) = &state.broken {
                return Err(broken.error());
            }
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Waits until the local workers have left the job, and meanwhile has happen what is to happen by time.
    fn wait_for_workers(&self, job: &Arc<Job>) -> Result<()> {
        let mut schedule = Schedule::new(job);
        loop {
            schedule.act(job);
            let mut state = self.lock();
            while !schedule.due(job) {
                if state.done >= self.topology.threads {
                    return Ok(());
                }
                if let Some(broken) = &state.broken {
                    return Err(broken.error());
                }
                state = match schedule.wait() {
                    Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(|e| e.into_inner()).0,
                    None => self.changed.wait(state).unwrap_or_else(|e| e.into_inner()),
                };
            }
        }
    }

    /// Meets the other processes before a job, and compares plans with them.
    ///
    /// Where all have met, each of them runs the job, also if it has failed meanwhile: the dataflow ends in all of them or
    /// in none. Before that a process may withdraw.
    pub(super) fn meet(&self, job: &Job, interrupt: &Interrupt) -> Result<()> {
        let processes = self.topology.processes;
        let (id, plan) = (job.id, &job.plan);
        self.broadcast(&Message::Meet { job: id, fingerprint: plan.fingerprint.clone() });
        let met = self.wait(|state| {
            if self.others().all(|p| state.meets.contains_key(&(id, p))) {
                state.met = Some(id);
                return Some(Ok((0..processes).map(|p| state.meets.remove(&(id, p)).unwrap_or_default()).collect::<Vec<_>>()));
            }
            if let Some(failure) = state.withdrawn.get(&id) {
                return Some(Err(failure.clone().into_error()));
            }
            if interrupt.is_raised() {
                return Some(Err(Error::Interrupted));
            }
            let gone = state.left.iter().find(|p| !state.meets.contains_key(&(id, **p)))?;
            let message = format!("it ended before job `{}`, which this process is about to run", plan.name);
            Some(Err(Error::Peer { process: *gone, message }))
        })?;
        let theirs = match met {
            Ok(theirs) => theirs,
            Err(error) => {
                self.broadcast(&Message::Withdrawn { job: id, failure: Failure::of(&error) });
                return Err(error);
            }
        };
        let here = self.topology.process;
        let all: Vec<&Vec<String>> =
            theirs.iter().enumerate().map(|(p, f)| if p == here { &plan.fingerprint } else { f }).collect();
        for (process, other) in all.iter().enumerate() {
            if *other != all[0] {
                return Err(Error::Plan(difference(&plan.name, all[0], other, process)));
            }
        }
        Ok(())
    }

    /// Waits for the local workers to leave the job, then tells the others how it went here and hears how it went there.
    pub(super) fn conclude(&self, job: &Arc<Job>) -> Result<Vec<Outcome>> {
        self.wait_for_workers(job)?;
        let ours = Outcome { failure: job.failure(), nodes: job.report() };
        self.broadcast(&Message::Outcome { job: job.id, outcome: ours.clone() });
        let here = self.topology.process;
        self.wait(|state| {
            if !self.others().all(|p| state.outcomes.contains_key(&(job.id, p))) {
                return None;
            }
            let outcome = |p| if p == here { Some(ours.clone()) } else { state.outcomes.remove(&(job.id, p)) };
            (0..self.topology.processes).map(outcome).collect()
        })
    }
}

fn difference(job: &str, first: &[String], other: &[String], process: usize) -> String {
    let node = (0..first.len().max(other.len())).find(|i| first.get(*i) != other.get(*i)).unwrap_or(0);
    let show = |f: &[String]| f.get(node).map_or("nothing".to_owned(), |line| format!("`{line}`"));
    format!(
        "processes 0 and {process} run different jobs as `{job}`: node {node} is {} in the one and {} in the other",
        show(first),
        show(other)
    )
}

/// Installs the control dataflow on a worker. Worker 0 of each process speaks for it.
pub(super) fn install(worker: &mut Worker, shared: &Arc<MeshShared>) {
    let speaks = worker.index().is_multiple_of(shared.topology.threads);
    let threads = shared.topology.threads;
    let here = shared.topology.process as u64;
    worker.dataflow_named::<Time, _, _>("control", |scope| {
        let mut sender = OperatorBuilder::new("control sender".into(), scope);
        let (output, stream) = sender.new_output::<Vec<(u64, u64, Message)>>();
        let mut output = OutputBuilder::<_, CapacityContainerBuilder<_>>::from(output);
        let address = sender.operator_info().address;
        let wake = Wake::new(scope.worker().sync_activator_for(address.to_vec()));
        let outbox = shared.clone();
        if speaks {
            // One mesh has one such worker.
            let _ = outbox.outbox_wake.set(wake.clone());
        }
        sender.build(move |capabilities| {
            move |_| {
                wake.running();
                if speaks {
                    let messages = std::mem::take(&mut *outbox.outbox.lock().unwrap_or_else(|e| e.into_inner()));
                    let mut output = output.activate();
                    let mut session = output.session(&capabilities[0]);
                    for (process, message) in messages {
                        session.give(((process * threads) as u64, here, message));
                    }
                }
            }
        });
        let mut receiver = OperatorBuilder::new("control receiver".into(), scope);
        let mut input = receiver.new_input(stream, Exchange::new(|m: &(u64, u64, Message)| m.0));
        let shared = shared.clone();
        receiver.build(move |_| {
            move |_| {
                input.for_each(|_, messages| {
                    for (_, from, message) in messages.drain(..) {
                        shared.receive(from as usize, message);
                    }
                });
            }
        });
    });
}
