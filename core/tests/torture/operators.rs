//! Operators that are awkward in every way the trait allows, and one around them all that watches the protocol.

use super::tally::{Sums, Tally};
use super::{Record, mix};
use fluvial_core::{Batch, Error, Operator, Output, Progress, Records, Result, Snapshot, Source, Waker};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

pub fn records(batch: &Batch) -> &[Record] {
    let Records::Typed(records) = &batch.records else { panic!("records") };
    records.as_any().downcast_ref::<Vec<Record>>().expect("records")
}

fn take(batch: Batch) -> Vec<Record> {
    batch.into_typed::<Record>().expect("records")
}

/// Fails at the n-th call over all instances of the node.
#[derive(Clone)]
pub struct Injection {
    pub calls: Arc<AtomicU64>,
    pub at: u64,
    pub panics: bool,
    pub when: Arc<std::sync::Mutex<Option<Instant>>>,
}

impl Injection {
    fn call(&self) -> Result<()> {
        if self.calls.fetch_add(1, SeqCst) == self.at {
            *self.when.lock().unwrap() = Some(Instant::now());
            assert!(!self.panics, "injected");
            return Err(Error::User("injected".into()));
        }
        Ok(())
    }
}

/// Around every test operator: counts for the tally, checks the order of calls, injects failures.
pub struct Watched {
    pub inner: Box<dyn Operator>,
    pub tally: Arc<Tally>,
    pub node: usize,
    pub worker: usize,
    pub injection: Option<Injection>,
    pub sums: Sums,
    pub ended: Vec<usize>,
    pub watermark: Option<i64>,
    pub epoch: Option<u64>,
    pub busy: bool,
}

struct Counted<'a> {
    out: &'a mut dyn Output,
    sums: &'a mut Sums,
}

impl Output for Counted<'_> {
    fn send(&mut self, port: usize, batch: Batch) -> Result<()> {
        Sums::add(&mut self.sums.sent, port, records(&batch));
        self.out.send(port, batch)
    }
    fn congested(&self, port: usize) -> bool {
        self.out.congested(port)
    }
    fn superstep(&self) -> u64 {
        self.out.superstep()
    }
    fn set_timer(&mut self, at: i64) {
        self.out.set_timer(at);
    }
}

impl Watched {
    fn expect(&self, holds: bool, what: &str) {
        if !holds {
            self.tally.problem(format!("node {} on worker {}: {what}", self.node, self.worker));
        }
    }

    fn call(
        &mut self,
        out: &mut dyn Output,
        resumes: bool,
        f: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<Progress>,
    ) -> Result<Progress> {
        self.expect(resumes == self.busy, "resume is called after More or Waiting, and nothing else is");
        if let Some(injection) = &self.injection {
            injection.call()?;
        }
        let progress = f(&mut *self.inner, &mut Counted { out, sums: &mut self.sums })?;
        self.busy = progress != Progress::Done;
        Ok(progress)
    }
}

impl Operator for Watched {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.expect(!self.ended.contains(&input), "a batch after the end of its input");
        Sums::add(&mut self.sums.received, input, records(&batch));
        self.call(out, false, |o, out| o.process(input, batch, out))
    }
    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.call(out, true, |o, out| o.resume(out))
    }
    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        self.expect(!self.ended.contains(&input), "an input ends twice");
        self.ended.push(input);
        self.call(out, false, |o, out| o.end_input(input, out))
    }
    fn end_superstep(&mut self, superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        self.call(out, false, |o, out| o.end_superstep(superstep, out))
    }
    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.expect(self.watermark.is_none_or(|w| w < watermark), "a watermark that does not advance");
        self.watermark = Some(watermark);
        self.call(out, false, |o, out| o.on_watermark(watermark, out))
    }
    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.call(out, false, |o, out| o.on_timer(now, out))
    }
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let resumes = self.busy;
        let progress = self.call(out, resumes, |o, out| o.finish(out))?;
        if progress == Progress::Done {
            self.tally.end(self.node, self.worker, &self.sums);
        }
        Ok(progress)
    }
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.expect(self.epoch.is_none_or(|e| e + 1 == epoch), "an epoch is left out or comes again");
        self.expect(!self.busy, "a barrier passes in the middle of a call");
        self.epoch = Some(epoch);
        self.tally.snapshot(self.node, self.worker, epoch, &self.sums);
        Ok(Snapshot::default())
    }
}

/// Emits what others give it, a few records a call.
#[derive(Default)]
struct Backlog(VecDeque<(usize, Vec<Record>)>);

impl Backlog {
    fn push(&mut self, port: usize, records: Vec<Record>) {
        if !records.is_empty() {
            self.0.push_back((port, records));
        }
    }
    fn emit(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if let Some((port, records)) = self.0.pop_front() {
            out.send(port, Batch::typed(records))?;
        }
        Ok(if self.0.is_empty() { Progress::Done } else { Progress::More })
    }
}

