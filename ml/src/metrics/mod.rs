//! How good a model is: figures over predictions and truths.
//!
//! Counts and sums add up over workers and windows ([`Confusion`], [`RegressionSums`]); what needs all scores in order
//! ([`roc_auc`]) takes slices. [`Prequential`] judges learning record by record.

mod classification;
mod clustering;
mod prequential;
mod ranking;
mod regression;

pub use classification::{Confusion, log_loss};
pub use clustering::{silhouette, sum_of_squared_errors};
pub use prequential::{Prequential, Timings, WindowReport};
pub use ranking::{hit_rate, roc_auc};
pub use regression::RegressionSums;
