use super::vertex_centric::VertexCentric;
use crate::graph::{Graph, VertexId};
use fluvial_core::{Data, DataStream};
use std::sync::Arc;

/// An algorithm as two functions (scatter-gather; signal and collect, Stutz, Bernstein and Cohen, 2010): `scatter` makes a message along each
/// edge of a vertex whose value has changed, `gather` makes a new value of the messages that a vertex gets.
///
/// In the first superstep all vertices scatter. It ends when no value changes, or after [`ScatterGather::supersteps`].
///
/// ```
/// use fluvial_core::Env;
/// use fluvial_iterate::graph::{Graph, ScatterGather};
///
/// let env = Env::default();
/// let graph = Graph::directed_weighted(&env.from_collection([(1u64, 2u64, 5.0), (1, 3, 1.0), (3, 2, 1.5)]));
/// let paths = ScatterGather::new(
///     |id: &u64| if *id == 1 { 0.0 } else { f64::INFINITY },
///     |from, _to, weight| from.value.is_finite().then(|| from.value + weight),
///     |value: &f64, messages| messages.iter().copied().reduce(f64::min).filter(|shorter| shorter < value),
/// );
/// let distances = graph.scatter_gather(paths.combine(f64::min));
/// assert_eq!(distances.collect()?, [(1, 0.0), (2, 2.5), (3, 1.0)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub struct ScatterGather<I: VertexId, V, M> {
    initial: Arc<dyn Fn(&I) -> V + Send + Sync>,
    scatter: Arc<ScatterFn<I, V, M>>,
    gather: Arc<GatherFn<V, M>>,
    combine: Option<Arc<dyn Fn(M, M) -> M + Send + Sync>>,
    supersteps: u64,
}

type ScatterFn<I, V, M> = dyn Fn(&Scatter<'_, I, V>, &I, f64) -> Option<M> + Send + Sync;
type GatherFn<V, M> = dyn Fn(&V, &[M]) -> Option<V> + Send + Sync;

/// The vertex that an edge leads from.
pub struct Scatter<'v, I, V> {
    /// Its id.
    pub id: &'v I,
    /// Its value.
    pub value: &'v V,
    /// Number of edges that lead from it.
    pub degree: u64,
    /// The superstep, counted from 0.
    pub superstep: u64,
}

impl<I: VertexId, V: Data, M: Data> ScatterGather<I, V, M> {
    /// Vertices begin with the value that `initial` gives. `scatter` is given the vertex that an edge leads from, the one that it leads to, and its
    /// weight (1 where edges have none); `gather` a value and messages, and returns the new value if it is another one.
    pub fn new(
        initial: impl Fn(&I) -> V + Send + Sync + 'static,
        scatter: impl Fn(&Scatter<'_, I, V>, &I, f64) -> Option<M> + Send + Sync + 'static,
        gather: impl Fn(&V, &[M]) -> Option<V> + Send + Sync + 'static,
    ) -> Self {
        let (initial, scatter, gather) = (Arc::new(initial), Arc::new(scatter), Arc::new(gather));
        Self { initial, scatter, gather, combine: None, supersteps: u64::MAX }
    }

    /// As [`VertexCentric::combine`].
    #[must_use]
    pub fn combine(self, combine: impl Fn(M, M) -> M + Send + Sync + 'static) -> Self {
        Self { combine: Some(Arc::new(combine)), ..self }
    }

    /// Ends after so many supersteps. Default: when no value changes.
    #[must_use]
    pub fn supersteps(self, supersteps: u64) -> Self {
        Self { supersteps, ..self }
    }
}

impl<I: VertexId> Graph<I> {
    /// Runs a scatter-gather algorithm: each vertex with its value at the end. Memory is as for [`Graph::vertex_centric`].
    pub fn scatter_gather<V: Data, M: Data>(&self, algorithm: ScatterGather<I, V, M>) -> DataStream<(I, V)> {
        let ScatterGather { initial, scatter, gather, combine, supersteps } = algorithm;
        let vertex_centric = VertexCentric::new(
            move |id: &I| initial(id),
            move |vertex, messages: &[M]| {
                let changed = if vertex.superstep() == 0 { None } else { gather(vertex.value(), messages) };
                if vertex.superstep() == 0 || changed.is_some() {
                    if let Some(changed) = changed {
                        *vertex.value() = changed;
                    }
                    let (id, value, degree, superstep) =
                        (vertex.id(), vertex.value().clone(), vertex.degree(), vertex.superstep());
                    let from = Scatter { id: &id, value: &value, degree, superstep };
                    vertex.send_to_neighbours(|to, weight| scatter(&from, to, weight));
                }
                vertex.vote_to_halt();
            },
        )
        .supersteps(supersteps);
        self.vertex_centric(match combine {
            Some(combine) => vertex_centric.combine(move |a, b| combine(a, b)),
            None => vertex_centric,
        })
    }
}
