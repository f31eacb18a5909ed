//! Sinks that commit: what they have written becomes visible when a checkpoint that covers it is complete, and exactly once,
//! whatever fails in between. A two-phase commit with the checkpoint as its coordinator, as of Flink's two-phase commit sinks
//! (Carbone et al., "State Management in Apache Flink", VLDB 2017).
//!
//! | file | what |
//! |---|---|
//! | `context` | what an instance may know, and names for its transactions |
//! | `operator` | tells a sink of barriers, completed checkpoints and restores |
//!
//! Invariants. A transaction is in the state of the checkpoint at whose barrier it was pre-committed, and of all later ones
//! until it is committed. It is committed after a checkpoint that has it in its state is complete, not before: in order,
//! those of earlier epochs first. What a failed checkpoint had pre-committed goes with the next one that completes. A restore
//! commits each transaction of the checkpoint once, in one of the new instances, whatever their number.
//!
//! Trade-off: a commit may have happened before the process died, so a restored one may be the second. Only the system
//! behind the sink can tell; that is why [`TransactionalSink::commit`] must be idempotent.

mod context;
mod operator;

pub use context::SinkContext;

use crate::graph::{Body, NodeId, OperatorFactory};
use crate::{Data, DataStream, Env, Result};
use operator::WriteTransactions;
use std::sync::Arc;

/// One worker's writer to a system with transactions; see [`DataStream::write_transactional`].
///
/// The order of calls: [`recover`](Self::recover) once; then `write` and, at each barrier, `pre_commit`; `commit` whenever
/// a checkpoint has completed. All on one worker, which does nothing else meanwhile: what takes long holds it up.
pub trait TransactionalSink<T> {
    /// What it takes to commit a transaction later, from any process: its id, as a rule. It is the sink's state.
    type Pending: Data;

    /// Before anything is written. `pending` are all transactions that the restored checkpoint names, of all former instances;
    /// empty in a job that begins anew. They will be committed, here or by other instances. What else former instances have
    /// left behind will never be: it may be removed here. See [`SinkContext::is_former`] for which instance does that.
    ///
    /// # Errors
    /// Fails the job.
    fn recover(&mut self, pending: &[Self::Pending]) -> Result<()> {
        let _ = pending;
        Ok(())
    }

    /// Adds a record to the transaction in hand; begins one if there is none.
    ///
    /// # Errors
    /// Fails the job.
    fn write(&mut self, record: T) -> Result<()>;

    /// The barrier that ends `epoch` is here, or the end of the stream. Brings the transaction in hand to where it survives
    /// a crash and can be committed, but does not show it. `None` if nothing was written. What comes later belongs to
    /// the next transaction.
    ///
    /// # Errors
    /// Fails the job: what was written to the transaction is lost, and written again by the restored job.
    fn pre_commit(&mut self, epoch: u64) -> Result<Option<Self::Pending>>;

    /// Makes a transaction visible. Idempotent: after a restart it is called again, perhaps in another process, also for
    /// transactions that had been committed before the crash.
    ///
    /// # Errors
    /// Fails the job; the restored job commits it again.
    fn commit(&mut self, pending: Self::Pending) -> Result<()>;

    /// The job has failed or was cancelled: rolls back the transaction in hand. Those that were pre-committed must stay: a
    /// checkpoint may name them.
    fn abort(&mut self) {}
}

impl<T: Data> DataStream<T> {
    /// Adds a sink that writes to a system with transactions: each worker's part of an epoch is one, committed when the
    /// checkpoint that ends the epoch is complete. With checkpoints every record gets there exactly once, or at least once in
    /// jobs that checkpoint [so](crate::Config). Without checkpoints everything is committed at the end of the job, if it
    /// ends well.
    ///
    /// `make` makes each worker's instance. State of sinks is found again by their [uid](SinkNode::uid).
    ///
    /// ```
    /// use fluvial_core::{Env, Result, SinkContext, TransactionalSink};
    /// use std::collections::BTreeMap;
    /// use std::sync::{Arc, Mutex};
    ///
    /// /// Stands for a database.
    /// #[derive(Default)]
    /// struct Store {
    ///     /// Transactions that nobody sees.
    ///     prepared: BTreeMap<String, Vec<u64>>,
    ///     numbers: Vec<u64>,
    /// }
    ///
    /// struct Numbers {
    ///     store: Arc<Mutex<Store>>,
    ///     context: SinkContext,
    ///     records: Vec<u64>,
    /// }
    ///
    /// impl TransactionalSink<u64> for Numbers {
    ///     type Pending = String;
    ///     fn recover(&mut self, pending: &[String]) -> Result<()> {
    ///         let stays = |id: &String| pending.contains(id) || !self.context.is_former(id);
    ///         self.store.lock().unwrap().prepared.retain(|id, _| stays(id));
    ///         Ok(())
    ///     }
    ///     fn write(&mut self, record: u64) -> Result<()> {
    ///         self.records.push(record);
    ///         Ok(())
    ///     }
    ///     fn pre_commit(&mut self, _epoch: u64) -> Result<Option<String>> {
    ///         if self.records.is_empty() {
    ///             return Ok(None);
    ///         }
    ///         let (id, records) = (self.context.transaction_id(), std::mem::take(&mut self.records));
    ///         self.store.lock().unwrap().prepared.insert(id.clone(), records);
    ///         Ok(Some(id))
    ///     }
    ///     fn commit(&mut self, id: String) -> Result<()> {
    ///         let mut store = self.store.lock().unwrap();
    ///         // Nothing is there under the id of a transaction that was committed already.
    ///         let records = store.prepared.remove(&id).unwrap_or_default();
    ///         store.numbers.extend(records);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let store = Arc::new(Mutex::new(Store::default()));
    /// let env = Env::default();
    /// let database = store.clone();
    /// env.sequence(0..1000)
    ///     .write_transactional(move |context| {
    ///         Ok(Numbers { store: database.clone(), context: context.clone(), records: Vec::new() })
    ///     })
    ///     .uid("numbers");
    /// env.execute("numbers")?;
    /// assert_eq!(store.lock().unwrap().numbers.iter().sum::<u64>(), 499_500);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn write_transactional<S: TransactionalSink<T> + 'static>(
        &self,
        make: impl Fn(&SinkContext) -> Result<S> + Send + Sync + 'static,
    ) -> SinkNode {
        let make: OperatorFactory = Arc::new(move |context| {
            let sink = make(&SinkContext::new(&context.name, context.worker, context.workers))?;
            Ok(Box::new(WriteTransactions::new(sink, context.worker, context.workers)))
        });
        let mut node = self.after("write_transactional", String::new(), Body::Operator(make));
        node.outputs = 0;
        SinkNode { node: self.env.add_sink(node), env: self.env.clone() }
    }
}

/// A sink that was added to the job, to be given a name and an id.
pub struct SinkNode {
    env: Env,
    node: NodeId,
}

impl SinkNode {
    /// Names the sink, for messages, metrics and `explain`.
    pub fn name(self, name: &str) -> Self {
        self.env.graph().nodes[self.node].name = Some(name.to_owned());
        self
    }

    /// Gives the sink a stable id, by which its state is found again in a changed program.
    pub fn uid(self, uid: &str) -> Self {
        self.env.graph().nodes[self.node].uid = Some(uid.to_owned());
        self
    }
}

#[cfg(test)]
mod tests;
