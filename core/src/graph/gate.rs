//! Gates: a source that only feeds the probe side of a join starts when the build side is complete.
//!
//! Without them all sources of a bounded job run at once and a join would have to keep (and spill) every probe row that
//! comes before its build side has ended. A gate is opened by the join's instance on the same worker, so nothing is
//! agreed between workers. Sources that feed both sides are not gated, and a gate that would close a circle of sources
//! waiting for each other is left out.
//!
//! All sources also wait for the start line: until every instance of the process has been made, and with it every
//! reservation's minimum, no record moves and so no operator takes more than its minimum.

use super::{Body, Graph, NodeId};
use crate::{Batch, Operator, OperatorContext, Output, Progress, Restored, Result, Snapshot, Source, Waker};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The build side of one join in one run: open on a worker once it has ended there.
pub(super) struct Gate {
    workers: Mutex<Vec<Arc<Door>>>,
}

#[derive(Default)]
struct Door {
    open: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Door {
    fn open(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(|e| e.into_inner());
        self.open.store(true, Ordering::Release);
        waiting.drain(..).for_each(|wake| wake());
    }
}

/// Opens once all instances of all nodes of a process have been made.
pub(super) struct StartLine {
    nodes: usize,
    made: AtomicUsize,
    door: Arc<Door>,
}

impl StartLine {
    pub(super) fn new(nodes: usize) -> Arc<Self> {
        Arc::new(Self { nodes, made: AtomicUsize::new(0), door: Arc::default() })
    }

    /// One more instance has been made.
    pub(super) fn arrive(&self, context: &OperatorContext) {
        if self.made.fetch_add(1, Ordering::AcqRel) + 1 == self.nodes * context.local_workers {
            self.door.open();
        }
    }
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { workers: Mutex::default() })
    }

    fn door(&self, context: &OperatorContext) -> Arc<Door> {
        let mut workers = self.workers.lock().unwrap_or_else(|e| e.into_inner());
        while workers.len() <= context.local_worker {
            workers.push(Arc::default());
        }
        workers[context.local_worker].clone()
    }
}

/// For each node, the joins whose build side must end before it starts. Only sources have any.
pub(super) fn gates(graph: &Graph) -> Vec<Vec<NodeId>> {
    let upstream: Vec<BTreeSet<NodeId>> = (0..graph.nodes.len()).map(|id| graph.upstream(id)).collect();
    let inside = graph.loops();
    let sources = |of: NodeId| upstream[of].iter().copied().filter(|&n| matches!(graph.nodes[n].body, Body::Source { .. }));
    let mut gates = vec![Vec::new(); graph.nodes.len()];
    // waits[s]: the sources that must end before source s starts.
    let mut waits: Vec<BTreeSet<NodeId>> = vec![BTreeSet::new(); graph.nodes.len()];
    for (join, node) in graph.nodes.iter().enumerate() {
        // In a loop the build side may be what the probe side becomes.
        let Some(build) = node.build_input.filter(|_| inside[join].is_none()) else { continue };
        let before: BTreeSet<NodeId> = sources(node.inputs[build].node).collect();
        let behind: BTreeSet<NodeId> =
            before.iter().flat_map(|&s| waits[s].iter().copied()).chain(before.iter().copied()).collect();
        for (_, probe) in node.inputs.iter().enumerate().filter(|(i, _)| *i != build) {
            for source in sources(probe.node).filter(|s| !behind.contains(s)) {
                gates[source].push(join);
                // Whatever waits for this source now waits for the build side too.
                for (other, set) in waits.iter_mut().enumerate() {
                    if other == source || set.contains(&source) {
                        set.extend(behind.iter().copied());
                    }
                }
            }
        }
    }
    gates
}

/// A source that waits for its gates.
pub(super) struct GatedSource {
    pub(super) source: Box<dyn Source>,
    closed: Vec<Arc<Door>>,
    waker: Waker,
}

impl GatedSource {
    pub(super) fn new(source: Box<dyn Source>, gates: &[Arc<Gate>], start: &StartLine, context: &OperatorContext) -> Self {
        let doors = gates.iter().map(|g| g.door(context)).chain([start.door.clone()]);
        Self { source, closed: doors.collect(), waker: context.waker.clone() }
    }
}

