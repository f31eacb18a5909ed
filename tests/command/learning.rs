//! `fluvial ml` as a script uses it: what goes in, what is in the files that come out.

use super::kit::{fails, folder, succeeds};
use fluvial::ml::{Drift, Recommender, ServerStatistics, write_libsvm};
use std::fmt::Write;
use std::path::Path;

/// Server statistics as CSV, with a label column of texts.
fn servers(path: &Path, records: std::ops::Range<u64>, drift: Drift) {
    let servers = ServerStatistics::new(4, drift);
    let mut text = format!("{},violated\n", ServerStatistics::NAMES.join(","));
    for n in records {
        let example = servers.example(n);
        example.features.row().for_each(|_, x| write!(text, "{x},").unwrap());
        writeln!(text, "{}", if example.label > 0.0 { "yes" } else { "no" }).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn json(path: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn models_are_trained_tested_saved_and_used() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    servers(Path::new(&at("train.csv")), 0..3000, Drift::None);
    servers(Path::new(&at("test.csv")), 3000..4000, Drift::None);
    for algorithm in ["svm", "pegasos", "logistic"] {
        let (train, test, model, report) = (at("train.csv"), at("test.csv"), at("a.model"), at("report.json"));
        let said = succeeds(&[
            "ml",
            "train",
            algorithm,
            &train,
            "--label",
            "violated",
            "--model",
            &model,
            "--test",
            &test,
            "--report",
            &report,
            "--threads",
            "2",
        ]);
        assert!(said.contains("3000 records") && said.contains("test:"), "{said}");
        let report = json(&report);
        assert_eq!((report["algorithm"].as_str(), report["records"].as_u64()), (Some(algorithm), Some(3000)));
        let accuracy = report["test"]["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.9, "{algorithm}: {report}");
        succeeds(&["ml", "score", &model, &test, "--out", &at("scored.csv")]);
        let scored = std::fs::read_to_string(at("scored.csv")).unwrap();
        assert!(scored.lines().next().unwrap().ends_with("violated,prediction,score,error"), "{scored}");
        let right = scored.lines().skip(1).filter(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            fields[20] == fields[21]
        });
        assert_eq!(right.count() as f64 / 1000.0, accuracy);
    }
}

#[test]
fn learning_online_reports_windows_and_draws_them() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    servers(Path::new(&at("s.csv")), 0..5500, Drift::None);
    for workers in ["1", "2"] {
        for algorithm in ["svm", "pa", "ftrl"] {
            let (input, report, plot, model) = (at("s.csv"), at("r.json"), at("p.svg"), at("m.model"));
            succeeds(&[
                "ml",
                "online",
                algorithm,
                &input,
                "--label",
                "violated",
                "--workers",
                workers,
                "--report",
                &report,
                "--plot",
                &plot,
                "--model",
                &model,
            ]);
            let report = json(&report);
            assert_eq!((report["records"].as_u64(), report["rejected"].as_u64()), (Some(5500), Some(0)));
            assert!(report["accuracy"].as_f64().unwrap() > 0.88, "{algorithm}, {workers} workers: {report}");
            assert!(
                report["kappa"].is_f64() && report["loss"].is_f64() && report["p99_ns"].as_u64() >= report["p50_ns"].as_u64()
            );
            assert!(report["model_versions"].as_u64().unwrap() >= 1 && report["records_per_second"].as_f64().unwrap() > 0.0);
            let windows = report["windows"].as_array().unwrap();
            assert!(windows.len() >= 6 && windows[0]["records"].as_f64().unwrap() <= 1000.0, "{windows:?}");
            let svg = std::fs::read_to_string(at("p.svg")).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("accuracy") && svg.contains("polyline"), "{svg}");
            succeeds(&["ml", "score", &model, &input, "--out", &at("scored.parquet")]);
        }
    }
}

#[test]
fn clusters_numbers_and_anomalies_are_learned_online_too() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut text = String::from("a,b,y,odd\n");
    for i in 0..3000 {
        let (a, b, odd) = (f64::from(i % 7), f64::from(i % 3) * 10.0, i > 2000 && i % 400 == 0);
        let b = if odd { 500.0 } else { b };
        writeln!(text, "{a},{b},{},{}", 2.0 * a - 0.1 * b, u8::from(odd)).unwrap();
    }
    std::fs::write(at("d.csv"), text).unwrap();
    let (input, report) = (at("d.csv"), at("r.json"));
    succeeds(&[
        "ml",
        "online",
        "kmeans",
        &input,
        "--features",
        "a, b",
        "--set",
        "k=3",
        "--report",
        &report,
        "--plot",
        &at("k.svg"),
    ]);
    assert!(json(&report)["loss"].as_f64().unwrap() < 1000.0 && json(&report)["accuracy"].is_null());
    succeeds(&["ml", "online", "sgd", &input, "--features", "a", "--label", "y", "--report", &report]);
    assert!(json(&report)["rmse"].as_f64().unwrap() < 20.0);
    for algorithm in ["half-space", "moving-stats"] {
        succeeds(&["ml", "online", algorithm, &input, "--features", "a, b", "--label", "odd", "--report", &report]);
        assert!(json(&report)["roc_auc"].as_f64().unwrap() > 0.9, "{algorithm}: {}", json(&report));
    }
    succeeds(&[
        "ml",
        "train",
        "kmeans",
        &input,
        "--features",
        "a, b",
        "--set",
        "k=3",
        "--model",
        &at("k.model"),
        "--report",
        &report,
    ]);
    assert!(json(&report)["train"]["sse"].is_f64() && json(&report)["train"]["silhouette"].is_f64());
    succeeds(&[
        "ml",
        "train",
        "linear",
        &input,
        "--features",
        "a, b",
        "--label",
        "y",
        "--set",
        "penalty=0",
        "--standardize",
        "--model",
        &at("l.model"),
        "--report",
        &report,
    ]);
    assert!(json(&report)["train"]["r2"].as_f64().unwrap() > 0.9999, "{}", json(&report));
}

