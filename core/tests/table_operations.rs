//! Every operation on tables against a plain model, for one to three workers, with memory to spare and with the least.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use fluvial_core::io::PredicateOp;
use fluvial_core::{Config, Env, JoinStrategy, JoinType, MINIMUM_MEMORY_PER_WORKER, Table};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Row = (Option<i64>, Option<String>, i64);

fn environments() -> Vec<Env> {
    let mut all = Vec::new();
    for threads in 1..=3 {
        for memory in [64 << 20, MINIMUM_MEMORY_PER_WORKER * threads] {
            all.push(Env::new(Config { threads, memory, ..Config::default() }));
        }
    }
    all
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((prop::option::weighted(0.8, 0i64..12), prop::option::weighted(0.8, "[a-c]{0,4}"), -9i64..9), 0..200)
}

fn few() -> ProptestConfig {
    ProptestConfig { cases: 4, ..ProptestConfig::default() }
}

/// Columns `{p}k`, `{p}s`, `{p}v`, in batches of some rows.
fn table(env: &Env, rows: &[Row], p: &str) -> Table {
    let batch = |rows: &[Row]| {
        let k: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>());
        let s: ArrayRef = Arc::new(rows.iter().map(|r| r.1.clone()).collect::<StringArray>());
        let v: ArrayRef = Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>());
        let columns = [("k", k), ("s", s), ("v", v)].map(|(n, c)| (format!("{p}{n}"), c, true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    env.from_batches(batch(&[]).schema(), rows.chunks(17).map(batch).collect()).unwrap()
}

fn ints(batch: &RecordBatch, column: usize) -> Vec<Option<i64>> {
    batch.column(column).as_primitive::<Int64Type>().iter().collect()
}

/// Rows of columns `k`, `s`, `v` that start at `from`.
fn rows_at(batches: &[RecordBatch], from: usize) -> Vec<(Option<i64>, Option<String>, Option<i64>)> {
    let mut rows = Vec::new();
    for batch in batches {
        let texts = batch.column(from + 1).as_string::<i32>();
        for (i, (k, v)) in ints(batch, from).into_iter().zip(ints(batch, from + 2)).enumerate() {
            rows.push((k, texts.is_valid(i).then(|| texts.value(i).to_owned()), v));
        }
    }
    rows
}

fn got(table: &Table) -> Vec<Row> {
    let batches = table.collect().unwrap();
    rows_at(&batches, 0).into_iter().map(|(k, s, v)| (k, s, v.unwrap())).collect()
}

fn sorted<T: Ord>(mut rows: Vec<T>) -> Vec<T> {
    rows.sort();
    rows
}

/// Nulls last.
fn nulls_last<T>(value: &Option<T>) -> (bool, &Option<T>) {
    (value.is_none(), value)
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn rows_as_they_are(rows in rows(), n in 0u64..250) {
        let mut ordered = rows.clone();
        ordered.sort_by(|a, b| (nulls_last(&a.0), nulls_last(&a.1), a.2).cmp(&(nulls_last(&b.0), nulls_last(&b.1), b.2)));
        for env in environments() {
            let t = table(&env, &rows, "");
            let all = sorted(rows.clone());
            prop_assert_eq!(t.count().unwrap(), rows.len() as u64);
            prop_assert_eq!(&got(&t), &rows);
            prop_assert_eq!(&sorted(got(&t.partition_by_hash("k, s").unwrap())), &all);
            let twice = sorted([rows.clone(), rows.clone()].concat());
            prop_assert_eq!(&sorted(got(&t.union(&t).unwrap())), &twice);
            let once: BTreeSet<Row> = rows.iter().cloned().collect();
            prop_assert_eq!(&sorted(got(&t.distinct().unwrap())), &once.into_iter().collect::<Vec<_>>());

            let sort = t.sort("k, s, v").unwrap();
            prop_assert_eq!(&got(&sort), &ordered);
            let first: Vec<Row> = ordered.iter().take(n as usize).cloned().collect();
            prop_assert_eq!(&got(&sort.limit(n).unwrap()), &first);
            prop_assert_eq!(&got(&t.top("k, s, v", n).unwrap()), &first);
            // What was read keeps its order.
            let first: Vec<Row> = rows.iter().take(n as usize).cloned().collect();
            prop_assert_eq!(&got(&t.limit(n).unwrap()), &first);
            let numbered = sort.zip_with_index("i").unwrap();
            let batches = numbered.collect().unwrap();
            let numbers: Vec<u64> = batches.iter().flat_map(|b| b.column(3).as_primitive::<UInt64Type>().values().to_vec()).collect();
            prop_assert_eq!(numbers, (0..rows.len() as u64).collect::<Vec<_>>());
            prop_assert_eq!(&got(&numbered), &ordered);

            let value: ArrayRef = Arc::new(Int64Array::from(vec![5]));
            let few = t.filter_by("k", PredicateOp::Lt, value).unwrap();
            prop_assert_eq!(&got(&few), &rows.iter().filter(|r| r.0.is_some_and(|k| k < 5)).cloned().collect::<Vec<_>>());
            let odd = t.filter(|batch| {
                let odd = batch.column(2).as_primitive::<Int64Type>().iter().map(|v| v.map(|v| v % 2 != 0));
                Ok(odd.collect())
            });
            prop_assert_eq!(&got(&odd), &rows.iter().filter(|r| r.2 % 2 != 0).cloned().collect::<Vec<_>>());
            let doubled = |batch: &RecordBatch| -> ArrayRef {
                Arc::new(batch.column(2).as_primitive::<Int64Type>().unary::<_, Int64Type>(|v| 2 * v))
            };
            let computed = t.with_column("v", DataType::Int64, move |batch| Ok(doubled(batch)));
            prop_assert_eq!(&got(&computed), &rows.iter().map(|r| (r.0, r.1.clone(), 2 * r.2)).collect::<Vec<_>>());
            let added = t.with_column("w", DataType::Int64, move |batch| Ok(doubled(batch))).select("k, s, w as v").unwrap();
            prop_assert_eq!(&got(&added), &got(&computed));
            let halves = t.map_batches(t.schema().clone(), |batch| Ok(batch.slice(0, batch.num_rows() / 2)));
            prop_assert_eq!(halves.count().unwrap(), rows.chunks(17).map(|c| c.len() as u64 / 2).sum::<u64>());
            let parts = t.partition_by_hash("k").unwrap().sort_partition("k desc, s nulls first").unwrap();
            prop_assert_eq!(&sorted(got(&parts)), &all);
            let renamed = t.rename("v", "w").unwrap().drop_columns("k").unwrap();
            prop_assert_eq!(renamed.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["s", "w"]);
            prop_assert_eq!(renamed.count().unwrap(), rows.len() as u64);
        }
    }

    #[test]
    fn cross(left in rows(), right in prop::collection::vec((Just(None), Just(None), 0i64..9), 0..20)) {
        for env in environments() {
            let product = table(&env, &left, "").cross(&table(&env, &right, "r")).unwrap();
            let batches = product.collect().unwrap();
            let pairs = rows_at(&batches, 0).into_iter().zip(rows_at(&batches, 3)).map(|(l, r)| (l, r.2)).collect::<Vec<_>>();
            let expected = left.iter().flat_map(|l| right.iter().map(|r| ((l.0, l.1.clone(), Some(l.2)), Some(r.2)))).collect::<Vec<_>>();
            prop_assert_eq!(sorted(pairs), sorted(expected));
        }
    }

    #[test]
    fn groups(rows in rows()) {
        let mut groups: BTreeMap<Option<i64>, Vec<Row>> = BTreeMap::new();
        rows.iter().for_each(|r| groups.entry(r.0).or_default().push(r.clone()));
        let distinct = |g: &[Row]| g.iter().filter_map(|r| r.1.clone()).collect::<BTreeSet<_>>().len() as i64;
        type Out = (Option<i64>, [Option<i64>; 7], Option<u64>);
        let model = |k: Option<i64>, g: &[Row]| -> Out {
            let values = || g.iter().map(|r| r.2);
            let sum = (!g.is_empty()).then(|| values().sum::<i64>());
            let numbers = [
                Some(g.len() as i64),
                Some(g.iter().filter(|r| r.1.is_some()).count() as i64),
                Some(distinct(g)),
                Some(values().collect::<BTreeSet<_>>().len() as i64),
                sum,
                values().min(),
                values().max(),
            ];
            (k, numbers, sum.map(|s| (s as f64 / g.len() as f64).to_bits()))
        };
        let aggregates = "count(*) as n, count(s), count(distinct s) as d, count(distinct v) as e, sum(v), min(v), max(v), avg(v)";
        for env in environments().into_iter().filter(|e| e.config().memory >= 4 * MINIMUM_MEMORY_PER_WORKER * e.config().threads) {
            let t = table(&env, &rows, "");
            for by in ["k", ""] {
                let result = t.group_by(by).unwrap().aggregate(aggregates).unwrap();
                let from = usize::from(!by.is_empty());
                let mut found: Vec<Out> = Vec::new();
                for batch in result.collect().unwrap() {
                    let columns: Vec<Vec<Option<i64>>> = (0..from + 7)
                        .map(|c| {
                            let cast = arrow::compute::cast(batch.column(c), &arrow_schema::DataType::Int64).unwrap();
                            cast.as_primitive::<Int64Type>().iter().collect()
                        })
                        .collect();
                    let means = batch.column(from + 7).as_primitive::<Float64Type>();
                    let row = |i: usize| {
                        let key = (from == 1).then(|| columns[0][i]).flatten();
                        let mean = means.is_valid(i).then(|| means.value(i).to_bits());
                        (key, std::array::from_fn(|c| columns[from + c][i]), mean)
                    };
                    found.extend((0..batch.num_rows()).map(row));
                }
                let expected: Vec<Out> = match by {
                    "" => vec![model(None, &rows)],
                    _ => groups.iter().map(|(k, g)| model(*k, g)).collect(),
                };
                prop_assert_eq!(sorted(found), sorted(expected), "by `{}`, {} workers", by, env.config().threads);
            }
        }
    }

    #[test]
    fn groups_in_the_least_memory(rows in rows()) {
        let mut sums: BTreeMap<Option<i64>, (i64, i64)> = BTreeMap::new();
        for row in &rows {
            let sum = sums.entry(row.0).or_default();
            *sum = (sum.0 + row.2, sum.1 + 1);
        }
        let expected: Vec<_> = sums.into_iter().map(|(k, (sum, n))| (k, Some(sum), Some(n))).collect();
        for env in environments() {
            let groups = table(&env, &rows, "").group_by("k").unwrap().aggregate("sum(v), count(*)").unwrap();
            let mut found = Vec::new();
            for batch in groups.collect().unwrap() {
                found.extend(ints(&batch, 0).into_iter().zip(ints(&batch, 1)).zip(ints(&batch, 2)).map(|((k, s), n)| (k, s, n)));
            }
            prop_assert_eq!(sorted(found), expected.clone());
        }
    }

    #[test]
    fn joins(left in rows(), right in prop::collection::vec((prop::option::weighted(0.8, 0i64..15), prop::option::of("[a-c]{0,2}"), 0i64..9), 0..50)) {
        let matches = |l: &Row, r: &Row| l.0.is_some() && l.0 == r.0;
        type Half = (Option<i64>, Option<String>, Option<i64>);
        let half = |r: &Row| -> Half { (r.0, r.1.clone(), Some(r.2)) };
        let none: Half = (None, None, None);
        let mut pairs: Vec<(Half, Half)> = Vec::new();
        for l in &left {
            pairs.extend(right.iter().filter(|r| matches(l, r)).map(|r| (half(l), half(r))));
        }
        let (known, lonely): (Vec<&Row>, Vec<&Row>) = left.iter().partition(|l| right.iter().any(|r| matches(l, r)));
        let lonely_left: Vec<_> = lonely.iter().map(|l| (half(l), none.clone())).collect();
        let lonely_right: Vec<_> =
            right.iter().filter(|r| !left.iter().any(|l| matches(l, r))).map(|r| (none.clone(), half(r))).collect();
        let semi: Vec<_> = known.iter().map(|l| (half(l), none.clone())).collect();
        let cases = [
            (JoinType::Inner, pairs.clone()),
            (JoinType::Left, [pairs.clone(), lonely_left.clone()].concat()),
            (JoinType::Right, [pairs.clone(), lonely_right.clone()].concat()),
            (JoinType::Full, [pairs, lonely_left.clone(), lonely_right].concat()),
            (JoinType::Semi, semi),
            (JoinType::Anti, lonely_left),
        ];
        let strategies = [
            JoinStrategy::Auto,
            JoinStrategy::HashBuildLeft,
            JoinStrategy::HashBuildRight,
            JoinStrategy::BroadcastLeft,
            JoinStrategy::BroadcastRight,
        ];
        for env in environments() {
            let (l, r) = (table(&env, &left, ""), table(&env, &right, "r"));
            for (kind, expected) in &cases {
                for strategy in strategies {
                    let join = || l.join(&r, "k = rk").unwrap().kind(*kind).strategy(strategy);
                    let batches = join().all().unwrap().collect().unwrap();
                    let rights = match kind {
                        JoinType::Semi | JoinType::Anti => None,
                        _ => Some(rows_at(&batches, 3)),
                    };
                    let lefts = rows_at(&batches, 0);
                    let rights = rights.unwrap_or_else(|| vec![none.clone(); lefts.len()]);
                    let found: Vec<_> = lefts.into_iter().zip(rights).collect();
                    let workers = env.config().threads;
                    prop_assert_eq!(sorted(found), sorted(expected.clone()), "{:?} {:?}, {} workers", kind, strategy, workers);
                    prop_assert_eq!(join().count().unwrap(), expected.len() as u128, "count {:?} {:?}, {} workers", kind, strategy, workers);
                }
            }
        }
    }
}

#[test]
fn a_read_filters_while_it_reads() {
    let folder = std::env::temp_dir().join(format!("fluvial-table-operations-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rows.csv");
    std::fs::write(&file, "a,b,c\n1,x,10\n2,y,20\n3,z,30\n").unwrap();
    let env = Env::default();
    let read = env.read(&[file.to_str().unwrap()]).unwrap();
    // After narrowing the columns have other places than in the file.
    let narrowed = read.select("c, a").unwrap();
    let value: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    let kept = narrowed.filter_by("a", PredicateOp::GtEq, value.clone()).unwrap().select("c").unwrap();
    let found: Vec<_> = kept.collect().unwrap().iter().flat_map(|b| ints(b, 0)).collect();
    assert_eq!(found, [Some(20), Some(30)]);
    assert!(kept.explain().to_string().contains("1 predicates pushed down"));
    assert_eq!(kept.count().unwrap(), 2);
    assert!(read.filter_by("nowhere", PredicateOp::Eq, value).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}
