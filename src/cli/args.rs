use clap::{Args, Parser, Subcommand, ValueEnum};
use fluvial_core::{
    Checkpoints, Config, Error, Interrupt, JoinType, Restart, RestoreFrom, Result, StateBackend, exit_code, parse_bytes,
    parse_metrics_addr,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One engine for data that ends and data that does not.
#[derive(Parser)]
#[command(
    name = "fluvial",
    version,
    about,
    max_term_width = 110,
    propagate_version = true,
    after_help = exit_codes()
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

fn exit_codes() -> String {
    use exit_code::{FAILED, INTERRUPTED, PEER_LOST};
    format!(
        "Exit codes: 0 done; {FAILED} wrong input, full disk, too little memory; 2 wrong usage; {PEER_LOST} another process of the \
         job is gone; {INTERRUPTED} Ctrl-C (143 by `kill`): the first one ends the job in order, the second one at once. A job on data that does \
         not end is drained by the first one (0 then), ended in order by the second, at once by the third."
    )
}

#[derive(Subcommand)]
pub enum Command {
    /// Make data to try things on
    #[command(subcommand)]
    Gen(Generate),
    /// Sort tables that may be larger than memory
    #[command(
        after_help = "Example:\n  fluvial sort lineitem.parquet --by \"l_shipdate, l_orderkey desc nulls first\" --out sorted.parquet"
    )]
    Sort(Sort),
    /// Join two tables
    #[command(after_help = "Example:\n  fluvial join lineitem.parquet orders.parquet --on \"l_orderkey = o_orderkey\" --count")]
    Join(Join),
    /// Group a table and compute aggregates
    #[command(
        after_help = "Example:\n  fluvial aggregate lineitem.parquet --by l_orderkey --agg \"sum(l_quantity) as q, count(*) as n\" --out -"
    )]
    Aggregate(Aggregate),
    /// Run a NEXMark query over generated auctions and bids
    #[command(after_help = "Example:\n  fluvial nexmark --query q5 --events 1000000 --mode streaming --out -")]
    Nexmark(Nexmark),
    /// Run an algorithm over a graph: vertices and their values, a line each
    #[command(subcommand)]
    Graph(super::graph::Graph),
    /// List the checkpoints that a job keeps
    #[command(after_help = "Example:\n  fluvial checkpoints state/")]
    Checkpoints(CheckpointList),
    /// List the states in a checkpoint or savepoint, or export one
    #[command(after_help = "Examples:\n  fluvial state state/\n  fluvial state state/ --state balance --out balance.parquet")]
    State(State),
    /// Have a running job take a savepoint: a checkpoint that is yours, from which this job or a changed one can begin
    #[command(after_help = "Example:\n  fluvial savepoint state/ --to before-the-upgrade --stop")]
    Savepoint(SavepointRequest),
    /// Run a command again whenever it fails or is killed; its jobs continue from their last checkpoints
    #[command(after_help = "Example:\n  fluvial supervise -- my-job --checkpoints state/")]
    Supervise(Supervise),
    /// Learn models from data, use them, learn while data comes, recommend
    #[command(subcommand)]
    Ml(super::ml::args::Ml),
    /// Generate TPC-H data once, then sort, join and aggregate it in a small budget
    Demo(Demo),
}

#[derive(Args)]
pub struct CheckpointList {
    /// The job's folder of checkpoints, or a URL
    pub folder: String,
    /// Print one line of JSON a checkpoint
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct State {
    /// A checkpoint, a savepoint, or a job's folder of checkpoints (the last one then)
    pub checkpoint: String,
    /// Print one line of JSON
    #[arg(long, conflicts_with = "state")]
    pub json: bool,
    /// Write the entries of this state: key group, key and value
    #[arg(long, value_name = "NAME")]
    pub state: Option<String>,
    /// Of this operator, by uid or name, where several have a state of the name
    #[arg(long, value_name = "UID", requires = "state")]
    pub operator: Option<String>,
    /// Only of this key: text, a number, or JSON
    #[arg(long, requires = "state")]
    pub key: Option<String>,
    /// File to write (.jsonl, .parquet), or `-` to print lines of JSON
    #[arg(long, default_value = "-", requires = "state")]
    pub out: String,
}

#[derive(Args)]
pub struct SavepointRequest {
    /// The job's folder of checkpoints
    pub folder: PathBuf,
    /// Folder to write to, or a URL
    #[arg(long)]
    pub to: String,
    /// End the job with it: nothing is read after the savepoint
    #[arg(long)]
    pub stop: bool,
    /// Have the job take no more input, process what it has to the end of event time (windows give their results), and end with it
    #[arg(long)]
    pub drain: bool,
}

#[derive(Args)]
pub struct Supervise {
    /// Give up after this many restarts; never by default
    #[arg(long)]
    pub restarts: Option<u64>,
    /// Wait this long before the first restart; twice as long before each next one, up to a minute
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    pub delay: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<std::ffi::OsString>,
}

/// Flags of jobs that keep their state.
#[derive(Args, Clone)]
pub struct Keeping {
    /// Keep the job's state here (a folder, or a URL of an object store), so that it can continue after a failure
    #[arg(long, value_name = "DIR", help_heading = "Checkpoints")]
    pub checkpoints: Option<String>,
    /// From the beginning of one checkpoint to that of the next
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10s",
        value_parser = humantime::parse_duration,
        requires = "checkpoints",
        help_heading = "Checkpoints"
    )]
    pub checkpoint_interval: Duration,
    /// Begin with `latest`, with `auto` (the latest, if there is one), or with this checkpoint or savepoint
    #[arg(long, value_name = "CHECKPOINT", requires = "checkpoints", help_heading = "Checkpoints")]
    pub from: Option<String>,
    /// What follows a failure in the job: start it again, after a second, this many times
    #[arg(long, value_name = "TIMES", default_value_t = 0, help_heading = "Checkpoints")]
    pub restarts: usize,
    /// Where the job keeps the state of keys while it runs: as values in memory, or in files, if it is more than memory holds
    #[arg(long, value_enum, default_value_t = Backend::Memory, help_heading = "State")]
    pub state_backend: Backend,
    /// How much of the state each process holds in memory, where it is kept on disk; an index comes to it, of 11 to 21 bytes a key
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_bytes, help_heading = "State")]
    pub state_memory: usize,
    /// Where the files of the state go; beside the checkpoints, if they are in a folder, or with the spill files by default
    #[arg(long, value_name = "DIR", help_heading = "State")]
    pub state_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    Memory,
    Disk,
}

