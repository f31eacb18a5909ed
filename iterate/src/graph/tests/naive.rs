//! What the algorithms are defined to give, in the simplest way, for vertices in order.

use super::Case;

pub(super) fn page_rank(case: &Case, damping: f64, rounds: usize, sources: &[u64]) -> Vec<f64> {
    let vertices = case.vertices();
    let arcs = case.arcs();
    let count = vertices.len();
    let origin: Vec<f64> = vertices
        .iter()
        .map(|id| match sources {
            [] => 1.0 / count as f64,
            some if some.contains(id) => 1.0 / some.len() as f64,
            _ => 0.0,
        })
        .collect();
    let degree = |v: usize| arcs.iter().filter(|arc| arc.0 == v).count();
    let mut ranks = origin.clone();
    for _ in 0..rounds {
        let dangling: f64 = (0..count).filter(|&v| degree(v) == 0).map(|v| ranks[v]).sum();
        let mut next: Vec<f64> = origin.iter().map(|o| o * (1.0 - damping + damping * dangling)).collect();
        for &(s, t, _) in &arcs {
            next[t] += damping * ranks[s] / degree(s) as f64;
        }
        ranks = next;
    }
    ranks
}

pub(super) fn wcc(case: &Case) -> Vec<u64> {
    let vertices = case.vertices();
    let mut labels: Vec<u64> = vertices.clone();
    loop {
        let before = labels.clone();
        for (s, t, _) in case.arcs() {
            let least = labels[s].min(labels[t]);
            (labels[s], labels[t]) = (least, least);
        }
        if before == labels {
            return labels;
        }
    }
}
