//! Drives an [`Operator`]: brings it batches while its outputs have room, tells it of watermarks, barriers, supersteps and
//! ends, and holds its capability at what has been announced.

use super::epochs::BarrierCost;
use super::failure::guard;
use super::idle::Status;
use super::inlet::{Arrived, Inlet};
use super::instance::Instance;
use super::job::flatten;
use super::lockstep_head;
use super::permit::Permit;
use super::supersteps::{Due, Supersteps};
use super::ticker::Ticker;
use super::time::Time;
use crate::{Batch, Operator, Output, Progress, Result, Snapshot};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use timely::progress::frontier::MutableAntichain;

/// An activation ends after this long, so that the worker's other operators have their turn.
const SLICE: Duration = Duration::from_millis(5);

/// What a batch takes beside its records, roughly.
const BATCH_BYTES: usize = 128;

/// How an operator's announcements follow from those of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// They are the same.
    Plain,
    /// Supersteps end here: the output is always at superstep 0.
    LoopExit,
    /// The watermark is the operator's own.
    Assigner,
    /// It works superstep by superstep, in a loop of common supersteps: each begins and ends for it whether it brings records or not.
    Lockstep,
    /// It works superstep by superstep, in a loop that ends when it is empty.
    InLoop,
    /// As `InLoop`, at the head; feedback comes from this input on.
    LoopHead(usize),
}

pub(super) struct OperatorHarness {
    pub instance: Instance,
    operator: Option<Box<dyn Operator>>,
    role: Role,
    inlets: Vec<Inlet>,
    /// The input that is looked at first.
    turn: usize,
    /// What the operator has not done with yet.
    pending: Option<Pending>,
    /// The watermark that the operator has been told.
    watermark: i64,
    /// Batches of later epochs, by epoch.
    stash: BTreeMap<u64, VecDeque<Stashed>>,
    /// Batches of this epoch that come before those on the channels.
    ready: VecDeque<Stashed>,
    supersteps: Option<Supersteps>,
    /// Of an operator of common supersteps: the inputs that come from outside the loop.
    constant: Vec<bool>,
    /// Its batches of supersteps that it is not in yet, or that have not begun on this worker.
    ahead: VecDeque<Stashed>,
    /// How many supersteps have begun on this worker, as of this activation.
    begun: u64,
    ticker: Ticker,
    /// Whether work beside the operator's calls has been looked at in this activation.
    looked: bool,
    finished: bool,
    /// Whether the operator has been told that the whole job has finished.
    over: bool,
    /// Event time as of the checkpoint that the job was restored from.
    restored: i64,
    /// Whether the operator had ended by then: it is told of nothing but its end.
    had_ended: bool,
    /// Since when batches wait for the barrier.
    aligning: Option<Instant>,
}

struct Stashed {
    input: usize,
    time: Time,
    batch: Batch,
    /// What it takes of the room that operators have for batches behind barriers.
    _room: Permit,
}

/// A call that the operator wants to go on with.
struct Pending {
    call: Call,
    _permit: Permit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Batch,
    Watermark(i64),
    EndInput,
    EndSuperstep,
    Timer,
    Background,
    Finish,
}

/// What the inputs' frontiers say.
struct View<'a> {
    frontiers: &'a [MutableAntichain<Time>],
    all_ended: bool,
    epoch: u64,
    superstep: u64,
    watermark: i64,
}

impl<'a> View<'a> {
    fn of(frontiers: &'a [MutableAntichain<Time>]) -> Self {
        let end = Time::new(u64::MAX, u64::MAX, i64::MAX);
        let mut view = Self { frontiers, all_ended: true, epoch: end.epoch, superstep: end.superstep, watermark: end.watermark };
        for frontier in frontiers {
            for time in frontier.frontier().iter() {
                view.all_ended = false;
                view.epoch = view.epoch.min(time.epoch);
                view.superstep = view.superstep.min(time.superstep);
                view.watermark = view.watermark.min(time.watermark);
            }
        }
        view
    }
}

/// What one step of the harness did.
enum Step {
    Worked,
    Blocked,
    Idle,
}

impl Drop for OperatorHarness {
    /// A worker that dies in the middle of a job drops what it runs.
    fn drop(&mut self) {
        self.discard();
    }
}

