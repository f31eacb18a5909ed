//! State on disk, with next to no memory.

#[path = "handles.rs"]
mod handles;
#[path = "table.rs"]
mod table;
#[path = "ttl.rs"]
mod ttl;

use super::{at, restore, snapshot, state};
use crate::testing::TINY;
use crate::testing::with_backend;

fn here<R>(test: impl FnOnce() -> R) -> R {
    with_backend(&TINY, test)
}
