use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{DataStream, Result};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

impl<I: VertexId> Graph<I> {
    /// Weakly connected components: each vertex with the smallest vertex of its component, edges leading both ways.
    ///
    /// A union-find over all edges, by all workers at once (Jayanti and Tarjan, 2016): roots are hooked onto smaller roots by compare and
    /// swap, paths are halved on the way. One pass over the edges as they came; no adjacency is needed.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    ///
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(5u64, 4u64), (4, 6), (1, 2)]));
    /// assert_eq!(graph.wcc().collect()?, [(1, 1), (2, 1), (4, 4), (5, 4), (6, 4)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn wcc(&self) -> DataStream<(I, I)> {
        self.add(Wcc)
    }
}

struct Wcc;

/// The root of a vertex; halves the path to it.
#[inline]
pub(super) fn root(parents: &[AtomicU32], mut vertex: u32) -> u32 {
    loop {
        let parent = parents[vertex as usize].load(Relaxed);
        if parent == vertex {
            return vertex;
        }
        let above = parents[parent as usize].load(Relaxed);
        if above == parent {
            return parent;
        }
        // Whoever else changes it puts it nearer to the root too.
        let _ = parents[vertex as usize].compare_exchange(parent, above, Relaxed, Relaxed);
        vertex = above;
    }
}

/// Joins the components of two vertices; false if they were one.
#[inline]
pub(super) fn unite(parents: &[AtomicU32], a: u32, b: u32) -> bool {
    let (mut a, mut b) = (a, b);
    loop {
        (a, b) = (root(parents, a), root(parents, b));
        if a == b {
            return false;
        }
        let (low, high) = (a.min(b), a.max(b));
        if parents[high as usize].compare_exchange(high, low, Relaxed, Relaxed).is_ok() {
            return true;
        }
    }
}

impl<I: VertexId> Kernel<I> for Wcc {
    const KIND: &'static str = "wcc";
    type Output = (I, I);

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let count = graph.vertices();
        let parents = worker.small(count).await?;
        for vertex in worker.share_of(count) {
            parents[vertex].store(vertex as u32, Relaxed);
        }
        worker.laid_out();
        let mut reader = worker.reader();
        let mut joined = 0;
        worker.barrier().await;
        while let Some(next) = worker.deal(graph.edges.chunks.len()) {
            graph.edges.for_each(next, &graph.dictionary, &mut reader, |source, target, _| {
                joined += u64::from(unite(&parents, source, target));
            })?;
            worker.breathe().await;
        }
        let joined = worker.sum([joined, 0, 0, 0]).await[0];
        worker.end_superstep(joined, None);
        graph.emit::<I, I>(worker, |vertex| I::name(&graph.dictionary, root(&parents, vertex))).await
    }
}
