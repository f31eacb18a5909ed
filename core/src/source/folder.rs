//! A folder in which files appear: each is read once.

use super::files::{CAPACITY, Halt, at, read_lines, read_rest, report, send};
use super::inbox::{Ending, Feed, Inbox};
use super::lines::LineCutter;
use super::text::{Place, SplitChange, StartReader, Text, TextSource};
use super::{LONGEST_LINE, add_source};
use crate::io::{file_error, newlines_before, skipped};
use crate::{DataStream, Env, Result};
use fluvial_memory::hash;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

impl Env {
    /// The lines of the files in a folder, of those that are there and of those that appear later: each file is read once.
    ///
    /// A file must be complete when it appears under its name: write it under a name that starts with `.` or `_`, or
    /// without the [suffix](FollowFolder::suffix), and rename it. What is added to a file after it was read is not seen.
    /// Folders in the folder are not looked at. Files are divided over the workers of all processes by a fixed hash of
    /// their names, so all processes must see the same folder. A restored job reads on in the middle of files; a file that
    /// is gone from the folder is forgotten, and one that comes later under the same name is read.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// # let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("one.log"), "to be\n")?;
    /// std::fs::write(folder.path().join("two.log"), "or not\n")?;
    /// std::fs::write(folder.path().join(".three.log"), "not comp")?;
    /// let env = Env::default();
    /// let mut lines = env.follow_folder(folder.path()).suffix(".log").once().stream().collect()?;
    /// lines.sort();
    /// assert_eq!(lines, ["or not", "to be"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn follow_folder(&self, path: impl Into<PathBuf>) -> FollowFolder {
        let following = Following {
            folder: path.into(),
            suffix: String::new(),
            order: FileOrder::Name,
            once: false,
            interval: Duration::from_millis(200),
            longest: LONGEST_LINE,
        };
        FollowFolder { env: self.clone(), following }
    }
}

/// In which order the files are read that are in a folder when it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileOrder {
    /// By name, byte by byte.
    #[default]
    Name,
    /// By the time of their last modification, then by name.
    ModificationTime,
}

/// A source of the lines of a folder's files, before it is made a stream; see [`Env::follow_folder`].
#[must_use = "a source is part of the job once it is a stream"]
pub struct FollowFolder {
    env: Env,
    following: Following,
}

#[derive(Clone)]
struct Following {
    folder: PathBuf,
    suffix: String,
    order: FileOrder,
    once: bool,
    interval: Duration,
    longest: usize,
}

impl FollowFolder {
    /// Reads only files whose names end in this.
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.following.suffix = suffix.into();
        self
    }

    /// In which order a worker reads its files.
    pub fn order(mut self, order: FileOrder) -> Self {
        self.following.order = order;
        self
    }

    /// Reads what is there when the job starts and ends then, which makes the stream a bounded one.
    pub fn once(mut self) -> Self {
        self.following.once = true;
        self
    }

    /// How often the folder is looked at for new files; every 200 ms if nothing is said.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.following.interval = interval;
        self
    }

    /// The longest line in bytes, 1 MiB if nothing is said. The job fails on a longer one.
    pub fn longest_line(mut self, bytes: usize) -> Self {
        self.following.longest = bytes;
        self
    }

    /// The stream of the files' lines, without their ends (`\n` or `\r\n`).
    pub fn stream(self) -> DataStream<String> {
        let Self { env, following } = self;
        let detail = format!("{}/*{}", following.folder.display(), following.suffix);
        // What is in the folder is not known before the job starts.
        let count = following.once.then_some(0);
        add_source(&env, "follow_folder", detail, count, move |context, next| {
            let (following, worker, workers) = (following.clone(), context.worker, context.workers);
            let start: StartReader<FolderPlace> = Box::new(move |place, waker| {
                let place = place.clone();
                Inbox::spawn_thread(CAPACITY, waker, move |feed, ending| {
                    let mut reader = Reader { following, worker, workers, read: place.read, splits: 0 };
                    report(feed, reader.run(place.partly, feed, ending));
                })
            });
            Ok(Box::new(TextSource::new(context, next.into()?, Some(start))))
        })
    }
}

/// The worker that reads a file.
fn owner(name: &str, workers: usize) -> usize {
    hash::target(hash::hash_bytes(name.as_bytes()), workers)
}

