//! An operator's output ports: capabilities, distribution to workers, and the permits taken for what is sent.

use super::job::Job;
use super::parcel::{Load, Parcel};
use super::permit::{Gate, Permit};
use super::plan::{BatchCodec, Partitioner, Route};
use super::time::Time;
use super::wake::Wake;
use super::wire;
use crate::{Batch, Error, Output, Result};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use timely::dataflow::channels::pushers;
use timely::dataflow::operators::Capability;

/// All ports of one operator instance; what it sees as [`Output`].
pub(super) struct Outlets {
    pub ports: Vec<Vec<OutEdge>>,
    /// Processing-time timers, earliest first.
    pub timers: BinaryHeap<Reverse<i64>>,
    /// Whether more can be set.
    pub takes_timers: bool,
    /// The superstep that the operator is in, where it is in one.
    pub superstep: u64,
    pub records: u64,
    pub batches: u64,
}

/// One edge of one port, at the sending side. Each has an output of its own in the substrate, and so a capability.
pub(super) struct OutEdge {
    pub output: pushers::Output<Time, Parcel>,
    /// Held while the operator may send here.
    pub capability: Option<Capability<Time>>,
    /// How its capability moves.
    pub place: Place,
    sender: Sender,
    distribution: Distribution,
}

/// Where an edge lies, and so what its capability is held at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Outside of loops, or in a streaming loop: at what its operator has announced.
    Outside,
    /// Inside a loop of [`super::plan::NodeKind::LoopHead`]: there are capabilities only for supersteps that brought records.
    Borrowed,
    /// Inside a loop of [`super::plan::NodeKind::IterationHead`]: at its operator's superstep.
    InLoop,
    /// From such a loop to what is outside, where supersteps do not count.
    Leaving,
}

enum Distribution {
    Forward,
    Broadcast,
    Watch,
    Rebalance { next: usize },
    Partition(Box<dyn Partitioner>),
}

/// What is needed to send to a worker.
struct Sender {
    job: Arc<Job>,
    worker: usize,
    /// One a target; empty where nothing is bounded.
    gates: Vec<Arc<Gate>>,
    codec: Option<Arc<dyn BatchCodec>>,
    /// Bytes sent that have not been counted.
    bytes: Cell<u64>,
}

impl OutEdge {
    pub(super) fn new(
        job: &Arc<Job>,
        worker: usize,
        edge: (usize, usize),
        output: pushers::Output<Time, Parcel>,
        place: Place,
    ) -> Self {
        let description = &job.plan.nodes[edge.0].inputs[edge.1];
        let distribution = match &description.route {
            Route::Forward => Distribution::Forward,
            Route::Watch => Distribution::Watch,
            // With one worker every route leads there.
            _ if job.topology.workers() == 1 => Distribution::Forward,
            Route::Broadcast => Distribution::Broadcast,
            Route::Rebalance => Distribution::Rebalance { next: worker },
            Route::Partition(make) => Distribution::Partition(make()),
        };
        let gates = if description.feedback { Vec::new() } else { job.gates[edge.0][edge.1].clone() };
        let sender = Sender { job: job.clone(), worker, gates, codec: description.codec.clone(), bytes: Cell::new(0) };
        Self { output, capability: None, place, sender, distribution }
    }

    fn full(&self) -> Option<&Arc<Gate>> {
        match self.distribution {
            Distribution::Forward => self.sender.gates.get(self.sender.worker).filter(|g| g.full()),
            Distribution::Watch => None,
            _ => self.sender.gates.iter().find(|g| g.full()),
        }
    }

    fn send(&mut self, batch: Batch) -> Result<()> {
        let Self { output, capability, sender, distribution, .. } = self;
        let Some(capability) = capability else {
            return Err(Error::Plan("sent a batch at a time when the port is closed".into()));
        };
        let targets = sender.job.topology.workers();
        match distribution {
            Distribution::Forward => sender.deliver(output, capability, sender.worker, batch),
            Distribution::Watch => Ok(()),
            Distribution::Broadcast => {
                for target in 1..targets {
                    sender.deliver(output, capability, target, batch.duplicate())?;
                }
                sender.deliver(output, capability, 0, batch)
            }
            Distribution::Rebalance { next } => {
                let in_turn = (1..=targets).map(|step| (*next + step) % targets);
                *next = in_turn.clone().find(|t| sender.gates.get(*t).is_none_or(|g| !g.full())).unwrap_or((*next + 1) % targets);
                sender.deliver(output, capability, *next, batch)
            }
            Distribution::Partition(partitioner) => {
                partitioner.split(batch, targets, &mut |target, piece| sender.deliver(output, capability, target, piece))
            }
        }
    }

