//! Graphs: from streams and tables of edges, through algorithms, to streams of vertices and values.
//!
//! A [`Graph`] is a description: a stream of edges, perhaps one of vertices, and whether edges have a direction. Nothing runs
//! before a result is asked for; an algorithm is one operator of an ordinary job, among others.
//!
//! Inside that operator ids are compacted to dense numbers and adjacency is laid out once, in managed memory, shared by the
//! workers of a process; see [`engine`]. Memory: values of all vertices are in memory (8 to 40 bytes a vertex, by algorithm), edges
//! are as far as the budget allows, else in spill files that each superstep reads through.
//!
//! In a job of several processes each has the whole graph; its results are divided among them.
//!
//! **What an edge is.** Edges that come more than once count as often as they come (PageRank, label propagation) or do not matter (all
//! others); likewise loops. Without direction, an edge leads both ways, a loop once. Local clustering, triangles and cores look at the
//! simple graph below: duplicates and loops ignored.
//!
//! ```
//! use fluvial_core::Env;
//! use fluvial_iterate::graph::Graph;
//!
//! let env = Env::default();
//! let edges = env.from_collection([(1u64, 2u64), (2, 3), (7, 8)]);
//! let components = Graph::undirected(&edges).wcc();
//! assert_eq!(components.collect()?, [(1, 1), (2, 1), (3, 1), (7, 7), (8, 7)]);
//! # Ok::<(), fluvial_core::Error>(())
//! ```

mod algorithms;
mod columns;
mod engine;
pub mod files;
pub mod generate;
mod id;
mod models;
mod superstep;
#[cfg(test)]
mod tests;
mod transform;

pub use algorithms::{Cdlp, PageRank, UNREACHED};
pub use id::VertexId;
pub use models::{Scatter, ScatterGather, Vertex, VertexCentric};
pub use superstep::{GraphSummary, Supersteps};
pub use transform::Direction;

use engine::kernel::Weights;
use engine::{GraphOperator, Kernel};
use fluvial_core::{DataStream, Env, Error, Operation, Result, Table};
use std::sync::Arc;

/// A graph: edges, vertices, and whether edges have a direction.
#[derive(Clone)]
pub struct Graph<I: VertexId = u64> {
    env: Env,
    edges: Edges<I>,
    vertices: Option<Vertices<I>>,
    directed: bool,
    asynchronous: bool,
    supersteps: Option<Supersteps>,
}

/// Where edges come from.
#[derive(Clone)]
enum Edges<I> {
    Plain(DataStream<(I, I)>),
    Weighted(DataStream<(I, I, f64)>),
    /// Source and target in the first two columns, and a weight in the third if there is one.
    Table {
        table: Table,
        weighted: bool,
    },
}

/// Where vertices come from that may have no edge.
#[derive(Clone)]
enum Vertices<I> {
    Stream(DataStream<I>),
    /// In the first column.
    Table(Table),
}

impl<I: VertexId> Graph<I> {
    /// A graph of edges that lead from the first vertex to the second.
    pub fn directed(edges: &DataStream<(I, I)>) -> Self {
        Self::new(edges.env(), Edges::Plain(edges.clone()), true)
    }

    /// A graph of edges that lead both ways.
    pub fn undirected(edges: &DataStream<(I, I)>) -> Self {
        Self::new(edges.env(), Edges::Plain(edges.clone()), false)
    }

    /// A graph of edges with weights that lead from the first vertex to the second.
    pub fn directed_weighted(edges: &DataStream<(I, I, f64)>) -> Self {
        Self::new(edges.env(), Edges::Weighted(edges.clone()), true)
    }

    /// A graph of edges with weights that lead both ways.
    pub fn undirected_weighted(edges: &DataStream<(I, I, f64)>) -> Self {
        Self::new(edges.env(), Edges::Weighted(edges.clone()), false)
    }

