//! Several processes on one host: the first starts the others with its own command line and tells each who it is.
//!
//! A started process holds the reading end of a pipe as its standard input. The pipe ends when the first process lets go of
//! it, or dies: then the started one is interrupted. So nobody is left behind, however the first process ends.

use crate::env::GENERATION;
use crate::metrics;
use crate::runtime::Interrupt;
use crate::{Config, Error, Result, exit_code};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Names the environment variable with the addresses of all processes, separated by commas.
const HOSTS: &str = "FLUVIAL_HOSTS";
/// Names the environment variable with the index of a started process.
const PROCESS: &str = "FLUVIAL_PROCESS";

/// How long started processes have to end by themselves before they are killed.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks at a process that is ending.
const LOOK: Duration = Duration::from_millis(5);

/// The processes that this one has started. They are ended when it is dropped.
pub struct Children {
    started: Arc<Mutex<Vec<Started>>>,
}

/// Starts the other processes of this program, and starts them again: see [`Config::relaunch`].
#[derive(Clone)]
pub struct Relaunch {
    hosts: Arc<[String]>,
    /// The same as those of the [`Children`].
    started: Arc<Mutex<Vec<Started>>>,
}

struct Started {
    process: usize,
    child: Child,
    /// Passes on what the process writes to its standard error; gives the last line.
    said: Option<JoinHandle<String>>,
}

/// Makes this program a job of `processes` processes on this host.
///
/// In the first process it starts the others, with the same program and arguments, and returns them; in a started process it
/// returns none. Either way `config` then says where everybody listens and which process this is. A started process reads its
/// standard input to the end, which comes when the first process is done or gone, and raises [`Config::interrupt`] then. The
/// last line that it writes to its standard error belongs to the first process: see [`Children::wait`].
///
/// # Errors
/// No free port, or a process that could not be started.
pub fn launch(processes: usize, config: &mut Config) -> Result<Option<Children>> {
    if let (Ok(hosts), Ok(process)) = (std::env::var(HOSTS), std::env::var(PROCESS)) {
        config.hosts = hosts.split(',').map(str::to_owned).collect();
        config.process = process.parse().map_err(|_| Error::Plan(format!("{PROCESS}: `{process}` is not a number")))?;
        config.metrics_addr = config.metrics_addr.map(|address| metrics::of_process(address, config.process)).transpose()?;
        end_with_the_first(config.interrupt.clone())?;
        return Ok(None);
    }
    if processes <= 1 {
        return Ok(None);
    }
    if let Some(address) = config.metrics_addr {
        // Here, so that it is known before anything is started.
        (0..processes).try_for_each(|process| metrics::check(metrics::of_process(address, process)?))?;
    }
    config.hosts = free_addresses(processes)?;
    let relaunch = Relaunch { hosts: config.hosts.as_slice().into(), started: Arc::default() };
    let children = Children { started: relaunch.started.clone() };
    let generation = std::env::var(GENERATION).ok().and_then(|g| g.parse().ok()).unwrap_or(0);
    relaunch.start(generation)?;
    config.relaunch = Some(relaunch);
    Ok(Some(children))
}

