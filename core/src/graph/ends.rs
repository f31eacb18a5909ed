//! Streams that do not end: which mode a graph runs in, and which of its operations would never answer.

use super::{Graph, NodeId, Timing};
use crate::{Error, Mode, Result};

impl Graph {
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
