//! Manifests: what a checkpoint consists of.

use super::place::{Place, join};
use super::state_file::{FileEntry, hex};
use crate::io::file_error;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// Begins a manifest's first line; version, length of the rest in bytes and its checksum follow.
const MAGIC: &str = "fluvial-manifest";
const VERSION: u32 = 1;
/// A manifest's file name.
pub(crate) const MANIFEST: &str = "manifest";
/// Begins the name of a checkpoint's folder; its number follows.
const CHECKPOINT: &str = "chk-";

/// The folder of a checkpoint.
pub(crate) fn folder_of(id: u64) -> String {
    format!("{CHECKPOINT}{id:010}")
}

/// The checkpoint whose folder a path is in.
pub(crate) fn checkpoint_of(path: &str) -> Option<u64> {
    path.split('/').next()?.strip_prefix(CHECKPOINT)?.parse().ok()
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Taken by the job, for itself.
    Checkpoint,
    /// Taken for its owner, who keeps it.
    Savepoint,
}

/// A checkpoint, as its manifest describes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The epoch that it ends.
    pub(crate) id: u64,
    pub(crate) job: String,
    pub(crate) kind: Kind,
    /// Whether the job had ended: nothing is left to do but to commit.
    pub(crate) last: bool,
    pub(crate) exactly_once: bool,
    /// When its barrier set out and when all of it was safe, milliseconds UTC.
    pub(crate) triggered: i64,
    pub(crate) completed: i64,
    pub(crate) workers: u32,
    pub(crate) key_groups: u16,
    /// By uid.
    pub(crate) operators: BTreeMap<String, OperatorEntry>,
    pub(crate) files: Vec<FileEntry>,
    /// What it cost.
    pub(crate) cost: Cost,
}

/// An operator's part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperatorEntry {
    /// Its name, for people.
    pub(crate) name: String,
    /// Whether the program gave the uid; else it was derived from the graph.
    pub(crate) named: bool,
    /// The earliest that an instance had announced of event time, milliseconds UTC; absent where none had.
    pub(crate) watermark: Option<i64>,
    /// Workers whose instances had ended.
    pub(crate) ended: Vec<u32>,
    /// By name.
    pub(crate) states: BTreeMap<String, StateEntry>,
}

/// One state of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateEntry {
    /// Schema of its records, as JSON.
    pub(crate) schema: String,
    /// What its keys are, as JSON; empty where it has none.
    pub(crate) keys: String,
    pub(crate) sections: u64,
    pub(crate) bytes: u64,
}

/// What a checkpoint cost, the most of all instances. Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// An operator stood still while its state was set aside.
    pub(crate) snapshot: f64,
    /// From the first batch behind the barrier to the barrier on the last input.
    pub(crate) alignment: f64,
    /// Bytes of the batches that waited for it, of all instances together.
    pub(crate) aligned_bytes: u64,
    /// From the first part that was handed over to the last that was safe.
    pub(crate) writing: f64,
    /// Bytes written for this checkpoint, of all processes.
    pub(crate) new_bytes: u64,
}

impl Cost {
    pub(crate) fn add(&mut self, other: &Self) {
        self.snapshot = self.snapshot.max(other.snapshot);
        self.alignment = self.alignment.max(other.alignment);
        self.aligned_bytes += other.aligned_bytes;
        self.writing = self.writing.max(other.writing);
        self.new_bytes += other.new_bytes;
    }
}

impl OperatorEntry {
    /// Adds what another process, or instance, says of the same operator.
    pub(crate) fn add(&mut self, other: Self) {
        self.watermark = self.watermark.min(other.watermark);
        self.ended.extend(other.ended);
        for (name, state) in other.states {
            let sum = self.states.entry(name).or_default();
            sum.sections += state.sections;
            sum.bytes += state.bytes;
            (sum.schema, sum.keys) = (state.schema, state.keys);
        }
    }
}

