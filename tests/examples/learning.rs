use super::{anomaly_detection, model_swap, online_svm_sla, recommender, streaming_kmeans, text_tfidf_pipeline};
use fluvial::prelude::*;

fn one_worker() -> Env {
    Env::new(Config { threads: 1, ..Config::default() })
}

#[test]
fn the_online_model_follows_the_shift_and_the_batch_model_does_not() {
    let seen = online_svm_sla::compare(&one_worker(), 10_000, 5000).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (online, batch) = (mean(&seen.online[1..5]), mean(&seen.batch[1..5]));
    assert!((online - batch).abs() < 0.02, "{online} {batch}");
    assert!(mean(&seen.online[6..]) > 0.95 * online && mean(&seen.batch[6..]) < 0.8 * batch);
}

#[test]
fn centres_stay_with_the_clouds() {
    let versions = streaming_kmeans::versions(&one_worker(), 30_000, 3000).unwrap();
    assert_eq!(versions.len(), 11, "and one at the end");
    for version in &versions {
        let distance = streaming_kmeans::distance(version);
        assert!(distance < 3.0, "version {}: {distance}", version.version);
    }
}

#[test]
fn items_of_the_same_group_are_recommended() {
    let group = |item: &str| recommender::GROUPS.iter().position(|g| g.contains(&item));
    let batch = recommender::batch(6000).unwrap();
    let found = batch.recommend(&[&["tea", "pot"]], 2);
    assert!(found.len() == 2 && found.iter().all(|r| group(&r.item) == Some(0)), "{found:?}");
    let updates = recommender::live(&one_worker(), 6000).collect().unwrap();
    let (mut own, mut all) = (0, 0);
    for (user, recommendations) in &updates[updates.len() / 2..] {
        own += recommendations.iter().take(1).filter(|r| group(&r.item) == Some(*user as usize % 3)).count();
        all += recommendations.len().min(1);
    }
    assert!(own * 10 > all * 5, "{own} of {all}");
}

#[test]
fn the_spike_is_the_anomaly() {
    let env = one_worker();
    let found =
        anomaly_detection::anomalies(&env.generate(anomaly_detection::SMALL, anomaly_detection::small)).collect().unwrap();
    assert_eq!(found.iter().map(|a| a.measurement.clone()).collect::<Vec<_>>(), [anomaly_detection::small(1500)]);
}

#[test]
fn each_version_answers_its_third() {
    let answers = model_swap::serve(300).unwrap();
    assert_eq!(answers.values().sum::<u64>(), 300);
    assert!((0..=2).all(|version| answers[&version] == 100), "{answers:?}");
}

#[test]
fn texts_are_told_apart() {
    let pipeline = text_tfidf_pipeline::fit(&[text_tfidf_pipeline::small().unwrap()]).unwrap();
    let kinds = text_tfidf_pipeline::classify(&pipeline, &["rain and wind", "a goal in the match"]).unwrap();
    assert_eq!(kinds, ["weather", "football"]);
}
