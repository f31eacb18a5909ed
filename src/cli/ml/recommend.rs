use super::args::{RecommendScore, RecommendTrain};
use super::input::Input;
use crate::cli::job::Job;
use crate::cli::output;
use fluvial_core::{Error, Interrupt, Result};
use fluvial_ml::{Column, FeatureBlocks, Frame, Interactions, Parameters, Recommender, RecommenderParams};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub fn train(args: &RecommendTrain, interrupt: &Interrupt) -> Result<()> {
    let mut params = RecommenderParams { top: args.top, ..RecommenderParams::default() };
    args.settings.iter().try_for_each(|(key, value)| params.set(key, value))?;
    params.check()?;
    let job = Job::new(&args.common, interrupt)?;
    let started = Instant::now();
    let users: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let mut kinds = Vec::new();
    for path in &args.inputs {
        let Input::Table(table) = Input::open(&job.env, path, None)? else {
            return Err(Error::Plan(format!("{path}: expected .csv or .parquet")));
        };
        let columns: Vec<String> = table.schema().fields().iter().take(2).map(|f| f.name().clone()).collect();
        let [user, item] = columns.as_slice() else {
            return Err(Error::Plan(format!("{path}: expected two columns, user and item")));
        };
        let found: Arc<Mutex<Interactions>> = Arc::default();
        let (known, into, user, item) = (users.clone(), found.clone(), user.clone(), item.clone());
        table.frames(Some(columns.clone())).try_for_each(move |frame: Frame| {
            let (names, items) = (texts(frame.column(&user)?), texts(frame.column(&item)?));
            let mut users = known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut interactions = into.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, item) in names.into_iter().zip(items) {
                let (Some(name), Some(item)) = (name, item) else { continue };
                let next = users.len() as u32;
                interactions.add(*users.entry(name).or_insert(next), &item);
            }
            fluvial_ml::Result::Ok(())
        });
        job.env.execute("ml recommend train")?;
        let name = Path::new(path).file_stem().map_or_else(|| path.clone(), |s| s.to_string_lossy().into_owned());
        kinds.push((name, std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner))));
    }
    let interactions: usize = kinds.iter().map(|(_, k)| k.len()).sum();
    let users = users.lock().unwrap_or_else(PoisonError::into_inner).len();
    let recommender = fluvial_ml::train(kinds, users, &params, job.env.config().threads)?;
    recommender.save(&args.model)?;
    job.env.close();
    let (items, seconds) = (recommender.items().len(), started.elapsed().as_secs_f64());
    output::print(format_args!("{interactions} interactions of {users} users with {items} items, {seconds:.2} s\n"))
}

/// As texts; whole numbers as they are written.
fn texts(column: &Column) -> Vec<Option<String>> {
    match column {
        Column::Texts(texts) => texts.clone(),
        Column::Numbers(numbers) => numbers.iter().map(|n| (!n.is_nan()).then(|| n.to_string())).collect(),
        Column::Vectors(rows) => vec![None; rows.len()],
    }
}

pub fn score(args: &RecommendScore) -> Result<()> {
    let recommender = Recommender::load(&args.model)?;
    let kinds = recommender.indicators().len();
    if args.history.len() > kinds {
        return Err(Error::Plan(format!("{} histories, but the model has {kinds} kinds of interactions", args.history.len())));
    }
    let history: Vec<Vec<&str>> =
        args.history.iter().map(|items| items.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()).collect();
    let history: Vec<&[&str]> = history.iter().map(Vec::as_slice).collect();
    let found = recommender.recommend(&history, args.top);
    let text: String = found.iter().map(|r| format!("{}\t{:.4}\n", r.item, r.score)).collect();
    output::print(format_args!("{text}"))
}
