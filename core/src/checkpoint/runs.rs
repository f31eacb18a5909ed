//! Runs of state on disk as parts of checkpoints.

use super::manifest::{Contribution, folder_of};
use super::place::{Place, join};
use super::state_file::{FileEntry, SectionKind};
use crate::state::StoredSection;
use crate::state::disk::loaded;
use crate::state::section::resolve;
use crate::{Result, StateSection};
use std::collections::HashSet;
use std::sync::Arc;

/// The runs that one checkpoint of one process consists of.
///
/// A run gets one name in the place of checkpoints, in the folder of the first checkpoint that it is part of, and keeps it: all
/// later ones refer to it there. So it stays as long as one is kept that has it.
pub(super) struct LinkedRuns {
    prefix: String,
    epoch: u64,
    folder: String,
    seen: HashSet<usize>,
    named: usize,
    /// Whether there are links that are not safe yet.
    open: bool,
}

impl LinkedRuns {
    pub(super) fn new(prefix: String, epoch: u64) -> Self {
        Self { prefix, epoch, folder: folder_of(epoch), seen: HashSet::new(), named: 0, open: false }
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
        if !self.seen.insert(Arc::as_ptr(run) as usize) {
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
