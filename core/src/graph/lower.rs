use super::gate::{Gate, GatedSource, Opens, StartLine, Unkept, gates};
use super::{Body, Distribution, Graph, Input, Node, NodeId, NodeMetrics, TaskContext, Timing};
use crate::chain::AnyCollector;
use crate::checkpoint::NodeIdentity;
use crate::iteration::{EachSuperstep, LocalRounds, LoopInput, STORE_SEGMENTS, SpillingQueue};
use crate::runtime::{Edge, FeedbackQueue, NodeKind, OperatorFactory, Partitioner, Plan, PlanNode, Route};
use crate::state::Backend;
use crate::time::{AssignedSource, AssigningOperator};
use crate::{Batch, Clock, Operator, OperatorContext, Result};
use fluvial_memory::{Reservation, SpillManager};
use std::any::TypeId;
use std::sync::Arc;

/// How many times what the operators reserve a budget is that has more for each.
const AMPLE: usize = 4;

/// A plan, and what its nodes count.
pub(crate) struct Lowered {
    pub(crate) plan: Plan,
    pub(crate) metrics: Vec<Arc<NodeMetrics>>,
    /// Counts what each node spills.
    pub(crate) spills: Vec<SpillManager>,
    /// Who they are across runs: state is that of the first operation of a chain.
    pub(crate) identities: Vec<NodeIdentity>,
}

/// The gates that a node waits for.
type Waits = Vec<Arc<Gate>>;

/// A maximal run of nodes that become one operator.
struct Chain {
    nodes: Vec<NodeId>,
}

impl Graph {
    /// Fuses chains and gives the runtime its plan. Nodes of the plan are in the order of the graph.
    /// `time`: the job's clock, and whether it runs in streaming mode; then where it keeps state of keys,
    /// and whether there are checkpoints of it.
    pub(crate) fn lower(
        self,
        name: &str,
        spill: &SpillManager,
        pot: &Reservation,
        time: (&Clock, bool),
        (backend, checkpointed): (&Backend, bool),
    ) -> Lowered {
        let description = self.describe();
        let consumers = self.consumers();
        let (waits, opens) = self.hang_gates();
        let mut chains: Vec<Chain> = Vec::new();
        // The chain that a node ended up in.
        let mut place = vec![usize::MAX; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            let fused = self.fuses_with(node, &consumers).map(|before| place[before]);
            let chain = fused.unwrap_or_else(|| {
                chains.push(Chain { nodes: Vec::new() });
                chains.len() - 1
            });
            chains[chain].nodes.push(id);
            place[id] = chain;
        }
        let inside = self.loops();
        let watched = (0..self.nodes.len()).map(|id| match self.nodes[id].body {
            Body::LoopHead(_) => self.constants(id, &inside),
            _ => Vec::new(),
        });
        let watched: Vec<Vec<(NodeId, usize)>> = watched.collect();
        let anew = (0..self.nodes.len()).map(|id| {
            let anew = inside[id].is_some() && self.nodes[id].runs_anew();
            anew.then(|| Anew { inputs: self.loop_inputs(id, &inside), checkpointed })
        });
        let anew: Vec<Option<Anew>> = anew.collect();
        let rounds = (0..self.nodes.len()).map(|id| {
            let asynchronous = self.is_asynchronous(id, &inside);
            asynchronous.then(|| Rounds { inputs: self.loop_inputs(id, &inside), holds: self.nodes[id].runs_anew() })
        });
        let rounds: Vec<Option<Rounds>> = rounds.collect();
        // Exits and heads of loops without supersteps are made by the runtime itself.
        let made = chains.iter().filter(|chain| {
            !matches!(self.nodes[chain.nodes[0]].body, Body::LoopExit | Body::StreamingLoopHead | Body::AsynchronousLoopHead(_))
        });
        let start = StartLine::new(made.count());
        let nodes = self.nodes.into_iter().map(Arc::new).collect::<Vec<_>>();
        let metrics: Vec<Arc<NodeMetrics>> = chains.iter().map(|_| Arc::default()).collect();
        let ample = pot.minimum() * AMPLE <= pot.limit();
        let spills: Vec<SpillManager> = chains.iter().map(|_| spill.counted()).collect();
        let mut fingerprint = Vec::new();
        let mut identities = Vec::new();
        let plan = chains.iter().enumerate().map(|(id, chain)| {
            let members: Vec<_> = chain.nodes.iter().map(|&n| nodes[n].clone()).collect();
            let labels: Vec<_> = members.iter().map(|n| n.label().to_owned()).collect();
            let uids: Vec<_> = chain.nodes.iter().map(|&n| description.nodes[n].uid.as_str()).collect();
            fingerprint.push(format!("{} ({})", labels.join(" -> "), uids.join(" ")));
            let resources = Resources {
                spill: spills[id].clone(),
                metrics: metrics[id].clone(),
                pot: (pot.clone(), ample),
                memory: members.iter().map(|n| n.memory).sum(),
                sides: members[0].sides.as_slice().into(),
                start: start.clone(),
                clock: time.0.clone(),
                streaming: time.1,
                unkept: checkpointed && inside[chain.nodes[0]].is_none() && members.iter().any(|node| node.is_unkept()),
                anew: anew[chain.nodes[0]].clone(),
                rounds: rounds[chain.nodes[0]].clone(),
                backend: backend.clone(),
            };
            let forward = members[0].inputs.iter().map(|i| edge(i, &place));
            let watches = watched[chain.nodes[0]].iter().map(|(node, port)| Edge::new(place[*node], *port, Route::Watch));
            let feedback = members[0].feedback.iter().map(|i| edge(i, &place).feedback());
            let inputs: Vec<Edge> = forward.chain(watches).chain(feedback).collect();
            identities.push(NodeIdentity {
                uid: uids[0].to_owned(),
                name: labels.join(" -> "),
                named: members[0].uid.is_some(),
                inputs: inputs.iter().filter(|edge| !edge.feedback).map(|edge| edge.from).collect(),
            });
            PlanNode {
                id,
                name: labels.join(" -> "),
                inputs,
                outputs: members.last().map_or(0, |n| n.outputs + n.sides.len()),
                kind: kind(members, waits[chain.nodes[0]].clone(), opens[chain.nodes[0]].clone(), resources),
            }
        });
        let nodes = plan.collect();
        Lowered { plan: Plan { name: name.to_owned(), nodes, fingerprint, drains: time.1 }, metrics, spills, identities }
    }

