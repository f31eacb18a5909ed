//! The algorithms, each a kernel over the layout.

mod options;
mod skeleton;

pub use options::{Cdlp, PageRank, UNREACHED};
