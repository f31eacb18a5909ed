//! Assigners in jobs, step by step: a source that does as it is told, a manual clock, and a sink that says what it sees.

use super::{Clock, WatermarkStrategy};
use crate::chain::{AnyCollector, BoxCollector, Context};
use crate::graph::{Body, Node, TaskContext, Timing};
use crate::stream::typed_port;
use crate::{Batch, Config, DataStream, Env, Error, Mode, Operator, Output, Progress, Result, Source, Waker};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the source is told.
#[derive(Clone, Copy, Debug)]
enum Say {
    /// A record of a split: it is its event time.
    Record(u32, i64),
    EndSplit(u32),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    /// A record and its event time.
    Record(i64, i64),
    Watermark(i64),
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    said: VecDeque<Say>,
    waker: Option<Waker>,
    seen: Vec<Seen>,
}

/// Drives a job of one worker.
#[derive(Clone, Default)]
struct Stage(Arc<Shared>);

impl Stage {
    fn say(&self, say: Say) {
        let mut state = self.0.state.lock().unwrap();
        state.said.push_back(say);
        if let Some(waker) = &state.waker {
            waker();
        }
    }

    fn wait_for(&self, entry: Seen) {
        let state = self.0.state.lock().unwrap();
        let deadline = Duration::from_secs(30);
        let (state, over) = self.0.changed.wait_timeout_while(state, deadline, |s| !s.seen.contains(&entry)).unwrap();
        assert!(!over.timed_out(), "waited for {entry:?}, got {:?}", state.seen);
    }

    fn see(&self, seen: Seen) {
        self.0.state.lock().unwrap().seen.push(seen);
        self.0.changed.notify_all();
    }

    fn watermarks(&self) -> Vec<i64> {
        let watermark = |seen: &Seen| if let Seen::Watermark(w) = seen { Some(*w) } else { None };
        self.0.state.lock().unwrap().seen.iter().filter_map(watermark).collect()
    }

    /// A source that does not end.
    fn source(&self, env: &Env) -> DataStream<i64> {
        let stage = self.clone();
        let make = move |context: &TaskContext, next: AnyCollector| -> Result<Box<dyn Source>> {
            stage.0.state.lock().unwrap().waker = Some(context.waker.clone());
            Ok(Box::new(Told { stage: stage.clone(), context: context.clone(), next: next.into::<i64>()?, ended: false }))
        };
        let node = Node {
            kind: "told",
            name: None,
            uid: None,
            detail: String::new(),
            inputs: Vec::new(),
            build_input: None,
            body: Body::Source { make: Arc::new(make), port: typed_port::<i64>() },
            memory: 0,
            outputs: 1,
            sides: Vec::new(),
            feedback: Vec::new(),
            aware: false,
            piecewise: crate::graph::Piecewise::Never,
            timing: Timing::AsTheyCome,
            bounded: false,
            estimate: None,
        };
        DataStream::new(env, env.add(node))
    }

    fn watch(&self, stream: &DataStream<i64>) {
        let stage = self.clone();
        let mut node =
            stream.after("watch", String::new(), Body::Operator(Arc::new(move |_| Ok(Box::new(Watch(stage.clone()))))));
        node.outputs = 0;
        stream.env.add_sink(node);
    }
}

struct Told {
    stage: Stage,
    context: TaskContext,
    next: BoxCollector<i64>,
    ended: bool,
}

impl Source for Told {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        let mut context = Context::new(out);
        if self.ended {
            return Ok(self.next.finish(&mut context));
        }
        let Some(say) = self.stage.0.state.lock().unwrap().said.pop_front() else { return Ok(Progress::Waiting) };
        match say {
            Say::Record(split, time) => {
                context.split = split;
                self.next.push(time, &mut context);
                self.next.end_batch(None, &mut context);
            }
            Say::EndSplit(split) => self.context.splits().end_split(split),
            Say::End => self.ended = true,
        }
        context.check()?;
        Ok(Progress::More)
    }
}

struct Watch(Stage);

impl Operator for Watch {
    fn process(&mut self, _: usize, mut batch: Batch, _: &mut dyn Output) -> Result<Progress> {
        let times = batch.event_times.take().unwrap_or_else(|| vec![i64::MIN; batch.len()]);
        batch.typed_records::<i64>()?.into_iter().zip(times).for_each(|(record, time)| self.0.see(Seen::Record(record, time)));
        Ok(Progress::Done)
    }
    fn on_watermark(&mut self, watermark: i64, _: &mut dyn Output) -> Result<Progress> {
        self.0.see(Seen::Watermark(watermark));
        Ok(Progress::Done)
    }
}

fn env(mode: Mode, clock: &Clock) -> Env {
    Env::new(Config { threads: 1, memory: 16 << 20, mode, clock: clock.clone(), ..Config::default() })
}

/// Runs what is pending while `steps` drive it.
fn run(env: &Env, steps: impl FnOnce()) {
    std::thread::scope(|scope| {
        let job = scope.spawn(|| env.execute("time").map(drop));
        steps();
        job.join().unwrap().unwrap();
    });
}

fn strategy() -> WatermarkStrategy<i64> {
    WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(9))
        .with_timestamps(|time: &i64| *time)
        .with_idleness(Duration::from_millis(1_000))
}

