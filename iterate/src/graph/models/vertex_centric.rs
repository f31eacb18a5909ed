use super::messages::{Combine, Post, Received};
use crate::graph::engine::adjacency::{Adjacency, Cursor};
use crate::graph::engine::build::{Lists, View};
use crate::graph::engine::dictionary::Dictionary;
use crate::graph::engine::kernel::Weights;
use crate::graph::engine::{Kernel, Prepared, Worker};
use crate::graph::{Graph, VertexId};
use fluvial_core::{Data, DataStream, Error, Result};
use fluvial_operators::ExternalSort;
use std::sync::Arc;

/// An algorithm as a function of a vertex and the messages that were sent to it (Pregel; Malewicz et al., 2010).
///
/// In superstep 0 the function runs for every vertex, without messages; then for each that has messages or has not
/// [voted to halt](Vertex::vote_to_halt). It ends when nobody is left, or after [`VertexCentric::supersteps`].
///
/// ```
/// use fluvial_core::Env;
/// use fluvial_iterate::graph::{Graph, VertexCentric};
///
/// let env = Env::default();
/// let graph = Graph::undirected(&env.from_collection([(1u64, 2u64), (2, 3), (7, 8)]));
/// // The smallest id of the component.
/// let smallest = VertexCentric::new(|id: &u64| *id, |vertex, messages: &[u64]| {
///     let least = messages.iter().copied().min().unwrap_or(u64::MAX);
///     if vertex.superstep() == 0 || least < *vertex.value() {
///         *vertex.value() = least.min(*vertex.value());
///         let least = *vertex.value();
///         vertex.send_to_neighbours(|_, _| Some(least));
///     }
///     vertex.vote_to_halt();
/// });
/// let components = graph.vertex_centric(smallest.combine(|a, b| a.min(b)));
/// assert_eq!(components.collect()?, [(1, 1), (2, 1), (3, 1), (7, 7), (8, 7)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct VertexCentric<I: VertexId, V, M> {
    initial: Arc<dyn Fn(&I) -> V + Send + Sync>,
    compute: Arc<Compute<I, V, M>>,
    combine: Option<Combine<M>>,
    supersteps: u64,
    weighted: bool,
}

type Compute<I, V, M> = dyn Fn(&mut Vertex<'_, '_, I, V, M>, &[M]) + Send + Sync;

impl<I: VertexId, V: Data, M: Data> VertexCentric<I, V, M> {
    /// Vertices begin with the value that `initial` gives; `compute` is what each does in a superstep.
    pub fn new(
        initial: impl Fn(&I) -> V + Send + Sync + 'static,
        compute: impl Fn(&mut Vertex<'_, '_, I, V, M>, &[M]) + Send + Sync + 'static,
    ) -> Self {
        let (initial, compute) = (Arc::new(initial), Arc::new(compute));
        Self { initial, compute, combine: None, supersteps: u64::MAX, weighted: false }
    }

    /// Makes one message of two for the same vertex: then each vertex gets one at most, and messages take a fixed place in memory. The
    /// function must not mind in which order messages are combined.
    #[must_use]
    pub fn combine(self, combine: impl Fn(M, M) -> M + Send + Sync + 'static) -> Self {
        Self { combine: Some(Arc::new(combine)), ..self }
    }

    /// Ends after so many supersteps. Default: when nobody is left.
    #[must_use]
    pub fn supersteps(self, supersteps: u64) -> Self {
        Self { supersteps, ..self }
    }
}

impl<I: VertexId> Graph<I> {
    /// Runs a vertex-centric algorithm: each vertex with its value at the end.
    ///
    /// Values are in memory, counted by the size of their type; messages without a combiner go through managed memory and spill
    /// files. In a job of several processes each runs the functions for the whole graph.
    pub fn vertex_centric<V: Data, M: Data>(&self, algorithm: VertexCentric<I, V, M>) -> DataStream<(I, V)> {
        self.add(VertexCentric { weighted: self.is_weighted(), ..algorithm })
    }
}

/// A vertex in a superstep.
pub struct Vertex<'v, 'g, I: VertexId, V, M> {
    rank: u32,
    part: usize,
    superstep: u64,
    value: &'v mut V,
    halted: &'v mut bool,
    scope: &'v mut Scope<'g, M>,
    ids: std::marker::PhantomData<I>,
}

/// What all vertices of a worker share.
struct Scope<'g, M> {
    adjacency: &'g Adjacency,
    dictionary: &'g Dictionary,
    weighted: bool,
    cursor: Cursor<'g>,
    post: Post<'g, M>,
    failed: Option<Error>,
}

impl<I: VertexId, V: Data, M: Data> Vertex<'_, '_, I, V, M> {
    /// Its id.
    pub fn id(&self) -> I {
        I::name(self.scope.dictionary, self.rank)
    }

    /// Its value, which may be changed.
    pub fn value(&mut self) -> &mut V {
        self.value
    }

