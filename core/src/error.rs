use std::path::PathBuf;

/// Why a job could not be built or did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operator failed; the first failure ends the job.
    #[error("{}{source}", place(operator, source))]
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
    /// A connection could not be made or was lost, or what came over it was wrong.
    #[error("{address}: {message}")]
    Connection {
        /// The other side.
        address: String,
        /// What was wrong and where.
        message: String,
    },
    /// The job graph cannot run: a wrong column, a type mismatch, an operation that the mode does not have.
    #[error("{0}")]
    Plan(String),
    /// Columns.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
    /// Checkpoints cannot be written, or the one to begin with cannot be read.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// The job has ended with a savepoint, as it was told to. [`Mesh`](crate::runtime::Mesh) takes it for a good end; nobody
    /// else sees it.
    #[error("ended with the savepoint {savepoint}")]
    Suspended {
        /// Where it is.
        savepoint: String,
    },
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

/// What stands before the cause of an operator's error: its name, unless the cause says it itself.
fn place(operator: &str, source: &Error) -> String {
    use fluvial_memory::Error::{BudgetTooSmall, RecordTooLarge};
    match source {
        Error::Memory(BudgetTooSmall { .. } | RecordTooLarge { .. }) => String::new(),
        _ => format!("operator `{operator}`: "),
    }
}

/// Exit codes of programs that run jobs, the `fluvial` command among them. Zero is success; 2 is a command line that makes no
/// sense, as argument parsers have it.
pub mod exit_code {
    /// Wrong input, a full disk, a budget too small, a function that failed: what the error's line says.
    pub const FAILED: u8 = 1;
    /// Another process of the job is gone ([`Error::Peer`](super::Error::Peer)): whoever started the processes may start
    /// all of them again.
    pub const PEER_LOST: u8 = 3;
    /// The job was stopped from outside ([`Error::Interrupted`](super::Error::Interrupted)), as a shell has it for Ctrl-C:
    /// 128 and the number of the signal.
    pub const INTERRUPTED: u8 = 130;

    /// Whether a process that ended with `code` was interrupted: by Ctrl-C, or by a SIGTERM (143).
    pub(crate) fn is_interrupted(code: i32) -> bool {
        code == i32::from(INTERRUPTED) || code == 143
    }
}

impl Error {
    /// What a program that ends with this error exits with: one of [`exit_code`].
    ///
    /// ```
    /// use fluvial_core::{Error, exit_code};
    /// assert_eq!(Error::Plan("no such column".into()).exit_code(), exit_code::FAILED);
    /// assert_eq!(Error::Interrupted.exit_code(), exit_code::INTERRUPTED);
    /// ```
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Peer { .. } => exit_code::PEER_LOST,
            Self::Interrupted => exit_code::INTERRUPTED,
            Self::Operator { source, .. } => source.exit_code(),
            _ => exit_code::FAILED,
        }
    }
}

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;
