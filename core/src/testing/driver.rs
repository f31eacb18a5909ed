use crate::graph::{Body, NodeMetrics, TaskContext};
use crate::{
    Batch, Data, DataStream, Error, Operator, OperatorContext, Output, Progress, Restored, Result, Shared, StateSection,
};
use fluvial_memory::{MemoryManager, SpillConfig, SpillManager};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an operator may wait to be woken before the test counts as hanging.
const DEADLINE: Duration = Duration::from_secs(20);

/// Pool of an operator under test, in bytes.
const MEMORY: usize = 64 << 20;

/// What an operator has given, in the order in which the next operator would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Emitted<U> {
    /// A record on an output port; `time` is `i64::MIN` where the batch had no event times.
    Record { port: usize, record: U, time: i64 },
    /// A watermark was announced: what follows is later.
    Watermark(i64),
}

/// Drives one instance of an operator. A call goes on until the operator is done with it, waiting where it waits; then
/// the watermark is announced as far as the operator lets it.
///
/// Of the harness's order of calls at the end of the input ([`OperatorDriver::end`]) and of everything else the test is in
/// charge.
pub(crate) struct OperatorDriver {
    operator: Box<dyn Operator>,
    recorder: Recorder,
    waking: Arc<Waking>,
    /// Wakes that had come before the last call of the operator.
    seen: u64,
    pending: Option<Pending>,
    /// The last watermark that the operator is done with.
    watermark: i64,
    announced: i64,
    epoch: u64,
}

/// A call that the operator is not done with.
#[derive(Clone, Copy)]
struct Pending {
    finishing: bool,
    waiting: bool,
}

impl OperatorDriver {
    /// Opens an operator as the only instance. One that takes its waker when it is made is given to
    /// [`OperatorDriver::make`] instead.
    pub(crate) fn new(operator: Box<dyn Operator>) -> Self {
        let made = Self::make(0, 1, |_| Ok(operator));
        made.unwrap_or_else(|error| panic!("the operator does not open: {error}"))
    }

    /// Makes and opens instance `worker` of `workers`.
    pub(crate) fn make(
        worker: usize,
        workers: usize,
        make: impl FnOnce(&OperatorContext) -> Result<Box<dyn Operator>>,
    ) -> Result<Self> {
        let waking = Arc::new(Waking::default());
        let mut context = context(worker, workers);
        let called = waking.clone();
        context.waker = Arc::new(move || called.call());
        let mut operator = make(&context)?;
        operator.open(&context)?;
        Ok(Self {
            operator,
            recorder: Recorder::default(),
            waking,
            seen: 0,
            pending: None,
            watermark: i64::MIN,
            announced: i64::MIN,
            epoch: 0,
        })
    }

    /// Makes and opens instance `worker` of `workers` of the operation that gives this stream.
    pub(crate) fn of<U: Data>(stream: &DataStream<U>, worker: usize, workers: usize) -> Result<Self> {
        Self::make(worker, workers, |context| instance(stream, context))
    }

    /// Brings records with their event times.
    pub(crate) fn push<T: Data>(&mut self, input: usize, records: Vec<(T, i64)>) -> Result<()> {
        self.offer(input, timed(records))?;
        self.settle()
    }

    /// Brings records without event times.
    pub(crate) fn push_plain<T: Data>(&mut self, input: usize, records: Vec<T>) -> Result<()> {
        self.offer(input, Batch::typed(records))?;
        self.settle()
    }

    /// Brings a batch and returns what the operator says to it. After anything but `Done` go on with
    /// [`OperatorDriver::resume`] or [`OperatorDriver::settle`].
    pub(crate) fn offer(&mut self, input: usize, batch: Batch) -> Result<Progress> {
        self.begin(false, |o, out| o.process(input, batch, out))
    }

    /// One more call for what the operator is not done with; without waiting.
    pub(crate) fn resume(&mut self) -> Result<Progress> {
        let finishing = self.pending.is_some_and(|p| p.finishing);
        self.call(finishing, |o, out| if finishing { o.finish(out) } else { o.resume(out) })
    }

    /// Calls the operator until it is done, waiting where it waits.
    pub(crate) fn settle(&mut self) -> Result<()> {
        while let Some(pending) = self.pending {
            if pending.waiting {
                self.waking.wait_past(self.seen)?;
            }
            self.resume()?;
        }
        Ok(())
    }

    /// Waits until the operator asks to be called again, and calls it until it has done what it can for now.
    pub(crate) fn woken(&mut self) -> Result<Progress> {
        self.waking.wait_past(self.seen)?;
        self.resume_all()
    }

    fn resume_all(&mut self) -> Result<Progress> {
        loop {
            match self.resume()? {
                Progress::More => {}
                progress => return Ok(progress),
            }
        }
    }

