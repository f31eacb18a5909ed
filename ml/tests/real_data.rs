//! Real data gives the figures that are known of it, or better ones.
//!
//! With `FLUVIAL_DATA` set to a folder that has `svm`, `ml` and `streams/nab` in it.

mod nab;

use fluvial_ml::{
    Block, Confusion, DenseRows, DualSvm, DualSvmParams, HalfSpaceParams, HalfSpaceTrees, KMeans, KMeansParams, LibSvm, Model,
    OnlineLearner, PassiveAggressive, PassiveAggressiveParams, Pegasos, PegasosParams, Predictor, Proximal, ProximalParams,
    Regression, Rows, Sgd, SgdParams, cross_validate, fit, fit_shared, read_libsvm, roc_auc,
};
use std::io::Read;
use std::path::PathBuf;

/// A file's content, decompressed. `None` without the data.
fn data(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(std::env::var_os("FLUVIAL_DATA")?).join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut content = Vec::new();
    match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => flate2::read::GzDecoder::new(file).read_to_end(&mut content).unwrap(),
        Some("zst") => zstd::Decoder::new(file).unwrap().read_to_end(&mut content).unwrap(),
        _ => std::io::BufReader::new(file).read_to_end(&mut content).unwrap(),
    };
    Some(content)
}

fn libsvm(name: &str, width: usize) -> Option<Block> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.svm");
    std::fs::write(&path, data(name)?).unwrap();
    Some(read_libsvm(path, LibSvm { width: Some(width) }).unwrap())
}

/// Rows of numbers; the label is taken from the column `label`.
fn csv(text: &str, label: usize) -> Block {
    let (mut values, mut labels, mut width) = (Vec::new(), Vec::new(), 0);
    for line in text.lines().filter(|l| !l.is_empty()) {
        let fields: Vec<f64> = line.split(',').map(|f| f.trim().parse().unwrap()).collect();
        width = fields.len() - 1;
        labels.push(fields[label]);
        values.extend(fields.iter().enumerate().filter(|(i, _)| *i != label).map(|(_, x)| *x));
    }
    Block::new(Rows::Dense(DenseRows::from_values(width, values).unwrap()), labels).unwrap()
}

fn accuracy(model: &Model, test: &Block) -> f64 {
    let mut counts = Confusion::new(2);
    for (i, row) in test.rows.iter().enumerate() {
        counts.add(usize::from(test.label(i) > 0.0), usize::from(model.predict(row).value > 0.0));
    }
    counts.accuracy()
}

#[test]
fn a9a() {
    let (Some(train), Some(test)) = (libsvm("svm/a9a.zst", 123), libsvm("svm/a9a.t.zst", 123)) else { return };
    let precise = DualSvm::new(DualSvmParams { tolerance: 1e-5, rounds: 20_000, ..DualSvmParams::default() }).unwrap();
    let optimum = fit_shared(&precise, std::slice::from_ref(&train)).unwrap().objective;
    for parts in [1, 2] {
        let learner = DualSvm::new(DualSvmParams::default()).unwrap();
        let shared = fit_shared(&learner, &train.deal(parts)).unwrap();
        assert!(shared.objective <= optimum * 1.001, "{parts} parts: {} of {optimum}", shared.objective);
        let model = fluvial_ml::BulkLearner::model(&learner, &shared).unwrap();
        let accuracy = accuracy(&model, &test);
        assert!(accuracy >= 0.849, "{parts} parts: {accuracy}");
    }
    let pegasos = fit(&Pegasos::new(PegasosParams::default()).unwrap(), &train.deal(2)).unwrap();
    assert!(accuracy(&pegasos, &test) >= 0.847, "{}", accuracy(&pegasos, &test));
    let logistic = Proximal::new(Regression::Logistic, ProximalParams::default()).unwrap();
    let logistic = fit(&logistic, &train.deal(2)).unwrap();
    assert!(accuracy(&logistic, &test) >= 0.849, "{}", accuracy(&logistic, &test));
}

#[test]
fn agaricus() {
    let (Some(train), Some(test)) = (libsvm("svm/agaricus.txt.train.zst", 127), libsvm("svm/agaricus.txt.test.zst", 127)) else {
        return;
    };
    let model = fit(&DualSvm::new(DualSvmParams::default()).unwrap(), &train.deal(2)).unwrap();
    assert_eq!(accuracy(&model, &test), 1.0);
}

/// Test-then-train accuracy.
fn prequential(learner: &mut impl OnlineLearner, data: &Block) -> f64 {
    let right = (0..data.len()).filter(|i| {
        let label = data.label(*i);
        (learner.test_then_train(data.rows.row(*i), label).value > 0.0) == (label > 0.0)
    });
    right.count() as f64 / data.len() as f64
}

