//! Joins of serialized rows by equal keys.
//!
//! * [`HashJoin`]: the hybrid hash join. Either side may be the build side, for every kind of join; the side's rows are
//!   partitioned, kept in memory as far as it goes, and written to disk partition by partition where it does not. What
//!   was written is joined partition by partition, again in this way, with the smaller side as build side; a key that
//!   does not fit in memory even alone is joined block by block.
//! * [`SortMergeJoin`]: for two inputs in the order of their keys.
//!
//! A broadcast join is a [`HashJoin`] in every worker, with the whole of the small side as its build side.
//!
//! **Invariants.** Keys are compared as bytes. Rows with a null key never match; where a kind keeps rows without a
//! partner it keeps these too. The bits that choose a partition come from a re-mix of the fixed hash that is different
//! in each level. Nothing fails for lack of memory above [`MINIMUM_SEGMENTS`], except a single record that does not fit.
//!
//! **Trade-off.** Results come in no particular order from the hash join.

mod bloom;
mod directory;
mod emitter;
mod env;
mod fill;
mod hash_join;
mod joined;
mod kind;
mod lists;
mod merge_input;
mod merge_join;
mod nested;
mod options;
mod pass;
mod spool;
mod table;
mod tables;

#[cfg(test)]
mod heavy_tests;
#[cfg(test)]
mod tests;

pub use hash_join::HashJoin;
pub use joined::JoinedBatch;
pub use kind::{JoinKind, Side};
pub use merge_join::SortMergeJoin;
pub use options::{JoinOptions, JoinOutput, JoinStats};
pub(crate) use spool::{Spool, SpoolContext, SpoolReader, SpoolStep, Spooled, Stash};

/// The least reservation of a join, in segments: a little more than 1 MiB.
pub const MINIMUM_SEGMENTS: usize = 33;

/// Rows read or moved between two looks at the fuel.
const ROWS: usize = 4096;

/// Bytes of probe rows in hand at a time.
const FILL_BYTES: usize = 256 * 1024;

/// What a bounded amount of work came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is more to do.
    Again,
    /// The batch of results is full.
    Full,
    /// I/O is outstanding.
    Waiting,
    /// Nothing is left to do, or nothing until more input comes.
    Done,
}
