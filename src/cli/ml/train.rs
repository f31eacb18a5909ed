use super::args::{Batch, Train};
use super::input::Input;
use super::report::{self, Figures};
use crate::cli::job::Job;
use crate::cli::output;
use fluvial_core::{Interrupt, Result};
use fluvial_ml::{
    BulkLearner, DualSvm, Frame, KMeans, Parameters, Pegasos, Pipeline, Proximal, ProximalParams, Regression, StandardScaler,
    Steps,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What `--report` holds.
#[derive(Serialize)]
struct Report<'a> {
    algorithm: &'a str,
    records: u64,
    features: usize,
    seconds: f64,
    records_per_second: f64,
    settings: &'a BTreeMap<String, String>,
    /// Of the learner: its objective, and how far from the optimum it is.
    learner: &'a Figures,
    train: &'a Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<&'a Figures>,
    model: &'a PathBuf,
}

/// Which data a learner needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Classes,
    Numbers,
    Unlabelled,
}

pub fn run(args: &Train, interrupt: &Interrupt) -> Result<()> {
    match args.algo {
        Batch::Kmeans => with(args, interrupt, "kmeans", Kind::Unlabelled, KMeans::new),
        Batch::Svm => with(args, interrupt, "svm", Kind::Classes, DualSvm::new),
        Batch::Pegasos => with(args, interrupt, "pegasos", Kind::Classes, Pegasos::new),
        Batch::Logistic => {
            with(args, interrupt, "logistic", Kind::Classes, |p: ProximalParams| Proximal::new(Regression::Logistic, p))
        }
        Batch::Linear => with(args, interrupt, "linear", Kind::Numbers, |p: ProximalParams| Proximal::new(Regression::Linear, p)),
    }
}

fn with<P: Parameters, L: BulkLearner>(
    args: &Train,
    interrupt: &Interrupt,
    algorithm: &'static str,
    kind: Kind,
    make: impl FnOnce(P) -> fluvial_ml::Result<L>,
) -> Result<()> {
    let params = P::from_settings(args.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())))?;
    let settings = params.to_map();
    let learner = make(params)?;
    let job = Job::new(&args.common, interrupt)?;
    let input = Input::open(&job.env, &args.input, None)?;
    let (features, label) = input.choose(&args.data)?;
    let label = match kind {
        Kind::Unlabelled => None,
        _ => Some(label.ok_or_else(|| fluvial_core::Error::Plan(format!("{algorithm} needs --label")))?),
    };
    let columns: Vec<String> = features.iter().chain(&label).cloned().collect();
    let parts = input.frames(&columns)?;
    let threads = job.env.config().threads;
    let started = Instant::now();
    let mut steps = Steps::new(&features).parts(threads);
    if args.standardize {
        steps = steps.then(StandardScaler::of(fluvial_ml::FEATURES));
    }
    let mut pipeline = fit(&steps, &learner, &parts, label.as_deref(), kind)?;
    let seconds = started.elapsed().as_secs_f64();
    pipeline.training.algorithm = algorithm.to_owned();
    pipeline.training.seconds = seconds;
    pipeline.training.created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64);
    pipeline.training.settings = settings;
    let found = pipeline.training.metrics.clone();
    let train = report::judge(&pipeline, &parts)?;
    drop(parts);
    pipeline.training.metrics.extend(train.iter().map(|(name, value)| (name.clone(), *value)));
    let test = match &args.test {
        Some(path) => {
            let width = matches!(input, Input::LibSvm(_)).then(|| fluvial_ml::Predictor::width(pipeline.model()));
            let test = Input::open(&job.env, path, width)?;
            Some(report::judge(&pipeline, &test.frames(&columns)?)?)
        }
        None => None,
    };
    pipeline.save(&args.model)?;
    let records = pipeline.training.records;
    if let Some(path) = &args.report {
        let report = Report {
            algorithm,
            records,
            features: fluvial_ml::Predictor::width(pipeline.model()),
            seconds,
            records_per_second: records as f64 / seconds.max(1e-9),
            settings: &pipeline.training.settings,
            learner: &found,
            train: &train,
            test: test.as_ref(),
            model: &args.model,
        };
        report::write(path, &report)?;
    }
    let mut text = format!("{algorithm}: {records} records, {seconds:.2} s, {}\n", report::line(&found));
    text += &format!("train: {}\n", report::line(&train));
    if let Some(test) = &test {
        text += &format!("test:  {}\n", report::line(test));
    }
    job.env.close();
    output::print(format_args!("{text}"))
}

fn fit<L: BulkLearner>(steps: &Steps, learner: &L, parts: &[Frame], label: Option<&str>, kind: Kind) -> Result<Pipeline> {
    Ok(match (kind, label) {
        (Kind::Classes, Some(label)) => steps.fit_classes(learner, parts, label)?,
        (Kind::Numbers, Some(label)) => steps.fit_numbers(learner, parts, label)?,
        _ => steps.fit_unlabelled(learner, parts)?,
    })
}
