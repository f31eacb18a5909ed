//! What a run has left behind: each worker notes which files it begins, so that whoever continues from a checkpoint can remove
//! those that a killed process has left and that no checkpoint names. How long the journal was is part of a checkpoint: whoever
//! goes back to one that is not the last also removes what became visible after it, since that is written once more.
//!
//! A journal is a hidden file in the sink's folder, `.sink-<lineage>-<run>.journal`, locked as long as its process lives. The
//! lineage is what a run has in common with those that continue from its checkpoints: it is part of their state. So nothing
//! is removed of a sink that runs, or of another job.

use super::part::PendingPart;
use crate::Result;
use crate::io::file_error;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What runs that continue from each other have in common.
pub(super) type Lineage = u64;

/// A number that nobody else has.
pub(super) fn unique() -> u64 {
    // Keys of the standard library's hash maps are random.
    RandomState::new().build_hasher().finish()
}

/// The journal of one worker that runs.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    lines: u64,
}

/// How many lines journals had as of a checkpoint, by their names.
pub(super) type Lengths = BTreeMap<String, u64>;

impl Journal {
    /// Begins a journal in a sink's folder.
    pub(super) fn begin(folder: &Path, lineage: Lineage) -> Result<Self> {
        loop {
            let path = folder.join(format!("{}{:016x}{SUFFIX}", prefix(lineage), unique()));
            let begun = || -> io::Result<Option<Self>> {
                let file = OpenOptions::new().append(true).create_new(true).open(&path)?;
                file.lock()?;
                // Before it was locked somebody may have taken it for one that was left.
                let there = path.metadata().is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino()));
                Ok(there.then(|| Self { file, path: path.clone(), lines: 0 }))
            };
            if let Some(journal) = begun().map_err(|e| file_error(&path, e))? {
                return Ok(journal);
            }
        }
    }

    /// Notes that a file is about to be begun: if this is the last that is heard of the run, there may be an empty one.
    pub(super) fn intend(&mut self, part: &PendingPart) -> Result<()> {
        let mut noted = || -> io::Result<()> {
            let mut line = serde_json::to_vec(&(&part.bucket, &part.hidden))?;
            line.push(b'\n');
            self.lines += 1;
            self.file.write_all(&line)
        };
        noted().map_err(|e| file_error(&self.path, e))
    }

    /// Notes a file that was begun.
    pub(super) fn note(&mut self, part: &PendingPart, file: &File) -> Result<()> {
        let mut noted = || -> io::Result<()> {
            let mut line = serde_json::to_vec(&(file.metadata()?.ino(), &part.bucket, &part.hidden, &part.name))?;
            line.push(b'\n');
            self.lines += 1;
            self.file.write_all(&line)
        };
        noted().map_err(|e| file_error(&self.path, e))
    }

    /// Notes that all files of the instance are complete: the last checkpoint of the job may name some that are still hidden.
    pub(super) fn end(&mut self) -> Result<()> {
        self.lines += 1;
        self.file.write_all(format!("{ENDED}\n").as_bytes()).map_err(|e| file_error(&self.path, e))
    }

    /// Its name, and its lines.
    pub(super) fn length(&self) -> (String, u64) {
        (name(&self.path).to_owned(), self.lines)
    }

    /// There is nothing any more that it notes.
    pub(super) fn remove(self) {
        // What is left of it is found and removed by the next sweep.
        let _ = std::fs::remove_file(&self.path);
    }
}

const SUFFIX: &str = ".journal";

/// The line of an instance whose files are all complete.
const ENDED: &str = "\"ended\"";

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn prefix(lineage: Lineage) -> String {
    format!(".sink-{lineage:016x}-")
}

/// Removes what runs of these lineages have left in a sink's folder, apart from files that `pending` names; with `lengths`, of a
/// checkpoint, also files that were begun after it and have become visible: the journals stay then, for whoever goes back to an
/// earlier one, and their names are given, if there is something in them. Those of processes that live are left alone. May be repeated, and be done by several
/// at once.
///
/// # Errors
/// [`crate::Error::File`] for a journal or a file that cannot be read or removed.
pub(super) fn sweep(
    folder: &Path,
    lineages: &BTreeSet<Lineage>,
    pending: &[PendingPart],
    lengths: Option<&Lengths>,
) -> Result<Vec<String>> {
    let pending: HashSet<(&str, &str)> = pending.iter().map(|part| (part.bucket.as_str(), part.hidden.as_str())).collect();
    let mut kept = Vec::new();
    for path in journals(folder, lineages)? {
        let name = name(&path).to_owned();
        let covered = lengths.map(|lengths| lengths.get(&name).copied().unwrap_or(0));
        let whose = Whose { pending: &pending, covered, ended: false };
        if sweep_run(folder, &path, &whose).map_err(|e| file_error(&path, e))? && lengths.is_some() {
            kept.push(name);
        }
    }
    Ok(kept)
}

