//! What is in a checkpoint, for its owner.

use super::manifest::{Kind, Manifest, folder_of};
use super::place::{Place, join};
use super::retention::checkpoints;
use super::state_file::{StateFile, verify};
use super::stats::CheckpointReport;
use crate::{Error, Result, StateSection};
use serde::Serialize;
use std::sync::Arc;

/// A checkpoint or savepoint.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointInfo {
    /// Where it is.
    pub path: String,
    /// The job that it is of.
    pub job: String,
    /// Whether the job had ended.
    pub last: bool,
    /// Workers of the job.
    pub workers: u32,
    /// Number, times, sizes.
    pub report: CheckpointReport,
    /// By uid.
    pub operators: Vec<OperatorInfo>,
    /// What is wrong with it, if something is: then there may be no operators.
    pub damage: Option<String>,
}

/// An operator in a checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorInfo {
    /// Its stable id.
    pub uid: String,
    /// Its name.
    pub name: String,
    /// The earliest event time that an instance had announced, milliseconds UTC.
    pub watermark: Option<i64>,
    /// Instances that had ended.
    pub ended: usize,
    /// Its states.
    pub states: Vec<StateInfo>,
}

/// A state of an operator.
#[derive(Clone, Debug, Serialize)]
pub struct StateInfo {
    /// Its name.
    pub name: String,
    /// Schema of its records, as JSON.
    pub schema: String,
    /// What its keys are, as JSON; empty where it has none, or where nobody said.
    pub keys: String,
    /// Sections that it is stored in: one a key group, or an instance.
    pub sections: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl CheckpointInfo {
    fn of(place: &dyn Place, folder: &str, manifest: &Manifest) -> Self {
        let state = |(name, state): (&String, &super::manifest::StateEntry)| StateInfo {
            name: name.clone(),
            schema: state.schema.clone(),
            keys: state.keys.clone(),
            sections: state.sections,
            bytes: state.bytes,
        };
        let operator = |(uid, operator): (&String, &super::manifest::OperatorEntry)| OperatorInfo {
            uid: uid.clone(),
            name: operator.name.clone(),
            watermark: operator.watermark,
            ended: operator.ended.len(),
            states: operator.states.iter().map(state).collect(),
        };
        Self {
            path: place.shown(folder).display().to_string(),
            job: manifest.job.clone(),
            last: manifest.last,
            workers: manifest.workers,
            report: CheckpointReport::of(manifest),
            operators: manifest.operators.iter().map(operator).collect(),
            damage: None,
        }
    }

    /// The checkpoints of a job, oldest first. A damaged one is among them, with what is wrong with it.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(at: &str) -> Result<Vec<Self>> {
        let place = super::place::parse(at)?;
        let info = |id: u64| {
            let folder = folder_of(id);
            match Manifest::read(&*place, &folder) {
                Ok(manifest) => {
                    let check = |entry: &super::state_file::FileEntry| verify(&*place, &join(&folder, &entry.path), entry);
                    let damage = manifest.files.iter().try_for_each(check).err();
                    Self { damage: damage.map(|error| error.to_string()), ..Self::of(&*place, &folder, &manifest) }
                }
                Err(error) => Self {
                    path: place.shown(&folder).display().to_string(),
                    job: String::new(),
                    last: false,
                    workers: 0,
                    report: CheckpointReport { id, ..CheckpointReport::default() },
                    operators: Vec::new(),
                    damage: Some(error.to_string()),
                },
            }
        };
        Ok(checkpoints(&*place)?.into_iter().map(info).collect())
    }
}

/// The state in a checkpoint or savepoint, open for reading.
pub struct StoredState {
    place: Arc<dyn Place>,
    folder: String,
    manifest: Manifest,
}

impl StoredState {
    /// Opens a checkpoint, a savepoint, or the last checkpoint of a job's folder.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open(at: &str) -> Result<Self> {
        let place = super::place::parse(at)?;
        let folder = match checkpoints(&*place)?.last() {
            Some(id) => folder_of(*id),
            None => String::new(),
        };
        let manifest = Manifest::read(&*place, &folder)?;
        Ok(Self { place, folder, manifest })
    }

    /// What is in it.
    pub fn info(&self) -> CheckpointInfo {
        CheckpointInfo::of(&*self.place, &self.folder, &self.manifest)
    }

    /// Hands the sections of a state to `each`, one at a time; `operator` is a uid or a name, and need not be given where one
    /// operator alone has a state of this name.
    ///
    /// # Errors
    /// There is no such state, or several; a damaged section; what `each` says.
    pub fn read(&self, operator: Option<&str>, state: &str, mut each: impl FnMut(StateSection) -> Result<()>) -> Result<()> {
        let uid = self.find(operator, state)?;
        for entry in &self.manifest.files {
            let file = StateFile::open(&*self.place, join(&self.folder, &entry.path))?;
            for stored in &file.index.sections {
                if file.text(stored.operator) == uid && file.text(stored.state) == state {
                    each(file.read(&*self.place, stored)?)?;
                }
            }
        }
        Ok(())
    }

    /// The uid of the operator that has a state.
    fn find(&self, operator: Option<&str>, state: &str) -> Result<&str> {
        let has = |(uid, o): &(&String, &super::manifest::OperatorEntry)| {
            o.states.contains_key(state) && operator.is_none_or(|wanted| wanted == uid.as_str() || wanted == o.name)
        };
        let found: Vec<_> = self.manifest.operators.iter().filter(has).collect();
        match found.as_slice() {
            [(uid, _)] => Ok(uid),
            [] => {
                let all: Vec<String> = self
                    .manifest
                    .operators
                    .values()
                    .flat_map(|o| o.states.keys().map(|state| format!("`{state}` of `{}`", o.name)))
                    .collect();
                let of = operator.map(|o| format!(" of operator `{o}`")).unwrap_or_default();
                Err(Error::Plan(format!("no state `{state}`{of}; there is {}", all.join(", "))))
            }
            several => {
                let names: Vec<String> = several.iter().map(|(uid, o)| format!("`{}` (uid {uid})", o.name)).collect();
                Err(Error::Plan(format!("several operators have a state `{state}`: {}; say which", names.join(", "))))
            }
        }
    }

    /// Whether it is a savepoint.
    pub fn is_savepoint(&self) -> bool {
        self.manifest.kind == Kind::Savepoint
    }
}
