//! Fluvial's managed memory: a pool of fixed 32 KiB segments, the records serialized into them, and the files they
//! spill to. An ordinary library; it knows nothing of dataflow.

// The derive macro names this crate by its name, also inside it.
#[cfg(test)]
extern crate self as fluvial_memory;

mod arena;
mod buddy;
pub mod codec;
mod error;
pub mod hash;
pub mod keys;
mod manager;
mod pages;
mod prefetch;
mod progress;
mod reservation;
mod rows;
mod spill;

pub use arena::Address;
pub use codec::arrow::RowCodec;
pub use codec::typed::{Codec, Schema, SchemaReader, StoredCodec, TypedRows};
pub use error::{Error, Result};
pub use fluvial_memory_derive::NormalizedKey;
pub use keys::columns::{KeyColumn, KeyEncoder, Keys};
pub use keys::{Descending, KeySchema, NormalizedKey, NullsFirst, same_key};
pub use manager::{MemoryManager, Usage};
pub use pages::{RowCursor, RowPages};
pub use prefetch::prefetch;
pub use progress::{Progress, Waker};
pub use reservation::{Extent, HeapCharge, Reservation};
pub use rows::{KeyWidth, RowBatch, RowShape};
pub use spill::{Block, Compression, Run, RunReader, RunWriter, SpillConfig, SpillHeader, SpillManager, SpillStats, Step};

/// Bytes in a segment: the grain of allocation, eviction and credit.
pub const SEGMENT_SIZE: usize = 32 * 1024;