#[test]
fn sparse_files_are_read_and_rows_with_faults_are_not_predicted() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let block = ServerStatistics::new(4, Drift::None).block(0..1000).unwrap();
    write_libsvm(at("s.svm"), &block).unwrap();
    succeeds(&["ml", "train", "svm", &at("s.svm"), "--model", &at("a.model"), "--test", &at("s.svm")]);
    succeeds(&["ml", "score", &at("a.model"), &at("s.svm"), "--out", &at("out.csv")]);
    assert!(std::fs::read_to_string(at("out.csv")).unwrap().starts_with("label,prediction,score,error"));
    succeeds(&["ml", "online", "ftrl", &at("s.svm"), "--report", &at("r.json")]);
    assert_eq!(json(&at("r.json"))["records"], 1000);

    std::fs::write(at("d.csv"), "x,y\n1,0\n2,0\n,1\n30,1\n40,1\n").unwrap();
    succeeds(&["ml", "train", "svm", &at("d.csv"), "--label", "y", "--model", &at("d.model")]);
    std::fs::write(at("new.csv"), "x\n50\n\"\"\n").unwrap();
    succeeds(&["ml", "score", &at("d.model"), &at("new.csv"), "--out", &at("out.csv")]);
    let scored = std::fs::read_to_string(at("out.csv")).unwrap();
    assert!(scored.contains(",1,") && scored.contains("feature 0 is missing"), "{scored}");
}

#[test]
fn items_are_recommended() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (mut bought, mut viewed) = (String::from("user,item\n"), String::from("user,page\n"));
    for user in 0..60 {
        let items = if user % 2 == 0 { ["tea", "pot"] } else { ["coffee", "mill"] };
        items.iter().for_each(|item| writeln!(bought, "u{user},{item}").unwrap());
        writeln!(viewed, "u{user},{}", if user % 2 == 0 { "leaves" } else { "beans" }).unwrap();
    }
    std::fs::write(at("bought.csv"), bought).unwrap();
    std::fs::write(at("viewed.csv"), viewed).unwrap();
    let said =
        succeeds(&["ml", "recommend", "train", &at("bought.csv"), &at("viewed.csv"), "--model", &at("r.model"), "--top", "10"]);
    assert!(said.contains("180 interactions of 60 users with 4 items"), "{said}");
    assert_eq!(Recommender::load(at("r.model")).unwrap().indicators()[1].kind(), "viewed");
    let found = succeeds(&["ml", "recommend", "score", &at("r.model"), "--history", "tea", "--top", "5"]);
    assert!(found.starts_with("pot\t") && found.lines().count() == 1, "{found}");
    let found = succeeds(&["ml", "recommend", "score", &at("r.model"), "--history", "", "--history", "beans"]);
    assert_eq!(found.lines().count(), 2, "{found}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("d.csv"), "x,y\n1,0\n2,1\n3,2\n").unwrap();
    let (input, model) = (at("d.csv"), at("m.model"));
    let train = |more: &[&str]| fails(&[&["ml", "train", "svm", &input, "--model", &model], more].concat());
    assert!(train(&[]).contains("svm needs --label"));
    assert!(train(&["--label", "z"]).contains("column `z` not found; there are x, y"));
    assert!(train(&["--label", "y"]).contains("label column `y` has 3 classes (0, 1, 2), expected two"));
    assert!(train(&["--label", "y", "--set", "c=-1"]).contains("svm: c is -1, expected a number above 0"));
    assert!(train(&["--label", "y", "--set", "d=1"]).contains("expected one of the parameters c, tolerance"));
    std::fs::write(at("m.model"), "no model").unwrap();
    let error = fails(&["ml", "score", &model, &input, "--out", "-"]);
    assert!(error.contains("m.model: no model file"), "{error}");
    std::fs::write(at("bad.svm"), "1 1:1\n1 1:x\n").unwrap();
    let error = fails(&["ml", "train", "svm", &at("bad.svm"), "--model", &model]);
    assert!(error.contains("bad.svm: line 2: `1:x`, expected index:value"), "{error}");
}
