use super::args::{Online, Online_};
use super::input::Input;
use super::plot::{self, Series};
use super::report::{self, Figures};
use crate::cli::job::Job;
use crate::cli::output;
use fluvial_core::{DataStream, Error, Interrupt, Result};
use fluvial_ml::{
    Block, DealBlocks, Evaluation, FEATURES, FeatureBlocks, Ftrl, FtrlParams, HalfSpaceParams, HalfSpaceTrees, Labels,
    LearnOnline, Learned, ModelVersion, MovingParams, MovingStatistics, OnlineKMeans, OnlineKMeansParams, OnlineLearner,
    OnlineOptions, Parameters, PassiveAggressive, PassiveAggressiveParams, Pipeline, Schema, Sgd, SgdParams, Tested, Together,
    Training, Transform, VectorAssembler, WindowReport, roc_auc,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Records of a window of the report.
const WINDOW: u64 = 1000;
/// Records of a LIBSVM file that travel together.
const BLOCK: usize = 1024;

/// What `--report` holds.
#[derive(Serialize)]
struct Report<'a> {
    algorithm: &'a str,
    records: u64,
    rejected: u64,
    workers: u16,
    seconds: f64,
    records_per_second: f64,
    settings: &'a BTreeMap<String, String>,
    /// Of all predictions, each made before its record was learned.
    #[serde(flatten)]
    overall: Figures,
    /// Nanoseconds of a record, of one in sixteen.
    p50_ns: u64,
    p99_ns: u64,
    model_versions: u64,
    window: u64,
    windows: Vec<Figures>,
}

/// What a learner predicts, and so what is said of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Classes,
    Numbers,
    Clusters,
    Anomalies,
}

pub fn run(args: &Online, interrupt: &Interrupt) -> Result<()> {
    match args.algo {
        Online_::Kmeans => with(args, interrupt, "kmeans", Kind::Clusters, OnlineKMeansParams::default(), OnlineKMeans::new),
        Online_::Svm => with(args, interrupt, "svm", Kind::Classes, SgdParams::svm(), Sgd::new),
        Online_::Pa => with(args, interrupt, "pa", Kind::Classes, PassiveAggressiveParams::default(), PassiveAggressive::new),
        Online_::Ftrl => with(args, interrupt, "ftrl", Kind::Classes, FtrlParams::default(), Ftrl::new),
        Online_::Sgd => with(args, interrupt, "sgd", Kind::Numbers, SgdParams::default(), Sgd::new),
        Online_::HalfSpace => {
            with(args, interrupt, "half-space", Kind::Anomalies, HalfSpaceParams::default(), HalfSpaceTrees::new)
        }
        Online_::MovingStats => {
            with(args, interrupt, "moving-stats", Kind::Anomalies, MovingParams::default(), MovingStatistics::new)
        }
    }
}

fn with<P: Parameters + 'static, L: OnlineLearner>(
    args: &Online,
    interrupt: &Interrupt,
    algorithm: &'static str,
    kind: Kind,
    mut params: P,
    make: impl Fn(usize, P) -> fluvial_ml::Result<L> + Send + Sync + 'static,
) -> Result<()> {
    args.settings.iter().try_for_each(|(key, value)| params.set(key, value))?;
    params.check()?;
    let settings = params.to_map();
    let job = Job::with(&args.common, interrupt, |config| config.threads = usize::from(args.workers))?;
    let input = Input::open(&job.env, &args.input, None)?;
    let (features, label) = input.choose(&args.data)?;
    let labels = labels(&input, label.as_deref(), kind, algorithm)?;
    let transform = Transform::Assembler(VectorAssembler::of(&features, FEATURES));
    let named = label.as_deref().zip(labels.clone());
    let started = Instant::now();
    let blocks = blocks(&job, &input, &features, named, transform.clone())?;
    let options = OnlineOptions {
        name: algorithm.to_owned(),
        window: WINDOW.div_ceil(args.workers.into()),
        version_every: args.version_every,
        predictions: kind == Kind::Anomalies && labels.is_some(),
    };
    let make = move |width| make(width, params.clone());
    let learned = match u64::from(args.workers) {
        1 => blocks.learn(make, options),
        workers => {
            // What a worker learns between two merges, so that all of them have some of every round.
            let share = args.merge_every.div_ceil(workers).clamp(1, BLOCK as u64) as usize;
            blocks.deal(share).learn_together(make, options, Together { every: args.merge_every, decay: args.decay, lag: None })
        }
    };
    let outcome = Outcome::of(&learned);
    if args.common.explain {
        return job.run("ml online");
    }
    let report = job.env.execute("ml online");
    let seconds = started.elapsed().as_secs_f64();
    job.conclude(report.map(drop))?;
    let evaluation = outcome.evaluation();
    let Some(prequential) = &evaluation.prequential else {
        return Err(Error::User(format!("{}: no record that {algorithm} could learn from", args.input)));
    };
    let whole = prequential.overall();
    let mut overall = figures(kind, &whole, labels.is_some());
    if let Some(area) = outcome.area() {
        overall.insert("roc_auc".into(), area);
    }
    // It stands above them.
    overall.remove("records");
    let windows: Vec<Figures> = prequential.windows().iter().map(|w| figures(kind, w, labels.is_some())).collect();
    let report = Report {
        algorithm,
        records: whole.records,
        rejected: evaluation.rejected,
        workers: args.workers,
        seconds,
        records_per_second: whole.records as f64 / seconds.max(1e-9),
        settings: &settings,
        overall: overall.clone(),
        p50_ns: evaluation.timings.percentile(0.5),
        p99_ns: evaluation.timings.percentile(0.99),
        // Of workers that learn together, the versions are those of the merged model.
        model_versions: evaluation.versions.max(outcome.last_version().map_or(0, |last| last.version)),
        window: WINDOW,
        windows,
    };
    if let Some(path) = &args.report {
        report::write(path, &report)?;
    }
    if let Some(path) = &args.plot {
        let series = Series::of(&report.windows);
        plot::draw(path, &format!("{algorithm}: by window of {WINDOW} records, tested before trained"), &series, WINDOW)?;
    }
    if let (Some(path), Some(version)) = (&args.model, outcome.last_version()) {
        let classes = labels.as_ref().map(|l| l.classes().to_vec()).unwrap_or_default();
        let schema = Schema { features, label, classes };
        let training = Training {
            algorithm: algorithm.to_owned(),
            records: version.records,
            seconds,
            settings: settings.clone(),
            metrics: BTreeMap::clone(&overall),
            created: version.time,
        };
        Pipeline::new(schema, training, vec![transform], version.model).save(path)?;
    }
    let (records, rate) = (report.records, report.records_per_second);
    output::print(format_args!(
        "{algorithm}: {records} records, {} rejected, {seconds:.2} s ({rate:.0} records/s), {} versions, {} ns a record (p99 {})\n{}\n",
        report.rejected,
        report.model_versions,
        report.p50_ns,
        report.p99_ns,
        report::line(&overall)
    ))
}

