use super::adjacency::Adjacency;
use super::build::{Edges, View};
use super::dictionary::Dictionary;
use super::worker::Worker;
use crate::graph::VertexId;
use fluvial_core::{Batch, Data, Error, Position, Result};
use std::ops::Range;
use std::sync::Arc;

/// A graph algorithm: one instance a process, whose `run` runs on every worker.
pub(crate) trait Kernel<I: VertexId>: Send + Sync + 'static {
    /// Name of the operation.
    const KIND: &'static str;
    /// Segments of reservations that each worker has beside its first one: [`Worker::spare`].
    const SPARE: [usize; 2] = [0; 2];
    /// Records of the result.
    type Output: Data;

    /// What weights of edges must be.
    fn weights(&self) -> Weights {
        Weights::Ignored
    }

    /// Bytes that values of a vertex take, its lists' places included, in a process of so many workers: kept from the edges.
    fn bytes_per_vertex(&self, workers: usize) -> usize {
        let _ = workers;
        48
    }

    /// # Errors
    /// Options that make no sense.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Computes, and emits this worker's part of the result. All workers come to the same barriers.
    fn run(&self, worker: &Worker, graph: Prepared) -> impl Future<Output = Result<()>>;
}

/// What weights of edges must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// They are not looked at.
    Ignored,
    /// There may be any.
    Any,
    /// There must be some, none of them negative or NaN.
    Lengths,
}

/// A graph whose input has ended and whose ids are compacted.
pub(crate) struct Prepared {
    pub(crate) edges: Arc<Edges>,
    pub(crate) dictionary: Dictionary,
    pub(crate) directed: bool,
}

impl Prepared {
    /// Number of vertices.
    pub(crate) fn vertices(&self) -> usize {
        self.dictionary.vertices as usize
    }

    /// The rank of a vertex that the user named.
    ///
    /// # Errors
    /// There is no such vertex.
    pub(crate) fn find<I: VertexId>(&self, kind: &str, id: &I) -> Result<u32> {
        id.find(&self.dictionary).ok_or_else(|| Error::User(format!("{kind}: there is no vertex {id} in the graph")))
    }

    /// Lays out adjacency in several ways and gives up the edges; `also` sees each edge once.
    ///
    /// # Errors
    /// Too little memory, or a full disk.
    pub(crate) async fn lay_out<const N: usize>(
        &self,
        worker: &Worker,
        views: [View; N],
        also: impl Fn(u32, u32),
    ) -> Result<[Arc<Adjacency>; N]> {
        let histogram = self.edges.rank(worker, &self.dictionary, also).await?;
        let mut laid_out = Vec::with_capacity(N);
        for (number, view) in views.into_iter().enumerate() {
            let last = number + 1 == N;
            laid_out.push(self.edges.lay_out(worker, &self.dictionary, &histogram, view, last).await?);
        }
        laid_out.try_into().map_err(|_| Error::Plan("a layout is missing".into()))
    }

    /// Emits this worker's part of the vertices with their values, in order. Values of all vertices are the same for all workers of all
    /// processes.
    ///
    /// # Errors
    /// Of sending.
    pub(crate) async fn emit<I: VertexId, V: Data>(&self, worker: &Worker, value: impl Fn(u32) -> V) -> Result<()> {
        let part = worker.part_of_all(self.vertices());
        self.emit_range::<I, V>(worker, part, worker.context.worker, value).await
    }

    /// Emits vertices of which only this worker of the process has the values, as the same worker of all other processes has: each
    /// process emits a part of them.
    ///
    /// # Errors
    /// Of sending.
    pub(crate) async fn emit_part<I: VertexId, V: Data>(
        &self,
        worker: &Worker,
        vertices: Range<u32>,
        value: impl Fn(u32) -> V,
    ) -> Result<()> {
        let (process, processes) = (worker.context.process, worker.context.processes);
        let bound = |process: usize| vertices.start as usize + vertices.len() * process / processes;
        self.emit_range::<I, V>(worker, bound(process)..bound(process + 1), worker.index() * processes + process, value).await
    }

    async fn emit_range<I: VertexId, V: Data>(
        &self,
        worker: &Worker,
        part: Range<usize>,
        range: usize,
        value: impl Fn(u32) -> V,
    ) -> Result<()> {
        const BATCH: usize = 4096;
        worker.finished();
        let range = range as u64;
        let (mut at, mut sequence) = (part.start, 0);
        loop {
            let to = part.end.min(at + BATCH);
            let record = |rank: usize| (I::name(&self.dictionary, rank as u32), value(rank as u32));
            let mut batch = Batch::typed((at..to).map(record).collect::<Vec<(I, V)>>());
            batch.position = Some(Position { range, sequence, last: to == part.end });
            worker.emit(batch).await;
            if to == part.end {
                return Ok(());
            }
            (at, sequence) = (to, sequence + 1);
        }
    }
}
