//! Alerts by rules that change while the job runs.
//!
//! Every rule counts the events of a customer, or of each customer, in which its JSONPath (RFC 9535) selects something, and an
//! alert goes out when they are as many as its threshold. A new rule sees the customer's history first, so it makes no
//! difference whether an event comes before or after the rule; a rule of the same name and for the same customer replaces the
//! one before it, and counts from the start. Two files are followed while they grow:
//!
//!     cargo run --release --example dynamic_rules -- rules.jsonl events.jsonl
//!     cargo run --release --example dynamic_rules -- --small
//!
//! with lines such as these (a rule without a customer is for each of them):
//!
//!     {"customer": "ann", "rule": "luxury", "path": "$.items[?@.price > 100]", "threshold": 3}
//!     {"customer": "ann", "payload": {"items": [{"price": 120}]}}

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    customer: Option<String>,
    rule: String,
    path: String,
    threshold: u64,
}

/// Whose rule, and its name: customers know nothing of each other's names.
type RuleId = (Option<String>, String);

impl Rule {
    fn parse(line: &str) -> std::result::Result<Self, String> {
        let rule: Self = serde_json::from_str(line).map_err(|e| format!("not a rule: {e}"))?;
        JsonPath::parse(&rule.path).map_err(|e| format!("rule `{}`: path `{}`: {e}", rule.rule, rule.path))?;
        match rule.threshold {
            0 => Err(format!("rule `{}`: threshold 0, expected at least 1", rule.rule)),
            _ => Ok(rule),
        }
    }

    fn id(&self) -> RuleId {
        (self.customer.clone(), self.rule.clone())
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Event {
    customer: String,
    /// JSON as text: a form that every codec knows.
    payload: String,
}

impl Event {
    fn parse(line: &str) -> std::result::Result<Self, String> {
        #[derive(Deserialize)]
        struct Line {
            customer: String,
            payload: Value,
        }
        let Line { customer, payload } = serde_json::from_str(line).map_err(|e| format!("not an event: {e}"))?;
        Ok(Self { customer, payload: payload.to_string() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alert {
    pub customer: String,
    pub rule: String,
    /// Events that matched.
    pub matches: u64,
}

type AlertContext<'a> = KeyedContext<'a, String, Alert>;

/// Counts of the current customer.
struct Counter {
    matches: MapState<RuleId, u64>,
    /// Compiled once a worker. Not state: after a restart they are compiled again.
    paths: HashMap<String, JsonPath>,
}

impl Counter {
    fn count(&mut self, rule: &Rule, payload: &Value, context: &mut AlertContext<'_>) -> Result<()> {
        let path = match self.paths.entry(rule.path.clone()) {
            Entry::Occupied(path) => path.into_mut(),
            Entry::Vacant(place) => place.insert(JsonPath::parse(&rule.path).map_err(|e| Error::User(e.to_string()))?),
        };
        if path.query(payload).is_empty() {
            return Ok(());
        }
        let matches = self.matches.update_or(
            rule.id(),
            || 0,
            |matches| {
                *matches += 1;
                *matches
            },
        );
        if matches == rule.threshold {
            context.emit(Alert { customer: context.key(), rule: rule.rule.clone(), matches });
        }
        Ok(())
    }
}

struct Alerts {
    rules: BroadcastState<RuleId, Rule>,
    /// The payloads of the customer's events, for rules to come.
    history: ListState<String>,
    counter: Counter,
}

impl KeyedBroadcastProcessFunction<String, Event, Rule> for Alerts {
    type Output = Alert;

    fn process(&mut self, event: Event, context: &mut AlertContext<'_>) -> Result<()> {
        let payload = parse(&event.payload)?;
        self.history.add(event.payload);
        self.rules.with(|rules| {
            let of = |whose: Option<String>| {
                rules.range((whose.clone(), String::new())..).take_while(move |(id, _)| id.0 == whose).map(|(_, rule)| rule)
            };
            of(None).chain(of(Some(event.customer))).try_for_each(|rule| self.counter.count(rule, &payload, context))
        })
    }

    fn process_broadcast(&mut self, rule: Rule, context: &mut KeyedBroadcastContext<'_, String, Alert>) -> Result<()> {
        let Self { rules, history, counter } = self;
        context.write(rules).insert(rule.id(), rule.clone());
        context.for_each_key(|customer| {
            if rule.customer.as_ref().is_some_and(|of| *of != customer.key()) {
                return Ok(());
            }
            counter.matches.remove(&rule.id());
            history.with(|events| events.iter().try_for_each(|event| counter.count(&rule, &parse(event)?, customer)))
        })
    }
}

fn parse(payload: &str) -> Result<Value> {
    serde_json::from_str(payload).map_err(|e| Error::User(e.to_string()))
}

/// The alerts, and the lines that are no rule and no event, with what is wrong with them.
pub fn alerts(rules: &DataStream<String>, events: &DataStream<String>) -> (DataStream<Alert>, DataStream<DeadLetter<String>>) {
    let rejected = DeadLetters::new("rejected");
    let rules = rules.try_map_or(&rejected, |line| Rule::parse(line));
    let events = events.try_map_or(&rejected, |line| Event::parse(line));
    let alerts = events.key_by_ref(|event| event.customer.as_str()).connect_broadcast(&rules).process(|keyed, state| {
        let counter = Counter { matches: keyed.map("matches")?, paths: HashMap::new() };
        Ok(Alerts { rules: state.broadcast("rules")?, history: keyed.list("history")?, counter })
    });
    (alerts, rules.side_output(&rejected).union(&events.side_output(&rejected)))
}

fn main() -> Result<()> {
    let env = Env::default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (rules, events) = match arguments.as_slice() {
        [rules, events] => (env.tail_file(rules).stream(), env.tail_file(events).stream()),
        _ => small(&env),
    };
    let (alerts, rejected) = alerts(&rules, &events);
    alerts.map(|alert| format!("{}: rule `{}` matched {} events", alert.customer, alert.rule, alert.matches)).print();
    rejected.map(|letter| format!("rejected: {}", letter.error)).print();
    env.execute("dynamic_rules").map(drop)
}

/// Two customers buy and look around; rules come meanwhile.
fn small(env: &Env) -> (DataStream<String>, DataStream<String>) {
    let ((rule, rules), (event, events)) = (env.channel(16), env.channel(16));
    std::thread::spawn(move || {
        for n in 0..60u64 {
            let customer = ["ann", "bob"][n as usize % 2];
            event.send_blocking(format!(
                r#"{{"customer": "{customer}", "payload": {{"page": "/{}", "items": [{{"price": {}}}]}}}}"#,
                n % 7,
                n * 37 % 200
            ))?;
            let line = match n {
                10 => r#"{"rule": "hundred pages", "path": "$.page", "threshold": 100}"#,
                20 => r#"{"customer": "ann", "rule": "luxury", "path": "$.items[?@.price > 100]", "threshold": 3}"#,
                30 => r#"{"rule": "broken", "path": "$.items[", "threshold": 1}"#,
                40 => r#"{"rule": "hundred pages", "path": "$[?@ == '/0']", "threshold": 4}"#,
                _ => continue,
            };
            rule.send_blocking(line.to_owned())?;
        }
        Ok::<(), fluvial::ChannelClosed<String>>(())
    });
    (rules, events)
}
