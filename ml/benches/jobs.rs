//! Learning, serving and recommending as jobs run them, one measurement a run: prints one line of JSON.
//!
//!     cargo bench -p fluvial-ml --bench jobs -- online|together|batch-kmeans|serve|recommend
//!
//! - `online`: 20 dense features, record by record through source, operator and evaluation, tested before it is trained. LEARNER is `svm`,
//!   `sgd`, `pa`, `ftrl` or `kmeans` (16 centres); FORM is how records travel: `row` (an array of features and a label), `example` (a vector of its own
//!   each) or `block` (of 1024 rows). Every worker learns by itself; with `together` the workers' learners are merged every 1000
//!   records; LAG says after how many rounds the merged ones are taken up, each at a fixed record.
//! - `batch-kmeans`: 8 features, 16 centres, 10 rounds, as a bulk iteration; from points to centres.
//! - `serve`: a linear model of 28 features answers RATE (1,000,000) records a second; latency is from when a record was due to its answer.
//! - `recommend`: interactions of 200,000 users with 10,000 items that are chosen by Zipf's law with exponent 1, at most 500 of a
//!   user. FILE names a CSV file that they are written to instead, for `fluvial ml recommend train`.
//!
//! RECORDS (10,000,000) and THREADS (the cores) come from the environment. Records are made before the clock starts, except for `serve`.

use fluvial_core::{Config, DataStream, Env, Mode, peak_resident};
use fluvial_ml::{
    Block, DenseRows, Drift, Examples, FitBlocks, Ftrl, FtrlParams, Interactions, KMeans, KMeansParams, LearnOnline, LinearModel,
    LinearTask, Model, ModelCommand, ModelFile, OnlineKMeans, OnlineKMeansParams, OnlineLearner, OnlineOptions,
    PassiveAggressive, PassiveAggressiveParams, RecommenderParams, Rows, Serve, ServerStatistics, Sgd, SgdParams, Timings,
    Together, train,
};
use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}: `{v}` is not understood")))
}

/// Rounds after which merged learners are taken up, if at fixed records.
fn lag() -> Option<u64> {
    std::env::var("LAG").ok().and_then(|lag| lag.parse().ok())
}

fn records() -> u64 {
    setting("RECORDS", 10_000_000)
}

fn env() -> Env {
    let config = Config::default();
    let threads = setting("THREADS", config.threads);
    Env::new(Config { threads, ..config })
}

/// The line of a measurement.
fn say(workload: &str, env: &Env, records: u64, seconds: f64, more: &str) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{{\"workload\":\"{workload}\",\"records\":{records},\"seconds\":{seconds:.3},\"records_per_s\":{:.0},\"threads\":{},\"cores\":{cores},\"peak_mib\":{}{more}}}",
        records as f64 / seconds,
        env.config().threads,
        peak_resident() >> 20,
    );
}

/// Figures that are made once and read again and again: what is measured is not how they are made.
const MADE: u64 = 1 << 16;
const WIDTH: usize = ServerStatistics::FEATURES;

type Row = ([f64; WIDTH], f64);

fn rows() -> Arc<Vec<Row>> {
    let servers = ServerStatistics::new(1, Drift::None);
    let row = |n| {
        let example = servers.example(n);
        let mut features = [0.0; WIDTH];
        example.features.row().write_to(&mut features);
        (features, example.label)
    };
    Arc::new((0..MADE).map(row).collect())
}

fn block(rows: &[Row]) -> Block {
    let values = rows.iter().flat_map(|(features, _)| features.iter().copied()).collect();
    Block::new(Rows::Dense(DenseRows::from_values(WIDTH, values).unwrap()), rows.iter().map(|r| r.1).collect()).unwrap()
}

/// Runs a learner over the stream and says what became of it.
fn learned<R: Examples, L: OnlineLearner>(
    name: &str,
    stream: &DataStream<R>,
    together: bool,
    make: impl Fn(usize) -> fluvial_ml::Result<L> + Send + Sync + 'static,
) {
    let options = OnlineOptions { version_every: 1_000_000, ..OnlineOptions::default() };
    let learned = match together {
        false => stream.learn(make, options),
        true => stream.learn_together(make, options, Together { lag: lag(), ..Together::default() }),
    };
    let counts = Arc::new(Mutex::new((0, 0)));
    let into = counts.clone();
    learned.evaluations.for_each(move |evaluation| {
        let whole = evaluation.prequential.as_ref().unwrap().overall();
        let mut counts = into.lock().unwrap();
        counts.0 += whole.records;
        counts.1 += (whole.confusion.accuracy() * whole.records as f64) as u64;
    });
    let started = Instant::now();
    stream.env().execute(name).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let (records, right) = *counts.lock().unwrap();
    let more = format!(",\"learner\":\"{}\",\"accuracy\":{:.4}", L::NAME, right as f64 / records as f64);
    say(name, stream.env(), records, seconds, &more);
}