    /// Whether an operation gives its results only at the end of its input, and keeps no state that a checkpoint could have.
    pub(crate) fn has_blocking(&self) -> bool {
        self.nodes.iter().any(|node| node.timing == Timing::AtTheEnd)
    }

    /// For each node the gates that it waits for, and the one that it opens.
    fn hang_gates(&self) -> (Vec<Waits>, Vec<Option<Arc<Gate>>>) {
        let mut opens: Vec<Option<Arc<Gate>>> = vec![None; self.nodes.len()];
        let waits = gates(self)
            .into_iter()
            .map(|joins| joins.into_iter().map(|join| opens[join].get_or_insert_with(Gate::new).clone()).collect());
        let waits = waits.collect();
        (waits, opens)
    }

    /// How many inputs each node feeds.
    fn consumers(&self) -> Vec<usize> {
        let mut consumers = vec![0; self.nodes.len()];
        for input in self.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.feedback)) {
            consumers[input.node] += 1;
        }
        consumers
    }

    /// The node whose chain this one continues: a step with one forward input from a source or step that feeds nothing else.
    fn fuses_with(&self, node: &Node, consumers: &[usize]) -> Option<NodeId> {
        let [Input { node: before, port: 0, distribution: Distribution::Forward, .. }] = node.inputs.as_slice() else {
            return None;
        };
        let step = matches!(node.body, Body::Link { .. } | Body::Sink { .. });
        let open = matches!(self.nodes[*before].body, Body::Link { .. } | Body::Source { .. });
        (step && open && consumers[*before] == 1).then_some(*before)
    }
}

