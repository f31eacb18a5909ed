//! What the algorithms are defined to give, in the simplest way, for vertices in order.

use super::super::UNREACHED;
use super::Case;
use std::collections::{BTreeMap, BTreeSet};

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

pub(super) fn scc(case: &Case) -> Vec<u64> {
    let vertices = case.vertices();
    let mut reaches: Vec<Vec<bool>> = (0..vertices.len()).map(|v| (0..vertices.len()).map(|w| v == w).collect()).collect();
    case.arcs().iter().for_each(|&(s, t, _)| reaches[s][t] = true);
    for via in 0..vertices.len() {
        for from in 0..vertices.len() {
            if reaches[from][via] {
                let further = reaches[via].clone();
                reaches[from].iter_mut().zip(further).for_each(|(there, further)| *there |= further);
            }
        }
    }
    let least = |v: usize| (0..vertices.len()).find(|&w| reaches[v][w] && reaches[w][v]).unwrap();
    (0..vertices.len()).map(|v| vertices[least(v)]).collect()
}

pub(super) fn sssp(case: &Case, source: u64) -> Vec<f64> {
    let vertices = case.vertices();
    let mut distances = vec![f64::INFINITY; vertices.len()];
    distances[Case::place(&vertices, source)] = 0.0;
    for _ in 0..vertices.len() {
        for (s, t, w) in case.arcs() {
            distances[t] = distances[t].min(distances[s] + w);
        }
    }
    distances
}

pub(super) fn bfs(case: &Case, source: u64) -> Vec<u64> {
    let hops = Case { edges: case.edges.iter().map(|&(s, t, _)| (s, t, 1.0)).collect(), ..case.clone() };
    sssp(&hops, source).into_iter().map(|d| if d.is_finite() { d as u64 } else { UNREACHED }).collect()
}

pub(super) fn cdlp(case: &Case, rounds: u64) -> Vec<u64> {
    let vertices = case.vertices();
    let mut labels = vertices.clone();
    let mut neighbours = vec![Vec::new(); vertices.len()];
    for (s, t, _) in case.arcs() {
        neighbours[s].push(t);
        if case.directed {
            neighbours[t].push(s);
        }
    }
    for _ in 0..rounds {
        let vote = |v: usize| {
            let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
            neighbours[v].iter().for_each(|&n: &usize| *votes.entry(labels[n]).or_default() += 1);
            let most = votes.values().copied().max();
            votes.into_iter().find(|(_, count)| Some(*count) == most).map_or(labels[v], |(label, _)| label)
        };
        labels = (0..vertices.len()).map(vote).collect();
    }
    labels
}

/// Arcs without duplicates and loops.
fn simple(case: &Case) -> BTreeSet<(usize, usize)> {
    case.arcs().into_iter().map(|(s, t, _)| (s, t)).filter(|(s, t)| s != t).collect()
}

/// Neighbours in either direction.
fn neighbours(case: &Case) -> Vec<BTreeSet<usize>> {
    let mut neighbours = vec![BTreeSet::new(); case.vertices().len()];
    for (s, t) in simple(case) {
        neighbours[s].insert(t);
        neighbours[t].insert(s);
    }
    neighbours
}

pub(super) fn lcc(case: &Case) -> Vec<f64> {
    let arcs = simple(case);
    let coefficient = |all: &BTreeSet<usize>| {
        let pairs = all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b)));
        let there = pairs.filter(|pair| arcs.contains(pair)).count();
        if all.len() < 2 { 0.0 } else { there as f64 / (all.len() * (all.len() - 1)) as f64 }
    };
    neighbours(case).iter().map(coefficient).collect()
}

pub(super) fn triangles(case: &Case) -> Vec<(u64, u64, u64)> {
    let (vertices, neighbours) = (case.vertices(), neighbours(case));
    let mut found = Vec::new();
    for a in 0..vertices.len() {
        for &b in neighbours[a].iter().filter(|&&b| b > a) {
            for &c in neighbours[b].iter().filter(|&&c| c > b && neighbours[a].contains(&c)) {
                found.push((vertices[a], vertices[b], vertices[c]));
            }
        }
    }
    found
}

pub(super) fn core_numbers(case: &Case) -> Vec<u64> {
    let neighbours = neighbours(case);
    let mut cores = vec![0; neighbours.len()];
    for k in 1.. {
        let mut alive: BTreeSet<usize> = (0..neighbours.len()).collect();
        loop {
            let weak = |v: &usize| neighbours[*v].intersection(&alive).count() < k;
            let gone: Vec<usize> = alive.iter().copied().filter(|v| weak(v)).collect();
            if gone.is_empty() {
                break;
            }
            gone.iter().for_each(|v| _ = alive.remove(v));
        }
        if alive.is_empty() {
            return cores;
        }
        alive.iter().for_each(|&v| cores[v] = k as u64);
    }
    cores
}