/// After the job has ended well, removes what earlier runs have left: the journals that `former` names, and others of these
/// lineages. One whose instance has ended too may be of the same run: of a process that was killed before it had given its
/// files their names. The job's last checkpoint names them.
///
/// # Errors
/// As [`sweep`].
pub(super) fn sweep_at_end(folder: &Path, lineages: &BTreeSet<Lineage>, former: &Lengths) -> Result<()> {
    for path in journals(folder, lineages)? {
        let whose = Whose { pending: &HashSet::new(), covered: None, ended: !former.contains_key(name(&path)) };
        sweep_run(folder, &path, &whose).map_err(|e| file_error(&path, e))?;
    }
    Ok(())
}

/// The journals of these lineages.
fn journals(folder: &Path, lineages: &BTreeSet<Lineage>) -> Result<Vec<PathBuf>> {
    let prefixes: Vec<String> = lineages.iter().map(|lineage| prefix(*lineage)).collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| file_error(folder, e))? {
        let path = entry.map_err(|e| file_error(folder, e))?.path();
        let name = name(&path);
        if name.ends_with(SUFFIX) && prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// What of a run is not to be removed.
struct Whose<'a> {
    /// Files that a checkpoint names: bucket and hidden name.
    pending: &'a HashSet<(&'a str, &'a str)>,
    /// How many lines of the journal are older than the checkpoint; see [`sweep_run`].
    covered: Option<u64>,
    /// Whether all that an instance has which has ended.
    ended: bool,
}

/// `covered`: how many of its lines are older than the checkpoint; the others are cut off, since what they name is gone, and
/// files to come may have the same names and inodes. Without it the journal goes. Whether the run has ended.
fn sweep_run(folder: &Path, journal: &Path, whose: &Whose<'_>) -> io::Result<bool> {
    let Whose { pending, covered, ended } = *whose;
    let mut file = match OpenOptions::new().read(true).write(true).open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(false),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut lines = String::new();
    file.read_to_string(&mut lines)?;
    if ended && lines.lines().any(|line| line == ENDED) {
        return Ok(false);
    }
    // One that is just begun, and not locked yet, looks like this: it is of no former run.
    if covered.is_some() && lines.is_empty() {
        return Ok(false);
    }
    let (mut kept_bytes, mut intended) = (0, None);
    for (number, line) in (0..).zip(lines.lines()) {
        let later = covered.is_none_or(|covered| number >= covered);
        if !later {
            kept_bytes += line.len() as u64 + 1;
        }
        // Only of the last line: of others it is known what became of it.
        intended = serde_json::from_str::<(String, String)>(line).ok().filter(|_| later);
        // The last one may have been cut off by the end of the process.
        let Ok(line) = serde_json::from_str::<(u64, String, String, String)>(line) else { continue };
        let (inode, bucket, hidden, visible) = line;
        if pending.contains(&(bucket.as_str(), hidden.as_str())) {
            continue;
        }
        let taken_back = (covered.is_some() && later).then_some(&visible);
        for name in [Some(&hidden), taken_back].into_iter().flatten() {
            let path = folder.join(&bucket).join(name);
            // Another job may have begun a file of this name since.
            if path.metadata().is_ok_and(|file| file.ino() == inode) {
                tracing::debug!(path = %path.display(), "left by a run that has ended: removed");
                absent(std::fs::remove_file(&path))?;
            }
        }
    }
    if let Some((bucket, hidden)) = intended {
        let path = folder.join(bucket).join(hidden);
        if path.metadata().is_ok_and(|file| file.len() == 0) {
            absent(std::fs::remove_file(&path))?;
        }
    }
    // While it is locked: one that is just begun is looked for again by its owner once it is free.
    match covered {
        Some(_) => file.set_len(kept_bytes)?,
        None => absent(std::fs::remove_file(journal))?,
    }
    Ok(true)
}

/// Nothing there is as good as removed.
fn absent(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of workers that continue at the same time one may look between two steps of another: that must not be taken for a former run,
    /// whose files are removed when the job has ended.
    #[test]
    fn a_journal_that_is_just_begun_is_of_no_former_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = |run: &str| folder.path().join(format!("{}{run}{SUFFIX}", prefix(7)));
        std::fs::write(path("begun"), "").unwrap();
        std::fs::write(path("left"), "[\"\",\".part-0-1.inprogress\"]\n").unwrap();
        let kept = sweep(folder.path(), &BTreeSet::from([7]), &[], Some(&Lengths::new())).unwrap();
        assert_eq!(kept, [name(&path("left"))]);
        assert!(path("begun").exists());
        let journal = Journal::begin(folder.path(), 7).unwrap();
        assert_eq!(sweep(folder.path(), &BTreeSet::from([7]), &[], Some(&Lengths::new())).unwrap(), Vec::<String>::new());
        journal.remove();
    }
}
