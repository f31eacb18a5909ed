//! Fluvial's operators on serialized records, each within a memory reservation: ordinary libraries that know nothing of
//! dataflow. Rows are pushed in and pulled out in batches; what does not fit in memory goes to spill files.

pub mod aggregate;
mod cross;
mod join;
mod sort;

pub use cross::{Cross, CrossOptions};
pub use join::{
    HashJoin, JoinKind, JoinOptions, JoinOutput, JoinStats, JoinedBatch, MINIMUM_SEGMENTS as MINIMUM_JOIN_SEGMENTS, Side,
    SortMergeJoin,
};
pub use sort::{
    AdjacentRows, ExternalSort, KeyRange, MergeReader, MergeSorted, SortOptions, SortStats, SortedRows, SortedRuns, SortedSet,
    TopK,
};
