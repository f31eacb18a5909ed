use std::path::PathBuf;

/// Why something could not be learned, stored or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A hyper-parameter out of range, or one that the learner does not have.
    #[error("{learner}: {name} is {given}, expected {expected}")]
    Parameter {
        /// The learner.
        learner: &'static str,
        /// The parameter.
        name: String,
        /// What was given.
        given: String,
        /// What it may be.
        expected: String,
    },
    /// Data that does not fit: a column that is not there, a row of another width, a label of a third class.
    #[error("{0}")]
    Data(String),
    /// A file of data that cannot be read.
    #[error("{path}:{line}: {message}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was expected and what was found.
        message: String,
    },
    /// A learner's parameters are no longer finite numbers.
    #[error("{learner} has diverged after {records} records: {what}; a smaller learning rate or scaled features help")]
    Diverged {
        /// The learner.
        learner: &'static str,
        /// Records that it had learned.
        records: u64,
        /// What is not finite.
        what: String,
    },
    /// A model file that cannot be written or read, or whose content is wrong.
    #[error("{path}: {message}", path = path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] fluvial_core::Error),
    /// Columns.
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
}

/// Result of learning.
pub type Result<T> = std::result::Result<T, Error>;

/// As the error of a job: what is an error of the engine already stays what it is.
impl From<Error> for fluvial_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Engine(error) => error,
            Error::Arrow(error) => Self::Arrow(error),
            Error::Line { path, line, message } => Self::File { path, message: format!("line {line}: {message}") },
            Error::Model { path, message } => Self::File { path, message },
            other => Self::User(other.to_string()),
        }
    }
}

pub(crate) fn data<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Data(message.into()))
}
