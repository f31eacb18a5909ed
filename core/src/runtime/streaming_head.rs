//! The head of a loop over an unbounded stream.
//!
//! Were it an ordinary operator, a capability held in the loop's body would come back to it around the loop: watermark and
//! epochs would never move. So its output is connected to none of its inputs; it holds its own capability, takes epoch and
//! watermark from the forward input alone, and relabels feedback to its current time.
//!
//! Feedback that is on its way when a barrier passes belongs to that epoch's snapshot: it is logged until the feedback
//! frontier has left the epoch. After the forward input has ended the heads go through rounds, numbered by the superstep:
//! a round is over when everything sent before it has come back or is gone, and the loop is empty once no head of any
//! worker has sent anything in a round.

use super::epochs::{BarrierCost, RestoredInstance};
use super::failure::guard;
use super::inlet::{Arrived, Inlet};
use super::instance::Instance;
use super::job::flatten;
use super::permit::Permit;
use super::plan::FeedbackQueue;
use super::time::Time;
use super::wire;
use crate::{Batch, Output, Result, Snapshot, StateSection};
use std::collections::{BTreeMap, VecDeque};
use timely::progress::frontier::MutableAntichain;

/// Name of the section of a snapshot that holds a batch on its way around the loop; the worker follows.
const IN_LOOP: &str = "in-loop ";
/// Batches an activation.
const FUEL: usize = 256;

pub(super) struct StreamingHead {
    pub instance: Instance,
    inlets: Vec<Inlet>,
    /// Feedback that has not been sent yet.
    queue: Box<dyn FeedbackQueue>,
    /// Forward batches of later epochs, by epoch, with their watermarks.
    stash: BTreeMap<u64, VecDeque<(i64, Batch)>>,
    ready: VecDeque<(i64, Batch)>,
    /// Epochs that have ended here but not on the feedback input, with the batches that belong to them.
    open: BTreeMap<u64, Snapshot>,
    /// After the forward input has ended: the current round, counted from 1.
    round: u64,
    /// The last round that this head has reported.
    reported: u64,
    /// Batches sent in the current round.
    sent: u64,
    finished: bool,
}

impl StreamingHead {
    pub(super) fn new(instance: Instance, inlets: Vec<Inlet>, queue: Box<dyn FeedbackQueue>) -> Self {
        Self {
            instance,
            inlets,
            queue,
            stash: BTreeMap::new(),
            ready: VecDeque::new(),
            open: BTreeMap::new(),
            round: 0,
            reported: 0,
            sent: 0,
            finished: false,
        }
    }

    /// Takes back what was on its way around the loop, and event time. Every instance sees the sections of all former ones.
    pub(super) fn restore(&mut self, RestoredInstance { state, watermark, .. }: RestoredInstance) -> Result<()> {
        if watermark < i64::MAX {
            self.instance.begin_at(watermark);
        }
        let workers = self.instance.job.topology.workers();
        let worker = |s: &StateSection| s.name.strip_prefix(IN_LOOP).and_then(|w| w.parse::<usize>().ok());
        for section in state.sections.iter().filter(|s| worker(s).is_some_and(|w| w % workers == self.instance.worker)) {
            self.queue.push(wire::decode(&section.bytes, self.inlets[1].codec.as_deref())?)?;
        }
        Ok(())
    }

    /// One activation. True while the instance must be kept.
    pub(super) fn activate(&mut self, frontiers: &[MutableAntichain<Time>]) -> bool {
        self.instance.begin();
        if self.instance.job.aborted() {
            self.discard();
            return false;
        }
        let result = if self.finished { Ok(()) } else { self.run(frontiers) };
        if let Err(error) = result {
            self.instance.fail(error);
            self.discard();
            return false;
        }
        self.instance.end();
        !self.finished || !self.instance.committed()
    }

    fn run(&mut self, frontiers: &[MutableAntichain<Time>]) -> Result<()> {
        self.take_feedback()?;
        let worked = self.send()?;
        self.follow_forward(frontiers)?;
        self.close_epochs(frontiers);
        if frontiers[0].is_empty() && self.ready.is_empty() && self.stash.is_empty() {
            self.inlets[0].ended = true;
            self.end_round(frontiers)?;
        }
        if worked && !self.finished {
            self.instance.again();
        }
        Ok(())
    }

    /// Feedback never waits: it is taken whether there is room to send it on or not.
    fn take_feedback(&mut self) -> Result<()> {
        for input in 1..self.inlets.len() {
            while let Some(Arrived { batch, capability, .. }) = self.inlets[input].next()? {
                let codec = self.inlets[input].codec.as_deref();
                if self.instance.checkpointed() {
                    let worker = self.instance.worker;
                    let open = self.open.range_mut(capability.time().epoch..);
                    open.map(|(_, snapshot)| snapshot).try_for_each(|snapshot| log(snapshot, worker, &batch, codec))?;
                }
                self.instance.records_in += batch.len() as u64;
                self.instance.bytes_in += batch.byte_len() as u64;
                self.instance.batches_in += 1;
                self.queue.push(batch)?;
            }
        }
        Ok(())
    }

