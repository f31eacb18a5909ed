//! Jobs that fail and go on, and checkpoints that are damaged, moved, or of another job.

use fluvial_core::{
    AfterSavepoint, CheckpointInfo, Checkpoints, Config, Env, Error, JobReport, KeyedContext, KeyedProcessFunction, KeyedState,
    Mode, Restart, RestoreFrom, Result, StateBackend, StoredState, Timer, ValueState, WatermarkStrategy,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tempfile::TempDir;

const EVENTS: u64 = 30_000;
const KEYS: u64 = 50;

/// A folder of checkpoints and one of results.
struct Room {
    folder: TempDir,
}

impl Room {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::to_folder(self.path("state")).every(Duration::from_millis(5))
    }

    /// The lines of all results, sorted.
    fn results(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let Ok(entries) = std::fs::read_dir(self.path("out")) else { return lines };
        for entry in entries.map(|e| e.unwrap().path()) {
            let hidden = entry.file_name().unwrap().to_string_lossy().starts_with('.');
            if !hidden {
                lines.extend(std::fs::read_to_string(&entry).unwrap().lines().map(str::to_owned));
            }
        }
        lines.sort_unstable();
        lines
    }
}

/// State on disk with next to no memory.
const DISK: StateBackend = StateBackend::Disk { memory: 64 << 10, folder: None };

fn config(threads: usize, checkpoints: Checkpoints) -> Config {
    Config { threads, memory: 16 << 20, checkpoints: Some(checkpoints), mode: Mode::Streaming, ..Config::default() }
}

/// Sums up by key, and says with every tenth record so; a timer at the end of event time says the sum.
struct Sums {
    sum: ValueState<(u64, u64)>,
}

impl KeyedProcessFunction<u64, u64> for Sums {
    type Output = String;
    fn process(&mut self, record: u64, context: &mut KeyedContext<'_, u64, String>) -> Result<()> {
        let (count, sum) = self.sum.get().unwrap_or_default();
        self.sum.set((count + 1, sum + record));
        if count % 10 == 9 {
            // Not the sum: in which order a key's records come from several workers is nobody's business.
            context.emit(format!("{} {}", context.key(), count + 1));
        }
        context.set_event_timer(i64::MAX - 1);
        Ok(())
    }
    fn on_timer(&mut self, _: Timer, context: &mut KeyedContext<'_, u64, String>) -> Result<()> {
        let (count, sum) = self.sum.get().unwrap_or_default();
        context.emit(format!("{} last {count} {sum}", context.key()));
        Ok(())
    }
}

/// The job: numbers, checked by `check`, summed by key, to files that appear when their checkpoint is complete.
fn job(env: &Env, room: &Room, rate: Option<f64>, check: impl Fn(u64) -> bool + Clone + Send + Sync + 'static) {
    let numbers = env.generator(|n| n).count(EVENTS);
    let numbers = match rate {
        Some(rate) => numbers.rate(rate).stream(),
        None => numbers.stream(),
    };
    let timed = numbers
        .uid("numbers")
        .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|n: &u64| *n as i64));
    let checked = timed.try_map(move |n| if check(n) { Ok(n) } else { Err(format!("{n} is bad luck")) });
    let sums = checked.key_by(|n| n % KEYS).process(|state: &mut KeyedState| Ok(Sums { sum: state.value("sum")? })).uid("sums");
    sums.write_files(room.path("out")).text().transactional().add().unwrap();
}

fn expected() -> Vec<String> {
    let mut sums: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut lines = Vec::new();
    for n in 0..EVENTS {
        let (count, sum) = sums.entry(n % KEYS).or_default();
        (*count, *sum) = (*count + 1, *sum + n);
        if *count % 10 == 0 {
            lines.push(format!("{} {count}", n % KEYS));
        }
    }
    lines.extend(sums.iter().map(|(key, (count, sum))| format!("{key} last {count} {sum}")));
    lines.sort_unstable();
    lines
}

fn run(room: &Room, config: Config) -> Result<JobReport> {
    let env = Env::new(config);
    job(&env, room, None, |_| true);
    env.execute("sums")
}

