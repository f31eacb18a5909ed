//! The validation graphs of LDBC Graphalytics: graphs, parameters, and what each algorithm gives.
//!
//! They are read where the environment variable `FLUVIAL_DATA` names a folder with `graphs/ldbc-graphalytics` in it.

use super::reference::Naive;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What LDBC's own validation allows floating-point values to differ by, of what is expected.
pub const TOLERANCE: f64 = 1e-4;

/// The algorithms by their names there.
pub const ALGORITHMS: [&str; 6] = ["bfs", "pr", "wcc", "cdlp", "lcc", "sssp"];

/// A graph, an algorithm, and its result.
pub struct Case {
    pub name: String,
    pub algorithm: &'static str,
    pub graph: Naive<u64>,
    parameters: BTreeMap<String, String>,
    output: String,
}

/// All cases there are; none without the data.
pub fn cases() -> Vec<Case> {
    let Some(folder) = std::env::var_os("FLUVIAL_DATA") else { return Vec::new() };
    let folder = PathBuf::from(folder).join("graphs/ldbc-graphalytics");
    let mut cases = Vec::new();
    for directed in [true, false] {
        let (long, short) = if directed { ("directed", "dir") } else { ("undirected", "undir") };
        for algorithm in ALGORITHMS {
            let (place, base) = (folder.join("example"), format!("example-{long}"));
            let graph = edge_list(&place.join(format!("{base}.v")), &place.join(format!("{base}.e")), directed);
            let output = place.join(format!("{base}-{}", algorithm.to_uppercase()));
            cases.push(Case::new(&folder, &base, algorithm, graph, &output));
            let place = folder.join(algorithm);
            let graph = match algorithm {
                "sssp" => edge_list(&place.join(format!("{short}-input.v")), &place.join(format!("{short}-input.e")), directed),
                _ => adjacency(&place.join(format!("{short}-input")), directed),
            };
            let name = format!("test-{algorithm}-{long}");
            cases.push(Case::new(&folder, &name, algorithm, graph, &place.join(format!("{short}-output"))));
        }
    }
    cases
}

impl Case {
    fn new(folder: &Path, name: &str, algorithm: &'static str, graph: Naive<u64>, output: &Path) -> Self {
        let parameters = read(&folder.join("params").join(format!("{name}.properties")));
        let pairs = parameters.lines().filter_map(|line| line.split_once('='));
        let parameters = pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
        Self { name: name.to_owned(), algorithm, graph, parameters, output: read(output) }
    }

    /// `graph.NAME.KEY` of the properties.
    pub fn parameter<T: FromStr>(&self, key: &str) -> T {
        let key = format!("graph.{}.{key}", self.name);
        let value = self.parameters.get(&key).unwrap_or_else(|| panic!("{key} is not among the parameters"));
        value.parse().unwrap_or_else(|_| panic!("{key} = {value}"))
    }

    /// The value of each vertex.
    pub fn expected<T: FromStr>(&self) -> BTreeMap<u64, T> {
        let pair = |line: &str| -> Option<(u64, T)> {
            let (vertex, value) = line.split_once(' ')?;
            Some((vertex.parse().ok()?, value.trim().parse().ok()?))
        };
        self.output.lines().map(|line| pair(line).unwrap_or_else(|| panic!("{}: {line}", self.name))).collect()
    }
}

/// Whether two results put the same vertices together, however they call the groups.
pub fn equivalent(a: &BTreeMap<u64, u64>, b: &BTreeMap<u64, u64>) -> bool {
    let pairs: BTreeSet<(u64, u64)> = a.iter().filter_map(|(vertex, group)| Some((*group, *b.get(vertex)?))).collect();
    let groups = |values: &BTreeMap<u64, u64>| values.values().collect::<BTreeSet<_>>().len();
    a.keys().eq(b.keys()) && pairs.len() == groups(a) && pairs.len() == groups(b)
}

fn read(path: &Path) -> String {
    read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A file of vertices and one of edges, with weights where there is a third field.
fn edge_list(vertices: &Path, edges: &Path, directed: bool) -> Naive<u64> {
    let vertices: Vec<u64> = read(vertices).split_whitespace().map(|vertex| vertex.parse().unwrap()).collect();
    let edges = read(edges);
    let edges = edges.lines().map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let weight = fields.get(2).map_or(1.0, |weight| weight.parse().unwrap());
        (fields[0].parse().unwrap(), fields[1].parse().unwrap(), weight)
    });
    Naive::new(directed, edges.collect(), vertices)
}

/// A file of vertices, each followed by its neighbours; without direction each edge is there from both sides.
fn adjacency(path: &Path, directed: bool) -> Naive<u64> {
    let (mut vertices, mut edges) = (Vec::new(), Vec::new());
    for line in read(path).lines() {
        let mut ids = line.split_whitespace().map(|id| id.parse::<u64>().unwrap());
        let Some(vertex) = ids.next() else { continue };
        vertices.push(vertex);
        edges.extend(ids.filter(|other| directed || vertex <= *other).map(|other| (vertex, other, 1.0)));
    }
    Naive::new(directed, edges, vertices)
}
