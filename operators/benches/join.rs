//! The hash join at the size of TPC-H scale 10, lineitem with orders, as one of two workers sees it: 7.5 million build
//! rows, 30 million probe rows, 8 bytes of key and 8 of payload, in memory and beyond it.
//!
//!     cargo bench -p fluvial-operators --bench join [-- SCENARIO]

use fluvial_memory::{MemoryManager, Progress, RowBatch, RowShape, SpillConfig, SpillManager, hash};
use fluvial_operators::{HashJoin, JoinKind, JoinOptions, JoinOutput, JoinedBatch, Side};
use std::time::Duration;

const BATCH: usize = 8192;

struct Scenario {
    name: &'static str,
    build: u64,
    probe: u64,
    /// Probe keys in the order of the build keys, as lineitem is by order, or scattered.
    clustered: bool,
    /// Every how many build keys has partners.
    selective: u64,
    budget: usize,
    kind: JoinKind,
    output: JoinOutput,
}

const BASE: Scenario = Scenario {
    name: "memory, scattered",
    build: 7_500_000,
    probe: 30_000_000,
    clustered: false,
    selective: 1,
    budget: 1 << 30,
    kind: JoinKind::Inner,
    output: JoinOutput::Rows,
};

/// Time that this thread has run, so that what else runs on the machine shows less; I/O threads are not in it.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default())
}

/// A stop watch over the thread's own time.
struct Instant(Duration);

impl Instant {
    fn now() -> Self {
        Self(cpu_time())
    }

    fn elapsed(&self) -> Duration {
        cpu_time() - self.0
    }
}

fn key(index: u64) -> u64 {
    index * 4 + 1
}

fn batches(rows: u64, mut key_of: impl FnMut(u64) -> u64) -> Vec<RowBatch> {
    let mut batches = Vec::new();
    let mut at = 0;
    while at < rows {
        let end = (at + BATCH as u64).min(rows);
        let mut batch = RowBatch::new(RowShape::fixed(8, 8));
        for i in at..end {
            batch.push(&key_of(i).to_be_bytes(), &i.to_le_bytes());
        }
        batch.compute_hashes();
        batches.push(batch);
        at = end;
    }
    batches
}

fn run(scenario: &Scenario) {
    let shape = RowShape::fixed(8, 8);
    let memory = MemoryManager::new(scenario.budget).expect("the arena can be mapped");
    let spill = SpillManager::new(SpillConfig::default()).expect("a folder for spill files");
    let per_key = scenario.probe / scenario.build;
    let build = batches(scenario.build, |i| key(i / 4 * 4 + (i + hash::remix(i / 4, 9)) % 4));
    let probe = batches(scenario.probe, |i| {
        let index = if scenario.clustered { i / per_key } else { hash::remix(i, 3) % scenario.build };
        key(index / scenario.selective * scenario.selective) + u64::from(!index.is_multiple_of(scenario.selective))
    });
    let options = JoinOptions { output: scenario.output, ..JoinOptions::new(scenario.kind, shape, shape) };
    let mut out = JoinedBatch::new(scenario.kind, shape, shape);
    let reservation = memory.reserve("join", 66).expect("the minimum");
    let mut results = 0u64;
    let mut join = HashJoin::new(reservation, spill, options, None).expect("a join");
    let mut drain = |join: &mut HashJoin, finish: bool| -> Duration {
        let start = Instant::now();
        while join.pull(&mut out, BATCH).expect("results") != Progress::Done {
            results += out.len() as u64;
        }
        results += out.len() as u64;
        if finish {
            assert!(join.is_finished());
        }
        start.elapsed()
    };
    let wall = std::time::Instant::now();
    let start = Instant::now();
    for batch in &build {
        join.push(Side::Right, batch, None).expect("build rows");
    }
    let built = start.elapsed();
    join.end(Side::Right).expect("the end");
    let indexed = drain(&mut join, false);
    let probing = Instant::now();
    for batch in &probe {
        join.push(Side::Left, batch, None).expect("probe rows");
        drain(&mut join, false);
    }
    let probed = probing.elapsed();
    join.end(Side::Left).expect("the end");
    let rest = drain(&mut join, true);
    let total = start.elapsed();
    let stats = join.stats();
    let results = if scenario.output == JoinOutput::CountOnly { join.count() as u64 } else { results };
    println!(
        "{:<28} {:>5.2} s of CPU, {:>5.2} s  build {:>5.1} ns/row, index {:>5.1} ns/row, probe {:>5.1} ns/row, rest {:>4.2} s | {} M x {} M -> {:.1} M rows, \
         {} MiB of {} MiB, {} MiB and {} partitions to disk, {} rows filtered",
        scenario.name,
        total.as_secs_f64(),
        wall.elapsed().as_secs_f64(),
        built.as_nanos() as f64 / scenario.build as f64,
        indexed.as_nanos() as f64 / scenario.build as f64,
        probed.as_nanos() as f64 / scenario.probe as f64,
        rest.as_secs_f64(),
        scenario.build as f64 / 1e6,
        scenario.probe as f64 / 1e6,
        results as f64 / 1e6,
        memory.peak() >> 20,
        memory.budget() >> 20,
        stats.spilled_bytes >> 20,
        stats.spilled_partitions,
        stats.filtered_rows,
    );
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("hash join, one worker of a machine with {cores} cores");
    let scenarios = [
        Scenario { ..BASE },
        Scenario { name: "memory, clustered", clustered: true, ..BASE },
        Scenario { name: "100 MiB, scattered", budget: 100 << 20, ..BASE },
        Scenario { name: "100 MiB, clustered", clustered: true, budget: 100 << 20, ..BASE },
        Scenario { name: "100 MiB, 1 in 16 matches", selective: 16, budget: 100 << 20, ..BASE },
        Scenario { name: "100 MiB, count", clustered: true, budget: 100 << 20, output: JoinOutput::CountOnly, ..BASE },
        Scenario { name: "small, in cache", build: 50_000, budget: 256 << 20, ..BASE },
    ];
    for scenario in &scenarios {
        if only.as_ref().is_none_or(|only| scenario.name.contains(only.as_str())) {
            run(scenario);
        }
    }
}