/// A thread that wakes whoever asks, a little later: spill I/O, as the harness sees it.
pub fn io_thread() -> Sender<Waker> {
    let (sender, receiver) = channel::<Waker>();
    std::thread::spawn(move || receiver.iter().for_each(|waker| waker()));
    sender
}

/// `factor` records for each; in `pieces`, by `resume`; after I/O, where `io` is given; slow where `spins` is.
pub struct Map {
    pub salt: u64,
    pub factor: u64,
    pub split: bool,
    pub io: Option<(Sender<Waker>, Waker)>,
    pub spins: u64,
    pub backlog: Emitter,
}

/// A backlog that may wait for I/O first.
#[derive(Default)]
pub struct Emitter {
    backlog: Backlog,
    waits: bool,
}

/// What [`Map`] makes of a record of an input: port and record.
pub fn mapped(salt: u64, factor: u64, split: bool, input: usize, record: Record) -> Vec<(usize, Record)> {
    let value = mix(record.0 ^ salt ^ ((input as u64) << 60));
    let factor = if factor == 0 { value & 1 } else { factor };
    let port = |v: u64| if split { (v & 1) as usize } else { 0 };
    (0..factor).map(|copy| mix(value + copy)).map(|v| (port(v), (v, record.1))).collect()
}

impl Operator for Map {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        for _ in 0..self.spins {
            std::hint::spin_loop();
        }
        for chunk in take(batch).chunks(16) {
            let mut ports = [Vec::new(), Vec::new()];
            for record in chunk {
                mapped(self.salt, self.factor, self.split, input, *record).into_iter().for_each(|(p, r)| ports[p].push(r));
            }
            let [zero, one] = ports;
            self.backlog.backlog.push(0, zero);
            self.backlog.backlog.push(1, one);
        }
        self.backlog.waits = self.io.is_some();
        self.resume(out)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if let (true, Some((io, waker))) = (self.backlog.waits, &self.io) {
            self.backlog.waits = false;
            io.send(waker.clone()).expect("the thread lives as long as the test");
            return Ok(Progress::Waiting);
        }
        self.backlog.backlog.emit(out)
    }
}

/// Counts its input 0 by key; each record of input 1 then becomes its value and its key's count.
#[derive(Default)]
pub struct Join {
    counts: HashMap<u64, u64>,
    built: bool,
    waiting: VecDeque<Vec<Record>>,
}

pub const JOIN_KEYS: u64 = 16;

pub fn joined(count: u64, record: Record) -> Record {
    (mix(record.0 ^ mix(count)), record.1)
}

impl Operator for Join {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let records = take(batch);
        if input == 0 {
            records.iter().for_each(|r| *self.counts.entry(r.0 % JOIN_KEYS).or_default() += 1);
            return Ok(Progress::Done);
        }
        self.waiting.push_back(records);
        if self.built { self.resume(out) } else { Ok(Progress::Done) }
    }
    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if let Some(records) = self.waiting.pop_front() {
            let count = |r: &Record| self.counts.get(&(r.0 % JOIN_KEYS)).copied().unwrap_or(0);
            out.send(0, Batch::typed(records.iter().map(|r| joined(count(r), *r)).collect::<Vec<_>>()))?;
        }
        Ok(if self.waiting.is_empty() { Progress::Done } else { Progress::More })
    }
    fn end_input(&mut self, input: usize, out: &mut dyn Output) -> Result<Progress> {
        self.built |= input == 0;
        if self.built { self.resume(out) } else { Ok(Progress::Done) }
    }
}

/// Counts by key and window of event time; a window that fires twice, or gets a record after it fired, is a problem.
pub struct Windows {
    pub tally: Arc<Tally>,
    pub node: usize,
    pub counts: BTreeMap<(i64, u64), u64>,
    pub watermark: i64,
}

pub const WINDOW_KEYS: u64 = 7;
const WINDOW: i64 = 50;

pub fn window_of(record: Record) -> (i64, u64) {
    (record.1.div_euclid(WINDOW) * WINDOW + WINDOW, record.0 % WINDOW_KEYS)
}

pub fn window_result(end: i64, key: u64, count: u64) -> Record {
    (mix(key ^ mix(count)), end - 1)
}

impl Operator for Windows {
    fn process(&mut self, _: usize, batch: Batch, _: &mut dyn Output) -> Result<Progress> {
        for record in take(batch) {
            let window = window_of(record);
            if record.1 <= self.watermark {
                self.tally.problem(format!("windows {}: {record:?} is late, the watermark is {}", self.node, self.watermark));
            }
            *self.counts.entry(window).or_default() += 1;
        }
        Ok(Progress::Done)
    }
    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.watermark = watermark;
        let later = self.counts.split_off(&(watermark.saturating_add(2), 0));
        let due = std::mem::replace(&mut self.counts, later);
        let due: Vec<Record> = due.into_iter().map(|((end, key), count)| window_result(end, key, count)).collect();
        if !due.is_empty() {
            out.send(0, Batch::typed(due))?;
        }
        Ok(Progress::Done)
    }
}

