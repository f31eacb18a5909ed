//! What the runtime costs: batches through a forward edge, records through an exchange.
//!
//! `cargo bench -p fluvial-core --bench exchange`. Throughput is given in records (or batches) per second over all workers.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fluvial_core::runtime::{Edge, Emit, Mesh, NodeKind, Partitioner, Plan, PlanNode, Route, RunConfig};
use fluvial_core::{Batch, Operator, Output, Progress, Records, Result, Source};
use fluvial_memory::MemoryManager;
use std::hint::black_box;
use std::sync::Arc;

/// The same batch again and again.
struct Repeat {
    batch: Vec<u64>,
    left: usize,
}

impl Source for Repeat {
    fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
        for value in &mut self.batch {
            *value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        }
        out.send(0, Batch::typed(self.batch.clone()))?;
        self.left -= 1;
        Ok(if self.left == 0 { Progress::Done } else { Progress::More })
    }
}

struct Pass;

impl Operator for Pass {
    fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        out.send(0, batch)?;
        Ok(Progress::Done)
    }
}

struct Sink;

impl Operator for Sink {
    fn process(&mut self, _: usize, batch: Batch, _: &mut dyn Output) -> Result<Progress> {
        black_box(&batch);
        Ok(Progress::Done)
    }
}

/// Splits by the high bits of the value.
struct ByValue {
    size: usize,
    held: Vec<Vec<u64>>,
}

impl Partitioner for ByValue {
    fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        let Records::Typed(records) = &batch.records else { unreachable!("numbers") };
        let values = records.as_any().downcast_ref::<Vec<u64>>().expect("numbers");
        self.held.resize_with(targets, || Vec::with_capacity(self.size));
        for value in values {
            let held = &mut self.held[((value >> 32) * targets as u64 >> 32) as usize];
            held.push(*value);
        }
        for (target, held) in self.held.iter_mut().enumerate().filter(|(_, held)| held.len() >= self.size) {
            emit(target, Batch::typed(std::mem::replace(held, Vec::with_capacity(self.size * 2))))?;
        }
        Ok(())
    }
    fn flush(&mut self, _: usize, emit: Emit<'_>) -> Result<()> {
        for (target, held) in self.held.iter_mut().enumerate().filter(|(_, held)| !held.is_empty()) {
            emit(target, Batch::typed(std::mem::take(held)))?;
        }
        Ok(())
    }
}

/// A source of `batches` batches of `size` records a worker, `passes` operators that hand them on, a sink.
fn plan(batches: usize, size: usize, passes: usize, route: Route) -> Plan {
    let source = NodeKind::Source(Arc::new(move |context| {
        let batch = (0..size as u64).map(|n| n + ((context.worker as u64) << 32)).collect();
        Ok(Box::new(Repeat { batch, left: batches }))
    }));
    let mut nodes = vec![PlanNode { id: 0, name: "source".into(), kind: source, inputs: vec![], outputs: 1 }];
    for pass in 1..=passes {
        let kind = NodeKind::Operator(Arc::new(|_| Ok(Box::new(Pass))));
        nodes.push(PlanNode {
            id: pass,
            name: format!("pass {pass}"),
            kind,
            inputs: vec![Edge::forward(pass - 1, 0)],
            outputs: 1,
        });
    }
    let kind = NodeKind::Operator(Arc::new(|_| Ok(Box::new(Sink))));
    let inputs = vec![Edge::new(passes, 0, route)];
    nodes.push(PlanNode { id: passes + 1, name: "sink".into(), kind, inputs, outputs: 0 });
    Plan::new("bench", nodes)
}

fn by_value(size: usize) -> Route {
    Route::Partition(Arc::new(move || Box::new(ByValue { size, held: Vec::new() })))
}

fn mesh(workers: usize) -> Mesh {
    Mesh::start(RunConfig::new(workers, MemoryManager::new(16 << 20).expect("memory"))).expect("threads")
}

fn run(bencher: &mut criterion::Bencher<'_>, mesh: &Mesh, plan: &Plan) {
    bencher.iter_batched(|| (), |()| mesh.run(plan).expect("the job runs"), BatchSize::PerIteration);
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("runtime");
    group.sample_size(10);
    let (one, two) = (mesh(1), mesh(2));
    let batches = 200_000;
    for passes in [0, 4] {
        group.throughput(Throughput::Elements((batches * (passes + 1)) as u64));
        let plan = plan(batches, 1, passes, Route::Forward);
        group.bench_function(format!("forward hops, one-record batches, {} hops", passes + 1), |b| run(b, &one, &plan));
    }
    let batches = 20_000;
    for size in [64, 1024, 8192] {
        group.throughput(Throughput::Elements((batches * size * 2) as u64));
        let plan = plan(batches, size, 0, by_value(size));
        group.bench_function(format!("exchange on two workers, {size} records a batch"), |b| run(b, &two, &plan));
    }
    group.throughput(Throughput::Elements(1));
    let plan = plan(1, 1, 4, by_value(1));
    group.bench_function("a whole job of one batch, two workers", |b| run(b, &two, &plan));
    group.finish();
}

criterion_group!(exchange, benches);
criterion_main!(exchange);
