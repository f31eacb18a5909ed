use crate::checkpoint::Checkpoints;
use crate::launch::Relaunch;
use crate::restart::Restart;
use crate::runtime::Interrupt;
use crate::state::StateBackend;
use crate::{Clock, Error, Result};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a job runs: memory, workers, processes, where it spills.
#[derive(Clone, Debug)]
pub struct Config {
    /// Managed memory of each process, in bytes. Default: 512 MiB.
    pub memory: usize,
    /// Workers of each process. Default: the number of cores.
    pub threads: usize,
    /// Where spill files go. Default: the system's folder for temporary files.
    pub spill_dir: PathBuf,
    /// Whether spilled blocks are compressed with LZ4. Default: no (measured slower where the disk keeps up).
    pub compress_spill: bool,
    /// `host:port` of every process; empty for one process.
    pub hosts: Vec<String>,
    /// This process among `hosts`.
    pub process: usize,
    /// Whether event time advances while jobs run. Default: where a source does not end.
    pub mode: Mode,
    /// Where processing time comes from. Default: the system.
    pub clock: Clock,
    /// Where the metrics of this process are served over HTTP, at `/metrics`, in Prometheus' text format; port 0 takes a
    /// free one. Processes that are [`launch`](crate::launch)ed take the ports after it. Default: nowhere.
    pub metrics_addr: Option<SocketAddr>,
    /// How long jobs take input, by [`Config::clock`]: then their sources end where they are, and what was taken is processed
    /// to its end. Default: until it ends.
    pub stop_after: Option<Duration>,
    /// How often a barrier goes through jobs although nobody keeps checkpoints: every operator then gives its state as of the
    /// barrier. It changes no result, which is what tests use it for. Default: never.
    pub barrier_interval: Option<Duration>,
    /// Where streaming jobs keep their state, how often, and what they begin with. Default: they keep none.
    pub checkpoints: Option<Checkpoints>,
    /// Where streaming jobs keep the state of keys while they run. Default: in memory.
    pub state_backend: StateBackend,
    /// Whether and when a job that has failed is started again. Default: never.
    pub restart: Restart,
    /// Starts the other processes again, where [`launch`](crate::launch) has started them. Set there.
    pub relaunch: Option<Relaunch>,
    /// Has the jobs drain, or ends them, when it is raised. Every default has one of its own; clones of a configuration share theirs.
    pub interrupt: Interrupt,
}

/// How a job treats time. On input that ends both modes give the same results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Streaming if a source of the job does not end, else batch.
    #[default]
    Auto,
    /// Event time stands still until all input has ended, and then passes at once: windows fire once, nothing is late. An
    /// error where a source does not end.
    Batch,
    /// Watermarks advance as records come.
    Streaming,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            memory: 512 << 20,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            spill_dir: std::env::temp_dir(),
            compress_spill: false,
            hosts: Vec::new(),
            process: 0,
            mode: Mode::Auto,
            clock: Clock::system(),
            metrics_addr: None,
            stop_after: None,
            barrier_interval: None,
            checkpoints: None,
            state_backend: StateBackend::Memory,
            restart: Restart::never(),
            relaunch: None,
            interrupt: Interrupt::default(),
        }
    }
}

/// Least managed memory of a worker, in bytes.
pub const MINIMUM_MEMORY_PER_WORKER: usize = 2 << 20;

/// Most workers of a process. Every worker has a channel to every other one, and nothing gains from more than the machine has
/// cores.
const MAXIMUM_THREADS: usize = 1024;

impl Config {
    /// # Errors
    /// [`Error::Plan`] that names the setting, what it is and what it may be.
    pub fn check(&self) -> Result<()> {
        if self.threads == 0 {
            return Err(Error::Plan("threads: 0 given, at least 1 is needed".into()));
        }
        if self.threads > MAXIMUM_THREADS {
            return Err(Error::Plan(format!("threads: {} given, at most {MAXIMUM_THREADS} can be", self.threads)));
        }
        let least = self.threads * MINIMUM_MEMORY_PER_WORKER;
        if self.memory < least {
            return Err(Error::Plan(format!(
                "memory: {} given, at least {} is needed for {} workers (2 MiB each)",
                format_bytes(self.memory as u64),
                format_bytes(least as u64),
                self.threads
            )));
        }
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.check()?;
        }
        self.state_backend.check()?;
        for (process, host) in self.hosts.iter().enumerate() {
            let (name, port) = host.rsplit_once(':').unwrap_or_default();
            if name.is_empty() || !port.parse::<u16>().is_ok_and(|port| port > 0) {
                return Err(Error::Plan(format!("hosts: `{host}` given for process {process}, expected host:port")));
            }
        }
        if !self.hosts.is_empty() && self.process >= self.hosts.len() {
            let hosts = self.hosts.len();
            return Err(Error::Plan(format!(
                "process: {} given, but there are {hosts} hosts (0 to {})",
                self.process,
                hosts - 1
            )));
        }
        Ok(())
    }
}

/// Reads sizes such as `512MiB`, `64 MB`, `2g` or `1048576`. Binary and decimal units differ (1 MiB = 1,048,576 bytes, 1 MB =
/// 1,000,000); a bare letter is binary.
///
/// ```
/// assert_eq!(fluvial_core::parse_bytes("64MiB").unwrap(), 64 << 20);
/// assert_eq!(fluvial_core::parse_bytes("1.5 GB").unwrap(), 1_500_000_000);
/// assert!(fluvial_core::parse_bytes("lots").is_err());
/// ```
///
/// # Errors
/// A message that says what was expected.
pub fn parse_bytes(text: &str) -> std::result::Result<usize, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1u64,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        other => return Err(format!("`{text}`: unknown unit `{other}`, expected one of B, KiB, MiB, GiB, TiB, KB, MB, GB, TB")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}`: expected a size such as 512MiB"))?;
    Ok((number * factor as f64) as usize)
}

/// A size for people: `1.5 GiB`.
pub fn format_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" || value.fract() == 0.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}
