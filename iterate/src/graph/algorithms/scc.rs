use crate::graph::engine::adjacency::{Adjacency, Cursor};
use crate::graph::engine::array::Array32;
use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::frontier::Frontier;
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{DataStream, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

impl<I: VertexId> Graph<I> {
    /// Strongly connected components: each vertex with the smallest vertex of its component. Without direction the same as
    /// [`Graph::wcc`].
    ///
    /// The multistep method (Slota, Rajamanickam and Madduri, 2014): vertices without edges in or out are trimmed, again and again; then the
    /// component of a vertex of large degree is what it reaches and is reached from (forward-backward); then the rest is coloured: the smallest
    /// vertex that reaches each is found, and those that reach it back have its colour as their component.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    ///
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(1u64, 2u64), (2, 3), (3, 1), (3, 4)]));
    /// assert_eq!(graph.scc().collect()?, [(1, 1), (2, 1), (3, 1), (4, 4)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn scc(&self) -> DataStream<(I, I)> {
        self.add(Scc)
    }
}

struct Scc;

/// The component of a vertex that has none yet.
const NONE: u32 = u32::MAX;

impl<I: VertexId> Kernel<I> for Scc {
    const KIND: &'static str = "scc";
    type Output = (I, I);

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let view = |lists| View { lists, simple: false, weighted: false };
        let [outgoing, incoming] = if graph.directed {
            graph.lay_out(worker, [view(Lists::Targets), view(Lists::Sources)], |_, _| ()).await?
        } else {
            let [both] = graph.lay_out(worker, [view(Lists::Both)], |_, _| ()).await?;
            [both.clone(), both]
        };
        let count = graph.vertices();
        let mut search = Search {
            worker,
            components: worker.small(count).await?,
            sources: worker.small(count).await?,
            targets: worker.small(count).await?,
            colours: worker.small(count).await?,
            forward: outgoing.cursor(&worker.reservation),
            backward: incoming.cursor(&worker.reservation),
            outgoing: &outgoing,
            incoming: &incoming,
        };
        let mut left: Vec<u32> = worker.share_of(count).map(|vertex| vertex as u32).collect();
        for &vertex in &left {
            search.components[vertex as usize].store(NONE, Relaxed);
            search.sources[vertex as usize].store(incoming.degree(vertex) as u32, Relaxed);
            search.targets[vertex as usize].store(outgoing.degree(vertex) as u32, Relaxed);
        }
        worker.laid_out();
        worker.barrier().await;
        let loose = left.iter().copied().filter(|&vertex| search.is_loose(vertex) && search.claim(vertex, vertex));
        let loose = loose.collect();
        search.trim(loose).await?;
        let removed = search.largest(&left).await?;
        search.trim(removed).await?;
        loop {
            left.retain(|&vertex| search.components[vertex as usize].load(Relaxed) == NONE);
            if worker.sum([left.len() as u64, 0, 0, 0]).await[0] == 0 {
                break;
            }
            let removed = search.colour(&left).await?;
            search.trim(removed).await?;
        }
        let components = search.components.clone();
        graph.emit::<I, I>(worker, |vertex| I::name(&graph.dictionary, components[vertex as usize].load(Relaxed))).await
    }
}

/// One worker's part of the search.
struct Search<'a> {
    worker: &'a Worker,
    components: Arc<Array32>,
    /// Edges from and to vertices that have no component yet.
    sources: Arc<Array32>,
    targets: Arc<Array32>,
    /// The smallest vertex that is known to reach a vertex; before that, what a vertex reaches and is reached from.
    colours: Arc<Array32>,
    forward: Cursor<'a>,
    backward: Cursor<'a>,
    outgoing: &'a Adjacency,
    incoming: &'a Adjacency,
}