#[test]
fn a_job_that_fails_again_and_again_gives_what_one_that_does_not() {
    for (threads, state_backend) in [(1, StateBackend::Memory), (2, DISK), (3, StateBackend::Memory), (3, DISK)] {
        let room = Room::new();
        let failures = Arc::new(AtomicU64::new(0));
        let counted = failures.clone();
        let restart = Restart::fixed_delay(20, Duration::from_millis(1));
        let env = Env::new(Config { restart, state_backend, ..config(threads, room.checkpoints()) });
        // Each is bad luck once, whichever attempt comes to it first.
        let bad: Arc<Vec<(u64, AtomicU64)>> = Arc::new((1..=12).map(|i| (i * EVENTS / 13, AtomicU64::new(0))).collect());
        job(&env, &room, Some(60_000.0), move |n| {
            let once = bad.iter().find(|(at, _)| *at == n).is_some_and(|(_, seen)| seen.fetch_add(1, SeqCst) == 0);
            counted.fetch_add(u64::from(once), SeqCst);
            !once
        });
        let report = env.execute("sums").unwrap();
        assert_eq!(report.restarts.len() as u64, failures.load(SeqCst));
        assert_eq!(failures.load(SeqCst), 12);
        assert!(report.restarts[0].cause.contains("is bad luck"), "{:?}", report.restarts[0]);
        assert!(report.restarts.iter().any(|r| r.checkpoint.is_some()), "{:?}", report.restarts);
        assert!(report.checkpoints.completed > 10 && report.checkpoints.latest.unwrap().bytes > 0);
        assert!(room.results() == expected(), "{threads} workers");
        let infos = CheckpointInfo::list(&room.path("state").display().to_string()).unwrap();
        assert_eq!(infos.len(), 2, "two are kept");
        assert!(infos[1].last && infos.iter().all(|i| i.damage.is_none()), "{infos:?}");
    }
}

#[test]
fn a_job_that_has_ended_has_nothing_left_to_do() {
    let room = Room::new();
    run(&room, config(2, room.checkpoints())).unwrap();
    assert!(room.results() == expected());
    let report = run(&room, config(3, room.checkpoints().from(RestoreFrom::Latest))).unwrap();
    assert!(room.results() == expected());
    assert_eq!(report.records_in, 0);
}

#[test]
fn a_folder_with_checkpoints_is_not_begun_anew() {
    let room = Room::new();
    run(&room, config(1, room.checkpoints())).unwrap();
    let error = run(&room, config(1, room.checkpoints())).unwrap_err().to_string();
    assert!(error.contains("chk-") && error.contains("a folder of its own"), "{error}");
    let nothing = Checkpoints::to_folder(room.path("empty"));
    let error = run(&room, config(1, nothing.clone().from(RestoreFrom::Latest))).unwrap_err().to_string();
    assert!(error.contains("no complete checkpoint"), "{error}");
    let error = run(&room, config(1, nothing.from(RestoreFrom::At("/nowhere/at/all".into())))).unwrap_err().to_string();
    assert!(error.contains("/nowhere/at/all/manifest: no such file"), "{error}");
}

/// Runs the job at a rate, and stops it with a savepoint when some of it is through.
fn stopped(room: &Room, config: Config, then: AfterSavepoint) -> (JobReport, String) {
    let to = room.path("savepoint").display().to_string();
    let env = Env::new(config);
    job(&env, room, Some(60_000.0), |_| true);
    let asking = env.clone();
    let target = to.clone();
    let asked = std::thread::spawn(move || {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while asking.monitor().progress().rows_read < EVENTS / 4
            && asking.metrics().snapshot().operators.iter().all(|o| o.total().records_out < EVENTS / 4)
        {
            assert!(std::time::Instant::now() < deadline, "nothing comes");
            std::thread::yield_now();
        }
        asking.savepoint(&target, then)
    });
    let report = env.execute("sums").unwrap();
    asked.join().unwrap().unwrap();
    (report, to)
}

#[test]
fn a_savepoint_is_continued_by_another_number_of_workers() {
    for (before, after) in [(1, 3), (3, 2), (2, 1)] {
        let room = Room::new();
        let (report, savepoint) = stopped(&room, config(before, room.checkpoints()), AfterSavepoint::Stop);
        assert_eq!(report.suspended.as_deref(), Some(savepoint.as_str()));
        let half = room.results().len();
        assert!(half > 0 && half < expected().len(), "{half} results with the savepoint");
        // It stands alone: what the job kept for itself is not needed.
        std::fs::remove_dir_all(room.path("state")).unwrap();
        run(&room, config(after, room.checkpoints().from(RestoreFrom::At(savepoint)))).unwrap();
        assert!(room.results() == expected(), "{before}, then {after} workers");
    }
}

