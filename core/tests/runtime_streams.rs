//! Event time, barriers and state: idle sources, timestamp assigners, restore, draining, commits.

mod kit;

use fluvial_core::runtime::{
    CheckpointStore, Checkpointing, Completion, Edge, JobControl, Mesh, NodeKind, Plan, RestoredInstance, Route, RunConfig,
    RunReport, RunningJob, SaveDone, SnapshotPart,
};
use fluvial_core::{
    Batch, Error, Operator, OperatorContext, Output, Progress, Restored, Result, Snapshot, Source, StateSection, Waker,
};
use kit::{Collected, by_hash, collect, config, map, node, numbers, values, wide};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for a job, but not forever.
fn finish(job: RunningJob<'_>) -> Result<RunReport> {
    let control = job.control();
    std::thread::scope(|scope| {
        let (done, over) = channel::<()>();
        scope.spawn(move || {
            if over.recv_timeout(DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                control.abort(Error::User("the job hangs".into()));
            }
        });
        let result = job.wait();
        drop(done);
        result
    })
}

/// One instance counts and advances its watermark; the others are idle until it has ended.
struct OneActive {
    worker: usize,
    now: i64,
    /// The watermark that somebody downstream has seen.
    seen: Arc<AtomicI64>,
    over: Arc<AtomicBool>,
    waiting: Arc<Mutex<Vec<Waker>>>,
    waker: Waker,
}

const LAST: i64 = 10_000;

impl Source for OneActive {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.waiting.lock().unwrap().push(self.waker.clone());
        if self.worker > 0 {
            return Ok(if self.over.load(SeqCst) { Progress::Done } else { Progress::Waiting });
        }
        if self.now < LAST {
            self.now += 1;
            out.send(0, Batch::typed(vec![self.now as u64]))?;
            return Ok(Progress::More);
        }
        if self.seen.load(SeqCst) < LAST {
            return Ok(Progress::Waiting);
        }
        self.over.store(true, SeqCst);
        self.waiting.lock().unwrap().iter().for_each(|waker| waker());
        Ok(Progress::Done)
    }
    fn watermark(&self) -> i64 {
        if self.worker > 0 { i64::MIN } else { self.now }
    }
    fn idle(&self) -> bool {
        self.worker > 0
    }
}

/// Says which watermark it has seen.
struct Sees {
    seen: Arc<AtomicI64>,
    waiting: Arc<Mutex<Vec<Waker>>>,
    last: i64,
}

impl Operator for Sees {
    fn process(&mut self, _: usize, _: Batch, _: &mut dyn Output) -> Result<Progress> {
        Ok(Progress::Done)
    }
    fn on_watermark(&mut self, watermark: i64, _: &mut dyn Output) -> Result<Progress> {
        assert!(watermark > self.last);
        self.last = watermark;
        self.seen.fetch_max(watermark.min(LAST), SeqCst);
        self.waiting.lock().unwrap().drain(..).for_each(|waker| waker());
        Ok(Progress::Done)
    }
}

#[test]
fn idle_instances_do_not_hold_back_event_time() {
    for workers in 1..=3 {
        let mesh = Mesh::start(config(workers)).unwrap();
        let seen = Arc::new(AtomicI64::new(i64::MIN));
        let waiting: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let over: Arc<AtomicBool> = Arc::default();
        let (s, w) = (seen.clone(), waiting.clone());
        let source = NodeKind::Source(Arc::new(move |context: &OperatorContext| {
            let (seen, over, waiting) = (s.clone(), over.clone(), w.clone());
            Ok(Box::new(OneActive { worker: context.worker, now: 0, seen, over, waiting, waker: context.waker.clone() }))
        }));
        let sink = NodeKind::Operator(Arc::new(move |_| {
            Ok(Box::new(Sees { seen: seen.clone(), waiting: waiting.clone(), last: i64::MIN }))
        }));
        let nodes = vec![node(0, "source", source, vec![], 1), node(1, "sees", sink, vec![Edge::new(0, 0, Route::Rebalance)], 0)];
        finish(mesh.submit(&Plan::new("idle", nodes)).unwrap()).unwrap();
    }
}

