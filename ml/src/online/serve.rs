use crate::data::Frame;
use crate::learner::{Prediction, Predictor};
use crate::model::{Model, ModelFile};
use crate::pipeline::{FEATURES, Pipeline};
use crate::prepare::{Transform, Transformer};
use crate::vector::{Block, DenseRows, Row, Rows};
use fluvial_core::{
    BroadcastContext, BroadcastProcessFunction, BroadcastState, Data, DataStream, OutputTag, ProcessContext, Result,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A change to the models that are served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ModelCommand {
    /// Adds a version of a model, or replaces it.
    Put {
        /// The model's name.
        name: String,
        /// Of the versions that there are, the greatest answers.
        version: u64,
        /// The model.
        file: ModelFile,
    },
    /// Takes a version away; the one before it answers again.
    Delete {
        /// The model's name.
        name: String,
        /// Which version.
        version: u64,
    },
}

/// A record with what a model says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// The record.
    pub record: T,
    /// The prediction; none where the record has a fault, or there is no model.
    pub prediction: Option<Prediction>,
    /// Which model.
    pub model: String,
    /// Of which version; 0 where there is none.
    pub version: u64,
    /// When, milliseconds UTC.
    pub time: i64,
}

/// Why a record has no prediction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedRequest<T> {
    /// The record.
    pub record: T,
    /// What is wrong.
    pub reason: String,
}

/// Streams that come out of serving.
pub struct Served<T> {
    /// An answer a record.
    pub answers: DataStream<Answer<T>>,
    /// Records whose answer is empty, and why.
    pub refused: DataStream<RefusedRequest<T>>,
    /// Commands that could not be followed, and why.
    pub refused_commands: DataStream<String>,
}

/// Streams of records that models answer.
pub trait Serve<T> {
    /// Predicts each record by the greatest version of the model `name`, as the stream of commands has it at that moment. The models
    /// are state: they are there after a restore. `features` writes a record's features to an empty buffer.
    ///
    /// A file can be of a whole pipeline, if its stages change features alone (scale, normalize, fill in): the features of a record are then
    /// those of the pipeline's schema, in that order.
    ///
    /// ```
    /// use fluvial_ml::*;
    /// let env = fluvial_core::Env::default();
    /// let model = Model::Linear(LinearModel { task: LinearTask::Number, weights: vec![2.0], intercept: 1.0 });
    /// let file = ModelFile { stages: vec![model.to_stage()], ..ModelFile::default() };
    /// let commands = env.from_collection([ModelCommand::Put { name: "line".into(), version: 1, file }]);
    /// let served = env.from_collection([1.0f64, 2.0]).serve(&commands, "line", |x, features| features.push(*x));
    /// for answer in served.answers.collect()? {
    ///     // A record may have come before the model.
    ///     assert_eq!(answer.prediction.map(|p| p.value), (answer.version > 0).then_some(2.0 * answer.record + 1.0));
    /// }
    /// # Ok::<(), fluvial_core::Error>(())
    /// ```
    fn serve(
        &self,
        commands: &DataStream<ModelCommand>,
        name: &str,
        features: impl Fn(&T, &mut Vec<f64>) + Send + Sync + 'static,
    ) -> Served<T>;
}

impl<T: Data> Serve<T> for DataStream<T> {
    fn serve(
        &self,
        commands: &DataStream<ModelCommand>,
        name: &str,
        features: impl Fn(&T, &mut Vec<f64>) + Send + Sync + 'static,
    ) -> Served<T> {
        let (refused, refused_commands) = (OutputTag::new("refused"), OutputTag::new("refused commands"));
        let (features, name) = (Arc::new(features), name.to_owned());
        let (tag, command_tag) = (refused.clone(), refused_commands.clone());
        let answers = self.connect_broadcast(commands).process(move |state| {
            Ok(Server {
                models: state.broadcast("models")?,
                name: name.clone(),
                features: features.clone(),
                refused: tag.clone(),
                refused_commands: command_tag.clone(),
                current: None,
                buffer: Vec::new(),
            })
        });
        Served {
            refused: answers.side_output(&refused),
            refused_commands: answers.side_output(&refused_commands),
            answers: answers.name("serve"),
        }
    }
}

struct Server<T, F> {
    models: BroadcastState<(String, u64), ModelFile>,
    name: String,
    features: Arc<F>,
    refused: OutputTag<RefusedRequest<T>>,
    refused_commands: OutputTag<String>,
    /// The version that answers, and its model. Made of the state when it is needed: also after a restore.
    current: Option<(u64, Option<Servable>)>,
    buffer: Vec<f64>,
}

