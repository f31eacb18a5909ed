//! Process functions: a user's function over records, with state and timers of keys, and several outputs.
//!
//! [`task`] is the one operator around all keyed functions: it knows keys, timers, snapshots; a [`task::KeyedHandler`] knows
//! how its inputs become calls. [`plain`] is the same for functions without keys. What a function emits waits in
//! [`outputs`] until a batch is full or the input batch ends.
//!
//! | records of | without keys | with keys |
//! |---|---|---|
//! | one stream | [`ProcessFunction`] | [`KeyedProcessFunction`] |
//! | two streams | [`CoProcessFunction`] | [`KeyedCoProcessFunction`] |
//! | a stream and a broadcast one | [`BroadcastProcessFunction`] | [`KeyedBroadcastProcessFunction`] |
//!
//! Invariant: while a function runs, the operator's current key is that of its record or timer.

mod broadcast;
mod broadcast_keyed;
mod connected;
mod connected_keyed;
mod dead_letter;
mod keyed;
mod outputs;
mod plain;
mod rolling;
mod side;
mod split;
mod task;

pub use broadcast::{BroadcastContext, BroadcastProcessFunction, ConnectedBroadcast};
pub use broadcast_keyed::{ConnectedKeyedBroadcast, KeyedBroadcastContext, KeyedBroadcastProcessFunction};
pub use connected::{CoProcessFunction, Connected};
pub use connected_keyed::{ConnectedKeyed, KeyedCoProcessFunction};
pub use dead_letter::{DeadLetter, DeadLetters};
pub(crate) use keyed::of_keys;
pub use keyed::{KeyedContext, KeyedProcessFunction};
pub(crate) use outputs::Outputs;
pub use plain::{ProcessContext, ProcessFunction};
pub use side::OutputTag;
pub use split::SplitStream;
pub use task::{TimeDomain, Timer};

#[cfg(test)]
mod tests;
