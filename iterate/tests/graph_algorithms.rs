//! The algorithms give what their definitions say, on random graphs with loops, duplicates, isolated vertices and ids of both types,
//! with one, two and three workers, synchronous and asynchronous.

mod kit;

use fluvial_core::{Data, DataStream};
use fluvial_iterate::graph::{Cdlp, Graph, PageRank, VertexId};
use kit::random::{graphs, graphs_with_source};
use kit::reference::Naive;
use kit::{assert_close, assert_same, runs};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// Sums of floating-point numbers may be in any order.
const EXACT: f64 = 1e-9;

/// The result is what is expected, whoever computes it.
fn check<I: VertexId + Debug, V: Data + PartialEq + Debug>(
    naive: &Naive<I>,
    expected: &BTreeMap<I, V>,
    algorithm: impl Fn(&Graph<I>) -> DataStream<(I, V)>,
) {
    for env in runs::envs() {
        assert_same(&runs::values(&algorithm(&runs::graph(env, naive))), expected);
    }
}

fn check_numbers<I: VertexId + Debug>(
    naive: &Naive<I>,
    expected: &BTreeMap<I, f64>,
    algorithm: impl Fn(&Graph<I>) -> DataStream<(I, f64)>,
) {
    for env in runs::envs() {
        assert_close(&runs::values(&algorithm(&runs::graph(env, naive))), expected, EXACT);
    }
}

/// What does not need a source.
fn check_all<I: VertexId + Debug>(naive: &Naive<I>, rounds: u64) {
    check_numbers(naive, &naive.page_rank(0.85, rounds), |graph| graph.page_rank(PageRank::default().iterations(rounds)));
    check(naive, &naive.wcc(), Graph::wcc);
    check(naive, &naive.wcc(), |graph| graph.clone().asynchronous().wcc());
    check(naive, &naive.scc(), Graph::scc);
    check(naive, &naive.cdlp(rounds), |graph| graph.cdlp(Cdlp::default().iterations(rounds)));
    check_numbers(naive, &naive.lcc(), Graph::lcc);
    check(naive, &naive.triangle_counts(), Graph::triangle_counts);
    check(naive, &naive.core_numbers(), Graph::core_numbers);
}

/// What begins at a vertex.
fn check_from<I: VertexId + Debug>(naive: &Naive<I>, source: &I) {
    check(naive, &naive.bfs(source), |graph| graph.bfs(source.clone()));
    check(naive, &naive.bfs(source), |graph| graph.clone().asynchronous().bfs(source.clone()));
    // Weights are quarters: sums are exact.
    check_numbers(naive, &naive.sssp(source), |graph| graph.sssp(source.clone()));
    check_numbers(naive, &naive.sssp(source), |graph| graph.clone().asynchronous().sssp(source.clone()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn of_numbers(graph in graphs::<u64>(30, 120), rounds in 1u64..6) {
        check_all(&graph, rounds);
    }

    #[test]
    fn of_texts(graph in graphs::<String>(12, 40), rounds in 1u64..6) {
        check_all(&graph, rounds);
    }

    #[test]
    fn from_a_number((graph, source) in graphs_with_source::<u64>(40, 100)) {
        check_from(&graph, &source);
    }

    #[test]
    fn from_a_text((graph, source) in graphs_with_source::<String>(12, 40)) {
        check_from(&graph, &source);
    }

    #[test]
    fn triangles_are_listed_once(graph in graphs::<u64>(20, 120)) {
        let expected = graph.triangles();
        for env in runs::envs() {
            let listed = runs::graph(env, &graph).triangles().collect().unwrap();
            prop_assert_eq!(listed.len(), expected.len());
            prop_assert_eq!(&listed.into_iter().collect::<BTreeSet<_>>(), &expected);
        }
    }

    #[test]
    fn a_walk_that_begins_anew_at_some_vertices((graph, source) in graphs_with_source::<u64>(20, 80), rounds in 1u64..6) {
        let sources = BTreeSet::from([source, *graph.vertices.iter().next_back().unwrap()]);
        let expected = graph.page_rank_from(0.7, rounds, &sources);
        let options = PageRank::default().damping(0.7).iterations(rounds).personalized(sources.iter().copied());
        check_numbers(&graph, &expected, |graph| graph.page_rank(options.clone()));
    }
}
