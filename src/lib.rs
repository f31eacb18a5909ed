//! Fluvial: one engine for data that ends and data that does not.

pub mod cli;
pub mod nexmark;
pub mod tpch;

pub use fluvial_core::*;
pub use fluvial_memory as memory;
pub use fluvial_operators as operators;

/// What most programs need.
pub mod prelude {
    pub use fluvial_core::{Aggregator, Config, DataStream, Env, Error, JoinStrategy, JoinType, Result, Table};
    pub use fluvial_memory::Descending;
}