/// What an instance has emitted, by names of files.
#[derive(Clone, Default, Serialize, Deserialize)]
struct FolderPlace {
    /// Files that are done with, as long as they are in the folder.
    read: BTreeSet<String>,
    /// Bytes that were emitted of files which are not. One is in hand; after a restore there may be others.
    partly: BTreeMap<String, u64>,
    in_hand: Option<(String, u32)>,
}

enum FileEvent {
    Begins { name: String, split: u32 },
    Ended,
    Gone(Vec<String>),
}

impl Place for FolderPlace {
    type Event = FileEvent;

    fn note(&mut self, event: FileEvent) -> Option<SplitChange> {
        match event {
            FileEvent::Begins { name, split } => {
                self.partly.entry(name.clone()).or_default();
                self.in_hand = Some((name, split));
                Some(SplitChange::Begins(split))
            }
            FileEvent::Ended => {
                let (name, split) = self.in_hand.take()?;
                self.partly.remove(&name);
                self.read.insert(name);
                Some(SplitChange::Ended(split))
            }
            FileEvent::Gone(names) => {
                names.iter().for_each(|name| _ = self.read.remove(name));
                None
            }
        }
    }

    fn reach(&mut self, offset: u64) {
        let in_hand = self.in_hand.as_ref().and_then(|(name, _)| self.partly.get_mut(name));
        if let Some(reached) = in_hand {
            *reached = offset;
        }
    }

    fn restored(former: Vec<Self>, worker: usize, workers: usize) -> Option<Self> {
        let own = |name: &String| owner(name, workers) == worker;
        let mut place = Self::default();
        for former in former {
            place.read.extend(former.read.into_iter().filter(own));
            place.partly.extend(former.partly.into_iter().filter(|(name, _)| own(name)));
        }
        Some(place)
    }
}

/// Looks into the folder and reads one file after another.
struct Reader {
    following: Following,
    worker: usize,
    workers: usize,
    /// Files that need not be read any more.
    read: BTreeSet<String>,
    splits: u32,
}

type Outcome = std::result::Result<(), Halt>;

impl Reader {
    fn run(&mut self, partly: BTreeMap<String, u64>, feed: &Feed<Text<FileEvent>>, ending: &Ending) -> Outcome {
        for (name, offset) in partly {
            self.read_file(name, offset, feed)?;
        }
        loop {
            let files = self.files()?;
            let present: BTreeSet<&String> = files.iter().map(|(_, name)| name).collect();
            let gone: Vec<String> = self.read.iter().filter(|name| !present.contains(name)).cloned().collect();
            if !gone.is_empty() {
                gone.iter().for_each(|name| _ = self.read.remove(name));
                send(feed, Text::Event(FileEvent::Gone(gone)))?;
            }
            for (_, name) in files {
                if !self.read.contains(&name) {
                    self.read_file(name, 0, feed)?;
                }
            }
            if self.following.once || ending.wait(self.following.interval) {
                return Ok(());
            }
        }
    }

