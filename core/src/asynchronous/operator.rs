use super::request::Request;
use super::requests::Requests;
use crate::chain::{BoxCollector, Collector, Context, TypedPort};
use crate::codec::RecordCodec;
use crate::{Batch, Data, Error, Operator, OperatorContext, Output, Progress, Restored, Result, Snapshot, StateSection};
use std::fmt::Display;
use std::sync::Arc;
use std::task::{Poll, Wake};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Names the sections of the records that were under way; the former worker's number follows.
const REQUESTS: &str = "requests of worker ";

/// Hands the records that a result stands for to a function.
pub(super) type Unpack<R, U> = fn(R, &mut dyn FnMut(U));

/// Requests something for each record.
pub(super) struct AsyncOperator<T, R, E, U> {
    request: Arc<Request<T, R, E>>,
    requests: Requests<T, R>,
    /// The requests under way, which end when they are dropped.
    tasks: JoinSet<(u64, std::result::Result<R, String>)>,
    runtime: Handle,
    worker: (usize, usize),
    /// Makes the worker call this operator.
    call: crate::Waker,
    waker: std::task::Waker,
    /// The last watermark.
    watermark: i64,
    codec: RecordCodec<Vec<(T, i64)>>,
    unpack: Unpack<R, U>,
    port: BoxCollector<U>,
}

impl<T, R, E, U> AsyncOperator<T, R, E, U>
where
    T: Data,
    R: Send + 'static,
    E: Display + 'static,
    U: Data,
{
    pub(super) fn new(
        context: &OperatorContext,
        runtime: Handle,
        request: Request<T, R, E>,
        requests: Requests<T, R>,
        unpack: Unpack<R, U>,
    ) -> Self {
        Self {
            request: Arc::new(request),
            requests,
            tasks: JoinSet::new(),
            runtime,
            worker: (context.worker, context.workers),
            call: context.waker.clone(),
            waker: Arc::new(CallOperator(context.waker.clone())).into(),
            watermark: i64::MIN,
            codec: RecordCodec::new(),
            unpack,
            port: Box::new(TypedPort::new(0)),
        }
    }

    /// Starts requests while there is room and gives results while there are any. `Waiting` while records wait for room.
    fn work(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let Self { request, requests, tasks, runtime, waker, unpack, port, .. } = self;
        let mut context = Context::new(out);
        let mut polling = std::task::Context::from_waker(waker);
        loop {
            while let Some((number, record)) = requests.start() {
                let request = request.clone();
                tasks.spawn_on(async move { (number, request.answer(&record).await) }, runtime);
            }
            // Polled until nothing is ready, so that the next result wakes the worker.
            match tasks.poll_join_next(&mut polling) {
                Poll::Ready(Some(Ok((number, result)))) => {
                    requests.finish(number, result.map_err(Error::User)?, |result, time| {
                        context.time = time;
                        unpack(result, &mut |record| port.push(record, &mut context));
                    });
                }
                Poll::Ready(Some(Err(error))) => return Err(Error::User(format!("a request was cut off: {error}"))),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        port.end_batch(None, &mut context);
        context.check()?;
        Ok(if requests.all_started() { Progress::Done } else { Progress::Waiting })
    }
}

impl<T, R, E, U> Operator for AsyncOperator<T, R, E, U>
where
    T: Data,
    R: Send + 'static,
    E: Display + 'static,
    U: Data,
{
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let mut times = batch.event_times.take().into_iter().flatten();
        for record in batch.typed_records::<T>()? {
            self.requests.push(record, times.next().unwrap_or(i64::MIN), self.watermark);
        }
        self.work(out)
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.work(out)
    }

    /// What is under way holds the watermark back; nothing waits here.
    fn on_watermark(&mut self, watermark: i64, _out: &mut dyn Output) -> Result<Progress> {
        self.watermark = watermark;
        Ok(Progress::Done)
    }

    fn held_watermark(&self) -> i64 {
        self.requests.held_watermark()
    }

    fn has_background_work(&self) -> bool {
        !self.requests.is_empty()
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.work(out)?;
        Ok(if self.requests.is_empty() { Progress::Done } else { Progress::Waiting })
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        let records: Vec<(T, i64)> = self.requests.records().map(|(record, time)| (record.clone(), time)).collect();
        if records.is_empty() {
            return Ok(Snapshot::default());
        }
        let section = self.codec.section(&format!("{REQUESTS}{}", self.worker.0), &records)?;
        Ok(Snapshot { sections: vec![section], ..Snapshot::default() })
    }

    /// All instances see the records of all former ones: each takes those of the workers whose number is its own modulo the
    /// number of workers.
    fn restore(&mut self, state: Restored) -> Result<()> {
        let (worker, workers) = self.worker;
        let former = |s: &StateSection| s.name.strip_prefix(REQUESTS).and_then(|w| w.parse::<usize>().ok());
        for section in state.sections.iter().filter(|s| former(s).is_some_and(|w| w % workers == worker)) {
            for (record, time) in self.codec.from_section(section)? {
                self.requests.push(record, time, i64::MIN);
            }
        }
        if !self.requests.is_empty() {
            (self.call)();
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

/// A task's waker that makes a worker call an operator.
struct CallOperator(crate::Waker);

impl Wake for CallOperator {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        (self.0)();
    }
}
