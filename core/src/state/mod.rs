//! Keyed state: what an operator remembers of each key.
//!
//! A state is found by its name and the key that the operator works on. Its values are in a [`table`]: on the heap as Rust
//! values, one hash table a key group ([`heap`]), so that reading one costs a look-up and no decoding; or in files ([`disk`]),
//! where they may be more than memory holds. Key groups are the grain in which state is owned by workers, stored in snapshots
//! and moved when the number of workers changes.
//!
//! Invariant: every value belongs to the key group of its key's fixed hash, and every key group that the instance owns has
//! a table. What a snapshot has set aside does not change any more.
//!
//! Trade-off: on the heap copying on write happens by key group, not by entry. That keeps the path of a record free of versions;
//! the first write to a group after a snapshot pays for copying a 128th of the state.

mod block;
mod broadcast_state;
mod cell;
mod dense;
pub(crate) mod disk;
mod gauge;
mod handles;
mod heap;
mod key;
mod operator_state;
mod registry;
pub(crate) mod section;
mod table;
mod timers;
mod ttl;

pub(crate) use block::{BLOCK, KeyBlock};
pub use broadcast_state::{BroadcastState, BroadcastWriter};
pub(crate) use dense::DenseTable;
pub(crate) use disk::{Backend, StateScope};
pub use disk::{StateBackend, StoredSection};
pub(crate) use gauge::StateGauge;
pub use handles::{AggregatingState, ListState, MapState, ReducingState, ValueState};
pub(crate) use heap::{CowTable, Visited};
pub(crate) use key::{KeyBytes, KeyRef};
pub use operator_state::{OperatorList, OperatorState};
pub use registry::KeyedState;
pub(crate) use table::{StateTable, Visit};
pub(crate) use timers::{EVENT_TIMERS, PROCESSING_TIMERS, TimerQueue};
pub use ttl::Ttl;

#[cfg(test)]
mod tests;
