//! Serving while models change.

use fluvial_core::{Config, Env};
use fluvial_ml::{
    Answer, Column, DualSvm, DualSvmParams, Frame, HashingTrick, LinearModel, LinearTask, Model, ModelCommand, ModelFile,
    Pipeline, Schema, Serve, Stage, StandardScaler, Steps, Training, Transform,
};
use std::time::Duration;
use tokio::sync::mpsc;

fn put(name: &str, version: u64, weight: f64) -> ModelCommand {
    let model = Model::Linear(LinearModel { task: LinearTask::Number, weights: vec![weight], intercept: 0.0 });
    let file = ModelFile { stages: vec![model.to_stage()], ..ModelFile::default() };
    ModelCommand::Put { name: name.to_owned(), version, file }
}

/// Asks until a version answers: commands and records come by different ways.
struct Client {
    ask: fluvial_core::ChannelSender<f64>,
    answers: mpsc::Receiver<Answer<f64>>,
}

impl Client {
    fn ask(&mut self, x: f64) -> Answer<f64> {
        self.ask.send_blocking(x).unwrap();
        self.answers.blocking_recv().unwrap()
    }

    fn until(&mut self, version: u64) -> Answer<f64> {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.ask(3.0);
            if answer.version == version {
                return answer;
            }
            assert!(std::time::Instant::now() < deadline, "version {version} does not answer, but {answer:?}");
        }
    }
}

#[test]
fn models_come_go_and_come_back_while_records_are_answered() {
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let (ask, asked) = env.channel::<f64>(8);
    let (command, commands) = env.channel::<ModelCommand>(8);
    let served = asked.serve(&commands, "m", |x, features| features.push(*x));
    let (to, answers) = mpsc::channel(8);
    served.answers.send_to(to);
    let (to, mut refused) = mpsc::channel(1000);
    served.refused_commands.send_to(to);
    let (to, mut empty) = mpsc::channel(100_000);
    served.refused.send_to(to);
    let job = std::thread::spawn(move || env.execute("serve"));

    let mut client = Client { ask, answers };
    let none = client.ask(1.0);
    assert_eq!((none.prediction, none.version, none.model.as_str()), (None, 0, "m"));
    command.send_blocking(put("m", 1, 2.0)).unwrap();
    assert_eq!(client.until(1).prediction.unwrap().value, 6.0);
    command.send_blocking(put("other", 7, 9.0)).unwrap();
    command.send_blocking(put("m", 2, 5.0)).unwrap();
    let second = client.until(2);
    assert_eq!(second.prediction.unwrap().value, 15.0);
    assert!(second.time > 1_600_000_000_000);
    let file = ModelFile { stages: vec![Stage::new("oracle", &())], ..ModelFile::default() };
    command.send_blocking(ModelCommand::Put { name: "m".into(), version: 3, file }).unwrap();
    command.send_blocking(ModelCommand::Delete { name: "m".into(), version: 9 }).unwrap();
    command.send_blocking(ModelCommand::Delete { name: "m".into(), version: 2 }).unwrap();
    assert_eq!(client.until(1).prediction.unwrap().value, 6.0);
    let fault = client.ask(f64::NAN);
    assert_eq!((fault.prediction, fault.version), (None, 1));
    drop((client.ask, command));
    job.join().unwrap().unwrap();
    let mut said = Vec::new();
    while let Some(reason) = refused.blocking_recv() {
        said.push(reason);
    }
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("`oracle` is no kind of model") && said[1].contains("no version 9"), "{said:?}");
    let mut reasons = Vec::new();
    while let Some(request) = empty.blocking_recv() {
        reasons.push(request.reason);
    }
    assert_eq!(reasons.first().map(String::as_str), Some("there is no model of this name"));
    assert_eq!(reasons.last().map(String::as_str), Some("feature 0 is missing"));
}

#[test]
fn a_pipeline_is_served_with_its_stages() {
    let mut data = Frame::new(60);
    let of = |f: fn(usize) -> f64| Column::Numbers((0..60).map(f).collect());
    data.set("a", of(|i| i as f64 * 100.0)).unwrap();
    data.set("b", of(|i| (i % 7) as f64)).unwrap();
    data.set("late", of(|i| f64::from(i as f64 * 2.0 + (i % 7) as f64 > 60.0))).unwrap();
    let steps = Steps::new(&["a".to_owned(), "b".to_owned()]).then(StandardScaler::of("features"));
    let pipeline = steps.fit_classes(&DualSvm::new(DualSvmParams::default()).unwrap(), &[data.clone()], "late").unwrap();
    let expected: Vec<f64> = pipeline.predict(&mut data).unwrap().into_iter().map(|p| p.unwrap().score).collect();
    assert!(expected.iter().any(|s| *s > 0.0) && expected.iter().any(|s| *s < 0.0));

    // Its words are in no column of a request.
    let words = vec![Transform::Hashing(HashingTrick::of("text", "features", 16).unwrap())];
    let schema = Schema { features: vec!["text".into()], ..Schema::default() };
    let unfit = Pipeline::new(schema, Training::default(), words, pipeline.model().clone());
    let env = Env::new(Config { threads: 1, ..Config::default() });
    let put = |name: &str, file| ModelCommand::Put { name: name.into(), version: 1, file };
    let (command, commands) = env.channel::<ModelCommand>(8);
    let (ask, asked) = env.channel::<Vec<f64>>(8);
    let served = asked.serve(&commands, "late", |row, features| features.extend_from_slice(row));
    let (to, mut answers) = mpsc::channel(8);
    served.answers.send_to(to);
    let (to, mut refused) = mpsc::channel(8);
    served.refused_commands.send_to(to);
    let job = std::thread::spawn(move || env.execute("serve"));
    command.send_blocking(put("words", unfit.to_file())).unwrap();
    command.send_blocking(put("late", pipeline.to_file())).unwrap();
    assert!(refused.blocking_recv().unwrap().contains("`text`"));
    let mut answer = |row: Vec<f64>| {
        ask.send_blocking(row).unwrap();
        answers.blocking_recv().unwrap()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while answer(vec![0.0, 0.0]).version == 0 {
        assert!(std::time::Instant::now() < deadline, "the pipeline does not answer");
    }
    for (i, expected) in expected.iter().enumerate() {
        assert_eq!(answer(vec![i as f64 * 100.0, (i % 7) as f64]).prediction.unwrap().score, *expected);
    }
    assert_eq!(answer(vec![f64::NAN, 1.0]).prediction, None);
    assert_eq!(answer(vec![1.0]).prediction, None);
    drop((ask, command));
    job.join().unwrap().unwrap();
}
