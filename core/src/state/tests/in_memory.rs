//! State in memory.

#[path = "handles.rs"]
mod handles;
#[path = "table.rs"]
mod table;
#[path = "ttl.rs"]
mod ttl;

use super::{at, restore, snapshot, state};
use crate::StateBackend;
use crate::testing::with_backend;

fn here<R>(test: impl FnOnce() -> R) -> R {
    with_backend(&StateBackend::Memory, test)
}
