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
//! Trade-off: so the delta is held once more until then, where changes at once would do for monotone steps. Those can do without
//! supersteps ([`DeltaOptions::asynchronous`]): the head is that of a loop over a stream, the keeper puts what is better in place at once, and
//! what probes sees the solution as it is then. The one thing that is waited for is the initial solution, by what probes.

mod co_group;
mod keeper;
mod options;
mod partitioned;
mod probe;
mod round;
mod solution_set;

use crate::Iteration;
use co_group::CoGroup;
use fluvial_core::{Data, DataStream, LoopBuilder, Operation, Operator, Result, TaskContext};
use fluvial_memory::NormalizedKey;
use keeper::Keeper;
pub use options::DeltaOptions;
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

    /// As [`IterateDelta::iterate_delta`], with more to say about how: without supersteps, where the step is
    /// [monotone](DeltaOptions::asynchronous).
    ///
    /// ```
    /// use fluvial_core::Env;
    /// use fluvial_iterate::{DeltaOptions, IterateDelta};
    /// let env = Env::default();
    /// let edges = env.from_collection([(0u64, 1u64), (1, 2), (0, 3), (3, 2), (2, 4)]);
    /// let start = env.from_collection([(0u64, 0u64)]);
    /// let nearer = DeltaOptions::asynchronous(|new: &(u64, u64), known| new.1 < known.1);
    /// let distances = start.iterate_delta_with(|r| r.0, &start, nearer, |solution, workset, _| {
    ///     let reached = workset.key_by(|r| r.0).join(&edges.key_by(|e| e.0)).inner(|r, e| (e.1, r.1 + 1));
    ///     let better = solution.join(&reached, |r| r.0, |r, known| known.is_none_or(|known| r.1 < known.1).then_some(r));
    ///     (better.clone(), better)
    /// });
    /// let mut distances = distances.collect()?;
    /// distances.sort();
    /// assert_eq!(distances, [(0, 0), (1, 1), (2, 2), (3, 1), (4, 3)]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn iterate_delta_with<K, W, F>(
        &self,
        key: F,
        workset: &DataStream<W>,
        options: DeltaOptions<S>,
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
    asynchronous: bool,
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
        self.iterate_delta_with(key, workset, DeltaOptions::supersteps(max), step)
    }

    fn iterate_delta_with<K, W, F>(
        &self,
        key: F,
        workset: &DataStream<W>,
        options: DeltaOptions<S>,
        step: impl FnOnce(&Solution<S, K, F>, &DataStream<W>, &Iteration) -> (DataStream<S>, DataStream<W>),
    ) -> DataStream<S>
    where
        K: NormalizedKey + Data,
        W: Data,
        F: Fn(&S) -> K + Clone + Send + Sync + 'static,
    {
        let DeltaOptions { max, asynchronous, order } = options;
        let (builder, current) = match asynchronous {
            true => LoopBuilder::begin_asynchronous("iterate_delta", workset),
            false => LoopBuilder::begin("iterate_delta", workset),
        };
        let id = builder.id();
        let solution = Solution { loop_id: id, key: key.clone(), asynchronous, probes: Mutex::default(), types: PhantomData };
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
        let keeper: DataStream<S> = keeper.add(self.env(), move |context| {
            let how = (key.clone(), order.clone(), asynchronous);
            Ok(Box::new(Keeper::open(id, how, context)?))
        });
        if !asynchronous {
            // Of no records, but the superstep does not end before the delta has been applied.
            iteration.builder.criterion(&keeper);
            iteration.stop_when(|superstep| superstep.results == 0);
        }
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
        let of_solution = self.key.clone();
        self.operation("solution_join", workset, key.clone(), move |id, asynchronous, context| {
            Ok(Box::new(Probe::open(id, (of_solution.clone(), key.clone()), f.clone(), asynchronous, context)?))
        })
    }

    /// Gives a function each key of a stream of the step once a superstep, with all its records and the record of the
    /// solution set that has the key, if there is one.
    pub fn co_group<W: Data, O: Data>(
        &self,
        workset: &DataStream<W>,
        key: impl Fn(&W) -> K + Clone + Send + Sync + 'static,
        f: impl FnMut(&K, Vec<W>, Option<&S>, &mut Vec<O>) + Clone + Send + Sync + 'static,
    ) -> DataStream<O> {
        let of_solution = self.key.clone();
        self.operation("solution_co_group", workset, key.clone(), move |id, asynchronous, context| {
            Ok(Box::new(CoGroup::open(id, (of_solution.clone(), key.clone()), f.clone(), asynchronous, context)?))
        })
    }

    /// An operation on a stream of the step, by key, and the solution set: made by a function of the loop's number and of whether there are no
    /// supersteps.
    fn operation<W: Data, O: Data>(
        &self,
        kind: &'static str,
        workset: &DataStream<W>,
        key: impl Fn(&W) -> K + Clone + Send + Sync + 'static,
        make: impl Fn(u64, bool, &TaskContext) -> Result<Box<dyn Operator>> + Send + Sync + 'static,
    ) -> DataStream<O> {
        let (id, asynchronous) = (self.loop_id, self.asynchronous);
        let made: DataStream<O> = Operation::new(kind)
            .input_by_key(workset, key)
            .reserves(Partitioned::<W>::SEGMENTS)
            .knows_supersteps()
            .add(workset.env(), move |context| make(id, asynchronous, context));
        if !asynchronous {
            let watched = made.clone();
            let mut probes = self.probes.lock().unwrap_or_else(|e| e.into_inner());
            probes.push(Box::new(move |keeper| keeper.watch(&watched)));
        }
        made
    }
}