impl OperatorHarness {
    pub(super) fn new(instance: Instance, operator: Option<Box<dyn Operator>>, role: Role, inlets: Vec<Inlet>) -> Self {
        let supersteps = match role {
            Role::InLoop => Some(Supersteps::new(None)),
            Role::LoopHead(feedback) => Some(Supersteps::new(Some(feedback))),
            _ => None,
        };
        Self {
            instance,
            operator,
            role,
            inlets,
            turn: 0,
            pending: None,
            watermark: i64::MIN,
            stash: BTreeMap::new(),
            ready: VecDeque::new(),
            supersteps,
            constant: Vec::new(),
            ahead: VecDeque::new(),
            begun: 0,
            ticker: Ticker::default(),
            looked: false,
            finished: false,
            over: false,
            restored: i64::MIN,
            had_ended: false,
            aligning: None,
        }
    }

    /// Says which inputs come from outside the loop that the operator is in.
    pub(super) fn constant(mut self, constant: Vec<bool>) -> Self {
        self.constant = constant;
        self
    }

    /// The operator has taken back state of a checkpoint: of this event time, and whether it had ended.
    pub(super) fn restored(&mut self, watermark: i64, ended: bool) {
        (self.restored, self.had_ended) = (watermark, ended);
        // The end is not announced but reached.
        if watermark < i64::MAX {
            self.instance.begin_at(watermark);
        }
    }

    /// One activation. True while the instance must be kept.
    pub(super) fn activate(&mut self, frontiers: &[MutableAntichain<Time>]) -> bool {
        let start = self.instance.begin();
        if self.instance.job.aborted() {
            if self.instance.job.suspended()
                && let Err(error) = self.tell_fates()
            {
                // The savepoint has what is to be committed.
                tracing::warn!(operator = self.instance.name(), %error, "not committed with the savepoint");
            }
            self.discard();
            return false;
        }
        if let Err(error) = self.run(start, frontiers) {
            self.instance.fail(error);
            self.discard();
            return false;
        }
        self.instance.end();
        !self.over
    }

    fn run(&mut self, start: Instant, frontiers: &[MutableAntichain<Time>]) -> Result<()> {
        self.tell_fates()?;
        if self.finished {
            return Ok(());
        }
        self.look_at_head();
        let view = View::of(frontiers);
        let (mut steps, mut blocked) = (0u32, false);
        self.looked = false;
        loop {
            match self.step(&view)? {
                Step::Worked => {}
                Step::Blocked => {
                    blocked = true;
                    break;
                }
                Step::Idle => {
                    self.instance.outlets.flush()?;
                    break;
                }
            }
            steps += 1;
            if steps.is_multiple_of(8) && start.elapsed() > SLICE {
                self.instance.again();
                break;
            }
        }
        if self.role == Role::Assigner && !self.finished {
            self.assign(blocked)?;
        }
        Ok(())
    }

    /// Tells the operator which checkpoints are complete, and that the job is.
    fn tell_fates(&mut self) -> Result<()> {
        // Where this changes later, the harness is called again.
        let committed = self.instance.committed();
        if let Some(operator) = self.operator.as_deref_mut() {
            while let Some((epoch, complete)) = self.instance.next_fate() {
                let tell = || if complete { operator.checkpoint_complete(epoch) } else { operator.checkpoint_aborted(epoch) };
                flatten(guard(tell))?;
            }
        }
        if self.finished && committed {
            self.over = true;
            let epoch = self.instance.epoch;
            let operator = self.operator.take();
            flatten(guard(|| operator.map_or(Ok(()), |mut o| o.checkpoint_complete(epoch))))?;
        }
        Ok(())
    }

    fn step(&mut self, view: &View<'_>) -> Result<Step> {
        if self.finished {
            return Ok(Step::Idle);
        }
        if self.instance.blocked() {
            return Ok(Step::Blocked);
        }
        if let Some(pending) = &self.pending {
            let finishing = pending.call == Call::Finish;
            let progress = self.call(|o, out| if finishing { o.finish(out) } else { o.resume(out) })?;
            return self.settle(progress);
        }
        if let Some(now) = self.instance.due_timer() {
            let progress = self.call(|o, out| o.on_timer(now, out))?;
            return self.begin(Call::Timer, progress, Permit::None);
        }
        if !std::mem::replace(&mut self.looked, true) && self.call(|o, _| Ok(o.has_background_work()))? {
            let progress = self.call(|o, out| o.resume(out))?;
            return self.begin(Call::Background, progress, Permit::None);
        }
        if let Some(step) = self.announce(view)? {
            return Ok(step);
        }
        if let Some(stashed) = self.ready.pop_front() {
            return self.deliver(stashed.input, stashed.batch, Permit::None);
        }
        if let Some(step) = self.superstep(view)? {
            return Ok(step);
        }
        self.take()
    }

