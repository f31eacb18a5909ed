//! Graphs made by a rule: R-MAT, grid, path, cycle, star, complete.
//!
//! A rule makes any range of its edges on its own, the same ones whoever asks: so a graph is made in parallel, in parts, and is
//! the same graph with any number of workers and processes. Nothing is held in memory but the batch in hand.
//!
//! Edges come as record batches with the columns `src` and `dst` (`UInt64`) and, where a rule has weights, `weight` (`Float64`):
//! what files of edges give too, so that a generated graph and one that was read go the same way into the engine. Regular graphs
//! have each edge once; read them as undirected graphs if that is what is meant.

mod regular;
mod rmat;

pub use regular::{Complete, Cycle, Grid, Path, Star};
pub use rmat::Rmat;

use super::Graph;
use super::files::{IdType, edge_schema};
use arrow_array::{ArrayRef, Float64Array, RecordBatch, UInt64Array};
use fluvial_core::{Batches, DataStream, Env, Error, Result, Table, TableParts};
use fluvial_memory::Reservation;
use std::ops::Range;
use std::sync::Arc;

/// Edges of a part: what a worker takes at a time.
const PART: u64 = 1 << 18;

/// Edges of a batch: three columns of this length stay in a core's cache.
const BATCH: u64 = 1 << 13;

/// Most vertices and edges of a generated graph.
const MOST: u64 = 1 << 48;

/// A rule that makes the edges of a graph.
///
/// ```
/// use fluvial_core::Env;
/// use fluvial_iterate::graph::generate::{EdgeGenerator, Grid};
/// let env = Env::default();
/// let grid = Grid::new(2, 3);
/// let mut edges = grid.stream(&env)?.collect()?;
/// edges.sort();
/// // 0 - 1 - 2
/// // |   |   |
/// // 3 - 4 - 5
/// assert_eq!(edges, [(0, 1), (0, 3), (1, 2), (1, 4), (2, 5), (3, 4), (4, 5)]);
/// # Ok::<(), fluvial_core::Error>(())
/// ```
pub trait EdgeGenerator: Clone + Send + Sync + 'static {
    /// A short name, for messages and `explain`.
    fn name(&self) -> &'static str;

    /// What there is to know beyond, for `explain`.
    fn detail(&self) -> String {
        format!("{} vertices", self.vertices())
    }

    /// Vertices are the numbers below this; those without an edge appear in no edge.
    fn vertices(&self) -> u64;

    /// How many edges there are.
    fn edges(&self) -> u64;

    /// Whether edges have weights.
    fn weighted(&self) -> bool {
        false
    }

    /// Appends the edges of a range of their numbers: the same ones whenever it is called, however the range is cut.
    fn fill(&self, range: Range<u64>, out: &mut EdgeColumns);

    /// Whether there is such a graph.
    ///
    /// # Errors
    /// [`Error::Plan`] that says what is out of range.
    fn check(&self) -> Result<()> {
        let (vertices, edges) = (self.vertices(), self.edges());
        if vertices > MOST || edges > MOST {
            let name = self.name();
            return Err(Error::Plan(format!(
                "{name}: {vertices} vertices and {edges} edges, at most {MOST} of each can be made"
            )));
        }
        Ok(())
    }

    /// The edges as a table with the columns `src`, `dst` and, if there are weights, `weight`.
    ///
    /// # Errors
    /// As [`EdgeGenerator::check`].
    fn table(&self, env: &Env) -> Result<Table> {
        self.check()?;
        let schema = edge_schema(IdType::Number, self.weighted());
        Ok(env.table_of(self.name(), self.detail(), schema, Parts(self.clone())))
    }

    /// The graph. Vertices without an edge are not in it unless they are [added](Graph::with_vertices).
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::graph::generate::{Complete, EdgeGenerator};
    /// let env = Env::default();
    /// let cores = Complete::new(5).graph(&env, false)?.core_numbers();
    /// assert!(cores.collect()?.iter().all(|(_, core)| *core == 4));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`EdgeGenerator::check`].
    fn graph(&self, env: &Env, directed: bool) -> Result<Graph> {
        Graph::from_table(&self.table(env)?, directed)
    }

    /// The edges as pairs, without weights.
    ///
    /// # Errors
    /// As [`EdgeGenerator::check`].
    fn stream(&self, env: &Env) -> Result<DataStream<(u64, u64)>> {
        self.table(env)?.rows()
    }
}

