//! The algorithms: each its options, its method of [`Graph`](super::Graph), and its kernel over the layout.

mod bfs;
mod cdlp;
mod kcore;
mod pagerank;
mod paths;
mod scc;
mod triangles;
mod wcc;

pub use bfs::UNREACHED;
pub use cdlp::Cdlp;
pub use pagerank::PageRank;
