//! Recommendations by correlated co-occurrence: what users who did this also did, where that is more than chance.
//!
//! For a primary kind of interaction P (bought) and others A, B, ... (viewed, searched), users are recommended items by
//! `r = [P'P] h_p + [P'A] h_a + [P'B] h_b + ...`, where `h` is the user's history of each kind and the matrices hold, instead of
//! counts, the log-likelihood ratio of the co-occurrence (Dunning 1993), only of the strongest for each item. Interactions count once;
//! very active users and very popular items are sampled down, never left out.
//!
//! [`train`] is the batch computation, [`Recommender`] the model, [`OnlineCoOccurrence`] the same counts kept up to date as
//! interactions come, [`CoOccurrences`] over a stream by several workers.

mod batch;
mod llr;
mod model;
mod online;
mod stream;

pub use batch::{Interactions, RecommenderParams, train};
pub use llr::log_likelihood_ratio;
pub use model::{Indicators, Recommendation, Recommender};
pub use online::OnlineCoOccurrence;
pub use stream::{CoOccurrences, ItemIndicators, Recommend, RecommendationRequest};
