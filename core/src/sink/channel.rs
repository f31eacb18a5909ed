use super::outbox::{Outbox, Senders, Sent};
use crate::graph::{Body, OperatorFactory};
use crate::{Batch, Data, DataStream, Error, Operator, Output, Progress, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::Sender;

impl<T: Data> DataStream<T> {
    /// Adds a sink that sends the records to a bounded channel, whose receiver may be a task or a thread. While the channel is
    /// full the job waits; workers do other things meanwhile. The channel ends when the job does. The records of one worker
    /// come in their order. In a program of several processes each sends the records of its workers to its own channel.
    ///
    /// A receiver that is dropped before the end fails the job. In a job with checkpoints records may come more than once; what is
    /// in the channel when the process dies is lost with the receiver.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    /// env.sequence(1..=1000).map(|n| n * n).send_to(sender);
    /// let job = std::thread::spawn(move || env.execute("squares"));
    /// let mut sum = 0;
    /// while let Some(square) = receiver.blocking_recv() {
    ///     sum += square;
    /// }
    /// assert_eq!(sum, 333_833_500);
    /// job.join().unwrap()?;
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn send_to(&self, sender: Sender<T>) {
        // Handed over to the instances of the one job that runs this sink.
        let sender = Mutex::new(Some(sender));
        let make: OperatorFactory = Arc::new(move |context| {
            let mut handed = sender.lock().unwrap_or_else(PoisonError::into_inner);
            let senders = context.shared(|| handed.take().map(|s| Senders::new(s, context.local_workers)));
            let sender = senders.as_ref().as_ref().and_then(Senders::take).ok_or_else(ran_before)?;
            Ok(Box::new(SendRecords { outbox: Outbox::new(sender, &context.waker), waiting: VecDeque::new() }))
        });
        let mut node = self.after("send_to", String::new(), Body::Operator(make));
        node.outputs = 0;
        self.env.add_sink(node);
    }
}

fn ran_before() -> Error {
    Error::Plan("the channel of this sink was given to an earlier job".into())
}

/// Sends records one by one.
struct SendRecords<T> {
    outbox: Outbox<T>,
    /// What there has not been room for.
    waiting: VecDeque<T>,
}

impl<T: Data> Operator for SendRecords<T> {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.waiting = batch.typed_records::<T>()?.into();
        self.resume(out)
    }

    fn resume(&mut self, _out: &mut dyn Output) -> Result<Progress> {
        while let Some(record) = self.waiting.pop_front() {
            match self.outbox.send(record) {
                Sent::Yes => {}
                Sent::Full(record) => {
                    self.waiting.push_front(record);
                    return Ok(Progress::Waiting);
                }
                Sent::Closed(_) => {
                    return Err(Error::User("the receiver of the channel was dropped before the stream ended".into()));
                }
            }
        }
        Ok(Progress::Done)
    }

    fn abort(&mut self) {
        self.waiting.clear();
    }
}
