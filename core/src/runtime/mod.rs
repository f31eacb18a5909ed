//! The runtime: runs a [`Plan`] of operators on timely dataflow's workers. The only module that names timely.

mod build;
mod control;
mod credit;
mod epochs;
mod failure;
mod idle;
mod inlet;
mod instance;
mod job;
mod mesh;
mod network;
mod operator;
mod outlet;
mod parcel;
mod permit;
mod plan;
mod source;
mod streaming_head;
mod supersteps;
mod ticker;
mod time;
mod wake;
mod wire;

pub use epochs::{CheckpointStore, SaveDone, SnapshotPart};
pub use job::NodeReport;
pub use mesh::{JobControl, Mesh, PEER_LOST_EXIT_CODE, RunConfig, RunReport, RunningJob};
pub use permit::EdgeBudget;
pub use plan::{BatchCodec, Edge, Emit, NodeKind, OperatorFactory, Partitioner, Plan, PlanNode, Route, SourceFactory};
