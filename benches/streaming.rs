//! Streaming workloads as the peers' programs have them, one a run: prints one line with records, seconds and a check.
//!
//!     cargo bench --bench streaming -- tumbling|sliding|session|wordcount|q0|q1|q2|q3|q5|q7|q8|latency|keys|process|restart
//!
//! EVENTS (20,000,000), THREADS (the cores), KEYS (10,000), SLICES (10, for `slices`), DATA (text for `wordcount`), RATE and
//! SECONDS (for `latency` and `restart`) come from the environment. Generators run inside the workers, as with the peers; the time is
//! that of the job.
//!
//! CHECKPOINTS names a folder that is emptied first: checkpoints go there, every INTERVAL (1000) milliseconds. STATE_MEMORY is the
//! MiB that state on disk may hold in memory; without it state is in memory. WINDOW (1) is the length of `tumbling` windows in seconds
//! of 100,000 records.
//!
//! `restart` gives each of KEYS keys a value of 96 bytes, ends with a savepoint, and starts again from it: says how long it took until the
//! first record came out. Then it changes RATE keys a second for SECONDS, if that is said, with checkpoints.

use fluvial::nexmark::{Generator, SimpleBid, queries};
use fluvial::prelude::*;
use fluvial_core::{
    AfterSavepoint, Checkpoints, Data, JobReport, Mode, RestoreFrom, Session, Sliding, StateBackend, Tumbling, WatermarkStrategy,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}: `{v}` is not a number")))
}

/// Counts what reaches the sinks.
#[derive(Clone, Default)]
struct Counter(Arc<AtomicU64>);

impl Counter {
    fn count<T: Data>(&self, stream: &DataStream<T>) {
        let mut own = Own { all: self.0.clone(), count: 0 };
        stream.for_each(move |record| {
            own.add(&record);
        });
    }
}

/// What one worker has counted.
struct Own {
    all: Arc<AtomicU64>,
    count: u64,
}

impl Own {
    #[inline]
    fn add<T>(&mut self, record: &T) {
        std::hint::black_box(record);
        self.count += 1;
    }
}

impl Clone for Own {
    fn clone(&self) -> Self {
        Self { all: self.all.clone(), count: 0 }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.all.fetch_add(self.count, Relaxed);
    }
}

/// Count and sum of the prices.
#[derive(Clone)]
struct CountSum;

impl Aggregator<SimpleBid> for CountSum {
    type Accumulator = (u64, u64);
    type Output = (u64, u64);
    fn create(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, sum: &mut (u64, u64), bid: SimpleBid) {
        sum.0 += 1;
        sum.1 += bid.price;
    }
    fn merge(&self, sum: &mut (u64, u64), other: (u64, u64)) {
        sum.0 += other.0;
        sum.1 += other.1;
    }
    fn finish(&self, sum: (u64, u64)) -> (u64, u64) {
        sum
    }
}

fn main() {
    let workload = std::env::args().nth(1).filter(|w| !w.starts_with('-')).unwrap_or_else(|| "tumbling".into());
    if workload == "restart" {
        return restart();
    }
    let config = config();
    let threads = config.threads;
    let env = Env::new(config);
    let mut events = number("EVENTS", 20_000_000);
    let keys = number("KEYS", 10_000) as u32;
    let sunk = Counter::default();
    let bids = |per_millisecond: u64| {
        let bids = env.generator(move |n| SimpleBid::numbered(n, keys, per_millisecond)).count(events).stream();
        bids.assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|bid: &SimpleBid| bid.time))
    };
    let second = Duration::from_secs(1);
    let mut latencies = None;
    match workload.as_str() {
        "tumbling" => {
            let windows = bids(100).key_by(|b| b.auction).window(Tumbling::of(number("WINDOW", 1) as u32 * second));
            sunk.count(&windows.aggregate(CountSum));
        }
        "sliding" => {
            let windows = bids(100).key_by(|b| b.auction).window(Sliding::of(10 * second, second));
            sunk.count(&windows.aggregate(CountSum));
        }
        // Windows of SLICES slides.
        "slices" => {
            let windows =
                bids(100).key_by(|b| b.auction).window(Sliding::of(number("SLICES", 10) as u32 * second / 10, second / 10));
            sunk.count(&windows.aggregate(CountSum));
        }
        "session" => sunk.count(&bids(20).key_by(|b| b.auction).window(Session::with_gap(second)).aggregate(CountSum)),
        "keys" => {
            let bids = env.generator(move |n| SimpleBid::numbered(n, keys, 100)).count(events).stream();
            sunk.count(&bids.key_by(|b| b.auction).map_with_state(|bid, sum: &mut Option<u64>| {
                let sum = sum.get_or_insert(0);
                *sum += bid.price;
                *sum
            }));
        }
        // A value of state is read and written with each record.
        "process" => {
            let bids = env.generator(move |n| SimpleBid::numbered(n, keys, 100)).count(events).stream();
            sunk.count(&bids.key_by(|b| b.auction).process_with(|state| {
                let sums = state.value::<u64>("sum")?;
                Ok(move |bid: SimpleBid, context: &mut KeyedContext<'_, u32, u64>| {
                    let sum = sums.get().unwrap_or(0) + bid.price;
                    sums.set(sum);
                    context.emit(sum);
                    Ok(())
                })
            }));
        }
        "wordcount" => {
            let path = std::env::var("DATA").expect("DATA names a text file");
            let words = env.read_text(&[path]).unwrap().flat_map_with(|line, out| {
                line.split_ascii_whitespace().for_each(|word| out.push((word.to_owned(), 1u64)));
            });
            let counts = words.key_by_ref(|w: &(String, u64)| w.0.as_str()).rolling_reduce(|a, b| (a.0, a.1 + b.1));
            events = 0;
            sunk.count(&counts);
        }
        "latency" => {
            let rate = number("RATE", 100_000);
            events = rate * number("SECONDS", 20);
            latencies = Some(latency(&env, rate, events, keys));
        }
        query => nexmark(&env, query, events, &sunk),
    }
    let start = Instant::now();
    let report = env.execute(&workload).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    env.close();
    let (rows, rss) = (sunk.0.load(Relaxed), fluvial_core::peak_resident() >> 20);
    println!(
        "{{\"workload\":\"{workload}\",\"seconds\":{seconds:.3},\"events\":{events},\"records_per_s\":{:.0},\"rows\":{rows},\"workers\":{threads},\"peak_mib\":{rss}{}{}}}",
        if events == 0 { rows as f64 } else { events as f64 } / seconds,
        latencies.map(|l| l.report()).unwrap_or_default(),
        checkpoints(&report),
    );
}

