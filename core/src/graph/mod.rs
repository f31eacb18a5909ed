//! The job graph: what the user's program builds, before anything runs.
//!
//! A node is one operation as the user wrote it, with its inputs, their distribution, and a factory for what runs. The
//! graph knows no record types; the typed API makes sure that neighbours agree. [`lower`](Graph::lower) fuses chains of
//! record-at-a-time steps into one operator each and gives the runtime its plan. The graph prints ([`explain`]) and
//! serializes to JSON; whatever shows a job uses that.

mod ends;
mod explain;
mod gate;
mod loops;
mod lower;
mod memory;
mod task;

pub use explain::{GraphDescription, InputDescription, NodeDescription};
pub(crate) use lower::Lowered;
pub(crate) use task::NodeMetrics;
pub use task::{OperatorStats, SuperstepReport, TaskContext};

use crate::chain::AnyCollector;
use crate::iteration::IterationHead;
use crate::runtime::{BatchCodec, Partitioner};
use crate::{Config, Error, Operator, Result, Source};
use fluvial_operators::JoinKind;
use std::any::TypeId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Index of a node in its graph.
pub type NodeId = usize;

/// The graph of one job.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
}

/// One operation.
#[derive(Clone)]
pub(crate) struct Node {
    /// What kind of operation: `map`, `sort`, `join`.
    pub(crate) kind: &'static str,
    /// The name that the user gave, if any.
    pub(crate) name: Option<String>,
    /// The id that the user gave, if any.
    pub(crate) uid: Option<String>,
    /// What there is to know beyond the kind: columns, files, a strategy and why it was chosen.
    pub(crate) detail: String,
    pub(crate) inputs: Vec<Input>,
    /// The input that must end before the others are of use: a join's build side.
    pub(crate) build_input: Option<usize>,
    pub(crate) body: Body,
    /// Segments that each worker's instance reserves before it accepts input.
    pub(crate) memory: usize,
    pub(crate) outputs: usize,
    /// Of the head of a loop: what comes back to it, of nodes behind it.
    pub(crate) feedback: Vec<Input>,
    /// In a loop it runs as it is: it knows of supersteps.
    pub(crate) aware: bool,
    /// In a loop without supersteps: whether its input may come part by part.
    pub(crate) piecewise: Piecewise,
    /// Side outputs that somebody asked for, by name and record type: ports from 1 on.
    pub(crate) sides: Vec<(String, TypeId)>,
    /// When it gives its results.
    pub(crate) timing: Timing,
    /// Whether its output ends.
    pub(crate) bounded: bool,
    /// Estimated size of the output, where something is known; decides build sides.
    pub(crate) estimate: Option<Estimate>,
}

/// When a node gives its results, by its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Timing {
    /// As their records come, or as event time passes.
    #[default]
    AsTheyCome,
    /// When they have ended: inputs without end are an error.
    AtTheEnd,
    /// One whole at the end, outside: of use only with the records of the whole job, which a job that goes on from a checkpoint
    /// does not see.
    Whole,
    /// As their records come, whose event times it assigns: its watermark replaces theirs.
    Assigns,
}

/// Whether what an operator gives for parts of its input, one after the other, is what it gives for the whole, or as good for a monotone step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piecewise {
    /// It needs all of its input.
    Never,
    /// Whichever of its inputs come in parts.
    Always,
    /// If this input alone does, where it is said to be so, and the others are whole.
    OneInput(&'static [bool]),
}

impl Piecewise {
    /// Of a join: what it gives of a row of one side, other than pairs, it can say only when it has seen the whole of the other side.
    pub(crate) fn of_join(kind: JoinKind) -> Self {
        Self::OneInput(match kind {
            JoinKind::Inner => &[true, true],
            JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti => &[true, false],
            JoinKind::Right | JoinKind::RightSemi | JoinKind::RightAnti => &[false, true],
            JoinKind::Full => &[false, false],
        })
    }
}

/// How much a node is expected to give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    /// Bytes of its records in memory.
    pub(crate) bytes: f64,
}

/// Where a node's records come from and how they are spread over its instances.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) node: NodeId,
    pub(crate) port: usize,
    pub(crate) distribution: Distribution,
    /// Turns batches to bytes where the edge crosses processes.
    pub(crate) codec: Option<Arc<dyn BatchCodec>>,
}

/// Makes the partitioner of one sending worker.
pub(crate) type PartitionerFactory = Arc<dyn Fn() -> Box<dyn Partitioner> + Send + Sync>;

/// How an edge spreads records over the receiving workers.
#[derive(Clone)]
pub(crate) enum Distribution {
    /// To the same worker.
    Forward,
    /// To all workers.
    Broadcast,
    /// To nobody: only how far the sender is.
    Watch,
    /// Batches in turn to all workers.
    Rebalance,
    /// By the hash of a key.
    Hash {
        /// What the key is, for people.
        key: String,
        /// Splits batches.
        partitioner: PartitionerFactory,
    },
    /// By ranges of a key.
    Range {
        /// What the key is, for people.
        key: String,
        /// Splits batches.
        partitioner: PartitionerFactory,
    },
    /// To one worker of each process, batches in turn.
    EachProcess {
        /// How many workers each has.
        workers: usize,
    },
    /// To the workers of the first process, batches of one range to the same one.
    FirstProcess {
        /// How many it has.
        workers: usize,
    },
}

