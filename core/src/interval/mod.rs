//! The interval join: records of two keyed streams whose event times lie near each other.
//!
//! Each key keeps the records of both sides in the order of time ([`held`]). A record that comes meets those of the other side
//! that are there, and stays for those that follow; so every pair is found once, by the later one of the two to come.
//!
//! Invariant: a record is kept as long as a partner that is not late can come, whatever the order of arrival. The watermark is
//! the smallest of both streams, so the slow one decides how much of the fast one is kept.
//!
//! Trade-off: a key has one deadline, not one timer a record. What no partner can come for goes when its key is next seen, or
//! at the deadline, when that of all records of the key that were there when it was set has come.

mod bound;
mod builder;
mod context;
mod held;
mod operator;
#[cfg(test)]
mod tests;

pub use bound::TimeBound;
pub use builder::IntervalJoin;
pub use context::IntervalContext;
