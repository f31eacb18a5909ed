//! The examples' jobs, sentence by sentence of what their heads promise.

#[allow(dead_code)]
#[path = "../../examples/clickstream_sessions.rs"]
mod clickstream_sessions;
#[allow(dead_code)]
#[path = "../../examples/dynamic_rules.rs"]
mod dynamic_rules;
#[allow(dead_code)]
#[path = "../../examples/fire_detection.rs"]
mod fire_detection;
#[allow(dead_code)]
#[path = "../../examples/game_contest.rs"]
mod game_contest;
#[allow(dead_code)]
#[path = "../../examples/taxi_long_rides.rs"]
mod taxi_long_rides;
#[allow(dead_code)]
#[path = "../../examples/window_wordcount.rs"]
mod window_wordcount;

#[allow(dead_code)]
#[path = "../../examples/anomaly_detection.rs"]
mod anomaly_detection;
#[allow(dead_code)]
#[path = "../../examples/model_swap.rs"]
mod model_swap;
#[allow(dead_code)]
#[path = "../../examples/online_svm_sla.rs"]
mod online_svm_sla;
#[allow(dead_code)]
#[path = "../../examples/recommender.rs"]
mod recommender;
#[allow(dead_code)]
#[path = "../../examples/streaming_kmeans.rs"]
mod streaming_kmeans;
#[allow(dead_code)]
#[path = "../../examples/text_tfidf_pipeline.rs"]
mod text_tfidf_pipeline;

mod contest;
mod fires;
mod learning;
mod rides;
mod rules;
mod visits;
mod words;

use fluvial::prelude::*;

/// Gives a job's sorted results by both modes and one to three workers, which must not differ.
fn in_all_ways<T: Ord + std::fmt::Debug>(job: impl Fn(&Env) -> Result<Vec<T>>) -> Vec<T> {
    let mut first: Option<Vec<T>> = None;
    for mode in [Mode::Batch, Mode::Streaming] {
        for threads in 1..=3 {
            let mut results = job(&Env::new(Config { mode, threads, ..Config::default() })).unwrap();
            results.sort();
            match &first {
                None => first = Some(results),
                Some(first) => assert_eq!(&results, first, "{mode:?}, {threads} workers"),
            }
        }
    }
    first.unwrap_or_default()
}
