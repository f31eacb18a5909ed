use crate::{Error, Result};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

const PREFIX: &str = "fluvial-spill-";
/// A folder that is being set up: not yet locked, so not to be swept unless it is old.
const UNFINISHED: &str = ".fluvial-spill-";
const LOCK: &str = "lock";

/// The folder of one process within the spill directory, removed when dropped.
///
/// It is set up under another name and renamed once its lock is held, so that a sweep never sees it unlocked. No name is used
/// twice: a sweep that has seen a folder go must not find another one in its place.
#[derive(Debug)]
pub(super) struct ProcessFolder {
    path: PathBuf,
    /// Held open for its lock.
    _lock: File,
    files: AtomicU64,
}

impl ProcessFolder {
    /// Creates the folder in `directory` (itself created if it is not there) after sweeping what dead processes left.
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let error = |source| Error::SpillFolder { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(error)?;
        sweep(directory);
        let made = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(directory).map_err(error)?;
        let lock = lock(&made.path().join(LOCK)).map_err(error)?;
        let path = directory.join(unused_name(made.path()));
        fs::rename(made.path(), &path).map_err(error)?;
        // Renamed: nothing is left for the guard to remove.
        let _ = made.keep();
        Ok(Self { path, _lock: lock, files: 0.into() })
    }

    /// A name for a new file of `operator`.
    pub(super) fn next(&self, operator: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Relaxed);
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let operator: String = operator.chars().take(40).map(safe).collect();
        self.path.join(format!("{operator}-{number}.spill"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ProcessFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "spill folder could not be removed");
        }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    file.try_lock().map_err(io::Error::from)?;
    Ok(file)
}

/// The process for people, and what was drawn for the folder as it was made: processes in different containers can share a
/// number and a directory; their folders must not.
fn unused_name(made: &Path) -> String {
    let name = made.file_name().unwrap_or_default().to_string_lossy();
    format!("{PREFIX}{}-{}", std::process::id(), name.trim_start_matches(UNFINISHED))
}

/// Removes the folders that no living process locks. What cannot be removed is left to the next sweep.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let stale = if name.starts_with(PREFIX) {
            unlocked(&entry.path())
        } else {
            // In this order: to look at the lock takes it for a moment, in which its owner would not get it.
            name.starts_with(UNFINISHED) && old(&entry) && unlocked(&entry.path())
        };
        if stale {
            let removed = fs::remove_dir_all(entry.path());
            tracing::debug!(path = %entry.path().display(), ?removed, "swept a stale spill folder");
        }
    }
}

fn unlocked(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(file) => file.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn old(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|m| m.modified());
    let age = modified.ok().and_then(|m| SystemTime::now().duration_since(m).ok());
    age.is_some_and(|age| age > Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_processes_are_swept() {
        let directory = tempfile::tempdir().unwrap();
        let living = ProcessFolder::create(directory.path()).unwrap();
        let dead = directory.path().join(format!("{PREFIX}999999999-0"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), b"").unwrap();
        fs::write(dead.join("sort-0.spill"), b"rows").unwrap();
        let foreign = directory.path().join("somebody-elses");
        fs::create_dir(&foreign).unwrap();
        let second = ProcessFolder::create(directory.path()).unwrap();
        assert!(living.path().exists() && second.path().exists() && foreign.exists());
        assert_ne!(living.path(), second.path());
        assert!(!dead.exists());
        drop((living, second));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_name_is_used_twice() {
        let directory = tempfile::tempdir().unwrap();
        let names = || ProcessFolder::create(directory.path()).unwrap().path().to_owned();
        let first = names();
        assert!(!first.exists());
        assert_ne!(names(), first);
    }
}
