use super::paths::Paths;
use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::frontier::Frontier;
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{DataStream, Result};
use std::sync::atomic::Ordering::Relaxed;

/// The distance of a vertex that cannot be reached, as LDBC Graphalytics writes it (2^63 - 1).
pub const UNREACHED: u64 = i64::MAX as u64;

impl<I: VertexId> Graph<I> {
    /// Breadth-first search: each vertex with the number of edges on the shortest way from `source`, or [`UNREACHED`]. The job fails
    /// if there is no such vertex.
    ///
    /// Direction-optimizing (Beamer, Asanović and Patterson, 2012): where the frontier has many edges, vertices that were not
    /// reached look for a neighbour in it, in place of the other way round.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::{Graph, UNREACHED};
    ///
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(1u64, 2u64), (2, 3), (4, 3)]));
    /// assert_eq!(graph.bfs(1).collect()?, [(1, 0), (2, 1), (3, 2), (4, UNREACHED)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn bfs(&self, source: I) -> DataStream<(I, u64)> {
        if self.asynchronous {
            return self.add(Paths::hops(source));
        }
        self.add(Bfs { source })
    }
}

struct Bfs<I> {
    source: I,
}

/// The frontier is pulled when it has more edges than this part of those of vertices not yet reached.
const PULL: u64 = 14;
/// It is pushed again when it has less than this part of the vertices.
const PUSH: usize = 24;

/// The level of a vertex that was not reached.
const NONE: u32 = u32::MAX;

impl<I: VertexId> Kernel<I> for Bfs<I> {
    const KIND: &'static str = "bfs";
    type Output = (I, u64);

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let source = graph.find("bfs", &self.source)?;
        let count = graph.vertices();
        let view = |lists| View { lists, simple: false, weighted: false };
        let [outgoing, incoming] = if graph.directed {
            graph.lay_out(worker, [view(Lists::Sources), view(Lists::Targets)], |_, _| ()).await.map(|[i, o]| [o, i])?
        } else {
            let [both] = graph.lay_out(worker, [view(Lists::Both)], |_, _| ()).await?;
            [both.clone(), both]
        };
        let levels = worker.small(count).await?;
        for vertex in worker.share_of(count) {
            levels[vertex].store(if vertex == source as usize { 0 } else { NONE }, Relaxed);
        }
        worker.laid_out();

        let mut frontier = Frontier::new(worker, if worker.is_first() { vec![source] } else { Vec::new() }, &outgoing).await?;
        let (mut edges, mut left) = (outgoing.degree(source), outgoing.edges);
        let (mut pushes, mut pulls) = (outgoing.cursor(&worker.reservation), incoming.cursor(&worker.reservation));
        let (mut level, mut pulling) = (0, false);
        while frontier.len() > 0 {
            pulling = if pulling { frontier.len() >= count / PUSH } else { edges > left / PULL };
            let mut found = Vec::new();
            if pulling {
                while let Some(task) = worker.deal(incoming.tasks.len()) {
                    let task = &incoming.tasks[task];
                    for vertex in task.vertices.clone().filter(|&vertex| levels[vertex as usize].load(Relaxed) == NONE) {
                        if pulls.any(task.part, vertex, |neighbour| levels[neighbour as usize].load(Relaxed) == level)? {
                            levels[vertex as usize].store(level + 1, Relaxed);
                            found.push(vertex);
                        }
                    }
                    worker.breathe().await;
                }
            } else {
                while let Some(vertices) = frontier.deal(worker) {
                    for &vertex in vertices {
                        pushes.pieces(outgoing.part_of(vertex), vertex, |neighbours| {
                            for &neighbour in neighbours {
                                let reached = &levels[neighbour as usize];
                                if reached.load(Relaxed) == NONE
                                    && reached.compare_exchange(NONE, level + 1, Relaxed, Relaxed).is_ok()
                                {
                                    found.push(neighbour);
                                }
                            }
                        })?;
                    }
                    worker.breathe().await;
                }
            }
            let degrees = found.iter().map(|&vertex| outgoing.degree(vertex)).sum();
            left = left.saturating_sub(edges);
            worker.end_superstep(frontier.len() as u64, None);
            edges = worker.sum([degrees, 0, 0, 0]).await[0];
            frontier = Frontier::new(worker, found, &outgoing).await?;
            level += 1;
        }
        let value = |vertex: u32| match levels[vertex as usize].load(Relaxed) {
            NONE => UNREACHED,
            level => level.into(),
        };
        graph.emit::<I, u64>(worker, value).await
    }
}
