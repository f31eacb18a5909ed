//! Small operators for the runtime's tests.
#![allow(dead_code, reason = "each test uses some of it")]

pub mod driven;

use fluvial_core::runtime::{BatchCodec, Edge, EdgeBudget, Emit, NodeKind, Partitioner, PlanNode, Route, RunConfig};
use fluvial_core::{Batch, Operator, Output, Progress, Records, Result, Source};
use fluvial_memory::MemoryManager;
use std::sync::{Arc, Mutex};

/// A mesh of one process with room for four batches an edge.
pub fn config(workers: usize) -> RunConfig {
    let mut config = RunConfig::new(workers, MemoryManager::new(16 << 20).unwrap());
    config.edge_budget = EdgeBudget::Batches(4);
    config
}

pub fn node(id: usize, name: &str, kind: NodeKind, inputs: Vec<Edge>, outputs: usize) -> PlanNode {
    PlanNode { id, name: name.into(), kind, inputs, outputs }
}

/// The numbers below `count`, shared among the workers, in batches of `size`; the last one is shorter.
pub fn numbers(count: u64, size: u64) -> NodeKind {
    struct Numbers {
        next: u64,
        end: u64,
        size: u64,
    }
    impl Source for Numbers {
        fn poll(&mut self, out: &mut dyn Output) -> Result<Progress> {
            let end = self.end.min(self.next + self.size);
            out.send(0, Batch::typed((self.next..end).collect::<Vec<u64>>()))?;
            self.next = end;
            Ok(if end == self.end { Progress::Done } else { Progress::More })
        }
        fn stop(&mut self) {
            self.end = self.next;
        }
    }
    NodeKind::Source(Arc::new(move |context| {
        let share = count.div_ceil(context.workers as u64);
        let next = (share * context.worker as u64).min(count);
        Ok(Box::new(Numbers { next, end: (next + share).min(count), size }))
    }))
}

pub fn values(batch: Batch) -> Vec<u64> {
    batch.into_typed::<u64>().expect("numbers")
}

/// The numbers of a batch that goes on.
pub fn peek(batch: &Batch) -> &[u64] {
    let Records::Typed(records) = &batch.records else { panic!("numbers") };
    records.as_any().downcast_ref::<Vec<u64>>().expect("numbers")
}

struct Function<F>(F);

impl<F: FnMut(usize, Batch, &mut dyn Output) -> Result<Progress>> Operator for Function<F> {
    fn process(&mut self, input: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
        (self.0)(input, batch, out)
    }
}

/// An operator that is one function.
pub fn operator<F>(f: F) -> NodeKind
where
    F: FnMut(usize, Batch, &mut dyn Output) -> Result<Progress> + Clone + Send + Sync + 'static,
{
    NodeKind::Operator(Arc::new(move |_| Ok(Box::new(Function(f.clone())))))
}

pub fn map(f: fn(u64) -> u64) -> NodeKind {
    operator(move |_, batch, out| {
        out.send(0, Batch::typed(values(batch).into_iter().map(f).collect::<Vec<u64>>()))?;
        Ok(Progress::Done)
    })
}

#[derive(Clone, Default)]
pub struct Collected(Arc<Mutex<Vec<u64>>>);

impl Collected {
    pub fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub fn collect(sink: &Collected) -> NodeKind {
    let sink = sink.clone();
    operator(move |_, batch, _| {
        sink.0.lock().unwrap().extend(values(batch));
        Ok(Progress::Done)
    })
}

/// Splits numbers by a hash of their value, in batches of 64.
pub fn by_hash() -> Route {
    struct ByHash(Vec<Vec<u64>>);
    impl Partitioner for ByHash {
        fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
            self.0.resize(targets, Vec::new());
            for n in values(batch) {
                let target = (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize % targets;
                self.0[target].push(n);
                if self.0[target].len() == 64 {
                    emit(target, Batch::typed(std::mem::take(&mut self.0[target])))?;
                }
            }
            Ok(())
        }
        fn flush(&mut self, targets: usize, emit: Emit<'_>) -> Result<()> {
            self.0.resize(targets, Vec::new());
            for (target, held) in self.0.iter_mut().enumerate().filter(|(_, held)| !held.is_empty()) {
                emit(target, Batch::typed(std::mem::take(held)))?;
            }
            Ok(())
        }
    }
    Route::Partition(Arc::new(|| Box::new(ByHash(Vec::new()))))
}

/// Numbers as eight bytes each.
pub struct Numbers;

impl BatchCodec for Numbers {
    fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        out.extend(peek(batch).iter().flat_map(|n| n.to_le_bytes()));
        Ok(())
    }
    fn decode(&self, bytes: &[u8]) -> Result<Batch> {
        Ok(Batch::typed(bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect::<Vec<u64>>()))
    }
}

/// An edge between processes.
pub fn wide(from: usize, port: usize, route: Route) -> Edge {
    Edge::new(from, port, route).codec(Arc::new(Numbers))
}

/// Addresses of processes on this host that nobody uses.
pub fn addresses(processes: usize) -> Vec<String> {
    let listeners: Vec<_> = (0..processes).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
}
