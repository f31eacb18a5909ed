//! What is in a checkpoint, for its owner.

use super::manifest::{Kind, Manifest, folder_of};
use super::place::{Place, join};
use super::retention::checkpoints;
use super::state_file::{FileEntry, SectionKind, StateFile, Stored, verify};
use super::stats::CheckpointReport;
use crate::state::section::{self, resolve};
use crate::{Error, Result, StateSection};
use fluvial_memory::{KeySchema, Schema};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
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
                    let check = |entry: &FileEntry| verify(&*place, &join(&folder, &entry.path), entry);
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

/// An entry of a state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateValue {
    /// The key group; `None` for state of an instance.
    pub key_group: Option<u16>,
    /// The key; null for state of an instance, and bytes where nobody said what they are.
    pub key: Value,
    /// The value.
    pub value: Value,
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
        let (place, mut folder) = super::place::locate(at)?;
        if folder.is_empty()
            && let Some(id) = checkpoints(&*place)?.last()
        {
            folder = folder_of(*id);
        }
        let manifest = Manifest::read(&*place, &folder)?;
        Ok(Self { place, folder, manifest })
    }

    /// What is in it.
    pub fn info(&self) -> CheckpointInfo {
        CheckpointInfo::of(&*self.place, &self.folder, &self.manifest)
    }

    /// Hands the sections of a state to `each`, one at a time, each with what its changes come to; `operator` is a uid or a name, and need not be given where one
    /// operator alone has a state of this name.
    ///
    /// # Errors
    /// There is no such state, or several; a damaged section; what `each` says.
    pub fn read(&self, operator: Option<&str>, state: &str, mut each: impl FnMut(StateSection) -> Result<()>) -> Result<()> {
        let uid = self.find(operator, state)?;
        let open = |entry: &FileEntry| StateFile::open(&*self.place, join(&self.folder, &entry.path));
        let files = self.manifest.files.iter().map(open).collect::<Result<Vec<_>>>()?;
        let mut by_group: BTreeMap<Option<u16>, Vec<(&StateFile, &Stored)>> = BTreeMap::new();
        for file in &files {
            let wanted = |s: &&Stored| file.text(s.operator) == uid && file.text(s.state) == state;
            for stored in file.index.sections.iter().filter(wanted) {
                by_group.entry(stored.key_group()).or_default().push((file, stored));
            }
        }
        for stored in by_group.into_values() {
            if stored.iter().all(|(_, stored)| stored.kind() != SectionKind::Changes) {
                stored.into_iter().try_for_each(|(file, stored)| each(file.read(&*self.place, stored)?))?;
                continue;
            }
            let read =
                |(file, stored): (&StateFile, &Stored)| Ok((stored.sequence, stored.kind(), file.read(&*self.place, stored)?));
            resolve(stored.into_iter().map(read).collect::<Result<_>>()?)?.into_iter().try_for_each(&mut each)?;
        }
        Ok(())
    }

    /// Hands the entries of a state to `each`, of all keys or of the one whose text is `key` (`fluvial state --key`). Values are
    /// read by the schema that is stored with them: the program that wrote them is not needed.
    ///
    /// # Errors
    /// As [`StoredState::read`]; a key that cannot be one of the state's; values whose type could not be described.
    pub fn values(
        &self,
        operator: Option<&str>,
        state: &str,
        key: Option<&str>,
        mut each: impl FnMut(StateValue) -> Result<()>,
    ) -> Result<()> {
        let of_state = |error: fluvial_memory::Error| Error::Plan(format!("state `{state}`: {error}"));
        let mut wanted: Option<Vec<u8>> = None;
        self.read(operator, state, |section| {
            let keys = (!section.keys.is_empty()).then(|| KeySchema::from_json(&section.keys)).transpose().map_err(of_state)?;
            if let (Some(text), None) = (key, &wanted) {
                let no_keys = || Error::Plan(format!("state `{state}` has no keys, so none is `{text}`"));
                wanted = Some(keys.as_ref().ok_or_else(no_keys)?.encode_text(text).map_err(of_state)?);
            }
            let reader = Schema::from_json(&section.schema).and_then(|schema| schema.reader()).map_err(of_state)?;
            if section.key_group.is_none()
                && let Ok(value) = reader.read::<Value>(&section.bytes)
            {
                // The state of an instance may be one record.
                return each(StateValue { key_group: None, key: Value::Null, value });
            }
            for entry in section::entries(&section) {
                let (found, value) = entry?;
                if wanted.as_ref().is_some_and(|wanted| wanted != found) {
                    continue;
                }
                let key = match &keys {
                    Some(keys) => keys.to_value(found).map_err(of_state)?,
                    None if found.is_empty() => Value::Null,
                    None => Value::from(found),
                };
                let value = reader.read(value).map_err(of_state)?;
                each(StateValue { key_group: section.key_group, key, value })?;
            }
            Ok(())
        })
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
