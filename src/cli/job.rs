use super::args::Common;
use super::{progress, stats};
use fluvial_core::{Children, DataStream, Env, Error, JobReport, Result, Table, launch};
use std::path::PathBuf;

/// One command's job: where it runs and what is to be told of it.
pub struct Job {
    pub env: Env,
    children: Option<Children>,
    stats: Option<PathBuf>,
    explain: bool,
}

impl Job {
    pub fn new(common: &Common) -> Result<Self> {
        let mut config = common.config()?;
        let children = if common.explain { None } else { launch(common.processes, &mut config)? };
        let env = Env::new(config);
        Ok(Self { env, children, stats: common.stats.clone(), explain: common.explain })
    }

    /// Writes a table to a file, or prints it for `-`.
    pub fn deliver(self, name: &str, table: &Table, out: &str) -> Result<()> {
        if out != "-" {
            table.write(out)?;
            return self.run(name);
        }
        if self.explain {
            print!("{}", table.explain());
            return Ok(());
        }
        let text = progress::show(&self.env, || table.to_text())?;
        if self.first() {
            println!("{text}");
        }
        self.close()
    }

    /// Prints how many rows a join has.
    pub fn show_count(self, counts: &DataStream<u128>) -> Result<()> {
        if self.explain {
            print!("{}", counts.explain());
            return Ok(());
        }
        let count: u128 = progress::show(&self.env, || counts.collect())?.into_iter().sum();
        if self.first() {
            println!("{count}");
        }
        self.close()
    }

    /// Runs what was added to the environment.
    pub fn run(self, name: &str) -> Result<()> {
        if self.explain {
            print!("{}", self.env.explain());
            return Ok(());
        }
        progress::show(&self.env, || self.env.execute(name))?;
        self.close()
    }

    fn first(&self) -> bool {
        self.env.config().process == 0
    }

    fn close(self) -> Result<()> {
        let report = self.env.last_report();
        if let Some(path) = self.stats.as_ref().filter(|_| self.first()) {
            let write = |report: &JobReport| stats::write(path, report);
            report.as_ref().map_or(Ok(()), write)?;
        }
        // The other processes end when the mesh is taken down.
        self.env.close();
        self.children.map_or(Ok(()), Children::wait).map_err(|e: Error| e)
    }
}