#[test]
fn either_backend_continues_from_what_the_other_has_kept() {
    for (before, after) in [(StateBackend::Memory, DISK), (DISK, StateBackend::Memory)] {
        for (workers, then) in [(2, 2), (2, 3)] {
            let on = |threads: usize, backend: &StateBackend, checkpoints: Checkpoints| Config {
                state_backend: backend.clone(),
                ..config(threads, checkpoints)
            };
            let room = Room::new();
            let (_, savepoint) = stopped(&room, on(workers, &before, room.checkpoints()), AfterSavepoint::Stop);
            // A savepoint has the same files whoever has written them.
            let files = std::fs::read_dir(&savepoint).unwrap().map(|entry| entry.unwrap().path());
            let states: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "state")).collect();
            let versions: Vec<u8> = states.iter().map(|path| std::fs::read(path).unwrap()[8]).collect();
            assert!(!states.is_empty() && versions.iter().all(|version| *version == 1), "{versions:?}");
            std::fs::remove_dir_all(room.path("state")).unwrap();
            run(&room, on(then, &after, room.checkpoints().from(RestoreFrom::At(savepoint)))).unwrap();
            assert!(room.results() == expected(), "{workers} workers on {before:?}, {then} on {after:?}");
            // So it is with the job's own checkpoints.
            let room = Room::new();
            let env = Env::new(on(workers, &before, room.checkpoints().keep(1)));
            job(&env, &room, Some(60_000.0), |n| n < EVENTS / 2);
            env.execute("sums").unwrap_err();
            run(&room, on(then, &after, room.checkpoints().from(RestoreFrom::Latest))).unwrap();
            assert!(room.results() == expected(), "{workers} workers on {before:?}, {then} on {after:?}, from checkpoints");
        }
    }
}

#[test]
fn checkpoints_of_state_on_disk_write_what_has_changed() {
    let room = Room::new();
    let state_backend = StateBackend::Disk { memory: 8 << 20, folder: None };
    let env = Env::new(Config { state_backend, ..config(2, room.checkpoints().every(Duration::from_millis(100)).keep(3)) });
    let keys = 100_000;
    // Each key once, then a few of them.
    let numbers = env.generator(move |n| if n < keys { n } else { n % 100 }).count(keys + 100_000).rate(200_000.0);
    numbers.stream().key_by(|n| *n).rolling_count().filter(|_| false).for_each(|_| ());
    let report = env.execute("counts").unwrap();
    let infos = CheckpointInfo::list(&room.path("state").display().to_string()).unwrap();
    let before = &infos[infos.len() - 2].report;
    assert!(before.bytes > keys * 20 && before.new_bytes < before.bytes / 10, "{before:?}");
    assert!(infos.iter().all(|info| info.damage.is_none()), "{infos:?}");
    assert!(report.checkpoints.bytes_written < 4 * before.bytes, "{:?}", report.checkpoints);
    // Whoever reads it sees each key once.
    let mut counts = BTreeMap::new();
    StoredState::open(&infos[infos.len() - 2].path)
        .unwrap()
        .values(None, "value", None, |entry| {
            assert_eq!(counts.insert(entry.key.as_u64().unwrap(), entry.value.as_u64().unwrap()), None);
            Ok(())
        })
        .unwrap();
    assert_eq!(counts.len() as u64, keys);
    // Nothing of the live state is left.
    let live = std::fs::read_dir(room.path("state").join("live")).unwrap();
    assert_eq!(live.count(), 0);
}

#[test]
fn a_job_that_goes_on_after_a_savepoint_is_not_changed_by_it() {
    let room = Room::new();
    let (report, savepoint) = stopped(&room, config(2, room.checkpoints()), AfterSavepoint::GoOn);
    assert!(report.suspended.is_none() && room.results() == expected());
    let stored = StoredState::open(&savepoint).unwrap();
    assert!(stored.is_savepoint());
    let mut bytes = 0;
    stored
        .read(Some("sums"), "sum", |section| {
            bytes += section.bytes.len();
            Ok(())
        })
        .unwrap();
    assert!(bytes > 0);
    let error = stored.read(None, "none", |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("no state `none`; there is") && error.contains("`sum` of"), "{error}");
}

#[test]
fn a_drained_job_ends_with_its_savepoint() {
    let room = Room::new();
    let (report, savepoint) = stopped(&room, config(2, room.checkpoints()), AfterSavepoint::Drain);
    assert_eq!(report.suspended, None);
    assert!(StoredState::open(&savepoint).unwrap().info().last);
    // Event time has passed: the timers have fired.
    assert_eq!(room.results().iter().filter(|line| line.contains("last")).count() as u64, KEYS);
}

