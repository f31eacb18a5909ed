use super::args::Common;
use super::late_file::LateFile;
use super::progress::Progress;
use super::table::TablePrinter;
use super::{metrics, output};
use fluvial_core::{Children, Config, DataStream, Env, Error, Interrupt, JobReport, Result, Spool, Table, launch};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

/// What there is to say of a job when it has ended, beside what every job says.
type Detail = Box<dyn FnOnce() -> serde_json::Result<serde_json::Value>>;

/// One command's job: where it runs and what is to be told of it.
pub struct Job {
    pub env: Env,
    children: Option<Children>,
    stats: Option<LateFile>,
    details: Vec<(&'static str, Detail)>,
    progress: Progress,
    metrics: bool,
    explain: bool,
}

impl Job {
    pub fn new(common: &Common, interrupt: &Interrupt) -> Result<Self> {
        Self::with(common, interrupt, |_| ())
    }

    /// A job whose configuration differs from what the flags say.
    pub fn with(common: &Common, interrupt: &Interrupt, configure: impl FnOnce(&mut Config)) -> Result<Self> {
        let mut config = common.config(interrupt)?;
        configure(&mut config);
        let children = if common.explain { None } else { launch(common.processes.into(), &mut config)? };
        // Before anything runs: whoever names a file that cannot be written hears of it at once.
        let first = config.process == 0 && !common.explain;
        let stats = common.stats.as_deref().filter(|_| first).map(LateFile::create).transpose()?;
        let any_port = config.metrics_addr.is_some_and(|address| address.port() == 0);
        let env = Env::new(config);
        if !common.explain
            && let Some(address) = env.serve_metrics()?
            && any_port
        {
            // Nobody else knows the port. With standard error closed, nobody is told.
            let _ = writeln!(io::stderr(), "fluvial: metrics of process {} at http://{address}/metrics", env.config().process);
        }
        let progress = Progress::new(&env);
        Ok(Self { env, children, stats, details: Vec::new(), progress, metrics: common.metrics, explain: common.explain })
    }

    /// What is shown while the job runs.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Adds a field to what `--stats` writes.
    pub fn detail(&mut self, name: &'static str, value: impl FnOnce() -> serde_json::Result<serde_json::Value> + 'static) {
        self.details.push((name, Box::new(value)));
    }

    /// Writes a table to a file, or prints it for `-`.
    pub fn deliver(self, name: &str, table: &Table, out: &str) -> Result<()> {
        self.deliver_as(name, table, out, print)
    }

    /// Writes a table to a file; for `-`, `print` prints it once the job has ended.
    pub fn deliver_as(self, name: &str, table: &Table, out: &str, print: impl FnOnce(Spool) -> Result<()>) -> Result<()> {
        if out != "-" {
            table.write(out)?;
            return self.run(name);
        }
        if self.explain {
            return output::print(format_args!("{}", table.explain()));
        }
        let rows = self.watch(|| table.spool());
        let rows = rows.map(|rows| self.is_first().then_some(rows));
        // Everything else ends before anything is printed: who reads it may take their time.
        self.close(rows)?.map_or(Ok(()), print)
    }

    /// Prints how many rows a join has.
    pub fn show_count(self, counts: &DataStream<u128>) -> Result<()> {
        if self.explain {
            return output::print(format_args!("{}", counts.explain()));
        }
        let counts = self.watch(|| counts.collect());
        let first = self.is_first();
        let count: u128 = self.close(counts)?.into_iter().sum();
        if first { output::print(format_args!("{count}\n")) } else { Ok(()) }
    }

    /// Runs what was added to the environment.
    pub fn run(self, name: &str) -> Result<()> {
        if self.explain {
            return output::print(format_args!("{}", self.env.explain()));
        }
        let done = self.watch(|| self.env.execute(name));
        self.close(done.map(drop))
    }

    /// Says how a job went that was run on [`Job::env`], and ends the other processes.
    pub fn conclude<T>(self, result: Result<T>) -> Result<T> {
        self.close(result)
    }

    /// Runs a job and shows how it goes.
    fn watch<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.metrics { metrics::show(&self.env, run) } else { self.progress.show(&self.env, run) }
    }

    /// Whether this is the process that prints and writes.
    pub fn is_first(&self) -> bool {
        self.env.config().process == 0
    }

    /// Says what the job did if it went well, and ends the other processes.
    fn close<T>(self, result: Result<T>) -> Result<T> {
        let result = result.and_then(|value| match (self.stats, self.env.last_report()) {
            (Some(file), Some(report)) => file.write(Stats::json(&report, self.details)?.as_bytes()).map(|()| value),
            _ => Ok(value),
        });
        // The other processes end when the mesh is taken down.
        self.env.close();
        match self.children {
            Some(children) => children.conclude(result),
            None => result,
        }
    }
}

/// What `--stats` writes.
#[derive(Serialize)]
struct Stats<'a> {
    #[serde(flatten)]
    report: &'a JobReport,
    #[serde(flatten)]
    details: BTreeMap<&'static str, serde_json::Value>,
}

impl<'a> Stats<'a> {
    fn json(report: &'a JobReport, details: Vec<(&'static str, Detail)>) -> Result<String> {
        let details: serde_json::Result<_> = details.into_iter().map(|(name, detail)| Ok((name, detail()?))).collect();
        let json = details.and_then(|details| serde_json::to_string_pretty(&Self { report, details }));
        json.map(|json| json + "\n").map_err(|e| Error::Plan(format!("--stats: {e}")))
    }
}

/// Prints rows as a table, for as long as somebody reads it.
fn print(rows: Spool) -> Result<()> {
    let mut table = TablePrinter::new(BufWriter::new(io::stdout().lock()), rows.schema());
    for batch in rows {
        if !output::written(table.print(&batch?)?)? {
            return Ok(());
        }
    }
    output::written(table.finish()).map(drop)
}