/// What the labels stand for. Anomalies and clusters are judged by them where there are some.
fn labels(input: &Input, label: Option<&str>, kind: Kind, algorithm: &str) -> Result<Option<Labels>> {
    match (kind, label) {
        (Kind::Numbers, Some(_)) => Ok(Some(Labels::Numbers)),
        (Kind::Classes | Kind::Anomalies, Some(label)) => {
            let parts = input.frames(&[label.to_owned()])?;
            Ok(Some(Labels::two_classes(&parts, label)?))
        }
        (Kind::Classes | Kind::Numbers, None) => Err(Error::Plan(format!("{algorithm} needs --label"))),
        (Kind::Clusters, _) | (Kind::Anomalies, None) => Ok(None),
    }
}

fn blocks(
    job: &Job,
    input: &Input,
    features: &[String],
    label: Option<(&str, Labels)>,
    transform: Transform,
) -> Result<DataStream<Block>> {
    match input {
        Input::Table(table) => Ok(table.blocks(features, label, vec![transform])),
        Input::LibSvm(frame) => {
            let rows = frame.vectors(FEATURES)?.clone();
            let labels = label.map(|(column, labels)| labels.read(frame, column)).transpose()?.unwrap_or_default();
            let all = Block::new(rows, labels)?;
            let parts = (0..all.len()).step_by(BLOCK).map(|first| all.slice(first, (first + BLOCK).min(all.len())));
            Ok(job.env.from_collection(parts.collect::<Vec<_>>()))
        }
    }
}

/// What a job of a learner leaves behind.
#[derive(Clone, Default)]
struct Outcome {
    evaluation: Arc<Mutex<Evaluation>>,
    version: Arc<Mutex<Option<ModelVersion>>>,
    tested: Arc<Mutex<Vec<Tested>>>,
}

impl Outcome {
    fn of(learned: &Learned) -> Self {
        let outcome = Self::default();
        let Self { evaluation, version, tested } = outcome.clone();
        learned.evaluations.for_each(move |one| lock(&evaluation).merge(&one));
        learned.versions.for_each(move |one| {
            let mut last = lock(&version);
            if last.as_ref().is_none_or(|l| one.records >= l.records) {
                *last = Some(one);
            }
        });
        learned.predictions.for_each(move |one| lock(&tested).push(one));
        outcome
    }

    fn evaluation(&self) -> Evaluation {
        lock(&self.evaluation).clone()
    }

    fn last_version(&self) -> Option<ModelVersion> {
        lock(&self.version).clone()
    }

    fn area(&self) -> Option<f64> {
        let tested = lock(&self.tested);
        let labelled = tested.iter().filter(|t| t.label.is_finite());
        let (labels, scores): (Vec<f64>, Vec<f64>) = labelled.map(|t| (t.label, t.prediction.score)).unzip();
        roc_auc(&labels, &scores).ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn figures(kind: Kind, window: &WindowReport, labelled: bool) -> Figures {
    let mut figures = Figures::new();
    let mut put = |name: &str, value: f64| {
        figures.insert(name.to_owned(), value);
    };
    if kind != Kind::Anomalies || labelled {
        put("loss", window.mean_loss());
    }
    match kind {
        Kind::Classes | Kind::Anomalies if kind == Kind::Classes || labelled => {
            let counts = &window.confusion;
            put("accuracy", counts.accuracy());
            put("kappa", counts.kappa());
            put("precision", counts.precision(1));
            put("recall", counts.recall(1));
            put("f1", counts.f1(1));
        }
        Kind::Numbers => {
            put("rmse", window.errors.rmse());
            put("mae", window.errors.mae());
            put("r2", window.errors.r2());
        }
        _ => {}
    }
    put("records", window.records as f64);
    figures
}
