use super::part::PendingPart;
use super::*;
use crate::testing::checkpoints::{Checkpoints, run_from};
use crate::{Batch, Env, Operator, Output, Restored, Snapshot};
use fluvial_memory::MemoryManager;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use tempfile::TempDir;

/// Notes the timers that are asked for.
#[derive(Default)]
struct Timers(Vec<i64>);

impl Output for Timers {
    fn send(&mut self, port: usize, _batch: Batch) -> Result<()> {
        panic!("a sink sent to port {port}")
    }
    fn congested(&self, _port: usize) -> bool {
        false
    }
    fn set_timer(&mut self, at: i64) {
        self.0.push(at);
    }
}

type Record = (String, u64);

/// A folder, a clock, and sinks that write there.
struct Setting {
    folder: TempDir,
    clock: Arc<AtomicI64>,
}

impl Setting {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Arc::default() }
    }

    /// Text files, a bucket for each value of the first field.
    fn sink(&self, worker: usize, options: impl FnOnce(FileSink<Record>) -> FileSink<Record>) -> WriteFiles<Record> {
        let mut sink =
            Env::default().from_collection(Vec::<Record>::new()).write_files(self.folder.path()).bucket_by(|r| r.0.clone());
        sink.format = Format::Lines(|r, out| writeln!(out, "{}", r.1).map_err(|e| e.to_string()), "txt");
        let clock = self.clock.clone();
        let settings = Arc::new(options(sink).settings().unwrap().1);
        let memory = MemoryManager::new(16 << 20).unwrap().reserve("files", 0).unwrap();
        let files = PartFiles::new(settings.clone(), worker, memory).unwrap();
        WriteFiles::new(settings, files, Box::new(move || clock.load(SeqCst)))
    }

    /// The files that there are, with their text; hidden ones are those of `hidden`.
    fn files(&self, hidden: bool) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().unwrap().to_str().unwrap().starts_with('.') == hidden {
                    let name = path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, fs::read_to_string(path).unwrap());
                }
            }
        }
        files
    }

    fn visible(&self) -> Vec<(String, String)> {
        self.files(false).into_iter().collect()
    }

    /// Files in the making.
    fn hidden(&self) -> Vec<String> {
        self.files(true).into_keys().filter(|name| !name.ends_with(".journal")).collect()
    }

    fn journals(&self) -> usize {
        self.files(true).len() - self.hidden().len()
    }
}

fn write(sink: &mut WriteFiles<Record>, records: &[(&str, u64)]) -> Vec<i64> {
    let mut timers = Timers::default();
    let records: Vec<Record> = records.iter().map(|r| (r.0.to_owned(), r.1)).collect();
    sink.process(0, Batch::typed(records), &mut timers).unwrap();
    timers.0
}

fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|f| (f.0.to_owned(), f.1.to_owned())).collect()
}

fn restored(epoch: u64, snapshots: Vec<Snapshot>) -> Restored {
    Restored { epoch, sections: snapshots.into_iter().flat_map(|s| s.into_sections().unwrap()).collect() }
}

#[test]
fn a_file_is_rolled_when_it_has_its_size_and_at_the_end() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, |s| s.roll_at_bytes(4));
    write(&mut sink, &[("a", 1), ("b", 2), ("a", 3), ("a", 4)]);
    assert_eq!(setting.visible(), files(&[("a/part-0-0.txt", "1\n3\n")]));
    assert_eq!(setting.hidden(), ["a/.part-0-2.inprogress", "b/.part-0-1.inprogress"]);
    sink.finish(&mut Timers::default()).unwrap();
    let all = [("a/part-0-0.txt", "1\n3\n"), ("a/part-0-2.txt", "4\n"), ("b/part-0-1.txt", "2\n")];
    assert_eq!(setting.visible(), files(&all));
    assert!(setting.hidden().is_empty());
}

