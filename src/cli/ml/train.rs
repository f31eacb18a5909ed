use super::args::{Batch, Train};
use super::input::Input;
use super::report::{self, Figures};
use crate::cli::job::Job;
use crate::cli::output;
use fluvial_core::{Env, Error, Interrupt, Result};
use fluvial_ml::{
    Block, BulkLearner, DealBlocks, DualSvm, FitBlocks, Frame, KMeans, Labels, Parameters, Pegasos, Pipeline, Proximal,
    ProximalParams, Regression, StandardScaler, Steps, Training,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
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
    learner: &'a BTreeMap<String, f64>,
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

fn with<P: Parameters, L: BulkLearner + 'static>(
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
        _ => Some(label.ok_or_else(|| Error::Plan(format!("{algorithm} needs --label")))?),
    };
    let columns: Vec<String> = features.iter().chain(&label).cloned().collect();
    let parts = input.frames(&columns)?;
    let started = Instant::now();
    let mut steps = Steps::new(&features);
    if args.standardize {
        steps = steps.then(StandardScaler::of(fluvial_ml::FEATURES));
    }
    let mut pipeline = fit(&job.env, &steps, learner, &parts, label.as_deref(), kind)?;
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

/// Most records that travel together.
const BLOCK: usize = 8192;

/// Fits stages, and the learner as a bulk iteration on the job's workers.
fn fit<L: BulkLearner + 'static>(
    env: &Env,
    steps: &Steps,
    learner: L,
    parts: &[Frame],
    label: Option<&str>,
    kind: Kind,
) -> Result<Pipeline> {
    let labels = match (kind, label) {
        (Kind::Classes, Some(label)) => Some(Labels::two_classes(parts, label)?),
        (Kind::Numbers, Some(_)) => Some(Labels::Numbers),
        _ => None,
    };
    let label = label.zip(labels.as_ref());
    let (transforms, blocks) = steps.prepare(parts, label)?;
    let records: usize = blocks.iter().map(Block::len).sum();
    let stream = env.from_collection(blocks);
    // So many pieces that every worker gets its share.
    let workers = (env.config().threads * env.config().hosts.len().max(1)).max(1);
    let stream = if workers > 1 { stream.deal(records.div_ceil(4 * workers).clamp(1, BLOCK)) } else { stream };
    let learner = Arc::new(learner);
    let Some(shared) = stream.fit_shared(&learner).collect()?.pop() else {
        return Err(Error::User("no records to learn from".into()));
    };
    let metrics = learner.figures(&shared).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let training = Training { records: records as u64, metrics, ..Training::default() };
    Ok(Pipeline::new(steps.schema(label), training, transforms, learner.model(&shared)?))
}
