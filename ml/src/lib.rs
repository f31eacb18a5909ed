//! Learning on the same runtime as everything else, in batch and record by record.
//!
//! - Data: rows of features ([`Block`], [`Row`]), named columns ([`Frame`]), LIBSVM files.
//! - Preparing: [`Estimator`]s learn from a frame and give a [`Transform`]; [`Steps`] fit them with a learner into a [`Pipeline`].
//! - Learning in batch: a [`BulkLearner`] goes over its data again and again, on threads ([`fit()`]) or as a bulk iteration of a job
//!   ([`FitBlocks`]).
//! - Learning online: an [`OnlineLearner`] takes record by record; [`LearnOnline`] makes it an operator of a job, tested before it is
//!   trained, alone or [together](LearnOnline::learn_together) with those of other workers.
//! - Models: a [`Model`] predicts, a [`ModelFile`] keeps it, [`Serve`] answers a stream with models that come, change and go.
//! - Recommending by what users did together: [`train()`], [`Recommender`], [`OnlineCoOccurrence`].
//!
//! Every learner names its paper, checks its parameters when it is made, and is a value: cloned, compared, serialized.
//!
//! ```
//! use fluvial_ml::{Drift, LearnOnline, OnlineOptions, ServerStatistics, Sgd, SgdParams};
//! let env = fluvial_core::Env::new(fluvial_core::Config { threads: 1, ..Default::default() });
//! let servers = ServerStatistics::new(1, Drift::None);
//! let learned = env.generate(5000, move |n| servers.example(n)).learn(|width| Sgd::new(width, SgdParams::svm()), OnlineOptions::default());
//! let evaluation = learned.evaluations.collect()?.remove(0);
//! assert!(evaluation.prequential.unwrap().overall().confusion.accuracy() > 0.9);
//! # Ok::<(), fluvial_core::Error>(())
//! ```

mod anomaly;
mod cluster;
mod data;
mod error;
mod iterated;
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
mod training;
mod vector;

pub use anomaly::*;
pub use cluster::*;
pub use data::*;
pub use error::{Error, Result};
pub use iterated::FitBlocks;
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
pub use training::TrainingData;
pub use vector::*;
