//! Every operation on tables that holds rows, on several times the memory that its plan asks for: it spills, and says what a
//! plain model says.

mod budgets;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use budgets::{WORKERS, least, sorted, spilled};
use fluvial_core::{Env, JoinStrategy, JoinType, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ROWS: i64 = 24_000;
const BATCH: i64 = 1000;

/// A key of many or null, a number, the length of a text and the sum of a list.
type Brief = (Option<i64>, i64, usize, i64);

fn mix(i: i64) -> i64 {
    (i.wrapping_mul(0x1e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0x3f58_476d_1ce4_e5b9) as u64 >> 20) as i64
}

fn key(i: i64) -> Option<i64> {
    (i % 97 != 0).then(|| mix(i / 2))
}

fn brief(i: i64) -> Brief {
    (key(i), i, 640, i)
}

fn schema(p: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(format!("{p}k"), DataType::Int64, true),
        Field::new(format!("{p}i"), DataType::Int64, false),
        Field::new(format!("{p}s"), DataType::Utf8, false),
        Field::new(format!("{p}l"), DataType::new_list(DataType::Int64, true), true),
    ]))
}

/// Rows with these numbers, in columns `{p}k`, `{p}i`, `{p}s` and `{p}l`.
fn table(env: &Env, p: &str, rows: i64, number: impl Fn(i64) -> i64 + Copy + Send + Sync + 'static) -> Table {
    let (schema, made) = (schema(p), schema(p));
    env.table_from_parts(schema, (rows / BATCH) as usize, move |part| {
        let numbers = (0..BATCH).map(|i| number(part as i64 * BATCH + i));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(numbers.clone().map(key).collect::<Int64Array>()),
            Arc::new(numbers.clone().collect::<Int64Array>()),
            Arc::new(numbers.clone().map(|i| Some(format!("{:016x}", mix(i)).repeat(40))).collect::<StringArray>()),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(numbers.map(|i| Some(vec![Some(i - 1), None, Some(1)])))),
        ];
        Ok(std::iter::once(Ok(RecordBatch::try_new(made.clone(), columns)?)))
    })
}

fn plain(env: &Env) -> Table {
    table(env, "", ROWS, |i| i)
}

/// Four columns from one on, each row brief; a row of nulls is none.
fn briefs(batches: &[RecordBatch], from: usize) -> Vec<Option<Brief>> {
    let mut rows = Vec::new();
    for batch in batches {
        let numbers = |c: usize| batch.column(from + c).as_primitive::<Int64Type>();
        let (texts, lists) = (batch.column(from + 2).as_string::<i32>(), batch.column(from + 3).as_list::<i32>());
        for i in 0..batch.num_rows() {
            let row = || {
                let list = lists.value(i);
                let list: i64 = list.as_primitive::<Int64Type>().iter().flatten().sum();
                let key = numbers(0).is_valid(i).then(|| numbers(0).value(i));
                (key, numbers(1).value(i), texts.value(i).len(), list)
            };
            rows.push(numbers(1).is_valid(i).then(row));
        }
    }
    rows
}

/// What the operation gives with each number of workers; `operator` spills.
fn runs(operator: &str, build: impl Fn(&Env) -> Table, check: impl Fn(&[RecordBatch], &str)) {
    let plan = build(&Env::default()).explain();
    for threads in WORKERS {
        let env = least(threads, &plan);
        let found = build(&env).collect().unwrap_or_else(|e| panic!("{operator}, {threads} workers: {e}"));
        check(&found, &format!("{operator}, {threads} workers"));
        assert!(spilled(&env, operator) > 0, "{operator} did not spill, {threads} workers: {:?}", env.last_report());
    }
}

#[test]
fn orders() {
    let mut ordered: Vec<Brief> = (0..ROWS).map(brief).collect();
    ordered.sort_by_key(|r| (r.0.is_none(), std::cmp::Reverse(r.0), r.1));
    let in_order = |operator: &str, build: &dyn Fn(Table) -> Table, expected: &[Brief]| {
        runs(
            operator,
            |env| build(plain(env)),
            |found, what| {
                assert!(briefs(found, 0).into_iter().flatten().eq(expected.iter().copied()), "{what}");
            },
        );
    };
    let by = "k desc, i";
    in_order("sort", &|t| t.sort(by).unwrap(), &ordered);
    let first = &ordered[..ordered.len() * 2 / 3];
    let n = first.len() as u64;
    in_order("top", &|t| t.top(by, n).unwrap(), first);
    in_order("limit", &|t| t.sort(by).unwrap().limit(n).unwrap(), first);
    in_order("zip_with_index", &|t| t.sort(by).unwrap().zip_with_index("n").unwrap(), &ordered);
    ordered.sort_by_key(|r| (r.0.is_some(), r.0, -r.1));
    in_order("sort", &|t| t.sort("k nulls first, i desc").unwrap(), &ordered);
    let expected = sorted(ordered);
    runs(
        "sort_partition",
        |env| plain(env).partition_by_hash("k").unwrap().sort_partition("k").unwrap(),
        |found, what| {
            assert!(sorted(briefs(found, 0)).into_iter().flatten().eq(expected.iter().copied()), "{what}");
        },
    );
}

