//! Window joins: the records of two keyed streams that have the same key and window, together.
//!
//! The records of both streams become one stream of [`JoinSide`]s inside the operator, and the window operators do the rest:
//! a window of a key keeps two lists ([`side::Lists`]), which come and go as the accumulators of an aggregation do. So
//! tumbling windows have one table a window, sessions merge over both streams, and lateness, restore and processing time are
//! those of windows. [`operator`] is the adapter in between: it has two inputs, and sends late records to the output of
//! their side.
//!
//! Trade-off: a window gives its results at once, when it fires, and keeps all records until then; an interval join gives a
//! pair as soon as both are there. A sliding window keeps a record once for each window that it belongs to.

mod builder;
mod context;
mod operator;
mod side;
#[cfg(test)]
mod tests;

pub use builder::WindowJoin;
pub use context::CoGroupContext;
pub use side::JoinSide;
