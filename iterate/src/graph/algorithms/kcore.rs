use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::frontier::Frontier;
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{DataStream, Result};
use std::sync::atomic::Ordering::Relaxed;

impl<I: VertexId> Graph<I> {
    /// The core number of each vertex in the simple undirected graph below: the largest k such that it belongs to a subgraph where
    /// everybody has k neighbours (Seidman, 1983). Vertices of the smallest degree are peeled off, all at once, until none is left.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    ///
    /// let env = Env::default();
    /// let graph = Graph::undirected(&env.from_collection([(1u64, 2u64), (2, 3), (3, 1), (3, 4)]));
    /// assert_eq!(graph.core_numbers().collect()?, [(1, 2), (2, 2), (3, 2), (4, 1)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn core_numbers(&self) -> DataStream<(I, u64)> {
        self.add(Cores)
    }
}

struct Cores;

impl<I: VertexId> Kernel<I> for Cores {
    const KIND: &'static str = "kcore";
    type Output = (I, u64);

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let count = graph.vertices();
        let [adjacency] = graph.lay_out(worker, [View { lists: Lists::Both, simple: true, weighted: false }], |_, _| ()).await?;
        // Neighbours that are left; of vertices that are gone, their core number.
        let degrees = worker.small(count).await?;
        // Vertices of this worker's share that are left.
        let mut left: Vec<u32> = worker.share_of(count).map(|vertex| vertex as u32).collect();
        for &vertex in &left {
            degrees[vertex as usize].store(adjacency.degree(vertex) as u32, Relaxed);
        }
        let gone = worker.bits(count).await?;
        let mut cursor = adjacency.cursor(&worker.reservation);
        worker.laid_out();
        loop {
            left.retain(|&vertex| !gone.contains(vertex));
            let least = left.iter().map(|&vertex| u64::from(degrees[vertex as usize].load(Relaxed))).min().unwrap_or(u64::MAX);
            let least = worker.tell([least, 0, 0, 0], |all| all.map(|[least, ..]| least).min().unwrap_or(u64::MAX)).await;
            let Ok(core) = u32::try_from(least) else { break };
            let peeled = left.iter().copied().filter(|&vertex| degrees[vertex as usize].load(Relaxed) == core);
            let peeled: Vec<u32> = peeled.inspect(|&vertex| _ = gone.insert(vertex)).collect();
            let mut frontier = Frontier::new(worker, peeled, &adjacency).await?;
            while frontier.len() > 0 {
                let mut found = Vec::new();
                while let Some(vertices) = frontier.deal(worker) {
                    for &vertex in vertices {
                        cursor.pieces(adjacency.part_of(vertex), vertex, |neighbours| {
                            for &neighbour in neighbours {
                                let degree = &degrees[neighbour as usize];
                                // Nobody falls below the core that is being peeled: who reaches it is peeled with it.
                                if !gone.contains(neighbour)
                                    && degree.fetch_update(Relaxed, Relaxed, |d| (d > core).then(|| d - 1)) == Ok(core + 1)
                                    && gone.insert(neighbour)
                                {
                                    found.push(neighbour);
                                }
                            }
                        })?;
                    }
                    worker.breathe().await;
                }
                worker.end_superstep(frontier.len() as u64, None);
                frontier = Frontier::new(worker, found, &adjacency).await?;
            }
        }
        graph.emit::<I, u64>(worker, |vertex| degrees[vertex as usize].load(Relaxed).into()).await
    }
}