/// Takes records' values as event times.
struct Assigns {
    watermark: i64,
}

impl Operator for Assigns {
    fn process(&mut self, _: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let times: Vec<i64> = kit::peek(&batch).iter().map(|n| *n as i64).collect();
        self.watermark = times.iter().copied().fold(self.watermark, i64::max);
        batch.event_times = Some(times);
        out.send(0, batch)?;
        Ok(Progress::Done)
    }
    fn watermark(&self) -> i64 {
        self.watermark
    }
}

#[test]
fn an_assigner_in_mid_graph_sets_the_watermark() {
    struct Check {
        watermarks: Arc<AtomicU64>,
        watermark: i64,
    }
    impl Operator for Check {
        fn process(&mut self, _: usize, batch: Batch, _: &mut dyn Output) -> Result<Progress> {
            assert!(batch.event_times.unwrap().iter().all(|t| *t > self.watermark));
            Ok(Progress::Done)
        }
        fn on_watermark(&mut self, watermark: i64, _: &mut dyn Output) -> Result<Progress> {
            self.watermark = watermark;
            if watermark < i64::MAX {
                self.watermarks.fetch_add(1, SeqCst);
            }
            Ok(Progress::Done)
        }
    }
    let mesh = Mesh::start(config(2)).unwrap();
    let watermarks: Arc<AtomicU64> = Arc::default();
    let counted = watermarks.clone();
    let assigner = NodeKind::TimestampAssigner(Arc::new(|_| Ok(Box::new(Assigns { watermark: i64::MIN }))));
    let check = NodeKind::Operator(Arc::new(move |_| Ok(Box::new(Check { watermarks: counted.clone(), watermark: i64::MIN }))));
    let nodes = vec![
        node(0, "numbers", numbers(100_000, 10), vec![], 1),
        node(1, "assigner", assigner, vec![Edge::forward(0, 0)], 1),
        node(2, "check", check, vec![Edge::new(1, 0, Route::Rebalance)], 0),
    ];
    finish(mesh.submit(&Plan::new("assigner", nodes)).unwrap()).unwrap();
    assert!(watermarks.load(SeqCst) > 0);
}

/// Checkpoints in memory, a part written by another thread some time after it was handed over.
struct Memory {
    parts: Arc<Mutex<BTreeMap<u64, Vec<SnapshotPart>>>>,
    writer: Mutex<Sender<(SnapshotPart, SaveDone)>>,
    completed: Mutex<Sender<u64>>,
    restored: Option<u64>,
}

impl Memory {
    fn new(parts: Arc<Mutex<BTreeMap<u64, Vec<SnapshotPart>>>>, restored: Option<u64>) -> (Arc<Self>, Receiver<u64>) {
        let (writer, written) = channel::<(SnapshotPart, SaveDone)>();
        let (completed, completions) = channel();
        let kept = parts.clone();
        std::thread::spawn(move || {
            for (part, done) in written {
                kept.lock().unwrap().entry(part.epoch).or_default().push(part);
                done(Ok(()));
            }
        });
        (Arc::new(Self { parts, writer: Mutex::new(writer), completed: Mutex::new(completed), restored }), completions)
    }
}