fn by_learner<R: Examples>(name: &str, stream: &DataStream<R>, together: bool) {
    match std::env::var("LEARNER").as_deref().unwrap_or("svm") {
        "svm" => learned(name, stream, together, |width| Sgd::new(width, SgdParams::svm())),
        "sgd" => learned(name, stream, together, |width| Sgd::new(width, SgdParams::default())),
        "pa" => learned(name, stream, together, |width| PassiveAggressive::new(width, PassiveAggressiveParams::default())),
        "ftrl" => learned(name, stream, together, |width| Ftrl::new(width, FtrlParams::default())),
        "kmeans" => learned(name, stream, together, |width| {
            OnlineKMeans::new(width, OnlineKMeansParams { k: 16, half_life: 1e5, ..OnlineKMeansParams::default() })
        }),
        other => panic!("LEARNER: `{other}` is not known"),
    }
}

fn online(name: &str, together: bool) {
    let (env, rows, records) = (env(), rows(), records());
    match std::env::var("FORM").as_deref().unwrap_or("row") {
        "row" => by_learner(name, &env.generate(records, move |n| rows[(n % MADE) as usize]), together),
        "example" => {
            let example = move |n| {
                let (features, label) = &rows[(n % MADE) as usize];
                fluvial_ml::Example::new(features.to_vec(), *label)
            };
            by_learner(name, &env.generate(records, example), together);
        }
        "block" => {
            let blocks: Arc<Vec<Block>> = Arc::new(rows.chunks(1024).map(block).collect());
            let blocks = env.generate(records / 1024, move |n| blocks[n as usize % blocks.len()].clone());
            by_learner(name, &blocks, together);
        }
        other => panic!("FORM: `{other}` is not known"),
    }
}

fn batch_kmeans() {
    let (records, width, k) = (records() as usize, 8, 16);
    let config = Config::default();
    // The points are kept in managed memory.
    let memory = config.memory + records * width * 8;
    let env = Env::new(Config { threads: setting("THREADS", config.threads), memory, ..config });
    let mut random = SplitMix64::seed_from_u64(1);
    let mut next = move || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let values: Arc<Vec<f64>> = Arc::new((0..records * width).map(|_| next()).collect());
    let centres = values[..k * width].to_vec();
    const ROWS: usize = 8192;
    let blocks = env.generate(records.div_ceil(ROWS) as u64, move |n| {
        let first = n as usize * ROWS;
        let values = values[first * width..(first + ROWS).min(records) * width].to_vec();
        Block::new(Rows::Dense(DenseRows::from_values(width, values).unwrap()), Vec::new()).unwrap()
    });
    let params = KMeansParams { k, rounds: 10, tolerance: 0.0, ..KMeansParams::default() };
    let learner = Arc::new(KMeans::from_centres(params, width, centres).unwrap());
    let started = Instant::now();
    let shared = blocks.fit_shared(&learner).collect().unwrap().remove(0);
    let figures = fluvial_ml::BulkLearner::figures(&*learner, &shared);
    say("batch-kmeans", &env, records as u64, started.elapsed().as_secs_f64(), &format!(",\"figures\":\"{figures:?}\""));
}

const SERVED_WIDTH: usize = 28;

/// A worker's latencies, which are added to all when it is done.
struct Latencies {
    own: Timings,
    empty: u64,
    all: Arc<Mutex<(Timings, u64)>>,
}

impl Clone for Latencies {
    fn clone(&self) -> Self {
        Self { own: Timings::default(), empty: 0, all: self.all.clone() }
    }
}

impl Drop for Latencies {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap();
        all.0.merge(&self.own);
        all.1 += self.empty;
    }
}

