//! The runtime: runs a [`Plan`] of operators on timely dataflow's workers. The only module that names timely.
//!
//! Invariant: capabilities, frontiers, alignment, fuel and permits are handled here and nowhere else; an operator sees the
//! calls of its trait, one at a time. `README.md` beside this file explains the protocol.
//!
//! ```
//! use fluvial_core::runtime::{Edge, Mesh, NodeKind, Plan, PlanNode, Route, RunConfig};
//! use fluvial_core::{Batch, Operator, Output, Progress, Result, Source};
//! use fluvial_memory::MemoryManager;
//! use std::sync::Arc;
//!
//! struct Once;
//! impl Source for Once {
//!     fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
//!         out.send(0, Batch::typed(vec![1u64, 2, 3]))?;
//!         Ok(Progress::Done)
//!     }
//! }
//! struct Drain;
//! impl Operator for Drain {
//!     fn process(&mut self, _: usize, _: Batch, _: &mut dyn Output) -> Result<Progress> {
//!         Ok(Progress::Done)
//!     }
//! }
//! let source = NodeKind::Source(Arc::new(|_| Ok(Box::new(Once))));
//! let sink = NodeKind::Operator(Arc::new(|_| Ok(Box::new(Drain))));
//! let plan = Plan::new("example", vec![
//!     PlanNode { id: 0, name: "once".into(), kind: source, inputs: vec![], outputs: 1 },
//!     PlanNode { id: 1, name: "drain".into(), kind: sink, inputs: vec![Edge::new(0, 0, Route::Rebalance)], outputs: 0 },
//! ]);
//! let mesh = Mesh::start(RunConfig::new(2, MemoryManager::new(1 << 20)?))?;
//! let report = mesh.run(&plan)?;
//! assert_eq!(report.nodes[1].records_in, 6); // each of the two workers has a source of its own
//! # Ok::<(), fluvial_core::Error>(())
//! ```

mod build;
mod control;
mod counters;
mod credit;
mod epochs;
mod failure;
mod idle;
mod inlet;
mod instance;
mod interrupt;
mod job;
mod lockstep_head;
mod mesh;
mod network;
mod operator;
mod outlet;
mod parcel;
mod permit;
mod plan;
mod schedule;
mod source;
mod streaming_head;
mod supersteps;
mod ticker;
mod time;
mod wake;
mod wire;

pub(crate) use counters::JobCounters;
pub use epochs::{Barrier, BarrierCost, CheckpointStore, Completion, RestoredInstance, SaveDone, SnapshotPart};
pub(crate) use failure::guard;
pub use interrupt::Interrupt;
pub use job::NodeReport;
pub use mesh::{Checkpointing, JobControl, Mesh, RunConfig, RunReport, RunningJob};
pub use permit::EdgeBudget;
pub use plan::{
    BatchCodec, Edge, Emit, FeedbackQueue, HeadFactory, NodeKind, OperatorFactory, Partitioner, Plan, PlanNode, QueueFactory,
    Route, SourceFactory,
};
pub use schedule::BarrierPolicy;
pub(crate) use wire::{decode_batch, encode_batch};
