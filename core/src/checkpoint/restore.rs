//! What a job begins with: which checkpoint, and which of its state belongs to which instance.

use super::manifest::{Manifest, OperatorEntry, checkpoint_of, folder_of};
use super::place::{Place, join};
use super::retention::checkpoints;
use super::settings::{Checkpoints, RestoreFrom};
use super::state_file::{StateFile, check_length, verify};
use super::store::NodeIdentity;
use crate::runtime::RestoredInstance;
use crate::{Error, OperatorContext, Restored, Result};
use std::sync::Arc;

/// A checkpoint that a job begins with.
pub(crate) struct RestorePoint {
    place: Arc<dyn Place>,
    folder: String,
    pub(crate) manifest: Manifest,
    files: Vec<StateFile>,
}

impl RestorePoint {
    /// What the settings say, of the job's folder.
    ///
    /// # Errors
    /// There is none where there must be one, or one where there must not be; all are damaged; it is of another job or has
    /// state of operators that this one has not.
    pub(crate) fn choose(
        settings: &Checkpoints,
        again: bool,
        place: &Arc<dyn Place>,
        job: &str,
        nodes: &[NodeIdentity],
    ) -> Result<Option<Self>> {
        let existing = checkpoints(&**place)?;
        let from = if again && !existing.is_empty() { &RestoreFrom::Latest } else { settings.restores_from() };
        let point = match from {
            RestoreFrom::Nothing => {
                if let Some(last) = existing.last() {
                    let shown = place.shown(&folder_of(*last));
                    return Err(Error::Checkpoint(format!(
                        "{} is there from an earlier run: continue from it (`latest`), or give the job a folder of its own",
                        shown.display()
                    )));
                }
                None
            }
            RestoreFrom::Latest | RestoreFrom::LatestIfAny => {
                let point = Self::latest(settings, place, &existing)?;
                if point.is_none() && *from == RestoreFrom::Latest {
                    let shown = place.shown("");
                    return Err(Error::Checkpoint(format!("{}: no complete checkpoint to begin with", shown.display())));
                }
                point
            }
            RestoreFrom::At(at) => Some(Self::at(at, place, &existing)?),
        };
        if let Some(point) = &point {
            point.check(settings, job, nodes)?;
        }
        Ok(point)
    }

    /// The last one that is whole.
    fn latest(settings: &Checkpoints, place: &Arc<dyn Place>, existing: &[u64]) -> Result<Option<Self>> {
        let mut damage = None;
        for id in existing.iter().rev() {
            match Self::open(place, folder_of(*id)) {
                Ok(point) => return Ok(Some(point)),
                Err(error) if settings.stops_at_damage() => return Err(error),
                Err(error) => {
                    tracing::warn!(checkpoint = id, %error, "a damaged checkpoint is passed over for the one before it");
                    damage.get_or_insert(error);
                }
            }
        }
        // To begin with nothing would lose what they had.
        damage.map_or(Ok(None), Err)
    }

    /// One that was named: of the job's own, or elsewhere.
    fn at(at: &str, place: &Arc<dyn Place>, existing: &[u64]) -> Result<Self> {
        let own = existing.iter().find(|id| same_folder(&**place, &folder_of(**id), at));
        let point = match own {
            Some(id) => Self::open(place, folder_of(*id))?,
            None => Self::open(&super::place::parse(at)?, String::new())?,
        };
        if let Some(last) = existing.last().filter(|last| own != Some(last)) {
            let shown = place.shown(&folder_of(*last));
            return Err(Error::Checkpoint(format!(
                "{} would be taken for the job's last one at its next start: remove what is newer than {at}, or give the job \
                 another folder",
                shown.display()
            )));
        }
        Ok(point)
    }

