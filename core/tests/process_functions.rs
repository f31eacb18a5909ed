//! Process functions as jobs: against plain models in both modes with one to three workers, and in two real processes.

mod budgets;

use budgets::sorted;
use fluvial_core::{
    BroadcastState, Config, Data, DataStream, DeadLetter, DeadLetters, Env, KeyedBroadcastContext, KeyedBroadcastProcessFunction,
    KeyedCoProcessFunction, KeyedContext, KeyedProcessFunction, ListState, MapState, Mode, OperatorList, OutputTag,
    ProcessContext, ProcessFunction, Result, Timer, ValueState, WatermarkStrategy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::process::{Command, Stdio};

const HOSTS: &str = "FLUVIAL_TEST_HOSTS";
const RESULTS: &str = "FLUVIAL_TEST_RESULTS";

/// Events, their gap that counts as silence, customers, rules.
const EVENTS: u64 = 5000;
const GAP: i64 = 40;
const CUSTOMERS: u32 = 60;
const RULES: [u64; 3] = [3, 7, 50];
const THRESHOLD: u64 = 4;

/// Customer and number. The number is the event time, too.
type Event = (u32, u64);

fn event(number: u64) -> Event {
    // Customers that come often and such that come now and then.
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let customer = if spread.is_multiple_of(3) { spread % u64::from(CUSTOMERS) } else { spread % 7 };
    (customer as u32, number)
}

/// Says when a customer has been silent for [`GAP`].
struct Silence {
    times: MapState<i64, ()>,
}

impl KeyedProcessFunction<u32, Event> for Silence {
    type Output = (u32, i64);
    fn process(&mut self, (_, number): Event, context: &mut KeyedContext<'_, u32, (u32, i64)>) -> Result<()> {
        assert_eq!(context.time(), Some(number as i64));
        self.times.insert(number as i64, ());
        context.set_event_timer(number as i64 + GAP);
        Ok(())
    }
    fn on_timer(&mut self, timer: Timer, context: &mut KeyedContext<'_, u32, (u32, i64)>) -> Result<()> {
        let since = timer.time - GAP;
        self.times.remove(&since);
        if self.times.with(|times| times.range(..=timer.time).next().is_none()) {
            context.emit((context.key(), timer.time));
        }
        Ok(())
    }
}

/// Gives events the name of their customer; those whose customer has none go to `nameless` when the input has ended.
struct Names {
    name: ValueState<String>,
    waiting: ListState<u64>,
    nameless: OutputTag<Event>,
}

impl KeyedCoProcessFunction<u32, Event, (u32, String)> for Names {
    type Output = (String, u64);
    fn process_first(&mut self, (_, number): Event, context: &mut KeyedContext<'_, u32, (String, u64)>) -> Result<()> {
        match self.name.get() {
            Some(name) => context.emit((name, number)),
            None => {
                self.waiting.add(number);
                context.set_processing_timer(i64::MAX);
            }
        }
        Ok(())
    }
    fn process_second(&mut self, (_, name): (u32, String), context: &mut KeyedContext<'_, u32, (String, u64)>) -> Result<()> {
        self.waiting.take().into_iter().for_each(|number| context.emit((name.clone(), number)));
        self.name.set(name);
        Ok(())
    }
    fn on_timer(&mut self, _timer: Timer, context: &mut KeyedContext<'_, u32, (String, u64)>) -> Result<()> {
        let key = context.key();
        self.waiting.take().into_iter().for_each(|number| context.side(&self.nameless, (key, number)));
        Ok(())
    }
}

/// An alert when a customer has had [`THRESHOLD`] events whose number is a multiple of a rule, whichever came first.
struct Alerts {
    rules: BroadcastState<u64, ()>,
    history: ListState<u64>,
    counts: MapState<u64, u64>,
}

impl Alerts {
    fn count(&self, rule: u64, number: u64, context: &mut KeyedContext<'_, u32, (u32, u64)>) {
        if number.is_multiple_of(rule) {
            let count = self.counts.update_or(
                rule,
                || 0,
                |count| {
                    *count += 1;
                    *count
                },
            );
            if count == THRESHOLD {
                context.emit((context.key(), rule));
            }
        }
    }
}

impl KeyedBroadcastProcessFunction<u32, Event, u64> for Alerts {
    type Output = (u32, u64);
    fn process(&mut self, (_, number): Event, context: &mut KeyedContext<'_, u32, (u32, u64)>) -> Result<()> {
        self.history.add(number);
        self.rules.with(|rules| rules.keys().for_each(|rule| self.count(*rule, number, context)));
        Ok(())
    }
    fn process_broadcast(&mut self, rule: u64, context: &mut KeyedBroadcastContext<'_, u32, (u32, u64)>) -> Result<()> {
        context.write(&self.rules).insert(rule, ());
        context.for_each_key(|key| {
            self.history.get().into_iter().for_each(|number| self.count(rule, number, key));
            Ok(())
        })
    }
}

/// Gives what it got when the input has ended.
struct Hold {
    held: OperatorList<Event>,
}

impl ProcessFunction<Event> for Hold {
    type Output = Event;
    fn process(&mut self, record: Event, _context: &mut ProcessContext<'_, Event>) -> Result<()> {
        self.held.add(record);
        Ok(())
    }
    fn finish(&mut self, context: &mut ProcessContext<'_, Event>) -> Result<()> {
        self.held.take().into_iter().for_each(|record| context.emit(record));
        Ok(())
    }
}

/// What each job gave, in order, by the job's name.
type Results = Vec<(String, String)>;

fn add<T: Data + Ord + Debug>(results: &mut Results, name: &str, stream: &DataStream<T>) -> Result<()> {
    results.push((name.to_owned(), format!("{:?}", sorted(stream.collect()?))));
    Ok(())
}

fn parse(event: &Event) -> std::result::Result<u64, String> {
    if event.1 % 100 == 13 { Err(format!("{} brings bad luck", event.1)) } else { Ok(event.1) }
}

fn jobs(env: &Env) -> Result<Results> {
    let mut results = Results::new();
    let events = env.generate(EVENTS, event);
    let by_customer = events.key_by(|e| e.0);

    let timed = events.assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|e: &Event| e.1 as i64));
    let silences = timed.key_by(|e| e.0).process(|state| Ok(Silence { times: state.map("times")? }));
    add(&mut results, "silences", &silences)?;

    let names = env.from_collection((0..CUSTOMERS - 10).map(|c| (c, format!("customer {c}")))).key_by(|n| n.0);
    let nameless = OutputTag::<Event>::new("nameless");
    let tag = nameless.clone();
    let named = by_customer
        .connect(&names)
        .process(move |state| Ok(Names { name: state.value("name")?, waiting: state.list("waiting")?, nameless: tag.clone() }));
    let aside = named.side_output(&nameless);
    add(&mut results, "named", &named)?;
    add(&mut results, "nameless", &aside)?;

    let alerts = by_customer.connect_broadcast(&env.from_collection(RULES)).process(|keyed, state| {
        Ok(Alerts { rules: state.broadcast("rules")?, history: keyed.list("history")?, counts: keyed.map("counts")? })
    });
    add(&mut results, "alerts", &alerts)?;

    let [threes, others] = events.split(|e| usize::from(e.1 % 3 != 0));
    add(&mut results, "threes", &threes)?;
    add(&mut results, "others", &others)?;
    let parity = events.split_by_name(|e| if e.1 % 2 == 0 { "even" } else { "odd" });
    add(&mut results, "even", &parity.select("even"))?;

    let dead = DeadLetters::new("dead");
    let lucky = events.try_map_or(&dead, parse);
    add(&mut results, "lucky", &lucky)?;
    add(&mut results, "dead", &lucky.side_output(&dead))?;
    results.push(("failing".to_owned(), events.try_map(|e| parse(&e)).filter(|n| *n == 13).collect().is_err().to_string()));

    add(&mut results, "rolling_count", &by_customer.rolling_count())?;
    add(&mut results, "rolling_sum", &by_customer.rolling_sum(|_| 2u64))?;
    add(&mut results, "held", &events.process(|state| Ok(Hold { held: state.list("held")? })))?;
    let texts = events.connect(&env.sequence(0..10)).map(|e| e.1.to_string(), |n| format!("number {n}"));
    add(&mut results, "connected", &texts)?;
    Ok(results)
}