    /// Takes one batch off a channel. One that must wait gives back its permit: a permit never waits for progress.
    fn take(&mut self) -> Result<Step> {
        let lockstep = self.role == Role::Lockstep;
        // What comes from outside a loop is there before the first superstep begins.
        let outside = lockstep && (0..self.inlets.len()).any(|i| self.constant[i] && !self.inlets[i].ended);
        for _ in 0..self.inlets.len() {
            let input = self.turn;
            self.turn = (self.turn + 1) % self.inlets.len();
            if outside && !self.constant[input] {
                continue;
            }
            let Some(Arrived { batch, permit, capability }) = self.inlets[input].next()? else { continue };
            self.instance.bytes_in += permit.bytes(self.instance.job.options.edge_budget, &batch);
            if let Some(supersteps) = &mut self.supersteps {
                let batch = supersteps.arrive(input, batch, &capability, &mut self.instance);
                drop(capability);
                return batch.map_or(Ok(Step::Worked), |batch| self.deliver(input, batch, permit));
            }
            let time = *capability.time();
            if time.epoch > self.instance.epoch && self.instance.job.options.exactly_once {
                let cost = (batch.byte_len() + BATCH_BYTES) as i64;
                let room = &self.instance.job.stash;
                room.take(cost);
                self.aligning.get_or_insert_with(Instant::now);
                let stashed = Stashed { input, time, batch, _room: Permit::Local(room.clone(), cost) };
                self.stash.entry(time.epoch).or_default().push_back(stashed);
                return Ok(Step::Worked);
            }
            if lockstep && !self.constant[input] && self.is_ahead(&time) {
                self.ahead.push_back(Stashed { input, time, batch, _room: Permit::None });
                return Ok(Step::Worked);
            }
            return self.deliver(input, batch, permit);
        }
        Ok(Step::Idle)
    }

    fn deliver(&mut self, input: usize, batch: Batch, permit: Permit) -> Result<Step> {
        self.instance.records_in += batch.len() as u64;
        self.instance.batches_in += 1;
        let progress = self.call(|o, out| o.process(input, batch, out))?;
        self.begin(Call::Batch, progress, permit)
    }

    fn held_back(&self) -> impl Iterator<Item = &Stashed> {
        self.ready.iter().chain(&self.ahead).chain(self.stash.values().flatten())
    }