impl CheckpointStore for Memory {
    fn first_epoch(&self) -> u64 {
        self.restored.map_or(0, |epoch| epoch + 1)
    }
    fn load(&self, context: &OperatorContext) -> Result<Option<RestoredInstance>> {
        let Some(epoch) = self.restored else { return Ok(None) };
        let parts = self.parts.lock().unwrap();
        let of_node = of_node_parts(&parts[&epoch], context.node);
        // As with a real store, key groups (here: the key itself) go to their owner, other state to everybody.
        let mine = |s: &&StateSection| s.key_group.is_none_or(|key| key as usize % context.workers == context.worker);
        let sections = of_node.flat_map(|p| p.snapshot.sections.iter()).filter(mine).cloned().collect();
        let watermark = of_node_parts(&parts[&epoch], context.node).map(|p| p.watermark).min().unwrap_or(i64::MIN);
        Ok(Some(RestoredInstance { state: Restored { epoch, sections }, watermark, ended: false }))
    }
    fn save(&self, part: SnapshotPart, done: SaveDone) {
        self.writer.lock().unwrap().send((part, done)).unwrap();
    }
    fn complete(&self, completion: Completion, done: SaveDone) {
        if !completion.last {
            let _ = self.completed.lock().unwrap().send(completion.epoch);
        }
        done(Ok(()));
    }
}

fn of_node_parts(parts: &[SnapshotPart], node: usize) -> impl Iterator<Item = &SnapshotPart> {
    parts.iter().filter(move |p| p.node == node)
}

fn section(name: &str, key_group: Option<u16>, words: &[u64]) -> StateSection {
    let bytes = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    StateSection { name: name.into(), key_group, schema: "u64 le".into(), bytes, ..StateSection::default() }
}

fn words(section: &StateSection) -> Vec<u64> {
    section.bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect()
}

/// Counts from a position that it keeps.
struct Positioned {
    name: String,
    next: u64,
    end: Arc<AtomicU64>,
    step: u64,
}

impl Source for Positioned {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if self.next >= self.end.load(SeqCst) {
            return Ok(Progress::Done);
        }
        let batch: Vec<u64> = (0..10).map(|i| self.next + i * self.step).filter(|n| *n < self.end.load(SeqCst)).collect();
        self.next += batch.len() as u64 * self.step;
        out.send(0, Batch::typed(batch))?;
        Ok(Progress::More)
    }
    fn snapshot(&mut self, _: u64) -> Result<Snapshot> {
        Ok(Snapshot { sections: vec![section(&self.name, None, &[self.next])], ..Snapshot::default() })
    }
    fn restore(&mut self, state: Restored) -> Result<()> {
        let position = state.sections.iter().find(|s| s.name == self.name).expect("its own position");
        self.next = words(position)[0];
        Ok(())
    }
}

fn positioned(end: &Arc<AtomicU64>) -> NodeKind {
    let end = end.clone();
    NodeKind::Source(Arc::new(move |context: &OperatorContext| {
        let name = format!("position {}", context.worker);
        Ok(Box::new(Positioned { name, next: context.worker as u64, end: end.clone(), step: context.workers as u64 }))
    }))
}

const KEYS: u64 = 16;

fn by_key() -> Route {
    struct ByKey;
    impl fluvial_core::runtime::Partitioner for ByKey {
        fn split(&mut self, batch: Batch, targets: usize, emit: fluvial_core::runtime::Emit<'_>) -> Result<()> {
            let mut split = vec![Vec::new(); targets];
            values(batch).into_iter().for_each(|n| split[(n % KEYS) as usize % targets].push(n));
            split.into_iter().enumerate().try_for_each(|(target, values)| emit(target, Batch::typed(values)))
        }
        fn flush(&mut self, _: usize, _: fluvial_core::runtime::Emit<'_>) -> Result<()> {
            Ok(())
        }
    }
    Route::Partition(Arc::new(|| Box::new(ByKey)))
}

