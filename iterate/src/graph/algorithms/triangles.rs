use crate::graph::engine::adjacency::Adjacency;
use crate::graph::engine::array::Array64;
use crate::graph::engine::build::{Lists, MUTUAL, View};
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{Batch, DataStream, Error, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl<I: VertexId> Graph<I> {
    /// Each vertex with the number of triangles that it is a corner of, in the simple undirected graph below.
    ///
    /// Lists lead from vertices of smaller degree to those of larger degree, so that they are short (Latapy, 2008); the list of a vertex is marked in an
    /// array, and the lists of its neighbours are looked up there.
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

/// Of a vertex: ids, places in both layouts, its degree, its count; and marks and counts of each worker.
fn bytes(workers: usize) -> usize {
    40 + 9 * workers
}

/// Lists that lead each edge from the vertex of smaller degree to the other, the smaller vertex where they are equal; and all degrees.
struct Oriented {
    lists: Arc<Adjacency>,
    degrees: Arc<crate::graph::engine::array::Array32>,
}

impl Oriented {
    async fn new(worker: &Worker, graph: &Prepared, marked: bool) -> Result<Self> {
        if marked && graph.dictionary.vertices >= MUTUAL {
            let vertices = graph.dictionary.vertices;
            return Err(Error::Plan(format!(
                "clustering of a directed graph: it has {vertices} vertices, at most {} can be",
                MUTUAL - 1
            )));
        }
        let lists = if marked { Lists::Marked } else { Lists::Both };
        let [all] = graph.lay_out(worker, [View { lists, simple: true, weighted: false }], |_, _| ()).await?;
        let degrees = worker.small(graph.vertices()).await?;
        for part in &all.parts {
            for vertex in part.vertices().skip(worker.index()).step_by(worker.members()) {
                degrees[vertex as usize].store(all.degree(vertex) as u32, Relaxed);
            }
        }
        worker.barrier().await;
        let order = |vertex: u32| (degrees[vertex as usize].load(Relaxed), vertex);
        let mask = if marked { !MUTUAL } else { u32::MAX };
        let lists = all.filter(worker, |vertex, item| order(vertex) < order(item & mask)).await?;
        Ok(Self { lists, degrees })
    }

    /// Calls `found` with each triangle of this worker, from those pieces of work that are `wanted`: three corners as the lists lead, and whether
    /// edges lead both ways (2, else 1) between the first two, the first and the last, and the last two. Calls `end` after those of a first corner.
    async fn each(
        &self,
        worker: &Worker,
        marked: bool,
        wanted: impl Fn(usize) -> bool,
        mut found: impl FnMut([u32; 3], [u64; 3]),
        mut end: impl AsyncFnMut() -> (),
    ) -> Result<()> {
        let _charge = worker.charge(self.degrees.len())?;
        // For each vertex: whether it is in the list of the first corner, and how.
        let mut marks = vec![0u8; self.degrees.len()];
        let split = |item: u32| if marked { (item & !MUTUAL, 1 + u64::from(item & MUTUAL != 0)) } else { (item, 1) };
        let (mut own, mut second) = (self.lists.cursor(&worker.reservation), self.lists.cursor(&worker.reservation));
        worker.barrier().await;
        let mut list: Vec<u32> = Vec::new();
        while let Some(task) = worker.deal(self.lists.tasks.len()) {
            if !wanted(task) {
                continue;
            }
            let task = &self.lists.tasks[task];
            for a in task.vertices.clone() {
                list.clear();
                own.pieces(task.part, a, |piece| list.extend_from_slice(piece))?;
                if list.len() < 2 {
                    continue;
                }
                for &item in &list {
                    let (b, ways) = split(item);
                    marks[b as usize] = ways as u8;
                }
                let mut looked = 0;
                for &item in &list {
                    let (b, ab) = split(item);
                    second.pieces(self.lists.part_of(b), b, |piece| {
                        looked += piece.len();
                        for &item in piece {
                            let (c, bc) = split(item);
                            let ac = marks[c as usize];
                            if ac > 0 {
                                found([a, b, c], [ab, ac.into(), bc]);
                            }
                        }
                    })?;
                    if looked > 1 << 16 {
                        looked = 0;
                        worker.breathe().await;
                    }
                }
                for &item in &list {
                    marks[split(item).0 as usize] = 0;
                }
                end().await;
            }
            worker.breathe().await;
        }
        Ok(())
    }

    /// For each vertex the sum over its triangles of the number of edges between its two neighbours.
    async fn counts(&self, worker: &Worker, marked: bool) -> Result<Arc<Array64>> {
        let all = worker.large(self.degrees.len()).await?;
        // Of this worker alone: nobody waits for anybody's cache line.
        let mine = Array64::zeros(&worker.reservation, self.degrees.len())?;
        let add = |vertex: u32, ways: u64| {
            let count = &mine[vertex as usize];
            count.store(count.load(Relaxed) + ways, Relaxed);
        };
        let found = |[a, b, c]: [u32; 3], [ab, ac, bc]: [u64; 3]| {
            add(a, bc);
            add(b, ac);
            add(c, ab);
        };
        self.each(worker, marked, |_| true, found, async || ()).await?;
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
        let oriented = Oriented::new(worker, &graph, false).await?;
        worker.laid_out();
        let counts = oriented.counts(worker, false).await?;
        graph.emit::<I, u64>(worker, |vertex| counts[vertex as usize].load(Relaxed)).await
    }
}

impl<I: VertexId> Kernel<I> for Clustering {
    const KIND: &'static str = "lcc";
    type Output = (I, f64);

    fn bytes_per_vertex(&self, workers: usize) -> usize {
        bytes(workers)
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let oriented = Oriented::new(worker, &graph, graph.directed).await?;
        worker.laid_out();
        let counts = oriented.counts(worker, graph.directed).await?;
        // Without direction an edge counts both ways.
        let ways = if graph.directed { 1.0 } else { 2.0 };
        let value = |vertex: u32| {
            let degree = f64::from(oriented.degrees[vertex as usize].load(Relaxed));
            let edges = counts[vertex as usize].load(Relaxed) as f64 * ways;
            if degree < 2.0 { 0.0 } else { edges / (degree * (degree - 1.0)) }
        };
        graph.emit::<I, f64>(worker, value).await
    }
}

impl<I: VertexId> Kernel<I> for Listing {
    const KIND: &'static str = "triangles";
    type Output = (I, I, I);

    fn bytes_per_vertex(&self, workers: usize) -> usize {
        bytes(workers)
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        const BATCH: usize = 4096;
        let oriented = Oriented::new(worker, &graph, false).await?;
        worker.laid_out();
        let (batch, total) = (std::cell::RefCell::new(Vec::new()), std::cell::Cell::new(0));
        let found = |mut corners: [u32; 3], _: [u64; 3]| {
            corners.sort_unstable();
            let [a, b, c] = corners.map(|corner| I::name(&graph.dictionary, corner));
            batch.borrow_mut().push((a, b, c));
            total.set(total.get() + 1);
        };
        let end = async || {
            if batch.borrow().len() >= BATCH {
                let full = batch.take();
                worker.emit(Batch::typed(full)).await;
            }
        };
        // Each process lists its part.
        let wanted = |task: usize| task % worker.context.processes == worker.context.process;
        oriented.each(worker, false, wanted, found, end).await?;
        let rest: Vec<(I, I, I)> = batch.take();
        let total = worker.sum([total.get(), 0, 0, 0]).await[0];
        worker.end_superstep(total, None);
        worker.finished();
        worker.emit(Batch::typed(rest)).await;
        Ok(())
    }
}
