use super::args::Score;
use super::input::Input;
use crate::cli::job::Job;
use fluvial_core::{Interrupt, Result};
use fluvial_ml::{FEATURES, Frame, Pipeline, Predictor, add_predictions};
use std::sync::Arc;

pub fn run(args: &Score, interrupt: &Interrupt) -> Result<()> {
    let pipeline = Pipeline::load(&args.model)?;
    let job = Job::new(&args.common, interrupt)?;
    let width = Predictor::width(pipeline.model());
    let input = Input::open(&job.env, &args.input, Some(width))?;
    let libsvm = matches!(input, Input::LibSvm(_));
    let table = match input {
        Input::Table(table) => table,
        Input::LibSvm(frame) => {
            let batch = frame.to_batch()?;
            job.env.from_batches(batch.schema(), vec![batch])?
        }
    };
    for name in &pipeline.schema.features {
        table.column(name)?;
    }
    // What the result looks like is what an empty input gives.
    let empty = arrow::array::RecordBatch::new_empty(table.schema().clone());
    let schema = predicted(&pipeline, &empty)?.schema();
    let pipeline = Arc::new(pipeline);
    let mut scored = table.map_batches(schema, move |batch| predicted(&pipeline, &batch));
    // Text has no form for vectors.
    if libsvm && !args.out.ends_with(".parquet") {
        scored = scored.drop_columns(FEATURES)?;
    }
    job.deliver("ml score", &scored, &args.out)
}

/// The batch, with the columns `prediction`, `score` and `error` behind its own.
fn predicted(pipeline: &Pipeline, batch: &arrow::array::RecordBatch) -> Result<arrow::array::RecordBatch> {
    let mut frame = Frame::from_batch(batch, Some(&pipeline.schema.features))?;
    add_predictions(pipeline, &mut frame)?;
    let added = frame.to_batch()?;
    let schema = added.schema();
    let news = ["prediction", "score", "error"].into_iter().filter_map(|name| schema.column_with_name(name));
    let old = batch.schema();
    // A column of the same name is replaced.
    let keep =
        old.fields().iter().zip(batch.columns()).filter(|(f, _)| !["prediction", "score", "error"].contains(&f.name().as_str()));
    let (mut fields, mut columns): (Vec<_>, Vec<_>) = keep.map(|(f, c)| (f.clone(), c.clone())).unzip();
    for (index, field) in news {
        fields.push(Arc::new(field.clone()));
        columns.push(added.column(index).clone());
    }
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    Ok(arrow::array::RecordBatch::try_new(schema, columns)?)
}