/// Sums by key, given out at the end.
struct Sums {
    sums: HashMap<u64, u64>,
    results: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl Operator for Sums {
    fn process(&mut self, _: usize, batch: Batch, _: &mut dyn Output) -> Result<Progress> {
        values(batch).into_iter().for_each(|n| *self.sums.entry(n % KEYS).or_default() += n);
        Ok(Progress::Done)
    }
    fn finish(&mut self, _: &mut dyn Output) -> Result<Progress> {
        self.results.lock().unwrap().extend(self.sums.iter());
        Ok(Progress::Done)
    }
    fn snapshot(&mut self, _: u64) -> Result<Snapshot> {
        let sections = self.sums.iter().map(|(key, sum)| section("sums", Some(*key as u16), &[*key, *sum])).collect();
        Ok(Snapshot { sections, ..Snapshot::default() })
    }
    fn restore(&mut self, state: Restored) -> Result<()> {
        self.sums.extend(state.sections.iter().map(words).map(|w| (w[0], w[1])));
        Ok(())
    }
}

/// In a streaming loop: the high half of a number counts its turns down.
fn turns() -> NodeKind {
    kit::operator(|_, batch, out| {
        let (leave, stay): (Vec<u64>, Vec<u64>) = values(batch).into_iter().partition(|n| n >> 32 == 0);
        out.send(0, Batch::typed(stay.into_iter().map(|n| n - (1 << 32)).collect::<Vec<u64>>()))?;
        out.send(1, Batch::typed(leave))?;
        Ok(Progress::Done)
    })
}

fn looped_sum(end: &Arc<AtomicU64>, results: &Arc<Mutex<BTreeMap<u64, u64>>>) -> Plan {
    let results = results.clone();
    let sums = NodeKind::Operator(Arc::new(move |_| Ok(Box::new(Sums { sums: HashMap::new(), results: results.clone() }))));
    let nodes = vec![
        node(0, "positions", positioned(end), vec![], 1),
        node(1, "turns to go", map(|n| n | (n % 5) << 32), vec![Edge::forward(0, 0)], 1),
        node(2, "head", NodeKind::StreamingLoopHead(None), vec![Edge::forward(1, 0), wide(3, 0, by_hash()).feedback()], 1),
        node(3, "turns", turns(), vec![Edge::new(2, 0, by_hash())], 2),
        node(4, "exit", NodeKind::LoopExit, vec![Edge::forward(3, 1)], 1),
        node(5, "sums", sums, vec![Edge::new(4, 0, by_key())], 0),
    ];
    Plan::new("looped sum", nodes)
}

fn expected(count: u64) -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    (0..count).for_each(|n| *sums.entry(n % KEYS).or_insert(0) += n);
    sums
}

/// Sends barriers until `epochs` checkpoints are complete; gives the last.
fn checkpoints(control: &JobControl, completions: &Receiver<u64>, epochs: usize) -> u64 {
    let mut last = 0;
    for _ in 0..epochs {
        control.trigger_epoch();
        last = completions.recv_timeout(DEADLINE).unwrap();
    }
    last
}

#[test]
fn a_restored_job_goes_on_exactly_once_with_what_was_in_a_loop() {
    for workers in 1..=3 {
        // What waits behind barriers is what the next barrier waits for: little, so that checkpoints come quickly.
        let mesh = Mesh::start(RunConfig { stash_bytes: 64 << 10, ..config(workers) }).unwrap();
        let (end, results) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::default());
        let plan = looped_sum(&end, &results);
        let parts = Arc::default();
        let mut restored = None;
        for _ in 0..2 {
            let (store, completions) = Memory::new(Arc::clone(&parts), restored);
            let job = mesh.submit_with(&plan, Some(Checkpointing::new(store))).unwrap();
            restored = Some(checkpoints(&job.control(), &completions, 3));
            job.control().abort(Error::User("a failure".into()));
            let error = finish(job).unwrap_err().to_string();
            assert_eq!(error, "a failure");
        }
        assert_eq!(restored, Some(5), "epochs go on where the restored checkpoint ended");
        let sections: usize = parts.lock().unwrap()[&5].iter().filter(|p| p.node == 2).map(|p| p.snapshot.sections.len()).sum();
        let position = |p: &SnapshotPart| p.snapshot.sections.iter().map(|s| words(s)[0]).collect::<Vec<u64>>();
        let positions: Vec<u64> = parts.lock().unwrap()[&5].iter().filter(|p| p.node == 0).flat_map(position).collect();
        let count = positions.iter().max().unwrap() + 5_000;
        end.store(count, SeqCst);
        let (store, _completions) = Memory::new(parts, restored);
        finish(mesh.submit_with(&plan, Some(Checkpointing::new(store))).unwrap()).unwrap();
        assert_eq!(*results.lock().unwrap(), expected(count), "{workers} workers, {sections} batches in the loop");
    }
}

