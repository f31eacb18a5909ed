//! A user's function that panics or fails ends the job with one error that names the operator, soon, whatever the function is
//! for; the environment runs the next job as if nothing had been, and no thread is left behind.

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use fluvial_core::{Aggregator, Config, DataStream, Env, Error, Result, Table};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROWS: u64 = 20_000;

/// Panics at one record of many, late enough for all workers to be busy.
fn fuse(n: u64) -> u64 {
    assert!(n != ROWS / 2 + 7, "no such luck");
    n
}

type Failing = Box<dyn Fn(&Env) -> Result<()>>;

/// A job by the name of the operator that fails.
fn job<T: fluvial_core::Data>(
    operator: &'static str,
    build: impl Fn(&DataStream<u64>) -> DataStream<T> + 'static,
) -> (&'static str, Failing) {
    (operator, Box::new(move |env| build(&env.sequence(0..ROWS).name("numbers")).collect().map(drop)))
}

fn table_job(operator: &'static str, build: impl Fn(&Table) -> Result<Table> + 'static) -> (&'static str, Failing) {
    let run = move |env: &Env| {
        let parts = (0..ROWS as i64 / 1000).map(|p| p * 1000..(p + 1) * 1000);
        let batch = |part| ("n", Arc::new(Int64Array::from_iter_values(part)) as ArrayRef);
        let batches: Vec<_> = parts.map(|part| RecordBatch::try_from_iter([batch(part)]).unwrap()).collect();
        build(&env.from_batches(batches[0].schema(), batches)?)?.collect().map(drop)
    };
    (operator, Box::new(run))
}

#[derive(Clone)]
struct Broken(&'static str);

impl Broken {
    fn fuse(&self, here: &str, n: u64) -> u64 {
        if self.0 == here { fuse(n) } else { n }
    }
}

impl Aggregator<u64> for Broken {
    type Accumulator = u64;
    type Output = u64;
    fn create(&self) -> u64 {
        0
    }
    fn add(&self, a: &mut u64, n: u64) {
        *a = self.fuse("add", n).max(*a);
    }
    fn merge(&self, a: &mut u64, other: u64) {
        *a = self.fuse("merge", other).max(*a);
    }
    fn finish(&self, a: u64) -> u64 {
        self.fuse("finish", a)
    }
}

/// A record that cannot always be serialized, or read again.
#[derive(Clone)]
struct Brittle(u64, bool);

impl Serialize for Brittle {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        (if self.1 { fuse(self.0) } else { self.0 }, self.1).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Brittle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let (n, writing) = <(u64, bool)>::deserialize(deserializer)?;
        Ok(Self(if writing { n } else { fuse(n) }, writing))
    }
}