/// What answers: a model, and the stages that change features on their way to it.
struct Servable {
    stages: Vec<Transform>,
    model: Model,
}

impl Servable {
    /// Of a file. The stage that puts columns side by side is left out: requests bring their features so.
    ///
    /// # Errors
    /// The file is wrong, or a stage needs other columns than the features.
    fn of(file: &ModelFile) -> crate::Result<Self> {
        let pipeline = Pipeline::from_file(file)?;
        let stages = match pipeline.transforms() {
            [Transform::Assembler(_), rest @ ..] => rest.to_vec(),
            all => all.to_vec(),
        };
        let servable = Self { stages, model: pipeline.model().clone() };
        if !servable.stages.is_empty() {
            let (given, width) = (pipeline.schema.features.len(), servable.model.width());
            let prepared = servable.prepare(vec![0.0; given])?;
            if prepared.width() != width {
                let found = prepared.width();
                return crate::error::data(format!("its stages make {found} features of {given}, but its model takes {width}"));
            }
        }
        Ok(servable)
    }

    /// One request's features, as the model takes them.
    fn prepare(&self, features: Vec<f64>) -> crate::Result<Rows> {
        let rows = DenseRows::from_values(features.len(), features)?;
        let mut frame = Frame::of_block(Block::new(Rows::Dense(rows), Vec::new())?, FEATURES);
        self.stages.iter().try_for_each(|stage| stage.transform(&mut frame))?;
        frame.vectors(FEATURES).cloned()
    }

    #[inline]
    fn predict(&self, features: &[f64]) -> std::result::Result<Prediction, String> {
        if self.stages.is_empty() {
            return self.predict_row(Row::Dense(features));
        }
        let rows = self.prepare(features.to_vec()).map_err(|e| e.to_string())?;
        if rows.is_empty() {
            return Err("0 features".into());
        }
        self.predict_row(rows.row(0))
    }

    #[inline]
    fn predict_row(&self, row: Row<'_>) -> std::result::Result<Prediction, String> {
        row.fault(self.model.width()).map_or_else(|| Ok(self.model.predict(row)), Err)
    }
}

impl<T: Data, F: Fn(&T, &mut Vec<f64>)> Server<T, F> {
    fn current(&mut self) -> &(u64, Option<Servable>) {
        let Self { models, name, current, .. } = self;
        current.get_or_insert_with(|| {
            models.with(|models: &BTreeMap<(String, u64), ModelFile>| {
                let versions = models.range((name.clone(), 0)..=(name.clone(), u64::MAX));
                versions
                    .rev()
                    .find_map(|((_, version), file)| Some((*version, Some(Servable::of(file).ok()?))))
                    .unwrap_or((0, None))
            })
        })
    }

    fn predict(&mut self, record: &T) -> (u64, std::result::Result<Prediction, String>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        (self.features)(record, &mut buffer);
        let (version, servable) = self.current();
        let answer = match servable {
            None => Err("there is no model of this name".to_owned()),
            Some(servable) => servable.predict(&buffer),
        };
        let version = *version;
        self.buffer = buffer;
        (version, answer)
    }
}

impl<T: Data, F: Fn(&T, &mut Vec<f64>) + 'static> BroadcastProcessFunction<T, ModelCommand> for Server<T, F> {
    type Output = Answer<T>;

    fn process(&mut self, record: T, context: &mut ProcessContext<'_, Answer<T>>) -> Result<()> {
        let (version, answer) = self.predict(&record);
        let time = context.processing_time();
        if let Err(reason) = &answer {
            context.side(&self.refused, RefusedRequest { record: record.clone(), reason: reason.clone() });
        }
        context.emit(Answer { record, prediction: answer.ok(), model: self.name.clone(), version, time });
        Ok(())
    }

    fn process_broadcast(&mut self, command: ModelCommand, context: &mut BroadcastContext<'_, Answer<T>>) -> Result<()> {
        self.current = None;
        match command {
            ModelCommand::Put { name, version, file } => match Servable::of(&file) {
                Ok(_) => {
                    context.write(&self.models).insert((name, version), file);
                }
                Err(error) => context.side(&self.refused_commands, format!("model `{name}`, version {version}: {error}")),
            },
            ModelCommand::Delete { name, version } => {
                let place = (name, version);
                if context.write(&self.models).remove(&place).is_none() {
                    let (name, _) = place;
                    context.side(&self.refused_commands, format!("model `{name}` has no version {version}"));
                }
            }
        }
        Ok(())
    }
}