#[test]
fn an_assigner_behind_a_source_follows_its_splits() {
    let (clock, stage) = (Clock::manual(0), Stage::default());
    let env = env(Mode::Auto, &clock);
    stage.watch(&stage.source(&env).filter(|n| n % 2 == 0).assign_timestamps_and_watermarks(strategy()).map(|n| n));
    assert_eq!(env.explain().nodes.len(), 5);
    run(&env, || {
        stage.say(Say::Record(0, 100));
        stage.wait_for(Seen::Watermark(90));
        stage.say(Say::Record(1, 95));
        stage.say(Say::Record(1, 96));
        stage.wait_for(Seen::Record(96, 96));
        stage.say(Say::Record(0, 200));
        stage.wait_for(Seen::Record(200, 200));
        stage.say(Say::Record(1, 150));
        stage.wait_for(Seen::Watermark(140));
        clock.advance_to(500);
        stage.say(Say::Record(0, 300));
        stage.wait_for(Seen::Record(300, 300));
        // Split 1 has been silent for long enough.
        clock.advance_to(1_000);
        stage.wait_for(Seen::Watermark(290));
        stage.say(Say::Record(1, 160));
        stage.wait_for(Seen::Record(160, 160));
        stage.say(Say::Record(0, 400));
        stage.wait_for(Seen::Record(400, 400));
        stage.say(Say::Record(1, 350));
        stage.wait_for(Seen::Watermark(340));
        stage.say(Say::EndSplit(1));
        stage.wait_for(Seen::Watermark(390));
        stage.say(Say::End);
    });
    assert_eq!(stage.watermarks(), [90, 140, 290, 340, 390, i64::MAX]);
}

#[test]
fn an_assigner_in_mid_graph_is_an_operator_of_its_own() {
    let (clock, stage) = (Clock::manual(0), Stage::default());
    let env = env(Mode::Auto, &clock);
    let first = stage.source(&env).assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|_| 7));
    let second = first.rebalance().map(|n| n + 1).assign_timestamps_and_watermarks(strategy());
    stage.watch(&second);
    run(&env, || {
        stage.say(Say::Record(0, 99));
        stage.wait_for(Seen::Watermark(90));
        stage.say(Say::Record(1, 49));
        stage.wait_for(Seen::Record(50, 50));
        stage.say(Say::Record(1, 199));
        stage.wait_for(Seen::Watermark(190));
        stage.say(Say::End);
    });
    assert_eq!(stage.watermarks(), [90, 190, i64::MAX]);
}

#[test]
fn the_last_assigner_of_a_chain_decides() {
    let stage = Stage::default();
    let env = env(Mode::Auto, &Clock::system());
    let first = stage.source(&env).assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamps(|_| 7));
    let kept = first.flat_map(|n| [n, n]).assign_timestamps_and_watermarks(WatermarkStrategy::monotonous());
    stage.watch(&kept);
    run(&env, || {
        stage.say(Say::Record(0, 99));
        stage.wait_for(Seen::Watermark(6));
        stage.say(Say::End);
    });
    assert_eq!(stage.0.state.lock().unwrap().seen[..2], [Seen::Record(99, 7), Seen::Record(99, 7)]);
}

#[test]
fn in_batch_mode_event_time_passes_at_the_end() {
    let times: Vec<i64> = (0..5_000).collect();
    for rebalanced in [false, true] {
        let stage = Stage::default();
        let env = env(Mode::Auto, &Clock::system());
        let source = env.from_collection(times.clone());
        let source = if rebalanced { source.rebalance() } else { source };
        stage.watch(&source.assign_timestamps_and_watermarks(strategy()));
        run(&env, || ());
        let records = times.iter().map(|t| Seen::Record(*t, *t));
        assert!(stage.0.state.lock().unwrap().seen.iter().copied().eq(records.chain([Seen::Watermark(i64::MAX)])));
    }
}

#[test]
fn operations_that_wait_for_the_end_are_refused_where_there_is_none() {
    let stage = Stage::default();
    let env = env(Mode::Auto, &Clock::system());
    let endless = stage.source(&env).name("sensors");
    let bounded = env.from_collection([1i64, 2]);
    let refused = |kind: &str, result: Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Plan(_)), "{kind}: {error}");
        let message = error.to_string();
        assert!(message.contains(&format!("`{kind}`")) && message.contains("`sensors`"), "{kind}: {message}");
    };
    refused("sort", endless.sort_by(|n| *n).map(|n| n).collect().map(drop));
    refused("top", endless.top_by(3, |n| *n).collect().map(drop));
    refused("reduce", endless.reduce(|a, b| a + b).collect().map(drop));
    refused("count", endless.key_by(|n| *n).count().collect().map(drop));
    refused("distinct", endless.distinct().collect().map(drop));
    refused("join", bounded.key_by(|n| *n).join(&endless.key_by(|n| *n)).inner(|a, _| a).collect().map(drop));
    refused("cross", endless.cross(&bounded, |a, _| a).collect().map(drop));
    refused("limit", endless.limit(3).collect().map(drop));
    refused("zip_with_index", endless.zip_with_index().collect().map(drop));
    refused("range", endless.partition_by_range(|n| *n).collect().map(drop));
    refused("map_partition", endless.map_partition(|rows| rows).collect().map(drop));
    refused("map", bounded.with_broadcast(&endless).map(|n, _| n).collect().map(drop));
    refused("sort", bounded.union(&endless).sort_by(|n| *n).collect().map(drop));
    // What is refused is forgotten; a stream beside a small one that ends is none of these.
    stage.watch(&endless.with_broadcast(&bounded).map(|n, small| n + small.len() as i64));
    run(&env, || {
        stage.say(Say::Record(0, 5));
        stage.wait_for(Seen::Record(7, i64::MIN));
        stage.say(Say::End);
    });
}

#[test]
fn batch_mode_is_refused_where_a_source_does_not_end() {
    let stage = Stage::default();
    let env = env(Mode::Batch, &Clock::system());
    stage.watch(&stage.source(&env));
    let error = env.execute("endless").unwrap_err().to_string();
    assert!(error.contains("mode: batch") && error.contains("`told`"), "{error}");
}