impl Source for GatedSource {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.source.open(context)
    }

    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        while let Some(door) = self.closed.last() {
            let mut waiting = door.waiting.lock().unwrap_or_else(|e| e.into_inner());
            if !door.open.load(Ordering::Acquire) {
                waiting.push(self.waker.clone());
                return Ok(Progress::Waiting);
            }
            drop(waiting);
            self.closed.pop();
        }
        self.source.poll(out)
    }

    fn held_up(&mut self) {
        self.source.held_up();
    }

    fn wake_at(&self) -> Option<Instant> {
        // Behind a closed door there is nothing to wake up for.
        if self.closed.is_empty() { self.source.wake_at() } else { None }
    }

    fn watermark(&self) -> i64 {
        self.source.watermark()
    }
    fn idle(&self) -> bool {
        self.source.idle()
    }
    fn on_global_watermark(&mut self, watermark: i64) {
        self.source.on_global_watermark(watermark);
    }
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.source.snapshot(epoch)
    }
    fn restore(&mut self, state: Restored) -> Result<()> {
        self.source.restore(state)
    }
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        self.source.checkpoint_complete(epoch)
    }
    fn stop(&mut self) {
        self.closed.clear();
        self.source.stop();
    }
    fn abort(&mut self) {
        self.source.abort();
    }
}

/// An operator of a job with checkpoints that has no state a checkpoint could have: while it holds records it refuses.
///
/// In a job that iterates it is before the loop, and has ended when the loop goes on, or behind it, and has been given nothing.
pub(super) struct Unkept {
    pub(super) operator: Box<dyn Operator>,
    holds: bool,
}

impl Unkept {
    pub(super) fn new(operator: Box<dyn Operator>) -> Self {
        Self { operator, holds: false }
    }
}

impl Operator for Unkept {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.holds = true;
        self.operator.process(input, batch, out)
    }
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.operator.snapshot(epoch)
    }
    fn refuses_snapshot(&self) -> Option<String> {
        self.holds.then(|| "has been given records that no checkpoint has, since it is not in a loop".to_owned())
    }
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.operator.finish(out)?;
        // What it held has left it.
        self.holds &= progress != Progress::Done;
        Ok(progress)
    }
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.operator.open(context)
    }
    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.operator.resume(out)
    }
    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        self.operator.end_input(input, out)
    }
    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.operator.on_watermark(watermark, out)
    }
    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.operator.on_timer(now, out)
    }
    fn restore(&mut self, state: Restored) -> Result<()> {
        self.operator.restore(state)
    }
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        self.operator.checkpoint_complete(epoch)
    }
    fn checkpoint_aborted(&mut self, epoch: u64) -> Result<()> {
        self.operator.checkpoint_aborted(epoch)
    }
    fn commits(&self) -> bool {
        self.operator.commits()
    }
    fn held_watermark(&self) -> i64 {
        self.operator.held_watermark()
    }
    fn has_background_work(&self) -> bool {
        self.operator.has_background_work()
    }
    fn abort(&mut self) {
        self.operator.abort();
    }
}

/// An operator that opens a gate when its build input ends.
pub(super) struct Opens {
    pub(super) operator: Box<dyn Operator>,
    build: usize,
    door: Arc<Door>,
}

impl Opens {
    pub(super) fn new(operator: Box<dyn Operator>, build: usize, gate: &Gate, context: &OperatorContext) -> Self {
        Self { operator, build, door: gate.door(context) }
    }
}

impl Operator for Opens {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.operator.open(context)
    }
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.operator.process(input, batch, out)
    }
    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.operator.resume(out)
    }
    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        let progress = self.operator.end_input(input, out)?;
        if input == self.build {
            self.door.open();
        }
        Ok(progress)
    }
    fn end_superstep(&mut self, superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        self.operator.end_superstep(superstep, out)
    }
    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.operator.on_watermark(watermark, out)
    }
    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.operator.on_timer(now, out)
    }
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.operator.finish(out)
    }
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.operator.snapshot(epoch)
    }
    fn restore(&mut self, state: Restored) -> Result<()> {
        self.operator.restore(state)
    }
    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        self.operator.checkpoint_complete(epoch)
    }
    fn checkpoint_aborted(&mut self, epoch: u64) -> Result<()> {
        self.operator.checkpoint_aborted(epoch)
    }
    fn commits(&self) -> bool {
        self.operator.commits()
    }
    fn held_watermark(&self) -> i64 {
        self.operator.held_watermark()
    }
    fn has_background_work(&self) -> bool {
        self.operator.has_background_work()
    }
    fn watermark(&self) -> i64 {
        self.operator.watermark()
    }
    fn idle(&self) -> bool {
        self.operator.idle()
    }
    fn abort(&mut self) {
        self.operator.abort();
    }
}
