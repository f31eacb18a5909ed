//! The head of a loop whose supersteps all workers end together.
//!
//! Quiescence is not enough for bulk steps: an operator that got no record on a worker may owe results all the same (an outer
//! join against cached records, a count of nothing). So every operator in the loop holds its capabilities, superstep by
//! superstep, and the head, connected to none of its inputs, says when the next one begins: with its own capability, which is
//! at superstep `s + 1` as soon as everything of `s` has left it. What comes back of `s` carries the time `s + 1`; when the
//! feedback frontier has passed that, `s` has ended everywhere and all that belongs to it is here, the tails' control records
//! too, which are the same on all workers: so all heads decide alike, without asking each other.
//!
//! Invariant: epochs change only while nothing is in the loop. Before superstep 0 the head follows the barriers of its
//! forward inputs and keeps what they bring; it begins when they have ended, with the inputs of the loop that it only
//! watches, and the heads have met ([`Rounds`](super::job::Rounds)) to agree on the epoch that the loop begins in. Later ones
//! come with the control records. So a barrier finds the head with whole supersteps, and everything else in the loop empty but for
//! what it keeps from one superstep to the next.
//!
//! Trade-off: a barrier waits for the end of a superstep, and superstep 0 for the last record from outside.

use super::epochs::{BarrierCost, RestoredInstance};
use super::failure::guard;
use super::inlet::{Arrived, Inlet};
use super::instance::Instance;
use super::job::{Job, flatten};
use super::time::Time;
use crate::iteration::{Decision, IterationHead};
use crate::{Batch, Output, Progress, Result, Snapshot};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use timely::progress::frontier::MutableAntichain;

/// An activation ends after this long, so that the worker's other operators have their turn.
const SLICE: Duration = Duration::from_millis(5);

thread_local!(static ITERATING: Cell<usize> = const { Cell::new(0) });

/// Whether a loop goes on on this worker: what it waits for comes within microseconds.
pub(super) fn iterating() -> bool {
    ITERATING.get() > 0
}

thread_local!(static BEGUN: RefCell<Vec<(usize, u64)>> = const { RefCell::new(Vec::new()) });

/// How many supersteps have begun on this worker in the loop of this head.
pub(super) fn begun(head: usize) -> u64 {
    BEGUN.with_borrow(|begun| begun.iter().find(|(node, _)| *node == head).map_or(0, |(_, supersteps)| *supersteps))
}

fn set_begun(head: usize, supersteps: u64) {
    BEGUN.with_borrow_mut(|begun| {
        begun.retain(|(node, _)| *node != head);
        begun.push((head, supersteps));
    });
}

/// Counts a loop as going on, until it is dropped.
struct Iterating(Arc<Job>);

impl Iterating {
    fn start(job: &Arc<Job>) -> Self {
        ITERATING.set(ITERATING.get() + 1);
        job.loops.1.fetch_add(1, SeqCst);
        job.loops.0.fetch_sub(1, SeqCst);
        Self(job.clone())
    }
}

impl Drop for Iterating {
    fn drop(&mut self) {
        self.0.loops.1.fetch_sub(1, SeqCst);
        // A worker whose thread ends has none any more.
        let _ = ITERATING.try_with(|iterating| iterating.set(iterating.get() - 1));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Records come from outside.
    Collecting,
    /// They have all come; other heads may still be waiting for theirs.
    Meeting,
    /// The barriers up to this epoch pass, then the next superstep begins.
    Passing(u64),
    /// The records of a superstep go into the loop.
    Releasing,
    /// They go through it.
    Running,
    /// The loop has ended: the result leaves.
    Delivering,
    Finished,
}

pub(super) struct LockstepHead {
    pub instance: Instance,
    inlets: Vec<Inlet>,
    /// The first feedback input.
    feedback: usize,
    head: Option<Box<dyn IterationHead>>,
    phase: Phase,
    /// What the head has not done with yet.
    pending: bool,
    /// Batches of later epochs, by epoch.
    stash: BTreeMap<u64, VecDeque<(usize, Batch)>>,
    ready: VecDeque<(usize, Batch)>,
    /// The superstep, counted from the job's start; a restored loop has done some before.
    superstep: u64,
    /// Whether the loop had ended when the state was taken that the job begins with.
    had_ended: bool,
    iterating: Option<Iterating>,
}

impl Drop for LockstepHead {
    fn drop(&mut self) {
        self.discard();
    }
}

impl LockstepHead {
    pub(super) fn new(instance: Instance, head: Option<Box<dyn IterationHead>>, inlets: Vec<Inlet>, feedback: usize) -> Self {
        set_begun(instance.node, 0);
        Self {
            instance,
            inlets,
            feedback,
            head,
            phase: Phase::Collecting,
            pending: false,
            stash: BTreeMap::new(),
            ready: VecDeque::new(),
            superstep: 0,
            had_ended: false,
            iterating: None,
        }
    }

