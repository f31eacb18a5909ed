use crate::cli::args::Common;
use clap::{Args, Subcommand, ValueEnum};
use fluvial_iterate::graph::files::IdType;
use std::path::PathBuf;

/// The algorithms.
#[derive(Subcommand)]
pub enum Graph {
    /// PageRank, after LDBC Graphalytics: ranks that sum up to 1
    #[command(after_help = "Example:\n  fluvial graph pagerank links.parquet --directed --top 10")]
    Pagerank(Pagerank),
    /// Weakly connected components: each vertex with the smallest vertex of its component
    #[command(after_help = "Example:\n  fluvial graph wcc edges.txt --out components.parquet")]
    Wcc(Reaching),
    /// Strongly connected components: each vertex with the smallest vertex of its component
    #[command(after_help = "Example:\n  fluvial graph scc edges.txt --directed")]
    Scc(Plain),
    /// Breadth-first search: edges from the source, 9223372036854775807 for what is not reached
    #[command(after_help = "Example:\n  fluvial graph bfs edges.txt --source 1")]
    Bfs(Search),
    /// Shortest paths: distance from the source, Infinity for what is not reached; reads weights, also without --weighted
    #[command(after_help = "Example:\n  fluvial graph sssp roads.csv --source Berlin --directed")]
    Sssp(Search),
    /// Communities by label propagation, after LDBC Graphalytics
    #[command(after_help = "Example:\n  fluvial graph cdlp friends.txt --iterations 10")]
    Cdlp(Cdlp),
    /// Local clustering coefficients, after LDBC Graphalytics
    #[command(after_help = "Example:\n  fluvial graph lcc friends.txt --top 100")]
    Lcc(Plain),
    /// Triangles at each vertex
    #[command(after_help = "Example:\n  fluvial graph triangles friends.txt --top 10")]
    Triangles(Plain),
    /// Core numbers: the largest k such that the vertex is in a subgraph where everybody has k neighbours
    #[command(after_help = "Example:\n  fluvial graph kcore friends.txt --top 10")]
    Kcore(Plain),
}

#[derive(Args)]
pub struct Pagerank {
    #[command(flatten)]
    pub graph: GraphJob,
    /// Rounds; 20 by default
    #[arg(long, value_name = "N", conflicts_with = "tolerance", value_parser = clap::value_parser!(u64).range(1..))]
    pub iterations: Option<u64>,
    /// Rounds until the ranks' absolute changes sum up to no more than this, in place of a number of them
    #[arg(long, value_name = "E", value_parser = tolerance)]
    pub tolerance: Option<f64>,
    /// Probability of following an edge rather than beginning anew
    #[arg(long, default_value_t = 0.85, value_parser = damping)]
    pub damping: f64,
    /// Begin anew at this vertex only (personalized PageRank); may be given several times
    #[arg(long, value_name = "V")]
    pub source: Vec<String>,
}

#[derive(Args)]
pub struct Search {
    #[command(flatten)]
    pub graph: GraphJob,
    /// The vertex to begin with
    #[arg(long, value_name = "V")]
    pub source: String,
    /// Workers need not wait for each other at the end of each superstep; the answer is the same
    #[arg(long)]
    pub asynchronous: bool,
}

#[derive(Args)]
pub struct Reaching {
    #[command(flatten)]
    pub graph: GraphJob,
    /// Workers need not wait for each other at the end of each superstep; the answer is the same
    #[arg(long)]
    pub asynchronous: bool,
}

#[derive(Args)]
pub struct Cdlp {
    #[command(flatten)]
    pub graph: GraphJob,
    /// Most rounds; fewer if no label changes any more
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub iterations: u64,
}

#[derive(Args)]
pub struct Plain {
    #[command(flatten)]
    pub graph: GraphJob,
}

/// What all algorithms have.
#[derive(Args)]
pub struct GraphJob {
    /// Edges: .parquet, .csv or .jsonl with columns src, dst [, weight], or lines of text (white space; # and % comments). Files,
    /// folders or globs
    #[arg(required = true, value_name = "EDGES")]
    pub edges: Vec<String>,
    /// Edges lead from the first vertex to the second; both ways without it
    #[arg(long)]
    pub directed: bool,
    /// Edges have weights: the third field of a line, the column `weight`
    #[arg(long)]
    pub weighted: bool,
    /// Vertices, also those without an edge: one a line, or a column `id`
    #[arg(long, value_name = "FILE")]
    pub vertices: Option<String>,
    /// What ids are; by default columns of integers and text whose first line has numbers are numbers
    #[arg(long, value_enum, value_name = "TYPE")]
    pub ids: Option<Ids>,
    /// Names of the columns, where they are others than src, dst and weight
    #[arg(long, value_name = "SRC,DST[,WEIGHT]", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Only the K vertices with the largest values, largest first; of distances, of those that are reached
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub top: Option<u64>,
    /// File to write (.txt, .csv, .parquet, .jsonl), or `-` to print a line for each vertex
    #[arg(long, default_value = "-")]
    pub out: String,
    /// Draw supersteps against their worksets and times
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Ids {
    /// Numbers from 0 on
    Number,
    /// Any text
    Text,
}

impl From<Ids> for IdType {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::Number => Self::Number,
            Ids::Text => Self::Text,
        }
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|e| *e > 0.0 && f64::is_finite(*e)).ok_or_else(|| "expected a number above 0".into())
}

fn damping(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|d| (0.0..=1.0).contains(d)).ok_or_else(|| "expected a number from 0 to 1".into())
}
