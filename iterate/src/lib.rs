//! Fluvial's iterations: bulk and delta loops over data that ends, feedback loops over streams that need not.
//!
//! - [`Iterate::iterate`]: each superstep makes the next partial solution of the last one.
//! - [`IterateDelta::iterate_delta`]: each superstep changes a solution set by what its workset says, and gives the next workset.
//! - [`Feedback::feedback`]: records go around a loop while others come.

mod bulk;
mod delta;
mod feedback;
mod iteration;

pub use bulk::{Iterate, IterateTable};
pub use delta::{IterateDelta, Solution};
pub use feedback::Feedback;
pub use iteration::{Iteration, Max, Min, Sum, SuperstepNumber};
