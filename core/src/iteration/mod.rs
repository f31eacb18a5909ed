//! Loops whose supersteps all workers end together: what the bulk and delta iterations of other crates are made of.
//!
//! ```text
//!   from outside -> head -> step ... -> tail -> head (feedback: the step's result, forward; control records, broadcast)
//!                    |
//!                    +-> exit: the result, after the last superstep
//! ```
//!
//! The [head](IterationHead) keeps what comes from outside and what comes back, and releases it superstep by superstep. The tail
//! counts what the step gave, and its criteria, and tells the heads of all workers in one control record a superstep; with
//! it go the worker's parts of the [aggregators](Aggregate). All heads merge the same records in the order of the workers, so
//! they have the same values and decide alike.
//!
//! In between stand ordinary operations. Those that work record by record run as they are, and empty their combiners at the end
//! of each superstep; all others are wrapped ([`EachSuperstep`]): per superstep they begin anew, and what comes from outside
//! the loop is kept in managed memory and given to them again, or stays in them where they can keep it.
//!
//! A loop of a delta iteration may do without common supersteps ([`LoopBuilder::begin_asynchronous`]): its head is that of a loop over a
//! stream, and the same operations work in [rounds of their own](LocalRounds).
//!
//! Invariant: what an operation sees of its loop ([`LoopState`]) is of its own worker and of the superstep that it is in. The head
//! sets it when a superstep begins on the worker, before any record of it moves.

mod aggregates;
mod build;
mod control;
mod each;
mod head;
mod queue;
mod rounds;
mod state;
mod store;
mod tail;

pub use aggregates::Aggregate;
pub use build::{FeedbackBuilder, LoopBuilder, Superstep};
pub(crate) use each::{EachSuperstep, LoopInput, Spread};
pub(crate) use queue::SpillingQueue;
pub(crate) use rounds::LocalRounds;
pub use state::LoopState;
pub use store::{BatchStore, STORE_SEGMENTS, StoreCursor, Stored, Weigher};

use crate::{Batch, Output, Progress, Restored, Result, Snapshot};

/// What the head of a loop does on one worker; the runtime says when.
///
/// The order of calls: `restore` if there is something to restore, `enter` as records come, then again and again `decide`, and
/// after [`Decision::Next`] `begin`, `release` until it says `Done`, `feed_back` as records come back; after
/// [`Decision::Stop`] `deliver` until it says `Done`. `snapshot` comes before the first `decide` and between `decide` and
/// `begin`. After [`Progress::Waiting`] from `enter` or `feed_back` comes `resume` until it says `Done`.
pub trait IterationHead {
    /// Takes a batch of an input from outside the loop.
    ///
    /// # Errors
    /// What fails the job.
    fn enter(&mut self, input: usize, batch: Batch) -> Result<Progress>;

    /// Takes a batch that the running superstep sent back; feedback inputs count from 0.
    ///
    /// # Errors
    /// What fails the job.
    fn feed_back(&mut self, input: usize, batch: Batch) -> Result<Progress>;

    /// Goes on with what `enter` or `feed_back` left undone.
    ///
    /// # Errors
    /// What fails the job.
    fn resume(&mut self) -> Result<Progress> {
        Ok(Progress::Done)
    }

    /// The superstep that was running has ended on all workers (or none has run yet). All workers must decide alike.
    ///
    /// # Errors
    /// What fails the job.
    fn decide(&mut self) -> Result<Decision>;

    /// The next superstep begins on this worker.
    ///
    /// # Errors
    /// What fails the job.
    fn begin(&mut self) -> Result<()>;

    /// Sends records of the superstep into the loop, on port 0.
    ///
    /// # Errors
    /// What fails the job.
    fn release(&mut self, out: &mut dyn Output) -> Result<Progress>;

    /// Sends the result, on port 1.
    ///
    /// # Errors
    /// What fails the job.
    fn deliver(&mut self, out: &mut dyn Output) -> Result<Progress>;

    /// The epoch that has been asked for, as this process knows. Told again and again.
    fn requested(&mut self, epoch: u64) {
        let _ = epoch;
    }

    /// The state as of now.
    ///
    /// # Errors
    /// What fails the job.
    fn snapshot(&mut self) -> Result<Snapshot>;

    /// Takes back state.
    ///
    /// # Errors
    /// What fails the job.
    fn restore(&mut self, state: Restored) -> Result<()>;

    /// The job has failed or was cancelled.
    fn abort(&mut self) {}
}

/// What becomes of a loop after a superstep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another superstep.
    Next {
        /// The epoch that it is to be in, if that is later than the present one.
        epoch: u64,
    },
    /// That was the last.
    Stop,
}
