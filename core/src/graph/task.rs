use crate::codec::KeyType;
use crate::state::{Backend, StateScope};
use crate::time::SplitTimes;
use crate::{Clock, OperatorContext, Result, Shared};
use fluvial_memory::{Reservation, SpillManager};
use serde::{Serialize, Serializer};
use std::any::TypeId;
use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

/// What an operator's factory is given: the runtime's context, and what the jobs of an environment share.
#[derive(Clone)]
pub struct TaskContext {
    operator: OperatorContext,
    /// Counts what this node spills apart from what others do.
    pub(crate) spill: SpillManager,
    pub(crate) metrics: Arc<NodeMetrics>,
    /// What all operators of the job reserve, to be given out.
    pot: Reservation,
    /// Whether the budget is several times that.
    ample: bool,
    /// The job's clock.
    clock: Clock,
    streaming: bool,
    /// Event time of the splits that this instance reads.
    splits: SplitTimes,
    /// Segments that the node's description promised and this instance has not reserved yet.
    promised: Arc<AtomicUsize>,
    /// What was reserved for one operator after the other, in a loop.
    own: Option<Reservation>,
    /// Side outputs that somebody asked for: ports from 1 on.
    sides: Arc<[(String, TypeId)]>,
    /// What the keys of the operator's state are.
    keys: KeyType,
    /// Where the operator's state of keys is kept.
    backend: Backend,
}

impl TaskContext {
    /// For one instance of nodes that promise to reserve so many segments.
    pub(crate) fn new(
        operator: &OperatorContext,
        spill: &SpillManager,
        metrics: &Arc<NodeMetrics>,
        (pot, ample): (&Reservation, bool),
        promised: usize,
    ) -> Self {
        Self {
            operator: operator.clone(),
            spill: spill.clone(),
            metrics: metrics.clone(),
            pot: pot.clone(),
            ample,
            promised: Arc::new(promised.into()),
            own: None,
            sides: Arc::default(),
            keys: KeyType::default(),
            backend: Backend::Memory,
            splits: SplitTimes::new(&Clock::system()),
            clock: Clock::system(),
            streaming: true,
        }
    }

    /// The same, of a node with these side outputs.
    pub(crate) fn with_sides(mut self, sides: &Arc<[(String, TypeId)]>) -> Self {
        self.sides = sides.clone();
        self
    }

    /// The same, of an instance that shares values of its own with others.
    pub(crate) fn with_shared(mut self, shared: Arc<Shared>) -> Self {
        self.operator.shared = shared;
        self
    }

    /// The same, of an operator that takes its share of this reservation.
    pub(crate) fn with_own(self, reservation: Reservation) -> Self {
        Self { own: Some(reservation), ..self }
    }

    /// The same, by this clock; whether in streaming mode.
    pub(crate) fn with_time(mut self, clock: &Clock, streaming: bool) -> Self {
        self.splits = SplitTimes::new(clock);
        (self.clock, self.streaming) = (clock.clone(), streaming);
        self
    }

    /// The same, with its state of keys there.
    pub(crate) fn with_backend(self, backend: &Backend) -> Self {
        Self { backend: backend.clone(), ..self }
    }

    /// Where the instance keeps state of keys.
    pub(crate) fn state_scope(&self) -> StateScope {
        let OperatorContext { node, worker, .. } = self.operator;
        StateScope { groups: self.key_groups(), node, worker, backend: self.backend.clone() }
    }

    /// The same, of an operator whose state is of these keys.
    pub(crate) fn with_keys(self, keys: KeyType) -> Self {
        Self { keys, ..self }
    }

    /// What the keys of the operator's state are.
    pub(crate) fn keys(&self) -> &KeyType {
        &self.keys
    }

    /// Where processing time comes from.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether event time advances as records come; else it does at the end, at once.
    pub fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// What the instance's source and the assigner behind it tell each other of splits.
    pub(crate) fn splits(&self) -> &SplitTimes {
        &self.splits
    }

    /// The side outputs that somebody asked for, by name and record type; the first has port 1.
    pub(crate) fn sides(&self) -> &[(String, TypeId)] {
        &self.sides
    }

    /// Where the instance spills.
    pub fn spill(&self) -> &SpillManager {
        &self.spill
    }

    /// Whether the budget is several times what the job's operators reserve.
    pub fn is_ample(&self) -> bool {
        self.ample
    }

    /// Reserves segments in the operator's name: no more than its node [said](crate::Operation::reserves), since what the nodes of a
    /// job say together is checked against the budget before it starts.
    ///
    /// # Errors
    /// More than was said, and the pool has not so much.
    pub fn reserve(&self, segments: usize) -> Result<Reservation> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let promised = self.promised.load(Relaxed);
        debug_assert!(segments <= promised, "`{}` reserves {segments} segments, its node said {promised}", self.name);
        self.promised.store(promised.saturating_sub(segments), Relaxed);
        match self.pot.split(&self.name, segments) {
            Some(reservation) => Ok(reservation),
            None => Ok(self.memory.reserve(&self.name, segments)?),
        }
    }
}

