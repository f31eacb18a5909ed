//! TPC-H query 3 on typed records: the ten unshipped orders with the highest revenue.
//!
//!     cargo run --release -- gen tpch --scale 1 --out data
//!     cargo run --release --example tpch_q3 -- data

use arrow::temporal_conversions::date32_to_datetime;
use fluvial::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

// Of each file only the columns that are named here are read. Dates are days since 1970.

#[derive(Clone, Serialize, Deserialize)]
struct Customer {
    c_custkey: i64,
    c_mktsegment: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    o_orderkey: i64,
    o_custkey: i64,
    o_orderdate: i32,
    o_shippriority: i32,
}

#[derive(Clone, Serialize, Deserialize)]
struct LineItem {
    l_orderkey: i64,
    l_extendedprice: f64,
    l_discount: f64,
    l_shipdate: i32,
}

/// A row of the answer.
#[derive(Clone, Serialize, Deserialize)]
pub struct Unshipped {
    l_orderkey: i64,
    revenue: f64,
    o_orderdate: String,
    o_shippriority: i32,
}

/// 15 March 1995.
const THAT_DAY: i32 = 9204;

fn main() -> Result<()> {
    let env = Env::default();
    let folder = folder(&env)?;
    query_3(&env, &folder)?.to_table()?.print();
    env.execute("TPC-H query 3")?;
    Ok(())
}

/// The query over the tables of a folder.
pub fn query_3(env: &Env, folder: &Path) -> Result<DataStream<Unshipped>> {
    let file = |table: &str| [folder.join(format!("{table}.parquet")).display().to_string()];
    let customers = env.read_records::<Customer>(&file("customer"))?.filter(|c| c.c_mktsegment == "BUILDING");
    let orders = env.read_records::<Order>(&file("orders"))?.filter(|o| o.o_orderdate < THAT_DAY);
    let items = env.read_records::<LineItem>(&file("lineitem"))?.filter(|l| l.l_shipdate > THAT_DAY);

    let theirs = orders.key_by(|o| o.o_custkey).join(&customers.key_by(|c| c.c_custkey)).inner(|order, _| order);
    let sales = items.key_by(|l| l.l_orderkey).join(&theirs.key_by(|o| o.o_orderkey)).inner(|item, order| {
        let revenue = item.l_extendedprice * (1.0 - item.l_discount);
        (order.o_orderkey, order.o_orderdate, order.o_shippriority, revenue)
    });
    let revenues = sales.key_by(|sale| (sale.0, sale.1, sale.2)).sum(|sale| sale.3);
    let best = revenues.top_by(10, |((_, date, _), revenue)| (Descending(*revenue), *date));
    Ok(best.map(|((order, date, priority), revenue)| Unshipped {
        l_orderkey: order,
        revenue: (revenue * 10_000.0).round() / 10_000.0,
        o_orderdate: date32_to_datetime(date).map(|d| d.date().to_string()).unwrap_or_default(),
        o_shippriority: priority,
    }))
}

/// The folder that was named, or a new one with a small data set.
fn folder(env: &Env) -> Result<PathBuf> {
    if let Some(named) = std::env::args().nth(1).filter(|a| a != "--small") {
        return Ok(Path::new(&named).to_owned());
    }
    let folder = std::env::temp_dir().join("fluvial-tpch-0.01");
    std::fs::create_dir_all(&folder).map_err(|e| Error::User(e.to_string()))?;
    for name in ["customer", "orders", "lineitem"] {
        fluvial::tpch::table(env, name, 0.01)?.write(folder.join(format!("{name}.parquet")))?;
    }
    env.execute("generate")?;
    Ok(folder)
}