impl Search<'_> {
    fn is_open(&self, vertex: u32) -> bool {
        self.components[vertex as usize].load(Relaxed) == NONE
    }

    /// Whether no cycle can lead through it.
    fn is_loose(&self, vertex: u32) -> bool {
        self.sources[vertex as usize].load(Relaxed) == 0 || self.targets[vertex as usize].load(Relaxed) == 0
    }

    /// Gives a vertex its component; false if it has one.
    fn claim(&self, vertex: u32, component: u32) -> bool {
        claim(&self.components, vertex, component)
    }

    /// Takes vertices that have their component out of the graph, and those that are loose then, and so on.
    async fn trim(&mut self, removed: Vec<u32>) -> Result<()> {
        let mut frontier = Frontier::new(self.worker, removed, self.outgoing).await?;
        while frontier.len() > 0 {
            let mut found = Vec::new();
            while let Some(vertices) = frontier.deal(self.worker) {
                for &vertex in vertices {
                    let components = &self.components;
                    let mut take = |neighbour: u32, edges: &[AtomicU32]| {
                        if edges[neighbour as usize].fetch_sub(1, Relaxed) == 1 && claim(components, neighbour, neighbour) {
                            found.push(neighbour);
                        }
                    };
                    let (sources, targets) = (&self.sources, &self.targets);
                    self.forward.pieces(self.outgoing.part_of(vertex), vertex, |list| {
                        list.iter().for_each(|&neighbour| take(neighbour, sources));
                    })?;
                    self.backward.pieces(self.incoming.part_of(vertex), vertex, |list| {
                        list.iter().for_each(|&neighbour| take(neighbour, targets));
                    })?;
                }
                self.worker.breathe().await;
            }
            self.worker.end_superstep(frontier.len() as u64, None);
            frontier = Frontier::new(self.worker, found, self.outgoing).await?;
        }
        Ok(())
    }

    /// The component of the vertex with the most edges in and out; gives those members that this worker found.
    async fn largest(&mut self, left: &[u32]) -> Result<Vec<u32>> {
        let weight = |vertex: u32| {
            let edges = |edges: &Array32| u64::from(edges[vertex as usize].load(Relaxed));
            edges(&self.sources) * edges(&self.targets)
        };
        let best = left.iter().filter(|&&vertex| self.is_open(vertex)).map(|&vertex| (weight(vertex), vertex)).max();
        let (weight, vertex) = best.map_or((0, u64::from(NONE)), |(weight, vertex)| (weight, vertex.into()));
        let pivot = self
            .worker
            .tell([weight, vertex, 0, 0], |all| all.filter(|best| best[1] != u64::from(NONE)).max().map(|best| best[1] as u32));
        let Some(pivot) = pivot.await else { return Ok(Vec::new()) };
        self.reach(pivot, true).await?;
        let members = self.reach(pivot, false).await?;
        // The vertices that are reached backward have been reached forward.
        let least = members.iter().copied().min().map_or(u64::MAX, u64::from);
        let least = self.worker.tell([least, 0, 0, 0], |all| all.map(|[least, ..]| least).min().unwrap_or(u64::MAX)).await;
        for &member in &members {
            self.components[member as usize].store(least as u32, Relaxed);
        }
        Ok(members)
    }

    /// Marks what a vertex reaches (1), or, among that, what reaches it (2); gives what this worker found.
    async fn reach(&mut self, pivot: u32, forward: bool) -> Result<Vec<u32>> {
        let (from, to) = if forward { (0, 1) } else { (1, 2) };
        let mut all = Vec::new();
        let mut found = Vec::new();
        if self.worker.is_first() {
            self.colours[pivot as usize].store(to, Relaxed);
            found.push(pivot);
        }
        loop {
            all.extend_from_slice(&found);
            let frontier = Frontier::new(self.worker, std::mem::take(&mut found), self.outgoing).await?;
            if frontier.len() == 0 {
                return Ok(all);
            }
            let (cursor, adjacency) =
                if forward { (&mut self.forward, self.outgoing) } else { (&mut self.backward, self.incoming) };
            while let Some(vertices) = frontier.deal(self.worker) {
                for &vertex in vertices {
                    cursor.pieces(adjacency.part_of(vertex), vertex, |list| {
                        for &neighbour in list {
                            let mark = &self.colours[neighbour as usize];
                            if mark.load(Relaxed) == from
                                && self.components[neighbour as usize].load(Relaxed) == NONE
                                && mark.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
                            {
                                found.push(neighbour);
                            }
                        }
                    })?;
                }
                self.worker.breathe().await;
            }
            self.worker.end_superstep(frontier.len() as u64, None);
        }
    }

    /// Finds the components of all vertices that no smaller one reaches; gives those members that this worker found.
    async fn colour(&mut self, left: &[u32]) -> Result<Vec<u32>> {
        for &vertex in left {
            self.colours[vertex as usize].store(vertex, Relaxed);
        }
        let mut frontier = Frontier::new(self.worker, left.to_vec(), self.outgoing).await?;
        while frontier.len() > 0 {
            let mut found = Vec::new();
            while let Some(vertices) = frontier.deal(self.worker) {
                for &vertex in vertices {
                    let colour = self.colours[vertex as usize].load(Relaxed);
                    self.forward.pieces(self.outgoing.part_of(vertex), vertex, |list| {
                        for &neighbour in list {
                            let other = &self.colours[neighbour as usize];
                            if self.components[neighbour as usize].load(Relaxed) == NONE
                                && other.load(Relaxed) > colour
                                && other.fetch_min(colour, Relaxed) > colour
                            {
                                found.push(neighbour);
                            }
                        }
                    })?;
                }
                self.worker.breathe().await;
            }
            self.worker.end_superstep(frontier.len() as u64, None);
            frontier = Frontier::new(self.worker, found, self.outgoing).await?;
        }
        let roots = left.iter().copied().filter(|&vertex| self.colours[vertex as usize].load(Relaxed) == vertex);
        let mut found: Vec<u32> = roots.filter(|&vertex| self.claim(vertex, vertex)).collect();
        let mut all = Vec::new();
        loop {
            all.extend_from_slice(&found);
            let frontier = Frontier::new(self.worker, std::mem::take(&mut found), self.incoming).await?;
            if frontier.len() == 0 {
                return Ok(all);
            }
            while let Some(vertices) = frontier.deal(self.worker) {
                for &vertex in vertices {
                    let colour = self.colours[vertex as usize].load(Relaxed);
                    self.backward.pieces(self.incoming.part_of(vertex), vertex, |list| {
                        for &neighbour in list {
                            if self.colours[neighbour as usize].load(Relaxed) == colour
                                && claim(&self.components, neighbour, colour)
                            {
                                found.push(neighbour);
                            }
                        }
                    })?;
                }
                self.worker.breathe().await;
            }
            self.worker.end_superstep(frontier.len() as u64, None);
        }
    }
}

fn claim(components: &[AtomicU32], vertex: u32, component: u32) -> bool {
    let own = &components[vertex as usize];
    own.load(Relaxed) == NONE && own.compare_exchange(NONE, component, Relaxed, Relaxed).is_ok()
}
