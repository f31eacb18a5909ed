//! A process of a job: this test program, started again with orders in its environment.

use crate::iterations::{self, Loop};
use crate::{billing, job};
use fluvial::prelude::*;
use fluvial::{Checkpoints, RestoreFrom, StateBackend, launch};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names the environment variable with the orders.
pub const ORDERS: &str = "FLUVIAL_RECOVERY_ORDERS";

/// What is to be run, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    pub job: Job,
    /// Where everything is.
    pub folder: PathBuf,
    pub processes: usize,
    /// Workers of each process.
    pub threads: usize,
    /// Whether the state is kept, in the folder `state`.
    pub checkpoints: Option<Guarantee>,
    /// Records a second.
    pub rate: Option<f64>,
    /// Whether the state of keys is on disk, with next to no memory.
    pub disk: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// That of `job`, with so many events.
    Everything { records: u64 },
    /// That of the example.
    Billing,
    /// One that iterates.
    Iterates(Loop),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guarantee {
    ExactlyOnce,
    AtLeastOnce,
}

impl Orders {
    pub fn out(&self) -> PathBuf {
        self.folder.join("out")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The file with the id of one of the processes.
    pub fn id_file(&self, process: usize) -> PathBuf {
        self.folder.join(format!("process-{process}"))
    }
}

/// Does as it is told, and ends the process: with 0, or with a line about what went wrong.
pub fn run_if_told() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    // As a launched process is told which one it is.
    let process = std::env::var("FLUVIAL_PROCESS").map_or(0, |process| process.parse().unwrap());
    tell_id(&orders.id_file(process));
    let result = match orders.job {
        Job::Billing => {
            let text = |path: PathBuf| Some(path).filter(|_| orders.checkpoints.is_some());
            let options = billing::Options {
                out: None,
                checkpoints: text(orders.state()),
                from: Some("auto".into()),
                processes: orders.processes,
                threads: Some(orders.threads),
                rate: orders.rate,
                small: false,
            };
            billing::run(&options, &orders.out()).map(drop)
        }
        Job::Everything { .. } | Job::Iterates(_) => run(&orders),
    };
    if let Err(error) = result {
        eprintln!("{error}");
        std::process::exit(error.exit_code().into());
    }
}

fn run(orders: &Orders) -> Result<()> {
    // Loops of supersteps are of data that ends.
    let (mode, interval) = match orders.job {
        Job::Iterates(Loop::Bulk | Loop::Delta) => (Mode::Auto, 20),
        _ => (Mode::Streaming, 100),
    };
    let mut config = Config { threads: orders.threads, memory: 128 << 20, mode, ..Config::default() };
    config.checkpoints = orders.checkpoints.map(|guarantee| {
        let checkpoints = Checkpoints::to_folder(orders.state()).every(Duration::from_millis(interval)).keep(3);
        let checkpoints = checkpoints.from(RestoreFrom::LatestIfAny);
        if guarantee == Guarantee::AtLeastOnce { checkpoints.at_least_once() } else { checkpoints }
    });
    if orders.disk {
        config.state_backend = StateBackend::Disk { memory: 128 << 10, folder: None };
    }
    let children = launch(orders.processes, &mut config)?;
    let env = Env::new(config);
    match orders.job {
        Job::Everything { records } => job::add(&env, records, orders.rate, &orders.out())?,
        Job::Iterates(which) => iterations::add(&env, which, orders.rate, &orders.out())?,
        Job::Billing => unreachable!("run elsewhere"),
    }
    let result = env.execute("torture").map(drop);
    env.close();
    match children {
        Some(children) => children.conclude(result),
        None => result,
    }
}

/// Whoever kills a process must know which one it is.
fn tell_id(file: &Path) {
    let hidden = file.with_extension("new");
    // On a full disk nobody is told, and nobody is killed.
    let _ = std::fs::write(&hidden, std::process::id().to_string()).and_then(|()| std::fs::rename(&hidden, file));
}