    /// Sends what the partitioner holds back.
    fn flush(&mut self) -> Result<()> {
        let Self { output, capability, sender, distribution, .. } = self;
        if let (Distribution::Partition(partitioner), Some(capability)) = (distribution, capability) {
            let targets = sender.job.topology.workers();
            partitioner.flush(targets, &mut |target, piece| sender.deliver(output, capability, target, piece))?;
        }
        Ok(())
    }
}

impl Sender {
    fn deliver(
        &self,
        output: &mut pushers::Output<Time, Parcel>,
        at: &Capability<Time>,
        target: usize,
        batch: Batch,
    ) -> Result<()> {
        if batch.is_empty() && batch.position.is_none() {
            return Ok(());
        }
        let gate = self.gates.get(target);
        let bytes = batch.byte_len();
        self.bytes.set(self.bytes.get() + bytes as u64);
        let cost = gate.map_or(0, |_| self.job.options.edge_budget.cost(bytes));
        if let Some(gate) = gate {
            gate.take(cost);
        }
        let load = if self.job.topology.is_local(target) {
            Load::Batch(batch, gate.map_or(Permit::None, |gate| Permit::Local(gate.clone(), cost)))
        } else {
            // What the gate gave comes back as credit from the receiver.
            let bytes = wire::encode(&batch, self.codec.as_deref())?;
            Load::Encoded { bytes, from_process: self.job.topology.process as u32, cost }
        };
        let mut parcel = Parcel { target, load };
        output.activate().give(at, &mut parcel);
        Ok(())
    }
}

impl Outlets {
    pub(super) fn new(ports: Vec<Vec<OutEdge>>) -> Self {
        Self { ports, timers: BinaryHeap::new(), takes_timers: true, superstep: 0, records: 0, batches: 0 }
    }

    pub(super) fn edges(&mut self) -> impl Iterator<Item = &mut OutEdge> {
        self.ports.iter_mut().flatten()
    }

    /// Whether some edge has no permits left; then `wake` is called when it has again.
    pub(super) fn wait_for_room(&self, wake: &Wake) -> bool {
        self.ports.iter().flatten().any(|edge| edge.full().is_some_and(|gate| gate.wait(wake)))
    }

    /// Bytes sent on all edges since the last call.
    pub(super) fn take_bytes(&self) -> u64 {
        self.ports.iter().flatten().map(|edge| edge.sender.bytes.take()).sum()
    }

    /// Sends what partitioners hold back.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.edges().try_for_each(OutEdge::flush)
    }

    /// Moves the capabilities, but for those that are borrowed, to `time`, where that is later.
    pub(super) fn downgrade(&mut self, now: Time) {
        for edge in self.edges().filter(|e| e.place != Place::Borrowed) {
            let time = if edge.place == Place::Leaving { Time { superstep: 0, ..now } } else { now };
            if let Some(capability) = &mut edge.capability
                && *capability.time() != time
            {
                let _ = capability.try_downgrade(&time);
            }
        }
    }

    /// Gives up the capabilities of one port, and what partitioners hold there.
    pub(super) fn close_port(&mut self, port: usize) {
        for edge in self.ports.get_mut(port).into_iter().flatten() {
            edge.capability = None;
            edge.distribution = Distribution::Forward;
        }
    }

    /// Gives up all capabilities and what partitioners hold.
    pub(super) fn close(&mut self) {
        for edge in self.edges() {
            edge.capability = None;
            edge.distribution = Distribution::Forward;
        }
    }
}

impl Output for Outlets {
    fn send(&mut self, port: usize, batch: Batch) -> Result<()> {
        self.records += batch.len() as u64;
        self.batches += 1;
        let Some(edges) = self.ports.get_mut(port) else {
            return Err(Error::Plan(format!("sent a batch to port {port}, which does not exist")));
        };
        let mut edges = edges.iter_mut().filter(|edge| !matches!(edge.distribution, Distribution::Watch));
        let Some(first) = edges.next() else { return Ok(()) };
        for edge in edges {
            edge.send(batch.duplicate())?;
        }
        first.send(batch)
    }

    fn congested(&self, port: usize) -> bool {
        self.ports.get(port).is_some_and(|edges| edges.iter().any(|e| e.full().is_some()))
    }

    fn superstep(&self) -> u64 {
        self.superstep
    }

    fn set_timer(&mut self, at: i64) {
        if self.takes_timers {
            self.timers.push(Reverse(at));
        }
    }
}
