//! The physical plan: what the runtime is asked to run. Plain data and factories; nothing here names the substrate.

use crate::iteration::IterationHead;
use crate::{Batch, Error, Operator, OperatorContext, Result, Source};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// A job as the runtime sees it. Every process builds the same plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The job's name.
    pub name: String,
    /// The nodes, in topological order apart from feedback edges; `nodes[i].id == i`.
    pub nodes: Vec<PlanNode>,
    /// One line a node that says what it does: processes compare these when they meet, and name the first that differs.
    pub fingerprint: Vec<String>,
    /// Whether an interrupt has the job drain, the first time: see [`Interrupt`](super::Interrupt).
    pub drains: bool,
}

/// One node; it becomes one operator instance a worker.
#[derive(Clone, Debug)]
pub struct PlanNode {
    /// Its index in [`Plan::nodes`].
    pub id: usize,
    /// Its name, for messages and memory accounting.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its inputs, one edge each: input `i` of the operator is `inputs[i]`.
    pub inputs: Vec<Edge>,
    /// Number of its output ports. A port may have no edge (what is sent there is dropped), one or several.
    pub outputs: usize,
}

/// Makes the operator instance of one worker.
pub type OperatorFactory = Arc<dyn Fn(&OperatorContext) -> Result<Box<dyn Operator>> + Send + Sync>;

/// Makes the source instance of one worker.
pub type SourceFactory = Arc<dyn Fn(&OperatorContext) -> Result<Box<dyn Source>> + Send + Sync>;

/// Makes the head instance of one worker.
pub type HeadFactory = Arc<dyn Fn(&OperatorContext) -> Result<Box<dyn IterationHead>> + Send + Sync>;

/// Keeps what has come back to the head of a loop over a stream, on one worker, until there is room to send it on.
pub trait FeedbackQueue {
    /// Takes a batch; never refuses one.
    ///
    /// # Errors
    /// What fails the job: a full disk.
    fn push(&mut self, batch: Batch) -> Result<()>;

    /// Gives the oldest batch back.
    ///
    /// # Errors
    /// What fails the job.
    fn pop(&mut self) -> Result<Option<Batch>>;

    /// How many batches there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shows all batches, which stay.
    ///
    /// # Errors
    /// Of `each`; what fails the job.
    fn visit(&mut self, each: &mut dyn FnMut(&Batch) -> Result<()>) -> Result<()>;

    /// Throws all away.
    fn clear(&mut self);
}

/// As they are, in ordinary memory.
impl FeedbackQueue for VecDeque<Batch> {
    fn push(&mut self, batch: Batch) -> Result<()> {
        self.push_back(batch);
        Ok(())
    }
    fn pop(&mut self) -> Result<Option<Batch>> {
        Ok(self.pop_front())
    }
    fn len(&self) -> usize {
        self.len()
    }
    fn visit(&mut self, each: &mut dyn FnMut(&Batch) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(each)
    }
    fn clear(&mut self) {
        self.clear();
    }
}

/// Makes the queue of one worker.
pub type QueueFactory = Arc<dyn Fn(&OperatorContext) -> Result<Box<dyn FeedbackQueue>> + Send + Sync>;

/// What a node is.
#[derive(Clone)]
pub enum NodeKind {
    /// Brings records into the job. No inputs.
    Source(SourceFactory),
    /// Turns input into output.
    Operator(OperatorFactory),
    /// Assigns event times in mid-graph: its own [`Operator::watermark`] replaces that of its input.
    TimestampAssigner(OperatorFactory),
    /// Where a bulk or delta loop begins: forward inputs first, feedback edges after them, one output. Records of the
    /// forward inputs enter at superstep 0, feedback of superstep `s` enters superstep `s + 1` once `s` has ended
    /// everywhere. Every node between the head and its feedback edges sees [`Operator::end_superstep`].
    LoopHead,
    /// Where a loop begins whose supersteps all workers end together: forward inputs first, then inputs that are only
    /// [watched](Route::Watch), then feedback edges. What leaves by output 0 goes through the loop; output 1 is the result. The
    /// nodes that can be reached from output 0 without a [`NodeKind::LoopExit`] are in the loop, and see
    /// [`Operator::end_superstep`] of every superstep, whether it brought them records or not.
    IterationHead(HeadFactory),
    /// Where records leave a loop of any kind: one input, one output, outside the loop. Supersteps count from 0 again.
    LoopExit,
    /// Where a loop over an unbounded stream begins: input 0 is the forward input, the others are feedback edges; one
    /// output. Epoch and watermark are those of the forward input; feedback enters at the head's current time. It waits for room in
    /// such a queue, or in ordinary memory.
    StreamingLoopHead(Option<QueueFactory>),
}

