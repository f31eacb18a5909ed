//! The first ten minutes: data is made once, then two jobs run in a small budget and say what they took.
//!
//! The data is made by a process of its own, so that what is said of memory is the jobs' alone.

mod jobs;

use super::args::Demo;
use super::output;
use fluvial_core::{Config, Env, Error, Interrupt, JobReport, Result, format_bytes, peak_resident};
use std::io::{IsTerminal, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Prints a line.
macro_rules! line {
    ($($text:tt)*) => {
        output::print(format_args!("{}\n", format_args!($($text)*)))?
    };
}

/// `start` is when the process started.
pub fn run(args: Demo, interrupt: &Interrupt, start: Instant) -> Result<()> {
    let mut config = Config { memory: args.memory, interrupt: interrupt.clone(), ..Config::default() };
    config.threads = args.threads.unwrap_or(config.threads);
    config.check()?;
    let folder = args.data.join(format!("tpch-{}", args.scale));
    let generated = generate(&folder, &args)?;
    line!("Two jobs with {} of managed memory and {} workers.\n", format_bytes(args.memory as u64), config.threads);

    let env = Env::new(config);
    line!("TPC-H query 3: the unshipped orders with the highest revenue.");
    jobs::query_3(&env, &folder)?.to_table()?.print();
    // From the start of a process that found its data.
    let before = if generated { None } else { Some(start.elapsed().as_secs_f64()) };
    let report = env.execute("TPC-H query 3")?;
    line!("{}", took(&report));
    if let Some((before, first)) = before.zip(report.first_part_seconds) {
        line!("first row group after {:.0} ms, from the start of the process", (before + first) * 1e3);
    }

    line!("\nAll line items joined with all orders, grouped by customer; all customers by revenue.");
    jobs::revenue_by_customer(&env, &folder)?.to_table()?.print_first(10);
    let report = env.execute("revenue by customer")?;
    line!("{}", took(&report));
    line!("\nmemory: {} resident at most, {} of it managed", format_bytes(peak_resident()), format_bytes(report.pool_peak));

    line!("\nTry next:");
    for command in suggestions(&folder) {
        line!("  {command}");
    }
    Ok(())
}

fn took(report: &JobReport) -> String {
    let JobReport { seconds, spilled_bytes, spill_files, .. } = report;
    match spill_files {
        0 => format!("{seconds:.2} s, nothing spilled"),
        _ => format!("{seconds:.2} s, {} spilled to {spill_files} files", format_bytes(*spilled_bytes)),
    }
}

/// Makes the tables that are not there; whether there were any.
fn generate(folder: &Path, args: &Demo) -> Result<bool> {
    let missing: Vec<&str> = crate::tpch::TABLES.into_iter().filter(|t| !file(folder, t).exists()).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let start = Instant::now();
    line!("Making TPC-H data at scale {} in {}, once.", args.scale, folder.display());
    let failed = |what: String| Error::User(format!("making the data: {what}"));
    let program = std::env::current_exe().map_err(|e| failed(e.to_string()))?;
    let mut command = Command::new(program);
    command.args(["gen", "tpch", "--scale", &args.scale.to_string(), "--tables", &missing.join(","), "--out"]).arg(folder);
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    // On a terminal it shows its progress; else its one line becomes ours.
    command.stderr(if stderr().is_terminal() { Stdio::inherit() } else { Stdio::piped() });
    let output = command.output().map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("fluvial: ");
        return Err(failed(if said.is_empty() { output.status.to_string() } else { said.to_owned() }));
    }
    line!("That took {:.1} s.\n", start.elapsed().as_secs_f64());
    Ok(true)
}

fn file(folder: &Path, table: &str) -> PathBuf {
    folder.join(format!("{table}.parquet"))
}

/// Commands that work where this one did.
fn suggestions(folder: &Path) -> Vec<String> {
    let fluvial = quoted(Path::new(&std::env::args_os().next().unwrap_or_else(|| "fluvial".into())));
    let table = |name: &str| quoted(&file(folder, name));
    let (items, orders) = (table("lineitem"), table("orders"));
    let mut commands = vec![
        format!("{fluvial} aggregate {items} --by l_returnflag --agg \"sum(l_quantity) as quantity, count(*) as items\" --out -"),
        format!("{fluvial} join {items} {orders} --on \"l_orderkey = o_orderkey\" --count --memory 64MiB"),
        format!(
            "{fluvial} sort {items} --by \"l_shipdate, l_orderkey\" --memory 64MiB --out {} --stats {}",
            quoted(&folder.join("sorted.parquet")),
            quoted(&folder.join("sorted.json"))
        ),
    ];
    if Path::new("examples/tpch_q3.rs").exists() {
        commands.push(format!("cargo run --release --example tpch_q3 -- {}", quoted(folder)));
    }
    commands
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
