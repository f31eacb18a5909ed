//! External sort of serialized rows by their normalized keys, within a reservation.
//!
//! **Runs.** Rows go to pages, and for each row an entry of 24 bytes (the key's first 16 bytes as integers, the row's
//! address) to a chunk that fits the processor's cache. A full chunk is sorted at once, by radix. When the pool refuses
//! more memory the chunks are merged and the rows written in order, as one run; then memory is used anew.
//!
//! **Merge.** What all workers of a process sorted makes one [`SortedSet`]. It is cut into ranges of keys that are merged
//! independently and in parallel by loser trees; concatenated in order, the ranges are the sorted whole. If the runs are
//! more than the memory has buffers for, neighbouring runs are merged first, as often as it takes.
//!
//! **Invariants.** Rows with equal keys keep their order: within a sort the order of arrival, between sorts the order in
//! which they were given to [`SortedSet::new`]. Ranges are cut by the first 16 bytes of the key, so rows with equal keys
//! are in one range. Memory for merging is there because whatever is spilled has given its memory back.
//!
//! **Trade-off.** Chunks that are merged cost a second, sequential pass over the entries, compared to one big sort; they
//! need no contiguous index of unknown size, keep the work in the cache, and spread it evenly over the input.
//!
//! The parts: [`ExternalSort`] makes runs, [`MergeReader`] merges a range, [`MergeSorted`] merges sorted streams, [`TopK`]
//! keeps the first rows only; [`AdjacentRows`] sorts short rows where all fit in memory. The algorithms are those of the field: MSD radix sort, run detection (as in vergesort),
//! the loser tree (Knuth, The Art of Computer Programming 3, 5.4.1), polyphase-free multi-pass merging.

mod adjacent;
mod chunk;
mod external;
mod key;
mod loser_tree;
mod memory_run;
mod merge;
mod merge_sorted;
mod merger;
mod radix;
mod runs;
mod set;
mod top_k;

#[cfg(test)]
mod tests;

pub use adjacent::{AdjacentRows, SortedRows};
pub use external::{ExternalSort, SortOptions};
pub use merge::MergeReader;
pub use merge_sorted::MergeSorted;
pub use runs::{SortStats, SortedRuns};
pub use set::{KeyRange, SortedSet};
pub use top_k::TopK;
