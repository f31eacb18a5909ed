//! Which checkpoints there are, and which are removed.

use super::manifest::{MANIFEST, Manifest, checkpoint_of, folder_of};
use super::place::{Place, join};
use crate::Result;
use std::collections::{BTreeMap, BTreeSet};

/// The numbers of the checkpoints in a place that have a manifest, in order.
pub(crate) fn checkpoints(place: &dyn Place) -> Result<Vec<u64>> {
    let manifest = |path: &String| {
        let id = checkpoint_of(path)?;
        (*path == join(&folder_of(id), MANIFEST)).then_some(id)
    };
    let mut ids: Vec<u64> = place.list("")?.iter().filter_map(manifest).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// The complete checkpoints of a job, and the files that they consist of.
pub(super) struct Retention {
    keep: usize,
    complete: BTreeMap<u64, BTreeSet<String>>,
}

impl Retention {
    /// With those that are there. One that cannot be read keeps nothing.
    pub(super) fn new(place: &dyn Place, keep: usize) -> Result<Self> {
        let mut retention = Self { keep, complete: BTreeMap::new() };
        for id in checkpoints(place)? {
            let files = Manifest::read(place, &folder_of(id)).map(|manifest| files(&manifest)).unwrap_or_default();
            retention.complete.insert(id, files);
        }
        Ok(retention)
    }

    pub(super) fn completed(&mut self, manifest: &Manifest) {
        self.complete.insert(manifest.id, files(manifest));
    }

    /// Removes checkpoints beyond those that are kept, and all files up to the last one that no kept one consists of:
    /// what is left of attempts that failed among them.
    ///
    /// The manifest goes first, so that there is never one whose files are gone.
    pub(super) fn sweep(&mut self, place: &dyn Place) -> Result<()> {
        while self.complete.len() > self.keep {
            let Some((id, _)) = self.complete.pop_first() else { break };
            place.remove(&join(&folder_of(id), MANIFEST))?;
        }
        let Some((&last, _)) = self.complete.last_key_value() else { return Ok(()) };
        for path in place.list("")? {
            let Some(id) = checkpoint_of(&path) else { continue };
            let kept = self.complete.contains_key(&id) && path.ends_with(MANIFEST);
            if id <= last && !kept && !self.complete.values().any(|files| files.contains(&path)) {
                place.remove(&path)?;
            }
        }
        Ok(())
    }
}

fn files(manifest: &Manifest) -> BTreeSet<String> {
    let folder = folder_of(manifest.id);
    manifest.files.iter().map(|file| join(&folder, &file.path)).collect()
}
