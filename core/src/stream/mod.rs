//! Typed streams.
//!
//! A [`DataStream<T>`] is a node of the job graph and the type of what comes out of it. Its methods add nodes; the
//! closures given to them run on the workers. Operations that group, sort or join first serialize their records by a
//! [`Codec`](fluvial_memory::Codec) next to their normalized key; a record-at-a-time step never does.

mod aggregate;
mod broadcast;
mod collect;
mod files;
mod group;
mod join;
mod keyed;
mod numbers;
mod partition;
mod print;
mod sort;
mod source;
mod steps;
mod whole;

pub use aggregate::Aggregator;
pub(crate) use aggregate::{Accumulate, short_type_name};
pub use broadcast::WithBroadcast;
pub(crate) use collect::{CountOperator, collect_batches};
pub use group::{Group, Partition};
pub use join::KeyedJoin;
pub use keyed::{KeyFn, KeyRef, KeySelector, KeyedStream};
pub use numbers::Number;
pub use steps::Emitter;
pub(crate) use steps::Union;

use crate::chain::{AnyCollector, ChainOperator, Typed, TypedPort};
use crate::codec::RecordCodec;
use crate::graph::{
    Body, Distribution, Estimate, GraphDescription, HeadFactory, Input, LinkFactory, Node, NodeId, OperatorFactory, PortFactory,
    SinkFactory, Timing,
};
use crate::runtime::BatchCodec;
use crate::{Batch, Env, Error, Records, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::Arc;

/// What can be a record of a stream, or its state: any owned type that serde knows. `Sync`, because a snapshot of state is
/// encoded on other threads while the job goes on.
pub trait Data: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Data for T {}

/// A stream of records of type `T`, bounded or not.
///
/// ```
/// use fluvial_core::Env;
/// let env = Env::default();
/// let long = env.from_collection(["a", "bb", "ccc"].map(String::from)).filter(|w| w.len() > 1).map(|w| w.len() as u64);
/// let mut lengths = long.collect()?;
/// lengths.sort();
/// assert_eq!(lengths, [2, 3]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone)]
pub struct DataStream<T> {
    pub(crate) env: Env,
    pub(crate) node: NodeId,
    pub(crate) port: usize,
    /// How the next operation receives the records.
    pub(crate) distribution: Distribution,
    pub(crate) record: PhantomData<fn() -> T>,
}

impl<T: Data> DataStream<T> {
    pub(crate) fn new(env: &Env, node: NodeId) -> Self {
        Self { env: env.clone(), node, port: 0, distribution: Distribution::Forward, record: PhantomData }
    }

    /// Names the operation that gives this stream, for messages, metrics and `explain`.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.env.graph().nodes[self.node].name = Some(name.to_owned());
        self
    }

    /// Gives the operation a stable id, by which its state is found again in a changed program.
    #[must_use]
    pub fn uid(self, uid: &str) -> Self {
        self.env.graph().nodes[self.node].uid = Some(uid.to_owned());
        self
    }

    /// The graph that leads to this stream.
    pub fn explain(&self) -> GraphDescription {
        self.env.describe(self.node)
    }

    /// The environment that the stream is of.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The records are spread evenly over the workers, batch by batch.
    #[must_use]
    pub fn rebalance(mut self) -> Self {
        self.distribution = Distribution::Rebalance;
        self
    }

    /// Every worker receives all records.
    #[must_use]
    pub fn broadcast(mut self) -> Self {
        self.distribution = Distribution::Broadcast;
        self
    }

    /// This stream as an input of the next node.
    pub(crate) fn input(&self) -> Input {
        self.input_by(self.distribution.clone())
    }

    pub(crate) fn input_by(&self, distribution: Distribution) -> Input {
        Input { node: self.node, port: self.port, distribution, codec: Some(typed_batch_codec::<T>()) }
    }

    /// A node of the same boundedness behind this stream.
    pub(crate) fn after(&self, kind: &'static str, detail: String, body: Body) -> Node {
        let (bounded, estimate) = self.known();
        Node {
            kind,
            name: None,
            uid: None,
            detail,
            inputs: vec![self.input()],
            build_input: None,
            body,
            memory: 0,
            outputs: 1,
            sides: Vec::new(),
            feedback: Vec::new(),
            aware: false,
            piecewise: crate::graph::Piecewise::Never,
            timing: Timing::AsTheyCome,
            bounded,
            estimate,
        }
    }

    /// Says that the node behind this stream may be given its input part by part.
    pub(crate) fn piecewise(self) -> Self {
        self.env.graph().nodes[self.node].piecewise = crate::graph::Piecewise::OneInput(&[true]);
        self
    }

    pub(crate) fn known(&self) -> (bool, Option<Estimate>) {
        let graph = self.env.graph();
        (graph.nodes[self.node].bounded, graph.nodes[self.node].estimate)
    }

    /// Adds a record-at-a-time step.
    pub(crate) fn link<U: Data>(&self, kind: &'static str, make: LinkFactory) -> DataStream<U> {
        let body = Body::Link { make, head: typed_head::<T>(), port: typed_port::<U>() };
        let node = self.after(kind, String::new(), body);
        DataStream::new(&self.env, self.env.add(node))
    }

    /// A step that ends its chain.
    pub(crate) fn sink(&self, make: SinkFactory) -> Body {
        Body::Sink { make, head: typed_head::<T>() }
    }

    /// Adds an operator with this stream as its only input.
    pub(crate) fn operator<U: Data>(&self, kind: &'static str, detail: String, make: OperatorFactory) -> DataStream<U> {
        let node = self.after(kind, detail, Body::Operator(make));
        DataStream::new(&self.env, self.env.add(node))
    }
}

/// An operator over batches of `T` that runs a chain.
pub(crate) fn typed_head<T: Data>() -> HeadFactory {
    Arc::new(|first| Ok(Box::new(ChainOperator::<T, Typed>::new(first.into()?))))
}

/// The end of a chain of `T`.
pub(crate) fn typed_port<T: Data>() -> PortFactory {
    Arc::new(|port| AnyCollector::new::<T>(TypedPort::<T>::new(port)))
}

/// Turns batches of `T`, or of serialized rows, to bytes and back.
pub(crate) fn typed_batch_codec<T: Data>() -> Arc<dyn BatchCodec> {
    let flat = RecordCodec::<T>::new().width().is_some();
    Arc::new(TypedBatchCodec { codec: RecordCodec::<Vec<T>>::new(), flat })
}

struct TypedBatchCodec<T> {
    codec: RecordCodec<Vec<T>>,
    flat: bool,
}

impl<T: Data> BatchCodec for TypedBatchCodec<T> {
    fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        match &batch.records {
            Records::Typed(records) => match records.as_any().downcast_ref::<Vec<T>>() {
                Some(records) => Ok(self.codec.encode(records, out)?),
                None => Err(Error::Plan(format!("expected records of `{}`", std::any::type_name::<T>()))),
            },
            other => Err(Error::Plan(format!("expected typed records, got {other:?}"))),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Batch> {
        Ok(Batch::typed(self.codec.decode(bytes)?))
    }

    fn is_flat(&self) -> bool {
        self.flat
    }
}
