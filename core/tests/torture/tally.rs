//! What test operators have received and sent when a barrier passed: over all workers, what an edge's receivers have by
//! the end of an epoch is what its senders have sent by then, no record more or less.

use super::{Record, mix};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

/// Sums of records' hashes: by input and by output port.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub received: Vec<u64>,
    pub sent: Vec<u64>,
}

impl Sums {
    pub fn add(sums: &mut Vec<u64>, index: usize, records: &[Record]) {
        if sums.len() <= index {
            sums.resize(index + 1, 0);
        }
        for (value, time) in records {
            sums[index] = sums[index].wrapping_add(mix(*value ^ mix(*time as u64)));
        }
    }
}

#[derive(Default)]
struct Instance {
    epochs: BTreeMap<u64, Sums>,
    end: Option<Sums>,
}

#[derive(Default)]
pub struct Tally {
    instances: Mutex<HashMap<(usize, usize), Instance>>,
    pub problems: Mutex<Vec<String>>,
}

impl Tally {
    pub fn snapshot(&self, node: usize, worker: usize, epoch: u64, sums: &Sums) {
        self.instances.lock().unwrap().entry((node, worker)).or_default().epochs.insert(epoch, sums.clone());
    }

    pub fn end(&self, node: usize, worker: usize, sums: &Sums) {
        self.instances.lock().unwrap().entry((node, worker)).or_default().end = Some(sums.clone());
    }

    pub fn problem(&self, problem: String) {
        self.problems.lock().unwrap().push(problem);
    }

    /// Checks every edge (sender, port, receiver, input, copies) at every epoch. Gives the number of epochs.
    pub fn check(&self, edges: &[(usize, usize, usize, usize, u64)], workers: usize) -> Result<usize, String> {
        let instances = self.instances.lock().unwrap();
        let epochs: std::collections::BTreeSet<u64> = instances.values().flat_map(|i| i.epochs.keys().copied()).collect();
        let total = |node: usize, epoch: u64, of: &dyn Fn(&Sums) -> u64| -> Result<u64, String> {
            let mut total = 0u64;
            for worker in 0..workers {
                let instance = instances.get(&(node, worker)).ok_or(format!("node {node} on worker {worker} said nothing"))?;
                let sums = instance.epochs.get(&epoch).or(instance.end.as_ref());
                total = total.wrapping_add(of(sums.ok_or(format!("node {node} on worker {worker} has not ended"))?));
            }
            Ok(total)
        };
        for (from, port, to, input, copies) in edges {
            for epoch in epochs.iter().copied().chain([u64::MAX]) {
                let sent = total(*from, epoch, &|s| s.sent.get(*port).copied().unwrap_or(0))?.wrapping_mul(*copies);
                let received = total(*to, epoch, &|s| s.received.get(*input).copied().unwrap_or(0))?;
                if sent != received {
                    return Err(format!(
                        "edge {from}:{port} -> {to}:{input} at the end of epoch {epoch}: {sent} sent, {received} received"
                    ));
                }
            }
        }
        Ok(epochs.len())
    }
}
