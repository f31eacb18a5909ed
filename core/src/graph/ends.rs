//! Streams that do not end: which mode a graph runs in, and which of its operations would never answer.

use super::{Graph, NodeId, Timing};
use crate::{Error, Mode, Result};

impl Graph {
    /// Whether a job that takes checkpoints could go on from one.
    ///
    /// # Errors
    /// [`Error::Plan`] that names the sink which could not, and what to use in its place.
    pub(crate) fn check_checkpoints(&self) -> Result<()> {
        let Some(sink) = self.nodes.iter().find(|node| node.timing == Timing::Whole) else { return Ok(()) };
        let (label, detail) = (sink.label(), &sink.detail);
        Err(Error::Plan(format!(
            "`{label}` ({detail}) gives one result at the end of the job, without what came before the checkpoint that the job may \
             go on from: in a job with checkpoints write with a `FileSink` (`write_files(..).transactional()`), whose files \
             come with each checkpoint"
        )))
    }

    /// Whether the job runs in streaming mode.
    ///
    /// # Errors
    /// [`Error::Plan`] that names the operator which would wait for the end of a source that has none, or the source where
    /// batch mode was asked for.
    pub(crate) fn is_streaming(&self, mode: Mode) -> Result<bool> {
        // For each node a source that feeds it and does not end.
        let mut endless: Vec<Option<NodeId>> = Vec::with_capacity(self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            if node.inputs.is_empty() {
                endless.push((!node.bounded).then_some(id));
                continue;
            }
            for (input, edge) in node.inputs.iter().enumerate() {
                let waits = node.timing == Timing::AtTheEnd || node.build_input == Some(input);
                if let Some(source) = endless[edge.node].filter(|_| waits) {
                    let (waiting, source) = (node.label(), self.nodes[source].label());
                    return Err(Error::Plan(format!(
                        "`{waiting}` gives its results when its input has ended, but its source `{source}` does not end: \
                         a window, or an operation that emits every update, gives some as it goes"
                    )));
                }
            }
            endless.push(node.inputs.iter().find_map(|edge| endless[edge.node]));
        }
        let source = endless.into_iter().flatten().next();
        match (mode, source) {
            (Mode::Batch, Some(source)) => {
                Err(Error::Plan(format!("mode: batch given, but the source `{}` does not end", self.nodes[source].label())))
            }
            (Mode::Auto, source) => Ok(source.is_some()),
            (mode, _) => Ok(mode == Mode::Streaming),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Env, Result};

    #[test]
    fn sinks_that_make_one_result_at_the_end_are_not_for_jobs_with_checkpoints() -> Result<()> {
        let env = Env::default();
        let numbers = env.sequence(0..10);
        numbers.write_files("numbers").transactional().add()?;
        numbers.print();
        numbers.for_each(drop);
        env.graph().check_checkpoints()?;
        numbers.write("numbers.parquet")?;
        let error = env.graph().check_checkpoints().unwrap_err().to_string();
        assert!(error.contains("`write` (numbers.parquet)") && error.contains("FileSink"), "{error}");
        let env = Env::default();
        env.sequence(0..10).to_table()?.print();
        assert!(env.graph().check_checkpoints().unwrap_err().to_string().contains("`print` (100 rows)"));
        Ok(())
    }
}
