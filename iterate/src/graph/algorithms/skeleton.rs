use super::super::{Cdlp, Graph, VertexId};
use fluvial_core::DataStream;

#[allow(unused_variables, reason = "bodies follow")]
impl<I: VertexId> Graph<I> {
    /// Strongly connected components: each vertex with the smallest vertex of its component.
    pub fn scc(&self) -> DataStream<(I, I)> {
        todo!()
    }

    /// Breadth-first search: each vertex with the number of edges from `source`, or [`UNREACHED`](super::UNREACHED).
    /// The job fails if there is no such vertex.
    pub fn bfs(&self, source: I) -> DataStream<(I, u64)> {
        todo!()
    }

    /// Single-source shortest paths: each vertex with its distance from `source`, or infinity. The job fails if there is no such
    /// vertex, edges have no weights, or one is negative or not a number.
    pub fn sssp(&self, source: I) -> DataStream<(I, f64)> {
        todo!()
    }

    /// Community detection by label propagation, as LDBC Graphalytics defines it.
    pub fn cdlp(&self, options: Cdlp) -> DataStream<(I, I)> {
        todo!()
    }

    /// The local clustering coefficient of each vertex, as LDBC Graphalytics defines it.
    pub fn lcc(&self) -> DataStream<(I, f64)> {
        todo!()
    }

    /// Each vertex with the number of triangles that it is a corner of, in the simple undirected graph below.
    pub fn triangle_counts(&self) -> DataStream<(I, u64)> {
        todo!()
    }

    /// The triangles of the simple undirected graph below, each once, corners ascending.
    pub fn triangles(&self) -> DataStream<(I, I, I)> {
        todo!()
    }

    /// The core number of each vertex in the simple undirected graph below: the largest k such that it belongs to a subgraph where
    /// everybody has k neighbours.
    pub fn core_numbers(&self) -> DataStream<(I, u64)> {
        todo!()
    }
}
