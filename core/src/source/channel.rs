//! Records that the program itself sends.

use super::{POLL_RECORDS, add_source};
use crate::chain::{BoxCollector, Context};
use crate::graph::NodeMetrics;
use crate::{Data, DataStream, Env, Error, Output, Progress, Result, Source, Waker};
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::mpsc::{self, error::TryRecvError, error::TrySendError};

impl Env {
    /// A channel into a job: what is sent on one side is the stream on the other. It holds `capacity` records; a sender
    /// waits while it is full, so a job that does not keep up slows down who feeds it. The stream ends when all senders
    /// are gone.
    ///
    /// In a program of several processes each has a channel of its own, read by the first worker of that process. What was
    /// sent cannot be read again: a restored job goes on with what is sent then. The stream is part of one run only.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// let env = Env::default();
    /// let (sender, words) = env.channel::<String>(16);
    /// let feeding = std::thread::spawn(move || {
    ///     for word in ["to", "be", "or", "not"] {
    ///         sender.send_blocking(word.to_owned())?;
    ///     }
    ///     Ok::<(), fluvial_core::ChannelClosed<String>>(())
    /// });
    /// assert_eq!(words.map(|word| word.len()).collect()?, [2, 2, 2, 3]);
    /// feeding.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channel<T: Data>(&self, capacity: usize) -> (ChannelSender<T>, DataStream<T>) {
        let capacity = capacity.max(1);
        let (sender, receiver) = mpsc::channel(capacity);
        let worker: Arc<OnceLock<Waker>> = Arc::default();
        let sender = ChannelSender { sender: Some(sender), worker: worker.clone() };
        let receiver = Mutex::new(Some(receiver));
        let detail = format!("capacity {capacity}");
        let stream = add_source(self, "channel", detail, None, move |context, next| {
            let mut receiving = None;
            if context.local_worker == 0 {
                receiving = receiver.lock().unwrap_or_else(|e| e.into_inner()).take();
                if receiving.is_none() || worker.set(context.waker.clone()).is_err() {
                    return Err(Error::Plan("a channel can be read by one run only, and another has read this one".into()));
                }
            }
            Ok(Box::new(ChannelSource { receiver: receiving, next: next.into::<T>()?, metrics: context.metrics.clone() }))
        });
        (sender, stream)
    }
}

/// The program's end of a channel into a job; see [`Env::channel`]. Clones send into the same channel.
pub struct ChannelSender<T> {
    /// Always there until the sender is dropped.
    sender: Option<mpsc::Sender<T>>,
    /// Wakes the worker that reads, once there is one.
    worker: Arc<OnceLock<Waker>>,
}

impl<T> ChannelSender<T> {
    /// Sends a record, from asynchronous code; waits for room.
    ///
    /// # Errors
    /// [`ChannelClosed`] with the record if the job takes no more: it has ended, failed or was stopped.
    pub async fn send(&self, record: T) -> std::result::Result<(), ChannelClosed<T>> {
        let sent = self.sender().send(record).await;
        self.wake();
        sent.map_err(|e| ChannelClosed(e.0))
    }

    /// Sends a record, from a thread that may block; waits for room. Must not be called on a thread of a tokio runtime.
    ///
    /// # Errors
    /// As those of [`ChannelSender::send`].
    pub fn send_blocking(&self, record: T) -> std::result::Result<(), ChannelClosed<T>> {
        let sent = self.sender().blocking_send(record);
        self.wake();
        sent.map_err(|e| ChannelClosed(e.0))
    }

    /// Sends a record if there is room for it, and gives it back if there is none.
    ///
    /// # Errors
    /// As those of [`ChannelSender::send`].
    pub fn try_send(&self, record: T) -> std::result::Result<Option<T>, ChannelClosed<T>> {
        match self.sender().try_send(record) {
            Ok(()) => {
                self.wake();
                Ok(None)
            }
            Err(TrySendError::Full(record)) => Ok(Some(record)),
            Err(TrySendError::Closed(record)) => Err(ChannelClosed(record)),
        }
    }

    fn sender(&self) -> &mpsc::Sender<T> {
        self.sender.as_ref().expect("taken in drop only")
    }

    fn wake(&self) {
        if let Some(wake) = self.worker.get() {
            wake();
        }
    }
}

impl<T> Clone for ChannelSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), worker: self.worker.clone() }
    }
}

impl<T> Drop for ChannelSender<T> {
    fn drop(&mut self) {
        // First the end, then the news of it.
        self.sender = None;
        self.wake();
    }
}

impl<T> fmt::Debug for ChannelSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSender").finish_non_exhaustive()
    }
}

/// The job at the other end of a channel takes no more records; holds the one that was to be sent.
#[derive(thiserror::Error)]
#[error("the job takes no more records")]
pub struct ChannelClosed<T>(pub T);

impl<T> fmt::Debug for ChannelClosed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChannelClosed").finish_non_exhaustive()
    }
}

struct ChannelSource<T> {
    /// `None` when all was taken, and on workers that take nothing.
    receiver: Option<mpsc::Receiver<T>>,
    next: BoxCollector<T>,
    metrics: Arc<NodeMetrics>,
}

impl<T: Data> Source for ChannelSource<T> {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let Some(receiver) = &mut self.receiver else {
            let progress = self.next.finish(&mut context);
            context.check()?;
            return Ok(progress);
        };
        let mut progress = Progress::More;
        let mut taken = 0;
        while taken < POLL_RECORDS {
            match receiver.try_recv() {
                Ok(record) => self.next.push(record, &mut context),
                Err(TryRecvError::Empty) => {
                    progress = Progress::Waiting;
                    break;
                }
                Err(TryRecvError::Disconnected) => {
                    self.receiver = None;
                    break;
                }
            }
            taken += 1;
        }
        self.metrics.rows_read.fetch_add(taken as u64, Relaxed);
        self.next.end_batch(None, &mut context);
        context.check()?;
        Ok(progress)
    }

    fn stop(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            receiver.close();
        }
    }

    fn abort(&mut self) {
        self.receiver = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Driven;
    use crate::{Env, Progress};

    #[test]
    fn what_was_sent_before_a_stop_is_emitted_and_nothing_after_it() {
        let (sender, stream) = Env::default().channel::<u64>(4);
        let mut driven = Driven::new(&stream, 0, 2);
        assert_eq!(driven.poll().unwrap(), Progress::Waiting);
        (0..3).for_each(|n| sender.send_blocking(n).unwrap());
        driven.source.stop();
        assert_eq!(sender.send_blocking(3).unwrap_err().0, 3);
        assert_eq!(driven.run_to_end(), [0, 1, 2]);
    }

    #[test]
    fn a_full_channel_gives_the_record_back_and_an_aborted_job_too() {
        let (sender, stream) = Env::default().channel::<u64>(2);
        let mut driven = Driven::new(&stream, 0, 1);
        assert!(matches!([0, 1, 2].map(|n| sender.try_send(n)), [_, _, Ok(Some(2))]));
        assert_eq!(driven.until(2), [0, 1]);
        driven.source.abort();
        assert_eq!(sender.try_send(3).unwrap_err().0, 3);
    }

    #[test]
    fn other_workers_end_at_once() {
        let (_sender, stream) = Env::default().channel::<u64>(2);
        assert_eq!(Driven::new(&stream, 1, 2).poll().unwrap(), Progress::Done);
    }
}
