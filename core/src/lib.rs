//! Fluvial's engine: streams and tables, the job graph, and the runtime that runs it.

mod batch;
mod error;
pub mod io;
mod operator;
pub mod runtime;

pub use batch::{Batch, Change, Position, Records, TypedRecords};
pub use error::{Error, Result};
pub use fluvial_memory::{Progress, Waker};
pub use operator::{Operator, OperatorContext, Output, Restored, Shared, Snapshot, Source, StateSection};
