//! Makes a random graph from a seed, together with what it must give.

use super::operators::{
    Body, Emitter, Hold, Injection, JOIN_KEYS, Join, Map, Numbers, WINDOW_KEYS, Watched, Windows, io_thread, joined, loop_entry,
    loop_turn, mapped, number, records, window_of, window_result,
};
use super::tally::{Sums, Tally};
use super::{Random, Record};
use fluvial_core::runtime::{BatchCodec, Edge, Emit, NodeKind, Partitioner, Plan, PlanNode, Route};
use fluvial_core::{Batch, Operator, OperatorContext, Output, Progress, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a sink has.
pub type Collected = Arc<Mutex<Vec<Record>>>;

/// A graph with its expected results.
pub struct Case {
    pub plan: Plan,
    pub tally: Arc<Tally>,
    /// Sender, port, receiver, input, copies: between operators that keep a tally.
    pub edges: Vec<(usize, usize, usize, usize, u64)>,
    /// By sink: what it must have, and what it has, both sorted by the time they are compared.
    pub sinks: Vec<(Vec<Record>, Collected)>,
    /// Where a failure is injected: the node's name and the injection.
    pub injected: Option<(String, Injection)>,
}

#[derive(Clone)]
struct Stream {
    node: usize,
    port: usize,
    records: Vec<Record>,
    /// Whether watermarks hold for its records.
    ordered: bool,
    used: bool,
}

struct Builder {
    random: Random,
    workers: u64,
    nodes: Vec<PlanNode>,
    streams: Vec<Stream>,
    tally: Arc<Tally>,
    edges: Vec<(usize, usize, usize, usize, u64)>,
    /// The node that fails, counted among those that keep a tally.
    inject: Option<(usize, Injection)>,
    watched: usize,
    injected: Option<(String, Injection)>,
    tallied: Vec<bool>,
}

type Make = Arc<dyn Fn(&OperatorContext, &Arc<Tally>) -> Box<dyn Operator> + Send + Sync>;

const MOST: usize = 4000;

/// The graph of a seed, for this many workers. With `failing`, one operator fails at some call.
pub fn case(seed: u64, workers: usize, failing: bool) -> Case {
    let mut random = Random(seed);
    let inject = failing.then(|| {
        let injection =
            Injection { calls: Arc::default(), at: random.below(30), panics: random.chance(50), when: Arc::default() };
        (random.below(6) as usize, injection)
    });
    let mut builder = Builder {
        random,
        workers: workers as u64,
        nodes: Vec::new(),
        streams: Vec::new(),
        tally: Arc::default(),
        edges: Vec::new(),
        inject,
        watched: 0,
        injected: None,
        tallied: Vec::new(),
    };
    for _ in 0..1 + builder.random.below(3) {
        builder.source();
    }
    for _ in 0..2 + builder.random.below(7) {
        match builder.random.below(12) {
            0..4 => builder.map(),
            4..6 => builder.union(),
            6 => builder.join(),
            7 | 8 => builder.windows(),
            9 => builder.hold(),
            10 => builder.bulk_loop(),
            _ => builder.streaming_loop(),
        }
    }
    builder.sinks()
}

impl Builder {
    fn injection(&mut self, name: &str) -> Option<Injection> {
        let turn = self.watched;
        self.watched += 1;
        let injection = self.inject.as_ref().filter(|(at, _)| *at == turn).map(|(_, injection)| injection.clone());
        if let Some(injection) = &injection {
            self.injected = Some((name.to_owned(), injection.clone()));
        }
        injection
    }

    fn source(&mut self) {
        let node = self.nodes.len();
        let count = self.random.below(1200);
        let (salt, jitter, batch) = (self.random.next(), 1 + self.random.below(40) as i64, 1 + self.random.below(40) as usize);
        let contiguous = self.random.chance(30);
        let name = format!("source {node}");
        let injection = self.injection(&name);
        let tally = self.tally.clone();
        let kind = NodeKind::Source(Arc::new(move |context: &OperatorContext| {
            let (worker, workers) = (context.worker as u64, context.workers as u64);
            let share = count.div_ceil(workers);
            let (next, step, end) =
                if contiguous { (share * worker, 1, (share * (worker + 1)).min(count)) } else { (worker, workers, count) };
            Ok(Box::new(Numbers {
                tally: tally.clone(),
                node,
                worker: context.worker,
                next,
                step,
                end,
                batch,
                salt,
                jitter,
                injection: injection.clone(),
                sums: Sums::default(),
            }))
        }));
        self.nodes.push(PlanNode { id: node, name, kind, inputs: vec![], outputs: 1 });
        self.tallied.push(true);
        let records = (0..count).map(|n| number(salt, jitter, n)).collect();
        self.streams.push(Stream { node, port: 0, records, ordered: true, used: false });
    }

    /// An unused stream, or sometimes one that is used already.
    fn pick(&mut self, ordered: bool) -> Option<Stream> {
        let unused = self.random.chance(75);
        let fits = |s: &&mut Stream| (!ordered || s.ordered) && (!unused || !s.used);
        let mut fitting: Vec<&mut Stream> = self.streams.iter_mut().filter(fits).collect();
        if fitting.is_empty() {
            fitting = self.streams.iter_mut().filter(|s| !ordered || s.ordered).collect();
        }
        if fitting.is_empty() {
            return None;
        }
        let index = self.random.below(fitting.len() as u64) as usize;
        fitting[index].used = true;
        Some(fitting[index].clone())
    }

    /// A route that may send copies; how many there are of each record then.
    fn route(&mut self, records: usize) -> (Route, u64) {
        match self.random.below(5) {
            0 | 1 => (Route::Forward, 1),
            2 => (Route::Rebalance, 1),
            3 if records * self.workers as usize <= MOST => (Route::Broadcast, self.workers),
            _ => (self.by(1 << 20), 1),
        }
    }

    /// By value modulo `keys`.
    fn by(&mut self, keys: u64) -> Route {
        let size = 1 + self.random.below(40) as usize;
        Route::Partition(Arc::new(move || Box::new(ByKey { keys, size, held: Vec::new() })))
    }

    /// Adds a watched operator with these inputs: stream, route, copies.
    fn operator(&mut self, kind: &str, inputs: Vec<(Stream, Route, u64)>, outputs: usize, make: Make) -> usize {
        let node = self.nodes.len();
        let name = format!("{kind} {node}");
        let injection = self.injection(&name);
        let tally = self.tally.clone();
        let factory = move |context: &OperatorContext| -> Result<Box<dyn Operator>> {
            Ok(Box::new(Watched {
                inner: make(context, &tally),
                tally: tally.clone(),
                node,
                worker: context.worker,
                injection: injection.clone(),
                sums: Sums::default(),
                ended: Vec::new(),
                watermark: None,
                epoch: None,
                busy: false,
            }))
        };
        for (input, (stream, _, copies)) in inputs.iter().enumerate() {
            if self.tallied[stream.node] {
                self.edges.push((stream.node, stream.port, node, input, *copies));
            }
        }
        let inputs = inputs.into_iter().map(|(stream, route, _)| edge(stream.node, stream.port, route)).collect();
        self.nodes.push(PlanNode { id: node, name, kind: NodeKind::Operator(Arc::new(factory)), inputs, outputs });
        self.tallied.push(true);
        node
    }

    fn map_like(&mut self, kind: &str, streams: Vec<Stream>) {
        let inputs: Vec<(Stream, Route, u64)> = streams
            .into_iter()
            .map(|s| {
                let (route, copies) = self.route(s.records.len());
                (s, route, copies)
            })
            .collect();
        let arriving: usize = inputs.iter().map(|(s, _, copies)| s.records.len() * *copies as usize).sum();
        let factor = if arriving * 3 > MOST { 0 } else { self.random.below(4) };
        let (salt, split) = (self.random.next(), self.random.chance(30));
        let io = self.random.chance(20).then(|| Mutex::new(io_thread()));
        let slow = self.random.chance(40);
        let outputs = if split { 2 } else { 1 };
        let mut results = vec![Vec::new(); outputs];
        for (input, (stream, _, copies)) in inputs.iter().enumerate() {
            for record in &stream.records {
                for (port, result) in mapped(salt, factor, split, input, *record) {
                    results[port].extend(std::iter::repeat_n(result, *copies as usize));
                }
            }
        }
        let ordered = inputs.iter().all(|(s, _, _)| s.ordered);
        let make: Make = Arc::new(move |context, _| {
            let io = io.as_ref().map(|io| (io.lock().unwrap().clone(), context.waker.clone()));
            let spins = if slow && context.worker == 0 { 2000 } else { 0 };
            Box::new(Map { salt, factor, split, io, spins, backlog: Emitter::default() })
        });
        let node = self.operator(kind, inputs, outputs, make);
        for (port, records) in results.into_iter().enumerate() {
            self.streams.push(Stream { node, port, records, ordered, used: false });
        }
    }

    fn map(&mut self) {
        if let Some(stream) = self.pick(false) {
            self.map_like("map", vec![stream]);
        }
    }

    fn union(&mut self) {
        let streams: Vec<Stream> = (0..2 + self.random.below(2)).filter_map(|_| self.pick(false)).collect();
        self.map_like("union", streams);
    }

    fn join(&mut self) {
        let (Some(build), Some(probe)) = (self.pick(false), self.pick(false)) else { return };
        let mut counts = BTreeMap::new();
        build.records.iter().for_each(|r| *counts.entry(r.0 % JOIN_KEYS).or_insert(0) += 1);
        let result = |r: &Record| joined(counts.get(&(r.0 % JOIN_KEYS)).copied().unwrap_or(0), *r);
        let records = probe.records.iter().map(result).collect();
        let inputs = vec![(build, self.by(JOIN_KEYS), 1), (probe, self.by(JOIN_KEYS), 1)];
        let node = self.operator("join", inputs, 1, Arc::new(|_, _| Box::new(Join::default())));
        self.streams.push(Stream { node, port: 0, records, ordered: false, used: false });
    }

    fn windows(&mut self) {
        let Some(stream) = self.pick(true) else { return };
        let mut counts = BTreeMap::new();
        stream.records.iter().for_each(|r| *counts.entry(window_of(*r)).or_insert(0) += 1);
        let records = counts.into_iter().map(|((end, key), count)| window_result(end, key, count)).collect();
        let inputs = vec![(stream, self.by(WINDOW_KEYS), 1)];
        let make: Make = Arc::new(|context, tally| {
            Box::new(Windows { tally: tally.clone(), node: context.node, counts: BTreeMap::new(), watermark: i64::MIN })
        });
        let node = self.operator("windows", inputs, 1, make);
        self.streams.push(Stream { node, port: 0, records, ordered: true, used: false });
    }

    fn hold(&mut self) {
        let Some(stream) = self.pick(false) else { return };
        let records = stream.records.clone();
        let inputs = vec![(stream, self.by(1 << 20), 1)];
        let node = self.operator("hold", inputs, 1, Arc::new(|_, _| Box::new(Hold::default())));
        self.streams.push(Stream { node, port: 0, records, ordered: false, used: false });
    }

    /// An operator that makes records fit for a loop.
    fn entry(&mut self) -> Option<Stream> {
        struct Entry;
        impl Operator for Entry {
            fn process(&mut self, _: usize, batch: Batch, out: &mut dyn Output) -> Result<Progress> {
                out.send(0, Batch::typed(records(&batch).iter().map(|r| loop_entry(*r)).collect::<Vec<_>>()))?;
                Ok(Progress::Done)
            }
        }
        let stream = self.pick(false)?;
        let (ordered, records) = (stream.ordered, stream.records.iter().map(|r| loop_entry(*r)).collect());
        let inputs = vec![(stream, self.by(1 << 20), 1)];
        let node = self.operator("entry", inputs, 1, Arc::new(|_, _| Box::new(Entry)));
        Some(Stream { node, port: 0, records, ordered, used: true })
    }

    fn internal(&mut self, name: &str, kind: NodeKind, inputs: Vec<Edge>) -> usize {
        let id = self.nodes.len();
        self.nodes.push(PlanNode { id, name: format!("{name} {id}"), kind, inputs, outputs: 1 });
        self.tallied.push(false);
        id
    }

    fn body(&mut self, from: usize, bulk: bool) -> usize {
        let stream = Stream { node: from, port: 0, records: Vec::new(), ordered: false, used: true };
        let route = if self.random.chance(70) { self.by(1 << 20) } else { Route::Forward };
        let make: Make = Arc::new(move |_, tally| Box::new(Body { tally: tally.clone(), bulk, held: Vec::new(), last: None }));
        self.operator("body", vec![(stream, route, 1)], 2, make)
    }

    fn gone_around(records: &[Record]) -> Vec<Record> {
        let around = |mut r: Record| {
            while r.0 & 0xF > 0 {
                r = loop_turn(r);
            }
            r
        };
        records.iter().map(|r| around(*r)).collect()
    }

    fn bulk_loop(&mut self) {
        let Some(entry) = self.entry() else { return };
        let head = self.internal("head", NodeKind::LoopHead, vec![edge(entry.node, 0, Route::Forward)]);
        let body = self.body(head, true);
        let back = if self.random.chance(50) { self.by(1 << 20) } else { Route::Forward };
        self.nodes[head].inputs.push(edge(body, 0, back).feedback());
        let exit = self.internal("exit", NodeKind::LoopExit, vec![edge(body, 1, Route::Forward)]);
        let records = Self::gone_around(&entry.records);
        self.streams.push(Stream { node: exit, port: 0, records, ordered: entry.ordered, used: false });
    }

    fn streaming_loop(&mut self) {
        let Some(entry) = self.entry() else { return };
        let forward = self.by(1 << 20);
        let head = self.internal("streaming head", NodeKind::StreamingLoopHead(None), vec![edge(entry.node, 0, forward)]);
        let body = self.body(head, false);
        let back = if self.random.chance(50) { self.by(1 << 20) } else { Route::Forward };
        self.nodes[head].inputs.push(edge(body, 0, back).feedback());
        let exit = self.internal("exit", NodeKind::LoopExit, vec![edge(body, 1, Route::Forward)]);
        let records = Self::gone_around(&entry.records);
        self.streams.push(Stream { node: exit, port: 0, records, ordered: false, used: false });
    }

    fn sinks(mut self) -> Case {
        struct Collect(Collected);
        impl Operator for Collect {
            fn process(&mut self, _: usize, batch: Batch, _: &mut dyn Output) -> Result<Progress> {
                self.0.lock().unwrap().extend(records(&batch));
                Ok(Progress::Done)
            }
        }
        let mut sinks = Vec::new();
        for stream in self.streams.clone().into_iter().filter(|s| !s.used) {
            let (route, copies) = self.route(stream.records.len());
            let expected = stream.records.iter().flat_map(|r| std::iter::repeat_n(*r, copies as usize)).collect();
            let collected = Collected::default();
            let sink = collected.clone();
            let make: Make = Arc::new(move |_, _| Box::new(Collect(sink.clone())));
            self.operator("sink", vec![(stream, route, copies)], 0, make);
            sinks.push((expected, collected));
        }
        let plan = Plan::new("torture", self.nodes);
        Case { plan, tally: self.tally, edges: self.edges, sinks, injected: self.injected }
    }
}

fn edge(from: usize, port: usize, route: Route) -> Edge {
    Edge::new(from, port, route).codec(Arc::new(Pairs))
}

struct ByKey {
    keys: u64,
    size: usize,
    held: Vec<Vec<Record>>,
}

impl Partitioner for ByKey {
    fn split(&mut self, batch: Batch, targets: usize, emit: Emit<'_>) -> Result<()> {
        self.held.resize(targets, Vec::new());
        for record in records(&batch) {
            let target = (record.0 % self.keys) as usize % targets;
            self.held[target].push(*record);
            if self.held[target].len() == self.size {
                emit(target, Batch::typed(std::mem::take(&mut self.held[target])))?;
            }
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

/// Records as sixteen bytes each.
struct Pairs;

impl BatchCodec for Pairs {
    fn encode(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
        records(batch).iter().for_each(|(value, time)| {
            out.extend_from_slice(&value.to_le_bytes());
            out.extend_from_slice(&time.to_le_bytes());
        });
        Ok(())
    }
    fn decode(&self, bytes: &[u8]) -> Result<Batch> {
        let words: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        Ok(Batch::typed(words.as_chunks::<2>().0.iter().map(|[value, time]| (*value, *time as i64)).collect::<Vec<Record>>()))
    }
}
