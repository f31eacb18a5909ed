/// The distance of a vertex that cannot be reached, as LDBC Graphalytics writes it (2^63 - 1).
pub const UNREACHED: u64 = i64::MAX as u64;

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