/// Makes a collector that feeds the given one.
pub(crate) type LinkFactory = Arc<dyn Fn(&TaskContext, AnyCollector) -> Result<AnyCollector> + Send + Sync>;
/// Makes a collector without a successor; it may send on port 0.
pub(crate) type SinkFactory = Arc<dyn Fn(&TaskContext) -> Result<AnyCollector> + Send + Sync>;
/// Makes a source that pushes into the given collector.
pub(crate) type SourceFactory = Arc<dyn Fn(&TaskContext, AnyCollector) -> Result<Box<dyn Source>> + Send + Sync>;
/// Makes an operator instance.
pub(crate) type OperatorFactory = Arc<dyn Fn(&TaskContext) -> Result<Box<dyn Operator>> + Send + Sync>;
/// Makes a head of a loop.
pub(crate) type LoopHeadFactory = Arc<dyn Fn(&TaskContext) -> Result<Box<dyn IterationHead>> + Send + Sync>;
/// Makes the operator at the head of a chain.
pub(crate) type HeadFactory = Arc<dyn Fn(AnyCollector) -> Result<Box<dyn Operator>> + Send + Sync>;
/// Makes the collector that ends a chain at an output port.
pub(crate) type PortFactory = Arc<dyn Fn(usize) -> AnyCollector + Send + Sync>;

/// What runs.
#[derive(Clone)]
pub(crate) enum Body {
    /// Reads records from outside.
    Source {
        /// The source.
        make: SourceFactory,
        /// Ends the chain behind it.
        port: PortFactory,
    },
    /// A record-at-a-time step.
    Link {
        /// The step.
        make: LinkFactory,
        /// For a chain that starts here.
        head: HeadFactory,
        /// For a chain that ends here.
        port: PortFactory,
    },
    /// A record-at-a-time step that ends its chain.
    Sink {
        /// The step.
        make: SinkFactory,
        /// For a chain that starts here.
        head: HeadFactory,
    },
    /// Anything else.
    Operator(OperatorFactory),
    /// Where a loop of supersteps begins: its result is output 1.
    LoopHead(LoopHeadFactory),
    /// Where a loop over a stream that need not end begins.
    StreamingLoopHead,
    /// Where a loop without supersteps begins, of input that ends; and what its step asks for that there is only with supersteps.
    AsynchronousLoopHead(Vec<String>),
    /// Where records leave a loop.
    LoopExit,
}

impl Graph {
    pub(crate) fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Whether every side output that is read is of an operation that can have some.
    ///
    /// # Errors
    /// [`Error::Plan`] that names the tag and the operation.
    pub(crate) fn check_sides(&self) -> Result<()> {
        let cannot = |node: &&Node| node.outputs != 1 || !matches!(node.body, Body::Operator(_));
        let wrong = self.nodes.iter().filter(cannot).find_map(|node| Some((node.sides.first()?, node)));
        wrong.map_or(Ok(()), |((tag, _), node)| {
            Err(Error::Plan(format!("side output `{tag}`: `{}` has no side outputs", node.label())))
        })
    }

    /// A node and all that it needs, around loops too.
    fn upstream(&self, id: NodeId) -> BTreeSet<NodeId> {
        let (mut found, mut set) = (vec![id], BTreeSet::new());
        while let Some(id) = found.pop() {
            if set.insert(id) {
                found.extend(self.nodes[id].inputs.iter().chain(&self.nodes[id].feedback).map(|input| input.node));
            }
        }
        set
    }

    /// The part of the graph that `roots` need.
    pub(crate) fn upstream_of(&self, roots: &[NodeId]) -> Self {
        let needed: BTreeSet<NodeId> = roots.iter().flat_map(|root| self.upstream(*root)).collect();
        let mut place = vec![usize::MAX; self.nodes.len()];
        let mut part = Self::default();
        for (id, node) in self.nodes.iter().enumerate().filter(|(id, _)| needed.contains(id)) {
            let mut node = node.clone();
            node.inputs.iter_mut().for_each(|i| i.node = place[i.node]);
            place[id] = part.add(node);
        }
        part.nodes.iter_mut().flat_map(|node| &mut node.feedback).for_each(|input| input.node = place[input.node]);
        part.reserve_for_loops();
        part
    }
}

impl Node {
    /// An operator on these inputs.
    pub(crate) fn operator(kind: &'static str, inputs: Vec<Input>, make: OperatorFactory) -> Self {
        Self {
            kind,
            name: None,
            uid: None,
            detail: String::new(),
            inputs,
            build_input: None,
            body: Body::Operator(make),
            memory: 0,
            outputs: 1,
            feedback: Vec::new(),
            aware: false,
            piecewise: Piecewise::Never,
            sides: Vec::new(),
            timing: Timing::AsTheyCome,
            bounded: true,
            estimate: None,
        }
    }

    /// Says how many segments each worker's instance reserves.
    #[must_use]
    pub(crate) fn reserves(self, memory: usize) -> Self {
        Self { memory, ..self }
    }

    /// Says when it gives its results.
    #[must_use]
    pub(crate) fn timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// The name shown to people: the user's, or the kind.
    pub(crate) fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(self.kind)
    }
}

impl Distribution {
    /// For a sink that only the first process has: batches stay where they are, as far as they are there.
    pub(crate) fn to_first_process(config: &Config) -> Self {
        if config.hosts.len() > 1 { Self::FirstProcess { workers: config.threads } } else { Self::Forward }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Broadcast => "broadcast",
            Self::Watch => "watch",
            Self::Rebalance => "rebalance",
            Self::Hash { .. } => "hash",
            Self::Range { .. } => "range",
            Self::EachProcess { .. } => "each process",
            Self::FirstProcess { .. } => "first process",
        }
    }

    fn key(&self) -> Option<&str> {
        match self {
            Self::Hash { key, .. } | Self::Range { key, .. } => Some(key),
            _ => None,
        }
    }
}
