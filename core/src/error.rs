use std::path::PathBuf;

/// Why a job could not be built or did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operator failed; the first failure ends the job.
    #[error("operator `{operator}`: {source}")]
    Operator {
        /// The operator's name.
        operator: String,
        /// The cause.
        source: Box<Error>,
    },
    /// User code panicked or returned an error.
    #[error("{0}")]
    User(String),
    /// Managed memory: a budget too small, a full disk, a record that does not fit.
    #[error(transparent)]
    Memory(#[from] fluvial_memory::Error),
    /// A file could not be opened, read or written.
    #[error("{path}: {message}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was wrong and where: the row, line or byte, what was expected and what was found.
        message: String,
    },
    /// The job graph cannot run: a wrong column, a type mismatch, an operation that the mode does not have.
    #[error("{0}")]
    Plan(String),
    /// Columns.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
    /// Another process of the mesh is gone.
    #[error("process {process} is gone: {message}")]
    Peer {
        /// Its index.
        process: usize,
        /// What was seen of it.
        message: String,
    },
    /// The job was stopped from outside.
    #[error("interrupted")]
    Interrupted,
}

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;
