//! Runs of state on disk as parts of checkpoints.

use super::manifest::{Contribution, folder_of};
use super::place::{Place, join};
use super::state_file::{FileEntry, SectionKind};
use crate::state::StoredSection;
use crate::state::disk::{Run, loaded};
use crate::state::section::resolve;
use crate::{Result, StateSection};
use std::collections::HashMap;
use std::sync::Arc;

/// The runs that one checkpoint of one process consists of.
///
/// A run gets one name in the place of checkpoints, in the folder of the first checkpoint that it is part of, and keeps it: all
/// later ones refer to it there. So it stays as long as one is kept that has it.
pub(super) struct LinkedRuns {
    prefix: String,
    epoch: u64,
    folder: String,
    /// By where they lie in memory. They are kept: a run that were let go of might leave its place to another one of the same
    /// checkpoint, which would be taken for it and be missing.
    seen: HashMap<usize, Arc<Run>>,
    named: usize,
    /// Whether there are links that are not safe yet.
    open: bool,
}

impl LinkedRuns {
    pub(super) fn new(prefix: String, epoch: u64) -> Self {
        Self { prefix, epoch, folder: folder_of(epoch), seen: HashMap::new(), named: 0, open: false }
    }

    /// Has the run of a section among the files that are said to be part of the checkpoint.
    pub(super) fn link(
        &mut self,
        stored: &StoredSection,
        place: &dyn Place,
        folder: &str,
        said: &mut Contribution,
    ) -> Result<()> {
        let run = &stored.run;
        if self.seen.insert(Arc::as_ptr(run) as usize, run.clone()).is_some() {
            return Ok(());
        }
        debug_assert!(folder.is_empty() || folder == self.folder);
        self.named += 1;
        let name = format!("{}-{}-{}.run", self.prefix, self.epoch, self.named);
        let (path, new) = run.link(place, &join(&self.folder, &name))?;
        if new {
            self.open = true;
            said.cost.new_bytes += run.bytes;
        }
        // Seen from the folder of any checkpoint.
        said.files.push(FileEntry { path: format!("../{path}"), bytes: run.bytes, checksum: run.checksum.clone() });
        Ok(())
    }

    /// All of them are safe when this returns.
    pub(super) fn settle(&mut self, place: &dyn Place) -> Result<()> {
        if std::mem::take(&mut self.open) { place.settle(&self.folder) } else { Ok(()) }
    }
}

/// Puts the sections of a state, which come by key group, together to whole ones: no more than a key group is in memory.
#[derive(Default)]
pub(super) struct Whole {
    group: Vec<(u64, SectionKind, StateSection)>,
}

impl Whole {
    pub(super) fn take(&mut self, section: StateSection, each: &mut dyn FnMut(StateSection) -> Result<()>) -> Result<()> {
        if self.group.first().is_some_and(|(.., first)| first.name != section.name || first.key_group != section.key_group) {
            self.end(each)?;
        }
        self.group.push(loaded(section)?);
        Ok(())
    }

    pub(super) fn end(&mut self, each: &mut dyn FnMut(StateSection) -> Result<()>) -> Result<()> {
        resolve(std::mem::take(&mut self.group))?.into_iter().try_for_each(each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_gone_is_not_taken_for_a_later_one() {
        let folder = tempfile::tempdir().unwrap();
        let (checkpoints, live) = (folder.path().join("checkpoints"), folder.path().join("live"));
        std::fs::create_dir(&live).unwrap();
        let place = super::super::place::parse(checkpoints.to_str().unwrap()).unwrap();
        let mut linked = LinkedRuns::new("p0".into(), 1);
        let mut said = Contribution::default();
        for number in 0..100 {
            let stored = StoredSection::new(Run::of_nothing(&live.join(format!("{number}.run"))), 0);
            for _ in 0..2 {
                linked.link(&stored, &*place, "", &mut said).unwrap();
            }
        }
        assert_eq!(said.files.len(), 100);
    }
}
