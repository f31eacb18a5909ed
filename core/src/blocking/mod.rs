//! The blocking operators of `fluvial-operators` as operators of the runtime.
//!
//! They take and give serialized rows; a [`RowFormat`] stands between rows and what the neighbours speak, values of a
//! Rust type or columns. Each holds one memory reservation, made with the operator's name, and answers `Waiting` where
//! its spill files are behind; the runtime's waker is theirs.

mod aggregate;
mod combine;
mod format;
mod group;
mod join;
mod sort;

pub(crate) use aggregate::AggregateOperator;
pub(crate) use combine::CombineSink;
pub(crate) use format::{RowFormat, TableRows, TypedRows};
pub(crate) use group::{GroupedRows, Grouping};
pub(crate) use join::JoinOperator;
pub(crate) use sort::{SortOperator, SortPlan};

/// Rows that an operator gives at a time.
pub(crate) const OUTPUT_ROWS: usize = 4096;
