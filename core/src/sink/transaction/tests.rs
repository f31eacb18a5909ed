use super::*;
use crate::codec::RecordCodec;
use crate::testing::checkpoints::{Checkpoints, run_from};
use crate::{Batch, Error, Operator, Output, Restored, Snapshot, StateSection};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

struct NoOutput;

impl Output for NoOutput {
    fn send(&mut self, port: usize, _batch: Batch) -> Result<()> {
        panic!("a sink sent to port {port}")
    }
    fn congested(&self, _port: usize) -> bool {
        false
    }
    fn set_timer(&mut self, _at: i64) {}
}

/// Notes what it is told.
struct Notes {
    log: Arc<Mutex<Vec<String>>>,
    written: Vec<u64>,
    name: &'static str,
}

impl Notes {
    fn note(&self, text: String) {
        self.log.lock().unwrap().push(text);
    }
}

impl TransactionalSink<u64> for Notes {
    type Pending = String;
    fn recover(&mut self, pending: &[String]) -> Result<()> {
        self.note(format!("recover {}", pending.join(" ")));
        Ok(())
    }
    fn write(&mut self, record: u64) -> Result<()> {
        self.written.push(record);
        Ok(())
    }
    fn pre_commit(&mut self, epoch: u64) -> Result<Option<String>> {
        let written = std::mem::take(&mut self.written);
        Ok((!written.is_empty()).then(|| format!("{}@{epoch}:{written:?}", self.name)))
    }
    fn commit(&mut self, pending: String) -> Result<()> {
        self.note(pending);
        Ok(())
    }
}

type Log = Arc<Mutex<Vec<String>>>;

fn notes(name: &'static str, worker: usize, workers: usize) -> (WriteTransactions<u64, Notes>, Log) {
    let log = Log::default();
    (WriteTransactions::new(Notes { log: log.clone(), written: Vec::new(), name }, worker, workers), log)
}

fn write(sink: &mut WriteTransactions<u64, Notes>, record: u64) {
    sink.process(0, Batch::typed(vec![record]), &mut NoOutput).unwrap();
}

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

fn restored(epoch: u64, snapshots: impl IntoIterator<Item = Snapshot>) -> Restored {
    Restored { epoch, sections: snapshots.into_iter().flat_map(|s| s.into_sections().unwrap()).collect() }
}

#[test]
fn transactions_are_committed_in_order_by_the_next_checkpoint_that_completes() {
    let (mut sink, log) = notes("a", 0, 1);
    for (epoch, record) in [1, 2, 3].into_iter().enumerate() {
        write(&mut sink, record);
        sink.snapshot(epoch as u64).unwrap();
    }
    write(&mut sink, 4);
    sink.checkpoint_aborted(0).unwrap();
    assert_eq!(take(&log), ["recover "]);
    // Nobody has told of the second one.
    sink.checkpoint_complete(2).unwrap();
    assert_eq!(take(&log), ["a@0:[1]", "a@1:[2]", "a@2:[3]"]);
    sink.snapshot(3).unwrap();
    sink.snapshot(4).unwrap();
    sink.checkpoint_complete(3).unwrap();
    sink.checkpoint_complete(4).unwrap();
    assert_eq!(take(&log), ["a@3:[4]"], "an epoch without records has no transaction");
    write(&mut sink, 5);
    sink.finish(&mut NoOutput).unwrap();
    sink.checkpoint_complete(4).unwrap();
    assert_eq!(take(&log), [""; 0], "the end is of a later epoch");
    // As the last checkpoint of the job does, and without one.
    let last = restored(5, [sink.snapshot(5).unwrap()]);
    sink.checkpoint_complete(5).unwrap();
    assert_eq!(take(&log), ["a@5:[5]"]);
    let (mut sink, log) = notes("a", 0, 1);
    sink.restore(last).unwrap();
    assert_eq!(take(&log), ["recover a@5:[5]", "a@5:[5]"]);
}