#[test]
fn a_file_is_rolled_when_it_has_been_open_for_its_time() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, |s| s.roll_after(Duration::from_millis(100)));
    setting.clock.store(1000, SeqCst);
    assert_eq!(write(&mut sink, &[("a", 1)]), [1100]);
    setting.clock.store(1050, SeqCst);
    assert!(write(&mut sink, &[("a", 2), ("b", 3)]).is_empty());
    let mut timers = Timers::default();
    sink.on_timer(1100, &mut timers).unwrap();
    assert_eq!(timers.0, [1150]);
    assert_eq!(setting.visible(), files(&[("a/part-0-0.txt", "1\n2\n")]));
    sink.on_timer(1150, &mut timers).unwrap();
    assert_eq!(timers.0, [1150], "nothing is open, so nothing is due");
    assert_eq!(setting.visible().len(), 2);
    setting.clock.store(1200, SeqCst);
    assert_eq!(write(&mut sink, &[("a", 4)]), [1300]);
}

#[test]
fn of_too_many_buckets_the_one_longest_without_records_is_closed() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, |s| s.open_buckets(2));
    write(&mut sink, &[("a", 1), ("b", 2), ("a", 3), ("c", 4)]);
    assert_eq!(setting.visible(), files(&[("b/part-0-1.txt", "2\n")]));
    write(&mut sink, &[("b", 5)]);
    assert_eq!(setting.visible().len(), 2);
    assert!(setting.visible().contains(&("a/part-0-0.txt".into(), "1\n3\n".into())));
    assert_eq!(setting.hidden().len(), 2);
}

#[test]
fn what_is_there_is_left_alone() {
    let setting = Setting::new();
    fs::create_dir(setting.folder.path().join("a")).unwrap();
    fs::write(setting.folder.path().join("a/part-0-0.txt"), "of an earlier job\n").unwrap();
    fs::write(setting.folder.path().join("a/.part-0-1.inprogress"), "of one that was killed\n").unwrap();
    let mut sink = setting.sink(0, |s| s);
    write(&mut sink, &[("a", 1)]);
    sink.finish(&mut Timers::default()).unwrap();
    let all = [("a/part-0-0.txt", "of an earlier job\n"), ("a/part-0-2.txt", "1\n")];
    assert_eq!(setting.visible(), files(&all));
    assert_eq!(setting.hidden(), ["a/.part-0-1.inprogress"]);
}

#[test]
fn a_job_that_fails_leaves_whole_files_only() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, |s| s.roll_at_bytes(2));
    write(&mut sink, &[("a", 1), ("a", 22)]);
    drop(sink);
    let mut sink = setting.sink(1, |s| s);
    write(&mut sink, &[("b", 3)]);
    sink.abort();
    assert_eq!(setting.visible(), files(&[("a/part-0-0.txt", "1\n"), ("a/part-0-1.txt", "22\n")]));
    assert!(setting.hidden().is_empty());
}

#[test]
fn with_checkpoints_files_are_seen_when_one_that_covers_them_is_complete() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, |s| s.transactional().roll_at_bytes(2));
    write(&mut sink, &[("a", 1), ("a", 2)]);
    assert!(setting.visible().is_empty());
    sink.snapshot(0).unwrap();
    write(&mut sink, &[("a", 3)]);
    sink.checkpoint_aborted(0).unwrap();
    assert!(setting.visible().is_empty());
    sink.snapshot(1).unwrap();
    write(&mut sink, &[("a", 4)]);
    sink.checkpoint_complete(1).unwrap();
    sink.checkpoint_complete(1).unwrap();
    assert_eq!(setting.visible(), files(&[("a/part-0-0.txt", "1\n"), ("a/part-0-1.txt", "2\n"), ("a/part-0-2.txt", "3\n")]));
    assert!(sink.commits());
    sink.finish(&mut Timers::default()).unwrap();
    assert_eq!(setting.visible().len(), 3);
    sink.checkpoint_complete(2).unwrap();
    assert_eq!(setting.visible().len(), 4);
    assert!(setting.hidden().is_empty());
}