/// What the environment says of workers, checkpoints and state.
fn config() -> Config {
    let mut config = Config { mode: Mode::Streaming, ..Config::default() };
    config.threads = number("THREADS", config.threads as u64) as usize;
    if let Ok(folder) = std::env::var("CHECKPOINTS") {
        let _ = std::fs::remove_dir_all(&folder);
        config.checkpoints = Some(Checkpoints::to_folder(folder).every(Duration::from_millis(number("INTERVAL", 1000))));
    }
    if std::env::var_os("STATE_MEMORY").is_some() {
        config.state_backend = StateBackend::Disk { memory: (number("STATE_MEMORY", 0) as usize) << 20, folder: None };
    }
    config
}

fn checkpoints(report: &JobReport) -> String {
    let stats = &report.checkpoints;
    let Some(last) = &stats.latest else { return String::new() };
    format!(
        ",\"checkpoints\":{},\"failed\":{},\"longest_snapshot_ms\":{:.2},\"written_mib\":{},\"last_mib\":{:.1},\"last_new_mib\":{:.1}",
        stats.completed,
        stats.failed,
        stats.longest_snapshot_ms,
        stats.bytes_written >> 20,
        last.bytes as f64 / f64::from(1 << 20),
        last.new_bytes as f64 / f64::from(1 << 20),
    )
}

/// A value of 96 bytes.
type Wide = [u64; 12];

/// Adds a job that replaces values of state, from record to record of a generator of so many a second.
fn replace_values(env: &Env, keys: u64, records: u64, rate: Option<f64>, seen: impl Fn(u64) + Clone + Send + Sync + 'static) {
    // At first each key once, then keys in no order.
    let numbers = env.generator(move |n| if n < keys { n } else { fluvial::nexmark::mix(n) % keys }).count(records);
    let numbers = if let Some(rate) = rate { numbers.rate(rate).stream() } else { numbers.stream() };
    let values = numbers.uid("numbers").key_by(|n| *n).map_with_state(|n, value: &mut Option<Wide>| {
        let before = value.map_or(0, |value| value[0]);
        *value = Some([before + 1; 12]);
        n
    });
    values.uid("values").for_each(seen);
}

