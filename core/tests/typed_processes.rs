//! Typed jobs and tables in two real processes over loopback: every process gets the results that one process alone gets.

mod budgets;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use budgets::sorted;
use fluvial_core::{Config, Data, DataStream, Env, JoinStrategy, Result, Table};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const HOSTS: &str = "FLUVIAL_TEST_HOSTS";
const RESULTS: &str = "FLUVIAL_TEST_RESULTS";

/// A record with something of everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: Option<u32>,
    lines: Vec<(String, i64)>,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum State {
    Open,
    Shipped { day: u16 },
}

fn order(id: u64) -> Order {
    let state = if id.is_multiple_of(3) { State::Open } else { State::Shipped { day: (id % 365) as u16 } };
    let customer = (!id.is_multiple_of(17)).then_some((id * 7 % 500) as u32);
    Order { id, customer, lines: (0..id % 4).map(|l| (format!("item {}", id * l % 90), l as i64 - 1)).collect(), state }
}

/// What each job gave, by the job's name.
type Results = Vec<(String, String)>;

fn jobs(env: &Env) -> Result<Results> {
    let mut results = Results::new();
    let orders = env.generate(6000, order);
    let customers = env.from_collection((0..400u32).map(|c| (c, format!("customer {c}"))));
    let by_customer = orders.key_by(|o| o.customer);
    let named = customers.key_by(|c| Some(c.0));

    any(&mut results, "count", &by_customer.count())?;
    any(&mut results, "sum", &by_customer.sum(|o| o.lines.iter().map(|l| l.1).sum::<i64>()))?;
    any(&mut results, "reduce", &by_customer.reduce(|a, b| if a.id < b.id { a } else { b }))?;
    any(&mut results, "reduce_group", &by_customer.reduce_group(|k, g, out| out.push((*k, g.map(|o| o.id).max()))))?;
    any(&mut results, "words", &orders.flat_map(|o| o.lines).key_by_ref(|l| l.0.as_str()).count())?;
    any(&mut results, "distinct", &orders.map(|o| o.state).distinct())?;
    for strategy in [JoinStrategy::Auto, JoinStrategy::HashBuildLeft, JoinStrategy::BroadcastRight, JoinStrategy::SortMerge] {
        let join = || by_customer.join(&named).strategy(strategy);
        any(&mut results, &format!("{strategy:?} inner join"), &join().inner(|o, c| (o.id, c.1)))?;
        any(&mut results, &format!("{strategy:?} full join"), &join().full(|o, c| (o.map(|o| o.id), c)))?;
        any(&mut results, &format!("{strategy:?} anti join"), &join().anti())?;
    }
    any(&mut results, "co_group", &by_customer.co_group(&named, |k, o, c, out| out.push((*k, o.count() as u64, c.next()))))?;
    any(&mut results, "cross", &orders.filter(|o| o.id < 40).cross(&customers, |o, c| (o, c.0)))?;
    let beside = orders.with_broadcast(&customers.filter(|c| c.0 < 9));
    any(&mut results, "broadcast", &beside.map(|o, few| few.iter().filter(|c| Some(c.0) > o.customer).count() as u64))?;
    any(&mut results, "union", &orders.map(|o| o.id).union(&customers.map(|c| u64::from(c.0))))?;
    any(&mut results, "partition_by_range", &orders.partition_by_range(|o| o.customer))?;
    any(&mut results, "rebalance", &orders.clone().rebalance().map(|o| o.id))?;
    let key = |o: &Order| (o.customer, o.id);
    in_order(&mut results, "sort", &orders.sort_by(key))?;
    in_order(&mut results, "top", &orders.top_by(700, key))?;
    in_order(&mut results, "limit", &orders.sort_by(key).limit(2500))?;
    in_order(&mut results, "zip_with_index", &orders.sort_by(key).zip_with_index())?;
    // A pipeline: shuffled, joined, shuffled again, sorted.
    let sums = by_customer.join(&named).inner(|o, c| (c.1, o.lines.len() as u64)).key_by(|p| p.0.clone()).sum(|p| p.1);
    in_order(&mut results, "pipeline", &sums.sort_by(|s| (s.1, s.0.clone())))?;
    results.push(("count of all".into(), orders.count()?.to_string()));

    let failing = orders.map(|o| {
        assert!(o.id != 4321, "no such luck");
        o
    });
    results.push(("failing".into(), failing.key_by(|o| o.id).count().collect().unwrap_err().to_string()));

    let t = table(env)?;
    let grouped = t.group_by("k")?.aggregate("count(*) as n, sum(v), min(s), count(distinct s) as d, count(distinct v) as e")?;
    results.push(("table group_by".into(), grouped.sort("k")?.to_text()?));
    let joined = t.join(&table(env)?.rename("k", "rk")?.rename("v", "rv")?.rename("s", "rs")?, "v = rk")?;
    results.push(("table join".into(), joined.all()?.sort("k, v, s, rk, rv, rs")?.to_text()?));
    results.push(("table distinct".into(), t.select("k, s")?.distinct()?.sort("k nulls first, s desc")?.to_text()?));
    results.push(("table partitions".into(), t.partition_by_hash("s")?.sort_partition("k")?.count()?.to_string()));
    Ok(results)
}

