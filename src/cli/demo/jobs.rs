//! The two jobs. Of each file only the columns are read that a record has fields for.

use super::file;
use arrow::temporal_conversions::date32_to_datetime;
use fluvial_core::{Aggregator, Data, DataStream, Env, Result};
use fluvial_memory::Descending;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Days since 1970.
type Date = i32;

/// 15 March 1995.
const THAT_DAY: Date = 9204;

fn read<T: Data>(env: &Env, folder: &Path, table: &str) -> Result<DataStream<T>> {
    env.read_records(&[file(folder, table).display().to_string()])
}

/// ISO 8601.
fn iso(date: Date) -> String {
    date32_to_datetime(date).map(|d| d.date().to_string()).unwrap_or_default()
}

fn cents(amount: f64) -> f64 {
    (amount * 100.0).round() / 100.0
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Unshipped {
    order: i64,
    revenue: f64,
    date: String,
    priority: i32,
}

/// TPC-H query 3: the ten unshipped orders of one market segment with the highest revenue.
pub fn query_3(env: &Env, folder: &Path) -> Result<DataStream<Unshipped>> {
    #[derive(Clone, Serialize, Deserialize)]
    struct Customer {
        c_custkey: i64,
        c_mktsegment: String,
    }
    #[derive(Clone, Serialize, Deserialize)]
    struct Order {
        o_orderkey: i64,
        o_custkey: i64,
        o_orderdate: Date,
        o_shippriority: i32,
    }
    #[derive(Clone, Serialize, Deserialize)]
    struct LineItem {
        l_orderkey: i64,
        l_extendedprice: f64,
        l_discount: f64,
        l_shipdate: Date,
    }
    let customers = read::<Customer>(env, folder, "customer")?.filter(|c| c.c_mktsegment == "BUILDING");
    let orders = read::<Order>(env, folder, "orders")?.filter(|o| o.o_orderdate < THAT_DAY);
    let items = read::<LineItem>(env, folder, "lineitem")?.filter(|l| l.l_shipdate > THAT_DAY);
    let theirs = orders.key_by(|o| o.o_custkey).join(&customers.key_by(|c| c.c_custkey)).inner(|order, _| order);
    let sales = items.key_by(|l| l.l_orderkey).join(&theirs.key_by(|o| o.o_orderkey)).inner(|item, order| {
        let revenue = item.l_extendedprice * (1.0 - item.l_discount);
        (order.o_orderkey, order.o_orderdate, order.o_shippriority, revenue)
    });
    let revenues = sales.key_by(|s| (s.0, s.1, s.2)).sum(|s| s.3);
    let best = revenues.top_by(10, |((_, date, _), revenue)| (Descending(*revenue), *date));
    Ok(best.map(|((order, date, priority), revenue)| Unshipped { order, revenue: cents(revenue), date: iso(date), priority }))
}

#[derive(Clone, Serialize, Deserialize)]
struct LineItem {
    l_orderkey: i64,
    l_quantity: f64,
    l_extendedprice: f64,
    l_discount: f64,
    l_commitdate: Date,
    l_receiptdate: Date,
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    o_orderkey: i64,
    o_custkey: i64,
    o_totalprice: f64,
    o_orderdate: Date,
    o_orderpriority: String,
    o_clerk: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Customer {
    c_custkey: i64,
    c_name: String,
    c_phone: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct CustomerRevenue {
    customer: String,
    phone: String,
    revenue: f64,
    quantity: f64,
    items: u64,
    late: u64,
    urgent: u64,
    largest_order: f64,
    its_date: String,
    its_clerk: u32,
}

/// All line items joined with all orders, what they say of each customer, and all customers by revenue.
pub fn revenue_by_customer(env: &Env, folder: &Path) -> Result<DataStream<CustomerRevenue>> {
    let items = read::<LineItem>(env, folder, "lineitem")?;
    let orders = read::<Order>(env, folder, "orders")?;
    let customers = read::<Customer>(env, folder, "customer")?;
    let sold = items.key_by(|l| l.l_orderkey).join(&orders.key_by(|o| o.o_orderkey)).inner(|item, order| (item, order));
    let summaries = sold.key_by(|(_, order)| order.o_custkey).aggregate(Summarize);
    let named = summaries.key_by(|s| s.0).join(&customers.key_by(|c| c.c_custkey)).inner(|(_, summary), customer| {
        let largest = summary.largest;
        CustomerRevenue {
            customer: customer.c_name,
            phone: customer.c_phone,
            revenue: cents(summary.revenue),
            quantity: summary.quantity,
            items: summary.items,
            late: summary.late,
            urgent: summary.urgent,
            largest_order: largest.price,
            its_date: iso(largest.date),
            its_clerk: largest.clerk,
        }
    });
    Ok(named.sort_by(|c| (Descending(c.revenue), c.customer.clone())))
}

/// What the items of one customer's orders come to.
#[derive(Clone)]
struct Summarize;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Summary {
    revenue: f64,
    quantity: f64,
    items: u64,
    late: u64,
    urgent: u64,
    largest: Largest,
}

/// The order with the highest price; of two, the older. All of it is of fixed width, so that a state is changed in place.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Largest {
    price: f64,
    date: Date,
    clerk: u32,
}

impl Largest {
    fn is_below(&self, price: f64, date: Date) -> bool {
        (self.price, -self.date) < (price, -date)
    }
}

/// 951 of `Clerk#000000951`.
fn clerk_number(clerk: &str) -> u32 {
    clerk.rsplit('#').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

impl Aggregator<(LineItem, Order)> for Summarize {
    type Accumulator = Summary;
    type Output = Summary;

    fn create(&self) -> Summary {
        Summary::default()
    }

    fn add(&self, summary: &mut Summary, (item, order): (LineItem, Order)) {
        summary.revenue += item.l_extendedprice * (1.0 - item.l_discount);
        summary.quantity += item.l_quantity;
        summary.items += 1;
        summary.late += u64::from(item.l_receiptdate > item.l_commitdate);
        summary.urgent += u64::from(order.o_orderpriority.starts_with("1-"));
        let (price, date) = (order.o_totalprice, order.o_orderdate);
        if summary.largest.is_below(price, date) {
            summary.largest = Largest { price, date, clerk: clerk_number(&order.o_clerk) };
        }
    }

    fn merge(&self, summary: &mut Summary, other: Summary) {
        summary.revenue += other.revenue;
        summary.quantity += other.quantity;
        summary.items += other.items;
        summary.late += other.late;
        summary.urgent += other.urgent;
        if summary.largest.is_below(other.largest.price, other.largest.date) {
            summary.largest = other.largest;
        }
    }

    fn finish(&self, summary: Summary) -> Summary {
        summary
    }
}
