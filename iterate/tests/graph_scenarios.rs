//! Graphs whose answers are known: LDBC's, a real one, regular ones; in one process and in two, in ample memory and in little.

mod kit;

use fluvial_core::{Data, DataStream, Env};
use fluvial_iterate::graph::generate::{Complete, Cycle, EdgeGenerator, Grid, Path, Rmat, Star};
use fluvial_iterate::graph::{Cdlp, Graph, PageRank, Supersteps, UNREACHED};
use kit::{assert_close, assert_same, ldbc, runs};
use std::collections::BTreeMap;

/// With `FLUVIAL_DATA` set: the validation graphs of LDBC Graphalytics, in one process and in two.
#[test]
fn the_validation_graphs_of_ldbc() {
    let cases = ldbc::cases();
    let validate = |env: &Env| {
        for case in &cases {
            println!("{} {}", case.name, case.algorithm);
            let graph = runs::graph(env, &case.graph);
            match case.algorithm {
                "bfs" => assert_same(&runs::values(&graph.bfs(case.parameter("bfs.source-vertex"))), &case.expected()),
                "pr" => {
                    let options = PageRank::default().damping(case.parameter("pr.damping-factor"));
                    let ranks = graph.page_rank(options.iterations(case.parameter("pr.num-iterations")));
                    assert_close(&runs::values(&ranks), &case.expected(), ldbc::TOLERANCE);
                }
                "wcc" => assert!(ldbc::equivalent(&runs::values(&graph.wcc()), &case.expected()), "{}", case.name),
                "cdlp" => {
                    let labels = graph.cdlp(Cdlp::default().iterations(case.parameter("cdlp.max-iterations")));
                    assert_same(&runs::values(&labels), &case.expected());
                }
                "lcc" => assert_close(&runs::values(&graph.lcc()), &case.expected(), ldbc::TOLERANCE),
                _ => {
                    let distances = graph.sssp(case.parameter("sssp.source-vertex"));
                    assert_close(&runs::values(&distances), &case.expected(), ldbc::TOLERANCE);
                }
            }
        }
    };
    runs::envs().iter().for_each(validate);
    if !cases.is_empty() {
        runs::in_processes(2, 2, 64 << 20, validate);
    }
}

/// With `FLUVIAL_DATA` set: the autonomous systems of the Internet in 2000, whose edges are there from both sides, with loops.
#[test]
fn the_graph_of_autonomous_systems() {
    let Some(folder) = std::env::var_os("FLUVIAL_DATA") else { return };
    let path = std::path::PathBuf::from(folder).join("graphs/as20graph.txt.zst");
    let text = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("as20graph.txt").display().to_string();
    std::fs::write(&path, text).unwrap();
    let files = fluvial_iterate::graph::files::EdgeFiles::open(&[path], &Default::default()).unwrap();
    for env in runs::envs() {
        let graph: Graph = files.graph(env, false).unwrap();
        let components = runs::values(&graph.wcc());
        assert_eq!(components.len(), 6474);
        assert!(components.values().all(|component| *component == 1));
        let triangles: u64 = runs::values(&graph.triangle_counts()).values().sum();
        assert_eq!(triangles, 3 * 6584);
        assert_eq!(graph.triangles().count().unwrap(), 6584);
    }
}

fn made(env: &Env, generator: &impl EdgeGenerator, directed: bool) -> Graph {
    generator.graph(env, directed).unwrap()
}

#[test]
fn regular_graphs() {
    for env in runs::envs() {
        let grid = runs::values(&made(env, &Grid::new(30, 40), false).bfs(0));
        assert!(grid.iter().all(|(vertex, depth)| *depth == vertex / 40 + vertex % 40));
        let path = runs::values(&made(env, &Path::new(2000), true).bfs(1000));
        assert!(path.iter().all(|(v, depth)| *depth == if *v < 1000 { UNREACHED } else { v - 1000 }));
        let star = runs::values(&made(env, &Star::new(1000), false).lcc());
        assert!(star.values().all(|coefficient| *coefficient == 0.0));
        let cycle = runs::values(&made(env, &Cycle::new(500), true).scc());
        assert!(cycle.values().all(|component| *component == 0) && cycle.len() == 500);
        let path = runs::values(&made(env, &Path::new(500), true).scc());
        assert!(path.iter().all(|(vertex, component)| vertex == component));
        let complete = made(env, &Complete::new(60), false);
        assert!(runs::values(&complete.triangle_counts()).values().all(|count| *count == 59 * 58 / 2));
        assert!(runs::values(&complete.core_numbers()).values().all(|core| *core == 59));
        assert!(runs::values(&complete.lcc()).values().all(|coefficient| *coefficient == 1.0));
        let ranks = runs::values(&complete.page_rank(PageRank::default().tolerance(1e-12)));
        assert!(ranks.values().all(|rank| (rank - 1.0 / 60.0).abs() < 1e-12));
    }
}

