//! Operations made outside of this crate: an [`Operator`] of one's own as a node of the job graph.
//!
//! Iterations, graphs and learners are such operations. What the typed and tabular operations of this crate are made of is the
//! same, so nothing is out of reach for them: managed memory, spill files, watermarks, snapshots, side by side with the rest.

use crate::exchange::TypedByTarget;
use crate::graph::{Body, Distribution, Node, TaskContext, Timing};
use crate::runtime::Partitioner;
use crate::stream::{Data, short_type_name};
use crate::{DataStream, Env, Operator, Result, Table};
use fluvial_memory::NormalizedKey;
use std::sync::Arc;

/// An operation to be added to a job.
///
/// Each input becomes an input of the operator, in the order in which they were given; records come as the stream given is
/// distributed: as they lie, or by [`partition_by_hash`](DataStream::partition_by_hash), [`broadcast`](DataStream::broadcast) and the like.
/// Batches hold [`Records::Typed`](crate::Records::Typed), or [`Records::Table`](crate::Records::Table) where the input is a table.
///
/// ```
/// use fluvial_core::{Batch, Env, Operation, Operator, Output, Progress, Result};
///
/// /// Adds up what its worker gets.
/// struct Sum(u64);
///
/// impl Operator for Sum {
///     fn process(&mut self, _input: usize, batch: Batch, _out: &mut dyn Output) -> Result<Progress> {
///         self.0 += batch.typed_records::<u64>()?.into_iter().sum::<u64>();
///         Ok(Progress::Done)
///     }
///
///     fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
///         out.send(0, Batch::typed(vec![self.0]))?;
///         Ok(Progress::Done)
///     }
/// }
///
/// let env = Env::default();
/// let numbers = env.sequence(0..1000).rebalance();
/// let sums = Operation::new("sum").input(&numbers).at_the_end().add::<u64>(&env, |_| Ok(Box::new(Sum(0))));
/// assert_eq!(sums.collect()?.into_iter().sum::<u64>(), 499_500);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct Operation {
    node: Node,
}

impl Operation {
    /// An operation of this kind: a short name for messages, metrics and `explain`.
    pub fn new(kind: &'static str) -> Self {
        // The operator is replaced when the operation is added.
        let node = Node::operator(kind, Vec::new(), Arc::new(|_| unreachable!("an operation that was not added")));
        Self { node }
    }

    /// What there is to know beyond the kind, for `explain`.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.node.detail = detail.into();
        self
    }

    /// Adds an input of typed records.
    #[must_use]
    pub fn input<T: Data>(mut self, stream: &DataStream<T>) -> Self {
        self.node.bounded &= stream.known().0;
        self.node.inputs.push(stream.input());
        self
    }

    /// Adds an input of typed records, which go to the worker that the hash of their key belongs to, as they are.
    #[must_use]
    pub fn input_by_key<T: Data, K: NormalizedKey + Data>(
        mut self,
        stream: &DataStream<T>,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
    ) -> Self {
        let stream = stream.settled();
        let partitioner = Arc::new(move || -> Box<dyn Partitioner> { Box::new(TypedByTarget::new(key.clone())) });
        let by_key = Distribution::Hash { key: short_type_name::<K>(), partitioner };
        self.node.bounded &= stream.known().0;
        self.node.inputs.push(stream.input_by(by_key));
        self
    }

    /// Adds an input that brings nothing: in a loop, the operator's superstep does not end before the one of what gives this
    /// stream has.
    #[must_use]
    pub fn watch<T: Data>(mut self, stream: &DataStream<T>) -> Self {
        self.node.inputs.push(stream.input_by(Distribution::Watch));
        self
    }

    /// Adds an input of record batches.
    #[must_use]
    pub fn table(mut self, table: &Table) -> Self {
        self.node.bounded &= table.env.graph().nodes[table.node].bounded;
        self.node.inputs.push(table.input_by(Distribution::Forward));
        self
    }

    /// Segments that each instance reserves with [`TaskContext::reserve`] before it takes input. Jobs whose operations need more than
    /// the budget together fail before they start.
    #[must_use]
    pub fn reserves(mut self, segments: usize) -> Self {
        self.node.memory = segments;
        self
    }

    /// Results come when the inputs have ended: inputs without end are an error.
    #[must_use]
    pub fn at_the_end(mut self) -> Self {
        self.node.timing = Timing::AtTheEnd;
        self
    }

    /// The operator has so many outputs. All but the first are for whoever knows what they are: what
    /// [`LoopBuilder::close_around`](crate::LoopBuilder::close_around) reads, say.
    #[must_use]
    pub fn outputs(mut self, outputs: usize) -> Self {
        self.node.outputs = outputs;
        self
    }

    /// In a loop, one operator runs through all supersteps and sees [`Operator::end_superstep`]; what comes from outside the loop
    /// it is given once, before superstep 0. Other operations begin anew in each superstep.
    #[must_use]
    pub fn knows_supersteps(mut self) -> Self {
        self.node.aware = true;
        self
    }

    /// Adds it to the graph. `make` makes the instance of each worker.
    pub fn add<U: Data>(
        mut self,
        env: &Env,
        make: impl Fn(&TaskContext) -> Result<Box<dyn Operator>> + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.node.body = Body::Operator(Arc::new(make));
        DataStream::new(env, env.add(self.node))
    }
}
