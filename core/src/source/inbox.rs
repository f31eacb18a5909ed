//! What a reader hands to its worker: a bounded channel that wakes the worker, and the reader's end.

use crate::runtime::guard;
use crate::{Error, Result, Waker, tokio_runtime};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::task::JoinHandle;

/// The reader's side: where it puts what it has read. The source ends when the reader has dropped it.
pub(super) struct Feed<M> {
    /// Always there until the feed is dropped.
    sender: Option<mpsc::Sender<Result<M>>>,
    waker: Waker,
}

impl<M> Clone for Feed<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waker: self.waker.clone() }
    }
}

impl<M> Drop for Feed<M> {
    fn drop(&mut self) {
        // First the end, then the news of it.
        self.sender = None;
        (self.waker)();
    }
}

impl<M: Send> Feed<M> {
    /// Waits for room. False once nobody takes anything any more: then the reader ends.
    pub(super) async fn send(&self, message: Result<M>) -> bool {
        let Some(sender) = &self.sender else { return false };
        let taken = sender.send(message).await.is_ok();
        (self.waker)();
        taken
    }

    /// The same on a thread of the reader's own.
    pub(super) fn send_blocking(&self, message: Result<M>) -> bool {
        let taken = self.sender.as_ref().is_some_and(|sender| sender.blocking_send(message).is_ok());
        (self.waker)();
        taken
    }
}

/// Tells a reader that waits for its next look at a file that it is to end.
#[derive(Clone, Default)]
pub(super) struct Ending(Arc<(Mutex<bool>, Condvar)>);

impl Ending {
    fn announce(&self) {
        let (ended, news) = &*self.0;
        *ended.lock().unwrap_or_else(|e| e.into_inner()) = true;
        news.notify_all();
    }

    /// Waits for so long, or until the reader is to end. Whether it is.
    pub(super) fn wait(&self, interval: Duration) -> bool {
        let (ended, news) = &*self.0;
        let guard = ended.lock().unwrap_or_else(|e| e.into_inner());
        let waited = news.wait_timeout_while(guard, interval, |ended| !*ended);
        *waited.unwrap_or_else(|e| e.into_inner()).0
    }
}

/// The worker's side, and the reader itself.
pub(super) struct Inbox<M> {
    receiver: mpsc::Receiver<Result<M>>,
    reader: Reader,
}

enum Reader {
    Task(JoinHandle<()>),
    Thread(Ending, Option<thread::JoinHandle<()>>),
}

/// What [`Inbox::take`] found.
pub(super) enum Taken<M> {
    Message(M),
    /// The worker is woken when there is something.
    Nothing,
    End,
}

impl<M: Send + 'static> Inbox<M> {
    /// Starts a reader on the process's tokio runtime.
    pub(super) fn spawn_task<F>(capacity: usize, waker: &Waker, read: impl FnOnce(Feed<M>) -> F) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio_runtime::handle()?;
        let (feed, receiver) = channel(capacity, waker);
        let reading = read(feed.clone());
        let task = runtime.spawn(async move {
            if let Err(panic) = guarded(reading).await {
                feed.send(Err(Error::User(format!("panicked: {panic}")))).await;
            }
        });
        Ok(Self { receiver, reader: Reader::Task(task) })
    }

    /// Starts a reader on a thread of its own.
    pub(super) fn spawn_thread(
        capacity: usize,
        waker: &Waker,
        read: impl FnOnce(&Feed<M>, &Ending) + Send + 'static,
    ) -> Result<Self> {
        let (feed, receiver) = channel(capacity, waker);
        let ending = Ending::default();
        let told = ending.clone();
        let run = move || {
            if let Err(panic) = guard(|| read(&feed, &told)) {
                feed.send_blocking(Err(Error::User(format!("panicked: {panic}"))));
            }
        };
        let thread = thread::Builder::new().name("fluvial-reader".into()).spawn(run);
        let thread = thread.map_err(|e| Error::User(format!("cannot start the thread of a reader: {e}")))?;
        Ok(Self { receiver, reader: Reader::Thread(ending, Some(thread)) })
    }

    /// The next message, without waiting.
    ///
    /// # Errors
    /// What the reader failed with.
    pub(super) fn take(&mut self) -> Result<Taken<M>> {
        match self.receiver.try_recv() {
            Ok(message) => message.map(Taken::Message),
            Err(TryRecvError::Empty) => Ok(Taken::Nothing),
            Err(TryRecvError::Disconnected) => Ok(Taken::End),
        }
    }

    /// Has the reader end. What is in the channel can still be taken.
    pub(super) fn close(&mut self) {
        self.receiver.close();
        match &self.reader {
            Reader::Task(task) => task.abort(),
            Reader::Thread(ending, _) => ending.announce(),
        }
    }
}

impl<M> Drop for Inbox<M> {
    /// Ends the reader: a task loses its connection, a thread is joined.
    fn drop(&mut self) {
        self.receiver.close();
        match &mut self.reader {
            Reader::Task(task) => task.abort(),
            Reader::Thread(ending, thread) => {
                ending.announce();
                // A panic of the reader has been reported as the source's error.
                let _ = thread.take().map(thread::JoinHandle::join);
            }
        }
    }
}

fn channel<M>(capacity: usize, waker: &Waker) -> (Feed<M>, mpsc::Receiver<Result<M>>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (Feed { sender: Some(sender), waker: waker.clone() }, receiver)
}

/// Runs a future; a panic comes back as its message.
async fn guarded(future: impl Future<Output = ()>) -> std::result::Result<(), String> {
    let mut future = pin!(future);
    poll_fn(|context| match guard(|| future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Wakes;

    #[test]
    fn a_closed_inbox_still_gives_what_is_in_it_and_joins_its_thread() {
        let wakes = Wakes::default();
        let (done, is_done) = std::sync::mpsc::channel();
        let mut inbox = Inbox::spawn_thread(2, &wakes.waker(), move |feed, _| {
            let mut sent = 0;
            while feed.send_blocking(Ok(sent)) {
                sent += 1;
            }
            done.send(sent).unwrap();
        })
        .unwrap();
        // Two fit; the reader waits with the third.
        wakes.until(|| inbox.receiver.len() == 2);
        inbox.close();
        assert_eq!(is_done.recv().unwrap(), 2);
        assert!(matches!(inbox.take(), Ok(Taken::Message(0))));
        assert!(matches!(inbox.take(), Ok(Taken::Message(1))));
        wakes.until(|| matches!(inbox.take(), Ok(Taken::End)));
    }

    #[test]
    fn a_panic_of_a_reader_is_an_error() {
        let wakes = Wakes::default();
        let mut task = Inbox::<u8>::spawn_task(2, &wakes.waker(), |_feed| async { panic!("task") }).unwrap();
        let mut thread = Inbox::<u8>::spawn_thread(2, &wakes.waker(), |_, _| panic!("thread")).unwrap();
        for (inbox, name) in [(&mut task, "panicked: task"), (&mut thread, "panicked: thread")] {
            let mut error = None;
            wakes.until(|| {
                error = inbox.take().err();
                error.is_some()
            });
            assert!(error.unwrap().to_string().starts_with(name));
        }
    }
}