impl Deref for TaskContext {
    type Target = OperatorContext;
    fn deref(&self) -> &OperatorContext {
        &self.operator
    }
}

/// What a node's instances count beside the records and batches that the runtime counts.
#[derive(Default)]
pub(crate) struct NodeMetrics {
    /// Records read from outside.
    pub(crate) rows_read: AtomicU64,
    /// Bytes of the files of which all was read.
    pub(crate) bytes_read: AtomicU64,
    /// Parts of the input that were read.
    pub(crate) parts_read: AtomicU64,
    pub(crate) parts: AtomicU64,
    /// When the first of them had been read.
    pub(crate) first_part: OnceLock<Instant>,
    pub(crate) merge_passes: AtomicU64,
    /// Records that came after the watermark had passed them.
    pub(crate) late_records: AtomicU64,
    /// Records that were thrown away, late ones among them.
    pub(crate) dropped_records: AtomicU64,
    /// Keyed state: each instance adds and takes off what its own grows and shrinks by.
    pub(crate) state_bytes: AtomicI64,
    pub(crate) state_entries: AtomicI64,
    /// Of the head of a loop: its supersteps; the last [`SUPERSTEPS_KEPT`] of them.
    supersteps: Mutex<VecDeque<SuperstepReport>>,
}

/// Supersteps of a loop that are remembered.
const SUPERSTEPS_KEPT: usize = 1024;

/// What a superstep of a loop was like, on all workers of all processes. As JSON its values are members beside the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SuperstepReport {
    /// Its number: of a loop counted from 0, of a graph algorithm from 1.
    pub superstep: u64,
    /// Records of its result, which the next one is given; of a graph algorithm vertices that were active, or whose value changed.
    pub workset: u64,
    /// The values of the loop's aggregators that are numbers, by name; of a graph algorithm that measures how far its values are from standing
    /// still its [`CONVERGENCE`](SuperstepReport::CONVERGENCE).
    #[serde(flatten, serialize_with = "as_members")]
    pub values: Vec<(String, f64)>,
    /// How long it took.
    pub seconds: f64,
}

fn as_members<S: Serializer>(values: &[(String, f64)], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(name, value)| (name, value)))
}

impl SuperstepReport {
    /// Name of the value that says how far the values of a graph are from standing still: for PageRank the sum of the absolute changes.
    pub const CONVERGENCE: &'static str = "convergence";

    /// The value of this name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }
}

impl NodeMetrics {
    /// A superstep has ended.
    pub(crate) fn superstep_ended(&self, report: SuperstepReport) {
        let mut supersteps = self.supersteps.lock().unwrap_or_else(|e| e.into_inner());
        if supersteps.len() == SUPERSTEPS_KEPT {
            supersteps.pop_front();
        }
        supersteps.push_back(report);
    }

    /// The supersteps from this one on.
    pub(crate) fn supersteps(&self, from: u64) -> Vec<SuperstepReport> {
        let supersteps = self.supersteps.lock().unwrap_or_else(|e| e.into_inner());
        supersteps.iter().filter(|report| report.superstep >= from).cloned().collect()
    }

    /// A part of the input, of so many bytes of a file, was read to its end.
    pub(crate) fn part_read(&self, bytes: u64) {
        self.first_part.get_or_init(Instant::now);
        self.parts_read.fetch_add(1, Relaxed);
        self.bytes_read.fetch_add(bytes, Relaxed);
    }
}

/// What one operator did in one process: its instances together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OperatorStats {
    /// The operator's name.
    pub name: String,
    /// Records that it was given, or read from outside.
    pub records_in: u64,
    /// Records that it gave.
    pub records_out: u64,
    /// Bytes of the records that it was given, as they lie in memory, and of the files that it read.
    pub bytes_in: u64,
    /// Bytes of the records that it gave, on all edges.
    pub bytes_out: u64,
    /// Seconds that its instances worked, summed over the workers.
    pub busy_seconds: f64,
    /// Seconds that they were held up by outputs without room, summed over the workers.
    pub backpressured_seconds: f64,
    /// Seconds of the rest, summed over the workers.
    pub idle_seconds: f64,
    /// Records that came after the watermark had passed them.
    pub late_records: u64,
    /// Records that were thrown away, late ones among them.
    pub dropped_records: u64,
    /// Bytes written to spill files.
    pub spilled_bytes: u64,
    /// Spill files written.
    pub spill_files: u64,
    /// Times that spilled runs were merged and written again before the last merge.
    pub merge_passes: u64,
    /// Most managed memory that its instances held at a time, in bytes; the largest of the instances.
    pub memory_peak: u64,
}