fn serve() {
    let rate: f64 = setting("RATE", 1e6);
    let records = records();
    let config = Config { mode: Mode::Streaming, ..Config::default() };
    let env = Env::new(Config { threads: setting("THREADS", config.threads), ..config });
    let weights = (0..SERVED_WIDTH).map(|i| i as f64 / 100.0 - 0.1).collect();
    let model = Model::Linear(LinearModel { task: LinearTask::Logistic, weights, intercept: -1.0 });
    let file = ModelFile { stages: vec![model.to_stage()], ..ModelFile::default() };
    let commands = env.from_collection([ModelCommand::Put { name: "m".into(), version: 1, file }]);
    let start: Arc<OnceLock<Instant>> = Arc::default();
    let begun = start.clone();
    let requests = env.generator(move |n| {
        let begun = begun.get_or_init(Instant::now);
        // Also a record that was made late is measured from when it was due.
        let due = Duration::from_secs_f64(n as f64 / rate).min(begun.elapsed());
        (due.as_nanos() as u64, [(n % 97) as f64 / 97.0; SERVED_WIDTH])
    });
    let requests = requests.rate(rate).count(records).stream();
    let served = requests.serve(&commands, "m", |(_, features), to| to.extend_from_slice(features));
    let all = Arc::new(Mutex::new((Timings::default(), 0)));
    let mut latencies = Latencies { own: Timings::default(), empty: 0, all: all.clone() };
    served.answers.for_each(move |answer| {
        let since = start.get().unwrap().elapsed().as_nanos() as u64;
        latencies.own.add(since.saturating_sub(answer.record.0), 1);
        latencies.empty += u64::from(answer.prediction.is_none());
    });
    let started = Instant::now();
    env.execute("serve").unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let all = all.lock().unwrap();
    let micros = |share| all.0.percentile(share) / 1000;
    let more = format!(
        ",\"rate\":{rate},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{},\"max_us\":{},\"without_model\":{}",
        micros(0.5),
        micros(0.99),
        micros(0.999),
        micros(1.0),
        all.1
    );
    say("serve", &env, records, seconds, &more);
}

/// User and item of each interaction, in the order of the users, who are active by Zipf's law too.
fn interactions(mut each: impl FnMut(u32, usize)) -> u64 {
    const USERS: u64 = 200_000;
    const ITEMS: usize = 10_000;
    let mut random = SplitMix64::seed_from_u64(7);
    let mut unit = move || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let mut sum = 0.0;
    let weight = |rank: usize| {
        sum += 1.0 / rank as f64;
        sum
    };
    let items: Vec<f64> = (1..=ITEMS).map(weight).collect();
    let records = records();
    // What the most active users are cut by at 500 goes to the others.
    let share = |rank: usize, scale: f64| (scale / (rank + 1) as f64).clamp(1.0, 500.0);
    let total = |scale: f64| (0..USERS as usize).map(|rank| share(rank, scale).round()).sum::<f64>();
    let (mut low, mut high) = (1.0, 1e9);
    while high / low > 1.000_001 {
        let middle = f64::sqrt(low * high);
        if total(middle) < records as f64 { low = middle } else { high = middle }
    }
    let mut count = 0;
    for user in 0..USERS as usize {
        for _ in 0..share(user, high).round() as u64 {
            let place = unit() * items[ITEMS - 1];
            each(user as u32, items.partition_point(|sum| *sum < place).min(ITEMS - 1));
            count += 1;
        }
    }
    count
}

fn recommend() {
    if let Ok(path) = std::env::var("FILE") {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
        writeln!(file, "user,item").unwrap();
        let count = interactions(|user, item| writeln!(file, "u{user},i{item}").unwrap());
        file.flush().unwrap();
        println!("{count} interactions");
        return;
    }
    let mut all = Interactions::default();
    let names: Vec<String> = (0..10_000).map(|item| format!("i{item}")).collect();
    let count = interactions(|user, item| all.add(user, &names[item]));
    let env = env();
    let started = Instant::now();
    let model = train(vec![("all".into(), all)], 200_000, &RecommenderParams::default(), env.config().threads).unwrap();
    let more = format!(",\"items\":{}", model.items().len());
    say("recommend", &env, count, started.elapsed().as_secs_f64(), &more);
}

fn main() {
    // `cargo bench` adds a flag of its own.
    let workload = std::env::args().skip(1).find(|a| !a.starts_with("--")).unwrap_or_default();
    match workload.as_str() {
        "online" => online("online", false),
        "together" => online("together", true),
        "batch-kmeans" => batch_kmeans(),
        "serve" => serve(),
        "recommend" => recommend(),
        other => panic!("`{other}` is no workload: online, together, batch-kmeans, serve or recommend"),
    }
}