impl Relaunch {
    /// Starts all of them, in the place of those that there were, which are ended first.
    ///
    /// # Errors
    /// One could not be started.
    pub(crate) fn start(&self, generation: u64) -> Result<()> {
        let program = std::env::current_exe().map_err(cannot)?;
        let mut started = lock(&self.started);
        end(&mut started);
        started.clear();
        for process in 1..self.hosts.len() {
            let mut child = Command::new(&program)
                .args(std::env::args_os().skip(1))
                .env(HOSTS, self.hosts.join(","))
                .env(PROCESS, process.to_string())
                .env(GENERATION, generation.to_string())
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(cannot)?;
            let stderr = child.stderr.take();
            started.push(Started { process, child, said: None });
            if let (Some(stderr), Some(started)) = (stderr, started.last_mut()) {
                let relay = thread::Builder::new().name(format!("process-{process}"));
                started.said = Some(relay.spawn(move || relay_lines(stderr)).map_err(cannot)?);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Relaunch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relaunch").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn cannot(error: io::Error) -> Error {
    Error::Plan(format!("cannot start process of this job: {error}"))
}

/// In a started process: raises `interrupt` once the first process has let go of the pipe.
fn end_with_the_first(interrupt: Interrupt) -> Result<()> {
    let wait = move || {
        let mut nothing = [0; 64];
        while io::stdin().read(&mut nothing).is_ok_and(|n| n > 0) {}
        interrupt.raise();
    };
    thread::Builder::new().name("first process".into()).spawn(wait).map(drop).map_err(cannot)
}

/// Passes lines on to this process's standard error, the last one excepted, which it gives back.
fn relay_lines(from: ChildStderr) -> String {
    let mut last: Option<String> = None;
    for line in BufReader::new(from).split(b'\n').map_while(io::Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        if let Some(before) = last.replace(line) {
            // Nobody is left to be told of a standard error that is closed.
            let _ = writeln!(io::stderr(), "{before}");
        }
    }
    last.unwrap_or_default()
}

/// Addresses on loopback that nobody listens on: all are bound at once, then let go.
fn free_addresses(count: usize) -> Result<Vec<String>> {
    let listen = || TcpListener::bind("127.0.0.1:0").and_then(|l| Ok((l.local_addr()?.to_string(), l)));
    let bound = (0..count).map(|_| listen()).collect::<io::Result<Vec<_>>>();
    let bound = bound.map_err(|e| Error::Plan(format!("no free port on loopback: {e}")))?;
    Ok(bound.into_iter().map(|(address, _)| address).collect())
}

impl Children {
    /// Waits until all have ended.
    ///
    /// # Errors
    /// [`Error::Peer`] for the first that did not end well, with the last line that it wrote to its standard error.
    pub fn wait(self) -> Result<()> {
        let mut result = Ok(());
        let all = std::mem::take(&mut *lock(&self.started));
        for mut started in all {
            result = result.and(started.outcome());
        }
        result
    }

    /// Ends them after this process's part: waits for them if that went well. If not they have nothing more to do, and
    /// where one of them is what is gone, the error says how it ended.
    ///
    /// # Errors
    /// That of `result`, else as [`Children::wait`].
    pub fn conclude<T>(self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => self.wait().map(|()| value),
            Err(Error::Peer { process, message }) => {
                if let Some(lost) = lock(&self.started).iter_mut().find(|started| started.process == process)
                    // Its end may not have been noted yet when its sockets are closed.
                    && lost.ends_within(Duration::from_millis(200))
                {
                    lost.outcome()?;
                }
                Err(Error::Peer { process, message })
            }
            Err(error) => Err(error),
        }
    }
}

impl Started {
    /// Waits for its end; says what was wrong with it. One that was interrupted means that the job was.
    fn outcome(&mut self) -> Result<()> {
        let lost = |message| Err(Error::Peer { process: self.process, message });
        let status = self.child.wait();
        let said = self.said.take().and_then(|relay| relay.join().ok()).unwrap_or_default();
        match status {
            Ok(status) if status.success() => {
                if !said.is_empty() {
                    let _ = writeln!(io::stderr(), "{said}");
                }
                Ok(())
            }
            Ok(status) if status.code().is_some_and(exit_code::is_interrupted) => Err(Error::Interrupted),
            Ok(status) if said.is_empty() => lost(format!("it ended with {status}")),
            Ok(status) => lost(format!("it ended with {status}: {said}")),
            Err(error) => lost(error.to_string()),
        }
    }

    fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        end(&mut lock(&self.started));
    }
}

/// Ends processes, and waits until they have.
fn end(all: &mut [Started]) {
    // All at once: each hears of it by the end of its standard input.
    all.iter_mut().for_each(|started| drop(started.child.stdin.take()));
    let deadline = Instant::now() + GRACE;
    for started in all {
        if !started.ends_within(deadline.saturating_duration_since(Instant::now())) {
            let _ = started.child.kill();
        }
        // So that it does not stay a zombie.
        let _ = started.child.wait();
    }
}
