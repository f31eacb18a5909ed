//! The engine below the graph algorithms.
//!
//! One operator takes the edges ([`raw`]), compacts ids ([`dictionary`]), lays adjacency out as the algorithm asks ([`build`],
//! [`adjacency`]) and runs the algorithm's [`kernel`], all with the workers of the process as one [`team`]: they share one layout and
//! one copy of each array of values ([`array`]), each writes what it has been dealt, and a superstep ends at a barrier.
//!
//! **Semi-external.** Arrays of values are in memory, and where the budget does not hold them the job fails with an error that says
//! how much was needed. Edges are in [`block`]s, in memory or on disk; every pass over them is in order.
//!
//! Trade-off: barriers are the team's own, not the frontiers of the dataflow: a superstep costs a few microseconds
//! instead of a round of progress messages, and kernels read each other's values without copying.
//!
//! **Several processes.** Each takes all edges and computes on the whole graph, and gives its part of the results; all have the same numbering. So
//! processes make results of one job available where the rest of the job needs them, but no algorithm faster and no graph larger than
//! one process can have.

pub(crate) mod adjacency;
pub(crate) mod array;
pub(crate) mod block;
pub(crate) mod build;
pub(crate) mod dictionary;
pub(crate) mod frontier;
pub(crate) mod kernel;
mod operator;
mod pulse;
pub(crate) mod raw;
mod team;
pub(crate) mod worker;

pub(crate) use kernel::{Kernel, Prepared};
pub(crate) use operator::GraphOperator;
pub(crate) use worker::Worker;