#[test]
fn a_stopped_job_drains() {
    let mesh = Mesh::start(config(2)).unwrap();
    let (sink, taken) = (Collected::default(), Arc::new(AtomicU64::new(0)));
    let counted = taken.clone();
    let (started, wait) = channel();
    let started = Mutex::new(Some(started));
    let started = Arc::new(started);
    let count = kit::operator(move |_, batch, out| {
        drop(started.lock().unwrap().take());
        counted.fetch_add(batch.len() as u64, SeqCst);
        out.send(0, batch)?;
        Ok(Progress::Done)
    });
    let nodes = vec![
        node(0, "numbers", numbers(1 << 60, 10), vec![], 1),
        node(1, "count", count, vec![Edge::forward(0, 0)], 1),
        node(2, "collect", collect(&sink), vec![Edge::new(1, 0, by_hash())], 0),
    ];
    let job = mesh.submit(&Plan::new("endless", nodes)).unwrap();
    let control = job.control();
    // Ends when the first batch has been counted.
    let _: std::result::Result<(), _> = wait.recv_timeout(DEADLINE);
    control.stop();
    let report = finish(job).unwrap();
    assert_eq!(sink.take().len() as u64, taken.load(SeqCst));
    assert_eq!(report.nodes[0].records_out, taken.load(SeqCst));
}

/// Says what becomes of it at the end.
struct Commits {
    log: Arc<Mutex<Vec<&'static str>>>,
    fails: bool,
}

impl Operator for Commits {
    fn process(&mut self, _: usize, _: Batch, _: &mut dyn Output) -> Result<Progress> {
        Ok(Progress::Done)
    }
    fn finish(&mut self, _: &mut dyn Output) -> Result<Progress> {
        self.log.lock().unwrap().push("finish");
        if self.fails { Err(Error::User("late".into())) } else { Ok(Progress::Done) }
    }
    fn checkpoint_complete(&mut self, _: u64) -> Result<()> {
        self.log.lock().unwrap().push("commit");
        Ok(())
    }
    fn commits(&self) -> bool {
        true
    }
    fn abort(&mut self) {
        self.log.lock().unwrap().push("abort");
    }
}

#[test]
fn sinks_commit_when_all_have_finished_and_not_before() {
    let workers = 3;
    let mesh = Mesh::start(config(workers)).unwrap();
    for fails in [false, true] {
        let log: Arc<Mutex<Vec<&'static str>>> = Arc::default();
        let kept = log.clone();
        let sink = NodeKind::Operator(Arc::new(move |context: &OperatorContext| {
            Ok(Box::new(Commits { log: kept.clone(), fails: fails && context.worker == 1 }))
        }));
        let nodes =
            vec![node(0, "numbers", numbers(100, 10), vec![], 1), node(1, "sink", sink, vec![Edge::new(0, 0, by_hash())], 0)];
        let result = finish(mesh.submit(&Plan::new("commits", nodes)).unwrap());
        let log = log.lock().unwrap();
        let count = |what: &str| log.iter().filter(|l| **l == what).count();
        if fails {
            assert_eq!(result.unwrap_err().to_string(), "operator `sink`: late");
            assert_eq!((count("commit"), count("abort")), (0, workers));
        } else {
            result.unwrap();
            assert_eq!(log[..workers], ["finish"; 3]);
            assert_eq!(log[workers..], ["commit"; 3]);
        }
    }
}