#[test]
fn who_continues_from_a_checkpoint_commits_what_it_names_and_nothing_else() {
    let setting = Setting::new();
    let mut workers = [0, 1].map(|worker| setting.sink(worker, FileSink::transactional));
    write(&mut workers[0], &[("a", 1), ("b", 2)]);
    write(&mut workers[1], &[("a", 3)]);
    let snapshots: Vec<Snapshot> = workers.iter_mut().map(|w| w.snapshot(4).unwrap()).collect();
    write(&mut workers[0], &[("a", 99)]);
    write(&mut workers[1], &[("c", 99)]);
    workers.iter_mut().for_each(Operator::abort);
    drop(workers);
    assert!(setting.visible().is_empty());
    assert_eq!(setting.hidden().len(), 3);

    let sections = restored(4, snapshots).sections;
    // Three instances instead of two, and a second attempt after the first: each gets all of it.
    for worker in [0, 1, 2, 0] {
        let mut sink = setting.sink(worker, FileSink::transactional);
        sink.restore(Restored { epoch: 4, sections: sections.clone() }).unwrap();
        sink.abort();
    }
    let all = [("a/part-0-0.txt", "1\n"), ("a/part-1-0.txt", "3\n"), ("b/part-0-1.txt", "2\n")];
    assert_eq!(setting.visible(), files(&all));
    assert!(setting.hidden().is_empty());

    let mut sink = setting.sink(1, FileSink::transactional);
    sink.restore(Restored { epoch: 4, sections: sections.clone() }).unwrap();
    write(&mut sink, &[("a", 5)]);
    sink.finish(&mut Timers::default()).unwrap();
    sink.checkpoint_complete(5).unwrap();
    assert!(setting.visible().contains(&("a/part-1-2.txt".into(), "5\n".into())));

    fs::remove_file(setting.folder.path().join("b/part-0-1.txt")).unwrap();
    let error = setting.sink(0, FileSink::transactional).restore(Restored { epoch: 4, sections }).unwrap_err();
    assert!(error.to_string().contains("b/part-0-1.txt"), "{error}");
}

#[test]
fn half_the_input_a_snapshot_two_instances_and_the_rest_give_all_records_once() {
    let records: Vec<Record> = (0..1000).map(|n| (format!("{}", n % 7), n)).collect();
    let setting = Setting::new();
    let options = |s: FileSink<Record>| s.transactional().roll_at_bytes(100).open_buckets(3);
    let mut sink = setting.sink(0, options);
    sink.process(0, Batch::typed(records[..500].to_vec()), &mut Timers::default()).unwrap();
    let state = restored(0, vec![sink.snapshot(0).unwrap()]);
    sink.process(0, Batch::typed(records[500..700].to_vec()), &mut Timers::default()).unwrap();
    sink.abort();
    drop(sink);
    for (worker, rest) in [&records[500..800], &records[800..]].into_iter().enumerate() {
        let mut sink = setting.sink(worker, options);
        sink.restore(Restored { epoch: 0, sections: state.sections.clone() }).unwrap();
        sink.process(0, Batch::typed(rest.to_vec()), &mut Timers::default()).unwrap();
        sink.finish(&mut Timers::default()).unwrap();
        sink.checkpoint_complete(1).unwrap();
    }
    let mut found: Vec<u64> = Vec::new();
    for (name, text) in setting.visible() {
        let numbers: Vec<u64> = text.lines().map(|l| l.parse().unwrap()).collect();
        assert!(numbers.iter().all(|n| name.starts_with(&format!("{}/", n % 7))));
        found.extend(numbers);
    }
    found.sort_unstable();
    assert!(found.into_iter().eq(0..1000));
    assert!(setting.hidden().is_empty());
}

#[test]
fn without_transactions_a_checkpoint_rolls_the_files() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, |s| s);
    write(&mut sink, &[("a", 1)]);
    let state = restored(0, vec![sink.snapshot(0).unwrap()]);
    write(&mut sink, &[("a", 2)]);
    sink.kill();
    assert_eq!(setting.visible(), files(&[("a/part-0-0.txt", "1\n")]), "what the checkpoint covers is not lost");
    let mut sink = setting.sink(0, |s| s);
    sink.restore(state).unwrap();
    assert!(setting.hidden().is_empty());
    write(&mut sink, &[("a", 2)]);
    sink.finish(&mut Timers::default()).unwrap();
    drop(sink);
    assert_eq!(setting.visible(), files(&[("a/part-0-0.txt", "1\n"), ("a/part-0-1.txt", "2\n")]));
    assert_eq!(setting.journals(), 0);
}

/// What happens to a sink, one record before each.
#[derive(Clone, Copy, PartialEq)]
enum Happens {
    Rolled,
    /// A barrier, whose checkpoint completes; or only the first of its files have their names when the process is killed.
    Checkpoint,
    CutOff,
    /// A barrier, whose checkpoint does not complete.
    Aborted,
}

