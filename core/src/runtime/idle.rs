//! Idle sources: an instance with nothing to say takes its watermark from those that have, so that it does not hold back
//! event time. Every instance publishes its watermark, and whether it is idle, once a tick.
//!
//! A probe of the frontier cannot serve: the idle instance's own capability holds it back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// How often an instance publishes, and looks at the others.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What one instance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Status {
    pub watermark: i64,
    pub idle: bool,
}

/// What the instances of all sources, on all workers, have said last.
#[derive(Default)]
pub(super) struct Statuses {
    /// By node, then by worker.
    nodes: Mutex<BTreeMap<usize, Vec<Option<Status>>>>,
}

impl Statuses {
    pub(super) fn publish(&self, node: usize, worker: usize, workers: usize, status: Status) {
        let mut nodes = self.nodes.lock().unwrap_or_else(|e| e.into_inner());
        nodes.entry(node).or_insert_with(|| vec![None; workers])[worker] = Some(status);
    }

    /// The smallest watermark of a node's active instances; an instance that has said nothing is active at the beginning
    /// of time. `None` if all are idle.
    pub(super) fn active(&self, node: usize) -> Option<i64> {
        let nodes = self.nodes.lock().unwrap_or_else(|e| e.into_inner());
        smallest(nodes.get(&node)?)
    }

    /// The same over all sources that have active instances.
    pub(super) fn active_anywhere(&self) -> Option<i64> {
        let nodes = self.nodes.lock().unwrap_or_else(|e| e.into_inner());
        nodes.values().filter_map(|node| smallest(node)).min()
    }
}

fn smallest(instances: &[Option<Status>]) -> Option<i64> {
    let watermark = |s: &Option<Status>| match s {
        None => Some(i64::MIN),
        Some(status) => (!status.idle).then_some(status.watermark),
    };
    instances.iter().filter_map(watermark).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_instances_do_not_count_and_silent_ones_do() {
        let statuses = Statuses::default();
        let say = |worker, watermark, idle| statuses.publish(4, worker, 3, Status { watermark, idle });
        say(0, 100, false);
        assert_eq!(statuses.active(4), Some(i64::MIN));
        say(1, 50, false);
        say(2, 7, true);
        assert_eq!(statuses.active(4), Some(50));
        say(1, 50, true);
        say(0, 100, true);
        assert_eq!(statuses.active(4), None);
        statuses.publish(5, 0, 1, Status { watermark: 9, idle: false });
        assert_eq!(statuses.active_anywhere(), Some(9));
    }
}
