//! Several processes on one host: the first starts the others with its own command line and tells each who it is.

use crate::{Config, Error, Result};
use std::net::TcpListener;
use std::process::{Child, Command};

/// Names the environment variable with the addresses of all processes, separated by commas.
const HOSTS: &str = "FLUVIAL_HOSTS";
/// Names the environment variable with the index of a started process.
const PROCESS: &str = "FLUVIAL_PROCESS";

/// The processes that this one has started. They are ended when it is dropped.
pub struct Children {
    children: Vec<(usize, Child)>,
}

/// Makes this program a job of `processes` processes on this host.
///
/// In the first process it starts the others, with the same program and arguments, and returns them; in a started process it
/// returns none. Either way `config` then says where everybody listens and which process this is.
///
/// # Errors
/// No free port, or a process that could not be started.
pub fn launch(processes: usize, config: &mut Config) -> Result<Option<Children>> {
    if let (Ok(hosts), Ok(process)) = (std::env::var(HOSTS), std::env::var(PROCESS)) {
        config.hosts = hosts.split(',').map(str::to_owned).collect();
        config.process = process.parse().map_err(|_| Error::Plan(format!("{PROCESS}: `{process}` is not a number")))?;
        return Ok(None);
    }
    if processes <= 1 {
        return Ok(None);
    }
    config.hosts = free_addresses(processes)?;
    let cannot = |e: std::io::Error| Error::Plan(format!("cannot start process of this job: {e}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let mut children = Children { children: Vec::new() };
    for process in 1..processes {
        let child = Command::new(&program)
            .args(std::env::args_os().skip(1))
            .env(HOSTS, config.hosts.join(","))
            .env(PROCESS, process.to_string())
            .stdin(std::process::Stdio::null())
            .spawn()
            .map_err(cannot)?;
        children.children.push((process, child));
    }
    Ok(Some(children))
}

/// Addresses on loopback that nobody listens on: all are bound at once, then let go.
fn free_addresses(count: usize) -> Result<Vec<String>> {
    let listen = || TcpListener::bind("127.0.0.1:0").and_then(|l| Ok((l.local_addr()?.to_string(), l)));
    let bound = (0..count).map(|_| listen()).collect::<std::io::Result<Vec<_>>>();
    let bound = bound.map_err(|e| Error::Plan(format!("no free port on loopback: {e}")))?;
    Ok(bound.into_iter().map(|(address, _)| address).collect())
}

impl Children {
    /// Waits until all have ended.
    ///
    /// # Errors
    /// [`Error::Peer`] for the first that did not end well.
    pub fn wait(mut self) -> Result<()> {
        let mut result = Ok(());
        for (process, mut child) in self.children.drain(..) {
            let message = match child.wait() {
                Ok(status) if status.success() => continue,
                Ok(status) => format!("it ended with {status}"),
                Err(error) => error.to_string(),
            };
            result = result.and(Err(Error::Peer { process, message }));
        }
        result
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // Already ended is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
