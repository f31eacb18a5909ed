//! The first ten minutes: data is made once, then jobs run in a small budget and say what they did.

use super::args::Demo;
use arrow::array::{Date32Array, Decimal128Array, Scalar, StringArray};
use arrow::compute::kernels::{cmp, numeric};
use arrow::datatypes::DataType;
use fluvial_core::{Config, Env, Error, Interrupt, JobReport, Result, Table, format_bytes};
use std::path::Path;
use std::time::Instant;

/// 15 March 1995, in days since 1970.
const THAT_DAY: i32 = 9204;

pub fn run(args: Demo, interrupt: &Interrupt) -> Result<()> {
    let folder = args.data.join(format!("tpch-{}", args.scale));
    let mut config = Config { memory: args.memory, interrupt: interrupt.clone(), ..Config::default() };
    config.threads = args.threads.unwrap_or(config.threads);
    config.check()?;
    generate(&folder, &args, interrupt)?;
    println!("Two jobs with {} of managed memory and {} workers.\n", format_bytes(args.memory as u64), config.threads);

    let env = Env::new(config.clone());
    println!("TPC-H query 3: the unshipped orders with the highest revenue.");
    show(&env, &query_3(&env, &folder)?)?;

    let env = Env::new(config);
    println!("All line items joined with all orders, grouped by customer, sorted by revenue; the first ten.");
    show(&env, &by_customer(&env, &folder)?)?;

    println!("Try next:");
    let file = |name: &str| folder.join(format!("{name}.parquet")).display().to_string();
    println!(
        "  fluvial sort {} --by \"l_shipdate, l_orderkey\" --memory 64MiB --out sorted.parquet --stats stats.json",
        file("lineitem")
    );
    println!("  fluvial join {} {} --on \"l_orderkey = o_orderkey\" --count --explain", file("lineitem"), file("orders"));
    println!("  cargo run --release --example wordcount -- README.md");
    Ok(())
}

fn generate(folder: &Path, args: &Demo, interrupt: &Interrupt) -> Result<()> {
    let missing: Vec<&str> = crate::tpch::TABLES.into_iter().filter(|t| !folder.join(format!("{t}.parquet")).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let start = Instant::now();
    println!("Making TPC-H data at scale {} in {} (once).", args.scale, folder.display());
    std::fs::create_dir_all(folder).map_err(|e| Error::File { path: folder.to_owned(), message: e.to_string() })?;
    let env = Env::new(Config { interrupt: interrupt.clone(), ..Config::default() });
    for name in missing {
        crate::tpch::table(&env, name, args.scale)?.write(folder.join(format!("{name}.parquet")))?;
    }
    env.execute("gen tpch")?;
    println!("That took {:.1} s.\n", start.elapsed().as_secs_f64());
    Ok(())
}

/// Runs a table's job, prints its rows and what it took.
fn show(env: &Env, table: &Table) -> Result<()> {
    println!("{}", table.to_text()?);
    let JobReport { seconds, spilled_bytes, peak_resident, pool_peak, .. } = env.last_report().unwrap_or_default();
    println!(
        "{seconds:.2} s; {} spilled to disk; {} of managed memory at most, {} resident in all\n",
        format_bytes(spilled_bytes),
        format_bytes(pool_peak),
        format_bytes(peak_resident)
    );
    Ok(())
}

fn read(env: &Env, folder: &Path, name: &str, columns: &str) -> Result<Table> {
    env.read(&[folder.join(format!("{name}.parquet")).to_string_lossy()])?.select(columns)
}

fn query_3(env: &Env, folder: &Path) -> Result<Table> {
    let day = Scalar::new(Date32Array::from(vec![THAT_DAY]));
    let building = Scalar::new(StringArray::from(vec!["BUILDING"]));
    let customers = read(env, folder, "customer", "c_custkey, c_mktsegment")?;
    let customers = customers.filter(move |batch| Ok(cmp::eq(batch.column(1), &building)?));
    let before = day.clone();
    let orders = read(env, folder, "orders", "o_orderkey, o_custkey, o_orderdate, o_shippriority")?;
    let orders = orders.filter(move |batch| Ok(cmp::lt(batch.column(2), &before)?));
    let orders = orders.join(&customers, "o_custkey = c_custkey")?.select("o_orderkey, o_orderdate, o_shippriority")?;
    let items = read(env, folder, "lineitem", "l_orderkey, l_extendedprice, l_discount, l_shipdate")?;
    items
        .filter(move |batch| Ok(cmp::gt(batch.column(3), &day)?))
        .join(&orders, "l_orderkey = o_orderkey")?
        .select("l_orderkey, o_orderdate, o_shippriority, l_extendedprice, l_discount")?
        .with_column("revenue", DataType::Decimal128(32, 4), |batch| {
            let one = Scalar::new(Decimal128Array::from(vec![100]).with_precision_and_scale(15, 2)?);
            Ok(numeric::mul(batch.column(3), &numeric::sub(&one, batch.column(4))?)?)
        })
        .group_by("l_orderkey, o_orderdate, o_shippriority")?
        .aggregate("sum(revenue) as revenue")?
        .top("revenue desc, o_orderdate", 10)
}

fn by_customer(env: &Env, folder: &Path) -> Result<Table> {
    let items = read(env, folder, "lineitem", "l_orderkey, l_extendedprice")?;
    let orders = read(env, folder, "orders", "o_orderkey, o_custkey")?;
    items
        .join(&orders, "l_orderkey = o_orderkey")?
        .select("o_custkey, l_extendedprice")?
        .group_by("o_custkey")?
        .aggregate("sum(l_extendedprice) as revenue, count(*) as items")?
        .top("revenue desc", 10)
}
