//! Learners as operators of jobs: record by record, tested before they are trained, with their state in the job's checkpoints.
//!
//! [`LearnOnline::learn`] runs a learner on each worker over its part of a stream, [`LearnOnline::learn_together`] has them merged in
//! a feedback loop; the learner itself is the operator's state, kept
//! copy-on-write, so that a snapshot costs one copy of it. [`Serve::serve`] predicts with models that a second stream brings.
//! [`FeatureBlocks`] turns tables into blocks of rows that a learner's loop runs over without a detour, [`DealBlocks`] deals them out to
//! several workers, [`DealInOrder`] numbered records alike in every run.

mod admit;
mod blocks;
mod learn;
mod order;
mod serve;
mod together;

pub use blocks::{DealBlocks, Examples, FeatureBlocks};
pub use learn::{Evaluation, LearnOnline, Learned, ModelVersion, OnlineOptions, RejectedRecord, Tested};
pub use order::DealInOrder;
pub use serve::{Answer, ModelCommand, RefusedRequest, Serve, Served};
pub use together::Together;
