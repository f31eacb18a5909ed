//! Learning on the same runtime as everything else, in batch and record by record.

mod anomaly;
mod cluster;
mod data;
mod error;
mod learner;
mod linear;
mod metrics;
mod model;
mod online;
mod parameters;
mod pipeline;
mod prepare;
mod random;
mod recommend;
mod servers;
mod split;
mod vector;

pub use anomaly::*;
pub use cluster::*;
pub use data::*;
pub use error::{Error, Result};
pub use learner::{BulkLearner, OnlineLearner, Prediction, Predictor, fit, fit_shared};
pub use linear::*;
pub use metrics::*;
pub use model::*;
pub use online::*;
pub use parameters::Parameters;
pub use pipeline::*;
pub use prepare::*;
pub use recommend::*;
pub use servers::{Drift, ServerStatistics};
pub use split::*;
pub use vector::*;
