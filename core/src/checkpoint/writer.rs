//! The thread that writes a process's state, and in the first process manifests too: so that no worker waits for a disk.

use super::manifest::{Contribution, Kind, MANIFEST, Manifest, OperatorEntry, StateEntry, folder_of};
use super::place::{Place, join};
use super::retention::Retention;
use super::runs::{LinkedRuns, Whole};
use super::state_file::{FileEntry, StateFileWriter, hex};
use super::stats::SharedStats;
use super::store::{Contributions, NodeIdentity, Part};
use crate::runtime::{Barrier, Completion, SaveDone, SnapshotPart, guard};
use crate::{Error, Result, StateSection};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the thread is told.
pub(super) enum Order {
    Begin {
        epoch: u64,
        barrier: Barrier,
    },
    Part(SnapshotPart, SaveDone),
    Complete(Completion, SaveDone),
    Decided {
        epoch: u64,
        complete: bool,
    },
    /// The job is over.
    End,
}

pub(super) struct WriterSetup {
    pub(super) place: Arc<dyn Place>,
    pub(super) job: String,
    pub(super) nodes: Arc<[NodeIdentity]>,
    pub(super) part: Part,
    pub(super) exactly_once: bool,
    /// In the first process.
    pub(super) retention: Option<Retention>,
    pub(super) contributions: Contributions,
    pub(super) stats: SharedStats,
}

