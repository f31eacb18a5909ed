use super::super::Graph;
use super::reference::Naive;
use fluvial_core::{Config, Data, DataStream, Env};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// A random graph and how it is computed on.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) edges: Vec<(u64, u64, f64)>,
    pub(super) isolated: Vec<u64>,
    pub(super) directed: bool,
    pub(super) threads: usize,
}

/// Graphs of up to 40 vertices and 160 edges.
pub(super) fn cases() -> impl Strategy<Value = Case> {
    // Factor and offset: dense, with gaps, and sparse beyond 32 bits.
    let ids = prop_oneof![Just((1u64, 0u64)), Just((3, 100)), Just((0x9e37_79b9_7f4a_7c15, 0))];
    let edges = prop::collection::vec((0u64..40, 0u64..40, 0u32..20), 0..160);
    (edges, prop::collection::vec(0u64..60, 0..5), any::<bool>(), 1usize..4, ids).prop_map(
        |(edges, isolated, directed, threads, (factor, offset))| {
            let id = |n: u64| n.wrapping_mul(factor).wrapping_add(offset);
            Case {
                edges: edges.into_iter().map(|(s, t, w)| (id(s), id(t), f64::from(w) / 4.0)).collect(),
                isolated: isolated.into_iter().map(id).collect(),
                directed,
                threads,
            }
        },
    )
}

impl Case {
    pub(super) fn vertices(&self) -> Vec<u64> {
        let ends = self.edges.iter().flat_map(|(s, t, _)| [*s, *t]);
        ends.chain(self.isolated.iter().copied()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The position of a vertex among the sorted ones.
    fn place(vertices: &[u64], id: u64) -> usize {
        vertices.binary_search(&id).unwrap()
    }

    /// Edges by places, both ways where they lead both ways; a loop once.
    pub(super) fn arcs(&self) -> Vec<(usize, usize, f64)> {
        let vertices = self.vertices();
        let arc = |(s, t, w): (u64, u64, f64)| (Self::place(&vertices, s), Self::place(&vertices, t), w);
        let both = |(s, t, w): (u64, u64, f64)| (!self.directed && s != t).then_some((t, s, w));
        self.edges.iter().flat_map(|&e| [Some(e), both(e)]).flatten().map(arc).collect()
    }

    pub(super) fn naive(&self) -> Naive<u64> {
        Naive::new(self.directed, self.edges.clone(), self.isolated.clone())
    }

    pub(super) fn env(&self) -> Env {
        Env::new(Config { threads: self.threads, memory: self.threads * (4 << 20), ..Config::default() })
    }

    pub(super) fn graph(&self) -> Graph<u64> {
        let env = self.env();
        let edges = env.from_collection(self.edges.clone());
        let graph = if self.directed { Graph::directed_weighted(&edges) } else { Graph::undirected_weighted(&edges) };
        graph.with_vertices(&env.from_collection(self.isolated.clone()))
    }

    /// With texts as ids, which have the same order.
    pub(super) fn texts(&self) -> Graph<String> {
        let env = self.env();
        let edges: Vec<_> = self.edges.iter().map(|&(s, t, w)| (text(s), text(t), w)).collect();
        let edges = env.from_collection(edges);
        let graph = if self.directed { Graph::directed_weighted(&edges) } else { Graph::undirected_weighted(&edges) };
        graph.with_vertices(&env.from_collection(self.isolated.iter().map(|&id| text(id)).collect::<Vec<_>>()))
    }

    /// Values by vertex, as they are expected in the order of the vertices.
    pub(super) fn check<V: Data + PartialEq + Debug>(&self, expected: &[V], run: impl Fn(Graph<u64>) -> DataStream<(u64, V)>) {
        let expected: Vec<_> = self.vertices().into_iter().zip(expected.iter().cloned()).collect();
        assert_eq!(run(self.graph()).collect().unwrap(), expected);
    }

    pub(super) fn check_numbers(&self, expected: &[f64], run: impl Fn(Graph<u64>) -> DataStream<(u64, f64)>) {
        let found = run(self.graph()).collect().unwrap();
        let ids: Vec<u64> = found.iter().map(|f| f.0).collect();
        assert_eq!(ids, self.vertices());
        for ((id, found), expected) in found.iter().zip(expected) {
            let near = found == expected || (found - expected).abs() <= 1e-9 * expected.abs();
            assert!(near, "vertex {id}: {found}, expected {expected}");
        }
    }

    /// As [`Case::check`] where values are vertices, with texts.
    pub(super) fn check_texts(&self, expected: &[u64], run: impl Fn(Graph<String>) -> DataStream<(String, String)>) {
        let expected: Vec<_> = self.vertices().into_iter().zip(expected).map(|(id, value)| (text(id), text(*value))).collect();
        assert_eq!(run(self.texts()).collect().unwrap(), expected);
    }
}

fn text(id: u64) -> String {
    format!("v{id:020}")
}