fn edge(input: &Input, place: &[usize]) -> Edge {
    let route = match &input.distribution {
        Distribution::Forward => Route::Forward,
        Distribution::Broadcast => Route::Broadcast,
        Distribution::Watch => Route::Watch,
        Distribution::Rebalance => Route::Rebalance,
        Distribution::Hash { partitioner, .. } | Distribution::Range { partitioner, .. } => Route::Partition(partitioner.clone()),
        Distribution::EachProcess { workers } => {
            let workers = *workers;
            Route::Partition(Arc::new(move || Box::new(ToEach { workers, next: 0 })))
        }
        Distribution::FirstProcess { workers } => {
            let workers = *workers;
            Route::Partition(Arc::new(move || Box::new(ToFirst { workers, next: 0 })))
        }
    };
    Edge { from: place[input.node], port: input.port, route, feedback: false, codec: input.codec.clone() }
}

/// Everything to one worker of each process.
struct ToEach {
    workers: usize,
    next: usize,
}

impl Partitioner for ToEach {
    fn split(&mut self, batch: Batch, targets: usize, emit: &mut dyn FnMut(usize, Batch) -> Result<()>) -> Result<()> {
        let place = self.next % self.workers;
        self.next += 1;
        for process in 1..targets / self.workers {
            emit(process * self.workers + place, batch.duplicate())?;
        }
        emit(place, batch)
    }
    fn flush(&mut self, _targets: usize, _emit: &mut dyn FnMut(usize, Batch) -> Result<()>) -> Result<()> {
        Ok(())
    }
}

/// Everything to the first workers: by range where batches have a position, else in turn.
struct ToFirst {
    workers: usize,
    next: usize,
}

impl Partitioner for ToFirst {
    fn split(&mut self, batch: Batch, _targets: usize, emit: &mut dyn FnMut(usize, Batch) -> Result<()>) -> Result<()> {
        self.next += 1;
        let target = batch.position.map_or(self.next, |p| p.range as usize) % self.workers;
        emit(target, batch)
    }
    fn flush(&mut self, _targets: usize, _emit: &mut dyn FnMut(usize, Batch) -> Result<()>) -> Result<()> {
        Ok(())
    }
}

/// What the tasks of one node are given beside the runtime's context.
struct Resources {
    spill: SpillManager,
    metrics: Arc<NodeMetrics>,
    /// What all instances of all nodes reserve, and whether the budget is several times that.
    pot: (Reservation, bool),
    /// Segments that an instance reserves.
    memory: usize,
    sides: Arc<[(String, TypeId)]>,
    start: Arc<StartLine>,
    clock: Clock,
    streaming: bool,
    backend: Backend,
    /// In a job with checkpoints: whether it has no state that a checkpoint could have, and is not in a loop.
    unkept: bool,
    /// For an operation in a loop that begins anew in each superstep.
    anew: Option<Anew>,
    /// For an operation in a loop without supersteps.
    rounds: Option<Rounds>,
}

/// What an operation in a loop without supersteps is given.
#[derive(Clone)]
struct Rounds {
    inputs: Vec<LoopInput>,
    /// Whether it takes nothing of the step before all has come that comes from outside.
    holds: bool,
}

/// How an operation in a loop is given its inputs in each superstep.
#[derive(Clone)]
struct Anew {
    inputs: Vec<LoopInput>,
    checkpointed: bool,
}

impl Resources {
    /// Has an operator without state refuse checkpoints while it holds records.
    fn kept(&self, operator: Box<dyn Operator>) -> Box<dyn Operator> {
        if self.unkept { Box::new(Unkept::new(operator)) } else { operator }
    }

    /// Has an operator that works superstep by superstep do so where there are none.
    fn in_rounds(&self, operator: Box<dyn Operator>, task: &TaskContext) -> Result<Box<dyn Operator>> {
        match &self.rounds {
            Some(Rounds { inputs, holds }) => Ok(Box::new(LocalRounds::open(operator, inputs, *holds, task)?)),
            None => Ok(operator),
        }
    }

    fn task(&self, operator: &OperatorContext) -> TaskContext {
        TaskContext::new(operator, &self.spill, &self.metrics, (&self.pot.0, self.pot.1), self.memory)
            .with_sides(&self.sides)
            .with_time(&self.clock, self.streaming)
            .with_backend(&self.backend)
    }
}

