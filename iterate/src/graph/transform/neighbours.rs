use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::kernel::Weights;
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{Data, DataStream, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Which edges of a vertex are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Those that lead from it.
    Out,
    /// Those that lead to it.
    In,
    /// Both; a loop counts twice where edges have a direction.
    Both,
}

impl<I: VertexId> Graph<I> {
    /// Each vertex, in order.
    pub fn vertices(&self) -> DataStream<I> {
        self.degrees(Direction::Both).map(|(id, _)| id)
    }

    /// Each vertex with the number of its edges, as they were given. Without direction all edges at a vertex count, a loop once.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::{Direction, Graph};
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(1u64, 2u64), (1, 3), (3, 1)]));
    /// assert_eq!(graph.degrees(Direction::Out).collect()?, [(1, 2), (2, 0), (3, 1)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn degrees(&self, direction: Direction) -> DataStream<(I, u64)> {
        self.add(Degrees(direction))
    }

    /// Each vertex with what `fold` makes, beginning with `initial`, of its neighbours and the weights of the edges to them (1 where
    /// edges have none), one after another in no particular order.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::{Direction, Graph};
    /// let env = Env::default();
    /// let graph = Graph::directed_weighted(&env.from_collection([(1u64, 2u64, 0.5), (1, 3, 2.0), (3, 1, 4.0)]));
    /// let heaviest = graph.fold_neighbours(Direction::Out, None, |most: Option<f64>, _, weight| {
    ///     Some(most.map_or(weight, |most| most.max(weight)))
    /// });
    /// assert_eq!(heaviest.collect()?, [(1, Some(2.0)), (2, None), (3, Some(4.0))]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn fold_neighbours<A: Data>(
        &self,
        direction: Direction,
        initial: A,
        fold: impl Fn(A, &I, f64) -> A + Send + Sync + 'static,
    ) -> DataStream<(I, A)> {
        self.add(Fold { direction, initial, fold: Arc::new(fold), weighted: self.is_weighted() })
    }

    /// Each vertex that has neighbours with what `reduce` makes of the values that `map` gives for a neighbour and the weight of the edge to
    /// it (1 where edges have none).
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::{Direction, Graph};
    /// let env = Env::default();
    /// let graph = Graph::undirected(&env.from_collection([(1u64, 2u64), (1, 3)]));
    /// let largest = graph.reduce_neighbours(Direction::Both, |id, _| *id, |a, b| a.max(b));
    /// assert_eq!(largest.collect()?, [(1, 3), (2, 1), (3, 1)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn reduce_neighbours<V: Data>(
        &self,
        direction: Direction,
        map: impl Fn(&I, f64) -> V + Send + Sync + 'static,
        reduce: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> DataStream<(I, V)> {
        let fold = move |before: Option<V>, neighbour: &I, weight: f64| {
            let value = map(neighbour, weight);
            Some(match before {
                Some(before) => reduce(before, value),
                None => value,
            })
        };
        self.fold_neighbours(direction, None, fold).flat_map(|(id, value)| value.map(|value| (id, value)))
    }
}

fn lists(direction: Direction, directed: bool) -> Lists {
    match direction {
        _ if !directed => Lists::Both,
        Direction::Out => Lists::Targets,
        Direction::In => Lists::Sources,
        Direction::Both => Lists::All,
    }
}

struct Degrees(Direction);

impl<I: VertexId> Kernel<I> for Degrees {
    const KIND: &'static str = "degrees";
    type Output = (I, u64);

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let degrees = worker.large(graph.vertices()).await?;
        let lists = lists(self.0, graph.directed);
        let mut reader = worker.reader();
        while let Some(next) = worker.deal(graph.edges.chunks.len()) {
            graph.edges.for_each(next, &graph.dictionary, &mut reader, |source, target, _| {
                let from = lists != Lists::Sources;
                if from {
                    degrees[source as usize].fetch_add(1, Relaxed);
                }
                if lists != Lists::Targets && (lists != Lists::Both || source != target) {
                    degrees[target as usize].fetch_add(1, Relaxed);
                }
            })?;
            worker.breathe().await;
        }
        worker.barrier().await;
        graph.emit::<I, u64>(worker, |vertex| degrees[vertex as usize].load(Relaxed)).await
    }
}

type FoldFn<I, A> = dyn Fn(A, &I, f64) -> A + Send + Sync;

struct Fold<I, A> {
    direction: Direction,
    initial: A,
    fold: Arc<FoldFn<I, A>>,
    weighted: bool,
}

impl<I: VertexId, A: Data> Kernel<I> for Fold<I, A> {
    const KIND: &'static str = "fold neighbours";
    type Output = (I, A);

    fn weights(&self) -> Weights {
        if self.weighted { Weights::Any } else { Weights::Ignored }
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let view = View { lists: lists(self.direction, graph.directed), simple: false, weighted: self.weighted };
        let [adjacency] = graph.lay_out(worker, [view], |_, _| ()).await?;
        let part = Some(worker.index()).filter(|part| *part < adjacency.parts.len());
        let vertices = part.map_or(0..0, |part| adjacency.parts[part].vertices());
        let cursor = std::cell::RefCell::new(adjacency.cursor(&worker.reservation));
        let failed = std::cell::Cell::new(None);
        let value = |vertex: u32| {
            let mut value = Some(self.initial.clone());
            let mut take = |neighbour: u32, weight: f64| {
                if let Some(before) = value.take() {
                    value = Some((self.fold)(before, &I::name(&graph.dictionary, neighbour), weight));
                }
            };
            let mut cursor = cursor.borrow_mut();
            let read = if self.weighted {
                cursor.weighted(worker.index(), vertex, |neighbours, weights| {
                    neighbours.iter().zip(weights).for_each(|(&neighbour, &weight)| take(neighbour, weight));
                })
            } else {
                cursor.pieces(worker.index(), vertex, |neighbours| neighbours.iter().for_each(|&neighbour| take(neighbour, 1.0)))
            };
            if let Err(error) = read {
                failed.set(Some(error));
            }
            value.unwrap_or_else(|| self.initial.clone())
        };
        graph.emit_part::<I, A>(worker, vertices, value).await?;
        failed.take().map_or(Ok(()), Err)
    }
}
