//! The least memory that a job needs, known before it starts.

use super::{Graph, GraphDescription};
use crate::{Config, Error, MINIMUM_MEMORY_PER_WORKER, Result};
use fluvial_memory::SEGMENT_SIZE;

impl Graph {
    /// Whether the budget covers what all operators reserve. They do so all at once: an operator that waited for memory
    /// until another has ended would hold up what the other one waits for.
    ///
    /// # Errors
    /// [`Error::Plan`] that names the job, the budget, what is needed and for what.
    pub(crate) fn check_memory(&self, job: &str, config: &Config) -> Result<()> {
        let plan = self.describe();
        let needed = plan.minimum_memory() * config.threads as u64;
        if needed <= config.memory as u64 {
            return Ok(());
        }
        let workers = if config.threads == 1 { "1 worker".to_owned() } else { format!("{} workers", config.threads) };
        Err(Error::Plan(format!(
            "memory: {} given, job `{job}` needs at least {} for {workers} (each {}: {})",
            exact(config.memory as u64),
            exact(needed),
            exact(plan.minimum_memory()),
            plan.memory_by_operator()
        )))
    }
}

impl GraphDescription {
    /// Bytes of managed memory that each worker needs at least: what all its operators reserve together, and no less than
    /// [`MINIMUM_MEMORY_PER_WORKER`].
    pub fn minimum_memory(&self) -> u64 {
        let reserved: u64 = self.nodes.iter().map(|n| n.memory).sum();
        reserved.max(MINIMUM_MEMORY_PER_WORKER as u64)
    }

    /// `2 x aggregate 2112 KiB, sort 512 KiB`: largest first.
    fn memory_by_operator(&self) -> String {
        let mut parts: Vec<(&str, u64, u64)> = Vec::new();
        for node in self.nodes.iter().filter(|n| n.memory > 0) {
            match parts.iter_mut().find(|(name, ..)| *name == node.name) {
                Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + node.memory),
                None => parts.push((&node.name, 1, node.memory)),
            }
        }
        parts.sort_by_key(|(_, _, bytes)| std::cmp::Reverse(*bytes));
        let part = |&(name, count, bytes): &(&str, u64, u64)| match count {
            1 => format!("{name} {}", exact(bytes)),
            _ => format!("{count} x {name} {}", exact(bytes)),
        };
        parts.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// Bytes of segments, for descriptions.
pub(super) fn segments(count: usize) -> u64 {
    (count * SEGMENT_SIZE) as u64
}

/// A size that, given as a budget, is this one and not a rounded one: `3 MiB`, `2592 KiB`.
pub(super) fn exact(bytes: u64) -> String {
    match bytes {
        b if b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        b => format!("{b} bytes"),
    }
}
