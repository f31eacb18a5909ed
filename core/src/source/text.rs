//! Lines that a reader hands over in blocks, with what it has to say between them.

use super::inbox::{Inbox, Taken};
use super::lines::TextBlock;
use super::{POLL_RECORDS, position};
use crate::chain::{BoxCollector, Context};
use crate::graph::{NodeMetrics, TaskContext};
use crate::time::SplitTimes;
use crate::{Output, Progress, Restored, Result, Snapshot, Source, Waker};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What a reader of text sends.
pub(super) enum Text<E> {
    Block(TextBlock),
    Event(E),
}

/// What becomes of a split.
pub(super) enum SplitChange {
    Begins(u32),
    Ended(u32),
}

/// How far a source of text has come.
pub(super) trait Place: Serialize + DeserializeOwned + Clone + Default + 'static {
    /// What the reader tells beside the text: a file begins, a file has ended.
    type Event: Send + 'static;

    /// All text before the event has been emitted. Says what it means for the splits.
    fn note(&mut self, event: Self::Event) -> Option<SplitChange>;

    /// All lines before this byte of the split in hand have been emitted.
    fn reach(&mut self, offset: u64);

    /// The place that instance `worker` of `workers` goes on from, by those of all former ones; `None` where a place means
    /// nothing to a later run.
    fn restored(former: Vec<Self>, worker: usize, workers: usize) -> Option<Self>;
}

/// The place of text that cannot be read again.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Nowhere;

impl Place for Nowhere {
    type Event = std::convert::Infallible;
    fn note(&mut self, event: Self::Event) -> Option<SplitChange> {
        match event {}
    }
    fn reach(&mut self, _offset: u64) {}
    fn restored(_former: Vec<Self>, _worker: usize, _workers: usize) -> Option<Self> {
        None
    }
}

type TextInbox<P> = Inbox<Text<<P as Place>::Event>>;

/// Starts a reader at a place.
pub(super) type StartReader<P> = Box<dyn FnOnce(&P, &Waker) -> Result<TextInbox<P>>>;

/// Emits the lines that a reader sends.
pub(super) struct TextSource<P: Place> {
    place: P,
    state: State<P>,
    /// What is being emitted.
    block: Option<TextBlock>,
    worker: usize,
    workers: usize,
    waker: Waker,
    metrics: Arc<NodeMetrics>,
    /// Event time of the splits, where it is assigned right behind this source.
    splits: SplitTimes,
    next: BoxCollector<String>,
}

enum State<P: Place> {
    /// The reader starts with the first poll: what is restored is known by then.
    New(StartReader<P>),
    Reading(TextInbox<P>),
    Ended,
}

impl<P: Place> TextSource<P> {
    /// `start`: `None` where this instance reads nothing.
    pub(super) fn new(context: &TaskContext, next: BoxCollector<String>, start: Option<StartReader<P>>) -> Self {
        let state = start.map_or(State::Ended, State::New);
        let (waker, metrics) = (context.waker.clone(), context.metrics.clone());
        let (worker, workers) = (context.worker, context.workers);
        let splits = context.splits().clone();
        Self { place: P::default(), state, block: None, worker, workers, waker, metrics, splits, next }
    }

    fn start(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::New(start) => self.state = State::Reading(start(&self.place, &self.waker)?),
            state => self.state = state,
        }
        Ok(())
    }

    /// Pushes some lines; whether there are more at once.
    fn read(&mut self, context: &mut Context<'_>) -> Result<Progress> {
        let mut left = POLL_RECORDS;
        let mut progress = Progress::More;
        while left > 0 {
            if let Some(block) = &mut self.block {
                if self.splits.paused(block.split) {
                    progress = Progress::Waiting;
                    break;
                }
                context.split = block.split;
                left -= block.push(left, &mut self.next, context);
                self.place.reach(block.position());
                if block.is_empty() {
                    self.block = None;
                }
                continue;
            }
            let State::Reading(inbox) = &mut self.state else { break };
            match inbox.take()? {
                Taken::Message(Text::Block(block)) => self.block = Some(block),
                Taken::Message(Text::Event(event)) => match self.place.note(event) {
                    Some(SplitChange::Begins(split)) => self.splits.begin_split(split),
                    Some(SplitChange::Ended(split)) => self.splits.end_split(split),
                    None => {}
                },
                Taken::Nothing => {
                    progress = Progress::Waiting;
                    break;
                }
                Taken::End => self.state = State::Ended,
            }
        }
        self.metrics.rows_read.fetch_add((POLL_RECORDS - left) as u64, Relaxed);
        self.next.end_batch(None, context);
        Ok(progress)
    }
}

impl<P: Place> Source for TextSource<P> {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        self.start()?;
        let ended = matches!(self.state, State::Ended) && self.block.is_none();
        let progress = if ended { self.next.finish(&mut context) } else { self.read(&mut context)? };
        context.check()?;
        Ok(progress)
    }

    fn snapshot(&mut self, _epoch: u64) -> Result<Snapshot> {
        position::save(&self.place)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        if let Some(place) = P::restored(position::load(&state)?, self.worker, self.workers) {
            self.place = place;
        }
        Ok(())
    }

    fn stop(&mut self) {
        match &mut self.state {
            State::Reading(inbox) => inbox.close(),
            State::New(_) => self.state = State::Ended,
            State::Ended => {}
        }
    }

    fn abort(&mut self) {
        self.state = State::Ended;
        self.block = None;
    }
}