    /// This worker's files in the folder, in the order in which they are to be read.
    fn files(&self) -> Result<Vec<(SystemTime, String)>> {
        let folder = &self.following.folder;
        let mut files = Vec::new();
        for entry in at(folder, std::fs::read_dir(folder))? {
            let entry = at(folder, entry)?;
            let path = entry.path();
            let name = entry.file_name();
            if skipped(Path::new(&name)) || !name.as_encoded_bytes().ends_with(self.following.suffix.as_bytes()) {
                continue;
            }
            let name = name.into_string().map_err(|_| file_error(&path, "the file's name is not UTF-8"))?;
            if owner(&name, self.workers) != self.worker {
                continue;
            }
            let metadata = match std::fs::metadata(&path) {
                // Gone since the folder was read.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                metadata => at(&path, metadata)?,
            };
            if metadata.is_file() {
                let time = match self.following.order {
                    FileOrder::Name => SystemTime::UNIX_EPOCH,
                    FileOrder::ModificationTime => at(&path, metadata.modified())?,
                };
                files.push((time, name));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Reads a file from a byte on.
    fn read_file(&mut self, name: String, offset: u64, feed: &Feed<Text<FileEvent>>) -> Outcome {
        let path = self.following.folder.join(&name);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && offset == 0 => return Ok(()),
            file => at(&path, file)?,
        };
        let mut line = 1;
        if offset > 0 {
            let length = at(&path, file.metadata())?.len();
            if length < offset {
                let message = format!("expected more than the {offset} bytes that were read before, found {length}");
                return Err(file_error(&path, message).into());
            }
            at(&path, file.seek(SeekFrom::Start(offset)))?;
            line += newlines_before(&path, offset);
        }
        let split = self.splits;
        self.splits += 1;
        let mut cutter = LineCutter::new(split, self.following.longest, offset, line);
        send(feed, Text::Event(FileEvent::Begins { name: name.clone(), split }))?;
        read_lines(&mut file, &path, &mut cutter, feed)?;
        read_rest(&path, &mut cutter, feed)?;
        send(feed, Text::Event(FileEvent::Ended))?;
        self.read.insert(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Driven;
    use super::*;
    use std::fs::{remove_file, rename, write};

    fn follow(folder: &Path) -> FollowFolder {
        Env::default().follow_folder(folder).poll_interval(Duration::from_millis(1))
    }

    #[test]
    fn new_files_are_read_once_when_they_are_complete() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(at("b.log"), "b1\nb2").unwrap();
        write(at("a.log"), "a1\n").unwrap();
        write(at("_later.log"), "c1\n").unwrap();
        write(at("other.txt"), "no\n").unwrap();
        let stream = follow(folder.path()).suffix(".log").stream();
        let mut driven = Driven::new(&stream, 0, 1);
        assert_eq!(driven.until(3), ["a1", "b1", "b2"]);
        rename(at("_later.log"), at("later.log")).unwrap();
        assert_eq!(driven.until(4)[3..], ["c1"]);
        // Under the same name again, after it was gone: another file.
        remove_file(at("a.log")).unwrap();
        let wakes = driven.wakes.clone();
        wakes.until(|| {
            let _ = driven.poll().unwrap();
            !String::from_utf8_lossy(&driven.snapshot()[0].bytes).contains("a.log")
        });
        write(at("_a"), "a2\n").unwrap();
        rename(at("_a"), at("a.log")).unwrap();
        assert_eq!(driven.until(5)[4..], ["a2"]);
        driven.source.stop();
        assert_eq!(driven.run_to_end().len(), 5);
    }

    #[test]
    fn files_are_read_by_modification_time_if_so_said() {
        let folder = tempfile::tempdir().unwrap();
        for (name, seconds) in [("a", 3), ("b", 1), ("c", 2)] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
            write(folder.path().join(name), name).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        let stream = follow(folder.path()).order(FileOrder::ModificationTime).once().stream();
        assert_eq!(Driven::new(&stream, 0, 1).run_to_end(), ["b", "c", "a"]);
    }

    #[test]
    fn a_snapshot_restores_into_other_numbers_of_workers() {
        let folder = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for file in 0..10 {
            let lines: Vec<String> = (0..3000).map(|line| format!("{file}-{line}")).collect();
            write(folder.path().join(format!("f{file}")), lines.join("\n")).unwrap();
            all.extend(lines);
        }
        all.sort();
        let stream = follow(folder.path()).once().stream();
        for (before, after) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
            let (mut seen, mut sections) = (Vec::new(), Vec::new());
            for worker in 0..before {
                // Stops in the middle of a file, after a number of polls that differs by worker.
                let mut driven = Driven::new(&stream, worker, before);
                seen.extend(driven.beyond(2000 * (worker + 1)));
                sections.extend(driven.snapshot());
            }
            for worker in 0..after {
                seen.extend(Driven::restored(&stream, worker, after, sections.clone()).run_to_end());
            }
            seen.sort();
            assert_eq!(seen, all, "{before} to {after}");
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad");
        write(&path, b"good\nb\xffd\n").unwrap();
        let error = Driven::new(&follow(folder.path()).stream(), 0, 1).run_to_error();
        assert_eq!(error, format!("{}: line 2, byte 6: not UTF-8 (0xff)", path.display()));
        let error = Driven::new(&follow(folder.path()).longest_line(3).stream(), 0, 1).run_to_error();
        assert_eq!(error, format!("{}: line 1, byte 0: a line of more than 3 bytes", path.display()));
        let missing = folder.path().join("missing");
        let error = Driven::new(&follow(&missing).stream(), 0, 1).run_to_error();
        assert!(error.starts_with(&missing.display().to_string()), "{error}");
    }
}
