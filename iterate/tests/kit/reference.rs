//! The algorithms by their definitions: one thread, maps and sets, nothing clever. Definitions of breadth-first search, PageRank,
//! components, label propagation, clustering and shortest paths are those of the LDBC Graphalytics specification (version 1.0),
//! extended to duplicates and loops as the library says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The distance of a vertex that cannot be reached.
pub const UNREACHED: u64 = 9_223_372_036_854_775_807;

/// Vertices and edges, as they were given.
#[derive(Clone, Debug)]
pub struct Naive<I> {
    pub directed: bool,
    pub edges: Vec<(I, I, f64)>,
    /// Those with and without edges.
    pub vertices: BTreeSet<I>,
}

type Values<I, V> = BTreeMap<I, V>;

impl<I: Ord + Clone> Naive<I> {
    pub fn new(directed: bool, edges: Vec<(I, I, f64)>, isolated: impl IntoIterator<Item = I>) -> Self {
        let mut vertices: BTreeSet<I> = isolated.into_iter().collect();
        vertices.extend(edges.iter().flat_map(|(source, target, _)| [source.clone(), target.clone()]));
        Self { directed, edges, vertices }
    }

    /// The edges as they are followed: without direction both ways, a loop once.
    fn arcs(&self) -> Vec<(I, I, f64)> {
        let mut arcs = self.edges.clone();
        if !self.directed {
            let back = self.edges.iter().filter(|(source, target, _)| source != target);
            arcs.extend(back.map(|(source, target, weight)| (target.clone(), source.clone(), *weight)));
        }
        arcs
    }

    fn each<V: Clone>(&self, value: V) -> Values<I, V> {
        self.vertices.iter().map(|vertex| (vertex.clone(), value.clone())).collect()
    }

    /// Where the arcs of each vertex lead; as often as there are arcs.
    fn out(&self) -> Values<I, Vec<(I, f64)>> {
        let mut out = self.each(Vec::new());
        for (source, target, weight) in self.arcs() {
            out.get_mut(&source).unwrap().push((target, weight));
        }
        out
    }

    /// The neighbours of each vertex in the simple undirected graph below.
    fn neighbours(&self) -> Values<I, BTreeSet<I>> {
        let mut neighbours = self.each(BTreeSet::new());
        for (source, target, _) in self.edges.iter().filter(|(source, target, _)| source != target) {
            neighbours.get_mut(source).unwrap().insert(target.clone());
            neighbours.get_mut(target).unwrap().insert(source.clone());
        }
        neighbours
    }

    /// The number of arcs to each vertex.
    pub fn bfs(&self, source: &I) -> Values<I, u64> {
        let out = self.out();
        let mut depths = self.each(UNREACHED);
        depths.insert(source.clone(), 0);
        let mut queue = VecDeque::from([source.clone()]);
        while let Some(vertex) = queue.pop_front() {
            let next = depths[&vertex] + 1;
            for (target, _) in &out[&vertex] {
                if depths[target] == UNREACHED {
                    depths.insert(target.clone(), next);
                    queue.push_back(target.clone());
                }
            }
        }
        depths
    }

    /// Bellman and Ford.
    pub fn sssp(&self, source: &I) -> Values<I, f64> {
        let arcs = self.arcs();
        let mut distances = self.each(f64::INFINITY);
        distances.insert(source.clone(), 0.0);
        loop {
            let mut changed = false;
            for (source, target, weight) in &arcs {
                let distance = distances[source] + weight;
                if distance < distances[target] {
                    distances.insert(target.clone(), distance);
                    changed = true;
                }
            }
            if !changed {
                return distances;
            }
        }
    }

    pub fn page_rank(&self, damping: f64, iterations: u64) -> Values<I, f64> {
        self.page_rank_from(damping, iterations, &self.vertices.clone())
    }

    /// PageRank of a walk that begins anew at these vertices.
    pub fn page_rank_from(&self, damping: f64, iterations: u64, sources: &BTreeSet<I>) -> Values<I, f64> {
        let out = self.out();
        let share = |vertex: &I| if sources.contains(vertex) { 1.0 / sources.len() as f64 } else { 0.0 };
        let mut ranks: Values<I, f64> = self.vertices.iter().map(|vertex| (vertex.clone(), share(vertex))).collect();
        for _ in 0..iterations {
            let dangling: f64 = ranks.iter().filter(|(vertex, _)| out[vertex].is_empty()).map(|(_, rank)| rank).sum();
            let mut next = self.each(0.0);
            for (vertex, targets) in &out {
                for (target, _) in targets {
                    *next.get_mut(target).unwrap() += ranks[vertex] / targets.len() as f64;
                }
            }
            for (vertex, rank) in &mut next {
                *rank = (1.0 - damping) * share(vertex) + damping * (*rank + dangling * share(vertex));
            }
            ranks = next;
        }
        ranks
    }

