//! Algorithms on serialized records, within a memory reservation: push batches in, pull batches out.

mod cross;
mod join;

pub use cross::{Cross, CrossOptions};
pub use join::{
    HashJoin, JoinKind, JoinOptions, JoinOutput, JoinStats, JoinedBatch, MINIMUM_SEGMENTS as MINIMUM_JOIN_SEGMENTS, Side,
    SortMergeJoin,
};