impl fmt::Debug for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source(_) => "Source",
            Self::Operator(_) => "Operator",
            Self::TimestampAssigner(_) => "TimestampAssigner",
            Self::LoopHead => "LoopHead",
            Self::IterationHead(_) => "IterationHead",
            Self::LoopExit => "LoopExit",
            Self::StreamingLoopHead(_) => "StreamingLoopHead",
        })
    }
}

/// Where an input's records come from, and how they get to this worker.
#[derive(Clone)]
pub struct Edge {
    /// The upstream node.
    pub from: usize,
    /// Its output port.
    pub port: usize,
    /// Who gets which record.
    pub route: Route,
    /// Whether the edge closes a loop. Feedback edges never wait for permits.
    pub feedback: bool,
    /// Serializes the records where the edge crosses processes. [`crate::Records::Rows`] need none.
    pub codec: Option<Arc<dyn BatchCodec>>,
}

impl Edge {
    /// An edge that stays on its worker.
    pub fn forward(from: usize, port: usize) -> Self {
        Self::new(from, port, Route::Forward)
    }

    /// An edge with a route, without a codec.
    pub fn new(from: usize, port: usize, route: Route) -> Self {
        Self { from, port, route, feedback: false, codec: None }
    }

    /// The same edge, closing a loop.
    pub fn feedback(mut self) -> Self {
        self.feedback = true;
        self
    }

    /// The same edge, with a codec.
    pub fn codec(mut self, codec: Arc<dyn BatchCodec>) -> Self {
        self.codec = Some(codec);
        self
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {:?}{}", self.from, self.port, self.route, if self.feedback { " feedback" } else { "" })
    }
}

/// Who gets which batch of an edge.
#[derive(Clone)]
pub enum Route {
    /// The same worker.
    Forward,
    /// Every worker.
    Broadcast,
    /// Nobody: the receiver learns when its sender has ended, and no more.
    Watch,
    /// The workers in turn, those with a full input last.
    Rebalance,
    /// What a partitioner decides, record by record. One partitioner an edge and sending worker.
    Partition(Arc<dyn Fn() -> Box<dyn Partitioner> + Send + Sync>),
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Broadcast => "broadcast",
            Self::Watch => "watch",
            Self::Rebalance => "rebalance",
            Self::Partition(_) => "partition",
        })
    }
}

/// Takes the pieces of a batch, each with the index of the worker that gets it.
pub type Emit<'a> = &'a mut dyn FnMut(usize, Batch) -> Result<()>;

/// Splits batches by record. It may hold records back per target until they make a good batch.
pub trait Partitioner {
    /// Takes a batch and emits what is ready to be sent, for targets below `targets`.
    fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()>;

    /// Emits all that is held back. Called before progress is announced (watermark, epoch, superstep, end) and when the
    /// operator has nothing to do.
    fn flush(&mut self, targets: usize, emit: Emit<'_>) -> Result<()>;
}

/// Serializes a batch's records for another process. Event times, changes and position travel beside them: a codec need
/// not handle these.
pub trait BatchCodec: Send + Sync {
    /// Appends the records to `out`.
    fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<()>;

    /// Rebuilds a batch from what `encode` appended.
    fn decode(&self, bytes: &[u8]) -> Result<Batch>;

    /// Whether the records own no memory beside themselves.
    fn is_flat(&self) -> bool {
        false
    }
}

impl Plan {
    /// A plan without a fingerprint of its own: names, kinds and edges serve as one.
    pub fn new(name: impl Into<String>, nodes: Vec<PlanNode>) -> Self {
        let fingerprint = nodes.iter().map(|n| format!("{} ({:?}) from {:?}", n.name, n.kind, n.inputs)).collect();
        Self { name: name.into(), nodes, fingerprint, drains: false }
    }