/// The running thread.
pub(super) struct Writer {
    orders: Sender<Order>,
    /// Whether the job is over: what it still hands over is nothing to anybody.
    over: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(setup: WriterSetup) -> Result<Self> {
        let (orders, receiver) = channel();
        let thread = std::thread::Builder::new().name("checkpoints".into());
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let started = thread.spawn(move || Work::new(setup).run(&receiver, &seen));
        let thread = started.map_err(|e| Error::Checkpoint(format!("its thread could not be started: {e}")))?;
        Ok(Self { orders, over, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn order(&self, order: Order) {
        // Once the job is over nobody takes it.
        let _ = self.orders.send(order);
    }

    /// Ends the thread, and waits until it has. What waits for it holds the job, and the job holds this: so it must be told.
    pub(super) fn close(&self) {
        self.over.store(true, SeqCst);
        self.order(Order::End);
        if let Some(thread) = self.thread.lock().unwrap_or_else(|e| e.into_inner()).take() {
            // A panic in there has been reported.
            let _ = thread.join();
        }
    }
}

struct Work {
    setup: WriterSetup,
    /// Part of the name of every file of this run.
    nonce: u64,
    files: u64,
    open: BTreeMap<u64, Epoch>,
    /// By the epoch in which they ended: instances whose state is safe, or waits below.
    ended_in: BTreeMap<u64, usize>,
    /// By the epoch in which they ended: what instances left, of which the files are safe. It is part of the checkpoints from that
    /// epoch on, and not of those before: in these the same instances have their state as of then.
    ended: BTreeMap<u64, Contribution>,
    /// What ended instances left and could not be written yet, and why.
    unsafe_ended: Vec<EncodedPart>,
    problem: Option<String>,
    /// Why state of an ended instance can never be written.
    lost: Option<String>,
}

/// A checkpoint whose parts are coming in.
struct Epoch {
    place: Arc<dyn Place>,
    folder: String,
    savepoint: Option<String>,
    /// When its barrier set out here.
    began: Instant,
    triggered: i64,
    first_part: Option<Instant>,
    file: Option<(String, StateFileWriter)>,
    passed: usize,
    said: Contribution,
    waiting: Vec<SaveDone>,
    failed: Option<String>,
    runs: LinkedRuns,
}

/// State of an ended instance.
struct EncodedPart {
    epoch: u64,
    uid: String,
    worker: usize,
    entry: OperatorEntry,
    sections: Vec<StateSection>,
    done: Option<SaveDone>,
}

impl Work {
    fn new(setup: WriterSetup) -> Self {
        // Seeded by the system: of two processes, or two runs, never the same.
        let nonce = RandomState::new().hash_one(std::process::id());
        let (open, ended_in, ended, unsafe_ended) = Default::default();
        Self { setup, nonce, files: 0, open, ended_in, ended, unsafe_ended, problem: None, lost: None }
    }

    fn run(mut self, orders: &Receiver<Order>, over: &AtomicBool) {
        while let Ok(mut order) = orders.recv() {
            loop {
                if over.load(SeqCst) {
                    return;
                }
                self.take(order);
                // Instances end at about the same time: their state goes to one file.
                match orders.try_recv() {
                    Ok(next) => order = next,
                    Err(_) => break,
                }
            }
            self.save_ended();
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::End => {}
            Order::Begin { epoch, barrier } => self.begin(epoch, barrier),
            Order::Part(part, done) if part.ended => self.instance_ended(part, done),
            Order::Part(part, done) => self.save(part, done),
            Order::Complete(completion, done) => {
                let result = self.complete(&completion);
                let complete = result.is_ok();
                done(result);
                if complete
                    && let Some(retention) = &mut self.setup.retention
                    && let Err(error) = retention.sweep(&*self.setup.place)
                {
                    tracing::warn!(%error, "old checkpoints could not be removed");
                }
            }
            Order::Decided { epoch, complete } => {
                if let Some(epoch) = self.open.remove(&epoch).filter(|_| !complete) {
                    self.setup.stats.failed();
                    // What was written of it alone is nothing to anybody. Runs of live state are part of the next one.
                    for file in epoch.said.files.iter().filter(|file| !file.path.starts_with("../")) {
                        let _ = epoch.place.remove(&join(&epoch.folder, &file.path));
                    }
                }
            }
        }
    }

    fn begin(&mut self, epoch: u64, barrier: Barrier) {
        let (savepoint, place) = match barrier {
            Barrier::Checkpoint => (None, Ok(self.setup.place.clone())),
            Barrier::Savepoint { to, .. } => {
                let place = savepoint_place(&to);
                (Some(to), place)
            }
        };
        let folder = if savepoint.is_some() { String::new() } else { folder_of(epoch) };
        let (place, failed) = match place {
            Ok(place) => (place, None),
            Err(error) => (self.setup.place.clone(), Some(error.to_string())),
        };
        let opened = Epoch {
            place,
            folder,
            savepoint,
            began: Instant::now(),
            triggered: now(),
            first_part: None,
            file: None,
            passed: 0,
            said: Contribution::default(),
            waiting: Vec::new(),
            failed,
            runs: LinkedRuns::new(self.run_prefix(), epoch),
        };
        self.open.insert(epoch, opened);
        // Where everything has ended here already, nobody will come.
        self.settle(epoch);
    }

    /// Begins the names of runs in the place of checkpoints.
    fn run_prefix(&self) -> String {
        format!("p{}-{:016x}", self.setup.part.process, self.nonce)
    }

    fn next_name(&mut self) -> String {
        self.files += 1;
        format!("p{}-{:016x}-{}.state", self.setup.part.process, self.nonce, self.files)
    }

    /// A running instance has passed a barrier.
    fn save(&mut self, part: SnapshotPart, done: SaveDone) {
        let name = self.next_name();
        let identity = self.setup.nodes[part.node].clone();
        let number = part.epoch;
        let Some(epoch) = self.open.get_mut(&number) else {
            return done(Err(Error::Checkpoint(format!("state of epoch {number} came, which has not begun"))));
        };
        epoch.first_part.get_or_insert_with(Instant::now);
        epoch.passed += 1;
        epoch.waiting.push(done);
        if epoch.failed.is_none()
            && let Err(error) = epoch.add(&identity, part, name)
        {
            epoch.failed = Some(error.to_string());
            epoch.file = None;
        }
        self.settle(number);
    }

    /// Ends the file of an epoch that everything in this process has passed.
    fn settle(&mut self, number: u64) {
        let ended: usize = self.ended_in.range(..=number).map(|(_, n)| n).sum();
        let Some(epoch) = self.open.get(&number) else { return };
        if epoch.passed + ended < self.setup.nodes.len() * self.setup.part.local_workers {
            return;
        }
        // A checkpoint without what ended instances left is none.
        self.write_ended();
        let Some(epoch) = self.open.get_mut(&number) else { return };
        if epoch.failed.is_none() {
            epoch.failed.clone_from(&self.lost);
        }
        if epoch.failed.is_none() && self.unsafe_ended.iter().any(|part| part.epoch <= number) {
            epoch.failed.clone_from(&self.problem);
        }
        if epoch.failed.is_none()
            && let Err(error) = epoch.finish()
        {
            epoch.failed = Some(error.to_string());
        }
        let mut said = epoch.said.clone();
        said.problem.clone_from(&epoch.failed);
        let (failed, waiting) = (epoch.failed.clone(), std::mem::take(&mut epoch.waiting));
        self.ended_by(number, &mut said);
        self.say(Some(number), &said);
        for done in waiting {
            done(failed.clone().map_or(Ok(()), |problem| Err(Error::Checkpoint(problem))));
        }
    }

    fn say(&self, epoch: Option<u64>, said: &Contribution) {
        self.setup.contributions.lock().unwrap_or_else(|e| e.into_inner()).insert(epoch, said.encode());
    }

    /// What stands for the instances that have ended.
    fn say_ended(&self) {
        let mut said = Contribution { problem: self.problem.clone(), ..Contribution::default() };
        self.ended_by(u64::MAX, &mut said);
        self.say(None, &said);
    }

    /// Adds what stands for the instances that had ended by the end of an epoch. Paths are relative to the folder of any
    /// checkpoint.
    fn ended_by(&self, epoch: u64, said: &mut Contribution) {
        for ended in self.ended.range(..=epoch).map(|(_, ended)| ended) {
            for (uid, operator) in &ended.operators {
                match said.operators.get_mut(uid) {
                    Some(sum) => sum.add(operator.clone()),
                    None => drop(said.operators.insert(uid.clone(), operator.clone())),
                }
            }
            let from = |file: &FileEntry| FileEntry { path: format!("../{}", file.path), ..file.clone() };
            said.files.extend(ended.files.iter().map(from));
        }
    }

    /// An instance has processed all there is: what it leaves stands for the rest of the job.
    fn instance_ended(&mut self, part: SnapshotPart, done: SaveDone) {
        let identity = &self.setup.nodes[part.node];
        let mut sections = Vec::new();
        let mut entry = OperatorEntry { ended: vec![part.worker as u32], ..identity.entry(part.watermark) };
        let (epoch, worker) = (part.epoch, part.worker);
        let encoded = encode(part, &mut |section| {
            entry.count(&section);
            sections.push(section);
            Ok(())
        });
        *self.ended_in.entry(epoch).or_default() += 1;
        match encoded {
            Ok(()) => {
                let uid = identity.uid.clone();
                self.unsafe_ended.push(EncodedPart { epoch, uid, worker, entry, sections, done: Some(done) });
            }
            Err(error) => {
                self.lost = Some(error.to_string());
                self.problem.clone_from(&self.lost);
                done(Err(error));
            }
        }
        let waiting: Vec<u64> = self.open.range(epoch..).map(|(number, _)| *number).collect();
        waiting.into_iter().for_each(|number| self.settle(number));
    }

    /// Writes what ended instances left, and says so.
    fn save_ended(&mut self) {
        if self.unsafe_ended.iter().all(|part| part.done.is_none()) {
            return;
        }
        self.write_ended();
        self.say_ended();
        // Where it could not be written it is tried again with every checkpoint: the job need not fail for it.
        let waiting: Vec<SaveDone> = self.unsafe_ended.iter_mut().filter_map(|part| part.done.take()).collect();
        waiting.into_iter().for_each(|done| done(Ok(())));
    }

    /// Writes what is not safe yet, a file an epoch. What cannot be written stays.
    fn write_ended(&mut self) {
        if self.unsafe_ended.is_empty() {
            return;
        }
        let mut waiting = Vec::new();
        self.problem.clone_from(&self.lost);
        while let Some(epoch) = self.unsafe_ended.iter().map(|part| part.epoch).min() {
            let path = join(&folder_of(epoch), &self.next_name());
            let of_epoch = |part: &&EncodedPart| part.epoch == epoch;
            let runs = LinkedRuns::new(format!("{}-e{}", self.run_prefix(), self.files), epoch);
            match write_parts(&*self.setup.place, &path, runs, self.unsafe_ended.iter().filter(of_epoch)) {
                Ok(files) => {
                    let safe = self.ended.entry(epoch).or_default();
                    safe.files.extend(files);
                    for part in self.unsafe_ended.extract_if(.., |part| part.epoch == epoch) {
                        match safe.operators.get_mut(&part.uid) {
                            Some(sum) => sum.add(part.entry),
                            None => drop(safe.operators.insert(part.uid, part.entry)),
                        }
                        waiting.extend(part.done);
                    }
                }
                Err(error) => {
                    self.problem = Some(error.to_string());
                    break;
                }
            }
        }
        self.say_ended();
        waiting.into_iter().for_each(|done| done(Ok(())));
    }

    /// In the first process: makes a checkpoint of what all have written.
    fn complete(&mut self, completion: &Completion) -> Result<()> {
        let mut sum = Contribution::sum(&completion.contributions)?;
        let epoch = self.open.get(&completion.epoch);
        let savepoint = completion.savepoint.as_ref().or_else(|| epoch.and_then(|e| e.savepoint.as_ref())).cloned();
        let (place, folder) = match &savepoint {
            Some(to) => (savepoint_place(to)?, String::new()),
            None => (self.setup.place.clone(), folder_of(completion.epoch)),
        };
        if savepoint.is_some() {
            for file in &mut sum.files {
                bring(&*self.setup.place, &*place, file)?;
            }
        }
        let triggered = epoch.map_or_else(now, |e| e.triggered);
        let manifest = Manifest {
            id: completion.epoch,
            job: self.setup.job.clone(),
            kind: if savepoint.is_some() { Kind::Savepoint } else { Kind::Checkpoint },
            last: completion.last,
            exactly_once: self.setup.exactly_once,
            triggered,
            completed: epoch.map_or(triggered, |e| triggered + e.began.elapsed().as_millis() as i64),
            workers: self.setup.part.workers as u32,
            key_groups: fluvial_memory::hash::KEY_GROUPS,
            operators: sum.operators,
            files: sum.files,
            cost: sum.cost,
        };
        place.publish(&join(&folder, MANIFEST), &manifest.encode())?;
        self.setup.stats.completed(&manifest);
        if savepoint.is_none()
            && let Some(retention) = &mut self.setup.retention
        {
            retention.completed(&manifest);
        }
        Ok(())
    }
}

impl NodeIdentity {
    fn entry(&self, watermark: i64) -> OperatorEntry {
        let watermark = (watermark > i64::MIN).then_some(watermark);
        OperatorEntry { name: self.name.clone(), named: self.named, watermark, ..OperatorEntry::default() }
    }
}

impl OperatorEntry {
    fn count(&mut self, section: &StateSection) {
        let state = self.states.entry(section.name.clone()).or_default();
        if state.sections == 0 {
            *state = StateEntry { schema: section.schema.clone(), keys: section.keys.clone(), ..StateEntry::default() };
        }
        state.sections += 1;
        state.bytes += section.byte_len();
    }
}

impl Epoch {
    /// Writes an instance's state.
    fn add(&mut self, identity: &NodeIdentity, part: SnapshotPart, name: String) -> Result<()> {
        let cost = &mut self.said.cost;
        cost.snapshot = cost.snapshot.max(millis(part.cost.snapshot));
        cost.alignment = cost.alignment.max(millis(part.cost.alignment));
        cost.aligned_bytes += part.cost.aligned_bytes;
        let mut entry = identity.entry(part.watermark);
        let Self { file, place, folder, savepoint, said, runs, .. } = self;
        let worker = part.worker;
        let mut add = |section: &StateSection| {
            if file.is_none() {
                *file = Some((name.clone(), StateFileWriter::create(&**place, &join(folder, &name))?));
            }
            file.as_mut().map_or(Ok(()), |(_, writer)| writer.add(&identity.uid, worker, section))
        };
        // In a savepoint state is whole, so that it can be moved and read by whatever keeps its state elsewhere.
        let mut whole = Whole::default();
        encode(part, &mut |section| match &section.stored {
            None => {
                entry.count(&section);
                add(&section)
            }
            Some(_) if savepoint.is_some() => whole.take(section, &mut |section| {
                entry.count(&section);
                add(&section)
            }),
            Some(stored) => {
                entry.count(&section);
                runs.link(stored, &**place, folder, said)
            }
        })?;
        whole.end(&mut |section| {
            entry.count(&section);
            add(&section)
        })?;
        match self.said.operators.get_mut(&identity.uid) {
            Some(sum) => sum.add(entry),
            None => drop(self.said.operators.insert(identity.uid.clone(), entry)),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.runs.settle(&*self.place)?;
        if let Some((path, writer)) = self.file.take() {
            let (bytes, checksum) = writer.finish()?;
            self.said.cost.new_bytes += bytes;
            self.said.files.push(FileEntry { path, bytes, checksum: hex(checksum) });
        }
        self.said.cost.writing = self.first_part.map_or(0.0, |at| millis(at.elapsed()));
        Ok(())
    }
}

/// Encodes a part; a panic of a user's serialization is an error of this checkpoint.
fn encode(part: SnapshotPart, sink: &mut crate::SectionSink<'_>) -> Result<()> {
    let name = part.name;
    let snapshot = part.snapshot;
    let encoded = guard(|| snapshot.encode(sink)).unwrap_or_else(|panic| Err(Error::User(format!("panicked: {panic}"))));
    encoded.map_err(|error| match error {
        error @ Error::File { .. } => error,
        error => Error::Checkpoint(format!("state of operator `{name}`: {error}")),
    })
}

/// Writes state of ended instances to a file, and links to their runs. Paths are relative to the place. Where nothing was left,
/// nothing is written.
fn write_parts<'a>(
    place: &dyn Place,
    path: &str,
    mut runs: LinkedRuns,
    parts: impl Iterator<Item = &'a EncodedPart> + Clone,
) -> Result<Vec<FileEntry>> {
    let sections = parts.flat_map(|part| part.sections.iter().map(move |section| (part, section)));
    let mut said = Contribution::default();
    let mut file: Option<StateFileWriter> = None;
    for (part, section) in sections {
        if let Some(stored) = &section.stored {
            runs.link(stored, place, "", &mut said)?;
            continue;
        }
        if file.is_none() {
            file = Some(StateFileWriter::create(place, path)?);
        }
        if let Some(file) = &mut file {
            file.add(&part.uid, part.worker, section)?;
        }
    }
    runs.settle(place)?;
    for file in &mut said.files {
        file.path = file.path.trim_start_matches("../").to_owned();
    }
    if let Some(file) = file {
        let (bytes, checksum) = file.finish()?;
        said.files.push(FileEntry { path: path.to_owned(), bytes, checksum: hex(checksum) });
    }
    Ok(said.files)
}

/// Has a file in a savepoint's folder: one of an ended instance lies elsewhere.
fn bring(from: &dyn Place, to: &dyn Place, file: &mut FileEntry) -> Result<()> {
    /// Copied at a time.
    const STEP: u64 = 4 << 20;
    let Some(path) = file.path.strip_prefix("../") else { return Ok(()) };
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut copy = to.create(&name)?;
    let mut at = 0;
    while at < file.bytes {
        let end = (at + STEP).min(file.bytes);
        copy.write(&from.read_range(path, at..end)?)?;
        at = end;
    }
    copy.finish()?;
    file.path = name;
    Ok(())
}

/// Where a savepoint goes.
///
/// # Errors
/// There is one already, or something else.
fn savepoint_place(to: &str) -> Result<Arc<dyn Place>> {
    let place = super::place::parse(to)?;
    if place.length(MANIFEST)?.is_some() {
        return Err(Error::Checkpoint(format!("{} is there already", place.shown(MANIFEST).display())));
    }
    Ok(place)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Milliseconds UTC.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