#[test]
fn each_restored_transaction_is_committed_by_one_instance() {
    let mut snapshots = Vec::new();
    for name in ["a", "b", "c"] {
        let (mut sink, _) = notes(name, 0, 3);
        for epoch in 0..2 {
            write(&mut sink, epoch);
            snapshots.push((epoch, sink.snapshot(epoch).unwrap()));
        }
    }
    let state = restored(1, snapshots.into_iter().filter(|(epoch, _)| *epoch == 1).map(|(_, snapshot)| snapshot));
    for workers in 1..=4 {
        let mut committed = Vec::new();
        for worker in 0..workers {
            let (mut sink, log) = notes("new", worker, workers);
            let mut sections = state.sections.clone();
            sections.rotate_left(worker % 3);
            sink.restore(Restored { epoch: 1, sections }).unwrap();
            let log = take(&log);
            assert_eq!(log[0].split(' ').count(), 1 + 6 * 2 / 2, "all are shown to all: {}", log[0]);
            assert!(log[1..].is_sorted(), "in their order: {log:?}");
            committed.extend(log.into_iter().skip(1));
            // What is committed is no state any more.
            let state = sink.snapshot(2).unwrap().sections.remove(0);
            assert_eq!(RecordCodec::<Vec<String>>::new().from_section(&state).unwrap(), [""; 0]);
        }
        committed.sort();
        assert_eq!(committed, ["a@0:[0]", "a@1:[1]", "b@0:[0]", "b@1:[1]", "c@0:[0]", "c@1:[1]"]);
    }
}

#[test]
fn state_of_another_operator_is_an_error() {
    let (mut sink, _) = notes("a", 0, 1);
    let section = StateSection { name: "counts".into(), ..StateSection::default() };
    let error = sink.restore(Restored { epoch: 0, sections: vec![section] }).unwrap_err().to_string();
    assert!(error.contains("`counts`"), "{error}");
    let section = StateSection { name: "pending transactions".into(), schema: "other".into(), ..StateSection::default() };
    let error = sink.restore(Restored { epoch: 0, sections: vec![section] }).unwrap_err().to_string();
    assert!(error.contains("`pending transactions`") && error.contains("other"), "{error}");
}

/// Writes numbers to a SQLite database: staged under the transaction's id, moved by its commit, which a ledger makes
/// idempotent.
struct Numbers {
    database: Connection,
    context: SinkContext,
    records: Vec<u64>,
}

fn sql(error: rusqlite::Error) -> Error {
    Error::User(format!("database: {error}"))
}

impl Numbers {
    fn open(path: &Path, context: &SinkContext) -> Result<Self> {
        let database = Connection::open(path).map_err(sql)?;
        database.busy_timeout(Duration::from_secs(20)).map_err(sql)?;
        Ok(Self { database, context: context.clone(), records: Vec::new() })
    }
}

impl TransactionalSink<u64> for Numbers {
    type Pending = String;

    fn recover(&mut self, pending: &[String]) -> Result<()> {
        let mut ids = self.database.prepare("SELECT DISTINCT id FROM staged").map_err(sql)?;
        let ids =
            ids.query_map([], |row| row.get(0)).and_then(Iterator::collect::<rusqlite::Result<Vec<String>>>).map_err(sql)?;
        for id in ids.iter().filter(|id| self.context.is_former(id) && !pending.contains(id)) {
            self.database.execute("DELETE FROM staged WHERE id = ?", [id]).map_err(sql)?;
        }
        Ok(())
    }

    fn write(&mut self, record: u64) -> Result<()> {
        self.records.push(record);
        Ok(())
    }

    fn pre_commit(&mut self, _epoch: u64) -> Result<Option<String>> {
        if self.records.is_empty() {
            return Ok(None);
        }
        let id = self.context.transaction_id();
        let transaction = self.database.transaction().map_err(sql)?;
        {
            let mut insert = transaction.prepare("INSERT INTO staged VALUES (?, ?)").map_err(sql)?;
            for record in self.records.drain(..) {
                insert.execute(params![id, record as i64]).map_err(sql)?;
            }
        }
        transaction.commit().map_err(sql)?;
        Ok(Some(id))
    }

    fn commit(&mut self, id: String) -> Result<()> {
        let behavior = rusqlite::TransactionBehavior::Immediate;
        let transaction = self.database.transaction_with_behavior(behavior).map_err(sql)?;
        if transaction.execute("INSERT OR IGNORE INTO ledger VALUES (?)", [&id]).map_err(sql)? == 1 {
            transaction.execute("INSERT INTO numbers SELECT number FROM staged WHERE id = ?", [&id]).map_err(sql)?;
            transaction.execute("DELETE FROM staged WHERE id = ?", [&id]).map_err(sql)?;
        }
        transaction.commit().map_err(sql)
    }
}

