//! Sources that do as they are told, and a log of what an operator sees: tests drive event time step by step and wait for
//! what follows, never for time to pass.

use fluvial_core::runtime::NodeKind;
use fluvial_core::{Batch, OperatorContext, Output, Progress, Result, Source, Waker};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(30);

/// What a source is told to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Say {
    Send(u64),
    Watermark(i64),
    Idle(bool),
    End,
}

/// Entries in the order in which they were made; whoever waits looks again at each.
pub struct Log<E>(Arc<(Mutex<Vec<E>>, Condvar)>);

impl<E> Clone for Log<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Default for Log<E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<E: Clone + PartialEq + Debug> Log<E> {
    pub fn add(&self, entry: E) {
        self.0.0.lock().unwrap().push(entry);
        self.0.1.notify_all();
    }

    /// Waits for an entry like this.
    pub fn wait_for(&self, entry: &E) {
        let (entries, over) =
            self.0.1.wait_timeout_while(self.0.0.lock().unwrap(), DEADLINE, |entries| !entries.contains(entry)).unwrap();
        assert!(!over.timed_out(), "waited for {entry:?}, got {entries:?}");
    }

    pub fn entries(&self) -> Vec<E> {
        self.0.0.lock().unwrap().clone()
    }
}

/// Tells one instance of a source what to do.
#[derive(Clone, Default)]
pub struct Driver(Arc<Inbox>);

#[derive(Default)]
struct Inbox {
    state: Mutex<(VecDeque<Say>, Option<Waker>)>,
    taken: Condvar,
}

impl Driver {
    /// Waits until the source has done it.
    pub fn tell(&self, say: Say) {
        let mut state = self.0.state.lock().unwrap();
        state.0.push_back(say);
        if let Some(waker) = &state.1 {
            waker();
        }
        let (_state, over) = self.0.taken.wait_timeout_while(state, DEADLINE, |state| !state.0.is_empty()).unwrap();
        assert!(!over.timed_out(), "the source does not do {say:?}");
    }
}

struct Driven {
    inbox: Arc<Inbox>,
    watermark: i64,
    idle: bool,
}

/// A source whose instances listen to these drivers, one a worker.
pub fn driven(drivers: &[Driver]) -> NodeKind {
    let drivers = drivers.to_vec();
    NodeKind::Source(Arc::new(move |context: &OperatorContext| {
        let inbox = drivers[context.worker].0.clone();
        inbox.state.lock().unwrap().1 = Some(context.waker.clone());
        Ok(Box::new(Driven { inbox, watermark: i64::MIN, idle: false }))
    }))
}

impl Source for Driven {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut state = self.inbox.state.lock().unwrap();
        let say = state.0.pop_front();
        match say {
            None => return Ok(Progress::Waiting),
            Some(Say::Send(value)) => out.send(0, Batch::typed(vec![value]))?,
            Some(Say::Watermark(watermark)) => self.watermark = watermark,
            Some(Say::Idle(idle)) => self.idle = idle,
            Some(Say::End) => {}
        }
        self.inbox.taken.notify_all();
        Ok(if say == Some(Say::End) { Progress::Done } else { Progress::More })
    }
    fn watermark(&self) -> i64 {
        self.watermark
    }
    fn idle(&self) -> bool {
        self.idle
    }
}
