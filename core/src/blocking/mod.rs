//! The blocking operators of `fluvial-operators` as operators of the runtime.
//!
//! They take and give serialized rows; a [`RowFormat`] stands between rows and what the neighbours speak, values of a
//! Rust type or columns. Each holds one memory reservation, made with the operator's name, and answers `Waiting` where
//! its spill files are behind; the runtime's waker is theirs.

mod aggregate;
mod combine;
mod cross;
mod format;
mod group;
mod join;
mod number;
mod shelf;
mod sort;

use crate::Result;
use crate::graph::TaskContext;
use fluvial_memory::Reservation;
use fluvial_operators::ExternalSort;

pub(crate) use aggregate::AggregateOperator;
pub(crate) use combine::CombineSink;
pub(crate) use cross::CrossOperator;
pub(crate) use format::{RowFormat, TableRows, TypedRows};
pub(crate) use group::{GroupedRows, Grouping};
pub(crate) use join::JoinOperator;
pub(crate) use number::{FirstOfWorker, PlaceCount, counting, cut_table, cut_typed, numbering};
pub(crate) use shelf::Shelf;
pub(crate) use sort::{SortOperator, SortPlan};

/// Segments that an instance of each operator reserves before it accepts input; what a node that runs it
/// [says](crate::graph::Node::memory).
pub(crate) mod least {
    use fluvial_operators::aggregate::{Combine, Distinct, HashAggregate};
    use fluvial_operators::{ExternalSort, MINIMUM_JOIN_SEGMENTS};

    /// A sort, or a top-k.
    pub(crate) const SORT: usize = ExternalSort::MINIMUM_SEGMENTS;
    /// A [`Grouping`](super::Grouping), or a [`Shelf`](super::Shelf).
    pub(crate) const GROUPING: usize = ExternalSort::MINIMUM_SEGMENTS;
    /// An aggregation before records cross workers. They are the same for every aggregation.
    pub(crate) const COMBINE: usize = Combine::<Distinct>::MINIMUM_SEGMENTS;
    /// A final aggregation.
    pub(crate) const AGGREGATE: usize = HashAggregate::<Distinct>::MINIMUM_SEGMENTS;
    /// A join.
    pub(crate) const JOIN: usize = MINIMUM_JOIN_SEGMENTS;
    /// All pairs.
    pub(crate) const CROSS: usize = MINIMUM_JOIN_SEGMENTS;
}

/// The reservation of a sort: where the budget is many times what the job needs, enough for blocks of full length.
fn sort_reservation(context: &TaskContext, least: usize) -> Result<Reservation> {
    let reservation = context.reserve(least)?;
    if context.is_ample() {
        // If the pool has not so much after all, blocks are shorter.
        let _ = reservation.guarantee(ExternalSort::FULL_BLOCK_SEGMENTS);
    }
    Ok(reservation)
}

/// Rows that an operator gives at a time.
pub(crate) const OUTPUT_ROWS: usize = 4096;