    /// The smallest vertex that is connected to each one, directions aside.
    pub fn wcc(&self) -> Values<I, I> {
        let neighbours = self.neighbours();
        let mut components = BTreeMap::new();
        // In ascending order, so that who finds a vertex is the smallest of its component.
        for first in &self.vertices {
            let mut stack = vec![first.clone()];
            while let Some(vertex) = stack.pop() {
                if !components.contains_key(&vertex) {
                    components.insert(vertex.clone(), first.clone());
                    stack.extend(neighbours[&vertex].iter().cloned());
                }
            }
        }
        components
    }

    /// The smallest vertex that each one reaches and is reached by.
    pub fn scc(&self) -> Values<I, I> {
        let reached: Values<I, BTreeSet<I>> = self
            .vertices
            .iter()
            .map(|vertex| {
                let depths = self.bfs(vertex);
                (vertex.clone(), depths.into_iter().filter(|(_, depth)| *depth != UNREACHED).map(|(v, _)| v).collect())
            })
            .collect();
        let smallest = |vertex: &I| reached[vertex].iter().find(|other| reached[other].contains(vertex)).unwrap().clone();
        self.vertices.iter().map(|vertex| (vertex.clone(), smallest(vertex))).collect()
    }

    /// Labels that are the most frequent among those of the neighbours, the smallest of them; of directed graphs both ends
    /// of an edge see each other.
    pub fn cdlp(&self, iterations: u64) -> Values<I, I> {
        let mut seen: Values<I, Vec<I>> = self.each(Vec::new());
        for (source, target, _) in self.arcs() {
            seen.get_mut(&target).unwrap().push(source.clone());
            if self.directed {
                seen.get_mut(&source).unwrap().push(target);
            }
        }
        let mut labels: Values<I, I> = self.vertices.iter().map(|vertex| (vertex.clone(), vertex.clone())).collect();
        for _ in 0..iterations {
            let next = labels.iter().map(|(vertex, label)| {
                let mut counts: BTreeMap<&I, u64> = BTreeMap::new();
                for other in &seen[vertex] {
                    *counts.entry(&labels[other]).or_default() += 1;
                }
                let most = counts.values().max().copied();
                let found = counts.into_iter().find(|(_, count)| Some(*count) == most).map_or(label, |(label, _)| label);
                (vertex.clone(), found.clone())
            });
            labels = next.collect();
        }
        labels
    }

    /// The share of the ordered pairs of neighbours between which there is an arc.
    pub fn lcc(&self) -> Values<I, f64> {
        let arcs: BTreeSet<(I, I)> = self.arcs().into_iter().map(|(source, target, _)| (source, target)).collect();
        let coefficient = |neighbours: BTreeSet<I>| {
            let pairs = neighbours.iter().flat_map(|a| neighbours.iter().map(move |b| (a, b))).filter(|(a, b)| a != b);
            let (mut all, mut there) = (0, 0);
            for (a, b) in pairs {
                all += 1;
                there += u64::from(arcs.contains(&(a.clone(), b.clone())));
            }
            if all == 0 { 0.0 } else { there as f64 / all as f64 }
        };
        self.neighbours().into_iter().map(|(vertex, neighbours)| (vertex, coefficient(neighbours))).collect()
    }

    /// The triangles, corners ascending.
    pub fn triangles(&self) -> BTreeSet<(I, I, I)> {
        let neighbours = self.neighbours();
        let mut triangles = BTreeSet::new();
        for (a, of_a) in &neighbours {
            for b in of_a.range(a.clone()..) {
                for c in of_a.range(b.clone()..).filter(|c| *c != b && neighbours[b].contains(c)) {
                    triangles.insert((a.clone(), b.clone(), c.clone()));
                }
            }
        }
        triangles
    }

    /// The number of triangles at each vertex.
    pub fn triangle_counts(&self) -> Values<I, u64> {
        let mut counts = self.each(0);
        for (a, b, c) in self.triangles() {
            [a, b, c].iter().for_each(|corner| *counts.get_mut(corner).unwrap() += 1);
        }
        counts
    }

    /// The largest k such that a vertex is left when those with fewer than k neighbours are taken away, one after another.
    pub fn core_numbers(&self) -> Values<I, u64> {
        let mut cores = self.each(0);
        let mut left = self.neighbours();
        for k in 1.. {
            while let Some(vertex) = left.iter().find(|(_, neighbours)| (neighbours.len() as u64) < k).map(|(v, _)| v.clone()) {
                left.remove(&vertex);
                left.values_mut().for_each(|neighbours| {
                    neighbours.remove(&vertex);
                });
                cores.insert(vertex, k - 1);
            }
            if left.is_empty() {
                break;
            }
        }
        cores
    }
}
