//! Graph algorithms on a graph that is in memory, one a run: prints a line of JSON a repetition.
//!
//!     cargo bench --bench graph -- pagerank|wcc|scc|bfs|sssp|cdlp|lcc|triangles|kcore|rmat
//!
//! The graph is R-MAT of SCALE (20) and EDGE_FACTOR (16), or that of EDGES, a file of edges. THREADS (the cores), MEMORY (4GiB),
//! ITERATIONS (20), RUNS (3) and UNDIRECTED come from the environment. `seconds` is the whole job: edges from memory into the engine,
//! ids compacted, adjacency laid out, the algorithm, results counted; `after_input` begins when the last edge has come. `peak_mb` is
//! all that is resident, the edges that wait to be taken included (`edges_mb`). `rmat` measures the generator alone.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use fluvial::prelude::*;
use fluvial_core::{parse_bytes, peak_resident};
use fluvial_iterate::graph::files::{EdgeFiles, GraphFileOptions};
use fluvial_iterate::graph::generate::{EdgeGenerator, Rmat};
use fluvial_iterate::graph::{Cdlp, Graph, PageRank, Supersteps};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}: `{v}` is not a number")))
}

fn environment() -> Env {
    let mut config = Config { memory: 4 << 30, ..Config::default() };
    if let Ok(memory) = std::env::var("MEMORY") {
        config.memory = parse_bytes(&memory).unwrap_or_else(|e| panic!("MEMORY: {e}"));
    }
    config.threads = number("THREADS", config.threads as u64) as usize;
    Env::new(config)
}

/// The edges as they are handed to the engine.
fn edges(env: &Env, weighted: bool) -> Result<Vec<RecordBatch>> {
    match std::env::var("EDGES") {
        Ok(path) => EdgeFiles::open(&[path], &GraphFileOptions::default().weighted(weighted))?.table(env).collect(),
        Err(_) => rmat(weighted).table(env)?.collect(),
    }
}

fn rmat(weighted: bool) -> Rmat {
    let rmat = Rmat::new(number("SCALE", 20) as u32, number("EDGE_FACTOR", 16)).seed(number("SEED", 1));
    if weighted { rmat.with_weights() } else { rmat }
}

/// Runs an algorithm; gives the number of vertices and a number to check the result by.
fn run(graph: &Graph, algorithm: &str, source: u64) -> Result<(u64, f64)> {
    let iterations = number("ITERATIONS", 20);
    let floats = |values: DataStream<(u64, f64)>| values.map(|(_, v)| if v.is_finite() { v } else { 0.0 }).aggregate(Checked);
    let numbers = |values: DataStream<(u64, u64)>| floats(values.map(|(vertex, v)| (vertex, v as f64)));
    let components = |values: DataStream<(u64, u64)>| numbers(values.map(|(vertex, c)| (vertex, u64::from(vertex == c))));
    let checked = match algorithm {
        "pagerank" => floats(graph.page_rank(PageRank::default().iterations(iterations))),
        "wcc" => components(graph.wcc()),
        "scc" => components(graph.scc()),
        "bfs" => numbers(graph.bfs(source).map(|(vertex, depth)| (vertex, if depth > 1 << 40 { 0 } else { depth }))),
        "sssp" => floats(graph.sssp(source)),
        "cdlp" => components(graph.cdlp(Cdlp::default().iterations(iterations))),
        "lcc" => floats(graph.lcc()),
        "triangles" => numbers(graph.triangle_counts()),
        "kcore" => numbers(graph.core_numbers()),
        other => return Err(Error::Plan(format!("there is no algorithm `{other}`"))),
    };
    Ok(checked.collect()?.first().copied().unwrap_or_default())
}

/// Count and sum.
#[derive(Clone)]
struct Checked;

impl Aggregator<f64> for Checked {
    type Accumulator = (u64, f64);
    type Output = (u64, f64);
    fn create(&self) -> (u64, f64) {
        (0, 0.0)
    }
    fn add(&self, sum: &mut (u64, f64), value: f64) {
        sum.0 += 1;
        sum.1 += value;
    }
    fn merge(&self, sum: &mut (u64, f64), other: (u64, f64)) {
        sum.0 += other.0;
        sum.1 += other.1;
    }
    fn finish(&self, sum: (u64, f64)) -> (u64, f64) {
        sum
    }
}

fn measure(algorithm: &str) -> Result<()> {
    let env = environment();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let threads = env.config().threads;
    if algorithm == "rmat" {
        for _ in 0..number("RUNS", 3) {
            let began = Instant::now();
            let edges = rmat(false).table(&env)?.count()?;
            let seconds = began.elapsed().as_secs_f64();
            println!(r#"{{"workload":"rmat","edges":{edges},"seconds":{seconds:.3},"threads":{threads},"cores":{cores}}}"#);
        }
        return Ok(());
    }
    let batches = edges(&env, algorithm == "sssp")?;
    let schema = batches.first().map_or_else(|| rmat(false).table(&env).map(|t| t.schema().clone()), |b| Ok(b.schema()))?;
    let source = batches.first().map_or(0, |batch| batch.column(0).as_primitive::<UInt64Type>().value(0));
    let edges_mb = batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() >> 20;
    for _ in 0..number("RUNS", 3) {
        let supersteps = Supersteps::new();
        let began = Instant::now();
        let table = env.from_batches(schema.clone(), batches.clone())?;
        let graph: Graph = Graph::from_table(&table, number("UNDIRECTED", 0) == 0)?.observe(&supersteps);
        let (vertices, check) = run(&graph, algorithm, source)?;
        let seconds = began.elapsed().as_secs_f64();
        let summary = supersteps.summary();
        let (edges, rounds, after, layout) = (summary.edges, summary.supersteps.len(), summary.seconds, summary.layout_seconds);
        let (peak_mb, spilled) = (peak_resident() >> 20, env.last_report().map_or(0, |report| report.spilled_bytes >> 20));
        println!(
            r#"{{"workload":"{algorithm}","vertices":{vertices},"edges":{edges},"supersteps":{rounds},"seconds":{seconds:.3},"after_input":{after:.3},"layout":{layout:.3},"check":{check:.6},"peak_mb":{peak_mb},"edges_mb":{edges_mb},"spilled_mb":{spilled},"threads":{threads},"cores":{cores}}}"#
        );
    }
    Ok(())
}

fn main() -> Result<()> {
    // `cargo bench` adds `--bench`.
    let algorithms: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    algorithms.iter().try_for_each(|algorithm| measure(algorithm))
}
