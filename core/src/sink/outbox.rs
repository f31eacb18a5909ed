//! From a worker, which never waits, to whoever receives.
//!
//! The channel is tokio's, which needs no runtime: its futures are polled by hand, with the operator's waker on one side
//! and a parked thread on the other.

use crate::Waker;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker as TaskWaker};
use std::thread::{self, Thread};
use tokio::sync::mpsc::error::{SendError, TrySendError};
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender};

/// What became of a message.
pub(super) enum Sent<M> {
    Yes,
    /// There is no room; the operator's waker is called when there is.
    Full(M),
    /// Nobody receives any more.
    Closed(M),
}

type Room<M> = Pin<Box<dyn Future<Output = Result<OwnedPermit<M>, SendError<()>>> + Send>>;

/// One operator's end of a bounded channel.
pub(super) struct Outbox<M> {
    sender: Sender<M>,
    waker: TaskWaker,
    /// Becomes a place in the channel; there while the channel is full.
    room: Option<Room<M>>,
}

impl<M: Send + 'static> Outbox<M> {
    pub(super) fn new(sender: Sender<M>, waker: &Waker) -> Self {
        Self { sender, waker: TaskWaker::from(Arc::new(Calls(waker.clone()))), room: None }
    }

    pub(super) fn send(&mut self, message: M) -> Sent<M> {
        let message = match &self.room {
            Some(_) => message,
            None => match self.sender.try_send(message) {
                Ok(()) => return Sent::Yes,
                Err(TrySendError::Closed(message)) => return Sent::Closed(message),
                Err(TrySendError::Full(message)) => message,
            },
        };
        let sender = &self.sender;
        let room = self.room.get_or_insert_with(|| Box::pin(sender.clone().reserve_owned()));
        match room.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => Sent::Full(message),
            Poll::Ready(place) => {
                self.room = None;
                match place {
                    Ok(place) => {
                        place.send(message);
                        Sent::Yes
                    }
                    Err(_) => Sent::Closed(message),
                }
            }
        }
    }
}

/// Calls an operator's waker.
struct Calls(Waker);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Waits for a message on this thread, which may be one of an async runtime; `None` when all senders are gone.
pub(super) fn receive<M>(receiver: &mut Receiver<M>) -> Option<M> {
    struct Unparks(Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    if let Ok(message) = receiver.try_recv() {
        return Some(message);
    }
    let waker = TaskWaker::from(Arc::new(Unparks(thread::current())));
    loop {
        match receiver.poll_recv(&mut Context::from_waker(&waker)) {
            Poll::Ready(message) => return message,
            Poll::Pending => thread::park(),
        }
    }
}

/// A sender for each of the instances of a sink in this process. The last instance takes the original, so that the receiver
/// sees the end when all instances are done, though the graph that made them is still there.
pub(super) struct Senders<M>(Mutex<(Option<Sender<M>>, usize)>);

impl<M> Senders<M> {
    pub(super) fn new(sender: Sender<M>, instances: usize) -> Self {
        Self(Mutex::new((Some(sender), instances)))
    }

    /// `None` once all instances have theirs.
    pub(super) fn take(&self) -> Option<Sender<M>> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.1 = left.1.saturating_sub(1);
        if left.1 == 0 { left.0.take() } else { left.0.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use tokio::sync::mpsc::channel;

    fn outbox(capacity: usize) -> (Outbox<u32>, Receiver<u32>, Arc<AtomicUsize>) {
        let (sender, receiver) = channel(capacity);
        let woken = Arc::new(AtomicUsize::new(0));
        let count = woken.clone();
        let waker: Waker = Arc::new(move || {
            count.fetch_add(1, SeqCst);
        });
        (Outbox::new(sender, &waker), receiver, woken)
    }

    #[test]
    fn a_full_channel_takes_the_message_after_it_has_called() {
        let (mut outbox, mut receiver, woken) = outbox(1);
        assert!(matches!(outbox.send(1), Sent::Yes));
        assert!(matches!(outbox.send(2), Sent::Full(2)));
        assert!(matches!(outbox.send(2), Sent::Full(2)));
        assert_eq!(woken.load(SeqCst), 0);
        assert_eq!(receive(&mut receiver), Some(1));
        assert_eq!(woken.load(SeqCst), 1);
        assert!(matches!(outbox.send(2), Sent::Yes));
        assert_eq!(receive(&mut receiver), Some(2));
        drop(outbox);
        assert_eq!(receive(&mut receiver), None);
    }

    #[test]
    fn a_receiver_that_goes_away_calls_too() {
        let (mut outbox, receiver, woken) = outbox(1);
        assert!(matches!(outbox.send(1), Sent::Yes));
        assert!(matches!(outbox.send(2), Sent::Full(2)));
        drop(receiver);
        assert_eq!(woken.load(SeqCst), 1);
        assert!(matches!(outbox.send(2), Sent::Closed(2)));
        assert!(matches!(outbox.send(3), Sent::Closed(3)));
    }

    #[test]
    fn the_last_instance_takes_the_sender() {
        let (sender, mut receiver) = channel::<u32>(4);
        let senders = Senders::new(sender, 2);
        let taken = [senders.take(), senders.take()];
        assert!(taken.iter().all(Option::is_some) && senders.take().is_none());
        drop(taken);
        assert_eq!(receive(&mut receiver), None);
    }
}