impl Manifest {
    /// Bytes of all its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_string_pretty(self).unwrap_or_else(|e| unreachable!("text and numbers serialize: {e}"));
        let mut bytes = format!("{MAGIC} {VERSION} {} {}\n", body.len(), hex(xxh3_64(body.as_bytes()))).into_bytes();
        bytes.extend(body.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let line = bytes.iter().position(|b| *b == b'\n').ok_or("cut off within its first line")?;
        let (head, body) = (&bytes[..line], &bytes[line + 1..]);
        let head = std::str::from_utf8(head).map_err(|_| "is not a manifest: its first line is no text")?;
        let mut words = head.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(format!("is not a manifest: it does not begin with {MAGIC}"));
        }
        let version = words.next().and_then(|v| v.parse::<u32>().ok());
        if version != Some(VERSION) {
            return Err(format!("its first line is `{head}`, expected version {VERSION}"));
        }
        let length = words.next().and_then(|v| v.parse::<usize>().ok());
        if length != Some(body.len()) {
            let expected = length.map_or_else(|| "?".to_owned(), |length| length.to_string());
            return Err(format!("cut off or lengthened: expected {expected} bytes after its first line, found {}", body.len()));
        }
        let found = hex(xxh3_64(body));
        if words.next() != Some(found.as_str()) {
            return Err(format!("altered: its first line is `{head}`, its checksum is {found}"));
        }
        serde_json::from_slice(body).map_err(|e| e.to_string())
    }

    /// Reads the manifest in a folder of a place.
    ///
    /// # Errors
    /// There is none, or it is damaged: with its name and how.
    pub(crate) fn read(place: &dyn Place, folder: &str) -> Result<Self> {
        let path = join(folder, MANIFEST);
        if place.length(&path)?.is_none() {
            return Err(file_error(&place.shown(&path), "no such file: there is no checkpoint here"));
        }
        Self::decode(&place.read(&path)?).map_err(|message| file_error(&place.shown(&path), message))
    }
}

/// What one process tells the first of a checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Contribution {
    pub(crate) operators: BTreeMap<String, OperatorEntry>,
    pub(crate) files: Vec<FileEntry>,
    pub(crate) cost: Cost,
    /// Why state of instances that have ended is not safe, if it is not.
    pub(crate) problem: Option<String>,
}

impl Contribution {
    pub(crate) fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|e| unreachable!("text and numbers serialize: {e}"))
    }

    /// Of all processes as one.
    pub(crate) fn sum(said: &[String]) -> Result<Self> {
        let mut sum = Self::default();
        for said in said {
            let one: Self = serde_json::from_str(said).map_err(|e| Error::Checkpoint(format!("another process said: {e}")))?;
            if let Some(problem) = one.problem {
                return Err(Error::Checkpoint(problem));
            }
            for (uid, operator) in one.operators {
                match sum.operators.get_mut(&uid) {
                    Some(sum) => sum.add(operator),
                    None => drop(sum.operators.insert(uid, operator)),
                }
            }
            sum.files.extend(one.files);
            sum.cost.add(&one.cost);
        }
        Ok(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            id: 7,
            job: "billing".into(),
            kind: Kind::Checkpoint,
            last: false,
            exactly_once: true,
            triggered: 1,
            completed: 2,
            workers: 2,
            key_groups: 128,
            operators: BTreeMap::new(),
            files: Vec::new(),
            cost: Cost::default(),
        }
    }

    #[test]
    fn every_cut_and_every_altered_byte_is_found() {
        let bytes = manifest().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap().id, 7);
        for length in 0..bytes.len() {
            Manifest::decode(&bytes[..length]).unwrap_err();
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            Manifest::decode(&altered).unwrap_err();
        }
    }

    #[test]
    fn the_earliest_watermark_counts_and_none_is_earlier_than_all() {
        let of = |watermark| OperatorEntry { watermark, ..OperatorEntry::default() };
        let mut entry = of(Some(7));
        entry.add(of(Some(5)));
        assert_eq!(entry.watermark, Some(5));
        entry.add(of(None));
        assert_eq!(entry.watermark, None);
    }
}