    /// [`OperatorDriver::woken`] until so many records are there to be drained.
    pub(crate) fn wait_for(&mut self, records: usize) -> Result<()> {
        while self.recorder.records() < records {
            self.woken()?;
        }
        Ok(())
    }

    /// Event time has advanced on all inputs. It is announced once the operator is done with it.
    pub(crate) fn watermark(&mut self, watermark: i64) -> Result<()> {
        self.begin(false, |o, out| o.on_watermark(watermark, out))?;
        self.settle()?;
        self.watermark = self.watermark.max(watermark);
        self.announce();
        Ok(())
    }

    /// Processing time is `now`: fires the timers that are due, those that a timer sets among them.
    pub(crate) fn timer(&mut self, now: i64) -> Result<()> {
        while self.recorder.take_due(now) {
            self.begin(false, |o, out| o.on_timer(now, out))?;
            self.settle()?;
        }
        Ok(())
    }

    /// When the next processing-time timer is due.
    pub(crate) fn next_timer(&self) -> Option<i64> {
        self.recorder.timers.peek().map(|t| t.0)
    }

    /// An input has ended.
    pub(crate) fn end_input(&mut self, input: usize) -> Result<()> {
        self.begin(false, |o, out| o.end_input(input, out))?;
        self.settle()
    }

    /// All inputs have ended and the operator emits what remains.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.begin(true, |o, out| o.finish(out))?;
        self.settle()
    }

    /// The end of so many inputs, in the harness's order: the last watermark, each input's end, `finish`.
    pub(crate) fn end(&mut self, inputs: usize) -> Result<()> {
        self.watermark(i64::MAX)?;
        (0..inputs).try_for_each(|input| self.end_input(input))?;
        self.finish()
    }

    /// The state as of now, encoded.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<StateSection>> {
        assert!(self.pending.is_none(), "the operator is not done with what it was given");
        let snapshot = self.operator.snapshot(self.epoch)?;
        self.epoch += 1;
        snapshot.into_sections()
    }

    /// Gives state back; before anything else. An operator that calls its waker meanwhile is resumed: to set timers, say.
    pub(crate) fn restore(&mut self, state: Restored) -> Result<()> {
        self.epoch = state.epoch + 1;
        self.operator.restore(state)?;
        if self.waking.count() > self.seen {
            self.resume_all()?;
        }
        Ok(())
    }

    /// What came out as records of `U`, on any port, and the watermarks, since they were last taken. Records of other types
    /// stay.
    ///
    /// # Panics
    /// If a batch has not as many event times as records.
    pub(crate) fn drain<U: Data>(&mut self) -> Vec<Emitted<U>> {
        let mut drained = Vec::new();
        for logged in std::mem::take(&mut self.recorder.log) {
            match logged {
                Logged::Watermark(watermark) => drained.push(Emitted::Watermark(watermark)),
                Logged::Batch(port, batch) => match untimed::<U>(batch) {
                    Ok(records) => {
                        drained.extend(records.into_iter().map(|(record, time)| Emitted::Record { port, record, time }));
                    }
                    Err(batch) => self.recorder.log.push(Logged::Batch(port, batch)),
                },
            }
        }
        drained
    }

    /// The records of one output port that were not taken yet, with their event times.
    ///
    /// # Panics
    /// If they are not of type `U`.
    pub(crate) fn side<U: Data>(&mut self, port: usize) -> Vec<(U, i64)> {
        let mut drained = Vec::new();
        for logged in std::mem::take(&mut self.recorder.log) {
            match logged {
                Logged::Batch(of, batch) if of == port => match untimed::<U>(batch) {
                    Ok(records) => drained.extend(records),
                    Err(batch) => panic!("port {port}: expected `{}`, got {batch:?}", std::any::type_name::<U>()),
                },
                other => self.recorder.log.push(other),
            }
        }
        drained
    }

    /// From now on the operator hears that its outputs would rather not be sent more, or that they would.
    pub(crate) fn congest(&mut self, congested: bool) {
        self.recorder.congested = congested;
    }

    /// The operator, for what the driver has no word for.
    pub(crate) fn operator(&mut self) -> &mut dyn Operator {
        self.operator.as_mut()
    }

    fn begin(
        &mut self,
        finishing: bool,
        f: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<Progress>,
    ) -> Result<Progress> {
        assert!(self.pending.is_none(), "the operator is not done with what it was given");
        self.call(finishing, f)
    }

    fn call(
        &mut self,
        finishing: bool,
        f: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<Progress>,
    ) -> Result<Progress> {
        self.seen = self.waking.count();
        let progress = f(self.operator.as_mut(), &mut self.recorder)?;
        let waiting = progress == Progress::Waiting;
        self.pending = (progress != Progress::Done).then_some(Pending { finishing, waiting });
        self.announce();
        Ok(progress)
    }

    fn announce(&mut self) {
        let watermark = self.watermark.min(self.operator.held_watermark());
        if watermark > self.announced {
            self.announced = watermark;
            self.recorder.log.push(Logged::Watermark(watermark));
        }
    }
}

