//! A file that grows.

use super::files::{CAPACITY, Halt, at, read_lines, read_rest, report, send};
use super::inbox::{Ending, Feed, Inbox};
use super::lines::LineCutter;
use super::text::{Place, SplitChange, StartReader, Text, TextSource};
use super::{LONGEST_LINE, add_source};
use crate::io::newlines_before;
use crate::{DataStream, Env, Result};
use memchr::memrchr;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

impl Env {
    /// The lines of a file and those that are added to it, each as soon as it is complete: what `tail -F` does. It never
    /// ends by itself, and waits for a file that is not there yet.
    ///
    /// When another file takes the name (a log is rotated) the rest of the former is read, then the other from its start.
    /// When the file becomes shorter it is read again from its start; one that was truncated and has grown beyond its
    /// former length between two looks cannot be told from one that has only grown. Both are logged.
    ///
    /// The first worker of the first process reads. A restored job goes on where it was, also in a file that has been
    /// renamed meanwhile within its folder.
    ///
    /// ```
    /// use fluvial_core::Env;
    /// let env = Env::default();
    /// let errors = env.tail_file("service.log").stream().filter(|line| line.contains("ERROR"));
    /// assert_eq!(errors.explain().nodes[0].kind, "tail_file");
    /// ```
    pub fn tail_file(&self, path: impl Into<PathBuf>) -> TailFile {
        let tailing = Tailing { path: path.into(), from_end: false, interval: Duration::from_millis(50), longest: LONGEST_LINE };
        TailFile { env: self.clone(), tailing }
    }
}

/// A source of the lines of a growing file, before it is made a stream; see [`Env::tail_file`].
#[must_use = "a source is part of the job once it is a stream"]
pub struct TailFile {
    env: Env,
    tailing: Tailing,
}

#[derive(Clone)]
struct Tailing {
    path: PathBuf,
    from_end: bool,
    interval: Duration,
    longest: usize,
}

impl TailFile {
    /// Leaves out the lines that are complete when the job starts for the first time.
    pub fn from_end(mut self) -> Self {
        self.tailing.from_end = true;
        self
    }

    /// How often the file is looked at while nothing is added to it; every 50 ms if nothing is said.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.tailing.interval = interval;
        self
    }

    /// The longest line in bytes, 1 MiB if nothing is said. The job fails on a longer one.
    pub fn longest_line(mut self, bytes: usize) -> Self {
        self.tailing.longest = bytes;
        self
    }

    /// The stream of its lines, without their ends (`\n` or `\r\n`).
    pub fn stream(self) -> DataStream<String> {
        let Self { env, tailing } = self;
        let detail = tailing.path.display().to_string();
        add_source(&env, "tail_file", detail, None, move |context, next| {
            let tailing = tailing.clone();
            let start: StartReader<TailPlace> = Box::new(move |place, waker| {
                let place = place.clone();
                Inbox::spawn_thread(CAPACITY, waker, move |feed, ending| report(feed, tailing.run(&place, feed, ending)))
            });
            Ok(Box::new(TextSource::new(context, next.into()?, (context.worker == 0).then_some(start))))
        })
    }
}

/// The file in hand and the byte up to which its lines were emitted.
#[derive(Clone, Default, Serialize, Deserialize)]
struct TailPlace {
    file: Option<FileId>,
    offset: u64,
}

/// What stays the same of a file when it is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A file is read from a byte on.
struct Opened {
    file: FileId,
    offset: u64,
}

impl Place for TailPlace {
    type Event = Opened;

    fn note(&mut self, opened: Opened) -> Option<SplitChange> {
        *self = Self { file: Some(opened.file), offset: opened.offset };
        None
    }

    fn reach(&mut self, offset: u64) {
        self.offset = offset;
    }

    fn restored(former: Vec<Self>, _worker: usize, _workers: usize) -> Option<Self> {
        former.into_iter().find(|place| place.file.is_some())
    }
}

type Outcome<T> = std::result::Result<T, Halt>;

impl Tailing {
    fn run(&self, place: &TailPlace, feed: &Feed<Text<Opened>>, ending: &Ending) -> Outcome<()> {
        let Some(mut now) = self.begin(place, ending)? else { return Ok(()) };
        loop {
            let Reading { mut file, path, offset } = now;
            let id = FileId::of(&at(&path, file.metadata())?);
            at(&path, file.seek(SeekFrom::Start(offset)))?;
            send(feed, Text::Event(Opened { file: id, offset }))?;
            let line = if offset > 0 { newlines_before(&path, offset) + 1 } else { 1 };
            let mut cutter = LineCutter::new(0, self.longest, offset, line);
            now = loop {
                read_lines(&mut file, &path, &mut cutter, feed)?;
                match self.look()? {
                    Some((other, metadata)) if FileId::of(&metadata) != id => {
                        // What was added between the last read and the renaming.
                        read_lines(&mut file, &path, &mut cutter, feed)?;
                        read_rest(&path, &mut cutter, feed)?;
                        tracing::info!(file = %self.path.display(), bytes = cutter.read_to(), "rotated");
                        break Reading { file: other, path: self.path.clone(), offset: 0 };
                    }
                    Some((same, metadata)) if metadata.len() < cutter.read_to() => {
                        let (was, is) = (cutter.read_to(), metadata.len());
                        tracing::warn!(file = %self.path.display(), was, is, lost = cutter.discard(), "truncated");
                        break Reading { file: same, path: self.path.clone(), offset: 0 };
                    }
                    // Or there is no file of this name, because it is about to be rotated.
                    _ => {}
                }
                if ending.wait(self.interval) {
                    return Ok(());
                }
            };
        }
    }

