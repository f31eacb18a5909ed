//! Algorithms against naive versions, on random graphs: loops, duplicates, isolated vertices, ids dense, sparse and texts; any
//! number of workers, edges in memory and on disk.

mod large;
mod random;
#[path = "../../../tests/kit/reference.rs"]
#[allow(dead_code, reason = "the tests of the crate use the rest")]
mod reference;

use super::{Cdlp, PageRank, ScatterGather, VertexCentric};
use proptest::prelude::*;
use random::{Case, cases};
use std::collections::{BTreeMap, BTreeSet};

/// In the order of the vertices.
fn values<V>(naive: BTreeMap<u64, V>) -> Vec<V> {
    naive.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn page_rank(case in cases(), personal in any::<bool>()) {
        let sources: Vec<u64> = if personal { case.vertices().into_iter().step_by(3).collect() } else { Vec::new() };
        let all: BTreeSet<u64> = if personal { sources.iter().copied().collect() } else { case.vertices().into_iter().collect() };
        let expected = values(case.naive().page_rank_from(0.85, 7, &all));
        let options = PageRank::default().iterations(7).personalized(sources);
        case.check_numbers(&expected, |graph| graph.page_rank(options.clone()));
    }

    #[test]
    fn wcc(case in cases()) {
        let expected = values(case.naive().wcc());
        case.check(&expected, |graph| graph.wcc());
        case.check_texts(&expected, |graph| graph.wcc());
    }

    #[test]
    fn scc(case in cases()) {
        let expected = values(case.naive().scc());
        case.check(&expected, |graph| graph.scc());
    }

    #[test]
    fn bfs(case in cases(), source in any::<prop::sample::Index>()) {
        prop_assume!(!case.vertices().is_empty());
        let source = case.vertices()[source.index(case.vertices().len())];
        let expected = values(case.naive().bfs(&source));
        case.check(&expected, |graph| graph.bfs(source));
        case.check(&expected, |graph| graph.asynchronous().bfs(source));
    }

    #[test]
    fn sssp(case in cases(), source in any::<prop::sample::Index>()) {
        prop_assume!(!case.vertices().is_empty());
        let source = case.vertices()[source.index(case.vertices().len())];
        let expected = values(case.naive().sssp(&source));
        case.check_numbers(&expected, |graph| graph.sssp(source));
        case.check_numbers(&expected, |graph| graph.asynchronous().sssp(source));
    }

    #[test]
    fn cdlp(case in cases(), rounds in 0u64..6) {
        let expected = values(case.naive().cdlp(rounds));
        case.check(&expected, |graph| graph.cdlp(Cdlp::default().iterations(rounds)));
        case.check_texts(&expected, |graph| graph.cdlp(Cdlp::default().iterations(rounds)));
    }

    #[test]
    fn lcc(case in cases()) {
        let expected = values(case.naive().lcc());
        case.check_numbers(&expected, |graph| graph.lcc());
    }

    #[test]
    fn triangles(case in cases()) {
        let naive = case.naive();
        case.check(&values(naive.triangle_counts()), |graph| graph.triangle_counts());
        let mut found = case.graph().triangles().collect().unwrap();
        found.sort();
        prop_assert_eq!(found, naive.triangles().into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn core_numbers(case in cases()) {
        let expected = values(case.naive().core_numbers());
        case.check(&expected, |graph| graph.core_numbers());
    }

    #[test]
    fn vertex_centric_with_and_without_a_combiner(case in cases()) {
        // How many ways of three edges end at each vertex.
        let expected = {
            let mut ways = vec![1u64; case.vertices().len()];
            for _ in 0..3 {
                let mut next = vec![0; ways.len()];
                case.arcs().iter().for_each(|&(s, t, _)| next[t] += ways[s]);
                ways = next;
            }
            ways
        };
        let ways = || VertexCentric::new(|_: &u64| 1u64, |vertex, messages: &[u64]| {
            if vertex.superstep() > 0 {
                *vertex.value() = messages.iter().sum();
            }
            let ways = *vertex.value();
            vertex.send_to_neighbours(|_, _| Some(ways));
        }).supersteps(4);
        case.check(&expected, |graph| graph.vertex_centric(ways()));
        case.check(&expected, |graph| graph.vertex_centric(ways().combine(|a, b| a + b)));
    }

    #[test]
    fn scatter_gather(case in cases(), source in any::<prop::sample::Index>()) {
        prop_assume!(!case.vertices().is_empty());
        let source = case.vertices()[source.index(case.vertices().len())];
        let expected = values(case.naive().sssp(&source));
        let paths = || ScatterGather::new(
            move |id: &u64| if *id == source { 0.0 } else { f64::INFINITY },
            |from, _, weight| from.value.is_finite().then(|| from.value + weight),
            |value: &f64, messages: &[f64]| messages.iter().copied().reduce(f64::min).filter(|shorter| shorter < value),
        );
        case.check_numbers(&expected, |graph| graph.scatter_gather(paths()));
        case.check_numbers(&expected, |graph| graph.scatter_gather(paths().combine(f64::min)));
    }
}

/// Messages to any vertex, by its id; a vertex that has voted to halt is woken by them.
#[test]
fn messages_to_anybody() {
    let case = Case { edges: vec![(1, 2, 1.0)], isolated: vec![9], directed: true, threads: 2 };
    let visits = |combined: bool| {
        let visits = VertexCentric::new(
            |_: &u64| 0u64,
            |vertex, messages: &[u64]| {
                *vertex.value() += messages.iter().sum::<u64>();
                if vertex.superstep() < 3 && (vertex.id() == 1 || !messages.is_empty()) {
                    let to = if vertex.id() == 9 { 1 } else { 9 };
                    vertex.send(&to, 1);
                }
                vertex.vote_to_halt();
            },
        );
        if combined { visits.combine(|a, b| a + b) } else { visits }
    };
    for combined in [false, true] {
        assert_eq!(case.graph().vertex_centric(visits(combined)).collect().unwrap(), [(1, 1), (2, 0), (9, 2)]);
    }
    let lost = VertexCentric::new(|_: &u64| 0u64, |vertex, _: &[u64]| vertex.send(&77, 1)).supersteps(2);
    let error = case.graph().vertex_centric(lost).collect().unwrap_err().to_string();
    assert!(error.contains("to 77: there is no such vertex"), "{error}");
}

#[test]
fn what_is_not_there_is_named() {
    let case = Case { edges: vec![(1, 2, 1.0)], isolated: vec![], directed: true, threads: 2 };
    let error = |result: fluvial_core::Result<usize>| result.unwrap_err().to_string();
    let bfs = error(case.graph().bfs(7).collect().map(|r| r.len()));
    assert!(bfs.contains("bfs: there is no vertex 7 in the graph"), "{bfs}");
    let negative = Case { edges: vec![(1, 2, 1.0), (3, 4, -0.5)], ..case.clone() };
    let weight = error(negative.graph().sssp(1).collect().map(|r| r.len()));
    assert!(weight.contains("from 3 to 4 has the weight -0.5"), "{weight}");
    let env = case.env();
    let plain = super::Graph::directed(&env.from_collection([(1u64, 2u64)]));
    let weights = error(plain.sssp(1).collect().map(|r| r.len()));
    assert!(weights.contains("needs edges with weights"), "{weights}");
    let damping = error(plain.page_rank(PageRank::default().damping(1.5)).collect().map(|r| r.len()));
    assert!(damping.contains("the damping factor is 1.5"), "{damping}");
}

/// On one worker, while the others wait for it.
#[test]
fn a_function_that_panics_fails_the_job() {
    let case = Case { edges: (0..100).map(|n| (n, n + 1, 1.0)).collect(), isolated: vec![], directed: true, threads: 3 };
    let panics = VertexCentric::new(
        |_: &u64| 0u64,
        |vertex, _: &[u64]| {
            assert!(vertex.superstep() < 2 || vertex.id() != 7, "seven");
            vertex.send_to_neighbours(|_, _| Some(1));
        },
    );
    let error = case.graph().vertex_centric(panics).collect().unwrap_err().to_string();
    assert!(error.contains("`vertex-centric`") && error.contains("seven"), "{error}");
}

#[test]
fn graphs_are_made_of_graphs() {
    let case = Case { edges: vec![(1, 2, 2.0), (2, 3, 3.0), (4, 4, 1.0)], isolated: vec![9], directed: true, threads: 2 };
    let graph = case.graph();
    let sorted = |graph: super::Graph<u64>| {
        let mut edges = graph.edges().collect().unwrap();
        edges.sort_by(|a, b| a.partial_cmp(b).unwrap());
        (edges, graph.vertices().collect().unwrap())
    };
    assert_eq!(sorted(graph.reverse()), (vec![(2, 1, 2.0), (3, 2, 3.0), (4, 4, 1.0)], vec![1, 2, 3, 4, 9]));
    assert_eq!(sorted(graph.filter_edges(|s, t, _| s != t)), (vec![(1, 2, 2.0), (2, 3, 3.0)], vec![1, 2, 3, 9]));
    assert_eq!(sorted(graph.map_weights(|s, _, w| w + *s as f64)).0, [(1, 2, 3.0), (2, 3, 5.0), (4, 4, 5.0)]);
    assert_eq!(sorted(graph.subgraph(|id| *id != 2 && *id != 9)), (vec![(4, 4, 1.0)], vec![4]));
    let other = super::Graph::directed(&graph.env.from_collection([(9u64, 5u64)]));
    let both = graph.union(&other);
    assert_eq!(sorted(both.clone()).0, [(1, 2, 2.0), (2, 3, 3.0), (4, 4, 1.0), (9, 5, 1.0)]);
    assert_eq!(both.degrees(super::Direction::Both).collect().unwrap(), [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (9, 1)]);
    assert_eq!(both.to_undirected().degrees(super::Direction::Out).collect().unwrap()[3], (4, 1));
}
