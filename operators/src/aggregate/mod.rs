//! Hash aggregation of serialized rows, in two phases.
//!
//! A row is a key and a *state*: the bytes that stand for some records of that key ([`Aggregation`]). Before the
//! exchange, [`Combine`] merges what it can in a small table and passes on partial states; after it, [`HashAggregate`]
//! merges the partial states of each key into one, spilling where memory ends.
//!
//! - **One structure for both**: rows in append-only pages, and a directory of 16-bit salts and addresses over them,
//!   probed linearly (as DuckDB's, ICDE 2024). States of fixed width are changed in place.
//! - **Bounded memory**: the final phase divides keys into partitions by radix of the re-mixed hash. What does not fit
//!   is spilled a whole partition at a time, and a spilled partition is aggregated later like a new input, by other bits
//!   of its hashes. A key with any number of rows is one row in memory, so skew costs nothing; keys that no bits can
//!   separate are aggregated in several passes.
//! - **Invariant**: a key is in at most one place of the result. Partitions that never spilled are final when the input
//!   ends; of the others every row is on disk before the first is read back.
//! - **Trade-off**: rows are looked up as they come, with prefetches ahead of the look-ups, rather than first collected
//!   by partition and aggregated later in the cache: collecting needs memory for every row, looking up for every key. [`Combine`]
//!   collects rows of short keys and states all the same, in bounded memory, once its groups outgrow the cache. Where keys are
//!   whole numbers near each other it keeps states at the places that the numbers say instead, and looks nothing up.
//!
//! Counting distinct values is two aggregations: one by (key, value) with [`Distinct`], then a count by key over its
//! result. Whoever plans a query sets the two up.

mod aggregation;
mod by_columns;
mod columns;
mod combine;
mod direct;
mod directory;
mod hash_aggregate;
mod layout;
mod partitions;
mod passed;
mod staged;
mod table;

pub use aggregation::{Aggregation, Distinct};
pub use columns::{AggregateFunction, ColumnAggregate, ColumnAggregates};
pub use combine::{Combine, CombineOptions};
pub use hash_aggregate::{HashAggregate, HashAggregateOptions};
