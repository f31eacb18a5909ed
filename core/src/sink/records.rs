use super::outbox::{Outbox, Senders, Sent, receive};
use crate::graph::{Body, Distribution, Node, OperatorFactory};
use crate::runtime::JobControl;
use crate::table::Idle;
use crate::{Batch, Data, DataStream, Error, Operator, Output, Progress, Result};
use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::vec;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Batches on their way to the program; more wait on the edges before the sink.
const BATCHES: usize = 4;

impl<T: Data> DataStream<T> {
    /// Runs the job that leads to this stream in the background and gives its records as they come, with few of them in memory:
    /// where the program is slow, the job waits. The records of one worker come in their order; those of several workers
    /// are mixed, behind a sort too (see [`DataStream::collect`]).
    ///
    /// An error of the job is the last item. Dropping the iterator stops the job in order: its sources take no more, and the
    /// drop returns when everything has ended.
    ///
    /// Of several processes the first one gets the records. The others call this too; theirs gives none and ends with the
    /// job.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let mut squares = env.sequence(1..).map(|n| n.wrapping_mul(n)).collect_stream();
    /// let first: Vec<u64> = squares.by_ref().take(5).collect::<Result<_, _>>()?;
    /// assert_eq!(first.len(), 5);
    /// drop(squares); // and with it the job, which has no end of its own
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn collect_stream(&self) -> CollectStream<T> {
        let (sender, receiver) = channel(BATCHES);
        let sender = Arc::new(Mutex::new(Some(sender)));
        let id = self.env.add(self.collecting_node(sender.clone()));
        let running = Arc::new(Running::default());
        let (env, started) = (self.env.clone(), running.clone());
        let first = self.env.config().process == 0;
        let run = move || {
            let result = env.run_controlled("collect_stream", &[id], |control| started.begin(control));
            // A job that did not come to have instances has left the sender in its graph.
            drop(sender.lock().unwrap_or_else(PoisonError::into_inner).take());
            result.map(drop)
        };
        let job = std::thread::Builder::new().name("collect_stream".into()).spawn(run);
        let (job, error) = match job {
            Ok(job) => (Some(job), None),
            Err(error) => (None, Some(Error::Plan(format!("the thread that runs the job could not be started: {error}")))),
        };
        CollectStream { first, batch: Vec::new().into_iter(), receiver: Some(receiver), running, job, error }
    }

    fn collecting_node(&self, sender: Arc<Mutex<Option<Sender<Vec<T>>>>>) -> Node {
        let make: OperatorFactory = Arc::new(move |context| {
            if context.process > 0 {
                return Ok(Box::new(Idle));
            }
            let mut handed = sender.lock().unwrap_or_else(PoisonError::into_inner);
            let senders = context.shared(|| handed.take().map(|s| Senders::new(s, context.local_workers)));
            let sender = senders.as_ref().as_ref().and_then(Senders::take);
            let outbox = sender.map(|sender| Outbox::new(sender, &context.waker));
            Ok(Box::new(SendBatches { outbox, waiting: None }))
        });
        let mut node = self.after("collect_stream", String::new(), Body::Operator(make));
        node.outputs = 0;
        node.inputs[0].distribution = Distribution::to_first_process(self.env.config());
        node
    }
}

/// The records of a job that runs in the background; see [`DataStream::collect_stream`].
pub struct CollectStream<T> {
    /// Whether this is the process that gets the records.
    first: bool,
    batch: vec::IntoIter<T>,
    receiver: Option<Receiver<Vec<T>>>,
    running: Arc<Running>,
    job: Option<JoinHandle<Result<()>>>,
    error: Option<Error>,
}

/// The job, once it has started.
#[derive(Default)]
struct Running(Mutex<(Option<JobControl>, bool)>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, (Option<JobControl>, bool)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, control: JobControl) {
        let mut state = self.lock();
        if state.1 {
            control.stop();
        }
        state.0 = Some(control);
    }

    fn stop(&self) {
        let mut state = self.lock();
        state.1 = true;
        if let Some(control) = &state.0 {
            control.stop();
        }
    }
}

impl<T: Data> Iterator for CollectStream<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(record) = self.batch.next() {
                return Some(Ok(record));
            }
            match self.receiver.as_mut().and_then(receive) {
                Some(batch) => self.batch = batch.into_iter(),
                None => {
                    self.receiver = None;
                    return self.join().map(Err);
                }
            }
        }
    }
}

impl<T> CollectStream<T> {
    /// Waits for the job's end; its error, once.
    fn join(&mut self) -> Option<Error> {
        match self.job.take().map(JoinHandle::join) {
            None => self.error.take(),
            Some(Ok(result)) => result.err(),
            Some(Err(panic)) => Some(Error::User(format!("the job's thread panicked: {}", said(panic.as_ref())))),
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

impl<T> Drop for CollectStream<T> {
    fn drop(&mut self) {
        // Sinks that wait for room go on, and throw away what still comes.
        self.receiver = None;
        if self.first {
            self.running.stop();
        }
        // Nobody is left to be told.
        drop(self.join());
    }
}

/// Sends batches to the program as they come.
struct SendBatches<T> {
    /// `None` once the program wants no more.
    outbox: Option<Outbox<Vec<T>>>,
    waiting: Option<Vec<T>>,
}

impl<T: Data> Operator for SendBatches<T> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.waiting = Some(batch.typed_records::<T>()?);
        self.resume(out)
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        let (Some(outbox), Some(batch)) = (&mut self.outbox, self.waiting.take()) else { return Ok(Progress::Done) };
        match outbox.send(batch) {
            Sent::Yes => {}
            Sent::Full(batch) => {
                self.waiting = Some(batch);
                return Ok(Progress::Waiting);
            }
            Sent::Closed(_) => self.outbox = None,
        }
        Ok(Progress::Done)
    }

    fn abort(&mut self) {
        self.outbox = None;
        self.waiting = None;
    }
}
