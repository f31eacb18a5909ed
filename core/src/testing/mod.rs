//! Tests of operators by hand, without the runtime: the exact output of a sequence of records, watermarks and timers, its
//! timestamps, and its order relative to the watermark.
//!
//! [`OperatorDriver`] stands in for the harness: it brings one instance what the test says, when the test says so, and
//! announces watermarks as the harness would. [`check_restore`] is the test that every stateful operator passes: part of
//! the input, snapshot, restore into other numbers of instances with split key groups, the rest, equal output.
//!
//! Trade-off: nothing is distributed, partitioned or delayed there; what depends on that is tested as a job. Of jobs,
//! `check_late_barriers` wants the same results whenever a barrier reaches which source.

#![allow(dead_code, reason = "only tests use it")]

mod backends;
#[cfg(test)]
mod barriers;
#[cfg(test)]
pub(crate) mod checkpoints;
mod driver;
mod restore;

#[allow(unused_imports, reason = "only tests use it")]
pub(crate) use backends::{AMPLE, TINY, backend, scope, whole, with_backend};
#[cfg(test)]
pub(crate) use barriers::{FAST, SLOW, check_late_barriers};
#[allow(unused_imports, reason = "only tests use it")]
pub(crate) use driver::{Emitted, OperatorDriver, context, instance};
#[allow(unused_imports, reason = "only tests use it")]
pub(crate) use restore::{Step, check_restore, key_group, split_restore};