    /// The superstep, counted from 0.
    pub fn superstep(&self) -> u64 {
        self.superstep
    }

    /// Number of vertices of the graph.
    pub fn vertices(&self) -> u64 {
        self.scope.dictionary.vertices.into()
    }

    /// Number of edges that lead from it.
    pub fn degree(&self) -> u64 {
        self.scope.adjacency.degree(self.rank)
    }

    /// Calls `message` with each vertex that an edge leads to, and the edge's weight (1 where edges have none), and sends there what it returns.
    pub fn send_to_neighbours(&mut self, mut message: impl FnMut(&I, f64) -> Option<M>) {
        let Scope { cursor, post, dictionary, failed, weighted, .. } = &mut *self.scope;
        let mut send = |neighbour: u32, weight: f64| {
            if failed.is_none()
                && let Some(message) = message(&I::name(dictionary, neighbour), weight)
                && let Err(error) = post.send(neighbour, message)
            {
                *failed = Some(error);
            }
        };
        let read = if *weighted {
            cursor.weighted(self.part, self.rank, |neighbours, weights| {
                neighbours.iter().zip(weights).for_each(|(&neighbour, &weight)| send(neighbour, weight));
            })
        } else {
            cursor.pieces(self.part, self.rank, |neighbours| neighbours.iter().for_each(|&neighbour| send(neighbour, 1.0)))
        };
        if let Err(error) = read {
            self.scope.failed.get_or_insert(error);
        }
    }

    /// Sends a message to any vertex. The job fails if there is no such vertex.
    pub fn send(&mut self, to: &I, message: M) {
        let sent = match to.find(self.scope.dictionary) {
            Some(to) => self.scope.post.send(to, message),
            None => Err(Error::User(format!("a message from {} to {to}: there is no such vertex in the graph", self.id()))),
        };
        if let Err(error) = sent {
            self.scope.failed.get_or_insert(error);
        }
    }

    /// It need not be called again until a message comes.
    pub fn vote_to_halt(&mut self) {
        *self.halted = true;
    }
}

impl<I: VertexId, V: Data, M: Data> Kernel<I> for VertexCentric<I, V, M> {
    const KIND: &'static str = "vertex-centric";
    /// Two sorts of messages.
    const SPARE: [usize; 2] = [ExternalSort::MINIMUM_SEGMENTS; 2];
    type Output = (I, V);

    fn weights(&self) -> Weights {
        if self.weighted { Weights::Any } else { Weights::Ignored }
    }

    fn bytes_per_vertex(&self, workers: usize) -> usize {
        let messages = if self.combine.is_some() { 2 * workers * size_of::<Option<M>>() } else { 0 };
        32 + size_of::<V>() + messages
    }

    async fn run(&self, worker: &Worker, graph: Prepared) -> Result<()> {
        let lists = if graph.directed { Lists::Targets } else { Lists::Both };
        let [adjacency] = graph.lay_out(worker, [View { lists, simple: false, weighted: self.weighted }], |_, _| ()).await?;
        let post = Post::open(worker, &adjacency, self.combine.clone()).await?;
        let vertices = post.own().map_or(0..0, |part| adjacency.parts[part].vertices());
        let _charge = worker.charge(vertices.len() * (size_of::<V>() + 1))?;
        let dictionary = &graph.dictionary;
        let mut values: Vec<V> = vertices.clone().map(|vertex| (self.initial)(&I::name(dictionary, vertex))).collect();
        let mut halted = vec![false; values.len()];
        let cursor = adjacency.cursor(&worker.reservation);
        let mut scope = Scope { adjacency: &adjacency, dictionary, weighted: self.weighted, cursor, post, failed: None };
        let mut received = Received::Nothing;
        let mut messages = Vec::new();
        worker.laid_out();
        for superstep in 0..self.supersteps {
            let mut active = 0u64;
            for (place, rank) in vertices.clone().enumerate() {
                scope.post.take(&mut received, rank, &mut messages)?;
                let halted = &mut halted[place];
                if *halted && messages.is_empty() {
                    continue;
                }
                *halted = false;
                active += 1;
                let (part, value) = (worker.index(), &mut values[place]);
                let ids = std::marker::PhantomData;
                let mut vertex = Vertex { rank, part, superstep, value, halted, scope: &mut scope, ids };
                (self.compute)(&mut vertex, &messages);
                if active.is_multiple_of(1 << 12) {
                    worker.breathe().await;
                }
            }
            scope.failed.take().map_or(Ok(()), Err)?;
            scope.post.flush()?;
            let awake = halted.iter().filter(|halted| !**halted).count() as u64;
            let [active, left, ..] = worker.sum([active, awake + scope.post.sent, 0, 0]).await;
            worker.end_superstep(active, None);
            if left == 0 {
                break;
            }
            scope.post.receive(&mut received)?;
            worker.barrier().await;
        }
        graph.emit_part::<I, V>(worker, vertices.clone(), |vertex| values[(vertex - vertices.start) as usize].clone()).await
    }
}
