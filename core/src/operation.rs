//! Operations made outside of this crate: an [`Operator`] of one's own as a node of the job graph.
//!
//! Iterations, graphs and learners are such operations. What the typed and tabular operations of this crate are made of is the
//! same, so nothing is out of reach for them: managed memory, spill files, watermarks, snapshots, side by side with the rest.

use crate::graph::{Body, Distribution, Node, TaskContext, Timing};
use crate::stream::Data;
use crate::{DataStream, Env, Operator, Result, Table};
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
        let node = Node {
            kind,
            name: None,
            uid: None,
            detail: String::new(),
            inputs: Vec::new(),
            build_input: None,
            // Replaced when the operation is added.
            body: Body::Operator(Arc::new(|_| unreachable!("an operation that was not added"))),
            memory: 0,
            outputs: 1,
            sides: Vec::new(),
            timing: Timing::AsTheyCome,
            bounded: true,
            estimate: None,
        };
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

    /// Adds an input of record batches.
    #[must_use]
    pub fn table(mut self, table: &Table) -> Self {
        self.node.bounded &= table.env.graph().nodes[table.node].bounded;
        self.node.inputs.push(table.input_by(Distribution::Forward));
        self
    }

    /// Has the records of all inputs come to one worker of each process, batches in turn: for operations whose instances in a
    /// process share what they know, and have to know everything. In a job of one process they stay where they are.
    #[must_use]
    pub fn in_each_process(mut self, env: &Env) -> Self {
        let config = env.config();
        if config.hosts.len() > 1 {
            self.node.inputs.iter_mut().for_each(|i| i.distribution = Distribution::EachProcess { workers: config.threads });
        }
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