    /// Checks what the runtime relies on.
    ///
    /// # Errors
    /// [`Error::Plan`], naming the node.
    pub fn validate(&self) -> Result<()> {
        let loops = self.lockstep();
        for (index, node) in self.nodes.iter().enumerate() {
            let wrong = |what: String| Err(Error::Plan(format!("node {index} `{}`: {what}", node.name)));
            if node.id != index {
                return wrong(format!("its id is {}", node.id));
            }
            for edge in &node.inputs {
                let Some(from) = self.nodes.get(edge.from) else {
                    return wrong(format!("an input comes from node {}, which does not exist", edge.from));
                };
                if edge.port >= from.outputs {
                    return wrong(format!(
                        "an input comes from port {} of `{}`, which has {}",
                        edge.port, from.name, from.outputs
                    ));
                }
                if edge.from >= index && !edge.feedback {
                    return wrong(format!("an input comes from `{}`, which is not before it", from.name));
                }
            }
            let feedback = node.inputs.iter().filter(|e| e.feedback).count();
            if loops[index].is_some()
                && matches!(node.kind, NodeKind::IterationHead(_) | NodeKind::LoopHead | NodeKind::StreamingLoopHead(_))
            {
                return wrong(
                    "a loop within a loop: end the inner one's steps in the outer one's, or run one after the other".into(),
                );
            }
            let shape = match node.kind {
                NodeKind::Source(_) => node.inputs.is_empty(),
                NodeKind::Operator(_) => feedback == 0 && !node.inputs.is_empty(),
                NodeKind::TimestampAssigner(_) => feedback == 0 && !node.inputs.is_empty(),
                NodeKind::LoopExit => feedback == 0 && node.inputs.len() == 1 && node.outputs == 1,
                NodeKind::LoopHead | NodeKind::StreamingLoopHead(_) => {
                    let forward = node.inputs.len() - feedback;
                    let ordered = node.inputs.iter().skip(forward).all(|e| e.feedback);
                    let one = matches!(node.kind, NodeKind::LoopHead) || forward == 1;
                    ordered && forward > 0 && one && node.outputs == 1
                }
                NodeKind::IterationHead(_) => {
                    let forward = node.inputs.len() - feedback;
                    node.inputs.iter().skip(forward).all(|e| e.feedback) && forward > 0 && feedback > 0 && node.outputs == 2
                }
            };
            if !shape {
                return wrong(format!("a {:?} cannot have inputs {:?} and {} outputs", node.kind, node.inputs, node.outputs));
            }
        }
        Ok(())
    }

    /// For each node, whether it lies inside a bulk or delta loop: between a [`NodeKind::LoopHead`] and one of its feedback edges.
    pub(crate) fn in_loop(&self) -> Vec<bool> {
        let mut inside = vec![false; self.nodes.len()];
        for head in self.nodes.iter().filter(|n| matches!(n.kind, NodeKind::LoopHead)) {
            // What is reachable from the head without feedback edges; nodes are in topological order.
            let mut reached = vec![false; self.nodes.len()];
            reached[head.id] = true;
            for node in &self.nodes[head.id + 1..] {
                let exit = matches!(node.kind, NodeKind::LoopExit);
                reached[node.id] |= !exit && node.inputs.iter().any(|e| !e.feedback && reached[e.from]);
            }
            // Of that, what leads to one of its feedback edges.
            let mut leads = vec![false; self.nodes.len()];
            for edge in head.inputs.iter().filter(|e| e.feedback) {
                leads[edge.from] = true;
            }
            for node in self.nodes.iter().rev() {
                if leads[node.id] {
                    node.inputs.iter().filter(|e| !e.feedback).for_each(|e| leads[e.from] = true);
                }
            }
            for node in 0..self.nodes.len() {
                inside[node] |= reached[node] && leads[node];
            }
        }
        inside
    }

    /// For each node, the [`NodeKind::IterationHead`] in whose loop it lies, if it does.
    pub(crate) fn lockstep(&self) -> Vec<Option<usize>> {
        let mut inside: Vec<Option<usize>> = vec![None; self.nodes.len()];
        for node in &self.nodes {
            if matches!(node.kind, NodeKind::LoopExit) {
                continue;
            }
            // Nodes are in topological order; an edge that names a node out of it is refused elsewhere.
            inside[node.id.min(self.nodes.len() - 1)] = node.inputs.iter().filter(|e| !e.feedback).find_map(|edge| {
                let from = self.nodes.get(edge.from)?;
                match (&from.kind, &edge.route) {
                    (_, Route::Watch) => None,
                    (NodeKind::IterationHead(_), _) => (edge.port == 0).then_some(from.id),
                    _ => inside[from.id.min(self.nodes.len() - 1)],
                }
            });
        }
        inside
    }
}
