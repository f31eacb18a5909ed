//! Algorithms against naive versions, on random graphs: loops, duplicates, isolated vertices, ids dense, sparse and texts; any
//! number of workers, edges in memory and on disk.

mod naive;
mod random;

use super::{Cdlp, Graph, PageRank};
use proptest::prelude::*;
use random::{Case, cases};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn page_rank(case in cases(), personal in any::<bool>()) {
        let sources: Vec<u64> = if personal { case.vertices().into_iter().step_by(3).collect() } else { Vec::new() };
        let expected = naive::page_rank(&case, 0.85, 7, &sources);
        let options = PageRank::default().iterations(7).personalized(sources);
        case.check_numbers(&expected, |graph| graph.page_rank(options.clone()));
    }

    #[test]
    fn wcc(case in cases()) {
        let expected = naive::wcc(&case);
        case.check(&expected, |graph| graph.wcc());
        case.check_texts(&expected, |graph| graph.wcc());
    }

    #[test]
    fn scc(case in cases()) {
        let expected = naive::scc(&case);
        case.check(&expected, |graph| graph.scc());
    }

    #[test]
    fn bfs(case in cases(), source in any::<prop::sample::Index>()) {
        prop_assume!(!case.vertices().is_empty());
        let source = case.vertices()[source.index(case.vertices().len())];
        let expected = naive::bfs(&case, source);
        case.check(&expected, |graph| graph.bfs(source));
        case.check(&expected, |graph| graph.asynchronous().bfs(source));
    }

    #[test]
    fn sssp(case in cases(), source in any::<prop::sample::Index>()) {
        prop_assume!(!case.vertices().is_empty());
        let source = case.vertices()[source.index(case.vertices().len())];
        let expected = naive::sssp(&case, source);
        case.check_numbers(&expected, |graph| graph.sssp(source));
        case.check_numbers(&expected, |graph| graph.asynchronous().sssp(source));
    }

    #[test]
    fn cdlp(case in cases(), rounds in 0u64..6) {
        let expected = naive::cdlp(&case, rounds);
        case.check(&expected, |graph| graph.cdlp(Cdlp::default().iterations(rounds)));
        case.check_texts(&expected, |graph| graph.cdlp(Cdlp::default().iterations(rounds)));
    }

    #[test]
    fn lcc(case in cases()) {
        let expected = naive::lcc(&case);
        case.check_numbers(&expected, |graph| graph.lcc());
    }

    #[test]
    fn triangles(case in cases()) {
        let expected = naive::triangles(&case);
        let vertices = case.vertices();
        let mut counts = vec![0u64; vertices.len()];
        expected.iter().flat_map(|(a, b, c)| [a, b, c]).for_each(|v| counts[Case::place(&vertices, *v)] += 1);
        case.check(&counts, |graph| graph.triangle_counts());
        let mut found = case.graph().triangles().collect().unwrap();
        found.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn core_numbers(case in cases()) {
        let expected = naive::core_numbers(&case);
        case.check(&expected, |graph| graph.core_numbers());
    }
}
