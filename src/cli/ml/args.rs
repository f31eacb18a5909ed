use crate::cli::args::Common;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Ml {
    /// Learn a model from data that ends
    #[command(
        after_help = "Examples:\n  fluvial ml train svm train.libsvm --set c=1 --model a.model --test test.libsvm\n  fluvial ml train kmeans points.csv --set k=16 --model clusters.model"
    )]
    Train(Train),
    /// Predict with a model
    #[command(after_help = "Example:\n  fluvial ml score a.model new.csv --out predictions.csv")]
    Score(Score),
    /// Learn record by record, each one predicted before it is learned, and say how that went
    #[command(
        after_help = "Example:\n  fluvial ml online svm servers.csv --label violated --report report.json --plot accuracy.svg"
    )]
    Online(Online),
    /// Recommend items by what users did together
    #[command(subcommand)]
    Recommend(Recommend),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Batch {
    /// k-means: Lloyd's algorithm, k-means|| seeding
    Kmeans,
    /// Linear support vector machine by dual coordinate descent
    Svm,
    /// Linear support vector machine by primal sub-gradients
    Pegasos,
    /// Logistic regression with L1, L2 or elastic-net penalty
    Logistic,
    /// Linear regression with L1, L2 or elastic-net penalty
    Linear,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Online_ {
    /// k-means whose centres move with the records
    Kmeans,
    /// Linear support vector machine by stochastic gradients
    Svm,
    /// Two classes by the passive-aggressive rule
    Pa,
    /// Logistic regression by FTRL-Proximal
    Ftrl,
    /// Linear regression by stochastic gradients
    Sgd,
    /// Anomalies by half-space trees
    HalfSpace,
    /// Anomalies by moving mean and deviation
    MovingStats,
}

/// What is read, and which columns of it.
#[derive(Args)]
pub struct Data {
    /// Columns to learn from: "a, b"; all but the label by default
    #[arg(long)]
    pub features: Option<String>,
    /// Column to predict; LIBSVM files have it at the start of each line. Columns of a CSV file without a header are column_1,
    /// column_2 and so on
    #[arg(long, value_name = "COL")]
    pub label: Option<String>,
}

#[derive(Args)]
pub struct Train {
    /// The learner
    #[arg(value_enum)]
    pub algo: Batch,
    /// File to learn from (.csv, .parquet, .libsvm, .svm)
    pub input: String,
    #[command(flatten)]
    pub data: Data,
    /// A parameter of the learner; what there is and what it may be is said when it is wrong
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Put features on a scale of mean 0 and deviation 1 first
    #[arg(long)]
    pub standardize: bool,
    /// File to write the model to
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// File to judge the model by
    #[arg(long, value_name = "INPUT")]
    pub test: Option<String>,
    /// Write what was learned and how good it is to this file
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Score {
    /// A model file
    pub model: PathBuf,
    /// File with the model's columns (.csv, .parquet, .libsvm, .svm)
    pub input: String,
    /// File to write: the input's columns, with `prediction`, `score` and `error` (.parquet, .csv, .jsonl), or `-` to print a table
    #[arg(long)]
    pub out: String,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct Online {
    /// The learner
    #[arg(value_enum)]
    pub algo: Online_,
    /// File to learn from, in its order (.csv, .parquet, .libsvm, .svm)
    pub input: String,
    #[command(flatten)]
    pub data: Data,
    /// A parameter of the learner; what there is and what it may be is said when it is wrong
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Workers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Merge the models of several workers after so many records of all of them
    #[arg(long, value_name = "RECORDS", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    pub merge_every: u64,
    /// What stays of the model before when models are merged, from 0 to below 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub decay: f64,
    /// Write how it went, overall and by window of 1000 records, to this file
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,
    /// Draw how it went, window by window
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Write the last version of the model to this file
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// A new version of the model after so many records
    #[arg(long, value_name = "RECORDS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub version_every: u64,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Subcommand)]
pub enum Recommend {
    /// Learn from files of interactions, the first of which is what is to be recommended
    #[command(after_help = "Example:\n  fluvial ml recommend train bought.csv viewed.csv --model shop.model")]
    Train(RecommendTrain),
    /// Recommend items for a history
    #[command(after_help = "Example:\n  fluvial ml recommend score shop.model --history \"tea, pot\" --top 5")]
    Score(RecommendScore),
}

#[derive(Args)]
pub struct RecommendTrain {
    /// Files whose first two columns are user and item (.csv, .parquet)
    #[arg(required = true)]
    pub inputs: Vec<String>,
    /// File to write the model to
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Items that are kept for each item, the strongest
    #[arg(long, default_value_t = 50)]
    pub top: usize,
    /// A parameter: min_llr, max_per_user, max_per_item, seed
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Args)]
pub struct RecommendScore {
    /// A model file
    pub model: PathBuf,
    /// Items of the user, of the primary kind: "tea, pot". Once more for each other kind, in the order of the training
    #[arg(long, required = true)]
    pub history: Vec<String>,
    /// How many items to recommend
    #[arg(long, default_value_t = 10)]
    pub top: usize,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
