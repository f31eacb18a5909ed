use fluvial_core::SuperstepReport;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a run of a graph algorithm was about, and how it went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GraphSummary {
    /// Vertices, isolated ones that were given included.
    pub vertices: u64,
    /// Edges as they were given.
    pub edges: u64,
    /// Seconds from the end of the input until ids were compacted and adjacency was laid out.
    pub layout_seconds: f64,
    /// Seconds from the end of the input until all results were known.
    pub seconds: f64,
    /// The supersteps in order.
    pub supersteps: Vec<SuperstepReport>,
}

type Listener = dyn Fn(&SuperstepReport) + Send + Sync;

/// Watches a graph algorithm: given to [`Graph::observe`](super::Graph::observe), asked while the job runs and after it.
///
/// In a job of several processes it knows what happened in all of them; any of them can ask.
///
/// ```
/// use fluvial_core::Env;
/// use fluvial_iterate::graph::{Graph, PageRank, Supersteps};
///
/// let env = Env::default();
/// let edges = env.from_collection([(1u64, 2u64), (2, 3), (3, 1)]);
/// let supersteps = Supersteps::new();
/// let ranks = Graph::directed(&edges).observe(&supersteps).page_rank(PageRank::default().iterations(5));
/// assert_eq!(ranks.collect()?.len(), 3);
/// assert_eq!(supersteps.summary().supersteps.len(), 5);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Supersteps {
    summary: Arc<Mutex<GraphSummary>>,
    listener: Option<Arc<Listener>>,
}

impl Supersteps {
    /// Keeps what happens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also calls `listener` at the end of each superstep, on a worker's thread of every process.
    pub fn listen(listener: impl Fn(&SuperstepReport) + Send + Sync + 'static) -> Self {
        Self { summary: Arc::default(), listener: Some(Arc::new(listener)) }
    }

    /// What has happened so far; of the last run where the graph was used more than once.
    pub fn summary(&self) -> GraphSummary {
        self.lock().clone()
    }

    pub(crate) fn begin(&self, vertices: u64, edges: u64) {
        *self.lock() = GraphSummary { vertices, edges, ..GraphSummary::default() };
    }

    pub(crate) fn laid_out(&self, seconds: f64) {
        self.lock().layout_seconds = seconds;
    }

    pub(crate) fn ended(&self, report: SuperstepReport) {
        if let Some(listener) = &self.listener {
            listener(&report);
        }
        self.lock().supersteps.push(report);
    }

    pub(crate) fn finished(&self, seconds: f64) {
        self.lock().seconds = seconds;
    }

    fn lock(&self) -> MutexGuard<'_, GraphSummary> {
        self.summary.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl fmt::Debug for Supersteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supersteps").field("summary", &self.summary).finish_non_exhaustive()
    }
}
