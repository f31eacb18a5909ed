use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;

/// What an instance of a [`TransactionalSink`](super::TransactionalSink) may know of its surroundings.
#[derive(Clone, Debug)]
pub struct SinkContext {
    name: String,
    worker: usize,
    workers: usize,
    /// Different in every run of every instance.
    run: u64,
    /// Transactions named so far, by all clones.
    named: Rc<Cell<u64>>,
}

impl SinkContext {
    pub(super) fn new(name: &str, worker: usize, workers: usize) -> Self {
        // Keys of the standard library's hash maps are random: the cheapest source there is of a number that is not another's.
        let run = RandomState::new().build_hasher().finish();
        Self { name: name.to_owned(), worker, workers, run, named: Rc::default() }
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// This worker among all workers of all processes.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Number of workers in all processes.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// A name for a transaction that no other one has, of any instance, before or after a restart: `worker-run-number`.
    pub fn transaction_id(&self) -> String {
        self.named.set(self.named.get() + 1);
        format!("{}-{:016x}-{}", self.worker, self.run, self.named.get())
    }

    /// Whether a transaction is one that an earlier run has left and that this instance is the one to look after: all are by
    /// exactly one instance, whatever the number of workers was, and none is of an instance that runs. For
    /// [`TransactionalSink::recover`](super::TransactionalSink::recover). The names must be of
    /// [`SinkContext::transaction_id`], and those of one sink.
    pub fn is_former(&self, transaction_id: &str) -> bool {
        let mut parts = transaction_id.split('-');
        let (Some(worker), Some(run)) = (parts.next(), parts.next()) else { return false };
        let (Ok(worker), Ok(run)) = (worker.parse::<usize>(), u64::from_str_radix(run, 16)) else { return false };
        // Worker w of the running ones names its own `w-..`, and w is its own remainder.
        worker % self.workers == self.worker && run != self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_former_transaction_is_one_instances_and_no_live_one_is() {
        let former: Vec<String> = (0..5).map(|worker| SinkContext::new("sink", worker, 5).transaction_id()).collect();
        for workers in 1..=6 {
            let live: Vec<SinkContext> = (0..workers).map(|worker| SinkContext::new("sink", worker, workers)).collect();
            for id in &former {
                assert_eq!(live.iter().filter(|context| context.is_former(id)).count(), 1);
            }
            for id in live.iter().map(SinkContext::transaction_id) {
                assert!(!live.iter().any(|context| context.is_former(&id)));
            }
            let (first, second) = (live[0].transaction_id(), live[0].clone().transaction_id());
            assert_ne!(first, second);
            assert!(!live[0].is_former("") && !live[0].is_former("0") && !live[0].is_former("x-y-z"));
        }
    }
}