    /// Takes back the state of a checkpoint.
    pub(super) fn restore(&mut self, RestoredInstance { state, ended, .. }: RestoredInstance) -> Result<()> {
        self.had_ended = ended;
        self.head.as_mut().map_or(Ok(()), |head| head.restore(state))
    }

    /// One activation. True while the instance must be kept.
    pub(super) fn activate(&mut self, frontiers: &[MutableAntichain<Time>]) -> bool {
        let start = self.instance.begin();
        if self.instance.job.aborted() {
            self.discard();
            return false;
        }
        if self.phase == Phase::Finished {
            self.inlets.iter_mut().for_each(Inlet::discard);
        } else if let Err(error) = self.run(start, frontiers) {
            self.instance.fail(error);
            self.discard();
            return false;
        }
        self.instance.end();
        self.phase != Phase::Finished || !self.instance.committed()
    }

    fn run(&mut self, start: Instant, frontiers: &[MutableAntichain<Time>]) -> Result<()> {
        let requested = self.instance.job.requested();
        self.call(|head, _| {
            head.requested(requested);
            Ok(())
        })?;
        let mut steps = 0u32;
        loop {
            if self.pending {
                self.pending = self.call(|head, _| head.resume())? != Progress::Done;
                if self.pending {
                    return Ok(());
                }
            }
            self.take_feedback()?;
            if self.pending || !self.step(frontiers)? {
                return Ok(());
            }
            steps += 1;
            if steps.is_multiple_of(8) && start.elapsed() > SLICE {
                self.instance.again();
                return Ok(());
            }
        }
    }

    /// Feedback never waits for room: it is taken as it comes.
    fn take_feedback(&mut self) -> Result<()> {
        for input in self.feedback..self.inlets.len() {
            while !self.pending
                && let Some(Arrived { batch, .. }) = self.inlets[input].next()?
            {
                self.count(&batch);
                let input = input - self.feedback;
                self.pending = self.call(|head, _| head.feed_back(input, batch))? != Progress::Done;
            }
        }
        Ok(())
    }

    fn count(&mut self, batch: &Batch) {
        self.instance.records_in += batch.len() as u64;
        self.instance.batches_in += 1;
        self.instance.bytes_in += batch.byte_len() as u64;
    }

    /// Does what is next. False: nothing is, for now.
    fn step(&mut self, frontiers: &[MutableAntichain<Time>]) -> Result<bool> {
        match self.phase {
            Phase::Collecting => self.collect(&frontiers[..self.feedback]),
            Phase::Meeting => {
                let job = &self.instance.job;
                let Some(epoch) = job.rounds.latest(self.instance.node, 0, job.topology.workers()) else { return Ok(false) };
                self.iterating = Some(Iterating::start(&self.instance.job));
                self.decide_for(epoch)
            }
            Phase::Passing(epoch) => self.pass(epoch),
            Phase::Releasing => {
                if self.instance.blocked() {
                    return Ok(false);
                }
                match self.call(|head, out| head.release(out))? {
                    Progress::More => Ok(true),
                    Progress::Waiting => Ok(false),
                    Progress::Done => {
                        self.superstep += 1;
                        self.instance.advance(self.superstep, i64::MIN)?;
                        self.phase = Phase::Running;
                        Ok(true)
                    }
                }
            }
            Phase::Running => {
                // What the running superstep sends back comes at the time of the next one.
                let over = frontiers[self.feedback..].iter().all(|f| f.frontier().iter().all(|t| t.superstep > self.superstep));
                if over { self.decide_for(self.instance.epoch) } else { Ok(false) }
            }
            Phase::Delivering => {
                if self.instance.blocked() {
                    return Ok(false);
                }
                match self.call(|head, out| head.deliver(out))? {
                    Progress::More => Ok(true),
                    Progress::Waiting => Ok(false),
                    Progress::Done => {
                        self.head = None;
                        self.finish()
                    }
                }
            }
            Phase::Finished => Ok(false),
        }
    }

