//! What is visible: results, and checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All lines of the files of a folder, sorted.
pub fn lines(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for path in files(folder).iter().filter(|path| !is_hidden(path)) {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{} is cut off", path.display());
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']))
}

/// Files that nobody will ever see.
pub fn left_behind(folder: &Path) -> Option<String> {
    let hidden: Vec<_> = files(folder).into_iter().filter(|path| is_hidden(path)).collect();
    (!hidden.is_empty()).then(|| format!("left behind: {hidden:?}"))
}

/// Files in a folder and those below; none if there is none.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files.extend(self::files(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

/// A checkpoint in the folder of a job.
pub struct Checkpoint {
    pub name: String,
    pub complete: bool,
}

/// Checkpoints, complete or not, the oldest first.
pub fn checkpoints(state: &Path) -> Vec<Checkpoint> {
    let entries = std::fs::read_dir(state).into_iter().flatten().flatten();
    let named = entries.filter_map(|e| e.file_name().into_string().ok()).filter(|name| name.starts_with("chk-"));
    let checkpoint = |name: String| Checkpoint { complete: state.join(&name).join("manifest").exists(), name };
    let mut all: Vec<Checkpoint> = named.map(checkpoint).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// What is there too often or not often enough, in a few words; `None` if both are equal.
pub fn difference(got: &[String], expected: &[String]) -> Option<String> {
    let mut counts: BTreeMap<&String, i64> = BTreeMap::new();
    got.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    expected.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    counts.retain(|_, count| *count != 0);
    let some: Vec<_> = counts.iter().take(10).collect();
    (!counts.is_empty()).then(|| {
        let (got, expected) = (got.len(), expected.len());
        format!("{got} rows, expected {expected}; {} differ (row, how many too many): {some:?}", counts.len())
    })
}

/// Rows of which the amount is smaller than expected or that are missing, in a few words; `None` if there are none.
pub fn missing(got: &[String], expected: &[String]) -> Option<String> {
    let most = |lines: &[String]| {
        let mut most: BTreeMap<String, u64> = BTreeMap::new();
        for line in lines {
            let (id, amount) = line.rsplit_once(' ').unwrap();
            let (amount, most) = (amount.parse::<u64>().unwrap(), most.entry(id.to_owned()).or_default());
            *most = amount.max(*most);
        }
        most
    };
    let (got, expected) = (most(got), most(expected));
    let less = expected.iter().filter(|(id, amount)| got.get(*id).is_none_or(|most| most < *amount));
    let less: Vec<_> = less.map(|(id, amount)| (id, amount, got.get(id))).collect();
    (!less.is_empty()).then(|| format!("{} missing (row, expected, got): {:?}", less.len(), &less[..less.len().min(10)]))
}