#[test]
fn telco_service_levels() {
    let Some(text) = data("ml/mlpiper_telco_1000x24.csv.zst") else { return };
    let data = csv(&String::from_utf8(text).unwrap(), 0);
    assert_eq!(data.labels.iter().filter(|l| **l < 0.0).count(), 811);
    let svm = prequential(&mut Sgd::new(24, SgdParams::svm()).unwrap(), &data);
    assert!(svm >= 0.965, "svm {svm}");
    let pa = prequential(&mut PassiveAggressive::new(24, PassiveAggressiveParams::default()).unwrap(), &data);
    assert!(pa >= 0.965, "pa {pa}");
    let learner = DualSvm::new(DualSvmParams::default()).unwrap();
    let folds =
        cross_validate(&data, 5, 1, |train, test| Ok(accuracy(&fit(&learner, std::slice::from_ref(train))?, test))).unwrap();
    let mean = folds.iter().sum::<f64>() / 5.0;
    assert!(mean >= 0.912, "batch, 5-fold {mean}");
}

#[test]
fn optdigits_clusters() {
    let Some(text) = data("ml/optdigits.tra.zst") else { return };
    let data = csv(&String::from_utf8(text).unwrap(), 64);
    let cost = |seed| {
        let params = KMeansParams { k: 10, rounds: 300, seed, ..KMeansParams::default() };
        fit_shared(&KMeans::new(params).unwrap(), &data.deal(2)).unwrap().cost
    };
    let best = (1..=10).map(cost).fold(f64::INFINITY, f64::min);
    assert!((best / 2.478_748e6 - 1.0).abs() < 1e-3, "{best}");
}

/// Connections of a service of KDD Cup 99 that are `wanted`, with the numbers at these places on a logarithmic scale.
fn kdd(service: &str, places: &[usize], wanted: impl Fn(&[&str]) -> bool) -> Option<Block> {
    let text = String::from_utf8(data("ml/kddcup.data_10_percent.gz")?).unwrap();
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        if fields[2] == service && wanted(&fields) {
            values.extend(places.iter().map(|i| (fields[*i].parse::<f64>().unwrap() + 0.1).ln()));
            labels.push(if fields[41] == "normal." { -1.0 } else { 1.0 });
        }
    }
    Some(Block::new(Rows::Dense(DenseRows::from_values(places.len(), values).unwrap()), labels).unwrap())
}

/// Of several seeds: how well half-space trees tell attacks from the rest, in the order of the file, without its labels.
#[track_caller]
fn attacks_are_anomalies(name: &str, data: &Block, params: &HalfSpaceParams, attacks: usize, records: usize) {
    assert_eq!((data.labels.iter().filter(|l| **l > 0.0).count(), data.len()), (attacks, records));
    let area = |seed| {
        let mut trees = HalfSpaceTrees::new(data.rows.width(), HalfSpaceParams { seed, ..params.clone() }).unwrap();
        let scores: Vec<f64> = data.rows.iter().map(|row| trees.test_then_train(row, f64::NAN).score).collect();
        roc_auc(&data.labels, &scores).unwrap()
    };
    let areas: Vec<f64> = (1..=6).map(area).collect();
    eprintln!("{name}: {areas:.4?}");
    assert!(areas.iter().all(|a| *a >= 0.95), "{name}: {areas:?}");
}

/// All connections, by what the data's description calls basic and content features, those that are numbers: 19, so twice as many trees
/// as the papers have for three. By duration and bytes alone web servers could not be judged: 196 of the attacks are connections
/// without any, and so are 5387 of the others.
#[test]
fn kdd_attacks_are_anomalies() {
    let places: Vec<usize> = (0..22).filter(|i| !(1..=3).contains(i)).collect();
    let params = HalfSpaceParams { trees: 50, ..HalfSpaceParams::default() };
    for (service, attacks, records) in [("http", 2407, 64_293), ("smtp", 125, 9723)] {
        let Some(data) = kdd(service, &places, |_| true) else { return };
        attacks_are_anomalies(service, &data, &params, attacks, records);
    }
}

/// The features of the papers (Yamanishi et al. 2000; Tan, Ting and Liu 2011), duration and bytes; of web servers their selection too,
/// connections that are logged in.
#[test]
fn kdd_attacks_are_anomalies_by_the_features_of_the_papers() {
    let places = [0, 4, 5];
    let params = HalfSpaceParams::default();
    let Some(http) = kdd("http", &places, |fields| fields[11] == "1") else { return };
    attacks_are_anomalies("http, logged in", &http, &params, 2209, 58_725);
    let Some(smtp) = kdd("smtp", &places, |_| true) else { return };
    attacks_are_anomalies("smtp", &smtp, &params, 125, 9723);
}

#[test]
fn nab_score_is_that_of_the_windowed_gaussian() {
    let (Some(archive), Some(windows)) = (data("streams/nab/nab-data.tar.zst"), data("streams/nab/labels/combined_windows.json"))
    else {
        return;
    };
    let score = nab::standard_score(&archive, &windows);
    eprintln!("NAB, standard profile: {score}");
    assert!(score >= 39.6 - 0.05, "{score}");
}