fn restart() {
    let keys = number("KEYS", 10_000);
    let config = config();
    let folder = config.checkpoints.as_ref().map(|_| std::env::var("CHECKPOINTS").unwrap()).expect("CHECKPOINTS names a folder");
    let savepoint = format!("{folder}-savepoint");
    let _ = std::fs::remove_dir_all(&savepoint);
    let env = Env::new(Config { state_backend: StateBackend::Memory, ..config.clone() });
    let count = Arc::new(AtomicU64::new(0));
    let (enough, begun) = std::sync::mpsc::channel();
    replace_values(&env, keys, u64::MAX, None, move |_| {
        if count.fetch_add(1, Relaxed) == keys + keys / 10 {
            enough.send(()).unwrap();
        }
    });
    let other = env.clone();
    let to = savepoint.clone();
    let stopper = std::thread::spawn(move || {
        begun.recv().unwrap();
        other.savepoint(&to, AfterSavepoint::Stop).unwrap();
    });
    env.execute("restart").unwrap();
    stopper.join().unwrap();
    env.close();
    let bytes: u64 = std::fs::read_dir(&savepoint).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let _ = std::fs::remove_dir_all(&folder);
    let from = RestoreFrom::At(savepoint.clone());
    let env = Env::new(Config { checkpoints: config.checkpoints.clone().map(|c| c.from(from)), ..config });
    let start = Instant::now();
    let any = Arc::new(AtomicU64::new(0));
    let (seen, first) = std::sync::mpsc::channel();
    let rate = number("RATE", 0);
    replace_values(&env, keys, u64::MAX, (rate > 0).then_some(rate as f64), move |_| {
        if any.load(Relaxed) == 0 && any.fetch_add(1, Relaxed) == 0 {
            seen.send(start.elapsed()).unwrap();
        }
    });
    let other = env.clone();
    let end = format!("{folder}-end");
    let _ = std::fs::remove_dir_all(&end);
    let to = end.clone();
    let stopper = std::thread::spawn(move || {
        let first = first.recv().unwrap();
        // The job goes on meanwhile: this is how long it is looked at.
        std::thread::sleep(Duration::from_secs(number("SECONDS", 0)));
        let report = other.metrics().snapshot().checkpoints;
        other.savepoint(&to, AfterSavepoint::Stop).unwrap();
        (first, report)
    });
    env.execute("restart").unwrap();
    let (first, stats) = stopper.join().unwrap();
    env.close();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let last = stats.latest.unwrap_or_default();
    println!(
        "{{\"workload\":\"restart\",\"savepoint_mib\":{:.0},\"first_record_s\":{:.2},\"checkpoints\":{},\"written_mib\":{:.1},\"last_mib\":{:.1},\"last_new_mib\":{:.2},\"peak_mib\":{}}}",
        mib(bytes),
        first.as_secs_f64(),
        stats.completed,
        mib(stats.bytes_written),
        mib(last.bytes),
        mib(last.new_bytes),
        fluvial_core::peak_resident() >> 20,
    );
    for folder in [savepoint, end, folder] {
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn nexmark(env: &Env, query: &str, events: u64, sunk: &Counter) {
    let generator = Generator::new(events);
    let stream = env.generator(move |n| generator.event(n)).count(events).stream();
    let timed = || stream.assign_timestamps_and_watermarks(queries::watermarks(Duration::ZERO));
    match query {
        "q0" => sunk.count(&queries::q0(&stream)),
        "q1" => sunk.count(&queries::q1(&stream)),
        "q2" => sunk.count(&queries::q2(&stream)),
        "q3" => sunk.count(&queries::q3(&stream)),
        "q4" => sunk.count(&queries::q4(&timed())),
        "q5" => sunk.count(&queries::q5(&timed())),
        "q6" => sunk.count(&queries::q6(&timed())),
        "q7" => sunk.count(&queries::q7(&timed())),
        "q8" => sunk.count(&queries::q8(&timed())),
        "q11" => sunk.count(&queries::q11(&timed())),
        "q12" => sunk.count(&queries::q12(&stream)),
        other => panic!("no workload `{other}`"),
    }
}

/// Latencies in steps of a microsecond up to a second.
struct Latencies(Arc<Vec<AtomicU64>>);

impl Latencies {
    fn report(&self) -> String {
        let all: u64 = self.0.iter().map(|n| n.load(Relaxed)).sum();
        let at = |share: f64| {
            let mut seen = 0;
            self.0.iter().position(|n| {
                seen += n.load(Relaxed);
                seen as f64 >= share * all as f64
            })
        };
        let at = |share| at(share).unwrap_or(0);
        format!(",\"measured\":{all},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{}", at(0.5), at(0.99), at(0.999))
    }
}

/// A keyed running sum over records that carry the moment at which they were made; the first third is left out.
fn latency(env: &Env, rate: u64, events: u64, keys: u32) -> Latencies {
    let histogram: Arc<Vec<AtomicU64>> = Arc::new((0..1_000_001).map(|_| AtomicU64::new(0)).collect());
    let start = Instant::now();
    let records = env.generator(move |n| {
        let key = (fluvial::nexmark::mix(n) % u64::from(keys)) as u32;
        (key, 1u64, if n < events / 3 { u64::MAX } else { start.elapsed().as_nanos() as u64 })
    });
    let sums = records.rate(rate as f64).count(events).stream().key_by(|r| r.0).rolling_reduce(|a, b| (a.0, a.1 + b.1, b.2));
    let seen = histogram.clone();
    sums.for_each(move |record| {
        if record.2 != u64::MAX {
            let took = (start.elapsed().as_nanos() as u64).saturating_sub(record.2) / 1000;
            seen[took.min(1_000_000) as usize].fetch_add(1, Relaxed);
        }
    });
    Latencies(histogram)
}