/// An operation of a loop that begins anew in each superstep.
fn each_superstep(make: super::OperatorFactory, Anew { inputs, checkpointed }: Anew, resources: Resources) -> NodeKind {
    let early = if resources.rounds.is_some() { LocalRounds::early(&inputs) } else { 0 };
    let stores = (inputs.iter().filter(|input| input.constant).count() + early) * STORE_SEGMENTS;
    NodeKind::Operator(Arc::new(move |context| {
        let task = resources.task(context);
        let operator = EachSuperstep::open(make.clone(), inputs.clone(), resources.memory - stores, checkpointed, &task)?;
        let operator = resources.in_rounds(Box::new(operator), &task)?;
        resources.start.arrive(context);
        Ok(operator)
    }))
}

fn kind(members: Vec<Arc<Node>>, waits: Vec<Arc<Gate>>, opens: Option<Arc<Gate>>, resources: Resources) -> NodeKind {
    match &members[0].body {
        Body::LoopHead(make) => {
            let make = make.clone();
            NodeKind::IterationHead(Arc::new(move |context| {
                let head = make(&resources.task(context))?;
                resources.start.arrive(context);
                Ok(head)
            }))
        }
        Body::StreamingLoopHead | Body::AsynchronousLoopHead(_) => {
            let codec = members[0].inputs[0].codec.clone();
            NodeKind::StreamingLoopHead(Some(Arc::new(move |context: &OperatorContext| {
                let queue: Box<dyn FeedbackQueue> = Box::new(SpillingQueue::open(codec.clone(), &resources.task(context))?);
                Ok(queue)
            })))
        }
        Body::LoopExit => NodeKind::LoopExit,
        Body::Operator(make) if resources.anew.is_some() => {
            let mut resources = resources;
            let anew = resources.anew.take().unwrap_or_else(|| unreachable!("looked at above"));
            each_superstep(make.clone(), anew, resources)
        }
        Body::Operator(make) => match (opens, members[0].build_input) {
            (Some(gate), Some(build)) => {
                let make = make.clone();
                NodeKind::Operator(Arc::new(move |context| {
                    let operator = make(&resources.task(context))?;
                    resources.start.arrive(context);
                    Ok(resources.kept(Box::new(Opens::new(operator, build, &gate, context))))
                }))
            }
            _ => {
                let make = make.clone();
                NodeKind::Operator(Arc::new(move |context| {
                    let task = resources.task(context);
                    let operator = resources.in_rounds(make(&task)?, &task)?;
                    resources.start.arrive(context);
                    Ok(resources.kept(operator))
                }))
            }
        },
        Body::Source { .. } => NodeKind::Source(Arc::new(move |context| {
            let Body::Source { make, port } = &members[0].body else { unreachable!("matched above") };
            let task = resources.task(context);
            let rest = if members.len() == 1 { port(0) } else { collector(&members[1..], &task)? };
            let source = AssignedSource::wrap(make(&task, rest)?, &task);
            let source = GatedSource::new(source, &waits, &resources.start, context);
            resources.start.arrive(context);
            Ok(Box::new(source))
        })),
        Body::Link { .. } | Body::Sink { .. } => {
            let combines = members.iter().any(|node| node.combines());
            let assigns = resources.streaming && members.iter().any(|n| n.timing == Timing::Assigns);
            let make: OperatorFactory = Arc::new(move |context| {
                let (Body::Link { head, .. } | Body::Sink { head, .. }) = &members[0].body else { unreachable!("matched above") };
                let task = resources.task(context);
                let chain = resources.kept(head(collector(&members, &task)?)?);
                let chain = if combines { resources.in_rounds(chain, &task)? } else { chain };
                resources.start.arrive(context);
                Ok(if assigns { Box::new(AssigningOperator::new(chain, &task)) } else { chain })
            });
            if assigns { NodeKind::TimestampAssigner(make) } else { NodeKind::Operator(make) }
        }
    }
}

/// The collector that runs these steps one after another.
fn collector(steps: &[Arc<Node>], context: &TaskContext) -> Result<AnyCollector> {
    match &steps[0].body {
        Body::Sink { make, .. } => make(context),
        Body::Link { make, port, .. } => {
            let next = if steps.len() == 1 { port(0) } else { collector(&steps[1..], context)? };
            make(context, next)
        }
        _ => unreachable!("only steps are fused behind the first node"),
    }
}
