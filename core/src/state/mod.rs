//! Keyed state: what an operator remembers of each key.
//!
//! A state is found by its name and the key that the operator works on. Values live on the heap as Rust values, in one
//! table a key group ([`table`]), so that reading one costs a look-up and no decoding. Key groups are the grain in which
//! state is owned by workers, stored in snapshots and moved when the number of workers changes.
//!
//! Invariant: every value belongs to the key group of its key's fixed hash, and every key group that the instance owns has
//! a table. What a snapshot has set aside does not change any more.
//!
//! Trade-off: copying on write happens by key group, not by entry. That keeps the path of a record free of versions; the
//! first write to a group after a snapshot pays for copying a 128th of the state.

mod block;
mod cell;
mod dense;
mod handles;
mod key;
mod registry;
pub(crate) mod section;
mod table;
mod timers;
mod ttl;

pub(crate) use block::{BLOCK, KeyBlock};
pub(crate) use dense::DenseTable;
pub use handles::{AggregatingState, ListState, MapState, ReducingState, ValueState};
pub(crate) use key::{CurrentKey, KeyBytes, KeyRef};
pub use registry::KeyedState;
pub(crate) use table::{CowTable, StateTable};
pub(crate) use timers::TimerQueue;
pub use ttl::Ttl;