/// Edges in the making, column by column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EdgeColumns {
    /// Where each edge begins.
    pub sources: Vec<u64>,
    /// Where it ends.
    pub targets: Vec<u64>,
    /// Its weight; empty where edges have none.
    pub weights: Vec<f64>,
}

impl EdgeColumns {
    /// No edges, with room for some.
    pub fn with_capacity(edges: usize, weighted: bool) -> Self {
        let weights = if weighted { Vec::with_capacity(edges) } else { Vec::new() };
        Self { sources: Vec::with_capacity(edges), targets: Vec::with_capacity(edges), weights }
    }

    /// Appends an edge without a weight.
    #[inline]
    pub fn push(&mut self, source: u64, target: u64) {
        self.sources.push(source);
        self.targets.push(target);
    }

    /// The columns as a batch of the table of edges.
    fn into_batch(self, weighted: bool) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(UInt64Array::from(self.sources)), Arc::new(UInt64Array::from(self.targets))];
        if weighted {
            columns.push(Arc::new(Float64Array::from(self.weights)));
        }
        Ok(RecordBatch::try_new(edge_schema(IdType::Number, weighted), columns)?)
    }
}

/// A rule's edges as parts of a table.
struct Parts<G>(G);

impl<G: EdgeGenerator> TableParts for Parts<G> {
    fn count(&self) -> usize {
        self.0.edges().div_ceil(PART) as usize
    }

    fn open(&self, part: usize, _memory: &Reservation) -> Result<Batches> {
        let start = part as u64 * PART;
        let end = (start + PART).min(self.0.edges());
        let rule = self.0.clone();
        Ok(Box::new((start..end).step_by(BATCH as usize).map(move |from| {
            let to = (from + BATCH).min(end);
            let mut columns = EdgeColumns::with_capacity((to - from) as usize, rule.weighted());
            rule.fill(from..to, &mut columns);
            columns.into_batch(rule.weighted())
        })))
    }

    fn estimate(&self) -> Option<u64> {
        Some(self.0.edges() * if self.0.weighted() { 24 } else { 16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvial_core::Config;
    use proptest::prelude::*;

    fn all(rule: &impl EdgeGenerator) -> EdgeColumns {
        let mut all = EdgeColumns::default();
        rule.fill(0..rule.edges(), &mut all);
        all
    }

    /// However the numbers are cut, the edges are the same.
    fn pieces(rule: &impl EdgeGenerator, cuts: &[prop::sample::Index]) -> EdgeColumns {
        let mut cuts: Vec<u64> = cuts.iter().map(|cut| cut.index(rule.edges() as usize + 1) as u64).collect();
        cuts.extend([0, rule.edges()]);
        cuts.sort_unstable();
        let mut all = EdgeColumns::default();
        cuts.windows(2).for_each(|cut| rule.fill(cut[0]..cut[1], &mut all));
        all
    }

    proptest! {
        #[test]
        fn edges_do_not_depend_on_who_makes_which(
            rows in 0u64..9,
            columns in 0u64..9,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            prop_assert_eq!(pieces(&Grid::new(rows, columns), &cuts), all(&Grid::new(rows, columns)));
            prop_assert_eq!(pieces(&Path::new(rows), &cuts), all(&Path::new(rows)));
            prop_assert_eq!(pieces(&Cycle::new(rows), &cuts), all(&Cycle::new(rows)));
            prop_assert_eq!(pieces(&Star::new(rows), &cuts), all(&Star::new(rows)));
            prop_assert_eq!(pieces(&Complete::new(rows), &cuts), all(&Complete::new(rows)));
            let rmat = Rmat::new(rows as u32, columns).seed(columns).with_weights();
            prop_assert_eq!(pieces(&rmat, &cuts), all(&rmat));
        }
    }

    #[test]
    fn a_table_is_the_same_with_any_number_of_workers() {
        let rmat = Rmat::new(15, 16).seed(3);
        let expected = all(&rmat);
        let mut expected: Vec<(u64, u64)> = expected.sources.into_iter().zip(expected.targets).collect();
        expected.sort_unstable();
        for threads in [1, 3] {
            let env = Env::new(Config { threads, ..Config::default() });
            let mut edges = rmat.stream(&env).unwrap().collect().unwrap();
            edges.sort_unstable();
            assert!(edges == expected, "{threads} workers");
        }
    }

    #[test]
    fn a_graph_too_large_is_an_error() {
        let error = Complete::new(1 << 40).table(&Env::default()).err().unwrap().to_string();
        assert!(error.contains("complete: 1099511627776 vertices"), "{error}");
        assert!(Rmat::new(60, 16).table(&Env::default()).is_err());
    }
}
