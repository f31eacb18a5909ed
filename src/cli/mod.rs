//! The `fluvial` command: arguments to jobs, errors to one line and an exit code.

mod args;
mod checkpoints;
mod demo;
mod graph;
mod job;
mod late_file;
mod metrics;
mod ml;
mod nexmark;
mod output;
mod progress;
mod signals;
mod state;
mod supervise;
mod table;

use args::{Aggregate, Cli, Command, Generate, Join, Rmat, Sort, Tpch};
use clap::Parser;
use fluvial_core::{Error, Interrupt, Result, parse_aggregates};
use fluvial_iterate::graph::files::to_lines;
use fluvial_iterate::graph::generate::{self, EdgeGenerator};
use job::Job;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Once;
use std::time::Instant;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let start = Instant::now();
    let cli = Cli::parse();
    if let Command::Supervise(args) = &cli.command {
        return supervise::run(args).unwrap_or_else(|error| {
            say(&error);
            ExitCode::from(error.exit_code())
        });
    }
    let interrupt = Interrupt::default();
    let result = signals::install(&interrupt).and_then(|()| match cli.command {
        Command::Gen(Generate::Tpch(args)) => generate(args, &interrupt),
        Command::Gen(Generate::Rmat(args)) => generate_rmat(&args, &interrupt),
        Command::Sort(args) => sort(args, &interrupt),
        Command::Join(args) => join(args, &interrupt),
        Command::Aggregate(args) => aggregate(args, &interrupt),
        Command::Nexmark(args) => nexmark::run(args, &interrupt),
        Command::Graph(graph) => graph::run(&graph, &interrupt),
        Command::Checkpoints(args) => checkpoints::list(&args),
        Command::State(args) => state::run(&args),
        Command::Savepoint(args) => checkpoints::savepoint(&args),
        Command::Supervise(_) => unreachable!("it installs signals of its own, above"),
        Command::Ml(command) => ml::run(command, &interrupt),
        Command::Demo(args) => demo::run(args, &interrupt, start),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error);
            ExitCode::from(match error {
                Error::Interrupted => signals::interrupted_code(),
                error => error.exit_code(),
            })
        }
    }
}

/// The one line on standard error with which the command ends.
fn say(error: &Error) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let line = error.to_string().replace('\n', " ");
        // With standard error closed, the exit code alone must do.
        let _ = writeln!(std::io::stderr(), "fluvial: {line}");
    });
}

fn generate(args: Tpch, interrupt: &Interrupt) -> Result<()> {
    let job = Job::new(&args.common, interrupt)?;
    let tables: Vec<&str> =
        if args.tables.is_empty() { crate::tpch::TABLES.to_vec() } else { args.tables.iter().map(String::as_str).collect() };
    for name in tables {
        let path = args.out.join(format!("{name}.parquet"));
        crate::tpch::table(&job.env, name, args.scale)?.write(&path)?;
    }
    if !args.common.explain {
        std::fs::create_dir_all(&args.out).map_err(|e| Error::File { path: args.out.clone(), message: e.to_string() })?;
    }
    job.run("gen tpch")
}

fn generate_rmat(args: &Rmat, interrupt: &Interrupt) -> Result<()> {
    let job = Job::new(&args.common, interrupt)?;
    let mut rmat = generate::Rmat::new(args.scale, args.edge_factor).seed(args.seed);
    if args.weighted {
        rmat = rmat.with_weights();
    }
    let edges = rmat.table(&job.env)?;
    let text = args.out.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"));
    let rows = if text { to_lines(&edges)? } else { edges };
    rows.write(&args.out)?;
    job.run("gen rmat")
}

fn sort(args: Sort, interrupt: &Interrupt) -> Result<()> {
    let job = Job::new(&args.common, interrupt)?;
    let table = job.env.read(&args.input)?;
    let sorted = table.sort(&args.by)?;
    job.deliver("sort", &sorted, &args.out)
}

fn join(args: Join, interrupt: &Interrupt) -> Result<()> {
    let job = Job::new(&args.common, interrupt)?;
    let left = job.env.read(&[&args.left])?;
    let right = job.env.read(&[&args.right])?;
    let join = left.join(&right, &args.on)?.kind(args.kind.into()).right_name(&table_name(&args.right));
    if args.count {
        return job.show_count(&join.count_stream()?);
    }
    let joined = match (&args.select, &args.agg) {
        (Some(columns), _) => join.select(columns)?,
        (None, Some(aggregates)) => {
            let columns: Vec<String> = parse_aggregates(aggregates)?.into_iter().filter_map(|a| a.column).collect();
            join.select_names(&columns)?.group_by("")?.aggregate(aggregates)?
        }
        (None, None) => join.all()?,
    };
    job.deliver("join", &joined, args.out.as_deref().unwrap_or("-"))
}

/// `orders` of `data/orders.parquet`.
fn table_name(input: &str) -> String {
    let path = std::path::Path::new(input);
    path.file_stem().map_or_else(|| "right".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn aggregate(args: Aggregate, interrupt: &Interrupt) -> Result<()> {
    let job = Job::new(&args.common, interrupt)?;
    let table = job.env.read(&args.input)?;
    let grouped = table.group_by(args.by.as_deref().unwrap_or(""))?.aggregate(&args.agg)?;
    job.deliver("aggregate", &grouped, &args.out)
}
