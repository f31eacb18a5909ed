use crate::Aggregator;
use crate::stream::{Data, KeySelector};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;

/// A record of either stream of a window join, as window assigners and triggers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JoinSide<L, R> {
    /// Of the stream that is joined.
    Left(L),
    /// Of the stream that it is joined with.
    Right(R),
}

/// Finds the key of a record of either side.
#[derive(Clone)]
pub(super) struct EitherKey<LS, RS> {
    pub(super) left: LS,
    pub(super) right: RS,
}

impl<L, LS: KeySelector<L>, R, RS: KeySelector<R, Key = LS::Key>> KeySelector<JoinSide<L, R>> for EitherKey<LS, RS> {
    type Key = LS::Key;
    const WIDTH: Option<usize> = LS::WIDTH;

    #[inline]
    fn encode(&self, record: &JoinSide<L, R>, out: &mut Vec<u8>) {
        match record {
            JoinSide::Left(record) => self.left.encode(record, out),
            JoinSide::Right(record) => self.right.encode(record, out),
        }
    }
}

/// The records of a window of a key, each side in the order in which they came.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Lists<L, R> {
    pub(super) left: Vec<L>,
    pub(super) right: Vec<R>,
}

/// Puts records into the list of their side.
pub(super) struct BothSides<L, R>(PhantomData<fn() -> (L, R)>);

impl<L, R> BothSides<L, R> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<L, R> Clone for BothSides<L, R> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<L: Data, R: Data> Aggregator<JoinSide<L, R>> for BothSides<L, R> {
    type Accumulator = Lists<L, R>;
    type Output = Lists<L, R>;

    fn create(&self) -> Lists<L, R> {
        Lists { left: Vec::new(), right: Vec::new() }
    }

    #[inline]
    fn add(&self, lists: &mut Lists<L, R>, record: JoinSide<L, R>) {
        match record {
            JoinSide::Left(record) => lists.left.push(record),
            JoinSide::Right(record) => lists.right.push(record),
        }
    }

    fn merge(&self, lists: &mut Lists<L, R>, mut other: Lists<L, R>) {
        lists.left.append(&mut other.left);
        lists.right.append(&mut other.right);
    }

    fn finish(&self, lists: Lists<L, R>) -> Lists<L, R> {
        lists
    }
}
