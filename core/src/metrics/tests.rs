//! A job that a test holds, and what is seen of it.

use super::snapshot::take;
use super::{MetricsSnapshot, WorkerMetrics};
use crate::graph::NodeMetrics;
use crate::runtime::{Edge, Mesh, NodeKind, Plan, PlanNode, Route, RunConfig};
use crate::{Batch, Operator, Output, Progress, Result, Source, Waker};
use fluvial_memory::MemoryManager;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Records a batch.
const BATCH: usize = 1024;

/// Sends batches until it is stopped; its watermark is the number of them.
#[derive(Default)]
struct Endless {
    sent: i64,
    stopped: bool,
}

impl Source for Endless {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        if self.stopped {
            return Ok(Progress::Done);
        }
        self.sent += 1;
        out.send(0, Batch::typed(vec![0u64; BATCH]))?;
        Ok(Progress::More)
    }
    fn watermark(&self) -> i64 {
        self.sent
    }
    fn stop(&mut self) {
        self.stopped = true;
    }
}

/// Is not done with a batch before the test lets it.
#[derive(Clone, Default)]
struct Held {
    free: Arc<AtomicBool>,
    wakers: Arc<Mutex<Vec<Waker>>>,
}

impl Held {
    fn release(&self) {
        self.free.store(true, SeqCst);
        self.wakers.lock().unwrap().iter().for_each(|wake| wake());
    }
}

impl Operator for Held {
    fn process(&mut self, _: usize, _: Batch, out: &mut dyn Output) -> Result<Progress> {
        self.resume(out)
    }
    fn resume(&mut self, _: &mut dyn Output) -> Result<Progress> {
        Ok(if self.free.load(SeqCst) { Progress::Done } else { Progress::Waiting })
    }
}

fn until(seen: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !seen() {
        assert!(Instant::now() < deadline, "nothing is seen of it");
        std::thread::yield_now();
    }
}

#[test]
fn a_held_sink_shows_as_back_pressure_at_its_source() {
    let held = Held::default();
    let sink = held.clone();
    let make = move |context: &crate::OperatorContext| -> Result<Box<dyn Operator>> {
        sink.wakers.lock().unwrap().push(context.waker.clone());
        Ok(Box::new(sink.clone()))
    };
    let source = NodeKind::Source(Arc::new(|_| Ok(Box::<Endless>::default())));
    let node = |id, name: &str, kind, inputs, outputs| PlanNode { id, name: name.into(), kind, inputs, outputs };
    let plan = Plan::new(
        "held",
        vec![
            node(0, "endless", source, vec![], 1),
            node(1, "sink", NodeKind::Operator(Arc::new(make)), vec![Edge::new(0, 0, Route::Forward)], 0),
        ],
    );
    let config = RunConfig::new(1, MemoryManager::new(1 << 20).unwrap());
    let crate::runtime::EdgeBudget::Bytes(budget) = config.edge_budget else { panic!("permits are bytes by default") };
    let mesh = Mesh::start(config).unwrap();
    let job = mesh.submit(&plan).unwrap();
    let counters = job.counters();
    let nodes: Vec<Arc<NodeMetrics>> = vec![Arc::default(); 2];
    nodes[1].state_bytes.store(77, SeqCst);
    let look = || take("held", &counters, &nodes, 0);
    let source = |snapshot: &MetricsSnapshot| -> WorkerMetrics { snapshot.operators[0].total() };

    until(|| source(&look()).backpressured_seconds > 0.0);
    let before = look();
    assert!(before.running);
    // What is sent at a time may exceed the budget, by no more than a batch here.
    let in_flight = before.operators[1].in_flight_bytes as usize;
    assert!((budget..=budget + 8 * BATCH).contains(&in_flight), "{in_flight}");
    assert_eq!(before.operators[1].state_bytes, 77);
    // From here on the source does nothing but wait, and the sink does not even that.
    until(|| look().rates_since(&before)[0].backpressured > 0.9);
    let rates = look().rates_since(&before);
    assert!(rates[0].busy < 0.1 && rates[1].idle > 0.9 && rates[1].backpressured == 0.0, "{rates:?}");
    assert_eq!(source(&look()).records_out, source(&before).records_out);
    assert!(source(&look()).watermark.is_none_or(|at| at < i64::MAX));

    held.release();
    until(|| source(&look()).records_out > source(&before).records_out);
    job.control().stop();
    job.wait().unwrap();
    let after = look();
    assert!(!after.running);
    assert_eq!(after, MetricsSnapshot { time: after.time, ..look() }, "the end is the end");
    let [source, sink] = [0, 1].map(|i| after.operators[i].total());
    assert_eq!((sink.records_in, sink.batches_in), (source.records_out, source.batches_out));
    assert_eq!((sink.bytes_in, source.bytes_out), (sink.records_in * 8, source.records_out * 8));
    assert_eq!(after.operators[1].in_flight_bytes, 0);
    for worker in [source, sink] {
        assert_eq!(worker.watermark, Some(i64::MAX));
        let sum = worker.busy_seconds + worker.backpressured_seconds + worker.idle_seconds;
        assert!((sum - after.seconds).abs() < 1e-6, "{sum} of {}", after.seconds);
    }
}
