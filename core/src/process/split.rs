use super::outputs::Outbox;
use super::plain::{ProcessContext, ProcessFunction};
use super::side::OutputTag;
use crate::graph::Body;
use crate::stream::{Data, DataStream};
use crate::{Batch, Error, Operator, Output, Progress, Result};
use std::sync::Arc;

impl<T: Data> DataStream<T> {
    /// Splits the stream into as many as the pattern names; `choose` gives the place of a record's stream among them.
    ///
    /// A place that is none fails the job.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let [even, odd] = env.sequence(0..10).split(|n| (n % 2) as usize);
    /// assert_eq!(even.count()?, 5);
    /// assert_eq!(odd.collect()?.iter().sum::<u64>(), 25);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn split<const N: usize>(&self, choose: impl FnMut(&T) -> usize + Clone + Send + Sync + 'static) -> [DataStream<T>; N] {
        let make = move |_: &_| -> Result<Box<dyn Operator>> {
            let outboxes = (0..N).map(|_| Outbox::default()).collect();
            Ok(Box::new(Split { choose: choose.clone(), outboxes }))
        };
        let mut node = self.after("split", String::new(), Body::Operator(Arc::new(make)));
        node.outputs = N;
        let node = self.env.add(node);
        std::array::from_fn(|port| DataStream { port, ..DataStream::new(&self.env, node) })
    }

    /// Splits the stream by name: `choose` names each record's stream, which [`SplitStream::select`] gives. Records of streams
    /// that nobody selects are dropped.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let split = env.sequence(1..=20).split_by_name(|n| if n % 15 == 0 { "both" } else if n % 3 == 0 { "fizz" } else { "rest" });
    /// assert_eq!(split.select("fizz").count()?, 5);
    /// assert_eq!(split.select("both").collect()?, [15]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn split_by_name(&self, choose: impl FnMut(&T) -> &str + Clone + Send + Sync + 'static) -> SplitStream<T> {
        SplitStream { stream: self.process_as("split", move |_| Ok(ChooseName { choose: choose.clone(), tags: Vec::new() })) }
    }
}

/// A stream that is split by name: see [`DataStream::split_by_name`].
#[must_use = "nothing happens before a stream is selected"]
pub struct SplitStream<T> {
    stream: DataStream<T>,
}

impl<T: Data> SplitStream<T> {
    /// The records whose stream has this name.
    pub fn select(&self, name: &str) -> DataStream<T> {
        self.stream.side_output(&OutputTag::new(name))
    }
}

/// Sends each record on the port that a function chooses.
struct Split<T, F> {
    choose: F,
    outboxes: Vec<Outbox<T>>,
}

impl<T: Data, F: FnMut(&T) -> usize> Operator for Split<T, F> {
    fn process(&mut self, _input: usize, mut batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let times = batch.event_times.take();
        for (i, record) in batch.typed_records::<T>()?.into_iter().enumerate() {
            let port = (self.choose)(&record);
            let streams = self.outboxes.len();
            let outbox = self.outboxes.get_mut(port).ok_or_else(|| {
                Error::User(format!("the function chose stream {port} for a record, expected one of {streams} from 0 on"))
            })?;
            outbox.push(record, times.as_ref().map_or(i64::MIN, |times| times[i]));
        }
        for (port, outbox) in self.outboxes.iter_mut().enumerate() {
            outbox.send(port, out)?;
        }
        Ok(Progress::Done)
    }
}

/// Sends each record on the side output that a function names.
struct ChooseName<T, F> {
    choose: F,
    /// Tags of the names seen so far; there are few.
    tags: Vec<OutputTag<T>>,
}

impl<T: Data, F: FnMut(&T) -> &str + 'static> ProcessFunction<T> for ChooseName<T, F> {
    type Output = T;
    fn process(&mut self, record: T, context: &mut ProcessContext<'_, T>) -> Result<()> {
        let name = (self.choose)(&record);
        let place = self.tags.iter().position(|tag| tag.name() == name).unwrap_or_else(|| {
            self.tags.push(OutputTag::new(name));
            self.tags.len() - 1
        });
        context.side(&self.tags[place], record);
        Ok(())
    }
}