    /// Announces what the frontiers say, one thing at a time: a watermark first, at the old time; then a barrier, which
    /// frees what was held back behind it and may be due at once; then ends. `None`: there is nothing to announce.
    fn announce(&mut self, view: &View<'_>) -> Result<Option<Step>> {
        let in_loop = self.supersteps.as_ref().and_then(Supersteps::watermark);
        let held_back = self.held_back().map(|s| s.time.watermark).chain(in_loop).min();
        let watermark = view.watermark.max(self.restored).min(held_back.unwrap_or(i64::MAX));
        if self.had_ended {
            // Whatever it would say now it has said before.
            self.watermark = watermark;
        }
        if watermark > self.watermark && (self.role != Role::Assigner || watermark == i64::MAX) {
            let progress = self.call(|o, out| o.on_watermark(watermark, out))?;
            return self.begin(Call::Watermark(watermark), progress, Permit::None).map(Some);
        }
        if self.role == Role::Lockstep
            && let Some(step) = self.end_of_superstep(view)?
        {
            return Ok(Some(step));
        }
        // In a loop over a stream, what the operator has under way may still lead to records: the round is not over.
        if self.role == Role::Plain
            && view.superstep > self.instance.at().superstep
            && !view.all_ended
            && !self.call(|o, _| Ok(o.has_background_work()))?
        {
            let held_back = self.held_back().map(|s| s.time.superstep).min();
            self.instance.advance(view.superstep.min(held_back.unwrap_or(u64::MAX)), i64::MIN)?;
        }
        let epoch = self.instance.epoch;
        let at_rest = self.ready.is_empty() && self.supersteps.as_ref().is_none_or(|s| !s.busy_in(epoch));
        if view.epoch > epoch && at_rest {
            if !view.all_ended || !self.stash.is_empty() {
                match self.call(|o, _| Ok(o.refuses_snapshot()))? {
                    Some(why) => self.instance.pass_barrier_without(&why)?,
                    None => {
                        let (snapshot, cost) = self.snapshot(epoch)?;
                        self.instance.pass_barrier(snapshot, cost)?;
                    }
                }
                let freed = self.stash.remove(&self.instance.epoch).unwrap_or_default();
                self.admit(freed);
                return Ok(Some(Step::Worked));
            }
        } else if view.epoch > epoch {
            return Ok(None);
        }
        let waits =
            |input: usize| self.held_back().any(|s| s.input == input) || self.supersteps.as_ref().is_some_and(|s| s.holds(input));
        let ended = (0..self.inlets.len()).find(|i| view.frontiers[*i].is_empty() && !self.inlets[*i].ended && !waits(*i));
        if let Some(input) = ended {
            self.inlets[input].ended = true;
            let progress = if self.had_ended { Progress::Done } else { self.call(|o, out| o.end_input(input, out))? };
            return self.begin(Call::EndInput, progress, Permit::None).map(Some);
        }
        if view.all_ended && at_rest && self.supersteps.as_ref().is_none_or(Supersteps::is_empty) {
            if self.had_ended {
                return self.begin(Call::Finish, Progress::Done, Permit::None).map(Some);
            }
            if let Some(time) = self.instance.last_timer() {
                let progress = self.call(|o, out| o.on_timer(time, out))?;
                return self.begin(Call::Timer, progress, Permit::None).map(Some);
            }
            let progress = self.call(|o, out| o.finish(out))?;
            return self.begin(Call::Finish, progress, Permit::None).map(Some);
        }
        Ok(None)
    }

    /// In a loop of common supersteps: ends the current one, if it is over.
    fn end_of_superstep(&mut self, view: &View<'_>) -> Result<Option<Step>> {
        let current = self.instance.at().superstep;
        // A loop's end may be seen before that of its last superstep, where nobody waits for this operator.
        let over = if view.all_ended { self.begun > current } else { view.superstep > current };
        if !over || self.had_ended || self.held_back().any(|s| s.time.superstep <= current) {
            return Ok(None);
        }
        let progress = self.call(|o, out| o.end_superstep(current, out))?;
        self.begin(Call::EndSuperstep, progress, Permit::None).map(Some)
    }

    /// Takes up batches that were held back: those of the current superstep are next.
    fn admit(&mut self, freed: VecDeque<Stashed>) {
        if self.role != Role::Lockstep {
            self.ready = freed;
            return;
        }
        for stashed in freed {
            let ahead = !self.constant[stashed.input] && self.is_ahead(&stashed.time);
            let queue = if ahead { &mut self.ahead } else { &mut self.ready };
            queue.push_back(stashed);
        }
    }

    /// Whether a batch of the loop must wait. The heads of other workers may have begun a superstep that the one of this worker has
    /// not: what the loop's operations share with it would still be of the superstep before.
    fn is_ahead(&self, time: &Time) -> bool {
        time.superstep > self.instance.at().superstep || time.superstep >= self.begun
    }

    /// In a loop of common supersteps: takes up what waited for the head of this worker. It is looked at once an activation; its
    /// superstep ends at the frontier after it has begun, so there is one more then.
    fn look_at_head(&mut self) {
        if self.role == Role::Lockstep
            && let Some(head) = self.instance.job.lockstep[self.instance.node]
        {
            let begun = lockstep_head::begun(head);
            if begun > self.begun {
                self.begun = begun;
                let ahead = std::mem::take(&mut self.ahead);
                self.admit(ahead);
            }
        }
    }

    /// Inside a loop: what the current superstep has to do.
    fn superstep(&mut self, view: &View<'_>) -> Result<Option<Step>> {
        let Some(supersteps) = &mut self.supersteps else { return Ok(None) };
        let due = supersteps.due(view.frontiers, &mut self.instance);
        self.instance.outlets.superstep = supersteps.current().unwrap_or(0);
        match due {
            Due::Nothing => Ok(None),
            Due::Batch(input, batch) => self.deliver(input, batch, Permit::None).map(Some),
            Due::End(superstep) => {
                let progress = self.call(|o, out| o.end_superstep(superstep, out))?;
                self.begin(Call::EndSuperstep, progress, Permit::None).map(Some)
            }
        }
    }