/// A context for operators that are made by hand. Nobody hears its waker; that of [`OperatorDriver::make`] is heard.
pub(crate) fn context(worker: usize, workers: usize) -> OperatorContext {
    let memory = MemoryManager::new(MEMORY).unwrap_or_else(|error| panic!("no memory for a test: {error}"));
    OperatorContext {
        node: 0,
        name: "tested".to_owned(),
        worker,
        workers,
        local_worker: worker,
        local_workers: workers,
        process: 0,
        processes: 1,
        memory,
        waker: Arc::new(|| ()),
        shared: Arc::new(Shared::default()),
    }
}

/// An instance of the operation that gives `stream`.
pub(crate) fn instance<U: Data>(stream: &DataStream<U>, context: &OperatorContext) -> Result<Box<dyn Operator>> {
    let spill = SpillManager::new(SpillConfig { io_threads: 1, ..SpillConfig::default() })?;
    let pot = context.memory.reserve("tested", 0)?;
    let metrics: Arc<NodeMetrics> = Arc::default();
    let node = stream.env.graph().nodes[stream.node].clone();
    let sides = node.sides.as_slice().into();
    let clock = &stream.env.config().clock;
    let task = TaskContext::new(context, &spill, &metrics, (&pot, true), usize::MAX).with_sides(&sides).with_time(clock, true);
    let task = task.with_backend(&super::backend());
    match node.body {
        Body::Operator(make) => make(&task),
        Body::Link { make, head, port } => head(make(&task, port(0))?),
        Body::Sink { make, head } => head(make(&task)?),
        Body::Source { .. } => Err(Error::Plan("a source is not an operator".into())),
        Body::LoopHead(_) | Body::StreamingLoopHead | Body::AsynchronousLoopHead(_) | Body::LoopExit => {
            Err(Error::Plan("the ends of a loop are no operators".into()))
        }
    }
}

/// A batch of records with their event times.
pub(super) fn timed<T: Data>(records: Vec<(T, i64)>) -> Batch {
    let (records, times): (Vec<T>, Vec<i64>) = records.into_iter().unzip();
    let mut batch = Batch::typed(records);
    batch.event_times = Some(times);
    batch
}

#[expect(clippy::result_large_err, reason = "the batch comes back to be put where it was")]
fn untimed<U: Data>(mut batch: Batch) -> std::result::Result<Vec<(U, i64)>, Batch> {
    let times = batch.event_times.take();
    match batch.into_typed::<U>() {
        Ok(records) => {
            let times = times.unwrap_or_else(|| vec![i64::MIN; records.len()]);
            assert_eq!(records.len(), times.len(), "records and event times of a batch");
            Ok(records.into_iter().zip(times).collect())
        }
        Err(mut batch) => {
            batch.event_times = times;
            Err(batch)
        }
    }
}

/// What the operator has sent and asked for.
#[derive(Default)]
struct Recorder {
    log: Vec<Logged>,
    timers: BinaryHeap<Reverse<i64>>,
    congested: bool,
}

enum Logged {
    Batch(usize, Batch),
    Watermark(i64),
}

impl Recorder {
    fn records(&self) -> usize {
        let of = |logged: &Logged| if let Logged::Batch(_, batch) = logged { batch.len() } else { 0 };
        self.log.iter().map(of).sum()
    }

    /// Takes the timers that are due, which one call stands for.
    fn take_due(&mut self, now: i64) -> bool {
        let before = self.timers.len();
        while self.timers.peek().is_some_and(|t| t.0 <= now) {
            self.timers.pop();
        }
        self.timers.len() < before
    }
}

impl Output for Recorder {
    fn send(&mut self, port: usize, batch: Batch) -> Result<()> {
        self.log.push(Logged::Batch(port, batch));
        Ok(())
    }

    fn congested(&self, _port: usize) -> bool {
        self.congested
    }

    fn set_timer(&mut self, at: i64) {
        self.timers.push(Reverse(at));
    }
}

/// Counts calls of the waker.
#[derive(Default)]
struct Waking {
    calls: Mutex<u64>,
    called: Condvar,
}

impl Waking {
    fn call(&self) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.called.notify_all();
    }

    fn count(&self) -> u64 {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there have been more calls than `seen`.
    fn wait_past(&self, seen: u64) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        while *calls <= seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::User(format!("the operator waits, and nobody has woken it for {} s", DEADLINE.as_secs())));
            }
            calls = self.called.wait_timeout(calls, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}
