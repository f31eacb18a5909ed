//! Random graphs: few vertices, so that there are loops, duplicates, cycles and components; some without an edge.

use super::reference::Naive;
use proptest::prelude::*;

/// What ids can be made of small numbers.
pub trait FromNumber: Ord + Clone + std::fmt::Debug {
    fn from_number(number: u64) -> Self;
}

impl FromNumber for u64 {
    /// Neither dense nor in the order of the numbers, with the largest one among them.
    fn from_number(number: u64) -> Self {
        match number {
            0 => u64::MAX,
            1 => 0,
            n if n % 3 == 0 => n << 33,
            n => n * 7,
        }
    }
}

impl FromNumber for String {
    /// Of several lengths and alphabets; some begin alike.
    fn from_number(number: u64) -> Self {
        match number % 4 {
            0 => format!("v{number}"),
            1 => "x".repeat(number as usize + 1),
            2 => format!("вершина-{number}"),
            _ => format!("a-name-longer-than-what-fits-into-a-word-{number:05}"),
        }
    }
}

/// A graph of up to `vertices` vertices and `edges` edges. Weights are from 0 to 4 in quarters, so that sums are exact.
pub fn graphs<I: FromNumber>(vertices: u64, edges: usize) -> impl Strategy<Value = Naive<I>> {
    (1..=vertices).prop_flat_map(move |vertices| {
        let edge = (0..vertices, 0..vertices, 0u32..=16);
        let edges = prop::collection::vec(edge, 0..=edges);
        (any::<bool>(), edges, prop::collection::vec(0..vertices + 3, 0..4)).prop_map(|(directed, edges, isolated)| {
            let edge = |(a, b, w): (u64, u64, u32)| (I::from_number(a), I::from_number(b), f64::from(w) / 4.0);
            Naive::new(directed, edges.into_iter().map(edge).collect(), isolated.into_iter().map(I::from_number))
        })
    })
}

/// A graph and one of its vertices.
pub fn graphs_with_source<I: FromNumber>(vertices: u64, edges: usize) -> impl Strategy<Value = (Naive<I>, I)> {
    (graphs(vertices, edges), any::<prop::sample::Index>()).prop_filter_map("no vertex", |(graph, index): (Naive<I>, _)| {
        let vertices: Vec<&I> = graph.vertices.iter().collect();
        let source = (!vertices.is_empty()).then(|| vertices[index.index(vertices.len())].clone())?;
        Some((graph, source))
    })
}
