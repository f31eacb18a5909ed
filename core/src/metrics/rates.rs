use super::snapshot::MetricsSnapshot;
use serde::Serialize;

/// What an operator did a second, between two snapshots; all its workers in this process together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OperatorRates {
    /// Number of the operator in the job.
    pub id: usize,
    /// Its name.
    pub name: String,
    /// Records that it was given, or read from outside, a second.
    pub records_in: f64,
    /// Records that it sent, a second.
    pub records_out: f64,
    /// Bytes of the records that it was given, and of the files that it read, a second.
    pub bytes_in: f64,
    /// Bytes of the records that it sent, a second.
    pub bytes_out: f64,
    /// Seconds a second that an instance worked, on average: 0 to 1.
    pub busy: f64,
    /// Seconds a second that an instance was held up by an output without room, on average: 0 to 1.
    pub backpressured: f64,
    /// Seconds a second of the rest: 0 to 1.
    pub idle: f64,
}

impl MetricsSnapshot {
    /// Whether this is a later snapshot of the same job.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        self.job == earlier.job
            && self.job_number == earlier.job_number
            && self.seconds >= earlier.seconds
            && self.operators.len() == earlier.operators.len()
    }

    /// What each operator did a second between an earlier snapshot of the same job and this one; since the job's start if
    /// the other is of another job. All zero where no time has passed.
    ///
    /// ```
    /// use fluvial_core::{Env, MetricsSnapshot};
    /// let env = Env::default();
    /// env.sequence(1..=1000).rebalance().map(|x| x + 1).collect()?;
    /// let whole = env.metrics().snapshot().rates_since(&MetricsSnapshot::default());
    /// assert!(whole.iter().any(|operator| operator.records_out > 0.0));
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn rates_since(&self, earlier: &Self) -> Vec<OperatorRates> {
        let same = self.continues(earlier);
        let seconds = self.seconds - if same { earlier.seconds } else { 0.0 };
        let rates = |(operator, before): (&super::OperatorMetrics, Option<&super::OperatorMetrics>)| {
            let (now, before) = (operator.total(), before.map(super::OperatorMetrics::total).unwrap_or_default());
            let each = |difference: f64| if seconds > 0.0 { difference.max(0.0) / seconds } else { 0.0 };
            let count = |now: u64, before: u64| each(now.saturating_sub(before) as f64);
            let share = |now: f64, before: f64| each((now - before) / operator.workers.len().max(1) as f64).min(1.0);
            OperatorRates {
                id: operator.id,
                name: operator.name.clone(),
                records_in: count(now.records_in, before.records_in),
                records_out: count(now.records_out, before.records_out),
                bytes_in: count(now.bytes_in, before.bytes_in),
                bytes_out: count(now.bytes_out, before.bytes_out),
                busy: share(now.busy_seconds, before.busy_seconds),
                backpressured: share(now.backpressured_seconds, before.backpressured_seconds),
                idle: share(now.idle_seconds, before.idle_seconds),
            }
        };
        let pairs = self.operators.iter().enumerate().map(|(i, o)| (o, earlier.operators.get(i).filter(|_| same)));
        pairs.map(rates).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OperatorMetrics, WorkerMetrics};
    use super::*;

    fn snapshot(job: &str, seconds: f64, records: u64, busy: f64) -> MetricsSnapshot {
        let worker = WorkerMetrics {
            records_in: records,
            bytes_in: records * 8,
            busy_seconds: busy,
            idle_seconds: seconds - busy,
            ..WorkerMetrics::default()
        };
        let operator = OperatorMetrics { name: "map".into(), workers: vec![worker; 2], ..OperatorMetrics::default() };
        MetricsSnapshot { job: job.into(), seconds, operators: vec![operator], ..MetricsSnapshot::default() }
    }

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let rates = snapshot("a", 6.0, 500, 2.5).rates_since(&snapshot("a", 2.0, 100, 1.5)).remove(0);
        assert_eq!((rates.records_in, rates.bytes_in, rates.records_out), (200.0, 1600.0, 0.0));
        assert_eq!((rates.busy, rates.idle, rates.backpressured), (0.25, 0.75, 0.0));
    }

    #[test]
    fn against_another_job_they_are_those_since_the_start() {
        let rates = snapshot("b", 4.0, 100, 1.0).rates_since(&snapshot("a", 2.0, 100_000, 1.5)).remove(0);
        assert_eq!((rates.records_in, rates.busy), (50.0, 0.25));
        let later = snapshot("a", 4.0, 100, 1.0).rates_since(&snapshot("a", 9.0, 100_000, 1.5)).remove(0);
        assert_eq!(later.records_in, 50.0);
    }

    #[test]
    fn no_time_gives_no_rate() {
        let now = snapshot("a", 2.0, 100, 1.0);
        assert_eq!(now.rates_since(&now)[0].records_in, 0.0);
        assert!(MetricsSnapshot::default().rates_since(&now).is_empty());
    }
}
