use super::bfs::UNREACHED;
use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::frontier::Frontier;
use crate::graph::engine::kernel::Weights;
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{Data, DataStream, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

impl<I: VertexId> Graph<I> {
    /// Single-source shortest paths: each vertex with its distance from `source`, or infinity. The job fails if there is no such
    /// vertex, edges have no weights, or one is negative or not a number.
    ///
    /// Delta-stepping (Meyer and Sanders, 2003): vertices wait in buckets by their distance, and a superstep relaxes the edges of one
    /// bucket. [`Graph::asynchronous`] has each worker go on with what it finds in the bucket, without waiting for the others.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    ///
    /// let env = Env::default();
    /// let graph = Graph::directed_weighted(&env.from_collection([(1u64, 2u64, 5.0), (1, 3, 1.0), (3, 2, 1.5)]));
    /// assert_eq!(graph.sssp(1).collect()?, [(1, 0.0), (2, 2.5), (3, 1.0)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn sssp(&self, source: I) -> DataStream<(I, f64)> {
        let value = |distance: f64| distance;
        self.add(Paths { kind: "sssp", source, weighted: true, fused: self.asynchronous, value })
    }
}

/// Shortest paths by weights, or by numbers of edges.
pub(super) struct Paths<I, V> {
    kind: &'static str,
    source: I,
    weighted: bool,
    /// Whether a worker goes on within its bucket without waiting for the others.
    fused: bool,
    value: fn(f64) -> V,
}

impl<I: VertexId> Paths<I, u64> {
    /// Breadth-first search without barriers between its levels.
    pub(super) fn hops(source: I) -> Self {
        let value = |distance: f64| if distance.is_finite() { distance as u64 } else { UNREACHED };
        Self { kind: "bfs", source, weighted: false, fused: true, value }
    }
}

/// Vertices that a worker takes at once of what it has found itself.
const TURN: usize = 1 << 12;

impl<I: VertexId, V: Data> Kernel<I> for Paths<I, V> {
    const KIND: &'static str = "sssp";
    type Output = (I, V);

    fn weights(&self) -> Weights {
        if self.weighted { Weights::Lengths } else { Weights::Ignored }
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let source = graph.find(self.kind, &self.source)?;
        let count = graph.vertices();
        let lists = if graph.directed { Lists::Targets } else { Lists::Both };
        let [adjacency] = graph.lay_out(worker, [View { lists, simple: false, weighted: self.weighted }], |_, _| ()).await?;
        // By their bits: numbers that are not negative have the order of their bits.
        let distances = worker.large(count).await?;
        for vertex in worker.share_of(count) {
            distances.set_number(vertex, if vertex == source as usize { 0.0 } else { f64::INFINITY });
        }
        let mut cursor = adjacency.cursor(&worker.reservation);
        let delta = self.bucket_width(worker, &adjacency).await?;
        worker.laid_out();

        let mut frontier = Frontier::new(worker, if worker.is_first() { vec![source] } else { Vec::new() }, &adjacency).await?;
        let mut buckets: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut bucket = 0;
        while frontier.len() > 0 {
            let mut relax = |vertex: u32, buckets: &mut BTreeMap<u64, Vec<u32>>| -> Result<()> {
                let distance = distances.number(vertex as usize);
                // It was in an earlier bucket since: done there.
                if bucket_of(distance, delta) < bucket {
                    return Ok(());
                }
                let mut reach = |neighbour: u32, weight: f64| {
                    let further = distance + weight;
                    if lower(&distances[neighbour as usize], further) {
                        buckets.entry(bucket_of(further, delta)).or_default().push(neighbour);
                    }
                };
                if self.weighted {
                    cursor.weighted(adjacency.part_of(vertex), vertex, |neighbours, weights| {
                        neighbours.iter().zip(weights).for_each(|(&neighbour, &weight)| reach(neighbour, weight));
                    })
                } else {
                    cursor.pieces(adjacency.part_of(vertex), vertex, |neighbours| {
                        neighbours.iter().for_each(|&neighbour| reach(neighbour, 1.0));
                    })
                }
            };
            while let Some(vertices) = frontier.deal(worker) {
                for &vertex in vertices {
                    relax(vertex, &mut buckets)?;
                }
                worker.breathe().await;
            }
            while self.fused
                && let Some(mut own) = buckets.remove(&bucket)
            {
                let rest = own.split_off(own.len().min(TURN));
                if !rest.is_empty() {
                    buckets.insert(bucket, rest);
                }
                adjacency.arrange(&mut own);
                for vertex in own {
                    relax(vertex, &mut buckets)?;
                }
                worker.breathe().await;
            }
            worker.end_superstep(frontier.len() as u64, None);
            let next = buckets.first_key_value().map_or(u64::MAX, |(bucket, _)| *bucket);
            bucket = worker.tell([next, 0, 0, 0], |all| all.map(|[next, ..]| next).min().unwrap_or(u64::MAX)).await;
            frontier = Frontier::new(worker, buckets.remove(&bucket).unwrap_or_default(), &adjacency).await?;
        }
        graph.emit::<I, V>(worker, |vertex| (self.value)(distances.number(vertex as usize))).await
    }
}

impl<I, V> Paths<I, V> {
    /// The mean weight of an edge: then a bucket has about as many light edges as heavy ones.
    async fn bucket_width(&self, worker: &Worker, adjacency: &crate::graph::engine::adjacency::Adjacency) -> Result<f64> {
        if !self.weighted {
            return Ok(1.0);
        }
        let (mut sum, mut edges) = (0.0, 0.0);
        let mut cursor = adjacency.cursor(&worker.reservation);
        worker.barrier().await;
        while let Some(task) = worker.deal(adjacency.tasks.len()) {
            let task = &adjacency.tasks[task];
            for vertex in task.vertices.clone() {
                cursor.weighted(task.part, vertex, |_, weights| {
                    sum += weights.iter().filter(|weight| weight.is_finite()).sum::<f64>();
                    edges += weights.len() as f64;
                })?;
            }
            worker.breathe().await;
        }
        let [sum, edges, ..] = worker.sum_numbers([sum, edges, 0.0, 0.0]).await;
        let mean = sum / edges;
        Ok(if mean.is_finite() && mean > 0.0 { mean } else { 1.0 })
    }
}

/// The bucket of a distance. Very far ones share the last.
fn bucket_of(distance: f64, delta: f64) -> u64 {
    (distance / delta).min(2f64.powi(62)) as u64
}

/// Lowers a distance; false if it is no longer than that already.
#[inline]
fn lower(distance: &AtomicU64, to: f64) -> bool {
    // Without the sign of a zero.
    let to = (to + 0.0).to_bits();
    distance.load(Relaxed) > to && distance.fetch_min(to, Relaxed) > to
}
