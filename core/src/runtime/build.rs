//! Builds a plan's dataflow on one worker: one substrate operator a node, one of its outputs an edge.

use super::epochs::RestoredInstance;
use super::failure::guard;
use super::inlet::Inlet;
use super::instance::Instance;
use super::job::{Job, flatten, named};
use super::lockstep_head::LockstepHead;
use super::operator::{OperatorHarness, Role};
use super::outlet::{OutEdge, Outlets, Place};
use super::parcel::{Delivery, Parcel};
use super::plan::{NodeKind, OperatorFactory, PlanNode, Route};
use super::source::SourceHarness;
use super::streaming_head::StreamingHead;
use super::time::{Supersteps, Time};
use super::wake::Wake;
use crate::{Batch, Operator, OperatorContext, Output, Progress, Result};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::operators::feedback::Handle;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{ConnectLoop, Feedback};
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;

type Edges<'s> = HashMap<(usize, usize), Stream<'s, Time, Parcel>>;

/// Builds the whole plan.
pub(super) fn build(job: &Arc<Job>, scope: Scope<'_, Time>) {
    let plan = job.plan.clone();
    // An edge is known by its receiving node and input.
    let mut streams: Edges<'_> = HashMap::new();
    let mut loops: HashMap<(usize, usize), Handle<'_, Time, Parcel>> = HashMap::new();
    for node in &plan.nodes {
        for (input, _) in node.inputs.iter().enumerate().filter(|(_, e)| e.feedback) {
            let (handle, stream) = scope.feedback::<Parcel>(Supersteps(1));
            loops.insert((node.id, input), handle);
            streams.insert((node.id, input), stream);
        }
    }
    for node in &plan.nodes {
        build_node(job, scope, node, &mut streams);
        for edge in edges_from(job, node.id).into_iter().flatten() {
            if let Some(handle) = loops.remove(&edge) {
                // The stream is there: the node just built made it.
                let stream = streams.remove(&(edge.0, edge.1 + FEEDBACK)).expect("made by its sender");
                stream.connect_loop(handle);
            }
        }
    }
}

/// Where an edge between these nodes lies.
fn place(job: &Job, from: usize, to: usize) -> Place {
    let head = |node: usize| matches!(job.plan.nodes[node].kind, NodeKind::IterationHead(_)).then_some(node);
    let (from_loop, to_loop) = (job.lockstep[from].or(head(from)), job.lockstep[to].or(head(to)));
    match from_loop {
        None if job.in_loop[from] && job.in_loop[to] => Place::Borrowed,
        None => Place::Outside,
        Some(_) if from_loop == to_loop => Place::InLoop,
        Some(_) => Place::Leaving,
    }
}

/// Added to the input of a feedback edge to name the stream before it has passed the loop's edge.
const FEEDBACK: usize = usize::MAX / 2;

/// The edges that leave each port of a node.
fn edges_from(job: &Job, id: usize) -> Vec<Vec<(usize, usize)>> {
    let mut ports = vec![Vec::new(); job.plan.nodes[id].outputs];
    for node in &job.plan.nodes {
        for (input, edge) in node.inputs.iter().enumerate().filter(|(_, e)| e.from == id) {
            ports[edge.port].push((node.id, input));
        }
    }
    ports
}

