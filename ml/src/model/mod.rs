//! Models as values, and as files: see `README.md` beside this for the format, byte by byte.
//!
//! A file holds stages. A stage is a kind, its parameters as JSON, and named arrays as plain numbers: numbers come back with the
//! bits that they went with, and another program can read them with a JSON parser and a cast.

mod bytes;
mod file;
mod kinds;
mod stage;

pub use file::{ModelFile, Schema, Training};
pub use kinds::Model;
pub use stage::{Persist, Stage, Values};