fn models() -> Results {
    let mut results = Results::new();
    fn add<T: Ord + Debug>(results: &mut Results, name: &str, records: Vec<T>) {
        results.push((name.to_owned(), format!("{:?}", sorted(records))));
    }
    let events: Vec<Event> = (0..EVENTS).map(event).collect();
    let mut of: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    events.iter().for_each(|e| of.entry(e.0).or_default().push(e.1));

    let ends = |(customer, numbers): (&u32, &Vec<u64>)| {
        let times: BTreeSet<i64> = numbers.iter().map(|n| *n as i64).collect();
        let silent = times.iter().filter(|t| times.range(*t + 1..=*t + GAP).next().is_none());
        silent.map(|t| (*customer, t + GAP)).collect::<Vec<_>>()
    };
    add(&mut results, "silences", of.iter().flat_map(ends).collect());
    let (with, without): (Vec<&Event>, Vec<&Event>) = events.iter().partition(|e| e.0 < CUSTOMERS - 10);
    add(&mut results, "named", with.iter().map(|e| (format!("customer {}", e.0), e.1)).collect());
    assert!(!without.is_empty());
    add(&mut results, "nameless", without);
    let mut alerts = Vec::new();
    for (customer, numbers) in &of {
        let reached = |rule: &u64| numbers.iter().filter(|n| n.is_multiple_of(*rule)).count() as u64 >= THRESHOLD;
        alerts.extend(RULES.into_iter().filter(reached).map(|rule| (*customer, rule)));
    }
    add(&mut results, "alerts", alerts);
    let (threes, others): (Vec<Event>, Vec<Event>) = events.iter().partition(|e| e.1 % 3 == 0);
    add(&mut results, "threes", threes);
    add(&mut results, "others", others);
    add(&mut results, "even", events.iter().filter(|e| e.1 % 2 == 0).collect());
    add(&mut results, "lucky", events.iter().filter_map(|e| parse(e).ok()).collect());
    let letter = |e: &Event| parse(e).err().map(|error| DeadLetter { record: *e, error, time: None });
    add(&mut results, "dead", events.iter().filter_map(letter).collect());
    results.push(("failing".to_owned(), true.to_string()));
    let counts = of.iter().flat_map(|(customer, numbers)| (1..=numbers.len() as u64).map(|n| (*customer, n)));
    add(&mut results, "rolling_count", counts.clone().collect());
    add(&mut results, "rolling_sum", counts.map(|(customer, n)| (customer, 2 * n)).collect());
    add(&mut results, "held", events.clone());
    let numbers = (0..10).map(|n| format!("number {n}"));
    add(&mut results, "connected", events.iter().map(|e| e.1.to_string()).chain(numbers).collect());
    results
}

