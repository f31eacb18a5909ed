//! Triangles of the simple undirected graph below a graph: their number at each vertex, the triangles themselves, and clustering coefficients.

mod order;
mod oriented;
mod rows;
mod visit;

use crate::graph::engine::array::Array64;
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{Batch, DataStream, Result};
use oriented::Oriented;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use visit::{Counter, Lister};

impl<I: VertexId> Graph<I> {
    /// Each vertex with the number of triangles that it is a corner of, in the simple undirected graph below.
    ///
    /// Lists lead from vertices of smaller degree to those of larger degree, so that they are short (Latapy, 2008). The list of a vertex is marked in an
    /// array, and the lists of its neighbours are looked up there; or it is looked up in a neighbour's row of bits, where that has one and it is shorter.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    ///
    /// let env = Env::default();
    /// let graph = Graph::undirected(&env.from_collection([(1u64, 2u64), (2, 3), (3, 1), (3, 4)]));
    /// assert_eq!(graph.triangle_counts().collect()?, [(1, 1), (2, 1), (3, 1), (4, 0)]);
    /// assert_eq!(graph.triangles().collect()?, [(1, 2, 3)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn triangle_counts(&self) -> DataStream<(I, u64)> {
        self.add(Counts)
    }

    /// The triangles of the simple undirected graph below, each once, corners ascending. They come in no order.
    pub fn triangles(&self) -> DataStream<(I, I, I)> {
        self.add(Listing)
    }

    /// The local clustering coefficient of each vertex (Watts and Strogatz, 1998), as LDBC Graphalytics defines it: of all edges that there could be
    /// between its neighbours, directed ones where edges have a direction, those that there are; 0 where it has less than two
    /// neighbours. Who has an edge to or from a vertex is its neighbour; duplicates and loops are ignored.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    ///
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(1u64, 2u64), (2, 3), (3, 1)]));
    /// assert_eq!(graph.lcc().collect()?, [(1, 0.5), (2, 0.5), (3, 0.5)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn lcc(&self) -> DataStream<(I, f64)> {
        self.add(Clustering)
    }
}

/// Triangles at each vertex.
struct Counts;
/// Triangles.
struct Listing;
/// Clustering coefficients.
struct Clustering;

/// Of a vertex: ids, places in both layouts, its degree, its rank and the vertex of a rank, its count; and marks and counts of each worker.
fn bytes(workers: usize) -> usize {
    48 + 9 * workers
}

impl Oriented {
    /// By rank, the sum over a vertex's triangles of the number of edges between its two neighbours.
    async fn counts<const MARKED: bool>(&self, worker: &Worker) -> Result<Arc<Array64>> {
        let all = worker.large(self.degrees.len()).await?;
        // Of this worker alone: nobody waits for anybody's cache line.
        let mine = Array64::zeros(&worker.reservation, self.degrees.len())?;
        self.each::<MARKED>(worker, |_| true, &mut Counter { mine: &mine }).await?;
        for (sum, mine) in all.iter().zip(mine.iter()) {
            let mine = mine.load(Relaxed);
            if mine > 0 {
                sum.fetch_add(mine, Relaxed);
            }
        }
        let total = worker.sum([mine.iter().map(|count| count.load(Relaxed)).sum(), 0, 0, 0]).await[0];
        worker.end_superstep(total / 3, None);
        Ok(all)
    }
}

impl<I: VertexId> Kernel<I> for Counts {
    const KIND: &'static str = "triangle counts";
    type Output = (I, u64);

    fn bytes_per_vertex(&self, workers: usize) -> usize {
        bytes(workers)
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let oriented = Oriented::new::<false>(worker, &graph).await?;
        worker.laid_out();
        let counts = oriented.counts::<false>(worker).await?;
        graph.emit::<I, u64>(worker, |vertex| counts[oriented.order.rank(vertex) as usize].load(Relaxed)).await
    }
}

impl<I: VertexId> Kernel<I> for Clustering {
    const KIND: &'static str = "lcc";
    type Output = (I, f64);

    fn bytes_per_vertex(&self, workers: usize) -> usize {
        bytes(workers)
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        if graph.directed {
            coefficients::<I, true>(worker, &graph).await
        } else {
            coefficients::<I, false>(worker, &graph).await
        }
    }
}

async fn coefficients<I: VertexId, const MARKED: bool>(worker: &Worker, graph: &Prepared) -> Result<()> {
    let oriented = Oriented::new::<MARKED>(worker, graph).await?;
    worker.laid_out();
    let counts = oriented.counts::<MARKED>(worker).await?;
    // Without direction an edge counts both ways.
    let ways = if MARKED { 1.0 } else { 2.0 };
    let value = |vertex: u32| {
        let degree = f64::from(oriented.degrees[vertex as usize].load(Relaxed));
        let edges = counts[oriented.order.rank(vertex) as usize].load(Relaxed) as f64 * ways;
        if degree < 2.0 { 0.0 } else { edges / (degree * (degree - 1.0)) }
    };
    graph.emit::<I, f64>(worker, value).await
}

impl<I: VertexId> Kernel<I> for Listing {
    const KIND: &'static str = "triangles";
    type Output = (I, I, I);

    fn bytes_per_vertex(&self, workers: usize) -> usize {
        bytes(workers)
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let oriented = Oriented::new::<false>(worker, &graph).await?;
        worker.laid_out();
        let names = |corner: u32| I::name(&graph.dictionary, corner);
        let mut lister = Lister { order: &oriented.order, names, batch: Vec::new(), total: 0 };
        // Each process lists its part.
        let wanted = |task: usize| task % worker.context.processes == worker.context.process;
        oriented.each::<false>(worker, wanted, &mut lister).await?;
        let total = worker.sum([lister.total, 0, 0, 0]).await[0];
        worker.end_superstep(total, None);
        worker.finished();
        worker.emit(Batch::typed(lister.batch)).await;
        Ok(())
    }
}
