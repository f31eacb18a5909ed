//! Bills of a service: what every customer owes for every 30 days, while they go on and when they are over.
//!
//!     cargo run --release --example billing -- --out bills
//!     cargo run --release --example billing -- --out bills --checkpoints state --rate 500 --from auto --processes 2
//!
//! The second one may be killed and started again as often as you like: the bills are the same.
//!
//! Previews change with every event. An invoice is sent once, so it must be final: a window gives its sum when it is over, by
//! a watermark 12 hours behind, and again for each event that comes up to three days late. Only the last sum counts. When
//! nothing can change it is known exactly: the window takes late events until the watermark has passed its end by the
//! lateness, so a timer at that very time comes after every revision, and sends the last one.

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use clap::Parser;
use fluvial::prelude::*;
use fluvial::{Checkpoints, RestoreFrom, launch};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const OUT_OF_ORDER: Duration = HOUR.saturating_mul(12);
const LATENESS: Duration = HOUR.saturating_mul(3 * 24);
const MONTH: Duration = HOUR.saturating_mul(30 * 24);

pub const CUSTOMERS: u64 = 20;
pub const MONTHS: u64 = 6;
pub const KINDS: u64 = 5;
/// Events of a customer in a month.
const EVENTS: u64 = 30;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds.
    pub time: i64,
    pub customer: u64,
    /// Cents.
    pub amount: u64,
    pub kind: u64,
}

/// What somebody owes, or what a kind of event has brought.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bill {
    /// Customer or kind.
    pub of: u64,
    pub month: u64,
    /// Cents.
    pub amount: u64,
}

/// The month of a time.
fn month(time: i64) -> u64 {
    (time / millis(MONTH)) as u64
}

const fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

/// Sends the last revision of a sum when no other can come.
struct Final {
    amount: ValueState<u64>,
}

type Sum = Windowed<u64, TimeWindow, u64>;

impl KeyedProcessFunction<(u64, i64), Sum> for Final {
    type Output = Bill;

    fn process(&mut self, sum: Sum, context: &mut KeyedContext<'_, (u64, i64), Bill>) -> Result<()> {
        self.amount.set(sum.value);
        context.set_event_timer(sum.window.end - 1 + millis(LATENESS));
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, context: &mut KeyedContext<'_, (u64, i64), Bill>) -> Result<()> {
        if let Some(amount) = self.amount.take() {
            let (customer, start) = context.key();
            context.emit(Bill { of: customer, month: month(start), amount });
        }
        Ok(())
    }
}

/// Invoices, and previews by customer and by kind.
pub fn bills(events: &DataStream<Event>) -> [DataStream<Bill>; 3] {
    let times = WatermarkStrategy::bounded_out_of_orderness(OUT_OF_ORDER).with_timestamps(|e: &Event| e.time);
    let events = events.assign_timestamps_and_watermarks(times);
    let sums = events.key_by(|e| e.customer).window(Tumbling::of(MONTH)).allowed_lateness(LATENESS);
    let sums = sums.fold(0, |sum, event| *sum += event.amount).name("months").uid("months");
    let invoices = sums.key_by(|sum| (sum.key, sum.window.start)).process(|state| Ok(Final { amount: state.value("amount")? }));
    let bill = |((of, month), amount): ((u64, u64), u64)| Bill { of, month, amount };
    let by_customer = events.key_by(|e| (e.customer, month(e.time))).rolling_sum(|e| e.amount).uid("by customer").map(bill);
    let by_kind = events.key_by(|e| (e.kind, month(e.time))).rolling_sum(|e| e.amount).uid("by kind").map(bill);
    [invoices.name("invoices").uid("invoices"), by_customer, by_kind]
}

