use std::path::PathBuf;

/// What can go wrong in the memory layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pool cannot give an operator the minimum it needs to make progress.
    #[error(
        "operator `{operator}` needs at least {needed} bytes of managed memory, but only {available} of the budget of {budget} bytes are free"
    )]
    BudgetTooSmall {
        /// Name of the operator that asked.
        operator: String,
        /// Bytes it needs to make progress.
        needed: usize,
        /// Bytes that were free.
        available: usize,
        /// The whole budget in bytes.
        budget: usize,
    },
    /// A single record does not fit in the memory that the operator can get.
    #[error(
        "operator `{operator}`: a record of {record} bytes does not fit; {available} bytes of managed memory are available to it"
    )]
    RecordTooLarge {
        /// Name of the operator that holds the record.
        operator: String,
        /// Size of the record in bytes.
        record: usize,
        /// Bytes the operator could get.
        available: usize,
    },
    /// The operating system refused to map the arena.
    #[error("cannot map an arena of {bytes} bytes: {source}")]
    Map {
        /// Size of the mapping.
        bytes: usize,
        /// The cause.
        source: std::io::Error,
    },
    /// A spill file could not be created, written or read.
    #[error("spill file `{path}`, byte {offset}: {action} failed: {source}")]
    Spill {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// `create`, `write` or `read`.
        action: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The folder for spill files cannot be made or used.
    #[error("spill folder `{path}`: {source}")]
    SpillFolder {
        /// The folder that was to hold them.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Bytes read back are not what was written.
    #[error("spill file `{path}`, byte {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What was expected and what was found.
        what: String,
    },
    /// A record could not be encoded or decoded.
    #[error("codec for `{type_name}`: {what}")]
    Codec {
        /// The Rust or Arrow type.
        type_name: String,
        /// What was expected and what was found.
        what: String,
    },
    /// Values were stored with a schema that the type of today cannot be read from.
    #[error("stored as {stored}, expected {expected}: {what}")]
    SchemaChanged {
        /// The schema that they were stored with.
        stored: String,
        /// The schema of today.
        expected: String,
        /// Where they differ, and how.
        what: String,
    },
    /// A result does not fit its type.
    #[error("{what} does not fit {type_name}")]
    Overflow {
        /// The function and its column, as in `sum(l_quantity)`.
        what: String,
        /// The type of the result.
        type_name: String,
    },
    /// A type or column cannot be used in this way, for example a nested column as a key.
    #[error("{0}")]
    Unsupported(String),
}

/// Result of the memory layer.
pub type Result<T> = std::result::Result<T, Error>;