#[test]
fn groupings() {
    let mut groups: BTreeMap<Option<i64>, Vec<i64>> = BTreeMap::new();
    (0..ROWS).for_each(|i| groups.entry(key(i)).or_default().push(i));
    let expected: Vec<_> = groups
        .iter()
        .map(|(k, g)| {
            (*k, [g.len() as i64, g.iter().sum(), g.len() as i64, g.iter().map(|i| i % 3).collect::<BTreeSet<_>>().len() as i64])
        })
        .collect();
    let by_key = |env: &Env| {
        let thirds = plain(env).with_column("third", DataType::Int64, |batch| {
            Ok(Arc::new(batch.column(1).as_primitive::<Int64Type>().unary::<_, Int64Type>(|i| i % 3)))
        });
        let aggregates = "count(*), sum(i), count(distinct s) as d, count(distinct third) as t, min(s), max(s)";
        thirds.group_by("k").unwrap().aggregate(aggregates).unwrap()
    };
    for operator in ["distinct", "aggregate"] {
        runs(operator, by_key, |found, what| {
            let mut all = Vec::new();
            for batch in found {
                let numbers: Vec<_> = (0..5).map(|c| batch.column(c).as_primitive::<Int64Type>()).collect();
                for i in 0..batch.num_rows() {
                    let key = numbers[0].is_valid(i).then(|| numbers[0].value(i));
                    all.push((key, std::array::from_fn(|c| numbers[c + 1].value(i))));
                }
            }
            assert!(sorted(all) == expected, "{what}");
        });
    }
    let counted =
        |env: &Env| plain(env).group_by("").unwrap().aggregate("count(distinct s) as s, count(distinct k) as k").unwrap();
    runs("distinct", counted, |found, what| {
        let numbers = |c: usize| found[0].column(c).as_primitive::<Int64Type>().value(0);
        let keys = groups.keys().flatten().count() as i64;
        assert_eq!((found.len(), numbers(0), numbers(1)), (1, ROWS, keys), "{what}");
    });
    let twice = |env: &Env| table(env, "", 2 * ROWS, |i| i % ROWS).select("k, s").unwrap().distinct().unwrap();
    runs("distinct", twice, |found, what| {
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS as usize, "{what}");
    });
}

#[test]
fn joins() {
    // Left numbers are keys of one row, right ones from a half on, each twice: on both sides some match nothing.
    let number = |i: i64| ROWS / 4 + i / 2;
    let lefts: BTreeSet<i64> = (0..ROWS / 2).collect();
    let rights: Vec<i64> = (0..ROWS / 2).map(number).collect();
    let pairs: Vec<_> = rights.iter().filter(|r| lefts.contains(r)).map(|r| (Some(*r), Some(*r))).collect();
    let some: BTreeSet<i64> = rights.iter().copied().collect();
    let lonely_left: Vec<_> = lefts.difference(&some).map(|l| (Some(*l), None)).collect();
    let lonely_right: Vec<_> = rights.iter().filter(|r| !lefts.contains(r)).map(|r| (None, Some(*r))).collect();
    let kinds = [
        (JoinType::Inner, pairs.clone()),
        (JoinType::Left, [pairs.clone(), lonely_left.clone()].concat()),
        (JoinType::Right, [pairs.clone(), lonely_right.clone()].concat()),
        (JoinType::Full, [pairs, lonely_left.clone(), lonely_right].concat()),
        (JoinType::Semi, lefts.intersection(&some).map(|l| (Some(*l), None)).collect()),
        (JoinType::Anti, lonely_left),
    ];
    let strategies =
        [JoinStrategy::HashBuildLeft, JoinStrategy::HashBuildRight, JoinStrategy::BroadcastLeft, JoinStrategy::BroadcastRight];
    for (kind, expected) in kinds {
        let expected = sorted(expected);
        for strategy in strategies {
            let broadcast = matches!(strategy, JoinStrategy::BroadcastLeft | JoinStrategy::BroadcastRight);
            // Broadcasts make a difference to pairs. Of the right side semi and anti joins need the keys alone, which fit.
            let keys_alone = matches!(kind, JoinType::Semi | JoinType::Anti) && strategy != JoinStrategy::HashBuildLeft;
            if (broadcast && kind != JoinType::Inner) || keys_alone {
                continue;
            }
            let join = |env: &Env| {
                let (left, right) = (table(env, "", ROWS / 2, |i| i), table(env, "r", ROWS / 2, number));
                left.join(&right, "i = ri").unwrap().kind(kind).strategy(strategy).all().unwrap()
            };
            runs("join", join, |found, what| {
                let half = |from: usize| {
                    briefs(found, from).into_iter().map(|row| row.inspect(|r| assert_eq!(*r, brief(r.1))).map(|r| r.1))
                };
                let rights: Vec<_> = match kind {
                    JoinType::Semi | JoinType::Anti => half(0).map(|_| None).collect(),
                    _ => half(4).collect(),
                };
                assert!(sorted(half(0).zip(rights).collect()) == expected, "{kind:?} {strategy:?}: {what}");
            });
        }
    }
    let cross = |env: &Env| {
        let few = env.from_batches(
            Arc::new(Schema::new(vec![Field::new("few", DataType::Int64, false)])),
            vec![RecordBatch::try_from_iter([("few", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]).unwrap()],
        );
        few.unwrap().cross(&plain(env)).unwrap()
    };
    runs("cross", cross, |found, what| {
        let few = found.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec());
        let pairs = sorted(few.zip(briefs(found, 1)).collect());
        let expected = (1..4).flat_map(|few| (0..ROWS).map(move |i| (few, Some(brief(i)))));
        assert!(pairs == sorted(expected.collect::<Vec<_>>()), "{what}");
    });
}
