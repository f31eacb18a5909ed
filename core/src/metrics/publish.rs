//! What goes to the recorder that the program has installed with the `metrics` crate, if it has.

use super::catalog::{Reading, families};
use super::{Metrics, MetricsSnapshot};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How often a recorder is told.
const INTERVAL: Duration = Duration::from_secs(1);

impl Metrics {
    /// Runs a job and tells the recorder of it: once an interval from a thread of its own, and at the end, from this one.
    pub(crate) fn publish_while<T>(&self, run: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            let (over, waiting) = channel::<()>();
            let publish = move || {
                let mut last = MetricsSnapshot::default();
                while waiting.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let now = self.snapshot();
                    now.publish_since(&last);
                    last = now;
                }
                last
            };
            // Without the thread the recorder hears of the job at its end.
            let publisher = thread::Builder::new().name("metrics".into()).spawn_scoped(scope, publish).ok();
            let result = run();
            drop(over);
            let last = publisher.and_then(|thread| thread.join().ok()).unwrap_or_default();
            self.snapshot().publish_since(&last);
            result
        })
    }
}

impl MetricsSnapshot {
    /// Adds what counters grew by since `last`, so that they go on growing over the jobs of a program, and sets gauges.
    fn publish_since(&self, last: &Self) {
        let before = if self.continues(last) { families(last) } else { Vec::new() };
        let first = before.is_empty();
        for (i, family) in families(self).into_iter().enumerate() {
            if first {
                match family.kind {
                    "counter" => describe_counter!(family.name, family.help),
                    _ => describe_gauge!(family.name, family.help),
                }
            }
            for (j, (labels, reading)) in family.samples.into_iter().enumerate() {
                match reading {
                    Reading::Counter(now) => {
                        let before = match before.get(i).and_then(|family| family.samples.get(j)) {
                            Some((_, Reading::Counter(before))) => *before,
                            _ => 0,
                        };
                        counter!(family.name, labels).increment(now.saturating_sub(before));
                    }
                    Reading::Gauge(now) => gauge!(family.name, labels).set(now),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Env;
    use metrics::with_local_recorder;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn a_recorder_of_the_programs_own_sees_counters_grow_over_jobs() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let env = Env::default();
        let records = || {
            let text = recorder.handle().render();
            let series = text.lines().filter(|l| l.starts_with("fluvial_operator_records_in_total{"));
            series.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
        };
        let collect = || env.sequence(1..=100).rebalance().map(|x| x).collect().map(drop);
        with_local_recorder(&recorder, collect).unwrap();
        let once = records();
        assert!(once >= 100, "{once}");
        with_local_recorder(&recorder, collect).unwrap();
        assert_eq!(records(), 2 * once);
        // Outside nothing is recorded, and nothing was installed.
        collect().unwrap();
        assert_eq!(records(), 2 * once);
    }
}
