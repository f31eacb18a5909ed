//! Algorithms of the library on graphs of the kit, by different numbers of workers and processes.

use super::reference::Naive;
use fluvial_core::{Config, Data, DataStream, Env};
use fluvial_iterate::graph::{Graph, VertexId};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::OnceLock;

/// Environments of one, two and three workers, made once: a job each, one after another.
pub fn envs() -> &'static [Env] {
    static ENVS: OnceLock<Vec<Env>> = OnceLock::new();
    ENVS.get_or_init(|| (1..=3).map(|threads| env(threads, 64 << 20)).collect())
}

/// An environment of so many workers, and bytes of managed memory.
pub fn env(threads: usize, memory: usize) -> Env {
    Env::new(Config { threads, memory, ..Config::default() })
}

/// The graph as the library has it, in an environment.
pub fn graph<I: VertexId>(env: &Env, graph: &Naive<I>) -> Graph<I> {
    let edges = env.from_collection(graph.edges.clone());
    let made = if graph.directed { Graph::directed_weighted(&edges) } else { Graph::undirected_weighted(&edges) };
    // Vertices with edges may be named, too.
    made.with_vertices(&env.from_collection(graph.vertices.clone()))
}

/// Each vertex with its value.
pub fn values<I: VertexId, V: Data>(results: &DataStream<(I, V)>) -> BTreeMap<I, V> {
    let results = results.collect().unwrap();
    let count = results.len();
    assert!(results.is_sorted_by(|a, b| a.0 < b.0), "results are not in the order of the vertices");
    let values: BTreeMap<I, V> = results.into_iter().collect();
    assert_eq!(values.len(), count, "a vertex has two values");
    values
}

/// Runs the same program as each of several processes, each in a thread of its own; gives what each of them has.
pub fn in_processes<R: Send>(count: usize, threads: usize, memory: usize, program: impl Fn(&Env) -> R + Sync) -> Vec<R> {
    // Ports that are free now.
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    std::thread::scope(|scope| {
        let run = |process: usize| {
            let (hosts, program) = (hosts.clone(), &program);
            scope.spawn(move || program(&Env::new(Config { threads, memory, hosts, process, ..Config::default() })))
        };
        let all: Vec<_> = (0..count).map(run).collect();
        all.into_iter().map(|process| process.join().unwrap()).collect()
    })
}
