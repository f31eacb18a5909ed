//! Process functions: a user's function over records, with state and timers of keys, and several outputs.
//!
//! [`task`] is the one operator around all keyed functions: it knows keys, timers, snapshots; a [`task::KeyedHandler`] knows
//! how its inputs become calls. What a function emits waits in [`outputs`] until a batch is full or the input batch ends.
//!
//! Invariant: while a function runs, the operator's current key is that of its record or timer.

mod keyed;
mod outputs;
mod rolling;
mod side;
mod task;

pub use keyed::{KeyedContext, KeyedProcessFunction};
pub(crate) use outputs::Outputs;
pub use side::OutputTag;
pub(crate) use task::{KeyedHandler, KeyedRuntime, KeyedTask};
pub use task::{TimeDomain, Timer};