/// What all algorithms give of a graph.
#[derive(Debug, PartialEq)]
struct Answers {
    ranks: BTreeMap<u64, f64>,
    distances: BTreeMap<u64, f64>,
    others: Vec<BTreeMap<u64, u64>>,
    coefficients: BTreeMap<u64, f64>,
}

fn answers(env: &Env, rmat: &Rmat, directed: bool) -> Answers {
    let graph = made(env, rmat, directed);
    let source = 3;
    fn whole<V: Data>(results: DataStream<(u64, V)>) -> BTreeMap<u64, V> {
        runs::values(&results)
    }
    Answers {
        ranks: whole(graph.page_rank(PageRank::default().iterations(5))),
        distances: whole(graph.sssp(source)),
        coefficients: whole(graph.lcc()),
        others: vec![
            whole(graph.bfs(source)),
            whole(graph.wcc()),
            whole(graph.scc()),
            whole(graph.cdlp(Cdlp::default().iterations(4))),
            whole(graph.triangle_counts()),
            whole(graph.core_numbers()),
        ],
    }
}

impl Answers {
    fn assert_are(&self, expected: &Self) {
        assert_close(&self.ranks, &expected.ranks, 1e-9);
        assert_close(&self.distances, &expected.distances, 1e-9);
        assert_close(&self.coefficients, &expected.coefficients, 1e-9);
        self.others.iter().zip(&expected.others).for_each(|(found, expected)| assert_same(found, expected));
    }
}

#[test]
fn several_workers_and_little_memory_give_the_same() {
    let rmat = Rmat::new(13, 16).seed(4).with_weights();
    for directed in [true, false] {
        let expected = answers(&runs::env(1, 64 << 20), &rmat, directed);
        answers(&runs::env(3, 64 << 20), &rmat, directed).assert_are(&expected);
        answers(&runs::env(2, 8 << 20), &rmat, directed).assert_are(&expected);
    }
}

#[test]
fn two_processes_give_the_same() {
    let rmat = Rmat::new(13, 16).seed(4).with_weights();
    for directed in [true, false] {
        let expected = answers(&runs::env(1, 64 << 20), &rmat, directed);
        for found in runs::in_processes(2, 2, 64 << 20, |env| answers(env, &rmat, directed)) {
            found.assert_are(&expected);
        }
    }
}

#[test]
fn edges_that_do_not_fit_are_read_from_disk() {
    let rmat = Rmat::new(15, 64).seed(4);
    let options = PageRank::default().iterations(3);
    let ample = runs::env(2, 256 << 20);
    let expected = runs::values(&made(&ample, &rmat, true).page_rank(options.clone()));
    let little = runs::env(2, 12 << 20);
    let found = runs::values(&made(&little, &rmat, true).page_rank(options));
    let (spilled, before) = (little.last_report().unwrap().spilled_bytes, ample.last_report().unwrap().spilled_bytes);
    assert!(spilled > 1 << 20 && before == 0, "{spilled} bytes spilled, {before} in ample memory");
    assert_close(&found, &expected, 1e-9);
}

#[test]
fn supersteps_are_told_as_they_end() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let listener = seen.clone();
    let supersteps = Supersteps::listen(move |info| listener.lock().unwrap().push(info.superstep));
    let env = runs::env(2, 64 << 20);
    let path = made(&env, &Path::new(50), true).observe(&supersteps);
    assert_eq!(runs::values(&path.bfs(0))[&49], 49);
    let summary = supersteps.summary();
    assert_eq!((summary.vertices, summary.edges), (50, 49));
    assert!((49..=51).contains(&summary.supersteps.len()), "{}", summary.supersteps.len());
    let numbers: Vec<u64> = summary.supersteps.iter().map(|superstep| superstep.superstep).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(*seen.lock().unwrap(), numbers);
    assert!(summary.seconds > 0.0 && summary.layout_seconds <= summary.seconds);
}

#[test]
fn what_cannot_be_says_why() {
    let env = runs::env(2, 64 << 20);
    let plain = env.from_collection([(1u64, 2u64)]);
    let error = |results: DataStream<(u64, f64)>| results.collect().unwrap_err().to_string();
    let weights = |weights: [f64; 2]| env.from_collection([(1u64, 2u64, weights[0]), (2, 3, weights[1])]);
    let negative = error(Graph::directed_weighted(&weights([1.0, -0.5])).sssp(1));
    assert!(negative.contains("-0.5"), "{negative}");
    let none = error(Graph::directed_weighted(&weights([1.0, 2.0])).sssp(7));
    assert!(none.contains('7'), "{none}");
    let unweighted = error(Graph::directed(&plain).sssp(1));
    assert!(unweighted.contains("weight"), "{unweighted}");
    let none = Graph::directed(&plain).bfs(9).collect().unwrap_err().to_string();
    assert!(none.contains('9'), "{none}");
}
