//! Functions driven by hand: exact output, its event times, and its order relative to the watermark.

mod broadcast;
mod connected;
mod epochs;
mod restore;
mod sides;
mod timers;

use crate::testing::{Emitted, OperatorDriver, instance};
use crate::{Data, DataStream, Env, OperatorContext, Result};
use std::fmt::Debug;

/// A stream to stand operations on.
fn stream<T: Data>() -> DataStream<T> {
    Env::default().from_collection(Vec::new())
}

fn drive<U: Data>(stream: &DataStream<U>) -> OperatorDriver {
    OperatorDriver::of(stream, 0, 1).unwrap()
}

/// A record on the main output.
fn main<U>(record: U, time: i64) -> Emitted<U> {
    Emitted::Record { port: 0, record, time }
}

/// The generic test of stateful operators on the operation that gives `stream`.
fn check_restore<U: Data + Debug>(stream: &DataStream<U>, script: &[crate::testing::Step]) {
    let make = |context: &OperatorContext| -> Result<_> { instance(stream, context) };
    crate::testing::check_restore::<U>(make, script).unwrap();
}
