//! Algorithms against naive versions, on random graphs: loops, duplicates, isolated vertices, ids dense, sparse and texts; any
//! number of workers, edges in memory and on disk.

mod naive;
mod random;

use super::{Graph, PageRank};
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
}