/// The numbers in the visible files; each file ends with a line.
fn numbers(setting: &Setting) -> Vec<u64> {
    let mut numbers = Vec::new();
    for (name, text) in setting.visible() {
        assert!(text.ends_with('\n'), "{name} is half written");
        numbers.extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
    }
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_sink_that_is_killed_anywhere_goes_on_with_each_record_once() {
    use Happens::*;
    let script = [Rolled, Checkpoint, Rolled, Aborted, Checkpoint, Rolled, CutOff, Checkpoint];
    let options = |s: FileSink<Record>| s.transactional().roll_at_bytes(4).open_buckets(2);
    let record = |n: u64| (["a", "b", "c"][n as usize % 3], n);
    for killed in 0..=script.len() {
        for workers in 1..=3 {
            for restores in 1..=2 {
                let setting = Setting::new();
                let mut sink = setting.sink(0, options);
                // The state that completed last, and the number of records that it covers.
                let mut kept: Option<(Restored, u64)> = None;
                for (epoch, what) in script[..killed].iter().enumerate() {
                    write(&mut sink, &[record(2 * epoch as u64), record(2 * epoch as u64 + 1)]);
                    let epoch = epoch as u64;
                    let state = restored(epoch, vec![sink.snapshot(epoch).unwrap()]);
                    match what {
                        Rolled => continue,
                        Aborted => sink.checkpoint_aborted(epoch).unwrap(),
                        Checkpoint => sink.checkpoint_complete(epoch).unwrap(),
                        CutOff => {
                            let pending = state.sections.iter().find(|section| section.name == "pending").unwrap();
                            let pending = crate::codec::RecordCodec::<Vec<PendingPart>>::new().read_section(pending).unwrap();
                            pending[0].recover(setting.folder.path()).unwrap();
                        }
                    }
                    if *what != Aborted {
                        kept = Some((state, 2 * (epoch + 1)));
                    }
                    if *what == CutOff {
                        break;
                    }
                }
                write(&mut sink, &[record(1000), record(1001)]);
                sink.kill();
                let (state, covered) = kept.unwrap_or((Restored { epoch: 0, sections: Vec::new() }, 0));
                let (epoch, sections) = (state.epoch, state.sections);
                let mut instances = Vec::new();
                for attempt in 1..=restores {
                    for worker in 0..workers {
                        let mut sink = setting.sink(worker, options);
                        if !sections.is_empty() {
                            sink.restore(Restored { epoch, sections: sections.clone() }).unwrap();
                        }
                        if attempt < restores {
                            // Killed again, some of them after they had begun.
                            (worker == 0).then(|| write(&mut sink, &[record(1002)]));
                            sink.kill();
                        } else {
                            instances.push(sink);
                        }
                    }
                }
                let what = format!("killed after {killed}, {workers} workers, restored {restores} times");
                assert_eq!(numbers(&setting), (0..covered).collect::<Vec<_>>(), "{what}");
                if !sections.is_empty() {
                    // Journals stay until nobody can go back behind this checkpoint.
                    assert_eq!(setting.hidden(), [""; 0], "{what}");
                }
                for n in covered..30 {
                    write(&mut instances[n as usize % workers], &[record(n)]);
                }
                for mut sink in instances {
                    sink.finish(&mut Timers::default()).unwrap();
                    sink.snapshot(epoch + 1).unwrap();
                    sink.checkpoint_complete(epoch + 1).unwrap();
                }
                assert_eq!(numbers(&setting), (0..30).collect::<Vec<_>>(), "{what}");
                if !sections.is_empty() {
                    assert_eq!((setting.hidden(), setting.journals()), (Vec::new(), 0), "{what}");
                }
            }
        }
    }
}

#[test]
fn files_of_a_sink_that_lives_or_of_another_job_are_left_alone() {
    let setting = Setting::new();
    let mut first = setting.sink(0, FileSink::transactional);
    write(&mut first, &[("a", 1)]);
    let sections = restored(0, vec![first.snapshot(0).unwrap()]).sections;
    write(&mut first, &[("a", 2)]);
    let mut other = setting.sink(0, FileSink::transactional);
    write(&mut other, &[("a", 3)]);
    other.kill();
    let mut second = setting.sink(1, FileSink::transactional);
    second.restore(Restored { epoch: 0, sections: sections.clone() }).unwrap();
    assert_eq!(setting.hidden(), ["a/.part-0-1.inprogress", "a/.part-0-2.inprogress"]);
    write(&mut second, &[("a", 4)]);
    first.kill();
    let mut third = setting.sink(2, FileSink::transactional);
    third.restore(Restored { epoch: 0, sections }).unwrap();
    assert_eq!(setting.hidden(), ["a/.part-0-2.inprogress", "a/.part-1-1.inprogress"]);
}

#[test]
fn files_of_a_process_that_dies_while_the_others_end_well_are_in_the_last_checkpoint() {
    let setting = Setting::new();
    let mut earlier = setting.sink(0, FileSink::transactional);
    write(&mut earlier, &[("a", 0)]);
    let began = restored(0, vec![earlier.snapshot(0).unwrap()]);
    earlier.kill();
    let mut instances = [0, 1, 2].map(|worker| setting.sink(worker, FileSink::transactional));
    let mut last = Vec::new();
    for (n, sink) in (1..).zip(&mut instances) {
        sink.restore(Restored { epoch: 0, sections: began.sections.clone() }).unwrap();
        write(sink, &[("a", n)]);
        sink.finish(&mut Timers::default()).unwrap();
        last.push(sink.snapshot(1).unwrap());
    }
    let last = restored(1, last);
    // The last checkpoint is complete. One process ends well, another one is killed before and a third one after it commits.
    let [mut first, second, mut third] = instances;
    second.kill();
    first.checkpoint_complete(1).unwrap();
    drop(first);
    third.checkpoint_complete(1).unwrap();
    third.kill();
    assert_eq!(numbers(&setting), [0, 1, 3]);
    let mut again = setting.sink(0, FileSink::transactional);
    again.restore(last).unwrap();
    assert_eq!(numbers(&setting), [0, 1, 2, 3]);
    drop(again);
    assert_eq!((setting.hidden(), setting.journals()), (Vec::new(), 0));
}

#[test]
fn a_name_that_was_taken_meanwhile_is_an_error_and_nothing_is_replaced() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, FileSink::transactional);
    write(&mut sink, &[("a", 1)]);
    let sections = restored(0, vec![sink.snapshot(0).unwrap()]).sections;
    let taken = setting.folder.path().join("a/part-0-0.txt");
    fs::write(&taken, "of somebody else\n").unwrap();
    let error = sink.checkpoint_complete(0).unwrap_err().to_string();
    assert!(error.contains("a/part-0-0.txt"), "{error}");
    sink.kill();
    let mut sink = setting.sink(0, FileSink::transactional);
    let _ = fs::write(setting.folder.path().join("a/.part-0-0.inprogress"), "1\n");
    let error = sink.restore(Restored { epoch: 0, sections }).unwrap_err().to_string();
    assert!(error.contains("a/part-0-0.txt") && error.contains(".part-0-0.inprogress"), "{error}");
    assert_eq!(fs::read_to_string(taken).unwrap(), "of somebody else\n");
    assert_eq!(setting.hidden(), ["a/.part-0-0.inprogress"]);
}

