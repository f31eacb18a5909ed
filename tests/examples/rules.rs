//! Rules that come before, between and after the events that they count.

use crate::dynamic_rules::{Alert, alerts};
use fluvial::ChannelSender;
use fluvial::prelude::*;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// The job, with a test in control of both inputs.
struct Running {
    rules: ChannelSender<String>,
    events: ChannelSender<String>,
    alerts: Receiver<Alert>,
    rejected: Receiver<String>,
    job: JoinHandle<Result<()>>,
    probes: u64,
    /// Alerts that came while a probe was waited for.
    seen: Vec<Alert>,
}

impl Running {
    fn start(threads: usize) -> Self {
        let env = Env::new(Config { threads, ..Config::default() });
        let ((rules, rule_lines), (events, event_lines)) = (env.channel(64), env.channel(64));
        let (given, rejected) = alerts(&rule_lines, &event_lines);
        let ((alert, alerts), (letter, letters)) = (mpsc::channel(), mpsc::channel());
        given.for_each(move |a| alert.send(a).unwrap());
        rejected.for_each(move |r| letter.send(r.error).unwrap());
        let job = thread::spawn(move || env.execute("rules").map(drop));
        Self { rules, events, alerts, rejected: letters, job, probes: 0, seen: Vec::new() }
    }