fn database(folder: &Path) -> (PathBuf, Connection) {
    let path = folder.join("numbers.sqlite");
    let database = Connection::open(&path).unwrap();
    let tables = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
        CREATE TABLE staged (id TEXT, number INTEGER);
        CREATE TABLE ledger (id TEXT PRIMARY KEY);
        CREATE TABLE numbers (number INTEGER);";
    database.execute_batch(tables).unwrap();
    (path, database)
}

fn rows<R: rusqlite::types::FromSql>(database: &Connection, query: &str) -> Vec<R> {
    let mut query = database.prepare(query).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

/// Numbers, times three, into the database; `made` is the largest so far.
fn job(path: &Path, count: u64, made: &Arc<AtomicU64>) -> Env {
    let (env, path, made) = (Env::default(), path.to_owned(), made.clone());
    let numbers = env.generator(move |n| {
        made.fetch_max(n, SeqCst);
        n
    });
    let sink = move |context: &SinkContext| Numbers::open(&path, context);
    numbers.rate(100_000.0).count(count).stream().map(|n| n * 3).rebalance().write_transactional(sink).uid("numbers");
    env
}

#[test]
fn a_database_has_each_record_once_whatever_fails() {
    for numbers_of_workers in [[1, 1, 1, 1], [2, 1, 3, 2], [3, 2, 2, 1], [1, 3, 1, 3]] {
        let folder = tempfile::tempdir().unwrap();
        let (path, database) = database(folder.path());
        let kept = Checkpoints::default();
        let made = Arc::default();
        for (attempt, workers) in numbers_of_workers[..3].iter().enumerate() {
            let env = job(&path, u64::MAX, &made);
            // Of the first attempt no checkpoint completes: it begins anew. Of the others every third one fails.
            let completes = move |epoch: u64| attempt > 0 && !epoch.is_multiple_of(3);
            let result = run_from(&kept, &env, *workers, completes, |run| {
                (0..5).for_each(|_| run.checkpoint());
                // What is staged now, perhaps, when the job fails.
                run.control.trigger_epoch();
                run.fail();
            });
            assert_eq!(result.unwrap_err().to_string(), "a failure");
            if attempt == 0 {
                assert_eq!(rows::<i64>(&database, "SELECT number FROM numbers"), [0; 0]);
            }
        }
        let count = made.load(SeqCst) + 5_000;
        let env = job(&path, count, &made);
        run_from(&kept, &env, numbers_of_workers[3], |_| true, |run| run.checkpoint()).unwrap();
        let found: Vec<i64> = rows(&database, "SELECT number FROM numbers ORDER BY number");
        assert_eq!(found.len() as u64, count, "{numbers_of_workers:?}");
        assert!(found.into_iter().eq((0..count as i64).map(|n| n * 3)), "{numbers_of_workers:?}");
        // Nothing is left of what failed.
        assert_eq!(rows::<String>(&database, "SELECT id FROM staged"), [""; 0]);
    }
}

#[test]
fn a_job_without_checkpoints_commits_at_its_end_or_not_at_all() {
    for fails in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (path, database) = database(folder.path());
        let env = Env::default();
        let numbers = env.sequence(0..1000).try_map(move |n| if fails && n == 999 { Err("no") } else { Ok(n) });
        numbers.write_transactional(move |context| Numbers::open(&path, context)).name("database");
        let result = env.execute("numbers");
        assert_eq!(result.is_err(), fails);
        let count: Vec<i64> = rows(&database, "SELECT count(*) FROM numbers");
        assert_eq!(count, [if fails { 0 } else { 1000 }]);
    }
}

#[test]
fn an_error_of_the_sink_names_it() {
    let env = Env::default();
    env.sequence(0..10).write_transactional(|context| Numbers::open(Path::new("/nowhere/at/all"), context)).name("database");
    let error = env.execute("numbers").unwrap_err().to_string();
    assert!(error.contains("`database`") && error.contains("unable to open"), "{error}");
}
