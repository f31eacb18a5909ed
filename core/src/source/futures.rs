//! Anything that is a [`Stream`] of the `futures` crates.

use super::add_source;
use super::inbox::{Feed, Inbox, Taken};
use crate::chain::{BoxCollector, Context};
use crate::graph::{NodeMetrics, TaskContext};
use crate::{Data, DataStream, Env, Error, Output, Progress, Result, Source, Waker};
use futures_util::{Stream, StreamExt};
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Records that are handed to the worker together, at most: those that are ready at the same time.
const TOGETHER: usize = 256;

/// Hand-overs on their way to the worker.
const CAPACITY: usize = 8;

impl Env {
    /// The items of a stream of futures. `make` is called when the job starts, in the first worker of the first process,
    /// and what it gives is polled on the process's tokio runtime, some 2,000 items ahead of the job at most. The records
    /// cannot be read again: a restored job calls `make` anew.
    ///
    /// A receiver of a tokio channel is a stream through `tokio_stream::wrappers`; or see [`Env::channel`].
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use futures_util::stream;
    /// let env = Env::default();
    /// let squares = env.from_stream(|| stream::iter(1..=4u64)).map(|x| x * x);
    /// assert_eq!(squares.collect()?, [1, 4, 9, 16]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn from_stream<T, S>(&self, make: impl Fn() -> S + Send + Sync + 'static) -> DataStream<T>
    where
        T: Data,
        S: Stream<Item = T> + Send + 'static,
    {
        self.stream_source(move |worker, _| (worker == 0).then(|| make().map(Ok::<T, Infallible>)))
    }

    /// The same of a stream of results. The first error fails the job, after the items before it.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use futures_util::stream;
    /// let env = Env::default();
    /// let numbers = env.try_from_stream(|| stream::iter(["1", "2", "x"]).map(|s| s.parse::<u64>()));
    /// # use futures_util::StreamExt;
    /// let error = numbers.collect().unwrap_err();
    /// assert_eq!(error.to_string(), "operator `stream`: invalid digit found in string");
    /// ```
    pub fn try_from_stream<T, E, S>(&self, make: impl Fn() -> S + Send + Sync + 'static) -> DataStream<T>
    where
        T: Data,
        E: Display + Send + 'static,
        S: Stream<Item = std::result::Result<T, E>> + Send + 'static,
    {
        self.stream_source(move |worker, _| (worker == 0).then(&make))
    }

    /// The items of one stream a worker: `make(w, workers)` gives that of worker `w` among all workers of all processes.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use futures_util::stream;
    /// let env = Env::default();
    /// let parts = env.from_streams(|worker, workers| stream::iter((worker as u64..10).step_by(workers)));
    /// assert_eq!(parts.collect()?.len(), 10);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn from_streams<T, S>(&self, make: impl Fn(usize, usize) -> S + Send + Sync + 'static) -> DataStream<T>
    where
        T: Data,
        S: Stream<Item = T> + Send + 'static,
    {
        self.stream_source(move |worker, workers| Some(make(worker, workers).map(Ok::<T, Infallible>)))
    }

    fn stream_source<T, E, S>(&self, make: impl Fn(usize, usize) -> Option<S> + Send + Sync + 'static) -> DataStream<T>
    where
        T: Data,
        E: Display + Send + 'static,
        S: Stream<Item = std::result::Result<T, E>> + Send + 'static,
    {
        add_source(self, "stream", String::new(), None, move |context: &TaskContext, next| {
            let state = make(context.worker, context.workers).map_or(State::Ended, |stream| {
                State::New(Box::new(|waker| Inbox::spawn_task(CAPACITY, waker, |feed| read(stream, feed))))
            });
            let (waker, metrics) = (context.waker.clone(), context.metrics.clone());
            Ok(Box::new(StreamSource { state, waker, metrics, next: next.into::<T>()? }))
        })
    }
}

/// Polls a stream to its end.
async fn read<T: Send, E: Display>(stream: impl Stream<Item = std::result::Result<T, E>>, feed: Feed<Vec<T>>) {
    let mut ready = Box::pin(stream.ready_chunks(TOGETHER));
    while let Some(items) = ready.next().await {
        let mut failure = None;
        let mut records = Vec::with_capacity(items.len());
        for item in items {
            match item {
                Ok(record) => records.push(record),
                Err(error) => {
                    failure = Some(Error::User(error.to_string()));
                    break;
                }
            }
        }
        if !feed.send(Ok(records)).await {
            return;
        }
        if let Some(failure) = failure {
            feed.send(Err(failure)).await;
            return;
        }
    }
}

type Start<T> = Box<dyn FnOnce(&Waker) -> Result<Inbox<Vec<T>>>>;

enum State<T> {
    New(Start<T>),
    Reading(Inbox<Vec<T>>),
    Ended,
}

struct StreamSource<T> {
    state: State<T>,
    waker: Waker,
    metrics: Arc<NodeMetrics>,
    next: BoxCollector<T>,
}

impl<T: Data> Source for StreamSource<T> {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        let progress = match &mut self.state {
            State::New(_) => {
                if let State::New(start) = std::mem::replace(&mut self.state, State::Ended) {
                    self.state = State::Reading(start(&self.waker)?);
                }
                Progress::More
            }
            State::Reading(inbox) => match inbox.take()? {
                Taken::Message(records) => {
                    self.metrics.rows_read.fetch_add(records.len() as u64, Relaxed);
                    records.into_iter().for_each(|record| self.next.push(record, &mut context));
                    self.next.end_batch(None, &mut context);
                    Progress::More
                }
                Taken::Nothing => Progress::Waiting,
                Taken::End => {
                    self.state = State::Ended;
                    Progress::More
                }
            },
            State::Ended => self.next.finish(&mut context),
        };
        context.check()?;
        Ok(progress)
    }

    fn stop(&mut self) {
        match &mut self.state {
            State::Reading(inbox) => inbox.close(),
            state => *state = State::Ended,
        }
    }

    fn abort(&mut self) {
        self.state = State::Ended;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Driven;
    use super::*;
    use futures_util::stream;

    #[test]
    fn a_stream_that_never_ends_can_be_stopped() {
        let stream = Env::default().from_stream(|| stream::iter(0..3u64).chain(stream::pending()));
        let mut driven = Driven::new(&stream, 0, 1);
        assert_eq!(driven.until(3), [0, 1, 2]);
        driven.source.stop();
        assert_eq!(driven.run_to_end(), [0, 1, 2]);
    }

    #[test]
    fn a_stream_that_panics_fails_the_source() {
        let stream = Env::default().from_stream(|| stream::iter(0..3u64).inspect(|n| assert!(*n < 2, "two")));
        assert!(Driven::new(&stream, 0, 1).run_to_error().starts_with("panicked: two"));
    }
}
