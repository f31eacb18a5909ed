//! Delta iterations: a solution set that changes little by little, and a workset that says where.
//!
//! ```text
//!   initial solution ---------------------> keeper -> result, after the last superstep
//!   initial workset -> head -> step (probes the solution set) -> delta -> keeper
//!                       ^        |
//!                       +- tail <+ next workset
//! ```
//!
//! The [solution set](SolutionSet) of a worker is one object, which the operations of the step on that worker probe and the keeper
//! changes: records of the same key, of the solution, the workset and the delta, are on the same worker.
//!
//! Invariant: a superstep sees the solution as it was at its beginning. The keeper gathers the delta and applies it when the
//! superstep has ended for all that probes: it watches them.
//!
//! Trade-off: so the delta is held once more until then, where changes at once would do for monotone steps.

mod co_group;
mod keeper;
mod partitioned;
mod probe;
mod solution_set;

use crate::Iteration;
use co_group::CoGroup;
use fluvial_core::{Data, DataStream, LoopBuilder, Operation};
use fluvial_memory::NormalizedKey;
use keeper::Keeper;
use partitioned::Partitioned;
use probe::Probe;
use std::marker::PhantomData;
use std::sync::Mutex;

/// Delta iterations over typed streams.
pub trait IterateDelta<S> {
    /// Iterates over `workset` against a solution set, which is this stream to begin with: one record a key, the last one
    /// where there are several. `step` gives a delta, whose records replace those of the same key in the solution set or are added to
    /// it, and the next workset. The loop ends when the workset is empty, or after `max` supersteps; the result is the solution set.
    ///
    /// The solution set lies in managed memory, by key; parts of it go to disk when it outgrows its share.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::IterateDelta;
    /// let env = Env::default();
    /// // How far each vertex is from vertex 0.
    /// let edges = env.from_collection([(0u64, 1u64), (1, 2), (0, 3), (3, 2), (2, 4)]);
    /// let start = env.from_collection([(0u64, 0u64)]);
    /// let distances = start.iterate_delta(|r| r.0, &start, u64::MAX, |solution, workset, _| {
    ///     let reached = workset.key_by(|r| r.0).join(&edges.key_by(|e| e.0)).inner(|r, e| (e.1, r.1 + 1));
    ///     let nearest = reached.key_by(|r| r.0).reduce(|a, b| if a.1 < b.1 { a } else { b });
    ///     let better = solution.join(&nearest, |r| r.0, |r, known| match known {
    ///         Some(known) if known.1 <= r.1 => None,
    ///         _ => Some(r),
    ///     });
    ///     (better.clone(), better)
    /// });
    /// let mut distances = distances.collect()?;
    /// distances.sort();
    /// assert_eq!(distances, [(0, 0), (1, 1), (2, 2), (3, 1), (4, 3)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn iterate_delta<K, W, F>(
        &self,
        key: F,
        workset: &DataStream<W>,
        max: u64,
        step: impl FnOnce(&Solution<S, K, F>, &DataStream<W>, &Iteration) -> (DataStream<S>, DataStream<W>),
    ) -> DataStream<S>
    where
        K: NormalizedKey + Data,
        W: Data,
        F: Fn(&S) -> K + Clone + Send + Sync + 'static;
}

/// The solution set, as the step of a delta iteration sees it.
pub struct Solution<S, K, F> {
    loop_id: u64,
    key: F,
    /// What probes the solution set: told to the keeper.
    probes: Mutex<Vec<Watched>>,
    types: PhantomData<fn() -> (S, K)>,
}

/// Adds a stream as one that is watched.
type Watched = Box<dyn FnOnce(Operation) -> Operation>;

impl<S: Data> IterateDelta<S> for DataStream<S> {
    fn iterate_delta<K, W, F>(
        &self,
        key: F,
        workset: &DataStream<W>,
        max: u64,
        step: impl FnOnce(&Solution<S, K, F>, &DataStream<W>, &Iteration) -> (DataStream<S>, DataStream<W>),
    ) -> DataStream<S>
    where
        K: NormalizedKey + Data,
        W: Data,
        F: Fn(&S) -> K + Clone + Send + Sync + 'static,
    {
        let (builder, current) = LoopBuilder::begin("iterate_delta", workset);
        let id = builder.id();
        let solution = Solution { loop_id: id, key: key.clone(), probes: Mutex::default(), types: PhantomData };
        let iteration = Iteration::new(builder);
        let (delta, next) = step(&solution, &current, &iteration);
        let probes = solution.probes.into_inner().unwrap_or_else(|e| e.into_inner());
        let keeper = Operation::new("solution_set")
            .input_by_key(self, key.clone())
            .input_by_key(&delta, key.clone())
            .reserves(Keeper::<S, K, F>::SEGMENTS)
            .outputs(2)
            .knows_supersteps();
        let keeper = probes.into_iter().fold(keeper, |keeper, watch| watch(keeper));
        let keeper: DataStream<S> = keeper.add(self.env(), move |context| Ok(Box::new(Keeper::open(id, key.clone(), context)?)));
        // Of no records, but the superstep does not end before the delta has been applied.
        iteration.builder.criterion(&keeper);
        iteration.stop_when(|superstep| superstep.results == 0);
        let (builder, stop) = iteration.close();
        builder.close_around(&next, &keeper, max, stop)
    }
}

impl<S, K, F> Solution<S, K, F>
where
    S: Data,
    K: NormalizedKey + Data,
    F: Fn(&S) -> K + Clone + Send + Sync + 'static,
{
    /// Gives a function each record of a stream of the step with the record of the solution set that has its key, if there
    /// is one; what it returns, an option or any other collection, is the result.
    pub fn join<W: Data, O: Data, I: IntoIterator<Item = O>>(
        &self,
        workset: &DataStream<W>,
        key: impl Fn(&W) -> K + Clone + Send + Sync + 'static,
        f: impl FnMut(W, Option<&S>) -> I + Clone + Send + Sync + 'static,
    ) -> DataStream<O> {
        let (id, of_solution) = (self.loop_id, self.key.clone());
        let probe = Operation::new("solution_join")
            .input_by_key(workset, key.clone())
            .reserves(Partitioned::<W>::SEGMENTS)
            .knows_supersteps()
            .add(workset.env(), move |context| {
                Ok(Box::new(Probe::open(id, (of_solution.clone(), key.clone()), f.clone(), context)?))
            });
        self.watch(&probe);
        probe
    }

    /// Gives a function each key of a stream of the step once a superstep, with all its records and the record of the
    /// solution set that has the key, if there is one.
    pub fn co_group<W: Data, O: Data>(
        &self,
        workset: &DataStream<W>,
        key: impl Fn(&W) -> K + Clone + Send + Sync + 'static,
        f: impl FnMut(&K, Vec<W>, Option<&S>, &mut Vec<O>) + Clone + Send + Sync + 'static,
    ) -> DataStream<O> {
        let (id, of_solution) = (self.loop_id, self.key.clone());
        let grouped = Operation::new("solution_co_group")
            .input_by_key(workset, key.clone())
            .reserves(Partitioned::<W>::SEGMENTS)
            .knows_supersteps()
            .add(workset.env(), move |context| {
                Ok(Box::new(CoGroup::open(id, (of_solution.clone(), key.clone()), f.clone(), context)?))
            });
        self.watch(&grouped);
        grouped
    }

    fn watch<O: Data>(&self, probe: &DataStream<O>) {
        let probe = probe.clone();
        self.probes.lock().unwrap_or_else(|e| e.into_inner()).push(Box::new(move |keeper| keeper.watch(&probe)));
    }
}
