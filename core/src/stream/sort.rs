use super::{Data, DataStream, KeyFn};
use crate::blocking::{SortOperator, SortPlan, TypedRows, least};
use crate::graph::{Body, Distribution, OperatorFactory, Timing};
use crate::{Operator, Result};
use fluvial_memory::NormalizedKey;
use std::sync::Arc;

impl<T: Data> DataStream<T> {
    /// Sorts all records by a key, over all workers; they may be more than fit in memory. Records with equal keys come in no
    /// particular order. [`Descending`](fluvial_memory::Descending) keys and tuples make other orders.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let sorted = env.from_collection([3u64, 1, 2]).sort_by(|n| *n).collect()?;
    /// assert_eq!(sorted, [1, 2, 3]);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn sort_by<K: NormalizedKey + Data>(&self, key: impl Fn(&T) -> K + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.sorted("sort", key, SortPlan::default())
    }

    /// The first `count` records by a key, in order, without sorting the rest.
    pub fn top_by<K: NormalizedKey + Data>(
        &self,
        count: u64,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.sorted("top", key, SortPlan { limit: Some(count), per_worker: false })
    }

    /// Sorts the records of each worker on their own.
    pub fn sort_partition<K: NormalizedKey + Data>(
        &self,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.sorted("sort_partition", key, SortPlan { limit: None, per_worker: true })
    }

    fn sorted<K: NormalizedKey + Data>(
        &self,
        kind: &'static str,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
        plan: SortPlan,
    ) -> DataStream<T> {
        let selector = KeyFn::new(key);
        let make: OperatorFactory = Arc::new(move |context| {
            let format = TypedRows::<T, _>::new(selector.clone());
            let operator: Result<Box<dyn Operator>> = Ok(Box::new(SortOperator::open(format, plan, context)?));
            operator
        });
        let detail = plan.limit.map(|k| format!("first {k}")).unwrap_or_default();
        let mut node = self.after(kind, detail, Body::Operator(make)).reserves(least::SORT).timing(Timing::AtTheEnd);
        let config = self.env.config();
        if config.hosts.len() > 1 && !plan.per_worker {
            node.inputs[0].distribution = Distribution::FirstProcess { workers: config.threads };
        }
        DataStream::new(&self.env, self.env.add(node))
    }
}