#[test]
fn jobs_that_fail_and_go_on_write_each_record_once_in_every_format() {
    for (format, numbers_of_workers) in [("jsonl", [1, 2, 3]), ("parquet", [3, 1, 2]), ("csv", [2, 3, 1])] {
        let folder = tempfile::tempdir().unwrap();
        let kept = Checkpoints::default();
        let made: Arc<AtomicI64> = Arc::default();
        let job = |count: u64| {
            let (env, made) = (Env::default(), made.clone());
            let numbers = env.generator(move |n| {
                made.fetch_max(n as i64, SeqCst);
                (n, n * n)
            });
            let sink = numbers.rate(200_000.0).count(count).stream().rebalance().write_files(folder.path());
            let sink = match format {
                "csv" => sink.csv(),
                "parquet" => sink.parquet(),
                _ => sink.json_lines(),
            };
            sink.bucket_by(|n| n.0 % 2).roll_at_bytes(20_000).transactional().uid("files").name("numbers").add().unwrap();
            env
        };
        for workers in &numbers_of_workers[..2] {
            let completes = |epoch: u64| !epoch.is_multiple_of(3);
            let result = run_from(&kept, &job(u64::MAX), *workers, completes, |run| {
                (0..4).for_each(|_| run.checkpoint());
                run.control.trigger_epoch();
                run.fail();
            });
            assert_eq!(result.unwrap_err().to_string(), "a failure");
        }
        let count = made.load(SeqCst) as u64 + 3_000;
        run_from(&kept, &job(count), numbers_of_workers[2], |_| true, |run| run.checkpoint()).unwrap();
        let env = Env::default();
        let buckets = ["0", "1"].map(|bucket| folder.path().join(bucket).to_str().unwrap().to_owned());
        let mut found = env.read_records::<(u64, u64)>(&buckets).unwrap().collect().unwrap();
        found.sort_unstable();
        assert!(found.into_iter().eq((0..count).map(|n| (n, n * n))), "{format}");
        for part in [folder.path().to_owned(), folder.path().join("0"), folder.path().join("1")] {
            let hidden = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with('.');
            let left = fs::read_dir(part).unwrap().map(|entry| entry.unwrap()).filter(hidden).count();
            assert_eq!(left, 0, "{format}");
        }
    }
}