    fn begin(&mut self, call: Call, progress: Progress, permit: Permit) -> Result<Step> {
        self.pending = Some(Pending { call, _permit: permit });
        self.settle(progress)
    }

    /// Takes what the operator said to the pending call.
    fn settle(&mut self, progress: Progress) -> Result<Step> {
        match progress {
            Progress::More => return self.announce_held().map(|()| Step::Worked),
            Progress::Waiting => return self.announce_held().map(|()| Step::Blocked),
            Progress::Done => {}
        }
        match self.pending.take().map(|pending| pending.call) {
            None | Some(Call::Batch | Call::EndInput | Call::Timer | Call::Background) => {}
            Some(Call::Watermark(watermark)) => self.watermark = watermark,
            Some(Call::EndSuperstep) => {
                self.instance.outlets.flush()?;
                if let Some(supersteps) = &mut self.supersteps {
                    supersteps.close(&mut self.instance);
                } else {
                    let next = self.instance.at().superstep + 1;
                    self.instance.advance(next, i64::MIN)?;
                    self.instance.outlets.superstep = next;
                    let ahead = std::mem::take(&mut self.ahead);
                    self.admit(ahead);
                }
            }
            Some(Call::Finish) => {
                self.finish()?;
                return Ok(Step::Worked);
            }
        }
        self.announce_held()?;
        Ok(Step::Worked)
    }

    /// Announces the watermark that the operator has been told, as far as it does not hold back something earlier.
    fn announce_held(&mut self) -> Result<()> {
        if self.role == Role::Assigner || self.instance.at().watermark == self.watermark {
            return Ok(());
        }
        let held = self.call(|o, _| Ok(o.held_watermark()))?;
        let watermark = self.watermark.min(held);
        // At the end the capability is not moved but dropped.
        if watermark > self.instance.at().watermark && watermark < i64::MAX {
            self.instance.advance(0, watermark)?;
        }
        Ok(())
    }

    /// The state as of the barrier that ends `epoch`, and what the barrier cost.
    fn snapshot(&mut self, epoch: u64) -> Result<(Snapshot, BarrierCost)> {
        let alignment = self.aligning.take().map(|since| since.elapsed()).unwrap_or_default();
        let aligned_bytes = self.stash.get(&(epoch + 1)).into_iter().flatten().map(|s| s.batch.byte_len() as u64).sum();
        let start = Instant::now();
        let snapshot = self.call(|o, _| o.snapshot(epoch))?;
        Ok((snapshot, BarrierCost { snapshot: start.elapsed(), alignment, aligned_bytes }))
    }

    fn finish(&mut self) -> Result<()> {
        self.finished = true;
        let epoch = self.instance.epoch;
        let snapshot = if self.instance.checkpointed() { self.call(|o, _| o.snapshot(epoch))? } else { Snapshot::default() };
        if !self.call(|o, _| Ok(o.commits()))? {
            let operator = self.operator.take();
            flatten(guard(|| {
                drop(operator);
                Ok(())
            }))?;
        }
        self.instance.finish(snapshot)
    }

    /// Of a timestamp assigner: announces its own watermark.
    fn assign(&mut self, blocked: bool) -> Result<()> {
        let own = self.call(|o, _| Ok(Status { watermark: o.watermark(), idle: o.idle() }))?;
        self.ticker.tick(&mut self.instance, own, true, blocked).map(drop)
    }

    fn call<R>(&mut self, f: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<R>) -> Result<R> {
        let Self { operator, instance, .. } = self;
        let operator = operator.as_deref_mut().expect("an operator is there until it has finished");
        flatten(guard(|| f(operator, &mut instance.outlets)))
    }

    /// The job has failed: releases everything and throws away what still comes.
    fn discard(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            // The job has its error; another one of this operator would not be shown.
            let _ = guard(|| {
                operator.abort();
                drop(operator);
            });
        }
        self.finished = true;
        self.pending = None;
        self.stash.clear();
        self.ahead.clear();
        self.ready.clear();
        if let Some(supersteps) = &mut self.supersteps {
            supersteps.clear();
        }
        self.instance.outlets.close();
        self.inlets.iter_mut().for_each(Inlet::discard);
    }
}