/// Holds records until a processing-time timer, or the end.
#[derive(Default)]
pub struct Hold {
    held: Vec<Record>,
}

impl Operator for Hold {
    fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        if self.held.is_empty() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            out.set_timer(now.as_millis() as i64 + 2);
        }
        self.held.extend(take(batch));
        Ok(Progress::Done)
    }
    fn on_timer(&mut self, _: i64, out: &mut dyn Output) -> Result<Progress> {
        self.finish(out)
    }
    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if !self.held.is_empty() {
            out.send(0, Batch::typed(std::mem::take(&mut self.held)))?;
        }
        Ok(Progress::Done)
    }
}

/// Records of a loop: the low byte holds how often they have to go around (high half) and have yet to (low half).
pub fn loop_entry(record: Record) -> Record {
    let turns = record.0 % 5;
    ((mix(record.0) & !0xFF) | (turns << 4) | turns, record.1)
}

pub fn loop_turn(record: Record) -> Record {
    ((mix(record.0 >> 8) & !0xFF) | ((record.0 & 0xFF) - 1), record.1)
}

/// The body of a loop: records with turns left go to port 0, once around; others to port 1.
pub struct Body {
    pub tally: Arc<Tally>,
    /// In a bulk loop: what came in this superstep, sent at its end.
    pub bulk: bool,
    pub held: Vec<Record>,
    pub last: Option<u64>,
}

impl Body {
    fn send(records: Vec<Record>, out: &mut dyn Output) -> Result<()> {
        let (turn, leave): (Vec<Record>, Vec<Record>) = records.into_iter().partition(|r| r.0 & 0xF > 0);
        if !turn.is_empty() {
            out.send(0, Batch::typed(turn.into_iter().map(loop_turn).collect::<Vec<_>>()))?;
        }
        if !leave.is_empty() {
            out.send(1, Batch::typed(leave))?;
        }
        Ok(())
    }
}

impl Operator for Body {
    fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let records = take(batch);
        if !self.bulk {
            Self::send(records, out)?;
            return Ok(Progress::Done);
        }
        for record in &records {
            let turns = (record.0 >> 4 & 0xF) - (record.0 & 0xF);
            if turns != out.superstep() {
                self.tally.problem(format!("a record of superstep {turns} in superstep {}", out.superstep()));
            }
        }
        self.held.extend(records);
        Ok(Progress::Done)
    }
    fn end_superstep(&mut self, superstep: u64, out: &mut dyn Output) -> Result<Progress> {
        if superstep != out.superstep() {
            self.tally.problem(format!("superstep {superstep} ends in superstep {}", out.superstep()));
        }
        self.last = Some(superstep);
        Self::send(std::mem::take(&mut self.held), out)?;
        Ok(Progress::Done)
    }
    fn finish(&mut self, _: &mut dyn Output) -> Result<Progress> {
        if !self.held.is_empty() {
            self.tally.problem("records are left in a loop".into());
        }
        Ok(Progress::Done)
    }
}

/// Numbers with event times that rise with them, out of order by less than `jitter`.
pub struct Numbers {
    pub tally: Arc<Tally>,
    pub node: usize,
    pub worker: usize,
    pub next: u64,
    pub step: u64,
    pub end: u64,
    pub batch: usize,
    pub salt: u64,
    pub jitter: i64,
    pub injection: Option<Injection>,
    pub sums: Sums,
}

pub fn number(salt: u64, jitter: i64, n: u64) -> Record {
    let value = mix(n ^ salt);
    (value, n as i64 - (value >> 40) as i64 % jitter)
}

impl Source for Numbers {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if let Some(injection) = &self.injection {
            injection.call()?;
        }
        let count = (self.end.saturating_sub(self.next)).div_ceil(self.step).min(self.batch as u64);
        let batch: Vec<Record> = (0..count).map(|i| number(self.salt, self.jitter, self.next + i * self.step)).collect();
        self.next += count * self.step;
        if !batch.is_empty() {
            Sums::add(&mut self.sums.sent, 0, &batch);
            out.send(0, Batch::typed(batch))?;
        }
        if self.next < self.end {
            return Ok(Progress::More);
        }
        self.tally.end(self.node, self.worker, &self.sums);
        Ok(Progress::Done)
    }
    fn watermark(&self) -> i64 {
        self.next as i64 - self.jitter
    }
    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.tally.snapshot(self.node, self.worker, epoch, &self.sums);
        Ok(Snapshot::default())
    }
}
