use crate::graph::TaskContext;
use crate::io::Format;
use crate::{Error, Operator, Result};
use arrow_schema::SchemaRef;
use std::path::Path;

/// Stand-in.
pub(super) struct WriteText;
impl WriteText {
    pub(super) fn open(path: &Path, _: &Format, _: &SchemaRef, _: &TaskContext) -> Result<Self> {
        Err(Error::Plan(format!("{}: not yet", path.display())))
    }
}
impl Operator for WriteText {
    fn process(&mut self, _: usize, _: crate::Batch, _: &mut dyn crate::Output) -> Result<crate::Progress> {
        Ok(crate::Progress::Done)
    }
}
