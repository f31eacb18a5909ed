use crate::graph::columns::weights;
use crate::graph::id::sealed::Ids;
use crate::graph::{Edges, Graph, VertexId, Vertices};
use fluvial_core::{Batch, Data, DataStream, Operation, Operator, Output, Progress, Records, Result, Table, TaskContext};
use std::marker::PhantomData;

impl<I: VertexId> Graph<I> {
    /// The edges as they were given: source, target, and weight (1 where they have none).
    pub fn edges(&self) -> DataStream<(I, I, f64)> {
        match &self.edges {
            Edges::Plain(edges) => edges.map(|(source, target)| (source, target, 1.0)),
            Edges::Weighted(edges) => edges.clone(),
            Edges::Table { table, weighted } => {
                let weighted = *weighted;
                let make = move |_: &TaskContext| -> Result<Box<dyn Operator>> {
                    Ok(Box::new(TypedEdges::<I> { weighted, ids: PhantomData }))
                };
                Operation::new("edges").table(table).add(&self.env, make)
            }
        }
    }

    /// The graph with every edge turned round.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::{Graph, UNREACHED};
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(1u64, 2u64), (2, 3)]));
    /// assert_eq!(graph.reverse().bfs(2).collect()?, [(1, 1), (2, 0), (3, UNREACHED)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    pub fn reverse(&self) -> Self {
        self.with_edges(|(source, target, weight)| Some((target, source, weight)))
    }

    /// The graph whose edges lead both ways.
    #[must_use]
    pub fn to_undirected(&self) -> Self {
        Self { directed: false, ..self.clone() }
    }

    /// The graph with those edges of which `keep` is true, given source, target and weight (1 where edges have none). Vertices that lose
    /// all their edges are not in it, unless they were given as vertices.
    #[must_use]
    pub fn filter_edges(&self, keep: impl Fn(&I, &I, f64) -> bool + Clone + Send + Sync + 'static) -> Self {
        self.with_edges(move |(source, target, weight)| keep(&source, &target, weight).then_some((source, target, weight)))
    }

    /// The graph with those vertices of which `keep` is true, and the edges between them.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    /// let env = Env::default();
    /// let graph = Graph::undirected(&env.from_collection([(1u64, 2u64), (2, 3), (3, 4)]));
    /// assert_eq!(graph.subgraph(|id| *id != 2).wcc().collect()?, [(3, 3), (4, 3)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    pub fn subgraph(&self, keep: impl Fn(&I) -> bool + Clone + Send + Sync + 'static) -> Self {
        let both = keep.clone();
        let edges = self.filter_edges(move |source, target, _| both(source) && both(target));
        let vertices = self.vertex_stream().map(|vertices| Vertices::Stream(vertices.filter(move |id| keep(id))));
        Self { vertices, ..edges }
    }

    /// The graph with those vertices that are in a stream, and the edges between them. The stream's vertices are all in it.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    /// let env = Env::default();
    /// let graph = Graph::undirected(&env.from_collection([(1u64, 2u64), (2, 3), (3, 4)]));
    /// let some = env.from_collection([1u64, 3, 4]);
    /// assert_eq!(graph.induced_by(&some).wcc().collect()?, [(1, 1), (3, 3), (4, 3)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    pub fn induced_by(&self, vertices: &DataStream<I>) -> Self {
        let by_id = vertices.key_by(|id: &I| id.clone());
        let from = self.edges().key_by(|edge: &(I, I, f64)| edge.0.clone()).join(&by_id).semi();
        let both = from.key_by(|edge: &(I, I, f64)| edge.1.clone()).join(&by_id).semi();
        let edges = if self.is_weighted() { Edges::Weighted(both) } else { Edges::Plain(both.map(|(s, t, _)| (s, t))) };
        Self { edges, vertices: Some(Vertices::Stream(vertices.clone())), ..self.clone() }
    }

    /// The graph with other weights: what `weight` makes of source, target and weight (1 where edges have none).
    #[must_use]
    pub fn map_weights(&self, weight: impl Fn(&I, &I, f64) -> f64 + Clone + Send + Sync + 'static) -> Self {
        let edges = self.edges().map(move |(source, target, before)| {
            let weight = weight(&source, &target, before);
            (source, target, weight)
        });
        Self { edges: Edges::Weighted(edges), ..self.clone() }
    }

    /// The graph with weights made of a value of each edge's source and one of its target, joined by vertex. Edges at vertices that the
    /// stream does not have are not in it.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::Graph;
    /// let env = Env::default();
    /// let graph = Graph::directed(&env.from_collection([(1u64, 2u64), (2, 3)]));
    /// let heights = env.from_collection([(1u64, 10f64), (2, 4.0), (3, 5.0)]);
    /// let climbs = graph.join_vertices(&heights, |_, from, to| (to - from).abs());
    /// assert_eq!(climbs.sssp(1).collect()?, [(1, 0.0), (2, 6.0), (3, 7.0)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    #[must_use]
    pub fn join_vertices<V: Data>(
        &self,
        values: &DataStream<(I, V)>,
        weight: impl Fn(f64, &V, &V) -> f64 + Clone + Send + Sync + 'static,
    ) -> Self {
        let by_id = values.key_by(|(id, _): &(I, V)| id.clone());
        let from = self.edges().key_by(|edge: &(I, I, f64)| edge.0.clone()).join(&by_id);
        let from = from.inner(|(source, target, weight), (_, value)| (source, target, weight, value));
        let both = from.key_by(|edge: &(I, I, f64, V)| edge.1.clone()).join(&by_id);
        let edges = both.inner(move |(source, target, before, from), (_, to)| {
            let weight = weight(before, &from, &to);
            (source, target, weight)
        });
        Self { edges: Edges::Weighted(edges), ..self.clone() }
    }

    /// The graph with the edges and vertices of both; edges that both have are there twice. It has weights if one of them has, 1 for the
    /// edges of the other, and directions if this one has.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let edges = match (&self.edges, &other.edges) {
            (Edges::Plain(a), Edges::Plain(b)) => Edges::Plain(a.union(b)),
            _ if self.is_weighted() || other.is_weighted() => Edges::Weighted(self.edges().union(&other.edges())),
            _ => Edges::Plain(self.edges().union(&other.edges()).map(|(source, target, _)| (source, target))),
        };
        let vertices = match (self.vertex_stream(), other.vertex_stream()) {
            (Some(a), Some(b)) => Some(a.union(&b)),
            (one, other) => one.or(other),
        };
        Self { edges, vertices: vertices.map(Vertices::Stream), ..self.clone() }
    }

    /// The graph with what `turn` makes of each edge.
    fn with_edges(&self, turn: impl Fn((I, I, f64)) -> Option<(I, I, f64)> + Clone + Send + Sync + 'static) -> Self {
        let edges = match &self.edges {
            Edges::Plain(edges) => {
                let turn = move |(source, target)| turn((source, target, 1.0)).map(|(source, target, _)| (source, target));
                Edges::Plain(edges.flat_map(turn))
            }
            Edges::Table { weighted: false, .. } => {
                Edges::Plain(self.edges().flat_map(move |edge| turn(edge).map(|(source, target, _)| (source, target))))
            }
            Edges::Weighted(_) | Edges::Table { .. } => Edges::Weighted(self.edges().flat_map(turn)),
        };
        Self { edges, ..self.clone() }
    }

    /// The vertices that were given.
    fn vertex_stream(&self) -> Option<DataStream<I>> {
        self.vertices.as_ref().map(|vertices| match vertices {
            Vertices::Stream(vertices) => vertices.clone(),
            Vertices::Table(table) => typed_vertices(table),
        })
    }
}

