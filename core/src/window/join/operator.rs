use super::side::JoinSide;
use crate::graph::{NodeMetrics, TaskContext};
use crate::process::OutputTag;
use crate::stream::Data;
use crate::{Batch, Operator, OperatorContext, Output, Progress, Restored, Result, Snapshot};
use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Two streams as the one input of a window operator.
pub(super) struct TwoStreams<L, R> {
    windows: Box<dyn Operator>,
    late: LatePorts,
    metrics: Arc<NodeMetrics>,
    /// Inputs that have ended.
    ended: usize,
    records: PhantomData<fn(L, R)>,
}

/// Where late records come from and go to.
#[derive(Clone, Copy)]
struct LatePorts {
    /// The window operator's port for them.
    both: usize,
    left: Option<usize>,
    right: Option<usize>,
}

/// Under which name the window operator sets late records aside.
const LATE: &str = "late records of both sides";

impl<L: Data, R: Data> TwoStreams<L, R> {
    /// Around the operator that `make` gives for a context and the tag of late records.
    pub(super) fn new(
        context: &TaskContext,
        (left, right): (Option<&OutputTag<L>>, Option<&OutputTag<R>>),
        make: impl FnOnce(&TaskContext, OutputTag<JoinSide<L, R>>) -> Box<dyn Operator>,
    ) -> Self {
        let port = |name: &str, record: TypeId| {
            context.sides().iter().position(|(of, of_type)| of == name && *of_type == record).map(|place| 1 + place)
        };
        let late = LatePorts {
            both: 1 + context.sides().len(),
            left: left.and_then(|tag| port(tag.name(), TypeId::of::<L>())),
            right: right.and_then(|tag| port(tag.name(), TypeId::of::<R>())),
        };
        // The other side outputs keep their ports: the function may use them.
        let own = (LATE.to_owned(), TypeId::of::<JoinSide<L, R>>());
        let sides = context.sides().iter().cloned().chain([own]).collect();
        let windows = make(&context.clone().with_sides(&sides), OutputTag::new(LATE));
        Self { windows, late, metrics: context.metrics.clone(), ended: 0, records: PhantomData }
    }

    /// Calls the window operator.
    fn call<T>(&mut self, out: &mut dyn Output, f: impl FnOnce(&mut dyn Operator, &mut dyn Output) -> Result<T>) -> Result<T> {
        let Self { windows, late, metrics, .. } = self;
        f(windows.as_mut(), &mut SplitLate::<L, R> { out, late: *late, metrics, records: PhantomData })
    }
}

/// A batch of one side as one of either.
fn either<T: Data, S: Data>(mut batch: Batch, side: impl Fn(T) -> S) -> Result<Batch> {
    let times = batch.event_times.take();
    let mut batch = Batch::typed(batch.typed_records::<T>()?.into_iter().map(side).collect::<Vec<S>>());
    batch.event_times = times;
    Ok(batch)
}

/// The output of the window operator: late records go to the outputs of their sides.
struct SplitLate<'a, L, R> {
    out: &'a mut dyn Output,
    late: LatePorts,
    metrics: &'a NodeMetrics,
    records: PhantomData<fn(L, R)>,
}

impl<L: Data, R: Data> SplitLate<'_, L, R> {
    /// Sends late records of one side, or drops them if nobody hears of them.
    fn send_side<T: Data>(&mut self, port: Option<usize>, (records, times): (Vec<T>, Vec<i64>)) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let Some(port) = port else {
            self.metrics.dropped_records.fetch_add(records.len() as u64, Relaxed);
            return Ok(());
        };
        let mut batch = Batch::typed(records);
        batch.event_times = Some(times);
        self.out.send(port, batch)
    }
}

impl<L: Data, R: Data> Output for SplitLate<'_, L, R> {
    fn send(&mut self, port: usize, mut batch: Batch) -> Result<()> {
        if port != self.late.both {
            return self.out.send(port, batch);
        }
        let times = batch.event_times.take();
        let records = batch.typed_records::<JoinSide<L, R>>()?;
        let times = times.unwrap_or_else(|| vec![i64::MIN; records.len()]);
        let (mut left, mut right) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for (record, time) in records.into_iter().zip(times) {
            match record {
                JoinSide::Left(record) => {
                    left.0.push(record);
                    left.1.push(time);
                }
                JoinSide::Right(record) => {
                    right.0.push(record);
                    right.1.push(time);
                }
            }
        }
        self.send_side(self.late.left, left)?;
        self.send_side(self.late.right, right)
    }

    fn congested(&self, port: usize) -> bool {
        port != self.late.both && self.out.congested(port)
    }

    fn superstep(&self) -> u64 {
        self.out.superstep()
    }

    fn set_timer(&mut self, at: i64) {
        self.out.set_timer(at);
    }
}

impl<L: Data, R: Data> Operator for TwoStreams<L, R> {
    fn open(&mut self, context: &OperatorContext) -> Result<()> {
        self.windows.open(context)
    }

    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        let batch = match input {
            0 => either(batch, JoinSide::<L, R>::Left)?,
            _ => either(batch, JoinSide::<L, R>::Right)?,
        };
        self.call(out, |windows, out| windows.process(0, batch, out))
    }

    fn resume(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.call(out, |windows, out| windows.resume(out))
    }

    fn end_input(&mut self, _input: usize, out: &mut dyn Output) -> Result<Progress> {
        self.ended += 1;
        if self.ended < 2 {
            return Ok(Progress::Done);
        }
        self.call(out, |windows, out| windows.end_input(0, out))
    }

    fn on_watermark(&mut self, watermark: i64, out: &mut dyn Output) -> Result<Progress> {
        self.call(out, |windows, out| windows.on_watermark(watermark, out))
    }

    fn on_timer(&mut self, now: i64, out: &mut dyn Output) -> Result<Progress> {
        self.call(out, |windows, out| windows.on_timer(now, out))
    }

    fn finish(&mut self, out: &mut dyn Output) -> Result<Progress> {
        self.call(out, |windows, out| windows.finish(out))
    }

    fn snapshot(&mut self, epoch: u64) -> Result<Snapshot> {
        self.windows.snapshot(epoch)
    }

    fn restore(&mut self, state: Restored) -> Result<()> {
        self.windows.restore(state)
    }

    fn checkpoint_complete(&mut self, epoch: u64) -> Result<()> {
        self.windows.checkpoint_complete(epoch)
    }

    fn checkpoint_aborted(&mut self, epoch: u64) -> Result<()> {
        self.windows.checkpoint_aborted(epoch)
    }

    fn held_watermark(&self) -> i64 {
        self.windows.held_watermark()
    }

    fn abort(&mut self) {
        self.windows.abort();
    }
}