fn compare(got: &Results, expected: &Results, what: &str) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!(got == expected, "{what}: {}: got {}, expected {}", got.0, got.1, expected.1);
    }
}

#[test]
fn jobs_equal_their_models_in_both_modes() {
    let expected = models();
    for threads in budgets::WORKERS {
        for mode in [Mode::Batch, Mode::Streaming] {
            let env = Env::new(Config { threads, memory: 64 << 20, mode, ..Config::default() });
            compare(&jobs(&env).unwrap(), &expected, &format!("{threads} workers, {mode:?}"));
        }
    }
}

#[test]
fn a_side_output_of_a_step_is_an_error_that_names_both() {
    let env = budgets::ample(1);
    let numbers = env.sequence(0..3).map(|n| n + 1).name("increment");
    let error = numbers.side_output(&OutputTag::<u64>::new("late")).collect().unwrap_err().to_string();
    assert!(error.contains("`late`") && error.contains("`increment`"), "{error}");
}

fn config(hosts: &[String], process: usize) -> Config {
    Config { threads: 2, memory: 64 << 20, hosts: hosts.to_vec(), process, mode: Mode::Streaming, ..Config::default() }
}

/// The second process of the test below; an empty test otherwise.
#[test]
fn second() {
    let (Ok(hosts), Ok(path)) = (std::env::var(HOSTS), std::env::var(RESULTS)) else { return };
    let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
    let results = jobs(&Env::new(config(&hosts, 1))).unwrap();
    std::fs::write(path, serde_json::to_vec(&results).unwrap()).unwrap();
}

#[test]
fn two_processes_equal_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    let listeners: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second", "--nocapture"])
        .env(HOSTS, hosts.join(","))
        .env(RESULTS, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let env = Env::new(config(&hosts, 0));
    let first = jobs(&env).unwrap();
    env.close();
    assert!(child.wait_with_output().unwrap().status.success());
    let second: Results = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    compare(&first, &models(), "the first process");
    compare(&second, &models(), "the second process");
}
