//! What a join is told, and what it tells of itself.

use super::kind::{JoinKind, Side};
use fluvial_memory::RowShape;

/// What a join is to do.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// Which rows are kept.
    pub kind: JoinKind,
    /// The side that is kept in memory: the smaller one.
    pub build: Side,
    /// Shape of the left rows.
    pub left: RowShape,
    /// Shape of the right rows.
    pub right: RowShape,
    /// Name for messages and spill files.
    pub operator: String,
    /// Rows, or only their number.
    pub output: JoinOutput,
    /// Schema of the left rows as their codec describes it, for the headers of spill files.
    pub left_schema: String,
    /// Schema of the right rows.
    pub right_schema: String,
}

impl JoinOptions {
    /// A join that hands out rows, of the left side with the right one as build side.
    pub fn new(kind: JoinKind, left: RowShape, right: RowShape) -> Self {
        Self {
            kind,
            build: Side::Right,
            left,
            right,
            operator: "join".to_owned(),
            output: JoinOutput::Rows,
            left_schema: String::new(),
            right_schema: String::new(),
        }
    }
}

/// What is asked of a join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JoinOutput {
    /// The rows.
    #[default]
    Rows,
    /// The number of rows. No payloads are kept, and one entry for each key with the number of its rows, so that a key
    /// with millions of rows on both sides is no work.
    CountOnly,
}

/// What a join did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinStats {
    /// Rows of the build side, those with null keys included.
    pub build_rows: u64,
    /// Rows of the probe side, those with null keys included.
    pub probe_rows: u64,
    /// Partitions written to disk, at all levels.
    pub spilled_partitions: u64,
    /// Bytes of rows written to disk, at all levels.
    pub spilled_bytes: u64,
    /// Deepest level of partitioning: 0 if everything was joined in memory or from the first partitions.
    pub depth: u32,
    /// Probe rows that were not written because the filter of their partition did not know their key.
    pub filtered_rows: u64,
    /// Blocks of block-nested joins.
    pub nested_blocks: u64,
}
