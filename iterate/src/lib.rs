//! Fluvial's iterations: bulk and delta loops over data that ends, feedback loops over streams that need not; and the graph library.
//!
//! - [`Iterate::iterate`]: each superstep makes the next partial solution of the last one.
//! - [`IterateDelta::iterate_delta`]: each superstep changes a solution set by what its workset says, and gives the next workset; for
//!   monotone steps [without supersteps](DeltaOptions::asynchronous) too.
//! - [`Feedback::feedback`]: records go around a loop while others come.
//! - [`graph`]: algorithms on graphs, and models to write others in.

mod bulk;
mod delta;
mod feedback;
pub mod graph;
mod iteration;

pub use bulk::{Iterate, IterateTable};
pub use delta::{DeltaOptions, IterateDelta, Solution};
pub use feedback::Feedback;
pub use iteration::{Iteration, Max, Min, Sum, SuperstepNumber};
