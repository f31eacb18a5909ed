//! TPC-H queries on tables, column by column.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Datum, Decimal128Array, RecordBatch, Scalar, StringViewArray,
};
use arrow::compute::kernels::{cmp, numeric};
use arrow::compute::{DatePart, and, date_part, like, not};
use arrow::datatypes::{DataType, Date32Type};
use fluvial::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// The queries that are checked.
pub const QUERIES: [&str; 7] = ["q1", "q3", "q5", "q9", "q13", "q18", "q21"];

/// A query over the tables of a folder.
pub fn query(env: &Env, folder: &Path, name: &str) -> Result<Table> {
    let tpch = Tpch { env, folder };
    match name {
        "q1" => tpch.q1(),
        "q3" => tpch.q3(),
        "q5" => tpch.q5(),
        "q9" => tpch.q9(),
        "q13" => tpch.q13(),
        "q18" => tpch.q18(),
        "q21" => tpch.q21(),
        other => Err(Error::Plan(format!("no query `{other}`"))),
    }
}

struct Tpch<'a> {
    env: &'a Env,
    folder: &'a Path,
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::Plan(format!("no column `{name}`")))
}

fn date(year: i32, month: u32, day: u32) -> Scalar<ArrayRef> {
    let days = |y: i32, m: u32, d: u32| {
        // Days of the civil calendar, counted from 1 March.
        let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
        let era_days = 365 * y + y / 4 - y / 100 + y / 400;
        era_days + (153 * m as i32 + 2) / 5 + d as i32 - 1
    };
    Scalar::new(Arc::new(Date32Array::from(vec![days(year, month, day) - days(1970, 1, 1)])))
}

fn text(value: &str) -> Scalar<ArrayRef> {
    Scalar::new(Arc::new(StringViewArray::from(vec![value])))
}

fn one() -> Result<Scalar<ArrayRef>> {
    Ok(Scalar::new(Arc::new(Decimal128Array::from(vec![100]).with_precision_and_scale(15, 2)?)))
}

/// `price * (1 - discount)`
fn revenue(batch: &RecordBatch) -> Result<ArrayRef> {
    let rest = numeric::sub(&one()?, column(batch, "l_discount")?)?;
    Ok(numeric::mul(column(batch, "l_extendedprice")?, &rest)?)
}

const REVENUE: DataType = DataType::Decimal128(32, 4);

type Compare = fn(&dyn Datum, &dyn Datum) -> std::result::Result<BooleanArray, arrow::error::ArrowError>;

fn keep(table: Table, name: &'static str, compare: Compare, value: Scalar<ArrayRef>) -> Table {
    table.filter(move |batch| Ok(compare(column(batch, name)?, &value)?))
}

