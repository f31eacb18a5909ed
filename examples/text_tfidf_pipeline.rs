//! Tells two kinds of texts apart: words weighted by TF-IDF, a support vector machine behind them, fitted and saved as one.
//!
//!     cargo run --release --example text_tfidf_pipeline -- reviews.csv
//!     cargo run --release --example text_tfidf_pipeline -- --small
//!
//! with columns `text` and `kind`, of which there are two; CSV, JSON lines or Parquet.

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::ml::{Column, DualSvm, DualSvmParams, FeatureBlocks, Frame, Pipeline, Steps, TfIdf};
use fluvial::prelude::*;

pub fn fit(parts: &[Frame]) -> Result<Pipeline> {
    let steps = Steps::of(&["text".to_owned()], &["words".to_owned()]).first(TfIdf::of("text", "words", 1, 50_000)?);
    Ok(steps.fit_classes(&DualSvm::new(DualSvmParams::default())?, parts, "kind")?)
}

pub fn classify(pipeline: &Pipeline, texts: &[&str]) -> Result<Vec<String>> {
    let mut frame = Frame::new(texts.len());
    frame.set("text", Column::Texts(texts.iter().map(|t| Some((*t).to_owned())).collect()))?;
    let predictions = pipeline.predict(&mut frame)?;
    Ok(predictions.iter().map(|p| p.as_ref().ok().and_then(|p| pipeline.class(p.value)).unwrap_or("?").to_owned()).collect())
}

fn main() -> Result<()> {
    let env = Env::default();
    let files: Vec<String> = std::env::args().skip(1).filter(|a| a != "--small").collect();
    let parts = if files.is_empty() { vec![small()?] } else { env.read(&files)?.frames(None).collect()? };
    let pipeline = fit(&parts)?;

    let folder = tempfile::tempdir().map_err(|e| Error::User(e.to_string()))?;
    let path = folder.path().join("texts.model");
    pipeline.save(&path)?;
    let pipeline = Pipeline::load(&path)?;
    println!("{} texts, {}", pipeline.training.records, pipeline.schema.classes.join(" or "));
    let texts = ["snow and rain over the mountains", "the keeper saved a late penalty"];
    for (text, kind) in texts.iter().zip(classify(&pipeline, &texts)?) {
        println!("{kind}: {text}");
    }
    Ok(())
}

/// Sentences made of words of their kind.
pub fn small() -> Result<Frame> {
    const WORDS: [(&str, [&str; 8]); 2] = [
        ("weather", ["rain", "snow", "wind", "clouds", "mountains", "storm", "degrees", "sunny"]),
        ("football", ["goal", "keeper", "penalty", "match", "league", "striker", "saved", "half"]),
    ];
    let (mut texts, mut kinds) = (Vec::new(), Vec::new());
    for n in 0..200usize {
        let (kind, words) = WORDS[n % 2];
        let word = |i: usize| words[(n * 7 + i * 3 + n / 16) % 8];
        texts.push(Some(format!("the {} and a {} with the {}", word(0), word(1), word(2))));
        kinds.push(Some(kind.to_owned()));
    }
    let mut frame = Frame::new(texts.len());
    frame.set("text", Column::Texts(texts))?;
    frame.set("kind", Column::Texts(kinds))?;
    Ok(frame)
}
