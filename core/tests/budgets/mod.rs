//! Environments for operations that have to agree whatever the workers and the memory.

#![allow(dead_code)]

use fluvial_core::{Config, Env, GraphDescription};

/// Workers of the environments that results are compared in.
pub const WORKERS: [usize; 3] = [1, 2, 3];

/// More memory than the data of a test.
pub fn ample(threads: usize) -> Env {
    Env::new(Config { threads, memory: 64 << 20, ..Config::default() })
}

/// No more memory than this plan says that it needs.
pub fn least(threads: usize, plan: &GraphDescription) -> Env {
    Env::new(Config { threads, memory: plan.minimum_memory() as usize * threads, ..Config::default() })
}

/// Bytes that operators whose name contains `operator` spilled in the last job. Nothing ever holds more than the budget.
pub fn spilled(env: &Env, operator: &str) -> u64 {
    let report = env.last_report().expect("a job has run");
    assert!(report.pool_peak <= report.memory, "{report:?}");
    let of_operator: Vec<_> = report.operators.iter().filter(|o| o.name.contains(operator)).collect();
    assert!(!of_operator.is_empty(), "no `{operator}` in {report:?}");
    of_operator.iter().map(|o| o.spilled_bytes).sum()
}

pub fn sorted<T: Ord>(mut records: Vec<T>) -> Vec<T> {
    records.sort();
    records
}
