//! Sorts and groups ten times more records than fit in the memory that the job is given, and says what it spilled.
//!
//!     cargo run --release --example larger_than_memory

use fluvial::prelude::*;

fn main() -> Result<()> {
    let small = std::env::args().any(|a| a == "--small");
    let records: u64 = if small { 200_000 } else { 20_000_000 };
    let memory = if small { 4 << 20 } else { 32 << 20 };
    let env = Env::new(Config { memory, threads: 2, ..Config::default() });

    let numbers = env.generate(records, |i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15), i));
    // Each worker merges ranges of the order and counts what it gets.
    let sorted = numbers.sort_by(|r| r.0).map_partition(|records| std::iter::once(records.count() as u64));
    let counted: u64 = sorted.collect()?.into_iter().sum();
    report(&env, "sorted", counted);

    let groups = numbers.key_by(move |r| r.0 % (records / 2)).count().count()?;
    report(&env, "groups", groups);
    Ok(())
}

fn report(env: &Env, what: &str, count: u64) {
    let report = env.last_report().unwrap_or_default();
    println!(
        "{count} {what} in {:.2} s with {} of managed memory: {} spilled, {} resident at most",
        report.seconds,
        fluvial::format_bytes(report.memory),
        fluvial::format_bytes(report.spilled_bytes),
        fluvial::format_bytes(report.peak_resident)
    );
}
