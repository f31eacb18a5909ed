//! The references that the graph library is compared with give what LDBC's validation graphs say, and known answers.

mod kit;

use kit::reference::{Naive, UNREACHED};
use kit::{assert_close, assert_same, ldbc};
use std::collections::BTreeMap;

/// With `FLUVIAL_DATA` set.
#[test]
fn the_validation_graphs_of_ldbc() {
    for case in ldbc::cases() {
        let graph = &case.graph;
        println!("{}", case.name);
        match case.algorithm {
            "bfs" => assert_same(&graph.bfs(&case.parameter("bfs.source-vertex")), &case.expected()),
            "pr" => {
                let ranks = graph.page_rank(case.parameter("pr.damping-factor"), case.parameter("pr.num-iterations"));
                assert_close(&ranks, &case.expected(), ldbc::TOLERANCE);
            }
            "wcc" => assert!(ldbc::equivalent(&graph.wcc(), &case.expected()), "{}", case.name),
            "cdlp" => assert_same(&graph.cdlp(case.parameter("cdlp.max-iterations")), &case.expected()),
            "lcc" => assert_close(&graph.lcc(), &case.expected(), ldbc::TOLERANCE),
            _ => assert_close(&graph.sssp(&case.parameter("sssp.source-vertex")), &case.expected(), ldbc::TOLERANCE),
        }
    }
}

fn unweighted(directed: bool, edges: &[(u64, u64)]) -> Naive<u64> {
    Naive::new(directed, edges.iter().map(|(a, b)| (*a, *b, 1.0)).collect(), [9])
}

#[test]
fn a_triangle_with_a_tail() {
    let edges = [(1, 2), (2, 3), (3, 1), (3, 4), (4, 4), (1, 2)];
    let graph = unweighted(false, &edges);
    assert_same(&graph.bfs(&4), &BTreeMap::from([(1, 2), (2, 2), (3, 1), (4, 0), (9, UNREACHED)]));
    assert_same(&graph.wcc(), &BTreeMap::from([(1, 1), (2, 1), (3, 1), (4, 1), (9, 9)]));
    assert_same(&graph.scc(), &graph.wcc());
    assert_same(&graph.triangle_counts(), &BTreeMap::from([(1, 1), (2, 1), (3, 1), (4, 0), (9, 0)]));
    assert_same(&graph.core_numbers(), &BTreeMap::from([(1, 2), (2, 2), (3, 2), (4, 1), (9, 0)]));
    assert_close(&graph.lcc(), &BTreeMap::from([(1, 1.0), (2, 1.0), (3, 1.0 / 3.0), (4, 0.0), (9, 0.0)]), 1e-12);
    let directed = unweighted(true, &edges);
    assert_same(&directed.scc(), &BTreeMap::from([(1, 1), (2, 1), (3, 1), (4, 4), (9, 9)]));
    assert_close(&directed.lcc(), &BTreeMap::from([(1, 0.5), (2, 0.5), (3, 1.0 / 6.0), (4, 0.0), (9, 0.0)]), 1e-12);
    assert!((directed.page_rank(0.85, 7).values().sum::<f64>() - 1.0).abs() < 1e-12);
}