    fn event(&mut self, customer: &str, payload: &str) {
        self.events.send_blocking(format!(r#"{{"customer": "{customer}", "payload": {payload}}}"#)).unwrap();
    }

    fn rule(&mut self, customer: Option<&str>, rule: &str, path: &str, threshold: u64) {
        let rule = serde_json::json!({"customer": customer, "rule": rule, "path": path, "threshold": threshold});
        self.rules.send_blocking(rule.to_string()).unwrap();
    }

    /// Waits until the customer's worker has all rules so far, and of the customer so many events: a rule for everything says
    /// so.
    fn settle(&mut self, customer: &str, events: u64) {
        self.probes += 1;
        let probe = format!("probe {}", self.probes);
        self.rule(Some(customer), &probe, "$", events);
        loop {
            let alert = self.alerts.recv_timeout(DEADLINE).expect("the probe's alert");
            match alert.rule == probe {
                true => return,
                false => self.seen.push(alert),
            }
        }
    }

    /// All alerts by customer, rule and number, and what was rejected.
    fn end(mut self) -> (Vec<(String, String, u64)>, Vec<String>) {
        drop((self.rules, self.events));
        self.seen.extend(self.alerts);
        self.job.join().unwrap().unwrap();
        let mut alerts: Vec<_> = self.seen.into_iter().map(|a| (a.customer, a.rule, a.matches)).collect();
        alerts.sort();
        (alerts, self.rejected.into_iter().collect())
    }

    fn alerts(self) -> Vec<(String, String, u64)> {
        let (alerts, rejected) = self.end();
        assert!(rejected.is_empty(), "{rejected:?}");
        alerts
    }
}

fn expected(alerts: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    alerts.iter().map(|(customer, rule, matches)| (customer.to_string(), rule.to_string(), *matches)).collect()
}

#[test]
fn a_rule_counts_the_events_in_which_its_path_selects_something() {
    let mut job = Running::start(2);
    job.rule(Some("ann"), "luxury", "$.items[?@.price > 100]", 2);
    for price in [120, 80, 100, 101, 300] {
        job.event("ann", &format!(r#"{{"items": [{{"price": 1}}, {{"price": {price}}}]}}"#));
    }
    job.event("ann", "[1, 2]");
    assert_eq!(job.alerts(), expected(&[("ann", "luxury", 2)]), "one alert, at the threshold");
}

#[test]
fn a_new_rule_replays_the_history_first() {
    let mut job = Running::start(2);
    (0..5).for_each(|n| job.event("ann", &format!(r#"{{"n": {n}}}"#)));
    job.settle("ann", 5);
    job.rule(Some("ann"), "all five", "$.n", 5);
    job.rule(Some("ann"), "six", "$.n", 6);
    job.rule(None, "the last two", "$[?@ >= 3]", 2);
    assert_eq!(job.alerts(), expected(&[("ann", "all five", 5), ("ann", "the last two", 2)]));
}

#[test]
fn an_event_counts_once_whether_live_or_from_history() {
    let mut job = Running::start(2);
    (0..2).for_each(|_| job.event("ann", "{}"));
    job.settle("ann", 2);
    job.rule(Some("ann"), "four", "$", 4);
    job.rule(Some("ann"), "five", "$", 5);
    job.settle("ann", 2);
    (0..2).for_each(|_| job.event("ann", "{}"));
    job.settle("ann", 4);
    // A rule in between makes no other one count again.
    assert_eq!(job.alerts(), expected(&[("ann", "four", 4)]));
}

#[test]
fn an_updated_rule_replaces_itself_only() {
    let mut job = Running::start(2);
    job.rule(Some("ann"), "a", "$.x", 2);
    job.rule(Some("ann"), "b", "$.x", 3);
    job.event("ann", "{}");
    job.settle("ann", 1);
    (0..2).for_each(|_| job.event("ann", r#"{"x": 1}"#));
    job.settle("ann", 3);
    job.rule(Some("ann"), "a", "$.y", 1);
    job.settle("ann", 3);
    job.event("ann", r#"{"x": 1}"#);
    job.event("ann", r#"{"x": 1, "y": 1}"#);
    let alerts = job.alerts();
    // The old `a` alerted; the new one counts another path from the start; `b` went on counting.
    assert_eq!(alerts, expected(&[("ann", "a", 1), ("ann", "a", 2), ("ann", "b", 3)]));
}

#[test]
fn an_updated_rule_counts_history_by_its_new_path() {
    let mut job = Running::start(3);
    job.rule(None, "a", "$.x", 10);
    (0..3).for_each(|n| job.event("ann", &format!(r#"{{"x": {n}}}"#)));
    job.settle("ann", 3);
    job.rule(None, "a", "$[?@ > 0]", 2);
    assert_eq!(job.alerts(), expected(&[("ann", "a", 2)]));
}

#[test]
fn customers_have_counts_and_rules_of_their_own() {
    let mut job = Running::start(3);
    job.rule(Some("ann"), "mine", "$", 2);
    job.rule(Some("bob"), "mine", "$", 3);
    for customer in ["ann", "bob", "ann", "bob", "cid", "bob", "cid", "cid"] {
        job.event(customer, "{}");
    }
    assert_eq!(job.alerts(), expected(&[("ann", "mine", 2), ("bob", "mine", 3)]));
}

#[test]
fn a_rule_for_all_counts_each_customer_apart() {
    let mut job = Running::start(3);
    for customer in ["ann", "bob", "ann", "cid", "bob"] {
        job.event(customer, "{}");
    }
    job.settle("ann", 2);
    job.rule(None, "two", "$", 2);
    // Of the same name, and yet another rule.
    job.rule(Some("bob"), "two", "$", 3);
    job.settle("ann", 2);
    job.event("cid", "{}");
    job.event("bob", "{}");
    job.event("dan", "{}");
    let all = [("ann", "two", 2), ("bob", "two", 2), ("bob", "two", 3), ("cid", "two", 2)];
    assert_eq!(job.alerts(), expected(&all));
}

#[test]
fn what_is_no_rule_and_no_event_is_rejected_and_the_job_goes_on() {
    let mut job = Running::start(2);
    job.rule(None, "broken", "$.items[", 1);
    job.rule(None, "never", "$", 0);
    job.rules.send_blocking("threshold 3".into()).unwrap();
    job.events.send_blocking(r#"{"customer": "ann", "payload": {"#.into()).unwrap();
    job.event("ann", "{}");
    job.rule(None, "good", "$", 1);
    let (alerts, rejected) = job.end();
    assert_eq!(alerts, expected(&[("ann", "good", 1)]));
    let starts = ["not a rule: ", "not an event: ", "rule `broken`: path `$.items[`: ", "rule `never`: threshold 0, "];
    assert_eq!(rejected.len(), starts.len(), "{rejected:?}");
    for start in starts {
        assert!(rejected.iter().any(|r| r.starts_with(start)), "{start}: {rejected:?}");
    }
}

#[test]
fn any_interleaving_gives_the_same_alerts() {
    for threads in 1..=3 {
        for seed in 0..4u64 {
            let mut job = Running::start(threads);
            for n in 0..40u64 {
                // Rules and events go through channels of their own: who comes first is not determined.
                job.event(["ann", "bob", "cid"][(n * (seed + 3) % 3) as usize], &format!(r#"{{"n": {}}}"#, n % 5));
                if n % 8 == seed {
                    job.rule(None, &format!("from {}", n / 8), &format!("$[?@ >= {}]", n / 8), 5);
                }
            }
            let mut matches = std::collections::BTreeMap::<_, u64>::new();
            for (n, rule) in (0..40u64).flat_map(|n| (0..5u64).map(move |rule| (n, rule))) {
                let customer = ["ann", "bob", "cid"][(n * (seed + 3) % 3) as usize];
                *matches.entry((customer.to_string(), format!("from {rule}"))).or_default() += u64::from(n % 5 >= rule);
            }
            let all: Vec<_> = matches.into_iter().filter(|(_, n)| *n >= 5).map(|((c, r), _)| (c, r, 5)).collect();
            assert_eq!(job.alerts(), all, "{threads} workers, seed {seed}");
        }
    }
}