impl Keeping {
    pub fn configure(&self, config: &mut Config) {
        config.restart = Restart::fixed_delay(self.restarts, Duration::from_secs(1));
        config.state_backend = match self.state_backend {
            Backend::Memory => StateBackend::Memory,
            Backend::Disk => StateBackend::Disk { memory: self.state_memory, folder: self.state_dir.clone() },
        };
        config.checkpoints = self.checkpoints.as_deref().map(|at| {
            let from = self.from.as_deref().map_or(RestoreFrom::Nothing, RestoreFrom::parse);
            Checkpoints::to_url(at).every(self.checkpoint_interval).from(from)
        });
    }
}

#[derive(Subcommand)]
pub enum Generate {
    /// The eight TPC-H tables as DIR/<table>.parquet
    Tpch(Tpch),
    /// Edges of an R-MAT graph as Graph500 has it: few vertices with many edges
    #[command(after_help = "Example:\n  fluvial gen rmat --scale 20 --seed 1 --out edges.parquet")]
    Rmat(Rmat),
}

#[derive(Args)]
pub struct Rmat {
    /// 2^SCALE vertices, some of them without an edge
    #[arg(long)]
    pub scale: u32,
    /// So many times as many directed edges; duplicates and loops are kept
    #[arg(long, default_value_t = 16)]
    pub edge_factor: u64,
    /// Another seed gives another graph, the same number the same one
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Give edges weights, even between 0 and 1
    #[arg(long)]
    pub weighted: bool,
    /// File to write: .txt (an edge a line), .parquet, .csv or .jsonl (columns src, dst [, weight])
    #[arg(long)]
    pub out: PathBuf,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Tpch {
    /// Scale factor: 1 is 6 million line items, about 1 GB as text
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Folder to write to
    #[arg(long)]
    pub out: PathBuf,
    /// Only these tables, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub tables: Vec<String>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Sort {
    /// Files, folders or globs (.parquet, .csv, .jsonl)
    #[arg(required = true)]
    pub input: Vec<String>,
    /// Columns, each with `asc` or `desc` and `nulls first` or `nulls last`
    #[arg(long)]
    pub by: String,
    /// File to write (.parquet, .csv, .jsonl), or `-` to print a table
    #[arg(long)]
    pub out: String,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Join {
    /// Left table: a file, folder or glob
    pub left: String,
    /// Right table
    pub right: String,
    /// Pairs of columns: `l_orderkey = o_orderkey`
    #[arg(long)]
    pub on: String,
    /// Which rows to keep
    #[arg(long = "type", value_enum, default_value_t = Kind::Inner)]
    pub kind: Kind,
    /// Columns of the result: `a, b as c`; all by default
    #[arg(long)]
    pub select: Option<String>,
    /// Aggregates over the whole result in place of its rows: `count(*), sum(l_extendedprice)`
    #[arg(long, conflicts_with_all = ["select", "count"])]
    pub agg: Option<String>,
    /// File to write, or `-` to print a table
    #[arg(long, required_unless_present = "count")]
    pub out: Option<String>,
    /// Only print how many rows the join has
    #[arg(long, conflicts_with = "out")]
    pub count: bool,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kind {
    Inner,
    Left,
    Right,
    Full,
    Semi,
    Anti,
}

impl From<Kind> for JoinType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Inner => Self::Inner,
            Kind::Left => Self::Left,
            Kind::Right => Self::Right,
            Kind::Full => Self::Full,
            Kind::Semi => Self::Semi,
            Kind::Anti => Self::Anti,
        }
    }
}

