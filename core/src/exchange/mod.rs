//! How records are spread over workers: partitioners that split batches by the fixed hash of a normalized key.
//!
//! A partitioner that feeds a blocking operator serializes on the way: records become rows of `[key][payload]` in one
//! buffer per target, hashed once, and are never deserialized before the user's next function sees them.

mod rows;
mod table;
mod typed;

pub(crate) use rows::{Emit, RowsByHash};
pub(crate) use table::TableToRows;
pub(crate) use typed::{TypedByHash, TypedByTarget, TypedToRows, row_shape, split_typed};