fn any<T: Data + Ord + Debug>(results: &mut Results, name: &str, stream: &DataStream<T>) -> Result<()> {
    results.push((name.to_owned(), format!("{:?}", sorted(stream.collect()?))));
    Ok(())
}

fn in_order<T: Data + Debug>(results: &mut Results, name: &str, stream: &DataStream<T>) -> Result<()> {
    results.push((name.to_owned(), format!("{:?}", stream.collect()?)));
    Ok(())
}

/// Columns `k`, `v` and `s`, in several parts.
fn table(env: &Env) -> Result<Table> {
    let batch = |from: i64| {
        let rows = from..from + 100;
        let k: ArrayRef = Arc::new(rows.clone().map(|i| (i % 11 != 0).then_some(i % 60)).collect::<Int64Array>());
        let v: ArrayRef = Arc::new(rows.clone().map(|i| Some(i * i % 97)).collect::<Int64Array>());
        let s: ArrayRef = Arc::new(rows.map(|i| (i % 7 != 0).then(|| format!("{}", i % 13))).collect::<StringArray>());
        RecordBatch::try_from_iter_with_nullable([("k", k, true), ("v", v, true), ("s", s, true)])
    };
    let batches = (0..9).map(|part| batch(part * 100)).collect::<std::result::Result<Vec<_>, _>>()?;
    env.from_batches(batches[0].schema(), batches)
}

fn config(hosts: &[String], process: usize) -> Config {
    // Barriers between the processes, none where one is alone: they change nothing.
    let barrier_interval = (!hosts.is_empty()).then_some(Duration::from_millis(3));
    Config { threads: 2, memory: 24 << 20, hosts: hosts.to_vec(), process, barrier_interval, ..Config::default() }
}

/// The second process of the test below; an empty test otherwise.
#[test]
fn second() {
    let (Ok(hosts), Ok(path)) = (std::env::var(HOSTS), std::env::var(RESULTS)) else { return };
    let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
    let results = jobs(&Env::new(config(&hosts, 1))).unwrap();
    std::fs::write(path, serde_json::to_vec(&results).unwrap()).unwrap();
}

#[test]
fn two_processes_give_what_one_gives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    let listeners: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<String> = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
    drop(listeners);
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second", "--nocapture"])
        .env(HOSTS, hosts.join(","))
        .env(RESULTS, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let env = Env::new(config(&hosts, 0));
    let first = jobs(&env).unwrap();
    env.close();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success());
    let second: Results = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let alone = jobs(&Env::new(config(&[], 0))).unwrap();
    assert_eq!(alone.len(), first.len());
    for ((one, of_first), of_second) in alone.iter().zip(&first).zip(&second) {
        assert!(one == of_first, "{}: alone {}, as the first of two {}", one.0, one.1, of_first.1);
        assert!(one == of_second, "{}: alone {}, as the second of two {}", one.0, one.1, of_second.1);
    }
}
