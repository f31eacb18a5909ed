use super::{Data, DataStream, KeySelector, KeyedStream, aggregate::short_type_name};
use crate::blocking::{TypedRows, open_join};
use crate::exchange::TypedToRows;
use crate::graph::{Body, Distribution, OperatorFactory, Timing};
use crate::table::JoinStrategy;
use crate::{Batch, Result};
use fluvial_operators::{JoinKind, JoinOptions, JoinedBatch, Side};
use std::marker::PhantomData;
use std::sync::Arc;

/// A join of two keyed streams that is being described: finish it with one of the kinds.
#[must_use = "a join does nothing before its kind is chosen"]
pub struct KeyedJoin<L, LS, R, RS> {
    left: KeyedStream<L, LS>,
    right: KeyedStream<R, RS>,
    strategy: JoinStrategy,
}

impl<L: Data, LS: KeySelector<L>> KeyedStream<L, LS> {
    /// Joins the records of two streams that have the same key.
    ///
    /// ```
    /// # let env = fluvial_core::Env::default();
    /// let orders = env.from_collection([(1u64, "pen".to_string()), (2, "ink".to_string()), (1, "nib".to_string())]);
    /// let people = env.from_collection([(1u64, "Ada".to_string())]);
    /// let joined = orders.key_by(|o| o.0).join(&people.key_by(|p| p.0)).inner(|order, person| (person.1, order.1));
    /// assert_eq!(joined.collect()?.len(), 2);
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    pub fn join<R: Data, RS: KeySelector<R, Key = LS::Key>>(&self, right: &KeyedStream<R, RS>) -> KeyedJoin<L, LS, R, RS> {
        KeyedJoin { left: self.clone(), right: right.clone(), strategy: JoinStrategy::Auto }
    }
}

impl<L: Data, LS: KeySelector<L>, R: Data, RS: KeySelector<R, Key = LS::Key>> KeyedJoin<L, LS, R, RS> {
    /// How it runs; chosen by the estimated sizes by default.
    pub fn strategy(mut self, strategy: JoinStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Pairs of records with equal keys.
    pub fn inner<O: Data>(self, f: impl Fn(L, R) -> O + Clone + Send + Sync + 'static) -> DataStream<O> {
        self.joined(JoinKind::Inner, move |l, r| l.zip(r).map(|(l, r)| f(l, r)))
    }

    /// Pairs, and left records without a partner.
    pub fn left<O: Data>(self, f: impl Fn(L, Option<R>) -> O + Clone + Send + Sync + 'static) -> DataStream<O> {
        self.joined(JoinKind::Left, move |l, r| l.map(|l| f(l, r)))
    }

    /// Pairs, and right records without a partner.
    pub fn right<O: Data>(self, f: impl Fn(Option<L>, R) -> O + Clone + Send + Sync + 'static) -> DataStream<O> {
        self.joined(JoinKind::Right, move |l, r| r.map(|r| f(l, r)))
    }

    /// Pairs, and records of both sides without a partner.
    pub fn full<O: Data>(self, f: impl Fn(Option<L>, Option<R>) -> O + Clone + Send + Sync + 'static) -> DataStream<O> {
        self.joined(JoinKind::Full, move |l, r| Some(f(l, r)))
    }

    /// Left records that have a partner, once each.
    pub fn semi(self) -> DataStream<L> {
        self.joined(JoinKind::LeftSemi, |l, _| l)
    }

    /// Left records that have none.
    pub fn anti(self) -> DataStream<L> {
        self.joined(JoinKind::LeftAnti, |l, _| l)
    }

    fn joined<O: Data>(
        self,
        kind: JoinKind,
        f: impl Fn(Option<L>, Option<R>) -> Option<O> + Clone + Send + Sync + 'static,
    ) -> DataStream<O> {
        let (left, right) = (self.left.selector.clone(), self.right.selector.clone());
        let bytes = |known: (bool, Option<crate::graph::Estimate>)| known.1.map_or(f64::INFINITY, |e| e.bytes);
        let (l, r) = (bytes(self.left.stream.known()), bytes(self.right.stream.known()));
        let [l, r] = self.left.stream.env.graph().sizes_for_join([self.left.stream.node, self.right.stream.node], [l, r]);
        let config = self.left.stream.env.config();
        let (build, broadcast) = self.strategy.choose(kind, [l, r], config);
        let shapes = (
            crate::exchange::row_shape::<L, LS>(&crate::codec::RecordCodec::new()),
            crate::exchange::row_shape::<R, RS>(&crate::codec::RecordCodec::new()),
        );
        let mut options = JoinOptions::new(kind, shapes.0, shapes.1);
        options.build = build;
        let merge = self.strategy == JoinStrategy::SortMerge;
        let key = short_type_name::<LS::Key>();
        let (ls, rs) = (left.clone(), right.clone());
        let spread = |side: Side, hash: Distribution| match (broadcast, side == build) {
            (true, true) => Distribution::Broadcast,
            (true, false) => Distribution::Forward,
            (false, _) => hash,
        };
        let by_left: crate::graph::PartitionerFactory = Arc::new(move || Box::new(TypedToRows::<L, LS>::new(ls.clone())));
        let by_right: crate::graph::PartitionerFactory = Arc::new(move || Box::new(TypedToRows::<R, RS>::new(rs.clone())));
        let inputs = vec![
            self.left.stream.input_by(spread(Side::Left, Distribution::Hash { key: key.clone(), partitioner: by_left })),
            self.right.stream.input_by(spread(Side::Right, Distribution::Hash { key, partitioner: by_right })),
        ];
        let make: OperatorFactory = Arc::new(move |context| {
            let f = f.clone();
            let make = move |joined: &JoinedBatch, left: &TypedRows<L, LS>, right: &TypedRows<R, RS>| {
                results(joined, kind, left, right, &f)
            };
            let (left, right) = (TypedRows::new(left.clone()), TypedRows::new(right.clone()));
            open_join(merge, options.clone(), left, right, make, context)
        });
        let detail = self.strategy.describe(kind, build, broadcast);
        let mut node =
            self.left.stream.after("join", detail, Body::Operator(make)).reserves(self.strategy.least()).timing(Timing::AtTheEnd);
        node.piecewise = crate::graph::Piecewise::of_join(kind);
        node.inputs = inputs;
        node.build_input = (!merge).then_some(build as usize);
        node.bounded = node.bounded && self.right.stream.known().0;
        let env = &self.left.stream.env;
        DataStream { env: env.clone(), node: env.add(node), port: 0, distribution: Distribution::Forward, record: PhantomData }
    }
}

fn results<L, LS, R, RS, O>(
    joined: &JoinedBatch,
    kind: JoinKind,
    left: &TypedRows<L, LS>,
    right: &TypedRows<R, RS>,
    f: &impl Fn(Option<L>, Option<R>) -> Option<O>,
) -> Result<Batch>
where
    L: Data,
    LS: KeySelector<L>,
    R: Data,
    RS: KeySelector<R>,
    O: Data,
{
    let missing = |flags: &Option<Vec<bool>>, i: usize| flags.as_ref().is_some_and(|f| f[i]);
    let mut records = Vec::with_capacity(joined.len());
    for i in 0..joined.len() {
        let l = match kind.emits(Side::Left) && !missing(&joined.left_missing, i) {
            true => Some(left.value(joined.left.payload(i))?),
            false => None,
        };
        let r = match kind.emits(Side::Right) && !missing(&joined.right_missing, i) {
            true => Some(right.value(joined.right.payload(i))?),
            false => None,
        };
        records.extend(f(l, r));
    }
    Ok(Batch::typed(records))
}
