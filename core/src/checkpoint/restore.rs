//! What a job begins with: which checkpoint, and which of its state belongs to which instance.

use super::manifest::{Manifest, OperatorEntry, checkpoint_of, folder_of};
use super::place::{Place, join};
use super::retention::checkpoints;
use super::settings::{Checkpoints, RestoreFrom};
use super::state_file::{SectionKind, StateFile, check_length, verify};
use super::store::NodeIdentity;
use crate::runtime::RestoredInstance;
use crate::state::disk::Run;
use crate::state::{StoredSection, section::resolve};
use crate::{Error, OperatorContext, Restored, Result, StateSection};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// A checkpoint that a job begins with.
pub(crate) struct RestorePoint {
    place: Arc<dyn Place>,
    folder: String,
    pub(crate) manifest: Manifest,
    files: Vec<StateFile>,
    /// The files as runs of state on disk, as far as somebody has asked for them.
    runs: Vec<OnceLock<Arc<Run>>>,
    /// Whether it is one of the job's own.
    own: bool,
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
            None => {
                let (place, folder) = super::place::locate(at)?;
                Self { own: false, ..Self::open(&place, folder)? }
            }
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
        let runs = files.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { place: place.clone(), folder, manifest, files, runs, own: true })
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

    /// A file as a run of state on disk.
    fn run(&self, number: usize) -> Result<Arc<Run>> {
        if let Some(run) = self.runs[number].get() {
            return Ok(run.clone());
        }
        let (file, entry) = (&self.files[number], &self.manifest.files[number]);
        let linked = self.own.then(|| file.path.clone());
        let run = Arc::new(Run::adopt(self.place.shown(&file.path), file, entry.bytes, &entry.checksum, linked)?);
        // Another instance may have come first.
        Ok(self.runs[number].get_or_init(|| run).clone())
    }

    /// What an instance of a node begins with. State that it keeps on disk is given as files, where there are files.
    ///
    /// # Errors
    /// A section that is damaged.
    pub(crate) fn load(
        &self,
        nodes: &[NodeIdentity],
        context: &OperatorContext,
        keeps: impl Fn(&str) -> bool,
    ) -> Result<Option<RestoredInstance>> {
        let node = &nodes[context.node];
        let Some(operator) = self.manifest.operators.get(&node.uid) else { return Ok(None) };
        let owned = context.key_groups();
        let mut sections = Vec::new();
        // What has to be put together first, by state.
        let mut names: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let in_files = self.place.folder().is_some();
        for (number, file) in self.files.iter().enumerate() {
            let mine = |section: &&super::state_file::Stored| {
                section.key_group().is_none_or(|group| owned.contains(&group)) && file.text(section.operator) == node.uid
            };
            for (place, stored) in file.index.sections.iter().enumerate().filter(|(_, stored)| mine(stored)) {
                if stored.key_group().is_some() && in_files && keeps(file.text(stored.state)) {
                    let run = StoredSection::new(self.run(number)?, place);
                    sections.push(StateSection { stored: Some(run), ..file.head(stored) });
                } else if stored.kind() == SectionKind::Whole {
                    sections.push(file.read(&*self.place, stored)?);
                } else {
                    let section = file.read(&*self.place, stored)?;
                    let state = names.entry(section.name.clone()).or_default();
                    state.push((stored.sequence, stored.kind(), section));
                }
            }
        }
        for (_, parts) in names {
            sections.extend(resolve(parts)?);
        }
        let watermark = operator.watermark.unwrap_or(i64::MIN);
        let ended = self.has_ended(nodes, context);
        Ok(Some(RestoredInstance { state: Restored { epoch: self.manifest.id, sections }, watermark, ended }))
    }

    /// Whether an instance has nothing to do any more: it had ended, and nothing comes to it from others. Where some instances of
    /// a source had ended, what is left is divided anew over all of them, so none has ended, nor have those behind them.
    fn has_ended(&self, nodes: &[NodeIdentity], context: &OperatorContext) -> bool {
        let workers = self.manifest.workers as usize;
        let operator = |node: usize| self.manifest.operators.get(&nodes[node].uid);
        let all = |node: usize| operator(node).is_some_and(|operator| operator.ended.len() == workers);
        let itself = || operator(context.node).is_some_and(|operator| operator.ended.contains(&(context.worker as u32)));
        let inputs = &nodes[context.node].inputs;
        all(context.node)
            || (workers == context.workers && itself() && !inputs.is_empty() && inputs.iter().all(|input| all(*input)))
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
