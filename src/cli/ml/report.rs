use fluvial_core::{Error, Result};
use fluvial_ml::{
    Confusion, Frame, Labels, LinearTask, Model, Pipeline, RegressionSums, log_loss, roc_auc, silhouette, sum_of_squared_errors,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// Figures by name.
#[derive(Clone, Debug, Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub fn new() -> Self {
        Self::default()
    }
}

impl Deref for Figures {
    type Target = BTreeMap<String, f64>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Figures {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Counts are whole numbers in JSON too.
const COUNT: &str = "records";

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in &self.0 {
            match name.as_str() {
                COUNT => map.serialize_entry(name, &(*value as u64))?,
                _ => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

/// Rows of which a silhouette is computed: it compares all pairs.
const SILHOUETTE_ROWS: usize = 2000;

/// How good a model is on these parts.
pub fn judge(pipeline: &Pipeline, parts: &[Frame]) -> Result<Figures> {
    let labels = match (&pipeline.schema.label, pipeline.schema.classes.as_slice()) {
        (Some(label), []) => Some((label.as_str(), Labels::Numbers)),
        (Some(label), classes) => Some((label.as_str(), Labels::Classes(classes.to_vec()))),
        (None, _) => None,
    };
    let (mut truths, mut values, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    let mut clusters = Vec::new();
    let (mut sse, mut sample) = (0.0, None);
    for part in parts {
        let known = labels.as_ref().map(|(column, labels)| labels.read(part, column)).transpose()?;
        let mut prepared = part.clone();
        let predictions = pipeline.predict(&mut prepared)?;
        if let Model::KMeans(model) = pipeline.model() {
            let rows = prepared.vectors(fluvial_ml::FEATURES)?;
            let whole: Vec<usize> = (0..rows.len()).filter(|i| predictions[*i].is_ok()).collect();
            let assigned: Vec<usize> = predictions.iter().flatten().map(|p| p.value as usize).collect();
            let rows = rows.pick(&whole);
            sse += sum_of_squared_errors(&rows, &assigned, model.centres())?;
            let few: Vec<usize> = (0..rows.len().min(SILHOUETTE_ROWS)).collect();
            sample.get_or_insert_with(|| (rows.pick(&few), assigned[..few.len()].to_vec()));
            clusters.extend(assigned);
        }
        for (i, prediction) in predictions.iter().enumerate() {
            let (Ok(prediction), Some(truth)) = (prediction, known.as_ref().map(|k| k[i])) else { continue };
            if truth.is_finite() {
                truths.push(truth);
                values.push(prediction.value);
                scores.push(prediction.score);
            }
        }
    }
    let mut figures = Figures::new();
    let mut put = |name: &str, value: f64| {
        figures.insert(name.to_owned(), value);
    };
    match pipeline.model() {
        Model::KMeans(_) => {
            put("records", clusters.len() as f64);
            put("sse", sse);
            if let Some((rows, assigned)) = sample
                && let Ok(mean) = silhouette(&rows, &assigned)
            {
                put("silhouette", mean);
            }
        }
        Model::Linear(model) if model.task == LinearTask::Number => {
            let mut sums = RegressionSums::default();
            truths.iter().zip(&values).for_each(|(t, v)| sums.add(*t, *v));
            put("records", truths.len() as f64);
            put("rmse", sums.rmse());
            put("mae", sums.mae());
            put("r2", sums.r2());
        }
        model => {
            let mut counts = Confusion::new(2);
            truths.iter().zip(&values).for_each(|(t, v)| counts.add(usize::from(*t > 0.0), usize::from(*v > 0.0)));
            put("records", truths.len() as f64);
            put("accuracy", counts.accuracy());
            put("kappa", counts.kappa());
            put("precision", counts.precision(1));
            put("recall", counts.recall(1));
            put("f1", counts.f1(1));
            if let Ok(area) = roc_auc(&truths, &scores) {
                put("roc_auc", area);
            }
            if let Model::Linear(model) = model
                && model.task == LinearTask::Logistic
                && let Ok(loss) = log_loss(&truths, &scores)
            {
                put("log_loss", loss);
            }
        }
    }
    figures.retain(|_, value| value.is_finite());
    Ok(figures)
}

/// Writes a report as JSON: complete, or not at all.
pub fn write(path: &Path, report: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(report).map_err(|e| failed(path, e))?;
    write_whole(path, (json + "\n").as_bytes())
}

/// Writes a file that appears under its name when it is complete.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(path, e))?;
    file.write_all(content).map_err(|e| failed(path, e))?;
    file.persist(path).map_err(|e| failed(path, e.error)).map(drop)
}

fn failed(path: &Path, message: impl ToString) -> Error {
    Error::File { path: path.to_owned(), message: message.to_string() }
}

/// Figures on one line.
pub fn line(figures: &BTreeMap<String, f64>) -> String {
    figures.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect::<Vec<_>>().join(", ")
}

fn short(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value}")
    } else if (1e-3..1e6).contains(&value.abs()) {
        format!("{value:.4}")
    } else {
        format!("{value:.4e}")
    }
}