#[derive(Clone, Debug, Default, Parser)]
pub struct Options {
    /// Folder for the bills: `invoices`, `by-customer`, `by-kind`. Default: one that is removed.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Folder for checkpoints, one every 100 ms. Default: none are made.
    #[arg(long)]
    pub checkpoints: Option<PathBuf>,
    /// What to begin with: `latest`, `auto` (the latest, if any), or a checkpoint. Default: nothing.
    #[arg(long)]
    pub from: Option<String>,
    #[arg(long, default_value_t = 1)]
    pub processes: usize,
    /// Workers of each process. Default: a core each.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Events a second. Default: as fast as it goes.
    #[arg(long)]
    pub rate: Option<f64>,
    /// The bills of five customers alone.
    #[arg(long)]
    pub small: bool,
}

/// Names of the folders for what [`bills`] gives.
pub const FOLDERS: [&str; 3] = ["invoices", "by-customer", "by-kind"];

/// Runs the job; says which of its processes this is.
pub fn run(options: &Options, out: &Path) -> Result<usize> {
    let mut config = Config { mode: Mode::Streaming, memory: 128 << 20, ..Config::default() };
    config.threads = options.threads.unwrap_or(config.threads);
    config.checkpoints = options.checkpoints.as_ref().map(|folder| {
        let from = options.from.as_deref().map_or(RestoreFrom::Nothing, RestoreFrom::parse);
        Checkpoints::to_folder(folder).every(Duration::from_millis(100)).from(from)
    });
    let children = launch(options.processes, &mut config)?;
    let process = config.process;
    let env = Env::new(config);
    let events = env.generator(event).count(CUSTOMERS * MONTHS * EVENTS);
    let events = if let Some(rate) = options.rate { events.rate(rate) } else { events };
    let few = options.small;
    let events = events.stream().filter(move |event| !few || event.customer < 5);
    for (bills, folder) in bills(&events).into_iter().zip(FOLDERS) {
        bills.write_files(out.join(folder)).transactional().add()?;
    }
    let result = env.execute("billing").map(|_| process);
    // The others end before anybody reads what all have written.
    env.close();
    match children {
        Some(children) => children.conclude(result),
        None => result,
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let temporary = tempfile::tempdir().map_err(|e| Error::User(format!("a temporary folder: {e}")))?;
    let out = options.out.as_deref().unwrap_or(temporary.path());
    if run(&options, out)? == 0 {
        let invoices = Env::default().read_records::<Bill>(&[out.join(FOLDERS[0]).display().to_string()])?.collect()?;
        let mut months: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for bill in invoices {
            let (count, sum) = months.entry(bill.month).or_default();
            (*count, *sum) = (*count + 1, *sum + bill.amount);
        }
        for (month, (count, sum)) in months {
            println!("month {month}: {count} invoices, {}.{:02}", sum / 100, sum % 100);
        }
    }
    Ok(())
}

/// What a customer is to be billed for a month, in cents.
pub fn total(customer: u64, month: u64) -> u64 {
    10_000 + 1_234 * customer + 777 * month
}

/// The events of a month, evenly over it.
const A_MONTH: u64 = CUSTOMERS * EVENTS;

/// The `n`-th event to come. Of each month: ten of a hundred have changed places with one that is six hours away, and five from
/// the last half day come on the second day of the next.
pub fn event(n: u64) -> Event {
    let swapped = match n % 20 {
        3 => n + 5,
        8 => n - 5,
        _ => n,
    };
    let (first, len, late) = (A_MONTH - 10, 40, 5);
    let place = (swapped + A_MONTH - first) % A_MONTH;
    let whole = swapped / A_MONTH < MONTHS - 1 || swapped % A_MONTH < first;
    let number = if swapped >= first && place < len && whole { swapped - place + (place + late) % len } else { swapped };
    in_order(number)
}

/// The `n`-th event by time.
fn in_order(n: u64) -> Event {
    let (month, number) = (n / A_MONTH, n % A_MONTH);
    let (customer, part) = (number % CUSTOMERS, number / CUSTOMERS);
    let total = total(customer, month);
    // The cents that are left go to the first event.
    let amount = total / EVENTS + if part == 0 { total % EVENTS } else { 0 };
    let time = month as i64 * millis(MONTH) + number as i64 * millis(MONTH) / A_MONTH as i64;
    Event { time, customer, amount, kind: part % KINDS }
}