fn typed_vertices<I: VertexId>(table: &Table) -> DataStream<I> {
    let make = |_: &TaskContext| -> Result<Box<dyn Operator>> { Ok(Box::new(TypedVertices::<I>(PhantomData))) };
    Operation::new("vertices").table(table).add(table.env(), make)
}

/// Record batches of edges as tuples.
struct TypedEdges<I> {
    weighted: bool,
    ids: PhantomData<fn() -> I>,
}

impl<I: VertexId> Operator for TypedEdges<I> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        if let Records::Table(table) = &batch.records {
            let (sources, targets) = (<I as Ids>::column(table, 0)?, <I as Ids>::column(table, 1)?);
            let weights = if self.weighted { weights(table, 2)?.into_owned() } else { vec![1.0; table.num_rows()] };
            let edges = sources.into_iter().zip(targets).zip(weights).map(|((source, target), weight)| (source, target, weight));
            out.send(0, Batch::typed(edges.collect::<Vec<(I, I, f64)>>()))?;
        }
        Ok(Progress::Done)
    }
}

/// Record batches of vertices as ids.
struct TypedVertices<I>(PhantomData<fn() -> I>);

impl<I: VertexId> Operator for TypedVertices<I> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        if let Records::Table(table) = &batch.records {
            out.send(0, Batch::typed(<I as Ids>::column(table, 0)?))?;
        }
        Ok(Progress::Done)
    }
}
