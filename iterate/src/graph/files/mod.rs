//! Graphs in files: edge lists as text, CSV, Parquet and JSON lines, and lists of vertices.
//!
//! Whatever the format, a file becomes a table of a fixed schema ([`edge_schema`], [`vertex_schema`]), read in parts by all
//! workers in bounded memory. What its columns are is settled when it is opened, by a look at its beginning: which fields are
//! source, target and weight, and whether ids are numbers or text. A later record that does not fit is an error that names
//! the file and the line or row; nothing is skipped or guessed in silence.
//!
//! Text is parsed by hand, in blocks of whole lines: numbers go straight from bytes into columns. The other formats are read by
//! the engine's readers; their columns are brought to the types of the table.

mod columns;
mod head;
mod open;
mod schema;
mod text;
mod write;

pub use open::{EdgeFiles, GraphFileOptions, VertexFiles};
pub use schema::{IdType, edge_schema, vertex_schema};
pub use write::to_lines;

use fluvial_core::Error;
use std::path::Path;

/// An error about a file.
fn file_error(path: &Path, message: impl ToString) -> Error {
    Error::File { path: path.to_owned(), message: message.to_string() }
}

/// What there is to do where an id is no number though the first one was.
const HINT: &str = "ids that are not all numbers have to be read as text (--ids text)";
