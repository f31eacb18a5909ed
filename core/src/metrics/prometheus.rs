//! Prometheus' text format, with the formatting of `metrics-exporter-prometheus`. Not its recorder, which would print
//! families and series in the order of a hash table.

use super::MetricsSnapshot;
use super::catalog::{Family, Reading, families};
use metrics::Key;
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

impl MetricsSnapshot {
    /// This snapshot in Prometheus' text format, version 0.0.4. Empty if no job has run.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        for Family { name, help, kind, samples } in families(self).into_iter().filter(|f| !f.samples.is_empty()) {
            write_help_line(&mut text, name, None, None, help);
            write_type_line(&mut text, name, None, None, kind);
            for (labels, reading) in samples {
                let labels = LabelSet::from_key_and_global(&Key::from_parts(name, labels), &Default::default());
                match reading {
                    Reading::Counter(n) => write_metric_line::<&str, _>(&mut text, name, None, &labels, None, n, None),
                    Reading::Gauge(x) => write_metric_line::<&str, _>(&mut text, name, None, &labels, None, x, None),
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MetricsSnapshot, OperatorMetrics, WorkerMetrics};
    use crate::{CheckpointReport, CheckpointStats};

    fn snapshot() -> MetricsSnapshot {
        let worker = |worker, watermark| WorkerMetrics {
            worker,
            records_in: 10 + worker as u64,
            busy_seconds: 1.2345,
            watermark,
            ..WorkerMetrics::default()
        };
        let operator = OperatorMetrics {
            id: 3,
            name: "map \"a\\b\"\n-> sink".into(),
            state_bytes: 512,
            late_records: 7,
            workers: vec![worker(0, Some(1_500)), worker(1, Some(i64::MAX))],
            ..OperatorMetrics::default()
        };
        let last = CheckpointReport { new_bytes: 300, bytes: 4_000, duration_ms: 25.0, ..CheckpointReport::default() };
        let checkpoints = CheckpointStats { completed: 5, failed: 1, latest: Some(last), ..CheckpointStats::default() };
        MetricsSnapshot {
            job: "j".into(),
            time: 4_000,
            running: true,
            checkpoints,
            restarts: 2,
            operators: vec![operator],
            ..Default::default()
        }
    }

    #[test]
    fn each_family_has_help_and_type_once_before_its_series() {
        let text = snapshot().prometheus();
        let lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|l| *l == "# TYPE fluvial_operator_records_in_total counter").unwrap();
        assert!(lines[at - 1].starts_with("# HELP fluvial_operator_records_in_total "), "{text}");
        let labels = r#"job_name="j",id="3",operator="map \"a\\b\"\n-> sink""#;
        assert_eq!(lines[at + 1], format!(r#"fluvial_operator_records_in_total{{{labels},worker="0"}} 10"#));
        assert_eq!(lines[at + 2], format!(r#"fluvial_operator_records_in_total{{{labels},worker="1"}} 11"#));
        for line in [
            format!(r#"fluvial_operator_busy_milliseconds_total{{{labels},worker="0"}} 1234"#),
            format!(r#"fluvial_operator_watermark_seconds{{{labels},worker="0"}} 1.5"#),
            format!(r#"fluvial_operator_watermark_lag_seconds{{{labels},worker="0"}} 2.5"#),
            format!("fluvial_operator_late_records_total{{{labels}}} 7"),
            format!("fluvial_operator_state_bytes{{{labels}}} 512"),
            r#"fluvial_job_running{job_name="j"} 1"#.to_owned(),
            r#"fluvial_job_restarts_total{job_name="j"} 2"#.to_owned(),
            r#"fluvial_checkpoints_completed_total{job_name="j"} 5"#.to_owned(),
            r#"fluvial_checkpoints_failed_total{job_name="j"} 1"#.to_owned(),
            r#"fluvial_checkpoint_last_duration_seconds{job_name="j"} 0.025"#.to_owned(),
            r#"fluvial_checkpoint_last_bytes{job_name="j"} 4000"#.to_owned(),
            r#"fluvial_checkpoint_last_new_bytes{job_name="j"} 300"#.to_owned(),
        ] {
            assert!(lines.contains(&line.as_str()), "no `{line}` in\n{text}");
        }
        // The second worker's watermark is that of the end.
        assert_eq!(lines.iter().filter(|l| l.starts_with("fluvial_operator_watermark_seconds")).count(), 1);
        let types = lines.iter().filter(|l| l.starts_with("# TYPE")).count();
        let names: std::collections::BTreeSet<_> =
            lines.iter().filter(|l| !l.starts_with('#')).filter_map(|l| l.split('{').next()).collect();
        assert_eq!(types, names.len());
    }

    #[test]
    fn nothing_has_run_and_nothing_is_said() {
        assert_eq!(MetricsSnapshot::default().prometheus(), "");
    }
}
