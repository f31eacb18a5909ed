//! The algorithms: each its options, its method of [`Graph`](super::Graph), and its kernel over the layout.

mod options;
mod pagerank;
mod skeleton;
mod wcc;

pub use options::{Cdlp, UNREACHED};
pub use pagerank::PageRank;