    /// Before superstep 0: takes what comes from outside, and passes the barriers there.
    fn collect(&mut self, outside: &[MutableAntichain<Time>]) -> Result<bool> {
        if let Some((input, batch)) = self.ready.pop_front() {
            self.pending = self.call(|head, _| head.enter(input, batch))? != Progress::Done;
            return Ok(true);
        }
        for input in 0..self.feedback {
            let Some(Arrived { batch, permit, capability }) = self.inlets[input].next()? else { continue };
            let epoch = capability.time().epoch;
            drop(capability);
            self.count(&batch);
            if epoch > self.instance.epoch && self.instance.job.options.exactly_once {
                self.stash.entry(epoch).or_default().push_back((input, batch));
            } else {
                self.pending = self.call(|head, _| head.enter(input, batch))? != Progress::Done;
            }
            drop(permit);
            return Ok(true);
        }
        let coming = outside.iter().flat_map(|f| f.frontier().iter().map(|t| t.epoch).min());
        let earliest = coming.chain(self.stash.keys().copied()).min();
        match earliest {
            Some(epoch) if epoch > self.instance.epoch => self.barrier().map(|()| true),
            Some(_) => Ok(false),
            None if self.had_ended => {
                self.head = None;
                self.instance.job.loops.0.fetch_sub(1, SeqCst);
                self.instance.outlets.close_port(0);
                self.finish()
            }
            None => {
                self.phase = Phase::Meeting;
                let job = &self.instance.job;
                job.round_ended(self.instance.node, 0, job.requested().max(self.instance.epoch));
                Ok(true)
            }
        }
    }

    /// Between supersteps; the next one, if there is one, is in `epoch` or later.
    fn decide_for(&mut self, epoch: u64) -> Result<bool> {
        match self.call(|head, _| head.decide())? {
            Decision::Next { epoch: agreed } => self.phase = Phase::Passing(agreed.max(epoch)),
            Decision::Stop => {
                self.iterating = None;
                self.instance.outlets.close_port(0);
                self.phase = Phase::Delivering;
            }
        }
        Ok(true)
    }

    /// Passes the barriers up to `epoch`, once this process has heard of them, and begins the next superstep.
    fn pass(&mut self, epoch: u64) -> Result<bool> {
        if self.instance.epoch < epoch {
            if self.instance.job.requested() < epoch {
                return Ok(false);
            }
            self.barrier()?;
            return Ok(true);
        }
        self.call(|head, _| head.begin())?;
        set_begun(self.instance.node, self.superstep + 1);
        self.phase = Phase::Releasing;
        Ok(true)
    }

    fn barrier(&mut self) -> Result<()> {
        let start = Instant::now();
        let keeps = self.instance.checkpointed();
        let snapshot = if keeps { self.call(|head, _| head.snapshot())? } else { Snapshot::default() };
        let cost = BarrierCost { snapshot: start.elapsed(), ..BarrierCost::default() };
        self.instance.pass_barrier(snapshot, cost)?;
        self.ready = self.stash.remove(&self.instance.epoch).unwrap_or_default();
        Ok(())
    }

    fn finish(&mut self) -> Result<bool> {
        self.phase = Phase::Finished;
        self.instance.finish(Snapshot::default())?;
        Ok(false)
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut dyn IterationHead, &mut dyn Output) -> Result<R>) -> Result<R> {
        let Self { head, instance, .. } = self;
        let head = head.as_deref_mut().expect("a head is there until it has finished");
        flatten(guard(|| f(head, &mut instance.outlets)))
    }

    fn discard(&mut self) {
        if let Some(mut head) = self.head.take() {
            // The job has its error; another one of this head would not be shown.
            let _ = guard(|| {
                head.abort();
                drop(head);
            });
        }
        self.iterating = None;
        self.phase = Phase::Finished;
        self.stash.clear();
        self.ready.clear();
        self.instance.outlets.close();
        self.inlets.iter_mut().for_each(Inlet::discard);
    }
}