    /// A graph of the edges in a table: `src`, `dst` and, where there is one, `weight` (else its first two or three columns). Ids
    /// are integers (of any width; signed ones must not be negative) for `Graph<u64>`, texts for `Graph<String>`; weights are
    /// numbers. Column batches are taken as they are, which is the fastest way in.
    ///
    /// # Errors
    /// [`Error::Plan`] if there are not two columns of ids, or their types are others.
    pub fn from_table(table: &Table, directed: bool) -> Result<Self> {
        let columns = columns::edge_columns(table.schema(), I::TEXT)?;
        let name = |column: usize| table.schema().field(column).name().clone();
        let mut wanted = format!("{}, {}", name(columns.source), name(columns.target));
        if let Some(weight) = columns.weight {
            wanted = format!("{wanted}, {}", name(weight));
        }
        let edges = Edges::Table { table: table.select(&wanted)?, weighted: columns.weight.is_some() };
        Ok(Self::new(table.env(), edges, directed))
    }

    /// The same graph with these vertices, which may have no edge.
    #[must_use]
    pub fn with_vertices(mut self, vertices: &DataStream<I>) -> Self {
        self.vertices = Some(Vertices::Stream(vertices.clone()));
        self
    }

    /// The same graph with the vertices in the first column of a table, which may have no edge.
    ///
    /// # Errors
    /// [`Error::Plan`] if the column is not of ids as [`Graph::from_table`] says.
    pub fn with_vertex_table(mut self, vertices: &Table) -> Result<Self> {
        columns::check_id(vertices.schema(), 0, I::TEXT)?;
        self.vertices = Some(Vertices::Table(vertices.clone()));
        Ok(self)
    }

    /// The same graph, whose algorithms tell `supersteps` how they come along.
    #[must_use]
    pub fn observe(mut self, supersteps: &Supersteps) -> Self {
        self.supersteps = Some(supersteps.clone());
        self
    }

    /// The same graph, where breadth-first search, shortest paths and components need not wait for the end of a superstep to see what
    /// others have found. The answers are the same.
    #[must_use]
    pub fn asynchronous(mut self) -> Self {
        self.asynchronous = true;
        self
    }

    /// Whether edges have weights.
    pub fn is_weighted(&self) -> bool {
        matches!(self.edges, Edges::Weighted(_) | Edges::Table { weighted: true, .. })
    }

    /// Whether edges have a direction.
    pub fn is_directed(&self) -> bool {
        self.directed
    }

    fn new(env: &Env, edges: Edges<I>, directed: bool) -> Self {
        Self { env: env.clone(), edges, vertices: None, directed, asynchronous: false, supersteps: None }
    }

    /// Adds an algorithm to the job.
    fn add<K: Kernel<I>>(&self, kernel: K) -> DataStream<K::Output> {
        let detail = if self.directed { "directed" } else { "undirected" };
        let mut operation = Operation::new(K::KIND).detail(detail).at_the_end().reserves(GraphOperator::<I, K>::SEGMENTS);
        operation = match &self.edges {
            Edges::Plain(edges) => operation.input(edges),
            Edges::Weighted(edges) => operation.input(edges),
            Edges::Table { table, .. } => operation.table(table),
        };
        operation = match &self.vertices {
            None => operation,
            Some(Vertices::Stream(vertices)) => operation.input(vertices),
            Some(Vertices::Table(vertices)) => operation.table(vertices),
        };
        operation = operation.in_each_process(&self.env);
        let (kernel, directed, weighted) = (Arc::new(kernel), self.directed, self.is_weighted());
        let supersteps = self.supersteps.clone();
        operation.add(&self.env, move |context| {
            if kernel.weights() == Weights::Lengths && !weighted {
                return Err(Error::Plan(format!("`{}` needs edges with weights, these have none", K::KIND)));
            }
            Ok(Box::new(GraphOperator::<I, K>::new(context, &kernel, directed, &supersteps)?))
        })
    }
}
