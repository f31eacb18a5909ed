//! Clusters: k-means, in batch and record by record.
//!
//! Distances are squared and summed in the order of the dimensions, in double precision, so that assignments are those of the
//! plain algorithm to the last bit; speed comes from the layout of the centres alone (see `vector/kernels.rs`).

mod lloyd;
mod model;
mod online;
mod seeding;

pub use lloyd::{KMeans, KMeansParams, KMeansShared, Seeding};
pub use model::KMeansModel;
pub use online::{OnlineKMeans, OnlineKMeansParams};