#[test]
fn buckets_of_time_need_times() {
    let setting = Setting::new();
    let mut sink = setting.sink(0, |s| s.bucket_by_time("%Y-%m-%d/%H"));
    let mut batch = Batch::typed(vec![("a".to_owned(), 1u64), ("a".to_owned(), 2)]);
    batch.event_times = Some(vec![1_700_000_000_000, 1_700_003_600_000]);
    sink.process(0, batch, &mut Timers::default()).unwrap();
    sink.finish(&mut Timers::default()).unwrap();
    let hours = [("a/2023-11-14/22/part-0-0.txt", "1\n"), ("a/2023-11-14/23/part-0-1.txt", "2\n")];
    assert_eq!(setting.visible(), files(&hours));
    let untimed = Batch::typed(vec![("a".to_owned(), 1u64)]);
    let error = sink.process(0, untimed, &mut Timers::default()).unwrap_err();
    assert!(error.to_string().contains("event time"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn each_bucket_has_its_records_in_their_order(
        records in prop::collection::vec((0u8..6, 0u64..100_000), 0..200),
        batch in 1usize..40,
        roll_bytes in 1u64..60,
        open_buckets in 1usize..5,
        ticks in prop::collection::vec(0i64..30, 1..20),
    ) {
        let setting = Setting::new();
        let mut sink = setting.sink(0, |s| s.roll_at_bytes(roll_bytes).open_buckets(open_buckets).roll_after(Duration::from_millis(50)));
        let mut timers = Timers::default();
        for (records, tick) in records.chunks(batch).zip(ticks.iter().cycle()) {
            let records: Vec<Record> = records.iter().map(|r| (r.0.to_string(), r.1)).collect();
            sink.process(0, Batch::typed(records), &mut timers).unwrap();
            prop_assert!(setting.hidden().len() <= open_buckets);
            let now = setting.clock.fetch_add(*tick, SeqCst) + tick;
            for due in std::mem::take(&mut timers.0) {
                if due <= now {
                    sink.on_timer(now, &mut timers).unwrap();
                } else {
                    timers.0.push(due);
                }
            }
        }
        sink.finish(&mut timers).unwrap();
        prop_assert!(setting.hidden().is_empty());
        let mut found: BTreeMap<(u8, u64), Vec<u64>> = BTreeMap::new();
        for (name, text) in setting.visible() {
            let (bucket, file) = name.split_once('/').unwrap();
            let number = file.strip_prefix("part-0-").unwrap().strip_suffix(".txt").unwrap().parse().unwrap();
            prop_assert!(!text.is_empty() && text.ends_with('\n'));
            // A file ends with the record that makes it large enough.
            let before_last = text[..text.len() - 1].rfind('\n').map_or(0, |at| at + 1);
            prop_assert!((before_last as u64) < roll_bytes);
            found.insert((bucket.parse().unwrap(), number), text.lines().map(|l| l.parse().unwrap()).collect());
        }
        for bucket in 0..6 {
            let expected: Vec<u64> = records.iter().filter(|r| r.0 == bucket).map(|r| r.1).collect();
            let found: Vec<u64> = found.range((bucket, 0)..=(bucket, u64::MAX)).flat_map(|f| f.1.clone()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
