use std::sync::Arc;

/// Whether a record of a delta is to take the place of the record with its key.
type Better<S> = Arc<dyn Fn(&S, &S) -> bool + Send + Sync>;

/// How a delta iteration goes; see [`IterateDelta::iterate_delta_with`](crate::IterateDelta::iterate_delta_with).
pub struct DeltaOptions<S> {
    pub(super) max: u64,
    pub(super) asynchronous: bool,
    pub(super) order: Order<S>,
}

/// Which of two records with one key is the solution: the later one, if nothing is said.
pub(super) struct Order<S>(Option<Better<S>>);

impl<S> Clone for Order<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Order<S> {
    /// Whether `new`, which comes later, takes the place of `known`.
    #[inline]
    pub(super) fn replaces(&self, new: &S, known: &S) -> bool {
        self.0.as_ref().is_none_or(|better| better(new, known))
    }
}

impl<S> DeltaOptions<S> {
    /// Superstep by superstep, at most so many.
    pub fn supersteps(max: u64) -> Self {
        Self { max, asynchronous: false, order: Order(None) }
    }

    /// A record of the delta, or of the initial solution, takes the place of the one that there is with its key only if it is better: the function is
    /// given the new one first. Else the last one always does, and which that is, of several in one superstep, is not said.
    #[must_use]
    pub fn better(self, better: impl Fn(&S, &S) -> bool + Send + Sync + 'static) -> Self {
        Self { order: Order(Some(Arc::new(better))), ..self }
    }

    /// Without supersteps: records of the workset go around as they come, the solution set is changed at once, and nobody waits for anybody. The
    /// loop ends when nothing is on its way any more.
    ///
    /// The step must be *monotone*: a record of a delta is taken where there is none of its key yet, or where it is `better` (given the new one
    /// first) than the one there is; better records must lead to records that are as good or better, and there must be a best one. The answer then is the
    /// one that supersteps give, in whatever order records come (the "microsteps" of Ewen, Tzoumas, Kaufmann and Markl, Spinning Fast
    /// Iterative Data Flows, VLDB 2012). Shortest distances and smallest labels are such; ranks by rounds are not.
    ///
    /// Of the step's operations those are allowed that can work on the records which have come so far: functions of one record, joins with streams from
    /// outside, those with the solution set, `reduce`, `min_by`, `max_by` and `distinct`, each of which may give several records of one
    /// key. There are no numbers of supersteps, no aggregators, no criteria and no checkpoints. Whatever else is asked for is
    /// refused before the job starts. A solution set that outgrows its share is slow: what is on disk is brought back far more often than supersteps
    /// would.
    pub fn asynchronous(better: impl Fn(&S, &S) -> bool + Send + Sync + 'static) -> Self {
        Self { max: u64::MAX, asynchronous: true, order: Order(None) }.better(better)
    }
}