    /// The file that now has the name.
    fn look(&self) -> Result<Option<(File, Metadata)>> {
        match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => {
                let file = at(&self.path, file)?;
                let metadata = at(&self.path, file.metadata())?;
                Ok(Some((file, metadata)))
            }
        }
    }

    /// The file to begin with; `None` if it is not there and need not be waited for any more.
    fn begin(&self, place: &TailPlace, ending: &Ending) -> Result<Option<Reading>> {
        if let Some(id) = place.file {
            match self.find(id)? {
                Some((file, path, length)) if length >= place.offset => {
                    return Ok(Some(Reading { file, path, offset: place.offset }));
                }
                Some((_, path, is)) => tracing::warn!(file = %path.display(), was = place.offset, is, "truncated"),
                None => tracing::warn!(file = %self.path.display(), "the file that was read before is gone"),
            }
        }
        loop {
            if let Some((file, metadata)) = self.look()? {
                let skip = self.from_end && place.file.is_none();
                let offset = if skip { self.last_line(&file, metadata.len())? } else { 0 };
                return Ok(Some(Reading { file, path: self.path.clone(), offset }));
            }
            if ending.wait(self.interval) {
                return Ok(None);
            }
        }
    }

    /// The file with this id, under its name or another one of its folder, and its length.
    fn find(&self, id: FileId) -> Result<Option<(File, PathBuf, u64)>> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let others = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in [self.path.clone()].into_iter().chain(others) {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if FileId::of(&metadata) == id {
                let file = at(&path, File::open(&path))?;
                return Ok(Some((file, path, metadata.len())));
            }
        }
        Ok(None)
    }

    /// Where the line begins that is not complete yet.
    fn last_line(&self, file: &File, length: u64) -> Result<u64> {
        let mut bytes = vec![0; usize::try_from(length).map_or(self.longest, |length| length.min(self.longest))];
        let from = length - bytes.len() as u64;
        at(&self.path, file.read_exact_at(&mut bytes, from))?;
        Ok(memrchr(b'\n', &bytes).map_or(from, |newline| from + newline as u64 + 1))
    }
}

/// A file that is to be read from a byte on.
struct Reading {
    file: File,
    path: PathBuf,
    offset: u64,
}

#[cfg(test)]
mod tests {
    use super::super::testing::Driven;
    use super::*;
    use std::fs::{OpenOptions, rename, write};
    use std::io::Write;

    fn tail(path: &Path) -> TailFile {
        Env::default().tail_file(path).poll_interval(Duration::from_millis(1))
    }

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn lines_are_emitted_when_they_are_complete_also_across_rotation_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut driven = Driven::new(&tail(&path).stream(), 0, 2);
        append(&path, "one\ntw");
        assert_eq!(driven.until(1), ["one"]);
        append(&path, "o\nthree\nfo");
        assert_eq!(driven.until(3)[1..], ["two", "three"]);
        append(&path, "ur");
        rename(&path, folder.path().join("log.1")).unwrap();
        append(&path, "five\n");
        assert_eq!(driven.until(5)[3..], ["four", "five"]);
        File::create(&path).unwrap();
        append(&path, "6\n");
        assert_eq!(driven.until(6)[5..], ["6"]);
        driven.source.stop();
        assert_eq!(driven.run_to_end().len(), 6);
    }

    #[test]
    fn a_restored_source_finds_the_file_under_its_new_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        write(&path, "one\ntwo\nthr").unwrap();
        let stream = tail(&path).stream();
        let sections = {
            let mut driven = Driven::new(&stream, 0, 1);
            assert_eq!(driven.until(2), ["one", "two"]);
            driven.snapshot()
        };
        append(&path, "ee\nfour\n");
        rename(&path, folder.path().join("log.1")).unwrap();
        append(&path, "five\n");
        assert_eq!(Driven::restored(&stream, 0, 2, sections.clone()).until(3), ["three", "four", "five"]);
        // Gone altogether: what is there now is read from its start.
        std::fs::remove_file(folder.path().join("log.1")).unwrap();
        assert_eq!(Driven::restored(&stream, 0, 2, sections).until(1), ["five"]);
    }

    #[test]
    fn from_the_end_the_line_that_is_being_written_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        write(&path, "one\ntw").unwrap();
        let mut driven = Driven::new(&tail(&path).from_end().stream(), 0, 1);
        let (wakes, before) = (driven.wakes.clone(), driven.snapshot());
        wakes.until(|| driven.poll().is_ok() && driven.snapshot() != before);
        append(&path, "o\n");
        assert_eq!(driven.until(1), ["two"]);
    }
}