    /// Sends what there is room for. Whether something was sent.
    fn send(&mut self) -> Result<bool> {
        let mut worked = false;
        for _ in 0..FUEL {
            if self.instance.blocked() {
                return Ok(false);
            }
            let (batch, permit) = match self.queue.pop()?.or_else(|| self.ready.pop_front().map(|(_, batch)| batch)) {
                Some(batch) => (batch, Permit::None),
                None => match self.take_forward()? {
                    Some(arrived) => arrived,
                    None => {
                        self.instance.outlets.flush()?;
                        return Ok(worked);
                    }
                },
            };
            worked = true;
            self.sent += 1;
            let outlets = &mut self.instance.outlets;
            flatten(guard(|| outlets.send(0, batch)))?;
            drop(permit);
        }
        Ok(worked)
    }

    /// The next forward batch of this epoch. Later ones are held back.
    fn take_forward(&mut self) -> Result<Option<(Batch, Permit)>> {
        while let Some(Arrived { batch, permit, capability }) = self.inlets[0].next()? {
            self.instance.records_in += batch.len() as u64;
            self.instance.batches_in += 1;
            self.instance.bytes_in += permit.bytes(self.instance.job.options.edge_budget, &batch);
            let time = *capability.time();
            if time.epoch <= self.instance.epoch || !self.instance.job.options.exactly_once {
                return Ok(Some((batch, permit)));
            }
            self.stash.entry(time.epoch).or_default().push_back((time.watermark, batch));
        }
        Ok(None)
    }

    /// Announces the forward input's watermark and passes its barriers at once.
    fn follow_forward(&mut self, frontiers: &[MutableAntichain<Time>]) -> Result<()> {
        let times = frontiers[0].frontier().to_owned();
        let held_back = self.ready.iter().chain(self.stash.values().flatten()).map(|(watermark, _)| *watermark);
        if let Some(watermark) = times.iter().map(|t| t.watermark).chain(held_back).min() {
            self.instance.advance(0, watermark)?;
        }
        let epoch = times.iter().map(|t| t.epoch).chain(self.stash.keys().copied()).min();
        // Once its forward input has ended the head is the source of what is left: heads of different workers, which may
        // have seen different barriers, come together again.
        let epoch = epoch.or_else(|| self.ready.is_empty().then(|| self.instance.job.requested()));
        while epoch.is_some_and(|epoch| epoch > self.instance.epoch) && self.ready.is_empty() {
            let mut snapshot = Snapshot::default();
            if self.instance.checkpointed() {
                let (worker, codec) = (self.instance.worker, self.inlets[1].codec.as_deref());
                self.queue.visit(&mut |batch| log(&mut snapshot, worker, batch, codec))?;
            }
            self.open.insert(self.instance.epoch, snapshot);
            self.instance.outlets.flush()?;
            self.instance.enter_next_epoch()?;
            self.ready = self.stash.remove(&self.instance.epoch).unwrap_or_default();
            self.instance.again();
        }
        Ok(())
    }

    /// Hands over the state of epochs that the feedback input has left.
    fn close_epochs(&mut self, frontiers: &[MutableAntichain<Time>]) {
        let feedback = frontiers[1..].iter().flat_map(|f| f.frontier().to_owned()).map(|t| t.epoch).min();
        while let Some(entry) = self.open.first_entry().filter(|entry| feedback.is_none_or(|epoch| epoch > *entry.key())) {
            let (epoch, snapshot) = entry.remove_entry();
            self.instance.save(epoch, snapshot, BarrierCost::default());
        }
    }

    /// After the forward input: goes through rounds until the loop is empty.
    fn end_round(&mut self, frontiers: &[MutableAntichain<Time>]) -> Result<()> {
        let (job, node) = (self.instance.job.clone(), self.instance.node);
        if self.round == 0 {
            return self.next_round();
        }
        if self.reported + 1 == self.round && self.reported > 0 {
            match job.rounds.sent(node, self.reported, job.topology.workers()) {
                None => return Ok(()),
                Some(0) => {
                    self.finished = true;
                    return self.instance.finish(Snapshot::default());
                }
                Some(_) => {}
            }
        }
        // What was sent in round r comes back at superstep r + 1.
        let back = frontiers[1..].iter().flat_map(|f| f.frontier().to_owned()).map(|t| t.superstep).min();
        if back.is_none_or(|superstep| superstep > self.round) {
            self.reported = self.round;
            let sent = self.sent + self.queue.len() as u64;
            self.next_round()?;
            job.round_ended(node, self.reported, sent);
        }
        Ok(())
    }

    fn next_round(&mut self) -> Result<()> {
        self.round += 1;
        self.sent = 0;
        self.instance.advance(self.round, i64::MIN)
    }

    fn discard(&mut self) {
        self.finished = true;
        self.queue.clear();
        self.stash.clear();
        self.ready.clear();
        self.open.clear();
        self.instance.outlets.close();
        self.inlets.iter_mut().for_each(Inlet::discard);
    }
}

fn log(snapshot: &mut Snapshot, worker: usize, batch: &Batch, codec: Option<&dyn super::plan::BatchCodec>) -> Result<()> {
    let bytes = wire::encode(batch, codec)?;
    snapshot.sections.push(StateSection { name: format!("{IN_LOOP}{worker}"), bytes, ..StateSection::default() });
    Ok(())
}
