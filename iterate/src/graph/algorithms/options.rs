use super::super::VertexId;

/// The distance of a vertex that cannot be reached, as LDBC Graphalytics writes it (2^63 - 1).
pub const UNREACHED: u64 = i64::MAX as u64;

/// How [`Graph::page_rank`](super::super::Graph::page_rank) runs: rounds, or a tolerance, and where the walk begins again.
///
/// ```
/// use fluvial_iterate::graph::PageRank;
/// let until_it_stands = PageRank::<u64>::default().damping(0.9).tolerance(1e-9);
/// let around_one_vertex = PageRank::default().iterations(30).personalized([7u64]);
/// ```
#[derive(Clone, Debug)]
pub struct PageRank<I: VertexId = u64> {
    pub(crate) damping: f64,
    pub(crate) iterations: Option<u64>,
    pub(crate) tolerance: Option<f64>,
    pub(crate) sources: Vec<I>,
}

impl<I: VertexId> Default for PageRank<I> {
    /// Damping 0.85, 20 rounds, not personalized.
    fn default() -> Self {
        Self { damping: 0.85, iterations: None, tolerance: None, sources: Vec::new() }
    }
}

impl<I: VertexId> PageRank<I> {
    /// The probability of following an edge, from 0 to 1. Default: 0.85.
    #[must_use]
    pub fn damping(self, damping: f64) -> Self {
        Self { damping, ..self }
    }

    /// So many rounds; with a tolerance too, at most so many. Default: 20, with a tolerance 1000.
    #[must_use]
    pub fn iterations(self, iterations: u64) -> Self {
        Self { iterations: Some(iterations), ..self }
    }

    /// Rounds until the sum of the absolute changes is at most this. Default: a fixed number of rounds.
    #[must_use]
    pub fn tolerance(self, tolerance: f64) -> Self {
        Self { tolerance: Some(tolerance), ..self }
    }

    /// The walk begins, and begins again, at these vertices in place of any. The rank of dead ends goes to them too.
    #[must_use]
    pub fn personalized(self, sources: impl IntoIterator<Item = I>) -> Self {
        Self { sources: sources.into_iter().collect(), ..self }
    }
}

/// How [`Graph::cdlp`](super::super::Graph::cdlp) runs.
#[derive(Clone, Copy, Debug)]
pub struct Cdlp {
    pub(crate) iterations: u64,
}

impl Default for Cdlp {
    /// Ten rounds.
    fn default() -> Self {
        Self { iterations: 10 }
    }
}

impl Cdlp {
    /// At most so many rounds; fewer where no label changes any more.
    #[must_use]
    pub fn iterations(self, iterations: u64) -> Self {
        Self { iterations }
    }
}