fn jobs() -> Vec<(&'static str, Failing)> {
    let generate = |env: &Env| env.generate(ROWS, fuse).name("made").collect().map(drop);
    let parts = |env: &Env| {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let open = |part| {
            fuse(ROWS / 2 + part as u64);
            Ok(std::iter::empty())
        };
        env.table_from_parts(schema, 20, open).collect().map(drop)
    };
    vec![
        ("made", Box::new(generate) as Failing),
        ("parts", Box::new(parts)),
        job("map", |s| s.map(fuse)),
        job("filter", |s| s.filter(|n| fuse(*n) > 0)),
        job("flat_map", |s| s.flat_map(|n| [fuse(n)])),
        job("flat_map", |s| s.flat_map(|n| (n..n + 2).map(fuse))),
        job("inspect", |s| s.inspect(|n| assert!(fuse(*n) < ROWS))),
        job("second", |s| s.map(|n| n).name("first").map(fuse).name("second")),
        job("map_partition", |s| s.map_partition(|part| part.map(fuse))),
        job("map_partition", |s| s.map_partition(|part| std::iter::once(part.map(fuse).sum::<u64>()))),
        // A key is found where records leave their worker.
        job("numbers", |s| s.partition_by_hash(|n| fuse(*n)).map(|n| n)),
        // Both look at the key, at the same time.
        job("sample|range", |s| s.partition_by_range(|n| fuse(*n))),
        job("sort", |s| s.sort_by(|n| fuse(*n))),
        job("top", |s| s.top_by(10, |n| fuse(*n))),
        job("combine", |s| s.key_by(|n| fuse(*n)).count()),
        job("combine", |s| s.key_by(|n| n % 10).reduce(|a, b| fuse(a).max(fuse(b)))),
        job("combine", |s| s.key_by(|n| *n).aggregate(Broken("add"))),
        job("aggregate", |s| s.key_by(|n| *n).aggregate(Broken("finish"))),
        job("combine", |s| s.key_by(|n| n % 10).sum(|n| fuse(*n))),
        job("combine", |s| s.key_by(|n| n % 10).min_by(|n| fuse(*n))),
        job("numbers", |s| s.key_by(|n| fuse(*n)).reduce_group(|k, _, out| out.push(*k))),
        job("reduce_group", |s| s.key_by(|n| *n).reduce_group(|k, _, out| out.push(fuse(*k)))),
        job("reduce_group", |s| s.key_by(|n| n % 10).fold(0, |a, n| *a = fuse(n))),
        job("co_group", |s| s.key_by(|n| *n).co_group(&s.key_by(|n| *n), |k, _, _, out| out.push(fuse(*k)))),
        job("join", |s| s.key_by(|n| *n).join(&s.key_by(|n| *n)).inner(|l, _| fuse(l))),
        job("cross", |s| s.cross(&s.filter(|n| *n < 2), |l, _| fuse(l))),
        job("map", |s| s.with_broadcast(&s.filter(|n| *n < 2)).map(|n, _| fuse(n))),
        job("sort", |s| s.map(|n| Brittle(n, true)).sort_by(|b| b.0).map(|b| b.0)),
        job("sort", |s| s.map(|n| Brittle(n, false)).sort_by(|b| b.0).map(|b| b.0)),
        job("try_map", |s| s.try_map(|n| if n == 77 { Err("no such luck") } else { Ok(n) })),
        table_job("filter", |t| {
            Ok(t.filter(|batch| {
                fuse(ROWS / 2 + batch.num_rows() as u64 - 993);
                Ok(arrow_array::BooleanArray::from(vec![true; batch.num_rows()]))
            }))
        }),
        table_job("with_column", |t| Ok(t.with_column("m", DataType::Int64, |_| Err(Error::User("no such luck".into()))))),
        table_job("map_batches", |t| {
            Ok(t.map_batches(t.schema().clone(), |batch| {
                fuse(ROWS / 2 + 7);
                Ok(batch)
            }))
        }),
    ]
}

/// Threads of this process that are named after the runtime's or the spill files'.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.unwrap().path().join("comm"));
    tasks.filter_map(|task| name(task).ok()).filter(|n| n.starts_with("timely:") || n.starts_with("spill-io")).count()
}

/// One test, so that the threads counted are its own.
#[cfg(target_os = "linux")]
#[test]
fn a_panic_is_an_error_that_names_the_operator() {
    for workers in 1..=3 {
        let env = Env::new(Config { threads: workers, memory: 32 << 20, ..Config::default() });
        for (i, (operator, run)) in jobs().into_iter().enumerate() {
            // One worker sends nothing to others.
            if workers == 1 && operator == "numbers" {
                continue;
            }
            let what = format!("job {i} of `{operator}`, {workers} workers");
            let start = Instant::now();
            let error = run(&env).expect_err(&what);
            assert!(start.elapsed() < Duration::from_secs(2), "{what} took {:?}", start.elapsed());
            let Error::Operator { operator: named, .. } = &error else { panic!("{what}: {error}") };
            assert!(operator.split('|').any(|o| named.contains(o)), "{what}: {error}");
            assert!(error.to_string().contains("no such luck") && !error.to_string().contains('\n'), "{what}: {error}");
        }
        assert_eq!(env.sequence(0..ROWS).sort_by(|n| *n).count().unwrap(), ROWS);
        env.close();
        assert_eq!(threads(), 0);
    }
}