#[test]
fn state_that_the_job_does_not_have_any_more_is_an_error_unless_it_is_let_go() {
    let room = Room::new();
    let (_, savepoint) = stopped(&room, config(1, room.checkpoints()), AfterSavepoint::Stop);
    let changed = |checkpoints: Checkpoints| {
        let env = Env::new(config(1, checkpoints));
        let numbers = env.generator(|n| n).count(EVENTS).stream().uid("numbers");
        numbers.map(|n| n.to_string()).write_files(room.path("out")).text().transactional().add().unwrap();
        env.execute("sums")
    };
    let from = Checkpoints::to_folder(room.path("other")).from(RestoreFrom::At(savepoint));
    let error = changed(from.clone()).unwrap_err().to_string();
    assert!(error.contains("(uid sums:") && error.contains("`sum`") && error.contains("allow removed state"), "{error}");
    let report = changed(from.allow_removed_state()).unwrap();
    assert!(report.records_out < EVENTS, "the position was kept");
}

/// A file of state of the last complete checkpoint.
fn last_state_file(folder: &Path) -> PathBuf {
    let complete =
        |entry: std::io::Result<std::fs::DirEntry>| Some(entry.unwrap().path()).filter(|p| p.join("manifest").exists());
    let last = std::fs::read_dir(folder).unwrap().filter_map(complete).max().unwrap();
    let files = std::fs::read_dir(last).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|p| p.extension().is_some_and(|e| e == "state")).max().unwrap()
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken() {
    let damages: [fn(&Path); 3] = [
        |path| std::fs::File::options().write(true).open(path).unwrap().set_len(40).unwrap(),
        |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 64;
            std::fs::write(path, bytes).unwrap();
        },
        |path| std::fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        let room = Room::new();
        let env = Env::new(config(2, room.checkpoints()));
        job(&env, &room, Some(60_000.0), |n| n != EVENTS * 3 / 4);
        env.execute("sums").unwrap_err();
        drop(env);
        damage(&last_state_file(&room.path("state")));
        let strict = room.checkpoints().from(RestoreFrom::Latest).stop_at_damage();
        let error = run(&room, config(2, strict)).unwrap_err();
        assert!(matches!(&error, Error::File { path, .. } if path.to_string_lossy().contains("chk-")), "{error}");
        run(&room, config(1, room.checkpoints().from(RestoreFrom::Latest))).unwrap();
        // What was shown with the damaged checkpoint has been taken back.
        assert!(room.results() == expected());
    }
}

#[test]
fn checkpoints_go_to_an_object_store() {
    let room = Room::new();
    let store = Arc::new(object_store::memory::InMemory::new());
    let checkpoints = Checkpoints::to_store(store, "jobs/sums").every(Duration::from_millis(5));
    let restart = Restart::fixed_delay(2, Duration::ZERO);
    let env = Env::new(Config { restart, ..config(2, checkpoints) });
    let failed = Arc::new(AtomicU64::new(0));
    job(&env, &room, Some(60_000.0), move |n| n != EVENTS / 2 || failed.fetch_add(1, SeqCst) > 0);
    let report = env.execute("sums").unwrap();
    assert!(report.restarts[0].checkpoint.is_some(), "{:?}", report.restarts);
    assert!(room.results() == expected());
}

#[test]
fn only_one_job_at_a_time_keeps_its_checkpoints_in_a_folder() {
    let room = Room::new();
    let held = Env::new(config(1, room.checkpoints()));
    job(&held, &room, Some(60_000.0), |_| true);
    let running = held.clone();
    let first = std::thread::spawn(move || running.execute("sums"));
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !room.path("state/lock").exists() {
        assert!(std::time::Instant::now() < deadline, "the job does not begin");
        std::thread::yield_now();
    }
    let error = run(&room, config(1, room.checkpoints().from(RestoreFrom::LatestIfAny))).unwrap_err().to_string();
    assert!(error.contains("another job keeps its checkpoints here"), "{error}");
    first.join().unwrap().unwrap();
    assert!(room.results() == expected());
}

#[test]
fn too_many_failures_in_a_row_end_the_job() {
    let room = Room::new();
    let env = Env::new(config(2, room.checkpoints().tolerate(2)));
    let blocked = room.path("state");
    job(&env, &room, Some(60_000.0), move |n| {
        if n == 1000 {
            // Where checkpoints were to be made there is no folder any more.
            let _ = std::fs::rename(&blocked, blocked.with_extension("moved"));
            std::fs::write(&blocked, "in the way").unwrap();
        }
        true
    });
    let error = env.execute("sums").unwrap_err().to_string();
    assert!(error.starts_with("checkpoint: 3 in a row could not be completed, 2 are tolerated"), "{error}");
}