fn build_node<'s>(job: &Arc<Job>, scope: Scope<'s, Time>, node: &PlanNode, streams: &mut Edges<'s>) {
    let worker = scope.index();
    let mut builder = OperatorBuilder::new(node.name.clone(), scope);
    let inlets: Vec<Inlet> = (0..node.inputs.len())
        .map(|input| {
            let edge = &node.inputs[input];
            let stream = streams.remove(&(node.id, input)).expect("senders are built first, feedback streams before all");
            let valve = Rc::new(Cell::new(false));
            let local = matches!(edge.route, Route::Forward) || scope.peers() == 1;
            let handle = builder.new_input(stream, Delivery { local, valve: valve.clone() });
            Inlet { handle, valve, codec: edge.codec.clone(), credits: job.credits(node.id, input, worker), ended: false }
        })
        .collect();
    let disconnected = matches!(
        node.kind,
        NodeKind::IterationHead(_) | NodeKind::LoopExit | NodeKind::StreamingLoopHead(_) | NodeKind::TimestampAssigner(_)
    );
    let mut ports = Vec::new();
    for edges in edges_from(job, node.id) {
        let mut port = Vec::new();
        for edge in edges {
            let connection =
                (0..inlets.len()).map(|i| (i, if disconnected { Antichain::new() } else { Antichain::from_elem(Supersteps(0)) }));
            let (output, stream) = builder.new_output_connection::<Parcel, _>(connection.collect::<Vec<_>>());
            let feedback = job.plan.nodes[edge.0].inputs[edge.1].feedback;
            streams.insert(if feedback { (edge.0, edge.1 + FEEDBACK) } else { edge }, stream);
            port.push(OutEdge::new(job, worker, edge, output, place(job, node.id, edge.0)));
        }
        ports.push(port);
    }
    let info = builder.operator_info();
    let activator = scope.activator_for(info.address.clone());
    let wake = Wake::new(scope.worker().sync_activator_for(info.address.to_vec()));
    let context = context(job, node, worker, wake.clone());
    let instance = Instance::new(job.clone(), (node.id, worker), Outlets::new(ports), wake, activator);
    // An operator with state of a former run asks for the timers in it, an assigner for the time of its first look.
    let asks = Cell::new(matches!(node.kind, NodeKind::TimestampAssigner(_)));
    // What the runtime itself knows of the former run: event time, and whether the operator had ended.
    let former = Cell::new((i64::MIN, false));
    let operator = |factory: &OperatorFactory| {
        make(job, node, || {
            let mut operator = factory(&context)?;
            operator.open(&context)?;
            if let Some(RestoredInstance { state, watermark, ended }) = restored(job, &context)? {
                operator.restore(state)?;
                asks.set(true);
                former.set((watermark, ended));
            }
            Ok(operator)
        })
    };
    let constant = node.inputs.iter().map(|edge| place(job, edge.from, node.id) != Place::InLoop).collect();
    let feedback = node.inputs.iter().take_while(|e| !e.feedback).count();
    let mut harness = match &node.kind {
        NodeKind::Source(factory) => {
            let source = make(job, node, || {
                let mut source = factory(&context)?;
                source.open(&context)?;
                if let Some(RestoredInstance { state, watermark, ended }) = restored(job, &context)? {
                    source.restore(state)?;
                    former.set((watermark, ended));
                }
                Ok(source)
            });
            Harness::Source(SourceHarness::new(instance, source))
        }
        NodeKind::Operator(factory) => {
            let role = match job.lockstep[node.id] {
                Some(_) => Role::Lockstep,
                None if job.in_loop[node.id] => Role::InLoop,
                None => Role::Plain,
            };
            Harness::operator(OperatorHarness::new(instance, operator(factory), role, inlets).constant(constant))
        }
        NodeKind::TimestampAssigner(factory) => {
            Harness::operator(OperatorHarness::new(instance, operator(factory), Role::Assigner, inlets))
        }
        NodeKind::LoopExit => Harness::operator(OperatorHarness::new(instance, Some(Box::new(Pass)), Role::LoopExit, inlets)),
        NodeKind::LoopHead => {
            Harness::operator(OperatorHarness::new(instance, Some(Box::new(Pass)), Role::LoopHead(feedback), inlets))
        }
        NodeKind::IterationHead(factory) => {
            let head = make(job, node, || factory(&context));
            let mut head = LockstepHead::new(instance, head, inlets, feedback);
            make(job, node, || restored(job, &context)?.map_or(Ok(()), |state| head.restore(state)));
            Harness::LockstepHead(head)
        }
        NodeKind::StreamingLoopHead(queue) => {
            let state = make(job, node, || restored(job, &context)).flatten();
            let queue = queue.as_ref().and_then(|queue| make(job, node, || queue(&context)));
            let mut head = StreamingHead::new(instance, inlets, queue.unwrap_or_else(|| Box::new(VecDeque::<Batch>::new())));
            make(job, node, || state.map_or(Ok(()), |state| head.restore(state)));
            Harness::StreamingHead(head)
        }
    };
    let (watermark, ended) = former.get();
    harness.restored(watermark, ended);
    if asks.get() && !ended {
        harness.instance().outlets.set_timer(i64::MIN);
    }
    builder.build_reschedule(move |capabilities| {
        harness.instance().hand_out(capabilities);
        move |frontiers| harness.activate(frontiers)
    });
}

/// One of the harnesses.
enum Harness {
    Source(SourceHarness),
    Operator(Box<OperatorHarness>),
    StreamingHead(StreamingHead),
    LockstepHead(LockstepHead),
}

impl Harness {
    fn operator(harness: OperatorHarness) -> Self {
        Self::Operator(Box::new(harness))
    }

    fn instance(&mut self) -> &mut Instance {
        match self {
            Self::Source(harness) => &mut harness.instance,
            Self::Operator(harness) => &mut harness.instance,
            Self::StreamingHead(harness) => &mut harness.instance,
            Self::LockstepHead(harness) => &mut harness.instance,
        }
    }

    fn restored(&mut self, watermark: i64, ended: bool) {
        match self {
            Self::Source(harness) => harness.restored(watermark, ended),
            Self::Operator(harness) => harness.restored(watermark, ended),
            // They take back their parts by themselves.
            Self::StreamingHead(_) | Self::LockstepHead(_) => {}
        }
    }

    fn activate(&mut self, frontiers: &[MutableAntichain<Time>]) -> bool {
        match self {
            Self::Source(harness) => harness.activate(),
            Self::Operator(harness) => harness.activate(frontiers),
            Self::StreamingHead(harness) => harness.activate(frontiers),
            Self::LockstepHead(harness) => harness.activate(frontiers),
        }
    }
}

fn restored(job: &Job, context: &OperatorContext) -> Result<Option<RestoredInstance>> {
    job.options.checkpoints.as_ref().map_or(Ok(None), |store| store.load(context))
}

/// Calls a factory; its failure is the job's.
fn make<O>(job: &Job, node: &PlanNode, f: impl FnOnce() -> Result<O>) -> Option<O> {
    flatten(guard(f)).map_err(|error| job.fail(named(&node.name, error), true)).ok()
}

fn context(job: &Job, node: &PlanNode, worker: usize, wake: Wake) -> OperatorContext {
    OperatorContext {
        node: node.id,
        name: node.name.clone(),
        worker,
        workers: job.topology.workers(),
        local_worker: worker % job.topology.threads,
        local_workers: job.topology.threads,
        process: job.topology.process,
        processes: job.topology.processes,
        memory: job.memory.clone(),
        waker: wake.waker(),
        shared: job.shared.clone(),
    }
}

/// Hands every batch on.
struct Pass;

impl Operator for Pass {
    fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        out.send(0, batch)?;
        Ok(Progress::Done)
    }
}