#[derive(Args)]
pub struct Aggregate {
    /// Files, folders or globs
    #[arg(required = true)]
    pub input: Vec<String>,
    /// Columns to group by; without it, one group of all rows
    #[arg(long)]
    pub by: Option<String>,
    /// Aggregates: sum, count, count(distinct ..), min, max, avg of a column
    #[arg(long)]
    pub agg: String,
    /// File to write, or `-` to print a table
    #[arg(long)]
    pub out: String,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Nexmark {
    /// Which query
    #[arg(long, value_enum)]
    pub query: Query,
    /// How many events are generated
    #[arg(long, default_value_t = 1_000_000)]
    pub events: u64,
    /// Events a second, all workers together; as fast as they are taken without it
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// How far behind the latest event another one may come, in milliseconds of event time
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub disorder: u64,
    /// Other seeds give other events; 0 gives those that other systems are measured with
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Whether results come at the end, or as event time advances; the rows are the same
    #[arg(long, value_enum, default_value_t = Mode::Streaming)]
    pub mode: Mode,
    /// File to write (.parquet, .csv, .jsonl), or `-` to print a sorted table
    #[arg(long)]
    pub out: String,
    #[command(flatten)]
    pub keeping: Keeping,
    #[command(flatten)]
    pub common: Common,
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|rate| *rate > 0.0 && f64::is_finite(*rate)).ok_or_else(|| "expected a number above 0".into())
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Query {
    /// Every event
    Q0,
    /// Bids in another currency
    Q1,
    /// Bids for selected auctions
    Q2,
    /// Auctions with sellers from nearby
    Q3,
    /// Average closing price by category
    Q4,
    /// Auctions with the most bids of sliding windows
    Q5,
    /// Average of a seller's last ten closing prices
    Q6,
    /// Highest bid of each window
    Q7,
    /// Persons who joined and sold in the same window
    Q8,
    /// Bids by bidder and session
    Q11,
    /// Bids by bidder and window of processing time
    Q12,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    Batch,
    Streaming,
}

#[derive(Args)]
pub struct Demo {
    /// Where the generated data is kept
    #[arg(long, default_value = "target/fluvial-demo")]
    pub data: PathBuf,
    /// TPC-H scale factor
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Managed memory of the jobs
    #[arg(long, default_value = "64MiB", value_parser = parse_bytes)]
    pub memory: usize,
    /// Workers
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Flags that every job has.
#[derive(Args, Clone)]
pub struct Common {
    /// Managed memory of each process
    #[arg(long, default_value = "512MiB", value_parser = parse_bytes, help_heading = "Running")]
    pub memory: usize,
    /// Workers of each process; the number of cores by default
    #[arg(long, help_heading = "Running")]
    pub threads: Option<usize>,
    /// Start this many processes on this host
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=256),
        conflicts_with = "hosts",
        help_heading = "Running"
    )]
    pub processes: u16,
    /// File with one host:port a line, one for each process of the job
    #[arg(long, requires = "process", help_heading = "Running")]
    pub hosts: Option<PathBuf>,
    /// Which line of the hosts file this process is, from 0
    #[arg(long, requires = "hosts", help_heading = "Running")]
    pub process: Option<usize>,
    /// Where spill files go; the system's temporary folder by default
    #[arg(long, help_heading = "Running")]
    pub spill_dir: Option<PathBuf>,
    /// Write what the job did, by operator, to this file
    #[arg(long, value_name = "FILE.json", help_heading = "Running")]
    pub stats: Option<PathBuf>,
    /// Print what each operator does, once a second and at the end, on standard error
    #[arg(long, help_heading = "Running")]
    pub metrics: bool,
    /// Serve the metrics of this process as Prometheus text at http://ADDR/metrics; without a host, on this host alone. Processes
    /// that --processes starts take the ports after it
    #[arg(long, value_name = "[HOST]:PORT", value_parser = parse_metrics_addr, help_heading = "Running")]
    pub metrics_addr: Option<SocketAddr>,
    /// Print the plan and do not run it
    #[arg(long, help_heading = "Running")]
    pub explain: bool,
    /// Take input for this long (10s, 500ms, 2m), process what was taken, and end
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Running")]
    pub stop_after: Option<Duration>,
}

impl Common {
    /// # Errors
    /// A hosts file that cannot be read, or settings out of range.
    pub fn config(&self, interrupt: &Interrupt) -> Result<Config> {
        let mut config = Config { memory: self.memory, interrupt: interrupt.clone(), ..Config::default() };
        config.metrics_addr = self.metrics_addr;
        config.stop_after = self.stop_after;
        config.threads = self.threads.unwrap_or(config.threads);
        if let Some(dir) = &self.spill_dir {
            config.spill_dir = dir.clone();
        }
        if let Some(path) = &self.hosts {
            let text = std::fs::read_to_string(path).map_err(|e| Error::File { path: path.clone(), message: e.to_string() })?;
            config.hosts =
                text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect();
            config.process = self.process.unwrap_or(0);
            let wrong = |message: String| Error::File { path: path.clone(), message };
            if config.hosts.is_empty() {
                return Err(wrong("names no process, expected one host:port a line".into()));
            }
            config.check().map_err(|e| wrong(e.to_string()))?;
        }
        config.check()?;
        Ok(config)
    }
}
