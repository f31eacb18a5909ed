//! Regular graphs, whose answers are known: small ones for tests, large ones for what is hard about them (a path has as many
//! supersteps as vertices, a star one vertex with all edges).

use super::{EdgeColumns, EdgeGenerator};
use std::ops::Range;

/// Rows and columns of vertices, each with an edge to the right and one below: vertex `row * columns + column`.
#[derive(Clone, Debug)]
pub struct Grid {
    rows: u64,
    columns: u64,
}

impl Grid {
    /// A grid of so many rows and columns.
    pub fn new(rows: u64, columns: u64) -> Self {
        Self { rows, columns }
    }

    /// Edges to the right, which come first.
    fn across(&self) -> u64 {
        self.rows.saturating_mul(self.columns.saturating_sub(1))
    }
}

impl EdgeGenerator for Grid {
    fn name(&self) -> &'static str {
        "grid"
    }

    fn detail(&self) -> String {
        format!("{} rows, {} columns", self.rows, self.columns)
    }

    fn vertices(&self) -> u64 {
        self.rows.saturating_mul(self.columns)
    }

    fn edges(&self) -> u64 {
        self.across().saturating_add(self.rows.saturating_sub(1).saturating_mul(self.columns))
    }

    fn fill(&self, range: Range<u64>, out: &mut EdgeColumns) {
        let across = self.across();
        for edge in range.start..range.end.min(across) {
            let (row, column) = (edge / (self.columns - 1), edge % (self.columns - 1));
            let vertex = row * self.columns + column;
            out.push(vertex, vertex + 1);
        }
        for vertex in range.start.max(across) - across..range.end.max(across) - across {
            out.push(vertex, vertex + self.columns);
        }
    }
}

/// Vertices in a line: 0 to 1 to 2.
#[derive(Clone, Debug)]
pub struct Path {
    vertices: u64,
}

impl Path {
    /// A path of so many vertices.
    pub fn new(vertices: u64) -> Self {
        Self { vertices }
    }
}

impl EdgeGenerator for Path {
    fn name(&self) -> &'static str {
        "path"
    }

    fn vertices(&self) -> u64 {
        self.vertices
    }

    fn edges(&self) -> u64 {
        self.vertices.saturating_sub(1)
    }

    fn fill(&self, range: Range<u64>, out: &mut EdgeColumns) {
        range.for_each(|vertex| out.push(vertex, vertex + 1));
    }
}

/// A path whose last vertex leads to its first.
#[derive(Clone, Debug)]
pub struct Cycle {
    vertices: u64,
}

impl Cycle {
    /// A cycle of so many vertices; of one, a loop.
    pub fn new(vertices: u64) -> Self {
        Self { vertices }
    }
}

impl EdgeGenerator for Cycle {
    fn name(&self) -> &'static str {
        "cycle"
    }

    fn vertices(&self) -> u64 {
        self.vertices
    }

    fn edges(&self) -> u64 {
        self.vertices
    }

    fn fill(&self, range: Range<u64>, out: &mut EdgeColumns) {
        range.for_each(|vertex| out.push(vertex, (vertex + 1) % self.vertices));
    }
}

/// Vertex 0 with an edge to each of the others.
#[derive(Clone, Debug)]
pub struct Star {
    vertices: u64,
}

impl Star {
    /// A star of so many vertices, the centre among them.
    pub fn new(vertices: u64) -> Self {
        Self { vertices }
    }
}

impl EdgeGenerator for Star {
    fn name(&self) -> &'static str {
        "star"
    }

    fn vertices(&self) -> u64 {
        self.vertices
    }

    fn edges(&self) -> u64 {
        self.vertices.saturating_sub(1)
    }

    fn fill(&self, range: Range<u64>, out: &mut EdgeColumns) {
        range.for_each(|edge| out.push(0, edge + 1));
    }
}

/// Every pair of vertices, from the smaller to the larger.
#[derive(Clone, Debug)]
pub struct Complete {
    vertices: u64,
}

impl Complete {
    /// A complete graph of so many vertices.
    pub fn new(vertices: u64) -> Self {
        Self { vertices }
    }

    /// The pair of a number: pairs are in the order of their larger vertex, of which vertex `v` has `v` pairs.
    fn pair(edge: u64) -> (u64, u64) {
        let mut larger = ((1.0 + (1.0 + 8.0 * edge as f64).sqrt()) / 2.0) as u64;
        // The root of a large number may be one off.
        while larger * (larger - 1) / 2 > edge {
            larger -= 1;
        }
        while larger * (larger + 1) / 2 <= edge {
            larger += 1;
        }
        (edge - larger * (larger - 1) / 2, larger)
    }
}

impl EdgeGenerator for Complete {
    fn name(&self) -> &'static str {
        "complete"
    }

    fn vertices(&self) -> u64 {
        self.vertices
    }

    fn edges(&self) -> u64 {
        let pairs = u128::from(self.vertices) * u128::from(self.vertices.saturating_sub(1)) / 2;
        u64::try_from(pairs).unwrap_or(u64::MAX)
    }

    fn fill(&self, range: Range<u64>, out: &mut EdgeColumns) {
        if range.is_empty() {
            return;
        }
        let (mut smaller, mut larger) = Self::pair(range.start);
        for _ in range {
            out.push(smaller, larger);
            smaller += 1;
            if smaller == larger {
                (smaller, larger) = (0, larger + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(rule: &impl EdgeGenerator) -> Vec<(u64, u64)> {
        let mut columns = EdgeColumns::default();
        rule.fill(0..rule.edges(), &mut columns);
        columns.sources.into_iter().zip(columns.targets).collect()
    }

    #[test]
    fn small_ones() {
        assert_eq!(edges(&Path::new(4)), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(edges(&Cycle::new(3)), [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(edges(&Cycle::new(1)), [(0, 0)]);
        assert_eq!(edges(&Star::new(4)), [(0, 1), (0, 2), (0, 3)]);
        assert_eq!(edges(&Complete::new(4)), [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]);
        assert_eq!(edges(&Grid::new(2, 2)), [(0, 1), (2, 3), (0, 2), (1, 3)]);
        assert_eq!(edges(&Grid::new(1, 3)), [(0, 1), (1, 2)]);
        assert_eq!(edges(&Grid::new(3, 1)), [(0, 1), (1, 2)]);
    }

    #[test]
    fn empty_ones() {
        for rule in [Path::new(0), Path::new(1)] {
            assert!(edges(&rule).is_empty());
        }
        assert!(edges(&Cycle::new(0)).is_empty() && edges(&Star::new(0)).is_empty() && edges(&Complete::new(1)).is_empty());
        assert!(edges(&Grid::new(0, 5)).is_empty() && edges(&Grid::new(5, 0)).is_empty() && edges(&Grid::new(1, 1)).is_empty());
    }

    #[test]
    fn pairs_of_large_numbers() {
        for larger in [2u64, 3, 1 << 20, (1 << 24) + 1] {
            let first = larger * (larger - 1) / 2;
            assert_eq!(Complete::pair(first), (0, larger));
            assert_eq!(Complete::pair(first - 1), (larger - 2, larger - 1));
            assert_eq!(Complete::pair(first + larger - 1), (larger - 1, larger));
        }
    }
}
