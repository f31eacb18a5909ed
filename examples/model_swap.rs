//! A model is exchanged while a job serves with it: no record waits, every answer says which version gave it.
//!
//!     cargo run --release --example model_swap
//!     cargo run --release --example model_swap -- --small

#![allow(missing_docs, reason = "a program whose parts its tests use")]

use fluvial::ml::{LinearModel, LinearTask, Model, ModelCommand, ModelFile, Serve};
use fluvial::prelude::*;
use std::collections::BTreeMap;

/// A model file, as training would have written it.
pub fn file(weight: f64) -> ModelFile {
    let model = Model::Linear(LinearModel { task: LinearTask::Number, weights: vec![weight], intercept: 0.0 });
    ModelFile { stages: vec![model.to_stage()], ..ModelFile::default() }
}

/// Serves so many requests, three thirds of them: without a model, by version 1, by version 2. Gives the number of answers by version.
pub fn serve(requests: u64) -> Result<BTreeMap<u64, u64>> {
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let (ask, asked) = env.channel::<f64>(64);
    let (command, commands) = env.channel::<ModelCommand>(4);
    let served = asked.serve(&commands, "price", |x, features| features.push(*x));
    let (to, mut answers) = tokio::sync::mpsc::channel(64);
    served.answers.send_to(to);
    let job = std::thread::spawn(move || env.execute("model_swap"));
    let closed = |_| Error::User("the job has ended".into());

    let mut counts = BTreeMap::new();
    let mut wanted = 0;
    let mut version = 0;
    for n in 0..requests {
        if n > 0 && n % (requests / 3) == 0 && wanted < 2 {
            wanted += 1;
            let put = ModelCommand::Put { name: "price".into(), version: wanted, file: file(wanted as f64) };
            command.send_blocking(put).map_err(|_| Error::User("the job has ended".into()))?;
            // Commands and requests come by different ways: ask until the new version answers.
            while version < wanted {
                ask.send_blocking(1.0).map_err(closed)?;
                version = answers.blocking_recv().map_or(wanted, |a| a.version);
            }
        }
        ask.send_blocking(2.0).map_err(closed)?;
        if let Some(answer) = answers.blocking_recv() {
            let expected = (answer.version > 0).then_some(2.0 * answer.version as f64);
            if answer.prediction.map(|p| p.value) != expected {
                return Err(Error::User(format!("version {} answered {:?}", answer.version, answer.prediction)));
            }
            *counts.entry(answer.version).or_default() += 1;
        }
    }
    drop((ask, command));
    job.join().map_err(|_| Error::User("the job panicked".into()))??;
    Ok(counts)
}

fn main() -> Result<()> {
    let requests = if std::env::args().any(|a| a == "--small") { 300 } else { 30_000 };
    for (version, answers) in serve(requests)? {
        match version {
            0 => println!("{answers} requests came before there was a model"),
            _ => println!("{answers} requests were answered by version {version}"),
        }
    }
    Ok(())
}
