use crate::graph::OperatorStats;
use serde::Serialize;

/// What a job did, in this process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct JobReport {
    /// The job's name.
    pub job: String,
    /// From its start to the end of the last worker.
    pub seconds: f64,
    /// Managed memory, in bytes.
    pub memory: u64,
    /// Most managed memory held at a time since the environment was made, in bytes.
    pub pool_peak: u64,
    /// Most bytes of the process that were resident at a time, as the system counts them (`VmHWM`).
    pub peak_resident: u64,
    /// Bytes written to spill files.
    pub spilled_bytes: u64,
    /// Spill files written.
    pub spill_files: u64,
    /// By operator.
    pub operators: Vec<OperatorStats>,
}

/// `VmHWM` of this process in bytes; 0 where the system does not tell.
pub fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().map_or(0, |kib| kib * 1024)
}
