//! What tests of graphs compare with: algorithms by their definitions, random graphs, the validation graphs of LDBC.
//!
//! Each test program uses a part of it.
#![allow(dead_code)]

pub mod ldbc;
pub mod random;
pub mod reference;
pub mod runs;

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Fails with the first vertices of which two results differ; floating-point values may by this part of what is expected.
pub fn assert_close<I: Ord + Debug>(found: &BTreeMap<I, f64>, expected: &BTreeMap<I, f64>, tolerance: f64) {
    let close = |found: f64, expected: f64| found == expected || (found - expected).abs() <= tolerance * expected.abs();
    assert_alike(found, expected, |a, b| close(*a, *b));
}

/// Fails with the first vertices of which two results differ.
pub fn assert_same<I: Ord + Debug, V: PartialEq + Debug>(found: &BTreeMap<I, V>, expected: &BTreeMap<I, V>) {
    assert_alike(found, expected, |a, b| a == b);
}

fn assert_alike<I: Ord + Debug, V: Debug>(found: &BTreeMap<I, V>, expected: &BTreeMap<I, V>, alike: impl Fn(&V, &V) -> bool) {
    let missing: Vec<&I> = expected.keys().filter(|vertex| !found.contains_key(vertex)).take(3).collect();
    let extra: Vec<&I> = found.keys().filter(|vertex| !expected.contains_key(vertex)).take(3).collect();
    assert!(missing.is_empty() && extra.is_empty(), "vertices without a value: {missing:?}, without need: {extra:?}");
    let wrong = expected.iter().filter_map(|(vertex, expected)| {
        let found = &found[vertex];
        (!alike(found, expected)).then(|| format!("{vertex:?}: expected {expected:?}, found {found:?}"))
    });
    let wrong: Vec<String> = wrong.take(5).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}