impl Tpch<'_> {
    fn table(&self, name: &str, columns: &str) -> Result<Table> {
        let path = self.folder.join(format!("{name}.parquet"));
        self.env.read(&[path.to_string_lossy()])?.select(columns)
    }

    fn q1(&self) -> Result<Table> {
        let columns = "l_returnflag, l_linestatus, l_quantity, l_extendedprice, l_discount, l_tax, l_shipdate";
        let items = keep(self.table("lineitem", columns)?, "l_shipdate", cmp::lt_eq, date(1998, 9, 2));
        let charge = |batch: &RecordBatch| -> Result<ArrayRef> {
            let factor = numeric::add(&one()?, column(batch, "l_tax")?)?;
            // Precision 38 is Arrow's limit; the values stay far below it.
            let price = column(batch, "disc_price")?.as_primitive::<arrow::datatypes::Decimal128Type>().clone();
            Ok(numeric::mul(&price.with_precision_and_scale(20, 4)?, &factor)?)
        };
        items
            .with_column("disc_price", REVENUE, revenue)
            .with_column("charge", DataType::Decimal128(37, 6), charge)
            .group_by("l_returnflag, l_linestatus")?
            .aggregate(
                "sum(l_quantity) as sum_qty, sum(l_extendedprice) as sum_base_price, sum(disc_price) as sum_disc_price, \
                 sum(charge) as sum_charge, avg(l_quantity) as avg_qty, avg(l_extendedprice) as avg_price, \
                 avg(l_discount) as avg_disc, count(*) as count_order",
            )?
            .sort("l_returnflag, l_linestatus")
    }

    fn q3(&self) -> Result<Table> {
        let customers = keep(self.table("customer", "c_custkey, c_mktsegment")?, "c_mktsegment", cmp::eq, text("BUILDING"));
        let orders = self.table("orders", "o_orderkey, o_custkey, o_orderdate, o_shippriority")?;
        let orders = keep(orders, "o_orderdate", cmp::lt, date(1995, 3, 15));
        let items = self.table("lineitem", "l_orderkey, l_extendedprice, l_discount, l_shipdate")?;
        let items = keep(items, "l_shipdate", cmp::gt, date(1995, 3, 15));
        let theirs = orders.join(&customers, "o_custkey = c_custkey")?.select("o_orderkey, o_orderdate, o_shippriority")?;
        items
            .join(&theirs, "l_orderkey = o_orderkey")?
            .select("l_orderkey, o_orderdate, o_shippriority, l_extendedprice, l_discount")?
            .with_column("revenue", REVENUE, revenue)
            .group_by("l_orderkey, o_orderdate, o_shippriority")?
            .aggregate("sum(revenue) as revenue")?
            .top("revenue desc, o_orderdate", 10)?
            .select("l_orderkey, revenue, o_orderdate, o_shippriority")
    }

    fn q5(&self) -> Result<Table> {
        let asia = keep(self.table("region", "r_regionkey, r_name")?, "r_name", cmp::eq, text("ASIA"));
        let nations = self.table("nation", "n_nationkey, n_name, n_regionkey")?;
        let nations = nations.join(&asia, "n_regionkey = r_regionkey")?.select("n_nationkey, n_name")?;
        let suppliers = self.table("supplier", "s_suppkey, s_nationkey")?;
        let suppliers = suppliers.join(&nations, "s_nationkey = n_nationkey")?.select("s_suppkey, s_nationkey, n_name")?;
        let orders = self.table("orders", "o_orderkey, o_custkey, o_orderdate")?;
        let orders = keep(orders, "o_orderdate", cmp::gt_eq, date(1994, 1, 1));
        let orders = keep(orders, "o_orderdate", cmp::lt, date(1995, 1, 1));
        let customers = self.table("customer", "c_custkey, c_nationkey")?;
        let orders = orders.join(&customers, "o_custkey = c_custkey")?.select("o_orderkey, c_nationkey")?;
        let items = self.table("lineitem", "l_orderkey, l_suppkey, l_extendedprice, l_discount")?;
        items
            .join(&orders, "l_orderkey = o_orderkey")?
            .select("l_suppkey, c_nationkey, l_extendedprice, l_discount")?
            .join(&suppliers, "l_suppkey = s_suppkey, c_nationkey = s_nationkey")?
            .select("n_name, l_extendedprice, l_discount")?
            .with_column("revenue", REVENUE, revenue)
            .group_by("n_name")?
            .aggregate("sum(revenue) as revenue")?
            .sort("revenue desc")
    }

    fn q9(&self) -> Result<Table> {
        let parts = self.table("part", "p_partkey, p_name")?;
        let green = parts.filter(|batch| Ok(like(column(batch, "p_name")?, &text("%green%"))?));
        let items = self.table("lineitem", "l_orderkey, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount")?;
        let items = items.join(&green, "l_partkey = p_partkey")?;
        let items = items.select("l_orderkey, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount")?;
        let offers = self.table("partsupp", "ps_partkey, ps_suppkey, ps_supplycost")?;
        let items = items
            .join(&offers, "l_suppkey = ps_suppkey, l_partkey = ps_partkey")?
            .select("l_orderkey, l_suppkey, l_quantity, l_extendedprice, l_discount, ps_supplycost")?;
        let nations = self.table("nation", "n_nationkey, n_name")?;
        let suppliers = self.table("supplier", "s_suppkey, s_nationkey")?;
        let suppliers = suppliers.join(&nations, "s_nationkey = n_nationkey")?.select("s_suppkey, n_name")?;
        let orders = self.table("orders", "o_orderkey, o_orderdate")?;
        let amount = |batch: &RecordBatch| -> Result<ArrayRef> {
            let cost = numeric::mul(column(batch, "ps_supplycost")?, column(batch, "l_quantity")?)?;
            Ok(numeric::sub(&revenue(batch)?, &cost)?)
        };
        items
            .join(&suppliers, "l_suppkey = s_suppkey")?
            .select("n_name as nation, l_orderkey, l_quantity, l_extendedprice, l_discount, ps_supplycost")?
            .join(&orders, "l_orderkey = o_orderkey")?
            .select("nation, o_orderdate, l_quantity, l_extendedprice, l_discount, ps_supplycost")?
            .with_column("amount", DataType::Decimal128(33, 4), amount)
            .with_column("o_year", DataType::Int32, |batch| Ok(date_part(column(batch, "o_orderdate")?, DatePart::Year)?))
            .group_by("nation, o_year")?
            .aggregate("sum(amount) as sum_profit")?
            .sort("nation, o_year desc")
    }

    fn q13(&self) -> Result<Table> {
        let customers = self.table("customer", "c_custkey")?;
        let orders = self.table("orders", "o_orderkey, o_custkey, o_comment")?;
        let orders = orders.filter(|batch| Ok(not(&like(column(batch, "o_comment")?, &text("%special%requests%"))?)?));
        customers
            .join(&orders, "c_custkey = o_custkey")?
            .kind(JoinType::Left)
            .select("c_custkey, o_orderkey")?
            .group_by("c_custkey")?
            .aggregate("count(o_orderkey) as c_count")?
            .group_by("c_count")?
            .aggregate("count(*) as custdist")?
            .sort("custdist desc, c_count desc")
    }

    fn q18(&self) -> Result<Table> {
        let items = self.table("lineitem", "l_orderkey, l_quantity")?;
        let three_hundred: Scalar<ArrayRef> =
            Scalar::new(Arc::new(Decimal128Array::from(vec![300_00]).with_precision_and_scale(25, 2)?));
        let large = items.group_by("l_orderkey")?.aggregate("sum(l_quantity) as qty")?;
        let large = keep(large, "qty", cmp::gt, three_hundred);
        let orders = self.table("orders", "o_orderkey, o_custkey, o_orderdate, o_totalprice")?;
        let orders = orders.join(&large, "o_orderkey = l_orderkey")?.kind(JoinType::Semi).all()?;
        let customers = self.table("customer", "c_custkey, c_name")?;
        let orders = customers
            .join(&orders, "c_custkey = o_custkey")?
            .strategy(JoinStrategy::HashBuildRight)
            .select("c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice")?;
        items
            .join(&orders, "l_orderkey = o_orderkey")?
            .strategy(JoinStrategy::HashBuildRight)
            .select("c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, l_quantity")?
            .group_by("c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice")?
            .aggregate("sum(l_quantity) as qty")?
            .top("o_totalprice desc, o_orderdate", 100)
    }

    fn q21(&self) -> Result<Table> {
        let items = self.table("lineitem", "l_orderkey, l_suppkey, l_commitdate, l_receiptdate")?;
        let late = items
            .filter(|batch| Ok(cmp::gt(column(batch, "l_receiptdate")?, column(batch, "l_commitdate")?)?))
            .select("l_orderkey, l_suppkey")?;
        // An order has another supplier if its smallest and largest supplier differ, and no other late one if those do not.
        let suppliers_of = |table: &Table, order: &str| {
            table
                .group_by("l_orderkey")?
                .aggregate("min(l_suppkey) as least, max(l_suppkey) as most")?
                .select(&format!("l_orderkey as {order}, least, most"))
        };
        let several = suppliers_of(&items, "several")?.filter(|b| Ok(cmp::neq(column(b, "least")?, column(b, "most")?)?));
        let alone = suppliers_of(&late, "alone")?.filter(|b| Ok(cmp::eq(column(b, "least")?, column(b, "most")?)?));
        let failed = keep(self.table("orders", "o_orderkey, o_orderstatus")?, "o_orderstatus", cmp::eq, text("F"));
        let nations = keep(self.table("nation", "n_nationkey, n_name")?, "n_name", cmp::eq, text("SAUDI ARABIA"));
        let suppliers = self.table("supplier", "s_suppkey, s_name, s_nationkey")?;
        let suppliers = suppliers.join(&nations, "s_nationkey = n_nationkey")?.select("s_suppkey, s_name")?;
        late.join(&suppliers, "l_suppkey = s_suppkey")?
            .strategy(JoinStrategy::BroadcastRight)
            .select("l_orderkey, s_name")?
            .join(&failed, "l_orderkey = o_orderkey")?
            .kind(JoinType::Semi)
            .all()?
            .join(&several, "l_orderkey = several")?
            .kind(JoinType::Semi)
            .all()?
            .join(&alone, "l_orderkey = alone")?
            .kind(JoinType::Semi)
            .all()?
            .group_by("s_name")?
            .aggregate("count(*) as numwait")?
            .top("numwait desc, s_name", 100)
    }
}
