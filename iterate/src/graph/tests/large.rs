//! Graphs that do not fit: edges on disk, and more processes than one. The same as in memory, in one process.

use super::super::{Cdlp, Graph, PageRank, VertexCentric};
use super::super::{UNREACHED, VertexId};
use fluvial_core::{Config, Data, DataStream, Env};
use std::net::TcpListener;

const VERTICES: u64 = 20_000;
const EDGES: u64 = 600_000;

/// A random number.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Some vertices have many more edges than others.
fn edge(n: u64) -> (u64, u64, f64) {
    let (a, b) = (mix(n), mix(n ^ 0xabcd_ef00));
    let skewed = |r: u64| (r % VERTICES) * (mix(r) % VERTICES) / VERTICES * 7 + 3;
    (skewed(a), skewed(b), (a % 1000) as f64)
}

fn graph(env: &Env, directed: bool) -> Graph<u64> {
    let edges = env.generate(EDGES, edge);
    if directed { Graph::directed_weighted(&edges) } else { Graph::undirected_weighted(&edges) }
}

/// What all algorithms give.
#[derive(Debug, Default, PartialEq)]
struct Results {
    whole: Vec<(&'static str, Vec<(u64, u64)>)>,
    numbers: Vec<(&'static str, Vec<(u64, f64)>)>,
    /// Their number, and a hash of all.
    triangles: (usize, u64),
}

fn collect<I: VertexId, V: Data>(env: &Env, spills: bool, stream: DataStream<(I, V)>) -> Vec<(I, V)> {
    let collected = stream.collect().unwrap();
    let spilled = env.last_report().unwrap().spilled_bytes;
    assert_eq!(spilled > 0, spills, "{spilled} bytes spilled");
    collected
}

fn results(env: &Env, directed: bool, spills: bool) -> Results {
    let graph = || graph(env, directed);
    let whole = |stream| collect(env, spills, stream);
    let numbers = |stream| collect(env, spills, stream);
    let source = 3;
    let reach = VertexCentric::new(
        |id: &u64| *id,
        |vertex, messages: &[u64]| {
            let least = messages.iter().copied().min().unwrap_or(u64::MAX);
            if vertex.superstep() == 0 || least < *vertex.value() {
                let least = least.min(*vertex.value());
                *vertex.value() = least;
                vertex.send_to_neighbours(|_, _| Some(least));
            }
            vertex.vote_to_halt();
        },
    );
    let triangles = graph().triangles().map(|(a, b, c)| mix(a ^ mix(b ^ mix(c)))).collect().unwrap();
    let triangles = (triangles.len(), triangles.iter().fold(0, |sum, hash| sum ^ hash));
    Results {
        whole: vec![
            ("wcc", whole(graph().wcc())),
            ("scc", whole(graph().scc())),
            ("bfs", whole(graph().bfs(source))),
            ("bfs async", whole(graph().asynchronous().bfs(source))),
            ("cdlp", whole(graph().cdlp(Cdlp::default()))),
            ("triangles", whole(graph().triangle_counts())),
            ("cores", whole(graph().core_numbers())),
            // Last: what each of several workers is guaranteed leaves too little for it in the smallest budgets.
            (
                "vertex-centric",
                if spills && env.config().threads > 1 { Vec::new() } else { whole(graph().vertex_centric(reach)) },
            ),
        ],
        numbers: vec![
            ("pagerank", numbers(graph().page_rank(PageRank::default()))),
            ("sssp", numbers(graph().sssp(source))),
            ("sssp async", numbers(graph().asynchronous().sssp(source))),
            ("lcc", numbers(graph().lcc())),
        ],
        triangles,
    }
}

fn check(found: &Results, expected: &Results) {
    for ((name, found), (_, expected)) in found.whole.iter().zip(&expected.whole) {
        if found.is_empty() {
            continue;
        }
        let differs = found.iter().zip(expected).find(|(a, b)| a != b);
        assert_eq!((found.len(), differs), (expected.len(), None), "{name}");
    }
    for ((name, found), (_, expected)) in found.numbers.iter().zip(&expected.numbers) {
        assert_eq!(found.len(), expected.len(), "{name}");
        for ((vertex, a), (same, b)) in found.iter().zip(expected) {
            assert!(vertex == same && (a == b || (a - b).abs() <= 1e-9 * b.abs()), "{name}: {vertex} {a}, expected {same} {b}");
        }
    }
    assert_eq!(found.triangles, expected.triangles);
}

#[test]
fn edges_on_disk_and_in_memory_give_the_same() {
    for (threads, directed) in [(1, false), (2, true)] {
        let ample = Env::new(Config { threads: 3, memory: 256 << 20, ..Config::default() });
        let expected = results(&ample, directed, false);
        assert!(expected.whole[2].1.iter().any(|(_, hops)| *hops > 1 && *hops < UNREACHED));
        let scarce = Env::new(Config { threads, memory: threads * (3328 << 10), ..Config::default() });
        check(&results(&scarce, directed, true), &expected);
    }
}

#[test]
fn a_budget_that_values_of_vertices_do_not_fit_in_is_told_with_what_they_need() {
    let env = Env::new(Config { threads: 1, memory: 4 << 20, ..Config::default() });
    let graph = Graph::directed(&env.generate(200_000, |n| (n, n + 1)));
    let error = graph.page_rank(PageRank::default()).count().unwrap_err().to_string();
    assert!(error.contains("memory: 4 MiB given, `pagerank` of 200001 vertices and 200000 edges needs about"), "{error}");
}

#[test]
fn several_processes_give_the_same() {
    let alone = Env::new(Config { threads: 2, memory: 256 << 20, ..Config::default() });
    let expected = results(&alone, true, false);
    let listeners: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    std::thread::scope(|scope| {
        for process in 0..2 {
            let (hosts, expected) = (hosts.clone(), &expected);
            scope.spawn(move || {
                let env = Env::new(Config { threads: 2, memory: 256 << 20, hosts, process, ..Config::default() });
                check(&results(&env, true, false), expected);
            });
        }
    });
}
