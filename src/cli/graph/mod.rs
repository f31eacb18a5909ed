//! `fluvial graph`: an algorithm over a graph in files.

mod args;
mod plot;
mod results;

pub use args::Graph;

use super::job::Job;
use super::late_file::LateFile;
use args::GraphJob;
use fluvial_core::{Error, Interrupt, Result, SuperstepReport};
use fluvial_iterate::graph::files::{EdgeFiles, GraphFileOptions, IdType, VertexFiles};
use fluvial_iterate::graph::{Cdlp, Graph as Edges, GraphSummary, PageRank, Supersteps, VertexId};
use results::{Id, Results};
use std::io::Write;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Supersteps that are all shown; of more, one now and then.
const SHOWN: u64 = 100;

/// Between two of the supersteps that are shown then.
const NOW_AND_THEN: Duration = Duration::from_millis(100);

/// Runs one algorithm.
pub fn run(graph: &Graph, interrupt: &Interrupt) -> Result<()> {
    let (args, name, weighted) = match graph {
        Graph::Pagerank(args) => (&args.graph, "pagerank", false),
        Graph::Wcc(args) => (&args.graph, "wcc", false),
        Graph::Scc(args) => (&args.graph, "scc", false),
        Graph::Bfs(args) => (&args.graph, "bfs", false),
        Graph::Sssp(args) => (&args.graph, "sssp", true),
        Graph::Cdlp(args) => (&args.graph, "cdlp", false),
        Graph::Lcc(args) => (&args.graph, "lcc", false),
        Graph::Triangles(args) => (&args.graph, "triangles", false),
        Graph::Kcore(args) => (&args.graph, "kcore", false),
    };
    let mut options = GraphFileOptions::default().weighted(args.weighted || weighted);
    if let Some(ids) = args.ids {
        options = options.ids(ids.into());
    }
    if !args.columns.is_empty() {
        options = options.columns(&args.columns);
    }
    let files = EdgeFiles::open(&args.edges, &options)?;
    let vertices = args.vertices.as_ref().map(|file| VertexFiles::open(&[file], &GraphFileOptions::default().ids(files.ids())));
    let task = Task { graph, args, name, files, vertices: vertices.transpose()? };
    match task.files.ids() {
        IdType::Number => task.run::<u64>(interrupt),
        IdType::Text => task.run::<String>(interrupt),
    }
}

/// An algorithm and the files it is about.
struct Task<'a> {
    graph: &'a Graph,
    args: &'a GraphJob,
    name: &'static str,
    files: EdgeFiles,
    vertices: Option<VertexFiles>,
}

impl Task<'_> {
    fn run<I: Id>(&self, interrupt: &Interrupt) -> Result<()> {
        let started = Instant::now();
        let mut job = Job::new(&self.args.common, interrupt)?;
        let tells = job.is_first() && !self.args.common.explain;
        let picture = self.args.plot.as_deref().filter(|_| tells).map(LateFile::create).transpose()?;
        let bar = job.progress();
        let shown = Mutex::new((0, started));
        let supersteps = Supersteps::listen(move |superstep| {
            let mut shown = shown.lock().unwrap_or_else(|e| e.into_inner());
            let (count, last) = &mut *shown;
            if *count < SHOWN || last.elapsed() >= NOW_AND_THEN {
                (*count, *last) = (*count + 1, Instant::now());
                bar.say(&line(superstep));
            }
        });
        let mut graph = self.files.graph::<I>(&job.env, self.args.directed)?.observe(&supersteps);
        if let Some(vertices) = &self.vertices {
            graph = graph.with_vertex_table(&vertices.table(&job.env))?;
        }
        let results = self.results(&graph)?;
        let summary = supersteps.clone();
        job.detail("graph", move || serde_json::to_value(summary.summary()));
        results.deliver(job, self.name, &self.args.out)?;
        if !tells {
            return Ok(());
        }
        let summary = supersteps.summary();
        if let Some(picture) = picture {
            picture.write(plot::draw(self.name, &summary)?.as_bytes())?;
        }
        say(self.name, &summary, started.elapsed());
        Ok(())
    }

    fn results<I: Id>(&self, graph: &Edges<I>) -> Result<Results> {
        let top = self.args.top;
        match self.graph {
            Graph::Pagerank(args) => {
                let sources = args.source.iter().map(|source| self.vertex(source)).collect::<Result<Vec<I>>>()?;
                let mut options = PageRank::default().damping(args.damping).personalized(sources);
                if let Some(iterations) = args.iterations {
                    options = options.iterations(iterations);
                }
                if let Some(tolerance) = args.tolerance {
                    options = options.tolerance(tolerance);
                }
                Results::new(&graph.page_rank(options), top)
            }
            Graph::Wcc(args) => Results::new(&self.maybe_asynchronous(graph, args.asynchronous).wcc(), top),
            Graph::Scc(_) => Results::new(&graph.scc(), top),
            Graph::Bfs(args) => {
                let depths = self.maybe_asynchronous(graph, args.asynchronous).bfs(self.vertex(&args.source)?);
                Results::of_reached(&depths, top, |depth| *depth < fluvial_iterate::graph::UNREACHED)
            }
            Graph::Sssp(args) => {
                let distances = self.maybe_asynchronous(graph, args.asynchronous).sssp(self.vertex(&args.source)?);
                Results::of_reached(&distances, top, |distance| distance.is_finite())
            }
            Graph::Cdlp(args) => Results::new(&graph.cdlp(Cdlp::default().iterations(args.iterations)), top),
            Graph::Lcc(_) => Results::new(&graph.lcc(), top),
            Graph::Triangles(_) => Results::new(&graph.triangle_counts(), top),
            Graph::Kcore(_) => Results::new(&graph.core_numbers(), top),
        }
    }

    fn maybe_asynchronous<I: VertexId>(&self, graph: &Edges<I>, asynchronous: bool) -> Edges<I> {
        if asynchronous { graph.clone().asynchronous() } else { graph.clone() }
    }

    /// A vertex that the command line names.
    fn vertex<I: FromStr>(&self, text: &str) -> Result<I> {
        let edges = &self.args.edges[0];
        text.parse().map_err(|_| Error::Plan(format!("--source {text}: expected a number from 0, as the ids in {edges} are")))
    }
}

/// A superstep on the terminal.
fn line(superstep: &SuperstepReport) -> String {
    let convergence =
        superstep.value(SuperstepReport::CONVERGENCE).map(|value| format!(", convergence {value:.3e}")).unwrap_or_default();
    format!("superstep {}: workset {}{convergence}, {:.3} s", superstep.superstep, superstep.workset, superstep.seconds)
}

/// The one line at the end.
fn say(name: &str, summary: &GraphSummary, elapsed: Duration) {
    let GraphSummary { vertices, edges, .. } = summary;
    let (all, after) = (elapsed.as_secs_f64(), summary.seconds);
    let supersteps = match summary.supersteps.len() {
        1 => "1 superstep".to_owned(),
        n => format!("{n} supersteps"),
    };
    let line = format!("{name}: {vertices} vertices, {edges} edges, {supersteps}, {all:.3} seconds ({after:.3} after reading)");
    // With standard error closed, there is nobody to be told.
    let _ = writeln!(std::io::stderr(), "{line}");
}
