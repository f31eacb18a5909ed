//! Iterations on the same runtime as everything else, and the graph library that stands on them.

pub mod graph;
