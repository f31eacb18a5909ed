//! What tests of jobs that fail on the way have in common.

use std::path::Path;

/// Whether a checkpoint in this folder is complete: its manifest is written last.
pub fn has_checkpoint(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("chk-") && entry.path().join("manifest").exists())
}
