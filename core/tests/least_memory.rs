//! A job's plan says how much memory it needs; with less it fails before it starts, with that much it runs.

mod budgets;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use budgets::{WORKERS, least};
use fluvial_core::{Config, DataStream, Env, Result, Table};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const ROWS: usize = 20_000;

/// Counts of distinct values of three columns, sorted: three aggregations and a sort.
fn counts(env: &Env, read: &Arc<AtomicUsize>) -> Result<Table> {
    let batch = |part: i64| {
        let numbers = part * 1000..(part + 1) * 1000;
        let column = |of: fn(i64) -> i64| Arc::new(Int64Array::from_iter_values(numbers.clone().map(of))) as ArrayRef;
        RecordBatch::try_from_iter([
            ("g", column(|i| i % 5)),
            ("a", column(|i| i)),
            ("b", column(|i| i / 2)),
            ("c", column(|i| -i)),
        ])
    };
    let read = read.clone();
    let table = env.table_from_parts(batch(0)?.schema(), ROWS / 1000, move |part| {
        read.fetch_add(1, SeqCst);
        Ok(std::iter::once(Ok(batch(part as i64)?)))
    });
    let counts =
        "count(distinct a) as a, sum(b) as s, count(distinct b) as b, count(distinct c) as c, count(distinct a) as again";
    table.group_by("g")?.aggregate(counts)?.sort("g")
}

fn size(bytes: usize) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}

#[test]
fn less_than_the_plan_needs_is_an_error_before_the_job_starts() {
    let read = Arc::new(AtomicUsize::new(0));
    let plan = counts(&Env::default(), &read).unwrap().explain();
    // Three times 41 segments, and 16.
    assert_eq!(plan.minimum_memory(), (139 * 32) << 10);
    assert!(plan.to_string().ends_with("at least 4448 KiB of memory for each worker\n"), "{plan}");
    let memory_of = |name: &str| plan.nodes.iter().filter(|n| n.name == name).map(|n| n.memory >> 10).collect::<Vec<_>>();
    assert_eq!((memory_of("combine"), memory_of("sort")), (vec![256; 3], vec![512]));
    for threads in WORKERS {
        let memory = plan.minimum_memory() as usize * threads - (32 << 10);
        let env = Env::new(Config { threads, memory, ..Config::default() });
        let error = counts(&env, &read).unwrap().collect().unwrap_err().to_string();
        let workers = if threads == 1 { "1 worker".to_owned() } else { format!("{threads} workers") };
        let expected = format!(
            "memory: {} given, job `collect` needs at least {} for {workers} (each 4448 KiB: 2 x aggregate 2112 KiB, \
             distinct 1056 KiB, 3 x combine 768 KiB, sort 512 KiB)",
            size(memory),
            size((4448 * threads) << 10),
        );
        assert_eq!(error, expected);
    }
    assert_eq!(read.load(SeqCst), 0);
}

#[test]
fn what_the_plan_needs_is_enough() {
    for threads in WORKERS {
        let read = Arc::default();
        let plan = counts(&Env::default(), &read).unwrap().explain();
        let env = least(threads, &plan);
        let text = counts(&env, &read).unwrap().to_text().unwrap();
        let rows: Vec<Vec<&str>> = text.lines().skip(3).take(5).map(|l| l.split('|').map(str::trim).collect()).collect();
        for (g, row) in rows.iter().enumerate() {
            let sum = (0..ROWS).filter(|i| i % 5 == g).map(|i| i / 2).sum::<usize>().to_string();
            assert_eq!(row[1..7], [&g.to_string(), "4000", &sum, "4000", "4000", "4000"], "{text}");
        }
    }
}

/// A job of many operators, each of which holds records: as much as they reserve together, and no more, is enough.
#[test]
fn many_operators_share_the_least() {
    let build = |env: &Env| -> DataStream<(u64, u64)> {
        let numbers = env.sequence(0..ROWS as u64);
        let sums = numbers.key_by(|n| n % 1000).sum(|n| *n);
        let ranked = sums.sort_by(|s| s.1).zip_with_index().map(|(i, s)| (s.0, i));
        let joined = ranked.key_by(|r| r.0).join(&sums.key_by(|s| s.0)).inner(|r, s| (r.0, r.1 + s.1));
        let grouped = joined.key_by(|j| j.0).co_group(&numbers.key_by(|n| n % 1000), |k, j, n, out| {
            out.push((*k, j.map(|j| j.1).sum::<u64>() + n.count() as u64));
        });
        grouped.distinct().partition_by_range(|g| g.0).limit(ROWS as u64)
    };
    let plan = build(&Env::default()).explain();
    assert!(plan.minimum_memory() > 4 << 20);
    let model: Vec<(u64, u64)> = (0..1000)
        .map(|k| {
            let sum = (0..20).map(|i| k + i * 1000).sum::<u64>();
            // Sums grow with their keys.
            (k, k + sum + 20)
        })
        .collect();
    for threads in WORKERS {
        let env = least(threads, &plan);
        assert_eq!(budgets::sorted(build(&env).collect().unwrap()), model, "{threads} workers");
        let report = env.last_report().unwrap();
        assert!(report.pool_peak <= report.memory);
    }
}
