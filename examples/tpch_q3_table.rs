//! TPC-H query 3 on columns: the ten unshipped orders with the highest revenue.
//!
//!     cargo run --release -- gen tpch --scale 1 --out data
//!     cargo run --release --example tpch_q3_table -- data

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, RecordBatch, Scalar, StringViewArray};
use arrow::compute::kernels::{cmp, numeric};
use arrow::datatypes::DataType;
use fluvial::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// 15 March 1995, in days since 1970.
const THAT_DAY: i32 = 9204;

fn main() -> Result<()> {
    let env = Env::default();
    let folder = folder(&env)?;
    let table = |name: &str| env.read(&[folder.join(format!("{name}.parquet")).to_string_lossy()]);
    let day = Scalar::new(Date32Array::from(vec![THAT_DAY]));
    let building = Scalar::new(StringViewArray::from(vec!["BUILDING"]));

    let customers =
        table("customer")?.select("c_custkey, c_mktsegment")?.filter(move |batch| Ok(cmp::eq(batch.column(1), &building)?));
    let before = day.clone();
    let orders = table("orders")?
        .select("o_orderkey, o_custkey, o_orderdate, o_shippriority")?
        .filter(move |batch| Ok(cmp::lt(batch.column(2), &before)?))
        .join(&customers, "o_custkey = c_custkey")?
        .select("o_orderkey, o_orderdate, o_shippriority")?;
    let revenue = table("lineitem")?
        .select("l_orderkey, l_extendedprice, l_discount, l_shipdate")?
        .filter(move |batch| Ok(cmp::gt(batch.column(3), &day)?))
        .join(&orders, "l_orderkey = o_orderkey")?
        .select("l_orderkey, o_orderdate, o_shippriority, l_extendedprice, l_discount")?
        .with_column("revenue", DataType::Decimal128(32, 4), revenue)
        .group_by("l_orderkey, o_orderdate, o_shippriority")?
        .aggregate("sum(revenue) as revenue")?
        .top("revenue desc, o_orderdate", 10)?;
    println!("{}", revenue.to_text()?);
    Ok(())
}

/// `l_extendedprice * (1 - l_discount)`
fn revenue(batch: &RecordBatch) -> Result<ArrayRef> {
    let one = Scalar::new(Decimal128Array::from(vec![100]).with_precision_and_scale(15, 2)?);
    let rest = numeric::sub(&one, batch.column(4))?;
    Ok(numeric::mul(batch.column(3), &Arc::clone(&rest))?)
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
