//! State on disk: for state that is larger than memory.
//!
//! A [`table`] is a log-structured store in the manner of Bitcask and FASTER (Chandramouli et al., SIGMOD 2018): entries lie in
//! [`runs`](run) that are written once, in sections by key group; an [`index`] in memory says where each key's last entry lies,
//! so a look-up reads once. What has been read or changed last is in memory as values, by [generations](generation):
//!
//! 1. the *young* one takes what is read and changed;
//! 2. when it is full, or a barrier passes, it is *frozen*: a background thread writes its changes to a run, and its entries
//!    are read where they are until then; entries that change again are taken to the young generation first;
//! 3. then it is *settled*: kept, to be read, as long as there is room.
//!
//! A run has the bytes of a [file of state](crate::checkpoint), so a checkpoint is a list of runs: it links to those that no earlier
//! one has. That a key has been removed is written like a change. Runs that hold too much garbage, or are small and many, are
//! [rewritten](rewrite), a key group at a time while the operator works. After a restart the runs are used where they are; an
//! instance that has other key groups than before, or a changed type, takes their entries over one by one.
//!
//! Invariant: a key's last entry is in the first of young, frozen, settled that has the key, or where the index says; and in the
//! order of their sequence the runs of a snapshot give the same.
//!
//! Trade-off: a key costs 8 bytes of memory and the slack of its table wherever its value is, so that no look-up reads twice,
//! there are no levels to merge, and a change is written twice on average. Values are read and written whole: a list or map of
//! one key that does not fit in memory is not what this is for.

mod backend;
mod generation;
mod index;
mod parts;
mod restore;
mod rewrite;
mod run;
mod runs;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod turn;
mod visit;

pub use backend::StateBackend;
pub(crate) use backend::{Backend, StateScope};
pub(crate) use parts::{Merge, PartStore, Parts};
pub use run::StoredSection;
pub(crate) use run::{Run, loaded};
pub(crate) use table::DiskTable;