    /// Reads the manifest in a folder, and looks whether everything that it names is there and whole.
    ///
    /// # Errors
    /// With the file's name and what is wrong with it.
    pub(crate) fn open(place: &Arc<dyn Place>, folder: String) -> Result<Self> {
        let manifest = Manifest::read(&**place, &folder)?;
        let mut files = Vec::new();
        for entry in &manifest.files {
            let path = join(&folder, &entry.path);
            // Over a network the sections are checked when they are read.
            if place.folder().is_some() {
                verify(&**place, &path, entry)?
            } else {
                check_length(&**place, &path, entry)?
            }
            files.push(StateFile::open(&**place, path)?);
        }
        Ok(Self { place: place.clone(), folder, manifest, files })
    }

    /// Whether this job can begin with it.
    fn check(&self, settings: &Checkpoints, job: &str, nodes: &[NodeIdentity]) -> Result<()> {
        let shown = self.place.shown(&self.folder);
        let wrong = |message: String| Err(Error::Checkpoint(format!("{}: {message}", shown.display())));
        if self.manifest.job != job {
            return wrong(format!("is of job `{}`, this one is `{job}`", self.manifest.job));
        }
        if self.manifest.key_groups != fluvial_memory::hash::KEY_GROUPS {
            let (there, here) = (self.manifest.key_groups, fluvial_memory::hash::KEY_GROUPS);
            return wrong(format!("has {there} key groups, this version has {here}"));
        }
        if settings.allows_removed_state() {
            return Ok(());
        }
        let lost = |(uid, operator): &(&String, &OperatorEntry)| {
            operator.states.values().any(|state| state.bytes > 0) && !nodes.iter().any(|node| node.uid == **uid)
        };
        let lost: Vec<String> = self.manifest.operators.iter().filter(lost).map(|(uid, o)| described(uid, o)).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let unnamed: Vec<&str> = nodes.iter().filter(|node| !node.named).map(|node| node.name.as_str()).collect();
        let hint = if unnamed.is_empty() {
            String::new()
        } else {
            format!(" (operators without a uid of their own are found again only in the same graph: {})", unnamed.join(", "))
        };
        wrong(format!(
            "has state of {}, which the job does not have: allow removed state to leave it behind{hint}",
            lost.join(" and of ")
        ))
    }

    /// What an instance of a node begins with.
    ///
    /// # Errors
    /// A section that is damaged.
    pub(crate) fn load(&self, node: &NodeIdentity, context: &OperatorContext) -> Result<Option<RestoredInstance>> {
        let Some(operator) = self.manifest.operators.get(&node.uid) else { return Ok(None) };
        let owned = context.key_groups();
        let mut sections = Vec::new();
        for file in &self.files {
            let mine = |section: &&super::state_file::Stored| {
                section.key_group().is_none_or(|group| owned.contains(&group)) && file.text(section.operator) == node.uid
            };
            for stored in file.index.sections.iter().filter(mine) {
                sections.push(file.read(&*self.place, stored)?);
            }
        }
        let workers = self.manifest.workers as usize;
        let all = operator.ended.len() == workers;
        let ended = all || (workers == context.workers && operator.ended.contains(&(context.worker as u32)));
        let watermark = operator.watermark.unwrap_or(i64::MIN);
        Ok(Some(RestoredInstance { state: Restored { epoch: self.manifest.id, sections }, watermark, ended }))
    }
}

fn described(uid: &str, operator: &OperatorEntry) -> String {
    let states: Vec<String> = operator.states.keys().map(|state| format!("`{state}`")).collect();
    format!("operator `{}` (uid {uid}: {})", operator.name, states.join(", "))
}

/// Whether a text means this folder of a place: its path, or its name alone.
fn same_folder(place: &dyn Place, folder: &str, text: &str) -> bool {
    let named = checkpoint_of(text).is_some() && text.trim_end_matches('/') == folder;
    let shown = place.shown(folder);
    let same = || Some(std::fs::canonicalize(&shown).ok()? == std::fs::canonicalize(text).ok()?);
    named || (place.folder().is_some() && same().unwrap_or(false)) || shown.as_os_str() == text.trim_end_matches('/')
}
